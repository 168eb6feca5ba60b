"""Where nobody speaks: silence, and whatever noise there is without a phone in it.

The audio network was never taught to close the mouth there: in digital silence its codes are larger than in speech, in
pink noise a quarter as large. Its phones do not take noise, hum or music for speech, even at 10 dB below it, and hear a
voice that is 30 dB below another one. Each is named once, near its end, for 20 or 40 ms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dhcli.families.dh_base.listen import CODE_RATE, PHONE_STEPS, SPEECH_RMS, Heard
from dhcli.types import F32, F64

Flags = npt.NDArray[np.bool_]

SILENCE = 0.01
"""Below this part of the active speech's loudness (-40 dB) nobody speaks."""
PAUSE = 6
"""Codes (0.24 s) that must be silent in a row; shorter stops belong to plosives."""
FALL, RISE = 4, 3
"""Codes that the mouth takes to come to rest after the last sound, and to leave it before the next one."""

HEARD = 0.3
"""Probability from which a phone counts; most have more than 0.9, and 0.5 where two windows hear it 20 ms apart."""
BEFORE, AFTER = 10, 10
"""Codes (0.4 s) before and after a phone that belong to speech. The mouth opens some 0.3 s before the first phone of a
sentence; with 6 codes instead of 10 the opening of 100 clips correlates by 0.92 instead of 0.95 with the true one."""
LOUD, LOUD_CODES = 0.3, 5
"""From this part of the speech's loudness (-10 dB), in 0.2 s, a sound is a voice, phones or not: a vowel that is held.
Music that is as loud is taken for one, too."""
LEAST_SHARE = 0.15
"""Of the loud codes, at which a phone must be heard: about half in speech, 0.06 and less in songs, of which the network
makes no phones. There loudness has to do."""
LEAST_SPEECH = CODE_RATE
"""Loud codes without the phones of speech that are noise or music: a vowel alone can last half as long."""
LEAST_NOISE = CODE_RATE // 2
"""Codes away from speech that it takes to measure noise."""
LEAST_DB = -100.0
"""Digital silence counts as this."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """Where a speech rests."""

    speaking: F32  # (n,) 1 in speech and its short stops, 0 in pauses, straight between them
    noise_db: float | None
    """Loudness of the pauses relative to the speech, dB; None where there is no pause, 0 where no speech is heard."""


def find_pauses(heard: Heard) -> Pauses:
    """The pauses of a speech. Without phones they are its silent parts only."""
    silent = heard.levels < SILENCE * SPEECH_RMS
    loud = _smooth_levels(heard.levels) > LOUD * SPEECH_RMS
    spoken = _spoken(heard, loud)
    if spoken is None:
        unknown = heard.phones is None or loud.sum() < LEAST_SPEECH
        return Pauses(gate(silent), None if unknown else 0.0)
    since, until = _distances(spoken)
    away = (since > AFTER) & (until > BEFORE)
    return Pauses(gate(silent | (away & ~loud)), _noise_db(heard.levels[away]))


def gate(quiet: Flags) -> F32:  # (n,) -> (n,) 0..1
    """How far the mouth follows the speech where `quiet` says that there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet.astype(np.int8), [0]])))
    follows = np.ones(len(quiet), np.float32)
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        if end - begin < PAUSE:
            continue
        at = np.arange(end - begin)
        fall = 1 - (at + 1) / FALL if begin else np.zeros(len(at))
        rise = 1 - (len(at) - at) / RISE if end < len(quiet) else np.zeros(len(at))
        follows[begin:end] = np.clip(np.maximum(fall, rise), 0, 1)
    return follows


def _smooth_levels(levels: F32) -> F64:
    """Loudness in the `LOUD_CODES` around each code."""
    power = np.convolve(np.square(levels, dtype=np.float64), np.full(LOUD_CODES, 1 / LOUD_CODES))
    return np.sqrt(power[LOUD_CODES // 2 :][: len(levels)])


def _spoken(heard: Heard, loud: Flags) -> Flags | None:
    """The codes at which a phone is heard; None where the network cannot tell."""
    if heard.phones is None:
        return None
    spoken = np.asarray((heard.phones[:, 1] > HEARD).reshape(-1, PHONE_STEPS).any(1))
    return spoken if spoken.any() and spoken.sum() >= LEAST_SHARE * loud.sum() else None


def _distances(spoken: Flags) -> tuple[F64, F64]:
    """Codes since the last phone and until the next one; infinite where there is none."""
    at = np.arange(len(spoken), dtype=np.float64)
    last = np.maximum.accumulate(np.where(spoken, at, -math.inf))
    following = np.minimum.accumulate(np.where(spoken, at, math.inf)[::-1])[::-1]
    return at - last, following - at


def _noise_db(levels: F32) -> float | None:
    if len(levels) < LEAST_NOISE:
        return None
    power = float(np.square(levels, dtype=np.float64).mean()) / SPEECH_RMS**2
    return max(LEAST_DB, 10 * math.log10(power)) if power > 0 else LEAST_DB
