"""A stream that is probed, and what ffmpeg says about its damage."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from dhcli.media import rate
from dhcli.media.complaints import DAMAGED_CONTAINER, TRANSPORT, TRUNCATION, damage, own_complaints
from dhcli.media.completeness import Findings
from dhcli.media.ffmpeg_errors import refuse_interrupted
from dhcli.media.input_file import InputFile
from dhcli.media.listing import Listing, Stream
from dhcli.media.packets import Timeline
from dhcli.runtime.child import Child
from dhcli.runtime.scope import Scope

DESCRIPTION_LINES = 4000
"""Lines of an input's description that are kept; a disc copy with 80 tracks writes about 800."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A stream that is probed, and what is found out about its damage."""

    scope: Scope
    file: InputFile
    listing: Listing
    stream: Stream
    findings: Findings

    def complaints(self, child: Child, code: int | None) -> list[str]:
        """What ffmpeg said about this stream. Raises DhError decode.failed where a signal ended it."""
        lines = child.tail(DESCRIPTION_LINES)
        refuse_interrupted(self.file, code, lines)
        return own_complaints(lines, self.stream.codec, self.listing.container, self.stream.index)

    def note(self, own: list[str], timeline: Timeline) -> None:
        """Note damage in the container, and whether it ends early."""
        self.findings.note(damage(own, DAMAGED_CONTAINER))
        what = damage(own, TRUNCATION)
        if self.listing.container == TRANSPORT or not (timeline.corrupt or what):
            return
        count, declared = timeline.packets - timeline.corrupt, self._declared_frames
        why = f" ({what})" if what else ""
        if declared is not None and count >= declared:
            self.findings.note(what or f"{timeline.corrupt} packets of it are incomplete")
        elif self.listing.container == "avi":  # its chunks say whether it ends early
            self.findings.note(what)
        elif declared is None:
            self.findings.note_cut(f"{count} frames could be read{why}")
        else:
            self.findings.note_cut(f"{count} of {declared} frames{why}")

    @property
    def _declared_frames(self) -> int | None:
        if self.listing.duration is None or self.listing.estimated or not self.stream.rates:
            return None
        return rate.frames_at(self.listing.duration, Fraction(self.stream.rates[0]))
