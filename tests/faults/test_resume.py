"""A batch that ended early is run again: what is missing is made, all else is left as it is, and why is said."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from dhcli.command.preview import preview
from dhcli.disk.hashes import HashCache
from dhcli.events import Event, JobDecided, JobFinished, JobPlanned, Progress, Summary
from dhcli.manifest import load_manifest
from dhcli.media.ffmpeg_program import find_ffmpeg
from dhcli.media.input_file import InputFile
from dhcli.networks.network import Device
from dhcli.render.models import Models
from dhcli.results.result import JobResult, read_result
from dhcli.runs.batch import Batch
from dhcli.runs.settings import Policy, Settings
from dhcli.runtime.scope import Scope

pytestmark = pytest.mark.slow

FakeFfmpeg = Callable[..., Path]
Until = Callable[..., bool]
RUN = [sys.executable, "-m", "dhcli", "render", "night.yaml", "--device", "cpu", "--retries", "0"]


class Night:
    """A manifest with jobs named after their outputs, and what was rendered in a run of it."""

    def __init__(self, folder: Path, models: Models, audio: Path, video: Path) -> None:
        self.folder, self.models = folder, models
        shutil.copyfile(audio, folder / "words.wav")
        shutil.copyfile(video, folder / "clip.mp4")
        self.jobs: dict[str, dict[str, Any]] = {name: {} for name in ("a", "b", "c")}
        self.events: list[Event] = []

    def write(self) -> None:
        common = {"audio": "words.wav", "video": "clip.mp4", "preset": "ultrafast"}
        jobs = [common | {"save_path": f"{name}.mp4"} | options for name, options in self.jobs.items()]
        (self.folder / "night.yaml").write_text(json.dumps({"version": 1, "jobs": jobs}))

    def run(self, *, only_failed: bool = False, **how: Any) -> dict[str, str]:
        """Job and status, in the order of the run."""
        self.write()
        self.events = []
        settings = Settings(self.models, **{"limit_frames": 2} | how)
        loaded = load_manifest(self.folder / "night.yaml")
        Batch(settings, self.events.append, Policy(only_failed=only_failed)).run(loaded.jobs, loaded.path)
        return {event.job_id: event.status for event in self.events if isinstance(event, JobFinished)}

    def foreseen(self, **how: Any) -> dict[str, str]:
        """Job and what a preview says of it: the code where it would fail, else what would be done."""
        self.write()
        events: list[Event] = []
        settings = Settings(self.models, **{"limit_frames": 2} | how)
        preview(settings, load_manifest(self.folder / "night.yaml").jobs, events.append)
        return {event.job_id: event.code or event.action for event in events if isinstance(event, JobPlanned)}

    @property
    def exit_code(self) -> int:
        assert isinstance(self.events[-1], Summary)
        return self.events[-1].exit_code

    @property
    def reasons(self) -> dict[str, str]:
        return {event.job_id: event.reason for event in self.events if isinstance(event, JobDecided)}

    def result(self, name: str) -> JobResult:
        found = read_result(self.folder / f"{name}.mp4.json")
        assert found is not None
        return found

    def refusal(self, name: str) -> str | None:
        error = self.result(name).error
        return error.code if error is not None else None

    def tree(self) -> dict[str, tuple[int, int]]:
        """Every output and result, with inode and time: any touch shows."""
        found = {
            path.name: path.stat() for path in self.folder.iterdir() if ".mp4" in path.name and path.name[0] != "."
        }
        return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


@pytest.fixture
def night(tmp_path: Path, models: Models, words: Path, clip: Path) -> Night:
    folder = tmp_path / "night"
    folder.mkdir()
    return Night(folder, models, words, clip)


@pytest.fixture
def kill(night: Night, fake_ffmpeg: FakeFfmpeg, until: Until, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run the manifest in a process that is killed by SIGKILL in its nth encode."""

    def run(nth: int, *flags: str) -> None:
        night.write()
        mark = fake_ffmpeg("encode", "stuck()", nth)
        mark.unlink(missing_ok=True)
        now = Path(f"{mark}.now")
        now.unlink(missing_ok=True)
        how: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen([*RUN, "--limit-frames", "2", *flags], cwd=night.folder, **how)
        try:
            assert until(now.exists)
        finally:
            process.kill()
            process.wait()
        monkeypatch.delenv("DH_FFMPEG")

    return run


def test_a_killed_batch_renders_only_what_is_missing(night: Night, kill: Callable[..., None]) -> None:
    kill(2)
    assert (night.result("a").status, night.result("b").status) == ("succeeded", "running")
    before = night.tree()
    assert list(night.run().items()) == [("a", "skipped"), ("c", "succeeded"), ("b", "succeeded")], "b killed, so last"
    assert night.reasons == {"a": "up to date", "b": "the last attempt was killed", "c": "no earlier result"}
    after = night.tree()
    assert all(after[name] == before[name] for name in ("a.mp4", "a.mp4.json"))
    assert sorted(path.name for path in night.folder.iterdir() if path.name[0] == ".") == [], "no part, no lock"


def test_a_second_run_touches_nothing(night: Night) -> None:
    night.run()
    before = night.tree()
    assert set(night.run().values()) == {"skipped"}
    assert night.tree() == before
    assert night.exit_code == 0


def test_a_job_that_killed_the_process_twice_is_poison_until_somebody_says_otherwise(
    night: Night, kill: Callable[..., None]
) -> None:
    night.jobs = {"a": {}}
    kill(1)
    assert night.result("a").killed_before == 0
    kill(1)
    assert night.result("a").killed_before == 1
    night.jobs = {"a": {}, "b": {}}
    for _ in range(2):
        assert list(night.run().items())[-1] == ("a", "failed")
        error = night.result("a").error
        assert error is not None
        assert (error.code, night.result("a").killed_before, night.exit_code) == ("job.poison", 2, 1)
        assert "--retry-poison" in error.hint
    assert night.run(retry_poison=True)["a"] == "succeeded"
    assert night.result("a").killed_before == 0


def test_a_changed_job_is_not_poison(night: Night, kill: Callable[..., None]) -> None:
    night.jobs = {"a": {}}
    kill(1)
    kill(1)
    night.jobs = {"a": {"crf": "30"}}
    assert night.run() == {"a": "succeeded"}


def test_a_kill_that_is_followed_by_an_end_does_not_count(night: Night, kill: Callable[..., None]) -> None:
    night.jobs = {"a": {}}
    kill(1)
    night.run()
    kill(1, "--force")
    assert night.run() == {"a": "succeeded"}


def test_what_failed_runs_last_and_alone_where_asked_for(night: Night) -> None:
    night.jobs["a"] = {"video": "later.mp4"}
    assert night.run() == {"a": "failed", "b": "succeeded", "c": "succeeded"}
    night.jobs["d"] = {}
    assert list(night.run().items()) == [("b", "skipped"), ("c", "skipped"), ("d", "succeeded"), ("a", "failed")]
    shutil.copyfile(night.folder / "clip.mp4", night.folder / "later.mp4")
    assert night.run(only_failed=True) == {"a": "succeeded"}
    assert night.run(only_failed=True) == {}
    assert night.exit_code == 0


def test_a_reordered_manifest_and_a_moved_folder_are_up_to_date(night: Night, tmp_path: Path) -> None:
    night.run()
    night.jobs = dict(reversed(night.jobs.items()))
    moved = tmp_path / "elsewhere"
    night.folder.rename(moved)
    night.folder = moved
    before = night.tree()
    assert night.run() == {"c": "skipped", "b": "skipped", "a": "skipped"}
    assert night.tree() == before


@pytest.mark.parametrize("change", ["audio", "video", "option", "limit", "gone", "label", "touched"])
def test_what_changed_is_rendered_and_named(night: Night, change: str) -> None:
    night.jobs = {"a": {}, "b": {"audio": "other.wav", "video": "other.mp4"}}
    words, clip = (night.folder / name for name in ("words.wav", "clip.mp4"))
    shutil.copyfile(words, night.folder / "other.wav")
    shutil.copyfile(clip, night.folder / "other.mp4")
    night.run()
    reason = "up to date"
    match change:
        case "audio":
            words.write_bytes(words.read_bytes()[:-2] + b"\x01\x01")
            reason = "stale: the audio has changed"
        case "video":
            clip.write_bytes(clip.read_bytes() + b"\x00\x00\x00\x08free")
            reason = "stale: the video has changed"
        case "option":
            night.jobs["a"]["gain"] = "1.5"
            reason = 'stale: gain "auto" -> 1.5'
        case "gone":
            (night.folder / "a.mp4").unlink()
            reason = "stale: the output is gone"
        case "label":
            night.jobs["a"]["label"] = "for Anna"
        case "touched":
            words.touch()
    other = "up to date"
    if change == "limit":
        reason = other = "stale: limit_frames 2 -> 3"
    statuses = night.run(limit_frames=3 if change == "limit" else 2)
    assert night.reasons == {"a": reason, "b": other}
    assert statuses["a"] == ("skipped" if reason == "up to date" else "succeeded")


@pytest.fixture
def other_models(repository: Path, tmp_path: Path) -> Path:
    """A folder with a dh-base that has other bytes in one of its files, and with `mine`, which is dh-base."""
    for name in ("dh-base", "mine"):
        shutil.copytree(repository / "models/dh-base", tmp_path / "models" / name)
    mine = tmp_path / "models/mine/model.yaml"
    mine.write_text(mine.read_text().replace("name: dh-base", "name: mine"))
    geometry, descriptor = (tmp_path / "models/dh-base" / name for name in ("geometry.npz", "model.yaml"))
    before = geometry.read_bytes()
    with np.load(geometry) as archive:
        arrays = dict(archive)
    np.savez_compressed(geometry, **arrays)
    after = geometry.read_bytes()
    text = descriptor.read_text().replace(f"bytes: {len(before)}", f"bytes: {len(after)}")
    descriptor.write_text(text.replace(hashlib.sha256(before).hexdigest(), hashlib.sha256(after).hexdigest()))
    return tmp_path / "models"


def test_another_model_is_told_by_its_content_and_not_by_its_name(night: Night, other_models: Path) -> None:
    night.jobs = {"a": {}}
    night.run()
    night.models = Models((other_models,), Device("cpu"), 2)
    night.jobs = {"a": {"model": "mine"}}
    assert night.run() == {"a": "skipped"}
    night.jobs = {"a": {}}
    assert night.run() == {"a": "succeeded"}
    assert re.fullmatch(r"stale: the model has changed \(dh-base \w{12} -> \w{12}\)", night.reasons["a"])
    assert night.run() == {"a": "skipped"}


@pytest.mark.parametrize("in_time", [True, False])
def test_a_service_that_is_stopped_goes_on_at_its_next_start(
    night: Night, fake_ffmpeg: FakeFfmpeg, until: Until, monkeypatch: pytest.MonkeyPatch, in_time: bool
) -> None:
    """As a service manager does it: SIGTERM and, where that is not answered in time, SIGKILL."""
    night.write()
    mark = fake_ffmpeg("encode", "stuck()", 2)
    process = subprocess.Popen([*RUN, "--limit-frames", "2"], cwd=night.folder, stderr=subprocess.DEVNULL)
    assert until(Path(f"{mark}.now").exists)
    if not in_time:
        process.send_signal(signal.SIGSTOP)  # it cannot answer
    process.terminate()
    if not in_time:
        process.kill()
    assert process.wait(60) == (128 + signal.SIGTERM if in_time else -signal.SIGKILL)
    assert night.result("b").status == ("cancelled" if in_time else "running")
    monkeypatch.delenv("DH_FFMPEG")
    assert night.run() == {"a": "skipped", "b": "succeeded", "c": "succeeded"}
    assert night.exit_code == 0


JOBS = 3_000


def test_thousands_of_jobs_are_recognised_without_reading_their_media(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long that takes stands in benchmarks/resume.md; here: every job once, no byte of media, little memory."""
    later_ns = 10**10
    cache = HashCache(clock_ns=lambda: time.time_ns() + later_ns)  # the inputs count as old enough
    night.jobs = {"00000": {}}
    night.run(hashes=cache)
    result, size = (night.folder / "00000.mp4.json").read_text(), (night.folder / "00000.mp4").stat().st_size
    for number in range(1, JOBS):
        name = f"{number:05d}"
        with (night.folder / f"{name}.mp4").open("wb") as output:
            output.truncate(size)  # as much as is looked at
        (night.folder / f"{name}.mp4.json").write_text(result.replace("00000", name))
    night.jobs = {f"{number:05d}": {} for number in range(JOBS)}
    monkeypatch.setattr(InputFile, "sha256", lambda *_: pytest.fail("the media was read"))
    before = psutil.Process().memory_info().rss
    assert list(night.run(hashes=cache).items()) == [(name, "skipped") for name in night.jobs]
    assert psutil.Process().memory_info().rss - before < 128 << 20


def test_dry_run_says_why_and_writes_nothing(night: Night) -> None:
    night.run()
    night.jobs["b"]["crf"] = "30"
    night.jobs["d"] = {}
    night.write()
    before = sorted((path.name, path.stat().st_mtime_ns) for path in night.folder.iterdir())
    done = subprocess.run(
        [*RUN, "--limit-frames", "2", "--dry-run", "--json"],
        cwd=night.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    planned = {line["job_id"]: (line["action"], line["reason"]) for line in lines if "action" in line}
    assert planned == {
        "a": ("skip", "up to date"),
        "b": ("render", "stale: crf 18 -> 30"),
        "c": ("skip", "up to date"),
        "d": ("render", "no earlier result"),
    }
    assert sorted((path.name, path.stat().st_mtime_ns) for path in night.folder.iterdir()) == before


def test_verify_reads_the_output(night: Night) -> None:
    night.run()
    output = night.folder / "b.mp4"
    content = output.read_bytes()
    output.write_bytes(damaged(content))
    assert night.run()["b"] == "skipped", "the size is all that is looked at"
    assert night.run(verify=True) == {"a": "skipped", "b": "failed", "c": "skipped"}
    assert night.refusal("b") == "output.exists"
    assert output.read_bytes() == damaged(content)
    output.write_bytes(content)
    assert night.run(verify=True)["b"] == "skipped"


def test_an_ffmpeg_of_another_major_version_is_told_before_a_run(night: Night) -> None:
    night.jobs = {"a": {}}
    night.run()
    path = night.folder / "a.mp4.json"
    result = json.loads(path.read_bytes())
    result["environment"]["ffmpeg"] = "4.4"
    path.write_text(json.dumps(result))
    dry = [*RUN, "--limit-frames", "2", "--dry-run", "--json"]
    done = subprocess.run(dry, cwd=night.folder, capture_output=True, text=True, check=True)
    planned = json.loads(done.stdout.splitlines()[0])
    assert planned["action"] == "skip"
    assert planned["reason"].startswith("up to date; made with ffmpeg 4.4, and ")


def test_force_renders_everything(night: Night) -> None:
    night.run()
    assert set(night.run(if_exists="overwrite").values()) == {"succeeded"}
    assert set(night.reasons.values()) == {"asked for"}


@pytest.mark.parametrize("before", ["nothing", "an earlier output"])
@pytest.mark.parametrize("force", [False, True])
def test_a_file_that_comes_while_dh_renders(
    render: Callable[..., Any], out: Path, tmp_path: Path, before: str, *, force: bool
) -> None:
    """It is somebody's: whether it came before the render or in the middle of it makes no difference."""
    output, other = out / "out.mp4", tmp_path / "other"
    if before == "an earlier output":
        assert render(limit_frames=2).result.status == "succeeded"
    other.write_bytes(b"precious")

    def come(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "verify":
            other.replace(output)

    run = render(emit=come, if_exists="overwrite" if force else "skip")
    assert not other.exists()
    if force:
        assert run.result.status == "succeeded"
        assert output.read_bytes() != b"precious"
    else:
        assert run.result.error.code == "output.exists"
        assert output.read_bytes() == b"precious"


def test_a_file_that_dh_did_not_make_survives_every_run(night: Night) -> None:
    night.jobs = {"a": {}}
    output = night.folder / "a.mp4"
    output.write_bytes(b"precious")
    for _ in range(3):  # the first refusal leaves a result beside the file: that does not make the file dh's
        assert night.run() == {"a": "failed"}
        error = night.result("a").error
        assert error is not None
        assert error.code == "output.exists"
        assert output.read_bytes() == b"precious"


def test_an_old_output_stays_dhs_through_a_failure(night: Night) -> None:
    night.jobs = {"a": {}}
    night.run()
    old = (night.folder / "a.mp4").read_bytes()
    night.jobs = {"a": {"video": "nowhere.mp4"}}
    for _ in range(2):
        assert night.run() == {"a": "failed"}
        assert (night.folder / "a.mp4").read_bytes() == old
    night.jobs = {"a": {"crf": "30"}}
    assert night.run() == {"a": "succeeded"}


def test_an_output_edited_by_somebody_survives_every_run(night: Night) -> None:
    night.jobs = {"a": {}}
    night.run()
    output = night.folder / "a.mp4"
    output.write_bytes(output.read_bytes() + b"a caption")
    edited = output.read_bytes()
    night.jobs = {"a": {"crf": "30"}}
    for _ in range(2):
        assert night.run() == {"a": "failed"}
        assert night.refusal("a") == "output.exists"
        assert output.read_bytes() == edited
    assert night.run(if_exists="overwrite") == {"a": "succeeded"}


def test_a_precision_in_so_many_words_is_rendered_once(night: Night) -> None:
    night.jobs = {"a": {}}
    night.run()
    assert night.result("a").environment.precision == "int8"
    night.models = Models((), Device("cpu"), 2, "fp32")
    assert night.run() == {"a": "succeeded"}
    assert night.reasons == {"a": "stale: precision int8 -> fp32"}
    assert night.run() == {"a": "skipped"}
    night.models = Models((), Device("cpu"), 2)
    assert night.run() == {"a": "skipped"}, "near enough for whoever does not insist"


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_what_no_video_can_replace_is_foreseen(night: Night, kind: str) -> None:
    night.jobs = {"a": {}}
    path = night.folder / "a.mp4"
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("nowhere")
    else:
        os.mkfifo(path)
    for if_exists in ("skip", "overwrite"):
        assert night.run(if_exists=if_exists) == {"a": "failed"}
        assert night.foreseen(if_exists=if_exists) == {"a": night.refusal("a")}


def damaged(content: bytes) -> bytes:
    """As long, with one other byte."""
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    "other",
    [
        lambda _: b"",
        lambda whole: whole[: len(whole) // 100],
        lambda whole: whole[:-1],
        damaged,
        lambda _: b"a note in the place of the film",
        lambda whole: bytes(len(whole)),
    ],
    ids=["empty", "a copy that has just begun", "all but a byte", "one other byte", "a note", "as long"],
)
def test_what_is_not_byte_for_byte_dhs_is_somebodys_work(night: Night, other: Callable[[bytes], bytes]) -> None:
    night.jobs = {"a": {}}
    night.run()
    output = night.folder / "a.mp4"
    whole = output.read_bytes()
    output.write_bytes(other(whole))
    night.jobs = {"a": {"crf": "30"}}
    for _ in range(2):
        assert night.foreseen() == {"a": "output.exists"}
        assert night.run() == {"a": "failed"}
        assert night.refusal("a") == "output.exists"
        assert output.read_bytes() == other(whole)
    output.write_bytes(whole)
    assert night.foreseen() == {"a": "render"}
    assert night.run() == {"a": "succeeded"}, "back again, it is dh's"


def test_a_file_with_the_number_of_a_killed_runs_part_is_somebodys(night: Night, kill: Callable[..., None]) -> None:
    """A stale part is removed, as the manual says; the file system gives its inode to the next file."""
    night.jobs = {"a": {}}
    kill(1)
    (part,) = night.folder.glob(".*.dh-part")
    output = night.folder / "a.mp4"
    part.write_bytes(b"precious")
    part.rename(output)
    assert night.run() == {"a": "failed"}
    assert night.refusal("a") == "output.exists"
    assert output.read_bytes() == b"precious"


def test_a_shorter_film_of_somebody_is_kept(night: Night) -> None:
    night.jobs = {"a": {}}
    night.run()
    output, shorter = night.folder / "a.mp4", night.folder / "shorter.mp4"
    size = output.stat().st_size
    argv = [find_ffmpeg(), "-v", "error", "-i", str(output), "-c", "copy", "-an", "-frames:v", "2", str(shorter)]
    subprocess.run(argv, check=True)
    output.write_bytes(shorter.read_bytes())
    assert output.stat().st_size < size
    assert night.run() == {"a": "failed"}
    assert output.read_bytes() == shorter.read_bytes()


def test_a_result_does_not_make_another_file_dhs(night: Night, tmp_path: Path) -> None:
    """Results in a folder of their own, where the id stays and the output's path changes."""
    results = tmp_path / "results"
    night.jobs = {"a": {"id": "hello"}}
    night.run(results_dir=results)
    foreign = night.folder / "b.mp4"
    foreign.write_bytes((night.folder / "a.mp4").read_bytes())
    before = foreign.stat().st_ino
    night.jobs = {"b": {"id": "hello"}}
    for _ in range(2):
        assert night.run(results_dir=results) == {"hello": "failed"}
        assert foreign.stat().st_ino == before
    night.jobs = {"a": {"id": "hello"}}
    assert night.run(results_dir=results) == {"hello": "skipped"}


def test_another_way_to_the_same_output_is_the_same_output(night: Night, tmp_path: Path) -> None:
    results = tmp_path / "results"
    (night.folder / "there").mkdir()
    (night.folder / "link").symlink_to("there")
    night.jobs = {"there/a": {"id": "hello"}}
    assert night.run(results_dir=results) == {"hello": "succeeded"}
    night.jobs = {"link/a": {"id": "hello"}}
    assert night.run(results_dir=results) == {"hello": "skipped"}


def test_replacing_a_large_output_is_no_stall(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hash is read first; whoever reads it leaves no stage behind that shows no progress any more."""
    night.jobs = {"a": {}}
    night.run()
    watched: list[set[str]] = []
    real = Scope.stage

    def stage(scope: Scope, name: str, limit_s: float = 0.0) -> Any:
        watched.append(set(scope._beats))
        return real(scope, name, limit_s)

    monkeypatch.setattr(Scope, "stage", stage)
    night.jobs = {"a": {"crf": "30"}}
    assert night.run() == {"a": "succeeded"}
    assert "hash" not in watched[-1]


def test_a_run_that_rendered_nothing_leaves_an_output_up_to_date(night: Night) -> None:
    night.jobs = {"a": {}}
    night.run()
    before = (night.folder / "a.mp4").stat()
    clip = night.folder / "clip.mp4"
    clip.rename(night.folder / "away.mp4")
    for _ in range(2):
        assert night.run() == {"a": "failed"}
        assert night.refusal("a") == "input.missing"
    (night.folder / "away.mp4").rename(clip)
    assert night.run() == {"a": "skipped"}
    after = (night.folder / "a.mp4").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    found = night.result("a")
    assert (found.status, found.output is not None and found.output.bytes) == ("skipped", after.st_size)
    assert night.run(only_failed=True) == {}
    assert night.run() == {"a": "skipped"}


def test_a_quick_look_does_not_replace_a_whole_output(night: Night) -> None:
    night.jobs = {"a": {}}
    night.run(limit_frames=None)
    before = (night.folder / "a.mp4").stat().st_ino
    for _ in range(2):
        assert night.run(limit_frames=2) == {"a": "failed"}
        assert night.refusal("a") == "output.exists"
        assert (night.folder / "a.mp4").stat().st_ino == before
    assert night.run(limit_frames=None) == {"a": "skipped"}
    assert night.run(limit_frames=2, if_exists="overwrite") == {"a": "succeeded"}
    assert night.run(limit_frames=None) == {"a": "succeeded"}


KILLED_AFTER_THE_RENAME = """
import os, signal
import dhcli.disk.rename as rename
real = rename.rename_new
def killer(source, target, folder):
    real(source, target, folder)
    os.kill(os.getpid(), signal.SIGKILL)
rename.rename_new = killer
from dhcli.cli import main
main()
"""


@pytest.mark.parametrize("between", ["nothing", "a missing input", "a second kill"])
def test_an_output_of_a_killed_run_is_dhs_through_whatever_follows(
    night: Night, kill: Callable[..., None], between: str
) -> None:
    night.jobs = {"a": {}}
    night.write()
    program = [sys.executable, "-c", KILLED_AFTER_THE_RENAME, *RUN[3:], "--limit-frames", "2"]
    done = subprocess.run(program, cwd=night.folder, capture_output=True, check=False)
    assert (done.returncode, night.result("a").status) == (-9, "running")
    assert (night.folder / "a.mp4").exists()
    if between == "a missing input":
        (night.folder / "clip.mp4").rename(night.folder / "away.mp4")
        assert night.run() == {"a": "failed"}
        (night.folder / "away.mp4").rename(night.folder / "clip.mp4")
    elif between == "a second kill":
        kill(1)
    assert night.run(retry_poison=True) == {"a": "succeeded"}


def test_the_photo_of_a_face_counts_by_its_content(night: Night, ffmpeg: Callable[..., None]) -> None:
    photo, other = night.folder / "anna.png", night.folder / "anna2.png"
    ffmpeg("-i", night.folder / "clip.mp4", "-frames:v", 1, photo)
    ffmpeg("-i", night.folder / "clip.mp4", "-frames:v", 1, "-vf", "scale=2*iw:-2", other)
    night.jobs = {"a": {"face": "like:anna.png"}}
    assert night.run() == {"a": "succeeded"}
    assert night.run() == {"a": "skipped"}
    photo.rename(night.folder / "moved.png")
    night.jobs = {"a": {"face": "like:moved.png"}}
    assert night.run() == {"a": "skipped"}
    other.replace(night.folder / "moved.png")
    assert night.run() == {"a": "succeeded"}
    assert night.reasons == {"a": "stale: the photo has changed"}


def test_dry_run_refuses_what_a_run_would(night: Night) -> None:
    night.jobs = {"no/a": {}, "b": {}}
    night.write()
    dry = [*RUN, "--dry-run", "--json", "--no-mkdir"]
    how: dict[str, Any] = {"cwd": night.folder, "capture_output": True, "text": True}
    done = subprocess.run(dry, check=False, **how)
    planned = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line.get("code") for line in planned[:2]] == ["output.not_writable", None]
    assert done.returncode == 1
    no_gpu = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run([*dry, "--device", "cuda"], env=no_gpu, check=False, **how)
    planned = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line.get("code") for line in planned[:2]] == ["output.not_writable", "env.device_unavailable"]
    assert done.returncode == 69


def test_unchanged_media_is_not_read_again(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    cache = tmp_path / "cache"
    night.run()
    assert until(lambda: HashCacheProbe(cache, night).settled()), "files younger than 2 s are not trusted"

    def read(*_: object) -> str:
        pytest.fail("the media was read")

    monkeypatch.setattr(InputFile, "sha256", read)
    assert set(night.run(hashes=HashCache(cache)).values()) == {"skipped"}


class HashCacheProbe:
    """Fills a cache as soon as the inputs are old enough."""

    def __init__(self, cache: Path, night: Night) -> None:
        self._cache, self._night = cache, night

    def settled(self) -> bool:
        assert set(self._night.run(hashes=HashCache(self._cache)).values()) == {"skipped"}
        return (self._cache / "hashes").is_file()


@pytest.mark.parametrize("cache", ["a file", "garbage", "/proc/1/nowhere", "~"])
def test_a_useless_cache_does_no_harm(night: Night, tmp_path: Path, cache: str) -> None:
    folder = tmp_path / "cache"
    if cache == "a file":
        folder.write_bytes(b"")
    elif cache == "garbage":
        folder.mkdir()
        (folder / "hashes").write_bytes(os.urandom(1000))
    night.run()
    night.write()
    where = str(folder) if cache[0] in "ag" else cache
    environment = os.environ | {"DH_CACHE_DIR": where}
    done = subprocess.run(
        [*RUN, "--limit-frames", "2"], cwd=night.folder, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "3 up to date" in done.stderr, "Traceback" in done.stderr) == (0, True, False)
