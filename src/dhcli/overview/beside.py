"""Contact sheets as JPEG files beside outputs: `<save_path>.jpg`."""

from __future__ import annotations

from pathlib import Path

from dhcli.disk.names import sheet_path
from dhcli.disk.part import PartFile
from dhcli.errors import DhError
from dhcli.events import JobFinished
from dhcli.render.models import Models
from dhcli.reports import SHEET, replaceable
from dhcli.results.result import UnreadableResultError, read_result
from dhcli.runtime.disk_calls import OnStep
from dhcli.runtime.scope import Scope, Stopped
from dhcli.sheets.crop import jpeg
from dhcli.sheets.draw import TILE, draw_sheet
from dhcli.sheets.mouths import see
from dhcli.sheets.source import source_of, unlike
from dhcli.types import U8

VIDEO_S = 60.0
"""Longest time for one sheet."""
QUALITY = 90


def write_sheet(path: Path, picture: U8, root: Path | None = None) -> None:
    """Write a picture, BGR, as a JPEG file of dh. Raises DhError output.*; any other file at the path stays."""
    with PartFile(path, root=root) as part:
        before = replaceable(path, SHEET)
        part.write(jpeg(picture, QUALITY))
        part.commit(over=before)


class SheetWriter:
    """Writes the sheet of each job that ends with an output; see `SheetMaker`."""

    def __init__(self, root: Path | None = None) -> None:
        """No sheet is written outside of `root`."""
        self.models: Models | None = None
        """Those of the run, once they are known."""
        self._root = root
        self._scope: Scope | None = None
        self._cancelled = False

    def __call__(self, event: JobFinished, on_step: OnStep) -> None:
        """Write the sheet. A job that was up to date keeps the one it has. Raises DhError."""
        path = sheet_path(Path(event.save_path))
        has_one = event.status == "skipped" and path.exists()
        if self.models is None or self._cancelled or has_one or event.result_path is None:
            return
        self.write(self.models, Path(event.result_path), path, on_step)

    def write(self, models: Models, result_path: Path, path: Path, on_step: OnStep) -> None:
        """Write the sheet of the video that a result tells of. Raises DhError; after `cancel` nothing is written."""
        try:
            result = read_result(result_path)
        except UnreadableResultError as error:
            raise DhError("input.changed", str(error), hint="Render again.") from error
        if result is None or result.output is None:
            return
        if trouble := unlike(result.output):
            raise DhError("input.changed", trouble, hint="Render again.")
        try:
            with Scope(timeout_s=VIDEO_S, on_beat=lambda: on_step(f"the video {result.output}")) as self._scope:
                seen = see(self._scope, models.finder, Path(result.output.path), source_of(result), TILE)
        except Stopped:
            if self._cancelled:
                return
            raise DhError("job.timeout", f"Looking at the video took more than {VIDEO_S:g} s.") from None
        finally:
            self._scope = None
        write_sheet(path, draw_sheet(seen), self._root)

    def cancel(self) -> None:
        """Write no more sheets. From any thread."""
        self._cancelled = True
        scope = self._scope
        if scope is not None:
            scope.fail(DhError("job.cancelled", "A signal ended the look at the video."), "look")
