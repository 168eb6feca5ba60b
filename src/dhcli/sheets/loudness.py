"""How loud a sound is over time, and where it is loudest."""

from __future__ import annotations

import numpy as np

from dhcli.jobs.options import Trim
from dhcli.media.audio import read_waveform
from dhcli.media.input_file import InputFile
from dhcli.media.probe import probe_audio
from dhcli.runtime.scope import Scope
from dhcli.types import F32

RATE, BLOCK = 8000, 160
STEP_S = BLOCK / RATE
"""Loudness is taken of blocks of 20 ms."""


def loudness(scope: Scope, file: InputFile, *, stage: str, track: str = "", trim: Trim | None = None) -> F32:
    """Root mean square of each 20 ms of a sound. Raises DhError input.*, audio.*, decode.*, env.*; Stopped."""
    sound = probe_audio(scope, file, track=track, use_cut=True)
    parts, rest = list[F32](), np.zeros(0, np.float32)
    for chunk in read_waveform(scope, file, sound, rate=RATE, trim=trim, stage=stage):
        whole = np.concatenate([rest, chunk])
        kept = len(whole) // BLOCK * BLOCK
        blocks, rest = whole[:kept].reshape(-1, BLOCK), whole[kept:]
        parts.append(np.asarray(np.sqrt((blocks**2).mean(1)), np.float32))
    return np.concatenate(parts) if parts else rest[:0]


def loudest(loud: F32, seconds: float) -> float | None:
    """Where the loudest part of so many seconds begins, s; None where nothing is heard."""
    width = max(1, round(seconds / STEP_S))
    if not len(loud) or not float(loud.max()):
        return None
    if len(loud) <= width:
        return 0.0
    total = np.concatenate([[0.0], np.cumsum(loud.astype(np.float64))])
    return float(np.argmax(total[width:] - total[:-width]) * STEP_S)


def part_of(loud: F32, begin_s: float, end_s: float) -> F32:
    """The loudness of a part, in parts of the loudest moment of all."""
    if not len(loud) or not float(loud.max()):
        return np.zeros(0, np.float32)
    part = loud[round(begin_s / STEP_S) : round(end_s / STEP_S)]
    return np.asarray(part / loud.max(), np.float32)
