"""What a speech asks of a mouth at any time, and how far one person follows it.

A person's own way of speaking decides the size: the audio network answers in one size for all. Lips meet at b, p and m
whatever the codes say.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from dhcli.families.dh_base.geometry import Geometry
from dhcli.families.dh_base.listen import CODE_RATE, PHONE_STEPS, Heard, Loudness
from dhcli.families.dh_base.pauses import find_pauses
from dhcli.families.family import Manner
from dhcli.types import F32, F64

SPREAD = (0.05, 0.95)
"""Quantiles between which the spread of a mouth's opening is taken, as `picture.follow` measures its range. Closed lips
at b, p and m are in both spreads."""
OWN_SHARE = 1.06
"""Of a person's own spread that is asked for: renders show 0.79 to 0.98 of it on seven clips, median 0.88."""
SPEECH_SPREADS = 0.18, 0.4
"""Canonical units; spreads of the network's opening that are believed. Read commands have 0.23 to 0.36."""
USUAL_SPEECH_SPREAD = 0.25
"""For a speech too short to tell."""
LEAST_SPOKEN = CODE_RATE
"""Codes of speech that it takes to tell its spread."""
LEAST_OWN_SPREAD, USUAL_OWN_SPREAD = 0.09, 0.28
"""Canonical units. Below the first a person does not speak in the video, and gets the second."""
GAINS = 0.6, 2.0
"""What `auto` may come to."""
WIDTH_GAIN = 1.2
"""Of `auto`, times the change of the mouth's width beside that of its opening. The codes have the width of true ones
then already, but renders show four fifths of it."""

BILABIAL = 0.5
"""Probability from which a b, p or m counts: of 1,348 in 989 read commands 11 % are missed, and 7 % are none."""
LEAD_S = 0.035
"""The lips are closest this long before the network names a b, p or m: 30 ms on 214 of other people, 45 on 341 of the
main speaker."""
HOLD_S, SHOULDER_S = 0.03, 0.07
"""Lips stay closed this long on either side, more than half a frame at 24 a second, and take that long to open and to
close. They are more than half closed for 130 ms; true ones are for 140."""
CLOSING_GAIN = 0.25
"""From this gain on lips close entirely; at 0 the mouth has to stay still."""
PRESSED = 0.01
"""Canonical units that closed lips are moved into each other, against a rest that may be open by 0.02."""


@dataclass(frozen=True, slots=True)
class MouthAsked:
    """What a speech asks of any mouth at one time."""

    code: F64  # (12,) of gain 1
    gain: float | None
    """Times the code; None: so that the person opens the mouth as far as in the video."""
    closing: float
    """0..1: how far the lips have to be closed, whatever the code says."""
    speech_spread: float
    """Of the opening in the whole speech at gain 1, canonical units."""

    def code_for(self, spread: float, geometry: Geometry) -> F64:  # (12,)
        """The code for a person whose opening has this spread in the video, canonical units; nan where unknown."""
        if self.gain is None:
            gain = auto_gain(spread, self.speech_spread)
            code = geometry.widened(self.code * gain, WIDTH_GAIN)
        else:
            gain, code = self.gain, self.code * self.gain
        closing = self.closing * min(1.0, gain / CLOSING_GAIN)
        return geometry.pressed(code, PRESSED, closing) if closing else code


@dataclass(frozen=True, slots=True)
class MouthCodes:
    """Mouth codes of a whole speech; see `families.family.Conditions`."""

    codes: F32  # (n, 12)
    silent: bool
    """Nobody speaks in it."""
    noise_db: float | None = None
    """As in `Pauses`."""
    closures: tuple[float, ...] = ()
    """Times at which the lips have to meet, s, ascending."""
    spread: float = USUAL_SPEECH_SPREAD
    """Of the opening at gain 1, canonical units."""
    gain: float | None = None
    """As in `Manner`."""

    def at(self, time_s: Fraction) -> MouthAsked:
        """What is asked at a time: the code between its neighbours; the last one holds beyond the end.

        0 is a mouth at rest.
        """
        position = time_s * CODE_RATE
        before = min(int(position), len(self.codes) - 1)
        after = min(before + 1, len(self.codes) - 1)
        part = float(position - int(position))
        code = np.asarray((1 - part) * self.codes[before] + part * self.codes[after], np.float64)
        return MouthAsked(code, self.gain, closing_at(float(time_s), self.closures), self.spread)


def conditions_of(heard: Heard, loudness: Loudness, geometry: Geometry, manner: Manner) -> MouthCodes:
    """The mouth codes of a speech, at rest (code 0) wherever nobody speaks for a while, unless `manner` differs."""
    if loudness.silent:
        return MouthCodes(np.zeros_like(heard.codes), silent=True, gain=manner.gain)
    pauses = find_pauses(heard)
    closures = closures_in(heard.phones)
    return MouthCodes(
        heard.codes * pauses.speaking[:, None] if manner.silence == "rest" else heard.codes,
        silent=False,
        noise_db=pauses.noise_db,
        closures=closures,
        spread=speech_spread(heard.codes, pauses.speaking, closures, geometry),
        gain=manner.gain,
    )


def closures_in(phones: F32 | None) -> tuple[float, ...]:
    """When the lips have to meet, s: at each b, p and m that the network names, in one step or in two."""
    if phones is None:
        return ()
    step = np.concatenate([[0], phones[:, 0], [0]]).astype(np.float64)
    both = step[:-1] + step[1:]
    rises = np.diff(both, prepend=0, append=0)
    peak = np.flatnonzero((both > BILABIAL) & (rises[:-1] > 0) & (rises[1:] <= 0))
    place = peak - step[peak] / both[peak]  # between the two steps, by their shares
    return tuple((place / (PHONE_STEPS * CODE_RATE) - LEAD_S).tolist())


def closing_at(time_s: float, closures: Sequence[float]) -> float:
    """0..1: how far lips that meet at these times, s, are closed at a time."""
    right = bisect.bisect(closures, time_s)
    away = min((abs(time_s - one) for one in closures[max(0, right - 1) : right + 1]), default=math.inf)
    inside = min(1.0, max(0.0, (away - HOLD_S) / SHOULDER_S))
    return 0.5 + 0.5 * math.cos(math.pi * inside)


def speech_spread(codes: F32, speaking: F32, closures: Sequence[float], geometry: Geometry) -> float:
    """Spread of the opening that codes (n, 12) ask for where someone speaks, canonical units."""
    spoken = np.flatnonzero(speaking > 0)
    if len(spoken) < LEAST_SPOKEN:
        return USUAL_SPEECH_SPREAD
    open_ = np.array([1 - closing_at(index / CODE_RATE, closures) for index in spoken])
    return opening_spread(codes[spoken] @ geometry.gap_of_code * open_)


def opening_spread(openings: F64) -> float:
    """Distance of the quantiles `SPREAD` of openings (n,)."""
    low, high = np.quantile(openings, SPREAD)
    return float(high - low)


def auto_gain(own: float, speech: float) -> float:
    """What brings a speech of spread `speech` to a person's `own` spread, canonical units; nan where unknown."""
    wanted = own if own > LEAST_OWN_SPREAD else USUAL_OWN_SPREAD
    least, most = SPEECH_SPREADS
    return min(GAINS[1], max(GAINS[0], OWN_SHARE * wanted / min(most, max(least, speech))))
