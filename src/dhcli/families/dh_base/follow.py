"""Which reference each frame of the output uses: the nearest one, but teeth must not flicker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dhcli.families.dh_base.geometry import CLOSED_GAP, INNER, LOWER_LIP, UPPER_LIP
from dhcli.families.dh_base.references import Reference, Stand, Stands, costs, visible

CLEARLY_BETTER = 0.1
"""Canonical units (5 crop px) by which another reference must be nearer to take over in an open mouth. With 0.04 the
teeth of a talker change twice a second, which is seen, and each change has frames that cost two questions."""
SHUT_BETTER = 0.01
"""The same while the lips are shut, when nobody sees the change, and where the present one hides what is to be seen."""
SHUT_GAP = 2 * CLOSED_GAP
"""Canonical units between the lips below which they are shut."""
STAY = 12
"""Frames that a reference is used at least, unless it hides what is to be seen."""
FADE = 2
"""Frames over which one reference gives way to the next."""


@dataclass(frozen=True, slots=True)
class Use:
    """A reference in a frame."""

    number: int
    """Among the person's references."""
    share: float  # 0..1; the shares of a frame add up to 1


class Follower:
    """Chooses a person's references frame by frame, in the order of the output."""

    def __init__(self, references: Sequence[Reference]) -> None:
        self._lent = Stands.of(one.stand for one in references)
        self._current, self._before, self._since = 0, 0, FADE
        self._last: int | None = None
        """Index of the source frame that was shown last."""

    def follow(self, index: int, wanted: Stand) -> list[Use]:
        """What frame `index` of the source uses for a mouth that is to stand like `wanted`.

        It fades from one reference to the next. While the lips are shut, and where frames were left out or a lap
        ended, it changes at once.
        """
        goal, shut = Stands.of([wanted]), _is_shut(wanted)
        cost, shows = costs(self._lent, goal)[:, 0], visible(self._lent, goal)[:, 0]
        best, current = int(np.argmin(cost)), self._current
        hidden = shows[current] < 1 <= shows[best]
        free = self._since >= STAY or (hidden and self._since > FADE)
        if self._last is None or abs(index - self._last) > 1:
            self._current, self._since = best, FADE
        elif free and cost[best] < cost[current] - (SHUT_BETTER if shut or hidden else CLEARLY_BETTER):
            self._before, self._current, self._since = current, best, FADE if shut else 0
        self._last = index
        self._since += 1
        share = min(1.0, self._since / (FADE + 1))
        if share == 1:
            return [Use(self._current, 1.0)]
        return [Use(self._before, 1 - share), Use(self._current, share)]


def _is_shut(wanted: Stand) -> bool:
    lips = wanted.shape[:, 1]
    return bool(lips[LOWER_LIP - INNER.start] - lips[UPPER_LIP - INNER.start] < SHUT_GAP)
