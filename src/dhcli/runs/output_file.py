"""The file at an output's path: whose it is before the render, and putting the new one in its place.

A file is replaced only where dh wrote it, by the hashes in its result, or where the user allows any.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeAlias

from dhcli.disk.part import PartFile, Replaceable
from dhcli.disk.regular import FileStamp
from dhcli.errors import DhError
from dhcli.jobs.options import Job
from dhcli.media.input_file import InputFile
from dhcli.media.verify import VerifiedOutput
from dhcli.results.parts import FileContent, PutInPlace
from dhcli.results.result import JobResult
from dhcli.results.uptodate import Legacy, legacy
from dhcli.runs.attempt_record import AttemptRecord
from dhcli.runs.inputs import content_sha256
from dhcli.runs.settings import Settings
from dhcli.runtime.scope import Scope

Outputs: TypeAlias = dict[tuple[int, int], Job]
"""By device and inode: the outputs that this run has made or found up to date, and their jobs."""


class OutputFile:
    """The output's path in one attempt. What it finds out goes into the attempt's record."""

    def __init__(self, job: Job, settings: Settings, record: AttemptRecord, outputs: Outputs) -> None:
        """`outputs` are those of the run so far; this one is added."""
        self._job, self._settings, self._record, self._outputs = job, settings, record, outputs
        self._before: FileStamp | None = None
        """The file that was there when the attempt began."""
        self._earlier = Legacy()
        """What the earlier result says about it."""
        self._checked: FileStamp | None = None
        """The checked part, as it was right before it was renamed."""

    @property
    def existed(self) -> bool:
        """Whether a file was there when the attempt began."""
        return self._before is not None

    def clash(self) -> DhError | None:
        """The error where the file is another job's output of this run, as the result beside it then is; else None.

        The check of the manifest compares names. It misses names that differ only in case on some disks, and folders
        that were linked to each other since.
        """
        try:
            there = FileStamp.of(self._job.save_path)
        except OSError:
            return None
        other = self._outputs.get((there.device, there.inode), self._job)
        if other.id == self._job.id:
            return None
        return DhError(
            "output.exists",
            f"The output {self._job.save_path} is the file {other.save_path}, which this run made for the job "
            f"{other.id}: the disk ignores case, or a link joins the two.",
            hint="Give each job an output of its own.",
            stage="output",
        )

    def look(self, previous: JobResult | None) -> None:
        """Refuse an existing file that cannot be dh's, or that the user wants to keep. Raises DhError output.exists.

        This compares sizes; `prove_ownership` compares hashes, right before the render.
        """
        how, record, save_path = self._settings, self._record, self._job.save_path
        with contextlib.suppress(OSError):
            self._before = FileStamp.of(save_path)
        earlier = self._earlier = legacy(previous, save_path, beside=how.results_dir is None)
        success = earlier.last_success
        record.last_success, record.put_in_place = success, earlier.put_in_place
        record.owns_output = self._before is not None and earlier.may_own(self._before.size)
        if how.if_exists == "overwrite" or self._before is None:
            return
        if how.if_exists == "fail":
            raise self._exists("is there already")
        if not record.owns_output:
            raise self._exists("is there already, and no result says that dh made it as it is now")
        if how.limit_frames is not None and success is not None and success.limit_frames is None:
            raise self._exists(f"is whole, and a render with --limit-frames {how.limit_frames} would replace it")

    def why_changed(self, scope: Scope) -> str | None:
        """Why the file is not the last successful output, by its content; None where it is."""
        success = self._record.last_success
        assert success is not None
        try:
            with InputFile(self._job.save_path, "output") as output:
                sha256 = content_sha256(output, scope)
        except DhError as error:
            return f"stale: {error.message}"
        return None if sha256 == success.output.sha256 else "stale: the output's content is not what was rendered"

    def prove_ownership(self, scope: Scope) -> None:
        """Read the file that is about to be replaced: dh wrote it only if its hash is recorded.

        Raises DhError output.exists.
        """
        if self._settings.if_exists == "overwrite" or self._before is None:
            return
        with InputFile(self._job.save_path, "output") as output:
            sha256 = self._settings.hashes.sha256(output.fd, lambda: content_sha256(output, scope))
            if not self._earlier.owns(output.bytes, sha256):
                self._record.owns_output = False
                raise self._exists("is there already, and its content is not what dh wrote there")

    def keep(self) -> None:
        """The file that was there stays as this job's output."""
        if self._before is not None:
            self._outputs[self._before.device, self._before.inode] = self._job

    def replace(self, part: PartFile, scope: Scope, write_result: Callable[[], None]) -> None:
        """Rename the checked part to the output's path. Raises DhError output.*; Stopped.

        `write_result` writes a result with the part's hash before that: after a kill it proves that the file is dh's.
        """
        record, before = self._record, self._record.put_in_place
        output = record.output
        assert output is not None
        written = FileContent(bytes=output.bytes, sha256=output.sha256)
        contents = dict.fromkeys((*(before.contents if before is not None else ()), written))
        record.put_in_place = PutInPlace(path=str(self._job.save_path), contents=tuple(contents))
        try:
            write_result()
            scope.seal()
            over: Replaceable = "anything" if self._settings.if_exists == "overwrite" else self._before
            part.commit(over=over, whole=lambda: self._refuse_changed_part(part, output, scope))
            self._outputs[output.stamp.device, output.stamp.inode] = self._job
        finally:
            if part.committed:
                record.owns_output = True
            else:
                record.put_in_place = before

    def check_in_place(self) -> None:
        """The last check before `succeeded`: the output is at its path, as it was checked.

        Raises DhError output.mismatch.
        """
        with contextlib.suppress(OSError):
            if FileStamp.of(self._job.save_path).same_content(self._checked):
                return
        raise DhError(
            "output.mismatch",
            f"The output {self._job.save_path} was changed, removed or replaced after dh had put it in place.",
            hint="Let nobody else write there, then render again.",
        )

    def _refuse_changed_part(self, part: PartFile, output: VerifiedOutput, scope: Scope) -> None:
        """The part must be what was read back. Where only its times differ, its content is read again."""
        self._checked = FileStamp.of(part.fd)
        if self._checked == output.stamp:
            return
        with InputFile(part.path, "output", folder=part.folder) as file:
            if content_sha256(file, scope) != output.sha256:
                raise DhError(
                    "output.mismatch",
                    f"output {part.path}: it was changed after it was checked.",
                    hint="Let nobody but dh write this file, then render again.",
                )

    def _exists(self, finding: str) -> DhError:
        return DhError(
            "output.exists",
            f"The output {self._job.save_path} {finding}.",
            hint="Move it away, name another save_path, or use --force (--if-exists overwrite).",
            stage="output",
        )
