"""Writing the page: whole or not at all, and only over an earlier page. And making that of a run, at its end."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from dhcli.disk.lock import output_lock
from dhcli.disk.part import PartFile
from dhcli.events import JobFinished
from dhcli.overview.collect import Entry, entry_of
from dhcli.overview.document import page
from dhcli.overview.look import Looker, OnVideo, Pictures
from dhcli.overview.summary import Summary, row_of, summary_of
from dhcli.render.models import Models
from dhcli.reports import PAGE, replaceable
from dhcli.runtime.disk_calls import OnStep

LOCK_WAIT_S = 10.0
OWN_PAGE = dataclasses.replace(PAGE, flag="-o")
"""What `dh report -o` writes."""


def write_page(path: Path, entries: Sequence[Entry], summary: Summary, pictures: Mapping[Path, Pictures]) -> None:
    """Write the page. Raises DhError output.exists, output.not_writable, output.disk_full, env.locked."""
    text = page(entries, summary, pictures)
    with output_lock(path, wait_s=LOCK_WAIT_S), PartFile(path) as part:
        before = replaceable(path, OWN_PAGE)
        part.write(text.encode())
        part.commit(over=before)


class RunPage:
    """Makes the page of a run; see `PageMaker`."""

    def __init__(self, on_video: OnVideo = lambda *_: None) -> None:
        self._on_video = on_video
        self.models: Models | None = None
        """Those of the run, once they are known; without them nothing is looked at."""
        self._looker: Looker | None = None
        self._cancelled = False

    def __call__(self, finished: Sequence[JobFinished], notes: Sequence[str], on_step: OnStep) -> str:
        """The HTML of the page."""
        entries = list(_entries({one.job_id: one for one in finished}.values(), on_step))
        pictures: dict[Path, Pictures] = {}
        if (models := self.models) is not None:
            looker = self._looker = Looker(lambda: models.finder, lambda: on_step("a finished video"))
            if self._cancelled:
                looker.cancel()
            pictures = looker.look(entries, self._on_video)
        return page(entries, summary_of(map(row_of, entries)), pictures, notes)

    def cancel(self) -> None:
        """Look at no more videos. From any thread."""
        self._cancelled = True
        if self._looker is not None:
            self._looker.cancel()


def _entries(finished: Iterable[JobFinished], on_step: OnStep) -> Iterator[Entry]:
    """The jobs of a run, each with its result; those that have none by what the run said of them."""
    for event in finished:
        on_step(f"the result of {event.job_id}")
        own = None if event.result_path is None else entry_of(Path(event.result_path))
        if own is not None:
            yield dataclasses.replace(own, status=event.status)
        else:
            path = Path(event.result_path or f"{event.save_path}.json")
            trouble = event.message or "Its result cannot be read."
            yield Entry(event.job_id, event.save_path, path, None, trouble, event.status)
