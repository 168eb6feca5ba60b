"""How much of a stream is damaged, and where: a second look at files about which a decoder complained.

ffmpeg's complaints have no times. With one thread and a listing of all time stamps, each complaint about a picture
stands right before it. Sound that is lost leaves a gap between the pieces before and behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from dhcli.media.complaints import damage, own_complaints
from dhcli.media.containers import mp3
from dhcli.media.ffmpeg import base_argv, beating, input_argv, lines_of, running
from dhcli.media.input_file import InputFile
from dhcli.media.input_limits import CPU_BASE_S, CPU_PER_FRAME_S, ChildLimits
from dhcli.media.packets import read_timelines
from dhcli.runtime.child import Command
from dhcli.runtime.scope import Scope

DECODED = re.compile(
    r"(?:\[dec:\S+ @ \w+\] \[info\] decoder|^\[af#\S+ @ \w+\] \[info\] filter_raw) -> pts:\S+ pts_time:(\S+)"
)
"""A decoded picture, or a decoded piece of sound."""
NEAR_S = 0.5
"""Damaged places this close to each other are told as one."""
SHOWN_S = 0.005
LEAST_GAP_S = 0.002
"""Time stamps are rounded to 1 ms in some containers."""
MOST_PLACES = 5


@dataclass(slots=True)
class Damage:
    """The damaged pictures of a video."""

    times: list[float] = field(default_factory=list)
    """Of each, s."""
    complaint: str = ""
    """The first one about them."""

    @property
    def where(self) -> str:
        """In words: "1.20 to 1.64 s and 5.00 s"; "" where there is none."""
        return places([(time, time) for time in self.times])


def places(spans: Iterable[tuple[float, float]]) -> str:
    """Spans of time, s, in words; near ones become one."""
    joined: list[tuple[float, float]] = []
    for first, last in sorted(spans):
        if joined and first - joined[-1][1] <= NEAR_S:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    told = [f"{a:.2f} s" if b - a < SHOWN_S else f"{a:.2f} to {b:.2f} s" for a, b in joined[:MOST_PLACES]]
    if len(joined) > MOST_PLACES:
        told.append(f"{len(joined) - MOST_PLACES} more places")
    return " and ".join(filter(None, [", ".join(told[:-1]), *told[-1:]]))


@dataclass(frozen=True, slots=True)
class Wanted:
    """The stream to look at."""

    index: int
    codec: str
    container: str
    end_s: float | None = None
    """Only so much of it; None: all."""


def find_damage(
    scope: Scope, file: InputFile, wanted: Wanted, stage: str, *, frames: int, pattern: re.Pattern[str]
) -> Damage:
    """Decode a video of about `frames` pictures once more, and list the damaged ones.

    What is said behind the last one is no damage: tags of other programs, and rubbish, lie there.

    Raises env.*; Stopped.
    """
    found, waiting = Damage(), [""]

    def look(line: str) -> None:
        if match := DECODED.search(line):
            scope.beat(stage)
            if waiting[0] and match[1] != "NOPTS":
                found.complaint = found.complaint or waiting[0]
                found.times.append(float(match[1]))
            waiting[0] = ""
        elif not waiting[0] and own_complaints([line], wanted.codec, wanted.container, wanted.index):
            waiting[0] = damage([line], pattern)

    part = [] if wanted.end_s is None else ["-t", f"{wanted.end_s:.3f}"]
    argv = [*base_argv("info"), "-debug_ts", *input_argv(file, "-threads", "1", *part), "-map", f"0:{wanted.index}"]
    argv += ["-max_error_rate", "1", "-fps_mode", "passthrough", "-f", "null", "-"]
    command = Command(argv, file.pass_fds, on_line=look)
    with running(scope, stage, command, ChildLimits(CPU_BASE_S + CPU_PER_FRAME_S * frames)) as child:
        for _ in lines_of(child):
            pass
        child.wait()
        scope.check()
    return found


def find_lost_sound(
    scope: Scope, file: InputFile, container: str, index: int, *options: str
) -> list[tuple[float, float]]:
    """Decode a sound once more, with `options` for its decoder: the gaps between its pieces, begin and end, s.

    Where MP3 files were joined, the header of each but the first is a frame without sound, and no gap. Raises DhError
    input.unreadable, env.*; Stopped.
    """
    argv = [*base_argv("error"), "-max_error_rate", "1", *input_argv(file, *options), "-map", f"0:{index}"]
    argv += ["-c:a", "pcm_s16le", "-f", "framecrc", "pipe:1"]  # one packet for each piece as the decoder gives it
    with running(scope, "probe", Command(argv, file.pass_fds)) as child:
        (pieces,) = read_timelines(beating(scope, "probe", lines_of(child)), 1)
        child.wait()
        scope.check()
    begins = np.frombuffer(pieces.pts, np.int64)
    ends = begins + np.frombuffer(pieces.durations, np.int64)
    tick = float(pieces.time_base)
    gaps = np.flatnonzero((begins[1:] - ends[:-1]) * tick > LEAST_GAP_S)
    lost = [(float(ends[at]) * tick, float(begins[at + 1]) * tick) for at in gaps]
    if container != "mp3" or not lost:
        return lost
    try:
        joins = mp3.headers(file.fd, file.bytes, lambda: scope.alive("probe")) - 1
    except OSError as error:
        raise file.error("input.unreadable", f"reading failed: {error.strerror}", hint="Check the disk.") from error
    longest = mp3.FRAME_SAMPLES * tick + LEAST_GAP_S
    single = [gap for gap in lost if gap[1] - gap[0] <= longest]
    return lost if len(single) > joins else [gap for gap in lost if gap not in single]
