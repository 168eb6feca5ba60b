"""Files that are somebody's and have a name that a run would write or remove: refused before anything is touched."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from called import Said, call_dh
from dhcli.command.console import People
from dhcli.disk.lock import lock_path
from dhcli.disk.names import result_path, working_paths
from dhcli.disk.part import part_path
from dhcli.disk.scratch import scratch_path
from dhcli.errors import DhError
from dhcli.families.dh_base.family import DhBase
from dhcli.render.models import Models
from dhcli.reports import JUNIT, metrics_file, replaceable, reports
from dhcli.reports.log_file import LogFile
from dhcli.reports.on_finish import OnFinish
from dhcli.runs import attempt, batch, result_writer
from dhcli.runs.attempt_record import AttemptRecord
from dhcli.runs.batch import Batch

pytestmark = pytest.mark.slow

Run = Callable[..., Said]
Write = Callable[..., Path]
PRECIOUS = b"the only copy"
OF = {"part": part_path, "scratch": scratch_path, "lock": lock_path}


@pytest.fixture
def here(tmp_path: Path, clip: Path, words: Path) -> Path:
    """A folder with v.mp4, a.wav and an empty folder for results."""
    folder = tmp_path / "2026"
    (folder / "results").mkdir(parents=True)
    shutil.copyfile(clip, folder / "v.mp4")
    shutil.copyfile(words, folder / "a.wav")
    return folder


def job(save_path: str = "o.mp4", **changes: str) -> dict[str, str]:
    return {"audio": "a.wav", "video": "v.mp4", "save_path": save_path} | changes


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def dh(here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], dh_base: DhBase) -> Run:
    """Call `dh render` in that folder, in this process, for two frames of each job."""
    monkeypatch.chdir(here)
    monkeypatch.setattr(Models, "family", lambda *_: dh_base)

    flags = ("--device", "cpu", "--retries", "0", "--limit-frames", "2")
    return functools.partial(call_dh, monkeypatch, capfd, "render", *flags)


@pytest.fixture
def refused(dh: Run, here: Path) -> Callable[..., str]:
    """Render, and see that it is refused with this exit code and that no file has changed; what it said."""

    def refuse(*arguments: str | Path, code: int = 65) -> str:
        before = tree(here)
        said = dh(*arguments, "--force")
        assert tree(here) == before
        assert said.code == code, said.err
        return said.err

    return refuse


@pytest.fixture
def from_stdin(here: Path) -> Callable[..., tuple[int, str]]:
    """Call `dh render -` with a file as standard input, and see that it changes no file; exit code and stderr."""

    def call(manifest: Path, *flags: str) -> tuple[int, str]:
        before = tree(here)
        argv = [sys.executable, "-m", "dhcli", "render", "-", "--device", "cpu", "--limit-frames", "2", *flags]
        with manifest.open("rb") as source:
            done = subprocess.run(argv, stdin=source, capture_output=True, cwd=here, check=False, timeout=110)
        assert tree(here) == before
        return done.returncode, done.stderr.decode()

    return call


@pytest.mark.parametrize("what", ["audio", "video", "photo"])
@pytest.mark.parametrize("working", OF)
@pytest.mark.parametrize("of", ["o.mp4", "o.mp4.json"])
def test_an_input_with_the_name_of_a_working_file(
    refused: Callable[..., str], here: Path, write_manifest: Write, what: str, working: str, of: str
) -> None:
    name = OF[working](here / of).name
    shutil.copyfile(here / ("a.wav" if what == "audio" else "v.mp4"), here / name)
    key, value = ("face", f"like:{name}") if what == "photo" else (what, name)
    said = refused(write_manifest(here / "m.yaml", [job("other.mp4", **{key: value}), job()]))
    assert "manifest.conflict" in said
    assert f"jobs[1].save_path: {here / name}, a working file of {here / of}, would overwrite the {what}" in said


def test_an_input_that_leads_to_a_working_file(refused: Callable[..., str], here: Path, write_manifest: Write) -> None:
    (here / "a.wav").rename(part_path(here / "o.mp4"))
    (here / "a.wav").symlink_to(part_path(here / "o.mp4"))
    assert "would overwrite the audio of this job" in refused(write_manifest(here / "m.yaml", [job()]))


def test_an_input_that_leads_to_an_output_that_is_not_made_yet(
    refused: Callable[..., str], here: Path, write_manifest: Write
) -> None:
    (here / "link.mp4").symlink_to("second.mp4")
    jobs = [job("first.mp4", video="link.mp4"), job("second.mp4")]
    assert "would overwrite the video of jobs[0]" in refused(write_manifest(here / "m.yaml", jobs))


@pytest.mark.parametrize("way", ["name", "hard link", "link"])
def test_the_manifest_in_the_place_of_a_result(
    refused: Callable[..., str], here: Path, write_manifest: Write, way: str
) -> None:
    manifest = write_manifest(here / "o.mp4.json", [job()])
    if way == "hard link":
        os.link(manifest, here / "m.yaml")
    elif way == "link":
        (here / "m.yaml").symlink_to(manifest)
    assert "would overwrite the manifest" in refused(manifest if way == "name" else here / "m.yaml")


def test_a_manifest_on_standard_input_is_a_file_too(
    from_stdin: Callable[..., tuple[int, str]], here: Path, write_manifest: Write
) -> None:
    manifest = write_manifest(here / "o.mp4.json", [job()])
    code, said = from_stdin(manifest)
    assert (code, "would overwrite the manifest" in said) == (65, True), said
    code, said = from_stdin(manifest, "--junit", "o.mp4.json")
    assert (code, "--junit would overwrite the manifest" in said) == (2, True), said


@pytest.mark.parametrize("name", ["part", "lock", "result", "output"])
def test_the_manifest_with_another_name_of_the_job(
    refused: Callable[..., str], here: Path, write_manifest: Write, name: str
) -> None:
    place = {"output": here / "o.mp4", "result": here / "results/song.json"}.get(name) or OF[name](here / "o.mp4")
    to_media = {"audio": str(here / "a.wav"), "video": str(here / "v.mp4"), "save_path": str(here / "o.mp4")}
    manifest = write_manifest(place, [to_media | {"id": "song"}])
    assert "would overwrite the manifest" in refused(manifest, "--results-dir", "results")


@pytest.mark.parametrize("named", ["id", "stem"])
def test_results_in_a_folder_where_other_files_of_the_run_lie(
    refused: Callable[..., str], here: Path, write_manifest: Write, named: str
) -> None:
    """`results/song.json` is the result of the job `song`, whether the id is written or made of the output's name."""
    (here / "a.wav").rename(here / "results/song.json")
    own = job("o.mp4", id="song") if named == "id" else job("song.mp4")
    jobs = [own | {"audio": "results/song.json"}]
    said = refused(write_manifest(here / "m.yaml", jobs), "--results-dir", "results")
    assert f"jobs[0].{'id' if named == 'id' else 'save_path'}: results/song.json would overwrite the audio" in said


def test_names_that_are_close_and_in_nobodys_way(dh: Run, here: Path, write_manifest: Write) -> None:
    """Nor is a folder for results that lies beside everything else, an output that leads somewhere, or its result."""
    jobs = [job("o.mp4"), job("O.mp4"), job("results/o.mp4", id="in-results")]
    for _ in range(2):
        done = dh(write_manifest(here / "m.json", jobs), "--results-dir", ".")
        assert done.code == 0, done.err


@pytest.mark.parametrize("folder", ["o.mp4", "o.mp4/results"])
def test_a_folder_for_results_with_the_name_of_an_output(
    refused: Callable[..., str], here: Path, write_manifest: Write, folder: str
) -> None:
    said = refused(write_manifest(here / "m.yaml", [job()]), "--results-dir", folder)
    assert f"{here}/o.mp4 has the name of a folder that is made for results" in said
    assert not (here / "o.mp4").exists()


@pytest.mark.parametrize("flag", ["--junit", "--metrics-file", "--log-file", "--run-lock"])
def test_a_report_with_a_name_of_the_run(
    refused: Callable[..., str], here: Path, write_manifest: Write, flag: str
) -> None:
    """Of jobs that are not chosen, too; nothing is overwritten or made."""
    manifest = write_manifest(here / "m.yaml", [job("o.mp4"), job("p.mp4", audio="b.wav")])
    (here / "b.wav").write_bytes(PRECIOUS)
    for name in ("b.wav", "p.mp4.json", "o.mp4", "results/p.json", part_path(here / "p.mp4").name, "res"):
        folder = "res/new" if name == "res" else "results" if name.startswith("results") else None
        how = ("--results-dir", folder) if folder else ()
        said = refused(manifest, "--job", "o", flag, name, *how, code=2)
        assert flag in said
        assert "would overwrite" in said or "has the name of a working file" in said, name


OTHERS = {
    "text": PRECIOUS,
    "video": b"\0\0\0\x20ftypisom" + bytes(99),
    "JUnit of another program": b'<testsuites><testsuite name="pytest" tests="1"/></testsuites>',
    "metrics of another program": b"node_load1 4\n",
    "zeros": bytes(90),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("flag", ["--junit", "--metrics-file"])
def test_a_report_replaces_reports_of_dh_alone(
    refused: Callable[..., str], here: Path, write_manifest: Write, flag: str, kind: str
) -> None:
    (here / "mine").write_bytes(OTHERS[kind])
    for how in ((), ("--dry-run",)):
        said = refused(write_manifest(here / "m.yaml", [job()]), flag, "mine", *how, code=2)
        assert f"{flag} would replace mine, which is no" in said
        assert "Name another file, or remove this one." in said
    (here / "m.yaml").unlink()
    assert f"{flag} would replace mine, which is no" in refused(here / "m.yaml", flag, "mine", code=66), "it is lost"


@pytest.mark.parametrize("flag", ["--junit", "--metrics-file"])
def test_a_large_file_is_no_report(refused: Callable[..., str], here: Path, write_manifest: Write, flag: str) -> None:
    manifest = write_manifest(here / "m.yaml", [job()])
    with (here.parent / "large").open("wb") as file:
        file.truncate(1 << 40)
    assert f"{flag} would replace ../large" in refused(manifest, flag, "../large", code=2)
    assert (here.parent / "large").stat().st_size == 1 << 40


@pytest.mark.usefixtures("nobody")
def test_a_report_that_cannot_be_read_is_nobodys_to_replace(open_folder: Path) -> None:
    path = open_folder / "dh.xml"
    path.write_bytes(PRECIOUS)
    path.chmod(0)
    with pytest.raises(DhError, match="nothing says whether dh wrote it"):
        replaceable(path, JUNIT)


@pytest.mark.parametrize(("flag", "kind"), [("--junit", "JUnit"), ("--metrics-file", "metrics")])
def test_an_empty_file_and_a_report_of_dh_are_replaced_and_a_newcomer_is_not(
    dh: Run, here: Path, write_manifest: Write, fake_ffmpeg: Callable[..., Path], flag: str, kind: str
) -> None:
    manifest, report = write_manifest(here / "m.yaml", [job()]), here / "report"
    report.touch()
    for _ in range(2):
        assert dh(manifest, flag, "report").code == 0
        assert b"dh" in report.read_bytes()
    mine = here / "mine"
    mine.write_bytes(PRECIOUS)
    fake_ffmpeg("verify", f"os.replace({str(mine)!r}, {str(report)!r})\nreal()")
    done = dh(manifest, flag, "report", "--force")
    assert done.code == 74, done.err
    assert f"The {kind} file is not written: {flag} would replace report, which is no {kind} file of dh." in done.err
    assert report.read_bytes() == PRECIOUS
    assert (here / "o.mp4").exists()


def test_an_input_with_the_name_of_a_reports_working_file(
    refused: Callable[..., str], here: Path, write_manifest: Write
) -> None:
    for number, path in enumerate(working_paths(here / "report.xml")):
        (here / "a.wav").rename(path)
        manifest = write_manifest(here / f"{number}.yaml", [job(audio=path.name)])
        assert "--junit would overwrite the audio" in refused(manifest, "--junit", "report.xml", code=2)
        path.rename(here / "a.wav")


def test_a_lock_file_that_is_somebodys(dh: Run, here: Path, write_manifest: Write) -> None:
    """No job reads it, so that nobody asked before; it is neither overwritten nor removed."""
    lock_path(here / "o.mp4").write_bytes(PRECIOUS)
    os.mkfifo(lock_path(here / "p.mp4"))
    lock_path(here / "q.mp4").write_bytes(bytes(90))  # what a power cut may leave of a lock
    jobs = [job(), job("p.mp4"), job("q.mp4")]
    done = dh(write_manifest(here / "m.yaml", jobs))
    assert done.code == 1, done.err
    assert lock_path(here / "o.mp4").read_bytes() == PRECIOUS
    assert lock_path(here / "p.mp4").is_fifo()
    assert done.err.count("at the place of its lock file") >= 2
    assert (here / "q.mp4").exists()
    assert not lock_path(here / "q.mp4").exists()


# Results


def foreign(kind: str, path: Path) -> None:
    """Something at the path of a result that is no result, or not one that this dh may replace."""
    match kind:
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "link":
            path.with_suffix(".txt").write_bytes(PRECIOUS)
            path.symlink_to(path.with_suffix(".txt"))
        case "link to nowhere":
            path.symlink_to("nowhere")
        case "socket-like large file":
            with path.open("wb") as file:
                file.truncate(1 << 40)
        case _:
            path.write_bytes(FOREIGN[kind])


FOREIGN = {
    "json": b'{"name": "site", "version": "1.0.0", "scripts": {}}\n',
    "text": PRECIOUS,
    "empty": b"",
    "video": b"\0\0\0\x20ftypisom" + bytes(99),
    "list": b"[]",
    "deep": b"[" * 100_000,
    "no text": b"\xff\xfe",
    "like a result": b'{"schema_version": 1, "artifacts": ["job_id"]}',
    "event": b'{"event": "job_finished", "run_id": "r", "job_id": "j", "status": "failed"}',
    "newer": b'{"schema_version": 2, "job_id": "newer", "status": "done", "run_id": "r"}',
    "newer, cut": b'{\n  "schema_version": 2,\n  "job_id": "newer",\n  "stat',
}
KINDS = (*FOREIGN, "folder", "fifo", "link", "link to nowhere", "socket-like large file")


@pytest.mark.parametrize("beside", [True, False])
def test_no_file_but_a_result_is_replaced_by_a_result(dh: Run, here: Path, write_manifest: Write, beside: bool) -> None:
    """The jobs fail before anything is rendered, with the words everywhere; the exit code is that of failed jobs."""
    names = [kind.replace(" ", "-").replace(",", "") for kind in KINDS]
    jobs = [job(f"{name}.mp4") for name in names]
    jobs += [job("at-once.mp4", video="missing.mp4"), job("honest.mp4")]
    folder = None if beside else here / "results"
    for kind, name in [*zip(KINDS, names, strict=True), ("text", "at-once")]:
        foreign(kind, result_path(here / f"{name}.mp4", name, folder))
    before = {path: path.lstat().st_ino for path in here.rglob("*.json")}
    contents = {
        path: path.read_bytes() for path in here.rglob("*.json") if path.is_file() and path.stat().st_size < 10**6
    }
    how = () if folder is None else ("--results-dir", folder)
    flags = ("--force", "--json", "--junit", "j.xml", *how)
    done = dh(write_manifest(here / "m.yaml", jobs), *flags)
    assert done.code == 1, done.err
    events = [json.loads(line) for line in done.out.splitlines()]
    ended = {event["job_id"]: event for event in events if event["event"] == "job_finished"}
    assert ended.pop("honest")["status"] == "succeeded"
    for name, event in ended.items():
        assert (event["status"], event["code"], event["stage"]) == ("failed", "output.exists", "result"), name
        assert event["result_path"] is None
        assert f"{name}.mp4.json" in event["message"] or f"{name}.json" in event["message"]
        assert event["hint"]
    assert events[-1]["codes"] == {"output.exists": len(ended)}
    assert not any(event["event"] == "job_decided" and event["job_id"] != "honest" for event in events)
    assert "newer dh" in ended["newer"]["message"]
    assert "newer dh" in ended["newer-cut"]["message"]
    assert {path: path.lstat().st_ino for path in before} == before
    assert {path: path.read_bytes() for path in contents} == contents
    assert {path.name for path in here.glob("*.mp4")} == {"v.mp4", "honest.mp4"}
    assert not list(here.rglob(".*")), "neither part nor lock"
    assert ET.parse(here / "j.xml").getroot().get("errors") == str(len(ended))  # noqa: S314 - our own text
    said = dh(here / "m.yaml", "--dry-run", *how)
    assert said.err.count("[output.exists]") + said.err.count("output.exists") >= len(ended)


def test_a_file_that_comes_to_the_place_of_the_result_meanwhile(
    dh: Run, here: Path, write_manifest: Write, fake_ffmpeg: Callable[..., Path]
) -> None:
    """No video is put in place whose result cannot be."""
    result = here / "o.mp4.json"
    fake_ffmpeg("verify", f"os.unlink({str(result)!r})\nopen({str(result)!r}, 'w').write('mine')\nreal()")
    done = dh(write_manifest(here / "m.yaml", [job()]))
    assert done.code == 1, done.err
    assert "is not a result of dh" in done.err
    assert result.read_text() == "mine"
    assert not (here / "o.mp4").exists()


@pytest.mark.parametrize("damage", ["cut", "cut in the status", "compact", "a field", "large"])
def test_a_damaged_result_of_dh_is_replaced(render: Callable[..., Any], out: Path, damage: str) -> None:
    path = out / "out.mp4.json"
    render(limit_frames=2)
    whole = path.read_bytes()
    fields = json.loads(whole)
    match damage:
        case "cut":
            path.write_bytes(whole[: len(whole) // 2])
        case "cut in the status":
            path.write_bytes(whole[: whole.index(b'"status"') + 4])
        case "compact":
            path.write_text(json.dumps(fields)[:-9])
        case "a field":
            path.write_text(json.dumps(fields | {"frames": "many"}))
        case "large":
            path.write_bytes(whole.rstrip(b"}\n") + b" " * (17 << 20) + b"}")
    run = render(limit_frames=2)
    assert run.summary.exit_code == 0
    assert [warning.code for warning in run.result.warnings] == ["result.unreadable"]
    assert run.result.status == "succeeded"


def test_a_link_to_a_result_is_read_and_kept(dh: Run, here: Path, write_manifest: Write) -> None:
    """Of what is up to date nothing is written; what has to be rendered would replace the link."""
    manifest = write_manifest(here / "m.yaml", [job()])
    assert dh(manifest).code == 0
    (here / "o.mp4.json").rename(here / "results/o.json")
    (here / "o.mp4.json").symlink_to("results/o.json")
    before = tree(here)
    assert dh(manifest).code == 0
    done = dh(manifest, "--force")
    assert (done.code, "is a symbolic link" in done.err) == (1, True), done.err
    assert (here / "o.mp4.json").is_symlink()
    assert tree(here) == before


@pytest.mark.parametrize("failing", ["not", "at once", "at its output"])
def test_two_manifests_with_one_folder_of_results_and_one_id(
    dh: Run, here: Path, write_manifest: Write, failing: str
) -> None:
    """The first keeps its result, and with it the record that its output is dh's."""
    flags = ("--results-dir", "results", "--json", "--no-mkdir")
    first = write_manifest(here / "first.yaml", [job("one.mp4", id="song")])
    other = job("two.mp4", id="song", video="missing.mp4" if failing == "at once" else "v.mp4")
    if failing == "at its output":
        other["save_path"] = "missing/two.mp4"
    second = write_manifest(here / "second.yaml", [other])
    assert dh(first, *flags).code == 0
    before = tree(here / "results"), (here / "one.mp4").stat().st_ino
    for how in ((), ("--force",), ("--dry-run",)):
        done = dh(second, *flags, *how)
        lost = failing == "at its output" and "--dry-run" not in how  # an error whose result has no place is told of
        assert done.code == (74 if lost else 1), done.err
        (event,) = [event for line in done.out.splitlines() if (event := json.loads(line)).get("code")][-1:]
        if failing == "at its output":
            assert event["code"] == "output.not_writable"
        else:
            assert event["code"] == "output.exists"
            assert f"{here / 'one.mp4'}, and not of {here / 'two.mp4'}" in event["message"]
            assert "another id" in event["hint"]
        assert (tree(here / "results"), (here / "one.mp4").stat().st_ino) == before
    assert not (here / "two.mp4").exists()
    (here / "a.wav").write_bytes((here / "a.wav").read_bytes() + bytes(32000))
    assert dh(first, *flags).code == 0, "it is still dh's, and replaced"


def test_a_result_whose_output_was_moved_or_removed_is_replaced(dh: Run, here: Path, write_manifest: Write) -> None:
    flags = ("--results-dir", "results")
    for name in ("one.mp4", "two.mp4", "three.mp4"):
        assert dh(write_manifest(here / "m.yaml", [job(name, id="song")]), *flags).code == 0
        assert json.loads((here / "results/song.json").read_bytes())["output"]["path"] == str(here / name)
        (here / name).unlink()


# Texts that are no Unicode, and bugs


def test_lone_surrogates_in_an_old_result_are_one_jobs_business(dh: Run, here: Path, write_manifest: Write) -> None:
    """What an old result says of an earlier success is carried into the next one, and into what is told of it."""
    manifest = write_manifest(here / "m.yaml", [job("a.mp4"), job("b.mp4")])
    assert dh(manifest).code == 0
    path, bad = here / "a.mp4.json", "\ud800"
    old = json.loads(path.read_bytes())
    old["last_success"] = {"fingerprint": bad, "output": old["output"] | {"fps": bad, "audio_codec": "\udfff"}}
    old |= {"status": "failed", "output": None, "error": {"code": bad, "retryable": False, "message": "x"}}
    old |= {"job_id": bad, "run_id": "\udc80", "options": {bad: bad}, bad: "a field that nobody knows"}
    for flags in (("--dry-run",), ("-v", "--json"), ("-v",)):
        path.write_text(json.dumps(old))
        said = dh(manifest, "--force", "--log-file", "log", "--junit", "j.xml", *flags)
        assert said.code == 0, said.err
        assert "Traceback" not in said.err
    for name in "ab":
        text = (here / f"{name}.mp4.json").read_bytes().decode()
        assert json.loads(text)["status"] == "succeeded"
    assert (here / "j.xml").exists()


def test_texts_that_are_no_unicode_from_names_and_flags(dh: Run, here: Path) -> None:
    bad = os.fsdecode(b"\xff")
    (here / "v.mp4").rename(here / f"{bad}.mp4")
    flags = (f"--log-file={bad}.log", f"--junit={bad}.xml", f"--metrics-file={bad}.prom", f"--results-dir={bad}")
    paths = (f"--video={bad}.mp4", "--audio=a.wav", f"--save-path=o{bad}.mp4")
    done = dh(*paths, *flags, "--on-finish", "true", "--json")
    assert done.code == 0, done.err
    lines = (here / f"{bad}.log").read_bytes().decode().splitlines()
    for line in (*lines, *done.out.splitlines()):
        json.dumps(json.loads(line), ensure_ascii=False).encode()  # no lone surrogate in any text


def broken(*_: object, **__: object) -> Any:
    raise TypeError("a bug")


def for_job_a(real: Callable[..., Any], of: Callable[..., str]) -> Callable[..., Any]:
    """The function, broken where it is called for the job `a`."""

    def call(*arguments: Any, **how: Any) -> Any:
        return (broken if of(*arguments) == "a" else real)(*arguments, **how)

    return call


BUGS: dict[str, tuple[Any, str, Callable[..., str] | None]] = {
    "result": (result_writer, "write_result", lambda path, *_: path.name.partition(".")[0]),
    "record": (AttemptRecord, "result", lambda record, *_: record.job.id),
    "lock": (attempt, "output_lock", lambda path: path.stem),
    "job": (Batch, "_attempt", lambda _, job, *__: job.id),
    "junit": (reports, "junit_xml", None),
    "metrics": (metrics_file, "ended", None),
    "log": (LogFile, "__call__", None),
    "on_finish": (OnFinish, "run", None),
    "terminal": (People, "_job_finished", None),
    "start": (batch, "in_order", None),
    "end": (Batch, "_summary", None),
}
"""Where the bug is, and for which job; None: for all."""
MISSING = {"junit": "j.xml", "metrics": "", "log": "", "on_finish": "finished"}
"""What cannot be there after a bug."""


@pytest.mark.parametrize("place", BUGS)
def test_a_bug_costs_neither_the_other_jobs_nor_the_reports(
    dh: Run, here: Path, write_manifest: Write, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Exit code 70, after everything else was done; the traceback is told."""
    owner, name, of = BUGS[place]
    monkeypatch.setattr(owner, name, broken if of is None else for_job_a(getattr(owner, name), of))
    manifest = write_manifest(here / "m.yaml", [job("a.mp4"), job("b.mp4")])
    flags = ("--log-file", "log", "--junit", "j.xml", "--metrics-file", "dh.prom", "--on-finish", "touch finished")
    done = dh(manifest, *flags)
    assert done.code == 70, done.err
    assert "TypeError: a bug" in done.err
    assert "Traceback" in done.err or "Traceback" in (here / "a.mp4.json").read_text()
    if place not in {"start", "end"}:
        assert "2 jobs: " in done.err, "the summary"
    if place != "start":
        assert (here / "b.mp4").exists()
    there = {name for name in ("log", "j.xml", "dh.prom", "finished") if (here / name).exists()}
    assert there == {"log", "j.xml", "dh.prom", "finished"} - {MISSING.get(place)}
    if place in {"result", "record", "lock", "job", "start", "end"}:
        assert "dh_run_exit_code 70" in (here / "dh.prom").read_text()
        assert 'type="internal.bug"' in (here / "j.xml").read_text() or place == "result"
    assert not list(here.glob(".*.dh-*")), "neither part nor lock"
