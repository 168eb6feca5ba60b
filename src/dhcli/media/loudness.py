"""Which channel of a sound to listen to: where the mix is much quieter than a channel, that channel.

The channels of some recordings cancel each other: the plug of a microphone was wired the wrong way round.
"""

from __future__ import annotations

import math
import re

from dhcli.media.ffmpeg import SOUND_FILTER, base_argv, input_argv, lines_of, running
from dhcli.media.input_file import InputFile
from dhcli.runtime.child import Command
from dhcli.runtime.scope import Scope

MIX = "aresample=out_chlayout=mono:rematrix_maxval=1"
"""The mix that networks hear: no sum of loud channels leaves -1..1."""
MUCH_DB = 15.0
"""A voice in one of eight channels is 13 dB quieter in their mix."""
SILENT_DB = -70.0
LEVEL = re.compile(r"\[Parsed_astats_(\d) @ \w+\] \[info\] RMS level dB: (\S+)")
CHANNEL = re.compile(r"\[Parsed_astats_\d @ \w+\] \[info\] Channel: ")
STATS = "astats=measure_overall=none:measure_perchannel=RMS_level"
KEPT_LINES = 4000


def louder_channel(scope: Scope, file: InputFile, index: int) -> int | None:
    """The loudest channel, from 0, where the mix of all is much quieter; else None. Raises env.*; Stopped."""
    argv = [*base_argv("info"), "-max_error_rate", "1", *input_argv(file)]
    argv += ["-map", f"0:{index}", "-af", f"{SOUND_FILTER},{STATS}", "-f", "null", "-"]
    argv += ["-map", f"0:{index}", "-af", f"{SOUND_FILTER},{MIX},{STATS}", "-f", "null", "-"]
    with running(scope, "probe", Command(argv, file.pass_fds, keep_lines=KEPT_LINES)) as child:
        for _ in lines_of(child):
            pass
        child.wait()
        scope.check()
        lines = child.tail(KEPT_LINES)
    levels: dict[str, list[float]] = {}
    for line in lines:
        if match := LEVEL.search(line):
            levels.setdefault(match[1], []).append(_decibels(match[2]))
    channels, mix = levels.get("1", []), levels.get("2", [])
    if not channels or len(mix) != 1 or max(channels) < SILENT_DB or max(channels) - mix[0] < MUCH_DB:
        return None
    return channels.index(max(channels))


def _decibels(text: str) -> float:
    try:
        level = float(text)
    except ValueError:
        return -math.inf
    return -math.inf if math.isnan(level) else level
