"""Where nobody speaks in a recording, by its level: for networks that would move the mouth to noise.

The level of 20-ms blocks is compared with the noise floor and with the loud parts. Voices that are held at one level
cannot be told from a fan of the same level; below the threshold lies only what is near the floor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dhcli.sound.recipes import SAMPLE_RATE, Speech
from dhcli.types import F32, F64

Flags = npt.NDArray[np.bool_]

BLOCK = SAMPLE_RATE // 50
"""Samples of one level: 20 ms."""
INAUDIBLE_DB = -70.0
"""A recording whose loud parts are below this, dB full scale, is silence."""
FLOOR, LOUD = 0.1, 0.95
"""Quantiles of the levels that stand for the noise floor and for the voice."""
ABOVE_FLOOR_DB = 6.0
"""A voice is this much louder than the floor."""
MOST_BELOW_DB = 30.0
"""What is less than so much quieter than the loud parts is always a voice, unless the floor is as high: a quiet speaker
beside a loud one is 20 dB quieter."""
LEAST_RANGE_DB = 10.0
"""Where loud parts and floor are closer than this, all is voice: nothing can be told apart."""
SHORT_S = 0.24
"""Shorter stops belong to plosives."""
LEAD_S, TAIL_S = 0.12, 0.16
"""The mouth moves this long before the first sound and after the last one."""
FADE_S = 0.02


@dataclass(frozen=True, slots=True)
class Pauses:
    """Where a recording rests."""

    speaking: Flags  # (n,) one for each 20 ms
    silent: bool
    """Nobody speaks in it."""
    noise_db: float | None
    """Loudness of the pauses beside the voice, dB; None where there are none."""


def find_pauses(speech: Speech) -> Pauses:
    """The pauses of a whole speech."""
    levels = _levels(speech())
    if not len(levels):
        return Pauses(np.zeros(0, bool), silent=True, noise_db=None)
    floor, loud = np.quantile(levels, [FLOOR, LOUD])
    if loud < INAUDIBLE_DB:
        return Pauses(np.zeros(len(levels), bool), silent=True, noise_db=None)
    if loud - floor < LEAST_RANGE_DB:
        return Pauses(np.ones(len(levels), bool), silent=False, noise_db=None)
    threshold = max(loud - 2 * MOST_BELOW_DB, min(floor + ABOVE_FLOOR_DB, loud - LEAST_RANGE_DB / 2))
    speaking = _with_neighbours(_without_short_stops(_smoothed(levels) > threshold))
    if speaking.all():
        return Pauses(speaking, silent=False, noise_db=None)
    power = 10 ** (levels / 10)
    noise_db = 10 * math.log10(max(power[~speaking].mean(), 1e-12) / power[levels > loud - 10].mean())
    return Pauses(speaking, silent=False, noise_db=max(-100.0, noise_db))


def at_rest(speech: Speech, pauses: Pauses) -> Speech:
    """The same waveform, silent in its pauses, with fades of 20 ms."""
    corners = np.concatenate([pauses.speaking, [False]]).astype(np.float32)

    def quiet() -> Iterator[F32]:
        at = 0
        for chunk in speech():
            block = (np.arange(at, at + len(chunk)) / BLOCK) - 0.5
            before = np.clip(np.floor(block).astype(int), 0, len(corners) - 1)
            part = np.clip(block - before, 0, 1)
            after = np.minimum(before + 1, len(corners) - 1)
            gain = corners[before] * (1 - part) + corners[after] * part
            yield np.asarray(chunk * gain, np.float32)
            at += len(chunk)

    return quiet


def _levels(chunks: Iterator[F32]) -> F64:
    """Loudness of each 20 ms, dB full scale, -120 and more."""
    levels: list[F64] = []
    ahead = np.zeros(0, np.float32)
    for chunk in chunks:
        ahead = np.concatenate([ahead, chunk])
        whole = len(ahead) // BLOCK
        levels.append((ahead[: whole * BLOCK].reshape(whole, BLOCK).astype(np.float64) ** 2).mean(1))
        ahead = ahead[whole * BLOCK :]
    if len(ahead):
        levels.append(np.array([np.mean(ahead.astype(np.float64) ** 2)]))
    return 10 * np.log10(np.maximum(np.concatenate(levels or [np.zeros(0)]), 1e-12))


def _smoothed(levels: F64) -> F64:
    """The level of each block with its two neighbours: noise of one block is no voice."""
    power = np.convolve(np.pad(10 ** (levels / 10), 1, mode="edge"), np.full(3, 1 / 3), "valid")
    return np.asarray(10 * np.log10(power), np.float64)


def _without_short_stops(loud: Flags) -> Flags:
    speaking = loud.copy()
    edges = np.diff(np.concatenate([[0], (~loud).astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    for begin, end in zip(starts, ends, strict=True):
        if (end - begin) * BLOCK < SHORT_S * SAMPLE_RATE and begin and end < len(loud):
            speaking[begin:end] = True
    return speaking


def _with_neighbours(speaking: Flags) -> Flags:
    lead, tail = round(LEAD_S * SAMPLE_RATE / BLOCK), round(TAIL_S * SAMPLE_RATE / BLOCK)
    wide = np.convolve(speaking.astype(np.int16), np.ones(lead + tail + 1, np.int16))
    return np.asarray(wide[lead : lead + len(speaking)] > 0)
