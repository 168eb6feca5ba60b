"""Starting ffmpeg: its command lines, its limits and its output. Frames and samples are read elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from dhcli.errors import DhError
from dhcli.jobs.options import Trim
from dhcli.media.ffmpeg_program import find_ffmpeg, not_started
from dhcli.media.input_file import PART, InputFile
from dhcli.media.input_limits import MAX_ALLOC_BYTES, ChildLimits, confine, limits_argv
from dhcli.media.shortage import or_shortage
from dhcli.runtime.child import Child, Command
from dhcli.runtime.scope import Scope

SOUND_FILTER = "aresample=async=1:first_pts=0"
"""Silence where the time stamps have a gap: a sound that starts late stays late, as its copy in the output does."""


def base_argv(level: str = "warning") -> list[str]:
    """Program and options that every run has in common."""
    quiet = ["-nostdin", "-hide_banner", "-nostats", "-loglevel", f"level+{level}"]
    return [find_ffmpeg(), *quiet, "-max_alloc", str(MAX_ALLOC_BYTES)]


def input_argv(file: InputFile, *before: str) -> list[str]:
    """One input with its limits. `before` are further options for it."""
    url = file.url
    protocols = f"file,pipe,{PART}" if url.startswith(PART) else "file,pipe"
    return [*limits_argv(protocols), *_demuxer_argv(file), *before, "-i", url]


def _demuxer_argv(file: InputFile) -> list[str]:
    if file.demuxer == "image2pipe":  # a TGA, which has no mark at its beginning: one picture as large as the file
        return ["-f", file.demuxer, "-frame_size", str(file.bytes), "-c:v", "targa"]
    return ["-f", file.demuxer] if file.demuxer else []


def picture_argv(specifier: str, chain: str) -> list[str]:
    """Filter the pictures of a stream, "0:3", or of a grid of tiles, "0:g:0", which ffmpeg puts together."""
    if ":g:" in specifier:
        return ["-filter_complex", f"[{specifier}]{chain}[out]", "-map", "[out]"]
    return ["-map", specifier, "-vf", chain]


def sound_filter(trim: Trim | None) -> str:
    """The first filters of every sound: they fill its gaps and keep only the part that `trim` means."""
    if trim is None:
        return SOUND_FILTER
    end = "" if trim.end is None else f":end={float(trim.end):.6f}"
    return f"{SOUND_FILTER},atrim=start={float(trim.start):.6f}{end},asetpts=PTS-STARTPTS"


def start(scope: Scope, name: str, command: Command, limits: ChildLimits) -> Child:
    """Start ffmpeg as a child of the job.

    Raises DhError env.ffmpeg_missing, env.ffmpeg_unusable, env.limits; Stopped.
    """
    try:
        child = scope.spawn(name, command)
    except OSError as error:
        raise not_started(command.argv[0], error) from error
    confine(child.pid, limits)
    return child


@contextlib.contextmanager
def running(scope: Scope, name: str, command: Command, limits: ChildLimits | None = None) -> Iterator[Child]:
    """A child whose output is read, dead and reaped at the end of the block.

    Raises env.* as `start` does, Stopped; and env.limits in place of what the block raises, where that is the reason.
    """
    child = start(scope, name, command, limits or ChildLimits())
    try:
        yield child
    except DhError as error:
        reason = or_shortage(error, child)
        if reason is error:
            raise
        raise reason from error
    finally:
        scope.release(child)


def beating(scope: Scope, stage: str, lines: Iterable[str]) -> Iterator[str]:
    """The same lines; each one beats `stage`."""
    for line in lines:
        scope.beat(stage)
        yield line


def lines_of(child: Child) -> Iterator[str]:
    """The lines that the child writes to stdout, as they come."""
    with open(child.stdout.fileno(), encoding="utf-8", errors="replace", closefd=False) as lines:
        yield from lines
