"""Files of other people at an output's path while dh works, and outputs that change before dh tells of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dhcli.disk import rename
from dhcli.disk.part import PartFile
from dhcli.disk.regular import FileStamp
from dhcli.events import Event, JobFinished
from dhcli.manifest import single_job
from dhcli.render.models import Models
from dhcli.results.result import read_result
from dhcli.runs.batch import Batch
from dhcli.runs.output_file import OutputFile
from dhcli.runs.retry import Retry
from dhcli.runs.settings import Policy, Settings

pytestmark = pytest.mark.slow

Render = Callable[..., Any]
PRECIOUS = b"precious"


@pytest.fixture(params=["renameat2", "hard links", "neither"])
def every_file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a file system can offer for a rename that overwrites nothing."""
    how = request.param
    if how != "renameat2":
        monkeypatch.setattr(rename, "_call", lambda: None)
    if how == "neither":
        monkeypatch.setattr(os, "link", refuse_link)


def refuse_link(*_: object, **__: object) -> None:
    raise PermissionError(1, os.strerror(1))


@pytest.mark.parametrize("before", ["nothing", "an earlier output"])
def test_a_newcomer_at_the_moment_of_the_rename_is_kept(
    render: Render, out: Path, monkeypatch: pytest.MonkeyPatch, content: Callable[[], list[str]], before: str
) -> None:
    """With the kernel's help: it comes after the last look that a program can take."""
    output = out / "out.mp4"
    name = "rename_new"
    if before == "an earlier output":
        assert render(limit_frames=2).result.status == "succeeded"
        name = "exchange"
    real = getattr(rename, name)
    came: list[bool] = []

    def come_first(*args: Any) -> Any:
        if not came:
            came.append(True)
            (out / "theirs").write_bytes(PRECIOUS)
            (out / "theirs").replace(output)
        return real(*args)

    monkeypatch.setattr(rename, name, come_first)
    run = render(limit_frames=3, if_exists="skip")
    assert came
    assert (run.result.status, run.result.error.code) == ("failed", "output.exists")
    assert output.read_bytes() == PRECIOUS
    assert content() == ["out.mp4", "out.mp4.json"]


@pytest.mark.usefixtures("every_file_system")
def test_a_newcomer_during_the_commit_is_kept(render: Render, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, real = out / "out.mp4", PartFile.flush
    flushed = []

    def come_before(part: PartFile) -> None:
        real(part)
        flushed.append(part.save_path)
        if flushed.count(output) == 2:  # the first comes before the file is read back, the second begins the commit
            output.write_bytes(PRECIOUS)

    monkeypatch.setattr(PartFile, "flush", come_before)
    run = render(limit_frames=2, if_exists="skip")
    assert (run.result.status, run.result.error.code) == ("failed", "output.exists")
    assert output.read_bytes() == PRECIOUS


@pytest.mark.usefixtures("every_file_system")
def test_renders_on_every_file_system(render: Render, content: Callable[[], list[str]]) -> None:
    for frames in (2, 3):  # onto nothing, and over an output of its own
        assert render(limit_frames=frames, if_exists="skip").result.status == "succeeded"
        assert content() == ["out.mp4", "out.mp4.json"]


@pytest.mark.usefixtures("every_file_system")
def test_rename_onto_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"new")
    (tmp_path / "new").write_bytes(PRECIOUS)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(FileExistsError):
            rename.rename_new("old", "new", folder)
        assert (tmp_path / "new").read_bytes() == PRECIOUS
        (tmp_path / "new").unlink()
        rename.rename_new("old", "new", folder)
    finally:
        os.close(folder)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"new": b"new"}


def change(path: Path, how: str) -> None:
    """Edit the file in place, with its time of modification set back."""
    before = path.stat()
    if how == "cut":
        os.truncate(path, before.st_size // 2)
    elif how == "one byte":
        with path.open("r+b") as file:
            file.seek(before.st_size // 2)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("how", ["cut", "one byte", "times alone"])
def test_a_part_that_is_changed_after_it_was_read_back_is_not_put_in_place(
    render: Render, monkeypatch: pytest.MonkeyPatch, content: Callable[[], list[str]], how: str
) -> None:
    real = OutputFile.replace

    def changed(output: OutputFile, part: PartFile, *args: Any) -> None:
        change(part.path, how)
        real(output, part, *args)

    monkeypatch.setattr(OutputFile, "replace", changed)
    result = render(limit_frames=2).result
    if how == "times alone":
        assert result.status == "succeeded"
        return
    assert (result.status, result.error.code, result.error.stage) == ("failed", "output.mismatch", "commit")
    assert content() == ["out.mp4.json"]


@pytest.mark.parametrize("how", ["removed", "replaced", "cut"])
def test_an_output_that_goes_before_its_result_is_written_is_no_success(
    render: Render, out: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    output, real = out / "out.mp4", PartFile.commit

    def gone(part: PartFile, **options: Any) -> None:
        real(part, **options)
        if part.save_path == output and how == "removed":
            output.unlink()
        elif part.save_path == output and how == "replaced":
            output.unlink()
            output.write_bytes(PRECIOUS)
        elif part.save_path == output:
            change(output, "cut")

    monkeypatch.setattr(PartFile, "commit", gone)
    result = render(limit_frames=2, if_exists="skip").result
    assert (result.status, result.error.code) == ("failed", "output.mismatch")
    monkeypatch.undo()
    again = render(limit_frames=2, if_exists="skip").result
    assert again.status == ("succeeded" if how == "removed" else "failed")


@pytest.mark.parametrize("if_exists", ["skip", "overwrite"])
def test_an_output_that_this_run_made_for_another_job_is_not_replaced(
    tmp_path: Path, models: Models, clip: Path, words: Path, if_exists: str
) -> None:
    """As on a disk that ignores case: two paths that the manifest's check could not know to be one."""
    one, other = tmp_path / "a", tmp_path / "b"
    one.mkdir()
    other.mkdir()
    jobs = [single_job(words, clip, folder / f"{name}.mp4", {}).jobs[0] for folder, name in ((one, "x"), (other, "y"))]
    events: list[Event] = []

    def join(event: Event) -> None:
        events.append(event)
        if isinstance(event, JobFinished) and event.job_id == "x":
            (other / "y.mp4").hardlink_to(one / "x.mp4")

    settings = Settings(models, if_exists=if_exists, limit_frames=2)  # type: ignore[arg-type]
    summary = Batch(settings, join, Policy(retry=Retry(0))).run(jobs)
    before = FileStamp.of(one / "x.mp4")
    assert (summary.succeeded, summary.failed, summary.exit_code) == (1, 1, 1)
    finished = next(event for event in events if isinstance(event, JobFinished) and event.job_id == "y")
    assert finished.code == "output.exists"
    assert str(one / "x.mp4") in (finished.message or "")
    first = read_result(one / "x.mp4.json")
    assert first is not None
    assert (first.status, FileStamp.of(other / "y.mp4")) == ("succeeded", before)
