"""What a job cannot do without, each part alone: decoding to nowhere, the networks, encoding from memory.

Each floor runs what the job ran: the same command lines, the same networks with the same questions and batches.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dhcli.bench.alone import run_alone
from dhcli.bench.family import MeteredFamily, Reel
from dhcli.bench.meter import Meter, Spent
from dhcli.bench.report import StageName
from dhcli.inference import Network
from dhcli.plan import Plan


@dataclass(frozen=True, slots=True)
class Alone:
    """A floor."""

    spent: Spent
    frames: int
    """Frames that it was measured with."""
    share: float = 1.0
    """Of the output's frames that need it: a video shorter than the speech is decoded once."""

    @property
    def a_frame(self) -> Spent:
        """For a frame of the output, s."""
        return self.spent / (self.frames / self.share)


def floors_of(
    plan: Plan, meter: Meter, family: MeteredFamily, reel: Reel, pass_fds: Sequence[int]
) -> dict[StageName, Alone]:
    """All floors of a job that `meter` has measured. `pass_fds` are what its encoder needs besides the frames."""
    source, frames = plan.source_frames, plan.frames
    decoding = Alone(_decode(plan, meter.commands["decode"], source), source, source / frames)
    looking = _look(family) + decoding.spent / (source / plan.analysed_frames)
    return {
        "decode": decoding,
        "analyse": Alone(looking, plan.analysed_frames, plan.analysed_frames / frames),
        "listen": Alone(_listen(family), frames),
        "speak": Alone(_speak(family), frames),
        "encode": Alone(_encode(meter.commands["encode"], reel, pass_fds), reel.frames),
    }


def medians(times: Sequence[Mapping[StageName, Alone]]) -> dict[StageName, Alone]:
    """What each floor took, measured several times: the medians of CPU time and of wall time."""
    return {
        name: dataclasses.replace(
            first,
            spent=Spent(
                statistics.median(floors[name].spent.cpu_s for floors in times),
                statistics.median(floors[name].spent.wall_s for floors in times),
            ),
        )
        for name, first in times[0].items()
    }


def _decode(plan: Plan, command: Sequence[str], frames: int) -> Spent:
    """The decoder as the job started it, for the first `frames` frames, writing to /dev/null."""
    decoded = int(plan.video.picks(plan.format.fps)[frames - 1]) + 1
    some = ["-frames:v", str(decoded)] if decoded < plan.video.decoded else []
    argv = [*command[:-1], *some, command[-1]]
    trouble = f"{plan.video_file.label}: it could not be decoded alone"
    return run_alone(argv, trouble, "decode.failed", pass_fds=plan.video_file.pass_fds)


def _encode(command: Sequence[str], reel: Reel, pass_fds: Sequence[int]) -> Spent:
    """The encoder as the job started it, reading the frames from memory."""
    with open(reel.fd, "rb", closefd=False) as frames:
        frames.seek(0)
        trouble = "The job's frames could not be encoded alone"
        return run_alone(command, trouble, "encode.failed", stdin=frames, pass_fds=pass_fds)


def _listen(family: MeteredFamily) -> Spent:
    """The audio network on windows as long as the job's."""
    longest = family.longest
    if longest is None:
        return Spent()
    family.hear_again(longest[: family.heard[0]])
    return _clocked(lambda count: family.hear_again(longest[:count]), family.heard)


def _speak(family: MeteredFamily) -> Spent:
    """The face network on as many batches of the same sizes."""
    largest = family.largest
    if largest is None:
        return Spent()
    parts = {count: {name: values[:count] for name, values in largest.items()} for count in set(family.asked)}
    for part in parts.values():
        family.speak_again(part)
    return _clocked(lambda count: family.speak_again(parts[count]), family.asked)


def _look(family: MeteredFamily) -> Spent:
    """The networks that find faces, as often as the analysis asked them."""
    detections, looks = family.looks
    detect, landmarks = family.looking()
    return _ask(landmarks, looks) + _ask(detect, detections)


def _ask(network: Network, count: int) -> Spent:
    """The network `count` times, with one noisy picture."""
    feeds = network.noise(1)
    outputs = [info.name for info in network.outputs]
    network.run(outputs, feeds)
    return _clocked(lambda _: network.run(outputs, feeds), range(count))


def _clocked(work: Callable[[int], object], times: Iterable[int]) -> Spent:
    wall, cpu = time.monotonic(), time.process_time()
    for one in times:
        work(one)
    return Spent(time.process_time() - cpu, time.monotonic() - wall)
