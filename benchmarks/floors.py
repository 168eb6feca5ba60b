"""What a render cannot do without, each part alone: ffmpeg decoding, the face network, ffmpeg encoding.

    python benchmarks/floors.py [SIZE …]

The sample, as `dh bench` brings it to each size. The decoder and the encoder have the command lines of a render; the
decoder writes to nowhere, the encoder reads the clip's frames from memory and the sound from its file. The face network
gets noise, in batches as in a render: how long it takes depends on sizes alone. Medians of three times.
"""

from __future__ import annotations

import dataclasses
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from dhcli.bench.clip import Size, parse_size, resize, sample
from dhcli.disk.memory import memory_file
from dhcli.families.dh_base.family import DhBase
from dhcli.jobs.options import JobOptions
from dhcli.media import y4m
from dhcli.media.encoders import chosen
from dhcli.media.info import frame_format
from dhcli.media.input_file import InputFile
from dhcli.media.probe import probe_audio, probe_video
from dhcli.media.reader import decode_argv, read_frames
from dhcli.media.sound_track import Sound, audio_argv
from dhcli.media.writer import Encoding, encode_argv
from dhcli.networks.batch_size import BATCH
from dhcli.networks.bundle import load_bundle
from dhcli.networks.model import Model
from dhcli.networks.network import Device
from dhcli.runtime.scope import Scope

FRAMES = 178
"""The sample's speech has as many."""
MEMORY_BYTES = 1 << 30
"""Most that the frames for the encoder take: 86 of them at 2160p."""
TIMES = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Floor:
    """Milliseconds for a frame."""

    cpu_ms: float
    wall_ms: float


def floors(size: Size | None) -> dict[str, Floor]:
    """Of one clip, by the part's name."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        scope = stack.enter_context(Scope())
        speech, avatar = sample()
        path = avatar if size is None else resize(scope, avatar, size, folder / "clip.mp4")
        video, audio = (stack.enter_context(InputFile(file, "input")) for file in (path, speech))
        info, sound, options = probe_video(scope, video), probe_audio(scope, audio), JobOptions()
        fmt = frame_format(info)
        count = min(FRAMES, MEMORY_BYTES // fmt.frame_bytes)
        frames = stack.enter_context(os.fdopen(memory_file(), "w+b"))
        frames.write(y4m.header(fmt))
        for frame in read_frames(scope, video, info, fmt, count=count):
            frames.writelines(y4m.buffers(frame))
        frames.flush()
        *decode, to = decode_argv(video, info)
        voice = audio_argv(Sound(audio, sound, options.audio_codec, duration=count / fmt.fps))
        encoder, _ = chosen(options.encoder, ".mp4")
        encoding = Encoding(encoder, options.crf, options.preset)
        encode = encode_argv(fmt, f"file:{folder}/out.mp4", encoding, voice)

        def encoded() -> None:
            frames.seek(0)
            _run(encode, audio, stdin=frames)

        return {
            "decode": _floor(count, lambda: _run([*decode, "-frames:v", str(count), to], video)),
            "speak": _floor(count, _speaking(count)),
            "encode": _floor(count, encoded),
        }


def _run(command: list[str], file: InputFile, stdin: IO[bytes] | int = subprocess.DEVNULL) -> None:
    nowhere, kept = subprocess.DEVNULL, subprocess.PIPE
    done = subprocess.run(command, stdin=stdin, stdout=nowhere, stderr=kept, pass_fds=file.pass_fds, check=False)
    if done.returncode:
        sys.exit(done.stderr.decode("utf-8", "backslashreplace"))


def _speaking(count: int) -> Callable[[], None]:
    network = DhBase(Model(load_bundle("dh-base"), Device("cpu")))._face  # noqa: SLF001 - the network alone
    names = [output.name for output in network.outputs]
    questions = [network.noise(min(BATCH, count - at)) for at in range(0, count, BATCH)]
    network.run_bound(names, questions[0])

    def speak() -> None:
        for question in questions:
            network.run_bound(names, question)

    return speak


def _floor(count: int, work: Callable[[], None]) -> Floor:
    times = [_timed(work) for _ in range(TIMES)]
    cpu_s, wall_s = (statistics.median(one) for one in zip(*times, strict=True))
    return Floor(cpu_s / count * 1000, wall_s / count * 1000)


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    wall, cpu = time.monotonic(), _cpu_s()
    work()
    return _cpu_s() - cpu, time.monotonic() - wall


def _cpu_s() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    for text in sys.argv[1:] or [""]:
        for name, floor in floors(parse_size(text) if text else None).items():
            print(f"{text or 'sample':9} {name:7} {floor.cpu_ms:7.2f} ms of CPU time, {floor.wall_ms:7.2f} ms")
