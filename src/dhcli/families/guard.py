"""Exceptions of families from other packages, reported as faults of those packages."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from dhcli.errors import DhError, describe
from dhcli.families.family import Family, Profiler
from dhcli.runtime.scope import Stopped
from dhcli.stages.align import Area
from dhcli.stages.cutout import Cutout
from dhcli.types import FaceRow, FrameFormat

OUR_MODULES = "dhcli."
"""Begins the names of modules of dh's own families. Their unforeseen exceptions are bugs of dh."""


@contextlib.contextmanager
def faults_of(family: object) -> Iterator[None]:
    """Wrap each call of a family, or of what it gave: exceptions of a foreign one become DhError model.failed."""
    cls = family if isinstance(family, type) else type(family)
    try:
        yield
    except (DhError, Stopped):
        raise
    except (Exception, SystemExit) as error:
        if cls.__module__.startswith(OUR_MODULES):
            raise
        raise DhError(
            "model.failed",
            f"The family {cls.__module__}.{cls.__qualname__} raised: {describe(error)}.",
            hint="Report it to the makers of the package that has this family.",
        ) from error


@dataclass(frozen=True, slots=True)
class GuardedProfiler:
    """A profiler whose exceptions are reported as its family's faults."""

    profiler: Profiler
    family: Family

    def area(self, face: FaceRow) -> Area:
        """See `Profiler`."""
        with faults_of(self.family):
            return self.profiler.area(face)

    def see(self, face: FaceRow, picture: Cutout) -> None:
        """See `Profiler`."""
        with faults_of(self.family):
            self.profiler.see(face, picture)

    def finish(self, faces: Callable[[], Iterable[FaceRow]]) -> bytes:
        """See `Profiler`."""
        with faults_of(self.family):
            return bytes(self.profiler.finish(faces))


def profiler_of(family: Family, fmt: FrameFormat) -> Profiler | None:
    """The family's profiler, guarded."""
    with faults_of(family):
        profiler = family.profiler(fmt)
    return None if profiler is None else GuardedProfiler(profiler, family)
