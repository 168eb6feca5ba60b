"""How much a finished video deserves a look: points from its figures and warnings, each with its reason in words.

The limits are those of the warnings (`picture/judge.py`); points begin well before them, so that the worst video of a
night is on top even where none has a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dhcli.picture.judge import ASKED, SMALL_PX, SOFT_SHARE, STILL_SHARE
from dhcli.results.parts import Picture
from dhcli.results.result import JobResult

NO_VIDEO = 100
"""Of a job without an output: nothing is worse."""
LOOK = 30
"""Points from which on a video is worth a look; two in three renders of people who look into the camera have less."""
STILL, UNASKED, GAPING, APART, LATE, SOFT = 75, 45, 30, 50, 35, 55
KEPT, SMALL, TURNED, NOISY, COARSE = 70, 45, 20, 45, 45
"""Most points of each reason."""
MOVES_WELL, GAPES, GAPES_MOST = 0.7, 1.4, 2.0
"""Opening shown, in parts of what was asked for. Renders have 0.7 to 1.1."""
FOLLOWS, FOLLOWS_BADLY = 0.85, 0.3
"""Correlation with what was asked for. Renders have 0.9 and more."""
IN_TIME_MS, LATE_MS = 60.0, 200.0
"""Lag that few people see, and that everybody does (ITU-R BT.1359)."""
SHARP = 0.5
"""Sharpness in parts of the source's."""
LARGE_PX = 90.0
"""Width of a face whose lips are seen well."""
FRONTAL_DEG, SIDE_DEG = 45.0, 80.0
QUIET_DB, LOUD_DB = -18.0, -5.0
"""Level of the pauses against the speech; `audio.noisy` begins at -15."""
TOLD = frozenset({"mouth.still", "picture.soft", "face.small", "audio.noisy", "face.missing", "mouth.covered"})
"""Warnings that figures tell."""
GOOD_CRF, BAD_CRF = 28, 44
"""Of the encoder; from about 40 on faces fall into blocks."""
OTHERS = {
    "input.damaged": 35,
    "audio.silent": 40,
    "input.reshaped": 15,
    "device.fallback": 5,
    "input.vfr": 3,
    "input.interlaced": 3,
}
"""Points of the others."""
OTHER_WARNING = 4


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that speaks against a video."""

    points: float
    """0 to 100."""
    text: str


@dataclass(frozen=True, slots=True)
class Suspicion:
    """All of them, the gravest first."""

    points: int
    """0: nothing; 100: there is no video."""
    reasons: tuple[Reason, ...] = ()

    @property
    def grave(self) -> bool:
        """Whether somebody should look at the video."""
        return self.points >= LOOK


def suspicion(result: JobResult | None) -> Suspicion:
    """Of one job. Points add up as chances do: two halves are three quarters, and nothing is more than 100."""
    if result is None or result.output is None:
        return Suspicion(NO_VIDEO)
    found = [one for one in _reasons(result) if one.points >= 1]
    found.sort(key=lambda one: -one.points)
    fine = 1.0
    for one in found:
        fine *= 1 - min(one.points, 99) / 100
    return Suspicion(min(NO_VIDEO - 1, round(100 * (1 - fine))), tuple(found))


def _reasons(result: JobResult) -> Iterator[Reason]:
    codes = [one.code for one in result.warnings]
    if result.picture is not None:
        yield from _of_movement(result.picture, silent="audio.silent" in codes)
        yield from _of_looks(result.picture)
    yield from _of_warnings(result, codes)
    crf = result.options.get("crf")
    if isinstance(crf, int):
        yield Reason(_ramp(crf, GOOD_CRF, BAD_CRF) * COARSE, f"coded coarsely: crf {crf}")
    if result.earlier_attempts:
        yield Reason(3, f"it took {result.attempt} attempts")


def _of_movement(picture: Picture, *, silent: bool) -> Iterator[Reason]:
    asked, shown = picture.asked, picture.shown
    if asked is not None and asked < ASKED and not silent and picture.kept.left < 1:
        yield Reason(
            _ramp(asked, ASKED, 0) * UNASKED, f"the mouth was hardly asked to move ({asked:.2f}; talkers have 0.3)"
        )
    if asked and shown is not None and asked >= ASKED:
        share = shown / asked
        if share < MOVES_WELL:
            text = f"the mouth opens {shown:.2f} where {asked:.2f} was asked for"
            yield Reason(_ramp(share, MOVES_WELL, STILL_SHARE) * STILL, text)
        else:
            text = f"the mouth gapes: {shown:.2f} where {asked:.2f} was asked for"
            yield Reason(_ramp(share, GAPES, GAPES_MOST) * GAPING, text)
    if picture.correlation is not None:
        text = f"the mouth follows the speech badly (correlation {picture.correlation:.2f})"
        yield Reason(_ramp(picture.correlation, FOLLOWS, FOLLOWS_BADLY) * APART, text)
    if picture.lag_ms is not None:
        when = "late" if picture.lag_ms > 0 else "early"
        text = f"the mouth is {abs(picture.lag_ms):.0f} ms {when}"
        yield Reason(_ramp(abs(picture.lag_ms), IN_TIME_MS, LATE_MS) * LATE, text)


def _of_looks(picture: Picture) -> Iterator[Reason]:
    if picture.sharpness is not None and picture.source_sharpness:
        share = picture.sharpness / picture.source_sharpness
        text = f"soft inside the mouth: {share:.0%} of the original's sharpness"
        yield Reason(_ramp(share, SHARP, SOFT_SHARE / 2) * SOFT, text)
    if picture.kept.covered > 0:
        text = f"something covers the mouth in {picture.kept.covered:.0%} of the frames"
        yield Reason(_ramp(picture.kept.covered, 0.01, 0.6) * KEPT, text)
    if picture.kept.missing > 0:
        text = f"no face in {picture.kept.missing:.0%} of the frames"
        yield Reason(_ramp(picture.kept.missing, 0.01, 0.6) * KEPT, text)
    if picture.face_px is not None:
        text = f"the face is only {picture.face_px:.0f} px wide"
        yield Reason(_ramp(picture.face_px, LARGE_PX, SMALL_PX / 2) * SMALL, text)
    if picture.yaw_deg is not None:
        text = f"the head is turned by {picture.yaw_deg:.0f}°"
        yield Reason(_ramp(picture.yaw_deg, FRONTAL_DEG, SIDE_DEG) * TURNED, text)
    if picture.noise_db is not None:
        noise = f"its pauses are only {-picture.noise_db:.0f} dB quieter than the speech"
        noise = "no speech is heard in it" if picture.noise_db >= 0 else noise
        yield Reason(_ramp(picture.noise_db, QUIET_DB, LOUD_DB) * NOISY, f"the sound is noisy: {noise}")


def _of_warnings(result: JobResult, codes: Sequence[str]) -> Iterator[Reason]:
    told = TOLD if result.picture is not None else frozenset()
    for code in dict.fromkeys(codes):
        if code not in told:
            yield Reason(OTHERS.get(code, OTHER_WARNING), f"warning {code}")


def _ramp(value: float, good: float, bad: float) -> float:
    """0 at the value `good` and 1 at `bad`, straight between them."""
    return min(1.0, max(0.0, (value - good) / (bad - good)))
