"""The N-th write, flush, rename or open of our own files fails, for every N until a run passes unharmed."""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from called import may_run
from dhcli.disk.hashes import HashCache
from dhcli.errors import CODES, FAILED, OK, RESULTS_LOST, TRY_LATER, UNAVAILABLE, DhError
from dhcli.events import Warned
from dhcli.reports import Reports, Wanted
from dhcli.results.result import JobResult

pytestmark = pytest.mark.slow

Render = Callable[..., Any]

OPERATIONS = ("open", "write", "pwrite", "fsync", "replace")


class Disk:
    """The calls that reach our files, counted; the `at`-th call of one operation fails."""

    def __init__(self, folders: tuple[Path, ...], operation: str, number: int, at: int) -> None:
        self.failed = ""
        """The file at which it failed, "" where it did not."""
        self._folders = tuple(map(str, folders))
        self._operation, self._errno, self._left = operation, number, at
        self._names: dict[int, str] = {}
        self._real = {"io": io.open} | {name: getattr(os, name) for name in OPERATIONS}

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "open", self._open)
        monkeypatch.setattr(io, "open", self._open_by_path)  # what Path.open, read_text and read_bytes call
        monkeypatch.setattr(os, "replace", self._replace)
        for name in ("write", "pwrite", "fsync"):
            monkeypatch.setattr(os, name, self._on_descriptor(name))

    def _full(self, path: Any, folder: int | None) -> str:
        """Where `path` leads, with a name in an open folder as a path."""
        if not isinstance(path, (str, bytes, os.PathLike)):
            return ""
        name = os.fsdecode(path)
        return name if folder is None else f"{self._names.get(folder, '')}/{name}"

    def _count(self, operation: str, name: str) -> None:
        if operation != self._operation:
            return
        self._left -= 1
        if self._left == 0:
            self.failed = name
            raise OSError(self._errno, os.strerror(self._errno), name)

    def _open(self, path: Any, *args: Any, **options: Any) -> int:
        name = self._full(path, options.get("dir_fd"))
        if name.startswith(self._folders):
            self._count("open", name)
        descriptor: int = self._real["open"](path, *args, **options)
        self._names.pop(descriptor, None)
        if name.startswith(self._folders):
            self._names[descriptor] = name
        return descriptor

    def _open_by_path(self, path: Any, *args: Any, **options: Any) -> Any:
        name = self._full(path, None)
        if name.startswith(self._folders):
            self._count("open", name)
        return self._real["io"](path, *args, **options)

    def _replace(self, old: Any, new: Any, **options: Any) -> None:
        name = self._full(new, options.get("dst_dir_fd"))
        if name.startswith(self._folders):
            self._count("replace", name)
        self._real["replace"](old, new, **options)

    def _on_descriptor(self, operation: str) -> Callable[..., Any]:
        def call(descriptor: int, *args: Any) -> Any:
            if descriptor in self._names:
                self._count(operation, self._names[descriptor])
            return self._real[operation](descriptor, *args)

        return call


FAILURES = [(number, operation) for number in (errno.ENOSPC, errno.EIO) for operation in OPERATIONS]


@pytest.mark.parametrize(
    ("number", "operation"),
    [*FAILURES, (errno.EDQUOT, "write")],  # a quota takes the way of a full disk: one operation shows that it does
    ids=lambda value: errno.errorcode[value] if isinstance(value, int) else value,
)
def test_every_call_fails_once(
    render: Render,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: Callable[[], list[str]],
    operation: str,
    number: int,
) -> None:
    for at in itertools.count(1):
        (out / "out.mp4").write_bytes(b"the old video")
        (out / "out.mp4.json").unlink(missing_ok=True)
        with monkeypatch.context() as patch:
            disk = Disk((out,), operation, number, at)
            disk.install(patch)
            try:
                run = render(limit_frames=4)
            except DhError:  # the run passed unharmed; it is the look at its result that failed
                assert disk.failed == str(out / "out.mp4.json")
                break
        assert content() in (["out.mp4", "out.mp4.json"], ["out.mp4"]), "neither part nor lock nor face track"
        if not disk.failed:
            assert (run.summary.exit_code, run.summary.succeeded) == (0, 1)
            break
        assert at < 30
        check_told(run, Path(disk.failed), out, number, operation)
    assert at > 1, "nothing was provoked"


def check_told(run: Any, failed: Path, out: Path, number: int, operation: str) -> None:
    """What the run says is true of what is on the disk."""
    video, lost = (out / "out.mp4").read_bytes(), lost_result(run.events)
    if lost is not None and lost.status == "succeeded":
        assert lost.output is not None
        assert run.summary.exit_code == 74
        assert len(video) == lost.output.bytes
        return
    told: Any = run.result if lost is None else lost
    if (operation, failed.name) == ("open", "out.mp4.json"):
        # The look for jobs that failed before, which only sorts them.
        assert (told.status, run.summary.exit_code, len(video)) == ("succeeded", 0, told.output.bytes)
        return
    assert told.status == "failed", failed
    assert told.error.code == code(told.error.stage, number), told.error.traceback
    assert os.strerror(number) in told.error.message
    transient = CODES[told.error.code].exit_code == TRY_LATER or CODES[told.error.code].transient
    assert run.summary.exit_code == (RESULTS_LOST if lost is not None else TRY_LATER if transient else FAILED)
    # A folder is flushed after the rename: the new name is there, but a power cut may take it back.
    assert video == b"the old video" or (failed == out and operation == "fsync")


def code(stage: str, number: int) -> str:
    """What is said of a call that failed with this number in this stage."""
    if stage == "verify":
        return "output.mismatch"  # it cannot be read back
    return "output.disk_full" if number in {errno.ENOSPC, errno.EDQUOT} else "output.not_writable"


def lost_result(events: list[Any]) -> JobResult | None:
    """The result that went to stderr because its file could not be written."""
    lost = [event.message for event in events if isinstance(event, Warned) and event.code == "result.lost"]
    return JobResult.model_validate(json.loads(lost[0].partition("It says: ")[2])) if lost else None


OLD = {
    "log": '{"event": "summary"}\n',
    "dh.prom": "dh_run_exit_code 3\n",
    "dh.xml": '<testsuites><testsuite name="dh render"/></testsuites>',
}
"""The reports as an earlier run left them."""


def write_all(folder: Path, how: Callable[..., Any], shown: list[Any]) -> int:
    """Everything around a run of a job that is up to date: reports, hash cache, run lock. The exit code."""
    wanted = Wanted(folder / "log", folder / "dh.prom", folder / "dh.xml")
    later_ns = 10**10
    cache = HashCache(folder / "cache", clock_ns=lambda: time.time_ns() + later_ns)  # the inputs count as old enough
    with Reports(wanted, shown.append) as reports:
        try:
            run = how(if_exists="skip", emit=reports, hashes=cache, run_lock=folder / "lock")
        except DhError as error:
            return error.info.exit_code
        assert run.summary.skipped == 1
        return reports.exit_code(run.summary.exit_code)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
def test_every_call_around_a_run_fails_once(
    render: Render, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """No trouble of a report, of the cache or of the run lock touches a video, and none is kept from the exit code."""
    folder = tmp_path / "around"
    folder.mkdir()
    render()
    pair = {path.name: path.read_bytes() for path in out.iterdir()}
    failed = set()
    for operation in OPERATIONS:
        for at in itertools.count(1):
            for name, text in OLD.items():
                (folder / name).write_text(text)
            shutil.rmtree(folder / "cache", ignore_errors=True)
            shown: list[Any] = []
            with monkeypatch.context() as patch:
                disk = Disk((folder,), operation, number, at)
                disk.install(patch)
                code = write_all(folder, render, shown)
            assert {path.name: path.read_bytes() for path in out.iterdir()} == pair
            check_reports(folder)
            lost = [event.message for event in shown if isinstance(event, Warned) and event.code == "report.lost"]
            at_fault = disk.failed and os.path.relpath(disk.failed, folder).partition("/")[0]
            expected = OK if at_fault in {"", "cache"} else UNAVAILABLE if at_fault == "lock" else RESULTS_LOST
            assert (code, bool(lost)) == (expected, expected == RESULTS_LOST), (operation, at, disk.failed)
            if not disk.failed:
                break
            failed.add((operation, at_fault))
    assert {("open", "lock"), ("pwrite", "lock"), ("replace", "cache"), ("write", "log"), ("open", "dh.prom")} <= failed


def check_reports(folder: Path) -> None:
    """Each is the old one or the new one, whole; a log may lack lines."""
    assert {path.name for path in folder.iterdir()} <= {*OLD, "lock", "cache"}, "neither part nor lock"
    for line in (folder / "log").read_text().splitlines():
        assert json.loads(line)["event"]
    assert ET.parse(folder / "dh.xml").getroot().tag == "testsuites"  # noqa: S314 - our own text
    metrics = (folder / "dh.prom").read_text()
    assert metrics.endswith("\n")
    assert "dh_run_exit_code 3" in metrics or "dh_run_exit_code 0" in metrics or "dh_run_exit_code 74" in metrics


def test_results_that_cannot_be_written_at_all_go_to_stderr(
    dh: Callable[..., subprocess.Popen[str]], out: Path, tmp_path: Path
) -> None:
    blocked = tmp_path / "results"
    blocked.write_text("a file where the folder should be")
    process = dh("--results-dir", str(blocked), "--quiet")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 74
    line = next(line for line in stderr.splitlines() if "It says: " in line)
    told = json.loads(line.partition("It says: ")[2].rpartition(" [")[0])
    assert told["status"] == "failed"
    assert told["error"]["code"] == "output.not_writable"
    assert not list(out.iterdir())


def test_a_limit_on_file_sizes_is_a_full_disk(
    dh: Callable[..., subprocess.Popen[str]], content: Callable[[], list[str]], stored: Callable[[], dict[str, Any]]
) -> None:
    """The encoder dies of SIGXFSZ; the result, which is smaller, still fits."""
    limit = 128 << 10
    process = dh("--set", "crf=0", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 75, stderr
    assert stored()["error"]["code"] == "output.disk_full"
    assert content() == ["out.mp4.json"]


def test_a_disk_that_is_really_full(dh: Callable[..., subprocess.Popen[str]], out: Path, tmp_path: Path) -> None:
    """A file system of 48 KiB in a mount namespace of the test: the video does not fit, its result does."""
    if not may_run("unshare", "-Ur", "-m", "true"):
        pytest.skip("this system gives no mount namespace to an ordinary user")
    saved = tmp_path / "saved"
    script = f'mount -t tmpfs -o size=48k tmpfs "{out}" && {{ "$@"; code=$?; cp -a "{out}/." "{saved}"; exit $code; }}'
    saved.mkdir()
    under = ("unshare", "-Ur", "-m", "sh", "-c", script, "sh")
    _, stderr = (process := dh("--set", "crf=0", "--min-disk", "0", under=under)).communicate(timeout=60)
    assert process.returncode == 75, stderr
    assert sorted(path.name for path in saved.iterdir()) == ["out.mp4.json"]
    result = json.loads((saved / "out.mp4.json").read_bytes())
    assert (result["status"], result["error"]["code"]) == ("failed", "output.disk_full")
    assert result["error"]["hint"]
