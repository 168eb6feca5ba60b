from __future__ import annotations

import datetime as dt
import errno
import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from dhcli.disk.names import result_path
from dhcli.errors import CODES, Code, DhError, as_dh_error
from dhcli.results.parts import (
    AudioInput,
    Environment,
    ErrorInfo,
    FrameCounts,
    Inputs,
    OutputInfo,
    Timings,
    VideoInput,
    WarningInfo,
    schema_of,
)
from dhcli.results.result import JobResult, UnreadableResultError, read_result, write_result

NOW = dt.datetime(2026, 11, 22, 1, 30, tzinfo=dt.UTC)
OUTPUT = OutputInfo(
    path="/out/a.mp4",
    bytes=3,
    sha256="00",
    width=96,
    height=64,
    fps="30000/1001",
    frames=5,
    duration_s=0.2,
    audio_codec="aac",
)
ERROR = ErrorInfo(code="face.lost", retryable=False, message="No face in 38 of 250 frames.")
OF_STATUS: dict[str, dict[str, Any]] = {
    "running": {},
    "succeeded": {"output": OUTPUT, "finished_at": NOW},
    "failed": {"error": ERROR, "finished_at": NOW},
    "skipped": {"output": OUTPUT, "finished_at": NOW},
    "cancelled": {"error": ERROR, "finished_at": NOW},
}


def _result(status: str = "succeeded", **changes: Any) -> JobResult:
    fields = {"job_id": "hello", "run_id": "r1", "environment": Environment(dh="0.1.0"), "started_at": NOW}
    return JobResult(**{**fields, "status": status, **OF_STATUS[status], **changes})


def _full() -> JobResult:
    return _result(
        warnings=(WarningInfo(code="input.vfr", message="69 frames at changing rates"),),
        inputs=Inputs(
            video=VideoInput(path="/in/v.mp4", bytes=1, sha256="01", width=96, height=64, fps="25", frames=5),
            audio=AudioInput(path="/in/ü.wav", sample_rate=16000, channels=1, duration_s=0.2),
        ),
        options={"gain": 1.2, "trim": None},
        fingerprint="sha256:02",
        frames=FrameCounts(planned=5, decoded=5, rendered=5, encoded=5, face_missing_ranges=((1, 2),)),
        timings_s=Timings(wall=1.5, stages={"speak": 1.1}),
    )


@pytest.mark.parametrize("result", [*map(_result, OF_STATUS), _full()], ids=[*OF_STATUS, "full"])
def test_result_comes_back_as_it_was_and_fits_its_schema(tmp_path: Path, result: JobResult) -> None:
    path = tmp_path / "a.mp4.json"
    write_result(path, result)
    assert read_result(path) == result
    jsonschema.validate(json.loads(path.read_bytes()), schema_of(JobResult))
    assert list(tmp_path.iterdir()) == [path]


def test_schema_is_one_and_tells_what_every_field_means() -> None:
    schema = schema_of(JobResult)
    jsonschema.Draft202012Validator.check_schema(schema)
    for part in (schema, *schema["$defs"].values()):
        for name, field in part.get("properties", {}).items():
            assert field.get("description"), name
        assert part.get("additionalProperties", True) is True, "readers must take the fields of a newer dh"


def test_json_is_written_as_the_contract_shows_it(tmp_path: Path) -> None:
    write_result(tmp_path / "r.json", _full())
    written = json.loads((tmp_path / "r.json").read_bytes())
    assert written["started_at"] == "2026-11-22T01:30:00Z"
    assert written["inputs"]["audio"]["path"] == "/in/ü.wav"
    assert "ü" in (tmp_path / "r.json").read_text("utf-8")
    assert set(written) >= {"schema_version", "job_id", "status", "attempt", "run_id", "error", "warnings", "inputs"}
    assert set(written) >= {"output", "options", "fingerprint", "frames", "timings_s", "resources", "environment"}


@pytest.mark.parametrize("status", OF_STATUS)
@pytest.mark.parametrize("field", ["error", "output", "finished_at"])
def test_fields_that_belong_to_a_status(status: str, field: str) -> None:
    wrong = None if field in OF_STATUS[status] else {"error": ERROR, "output": OUTPUT, "finished_at": NOW}[field]
    with pytest.raises(ValidationError, match=f"{field} must .*{status}"):
        _result(status, **{field: wrong})


@pytest.mark.parametrize(
    "changes", [{"eror": None}, {"attempt": 0}, {"status": "partial"}, {"options": {"gain": float}}]
)
def test_dh_itself_may_not_write_what_the_schema_does_not_know(changes: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, KeyError)):
        _result(**changes)


def test_message_is_never_empty() -> None:
    with pytest.raises(ValidationError):
        ErrorInfo(code="stalled", retryable=True, message="")
    assert ErrorInfo.from_error(DhError("stalled", "")).message.startswith("DhError")


def test_error_keeps_everything_that_is_known() -> None:
    error = DhError("encode.failed", "killed", hint="look", stage="encode", frame=7, stderr_tail=["a", "b"])
    error.__cause__ = BrokenPipeError()
    info = ErrorInfo.from_error(error, notes=["then, in decode: x"])
    assert (info.code, info.stage, info.frame, info.retryable) == ("encode.failed", "encode", 7, True)
    assert (info.message, info.hint, info.stderr_tail) == ("killed", "look", ("a", "b"))
    assert (info.cause, info.notes) == (("BrokenPipeError (no text)",), ("then, in decode: x",))
    assert info.traceback is None


def test_only_a_bug_has_a_traceback() -> None:
    def inner() -> None:
        raise KeyError("mouth")

    with pytest.raises(KeyError) as caught:
        inner()
    info = ErrorInfo.from_error(as_dh_error(caught.value, "speak"))
    assert (info.code, info.stage) == ("internal.bug", "speak")
    assert info.message == "KeyError: 'mouth'"
    assert info.traceback is not None
    assert "in inner" in info.traceback


@pytest.mark.parametrize("code", CODES)
def test_every_code_makes_a_result(tmp_path: Path, code: Code) -> None:
    info = ErrorInfo.from_error(DhError(code, "what"))
    write_result(tmp_path / "r.json", _result("failed", error=info))
    assert json.loads((tmp_path / "r.json").read_bytes())["error"]["code"] == code


def test_names_that_are_no_utf8_and_control_characters_are_written(tmp_path: Path) -> None:
    name = os.fsdecode(b"/in/\xff\x1b[31m\n.mp4")
    result = _result(job_id=name, inputs=Inputs(video=VideoInput(path=name)), options={"label": name})
    write_result(tmp_path / "r.json", result)
    text = (tmp_path / "r.json").read_bytes()
    assert b"\x1b" not in text
    assert json.loads(text)["inputs"]["video"]["path"] == "/in/\\udcff\x1b[31m\n.mp4"
    assert read_result(tmp_path / "r.json") == result


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, "output.disk_full"), (errno.EDQUOT, "output.disk_full"), (errno.EIO, "output.not_writable")],
)
@pytest.mark.parametrize("call", ["fsync", "replace", "write"])
def test_old_result_stays_whole_where_the_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, code: str
) -> None:
    path = tmp_path / "r.json"
    write_result(path, _result("running"))
    old = path.read_bytes()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(DhError, match=os.strerror(number)) as caught:
            write_result(path, _result())
    assert caught.value.code == code
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DhError) as caught:
        write_result(tmp_path / "no" / "r.json", _result())
    assert caught.value.code == "output.not_writable"


def test_result_has_the_rights_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_result(tmp_path / "r.json", _result())
    finally:
        os.umask(before)
    assert (tmp_path / "r.json").stat().st_mode & 0o777 == 0o640


def test_no_result_is_none(tmp_path: Path) -> None:
    assert read_result(tmp_path / "r.json") is None


def kept(path: Path) -> str:
    """Why a file is not replaced by a result, whether one is read before or not."""
    with pytest.raises(DhError) as caught:
        read_result(path)
    assert (caught.value.code, caught.value.stage) == ("output.exists", "result")
    assert str(path) in caught.value.message
    with pytest.raises(DhError) as again:
        write_result(path, _result())
    assert again.value.message == caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not a result of dh"),
        (b'{"schema_version": 1', "is not a result of dh"),
        (b"\xff\xfe", "is not a result of dh"),
        (b"[" * 100_000, "is not a result of dh"),
        (b"[]", "is not a result of dh"),
        (b"{}", "is not a result of dh"),
        (b'{"schema_version": "1", "job_id": "a", "status": "failed", "run_id": "r"}', "is not a result of dh"),
        (b'{"schema_version": 2, "job_id": "a", "status": "merged", "run_id": "r"}', "newer dh"),
        (b'{"schema_version": 2, "job_id": "a", "sta', "newer dh"),
    ],
)
def test_what_is_no_result_stays(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content)
    assert reason in kept(path)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{\n  "schema_version": 1,\n  "job_id": "a', "JSONDecodeError"),
        (b'{"schema_version": 1, "job_id": "\xff', "Decode"),
        (b'{"schema_version": 1, "job_id": "a", "x": ' + b"[" * 100_000, "Recursion"),
        (b'{"job_id": "a", "status": "failed", "run_id": "r", "schema_version": 1}', "environment"),
    ],
)
def test_damaged_result_says_why_and_is_replaced(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content)
    with pytest.raises(UnreadableResultError, match=reason) as caught:
        read_result(path)
    assert str(path) in str(caught.value)
    write_result(path, _result())
    assert read_result(path) == _result()


def test_folder_in_the_place_of_a_result(tmp_path: Path) -> None:
    (tmp_path / "r.json").mkdir()
    assert "Is a directory" in kept(tmp_path / "r.json")


def test_what_comes_while_a_result_is_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.json"
    known = write_result(path, _result("running"))
    real = os.write

    def write(*args: Any) -> int:
        path.unlink(missing_ok=True)
        path.write_text("somebody's")
        return real(*args)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(DhError, match="is not a result of dh"):
        write_result(path, _result(), known=known)
    assert path.read_text() == "somebody's"


def test_surrogates_of_an_old_result_are_written_as_text(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_result(path, _full())
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"job_id": "\ud800", "options": {"\udc80": ["\udfff"]}}))
    result = read_result(path)
    assert result is not None
    assert (result.job_id, result.options) == ("\\ud800", {"\\udc80": ["\\udfff"]})
    path.write_bytes(path.read_bytes().replace(b"\\ud800", b"\xed\xa0\x80"))
    with pytest.raises(UnreadableResultError, match="Decode"):
        read_result(path)


def test_fields_of_a_newer_dh_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_result(path, _full())
    written = json.loads(path.read_bytes())
    written["mood"] = written["output"]["mood"] = written["frames"]["mood"] = "good"
    path.write_text(json.dumps(written))
    assert read_result(path) == _full()


def test_where_a_result_lies() -> None:
    save_path, folder = Path("/out/hello.mp4"), Path("/results")
    assert result_path(save_path, "hello") == Path("/out/hello.mp4.json")
    assert result_path(save_path, "hello", folder) == Path("/results/hello.json")
    ids = ["a/b", "a%2Fb", "../b", "a_b"]
    paths = [result_path(save_path, job_id, folder) for job_id in ids]
    assert len(set(paths)) == len(ids)
    assert {path.parent for path in paths} == {folder}


@pytest.mark.parametrize("letter", ["x", "ü", "/", "\udcff"])
def test_an_id_too_long_for_a_file_name_is_cut_and_stays_its_own(letter: str, tmp_path: Path) -> None:
    paths = {result_path(Path("a.mp4"), letter * size, tmp_path) for size in range(240, 260)}
    assert len(paths) == 20
    for path in paths:
        path.write_bytes(b"")


def test_a_pipe_in_place_of_a_result_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4.json"
    os.mkfifo(path)
    assert "not a regular file" in kept(path)


def test_a_file_that_is_too_large_for_a_result_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert "is not a result of dh" in kept(path)
