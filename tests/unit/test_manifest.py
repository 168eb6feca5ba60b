"""The manifest: what becomes of good ones, what is said about bad ones, and whose way a job is in."""

from __future__ import annotations

import fcntl
import io
import json
import os
import string
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcli.disk.case_folding import FS_CASEFOLD_FL, FS_IOC_GETFLAGS, folds_case
from dhcli.errors import ManifestError
from dhcli.jobs.options import (
    MOST_STRETCHES,
    FaceChoice,
    Job,
    JobOptions,
    Stretches,
    Trim,
    parse_face,
    parse_fps,
    parse_leave,
    parse_trim,
)
from dhcli.manifest import Manifest, load_manifest, single_job

Load = Callable[..., Manifest]
Fail = Callable[..., tuple[str, tuple[str, ...]]]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads a text as the file m.yaml of the current folder."""
    monkeypatch.chdir(tmp_path)

    def from_text(text: str, **overrides: str) -> Manifest:
        Path("m.yaml").write_text(text, encoding="utf-8")
        return load_manifest(Path("m.yaml"), overrides=overrides)

    return from_text


@pytest.fixture
def fail(load: Load) -> Fail:
    """Code and problems of a text that is refused."""

    def from_text(text: str, **overrides: str) -> tuple[str, tuple[str, ...]]:
        with pytest.raises(ManifestError) as caught:
            load(text, **overrides)
        return caught.value.code, caught.value.problems

    return from_text


def manifest(*jobs: str, defaults: str = "{}") -> str:
    """One job a line, from the third line on."""
    return f"version: 1\ndefaults: {defaults}\njobs:\n" + "".join(f"  - {{ {job} }}\n" for job in jobs)


def job(save_path: str, more: str = "", audio: str = "a.wav", video: str = "v.mp4") -> str:
    return f"audio: {audio}, video: {video}, save_path: {save_path}" + (f", {more}" if more else "")


def write(path: str, data: bytes = b"x") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data)


# What a good manifest becomes


def test_paths_start_at_the_manifest_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "m.yaml").write_text(manifest(job("../out//b.MP4", audio="./x/../a.wav", video="/v/v.mp4")))
    monkeypatch.chdir(tmp_path)
    loaded = load_manifest(Path("sub/m.yaml"))
    assert loaded.path == tmp_path / "sub" / "m.yaml"
    assert loaded.jobs == (
        Job(
            index=0,
            line=4,
            id="b",
            audio=tmp_path / "sub" / "a.wav",
            video=Path("/v/v.mp4"),
            save_path=tmp_path / "out" / "b.MP4",
            options=JobOptions.model_validate({}),
        ),
    )


@pytest.mark.parametrize("source", [None, Path("-")])
def test_standard_input_starts_at_the_current_folder(
    source: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = manifest(job("b.mp4")).encode()
    loaded = load_manifest(source, stdin=io.BytesIO(data))
    assert loaded.path is None
    assert loaded.jobs[0].save_path == tmp_path / "b.mp4"
    assert loaded.sha256 == load_manifest(None, stdin=io.BytesIO(data)).sha256
    assert loaded.sha256 != load_manifest(None, stdin=io.BytesIO(data + b"\n")).sha256


def test_symbolic_links_stand_as_written(load: Load, tmp_path: Path) -> None:
    Path("real").mkdir()
    Path("link").symlink_to("real")
    assert load(manifest(job("link/b.mp4"))).jobs[0].save_path == tmp_path / "link" / "b.mp4"


def test_any_name_that_the_system_takes_is_a_path(load: Load, tmp_path: Path) -> None:
    names = ["~", "$HOME", "*.wav", "-a b", "é😀", "a:b", "%03d", "it's", "line\nbreak", "no", "1:30", "tab\t"]
    jobs = [f'audio: {ascii_yaml(name)}, video: v.mp4, save_path: "{i}.mp4"' for i, name in enumerate(names)]
    assert [item.audio for item in load(manifest(*jobs)).jobs] == [tmp_path / name for name in names]


def ascii_yaml(text: str) -> str:
    """A double-quoted YAML scalar with everything unusual escaped."""
    return '"' + "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08x}" for c in text) + '"'


def test_override_over_job_over_defaults_over_default(load: Load) -> None:
    text = manifest(job("b.mp4", "crf: 21, gain: 2"), job("c.mp4"), defaults="{ crf: 20, loop: hold, gain: 0.5 }")
    first, second = (item.options for item in load(text, gain="3", model="other").jobs)
    assert (first.crf, first.loop, first.gain, first.model, first.preset) == (21, "hold", 3.0, "other", "veryfast")
    assert (second.crf, second.loop, second.gain, second.model) == (20, "hold", 3.0, "other")


def test_null_takes_back_what_defaults_say(load: Load) -> None:
    text = manifest(job("b.mp4", "trim: null, fps: ~"), job("c.mp4"), defaults="{ trim: 0-1, fps: 25 }")
    first, second = (item.options for item in load(text).jobs)
    assert (first.trim, first.fps) == (None, None)
    assert (second.trim, second.fps) == (Trim(Fraction(0), Fraction(1)), Fraction(25))
    assert load(text, trim="null").jobs[1].options.trim is None


def test_jobs_are_named_after_their_outputs_whatever_their_order(load: Load) -> None:
    outputs = ["a/hello.mp4", "b/hello.mp4", "c/x/hi.mp4", "d/x/hi.mp4", "solo.mp4", "promo.mp4"]
    jobs = [job(output) for output in outputs] + [job("z.mp4", "id: promo")]
    names = {item.save_path.name: item.id for item in load(manifest(*jobs)).jobs}
    ids = [item.id for item in load(manifest(*jobs)).jobs]
    assert ids[:5] == ["a-hello", "b-hello", "c-x-hi", "d-x-hi", "solo"]
    assert ids[5].endswith("-promo")
    assert ids[6] == names["z.mp4"] == "promo"
    assert [item.id for item in load(manifest(*reversed(jobs))).jobs] == ids[::-1]


def test_names_stay_unique_when_folders_and_dashes_mean_the_same(load: Load) -> None:
    jobs = [job(f"{path}.mp4") for path in ("a-b/c", "a/b-c", "x/b-c", "x/c", "b-c")]
    ids = [item.id for item in load(manifest(*jobs, job("y.mp4", "id: a-b-c"))).jobs]
    assert len(set(ids)) == len(ids)


def test_a_name_is_found_even_where_every_folder_is_taken(load: Load) -> None:
    jobs = [job(f"{i}.mp4", f"id: {name}") for i, name in enumerate(("c", "r-c", "c-3"))]
    assert load(manifest(*jobs, job("/r/c.mp4"))).jobs[3].id == "c-3-"


def test_single_job_is_checked_like_a_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = single_job("a.wav", Path("v.mp4"), "o/hello.mp4", {"fps": "29.97"})
    (only,) = loaded.jobs
    assert (loaded.path, only.line, only.id, only.save_path) == (None, None, "hello", tmp_path / "o" / "hello.mp4")
    assert only.options.fps == Fraction(30000, 1001)
    with pytest.raises(ManifestError) as caught:
        single_job("", "v.mp4", "hello.avi", {"gian": "1", "crf": "99"})
    assert caught.value.code == "manifest.invalid"
    assert caught.value.problems == (
        "--set gian: unknown key, did you mean 'gain'?",
        "--set crf: found '99', expected a whole number from 0 to 51",
        "--audio: no path; the speech: a sound file, or a video with sound",
        "--save-path: found 'hello.avi', expected a name that ends in .mp4, .mov, .mkv, .webm",
    )
    with pytest.raises(ManifestError, match=r"--save-path: .*v\.mp4 would overwrite the video of this job") as caught:
        single_job("a.wav", "v.mp4", "./v.mp4")
    assert caught.value.code == "manifest.conflict"
    with pytest.raises(ManifestError, match="file name encoding cannot express"):
        single_job("\ud800.wav", "v.mp4", "h.mp4")


def test_a_name_that_is_not_utf8_works_on_the_command_line() -> None:
    name = os.fsdecode(b"/x/\xff.wav")
    assert os.fsencode(single_job(name, "v.mp4", "h.mp4").jobs[0].audio) == b"/x/\xff.wav"


# Options


@pytest.mark.parametrize(
    ("text", "rate"),
    [("25", "25"), ("29.97", "30000/1001"), ("23.976", "24000/1001"), ("30000/1001", "30000/1001"), ("12.5", "25/2"),
     ("1", "1"), ("240", "240"), (" 50 ", "50")],
)  # fmt: skip
def test_frame_rates_are_exact(text: str, rate: str) -> None:
    assert parse_fps(text) == Fraction(rate)


@pytest.mark.parametrize(
    "text", ["0", "0.5", "241", "25/0", "-25", "1e1", "nan", "25fps", "", "٢٥", "9" * 99, "25\n/1"]
)
def test_no_frame_rates(text: str) -> None:
    with pytest.raises(ValueError, match="a frame rate from 1 to 240"):
        parse_fps(text)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [("1.5-8", "3/2", "8"), ("1.5-", "3/2", None), ("-8", "0", "8"), ("0-1", "0", "1"), ("1 - 2", "1", "2"),
     ("0:01:30-2:00.25", "90", "481/4"), ("1:00:00-", "3600", None)],
)  # fmt: skip
def test_trim(text: str, start: str, end: str | None) -> None:
    assert parse_trim(text) == Trim(Fraction(start), None if end is None else Fraction(end))


@pytest.mark.parametrize("text", ["-", "", "1", "2-1", "1-1", "1--2", "a-b", "1:2:3:4-", "1-2-3", "-0", "٣-٤"])
def test_no_trim(text: str) -> None:
    with pytest.raises(ValueError, match=r"START-END|an end after the start"):
        parse_trim(text)


@given(st.integers(0, 10**13), st.integers(1, 10**13) | st.none())
def test_trim_keeps_its_meaning_as_text(start: int, length: int | None) -> None:
    trim = Trim(Fraction(start, 10**9), None if length is None else Fraction(start + length, 10**9))
    assert parse_trim(str(trim)) == trim


def test_stretches_to_leave() -> None:
    assert str(parse_leave("1:05-1:12, 2:00-2:03.5")) == "65-72, 120-123.5"
    assert str(parse_leave("-1,1-2 , 0:01:00-")) == "0-1, 1-2, 60-"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "START-END, START-END"),
        ("1-2,", "START-END, START-END"),
        ("1-2;3-4", "START-END, START-END"),
        ("-", "START-END, START-END"),
        ("3-4, 2-1", "an end after the start in '2-1'"),
        ("1-3, 2-4", "'2-4' to begin at or after the end of the stretch before it"),
        ("3-4, 1-2", "'1-2' to begin at or after"),
        ("1-, 2-3", "'2-3' to begin at or after"),
        (",".join(["1-2"] * (MOST_STRETCHES + 1)), "at most 1000 stretches, not 1001"),
    ],
)
def test_no_stretches_to_leave(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        parse_leave(text)


BORDERS = st.lists(st.integers(0, 10**13), min_size=2, max_size=12, unique=True).map(sorted)


@given(BORDERS, st.booleans())
def test_stretches_keep_their_meaning_as_text(borders: list[int], is_open: bool) -> None:
    times = [Fraction(border, 10**9) for border in borders[: len(borders) // 2 * 2]]
    ends: list[Fraction | None] = [*times[1::2]]
    if is_open:
        ends[-1] = None
    stretches = Stretches(tuple(zip(times[::2], ends, strict=True)))
    assert parse_leave(str(stretches)) == stretches


@given(st.text("0123456789:.,- ", max_size=30))
def test_any_text_is_stretches_in_order_or_an_error(text: str) -> None:
    try:
        parts = parse_leave(text).parts
    except ValueError:
        return
    flat = [time for part in parts for time in part if time is not None]
    assert flat == sorted(flat)
    assert all(end is not None for _, end in parts[:-1])


@pytest.mark.parametrize(
    ("text", "choice"),
    [("largest", FaceChoice("largest")), ("index:12", FaceChoice("index", index=12)),
     ("box:0,10,64,48", FaceChoice("box", box=(0, 10, 64, 48)))],
)  # fmt: skip
def test_face(text: str, choice: FaceChoice) -> None:
    assert parse_face(text) == choice


@pytest.mark.parametrize("text", ["like:", "index:-1", "index:", "box:1,2,3", "box:1,2,0,4", "Largest", "left\n"])
def test_no_face(text: str) -> None:
    with pytest.raises(ValueError, match=r"box:X,Y,W,H"):
        parse_face(text)


@pytest.mark.parametrize(("text", "gain"), [("auto", "auto"), ("0", 0.0), ("1", 1.0), (" 2.5", 2.5), ("3", 3.0)])
def test_gain(text: str, gain: float | str) -> None:
    options = JobOptions.model_validate({"gain": text})
    assert options.gain == gain
    assert json.loads(options.model_dump_json())["gain"] == gain
    assert JobOptions().gain == "auto"


@pytest.mark.parametrize("text", ["Auto", "", "-0.1", "3.01", "inf", "nan", "1,5"])
def test_no_gain(text: str) -> None:
    with pytest.raises(ValueError, match="auto or a number from 0 to 3"):
        JobOptions.model_validate({"gain": text})


def test_options_survive_json() -> None:
    options = JobOptions.model_validate(
        {"fps": "29.97", "trim": "1:30.5-", "leave": "1-2, 3-", "face": "index:1", "gain": "0.7"}
    )
    assert '"fps":"30000/1001"' in options.model_dump_json()
    assert JobOptions.model_validate_json(options.model_dump_json()) == options


# What is said about bad ones


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1: manifest: the file is empty, expected 'version: 1' and 'jobs:'"),
        ("- a", "1: manifest: found a list, expected 'version: 1' and 'jobs:'"),
        ("jobs: [{audio: a, video: b, save_path: c.mp4}]", "1: version: missing; add 'version: 1' as the first line"),
        (
            "version: 2\njobs: [{audio: a, video: b, save_path: c.mp4}]",
            "1: version: found '2'; this dh reads version 1",
        ),
        ("version: 1", "1: jobs: missing, expected a list of at least one job"),
        ("version: 1\njobs: []", "2: jobs: found an empty list, expected a list of at least one job"),
        ("version: 1\njobs:", "2: jobs: found no value, expected a list of at least one job"),
        (manifest("a") + "job: x\n", "5: job: unknown key, did you mean 'jobs'?"),
        (manifest(job("a.mp4")) + "audio: x\n", "5: audio: does not belong here, but in a job"),
        (manifest(job("a.mp4")) + "crf: 2\n", "5: crf: does not belong here, but in a job or in defaults"),
        (manifest(job("a.mp4"), defaults="[x]"), "2: defaults: found a list, expected options as 'loop: hold'"),
        (manifest(job("a.mp4"), defaults="{id: x}"), "2: defaults.id: does not belong here, but in a job"),
        (manifest(job("a.mp4", "gian: 2")), "4: jobs[0].gian: unknown key, did you mean 'gain'?"),
        (manifest(job("a.mp4", "crf: [2]")), "4: jobs[0].crf: found a list, expected one value"),
        (manifest(job("a.mp4", "crf: ")), "4: jobs[0].crf: no value; give one or remove the key"),
        (manifest(job("a.mp4", video="~")), "4: jobs[0].video: no value; the person: a video or a picture"),
        (manifest(job("a.mp4", "gain: nan")), "4: jobs[0].gain: found 'nan', expected auto or a number from 0 to 3"),
        (manifest(job("a.mp4", "crf: 0x12")), "4: jobs[0].crf: found '0x12', expected a whole number from 0 to 51"),
        (manifest(job("a.mp4", "id: ../x")), "4: jobs[0].id: found '../x', expected 1 to 128 letters"),
        (
            manifest(job("a.mp4", f"label: {'x' * 201}")),
            f"4: jobs[0].label: found '{'x' * 60}…', expected a text of 0 to 200 characters",
        ),
        (
            manifest(job(f"{'x/' * 2100}a.mp4")),
            "4: jobs[0].save_path: found a path of 4205 bytes, expected at most 4095",
        ),
        (
            manifest(job(f"{'x' * 247}.mp4")),
            "4: jobs[0].save_path: found a file name of 251 bytes, expected at most 250",
        ),
        (
            manifest(job("a.mp4", audio='"a\\0b"')),
            r"4: jobs[0].audio: found 'a\x00b'; a path cannot hold a NUL character",
        ),
        (
            manifest(job(".mp4")),
            "4: jobs[0].save_path: found '.mp4', expected a name that ends in .mp4, .mov, .mkv, .webm",
        ),
    ],
    ids=range(24),
)
def test_problem(fail: Fail, text: str, problem: str) -> None:
    code, problems = fail(text)
    assert code == "manifest.invalid"
    assert any(line.startswith(f"m.yaml:{problem}") for line in problems), problems
    assert all("pydantic" not in line and "Input should" not in line for line in problems)


def test_all_problems_of_all_kinds_in_the_order_of_the_lines(fail: Fail) -> None:
    code, problems = fail(
        manifest(job("x.mp4", "gain: x, loop: y"), "audio: a, video: v", job("x.mp4"), defaults="{ crf: x }")
        + "  - no\n",
        preset="slo",
    )
    assert code == "manifest.invalid"
    starts = [problem.split(" found")[0].split(" missing")[0] for problem in problems]
    assert starts == [
        "--set preset:",
        "m.yaml:2: defaults.crf:",
        "m.yaml:4: jobs[0].loop:",
        "m.yaml:4: jobs[0].gain:",
        "m.yaml:5: jobs[1].save_path:",
        f"m.yaml:6: jobs[2].save_path: {Path.cwd()}/x.mp4 is already written by jobs[0] (line 4)",
        "m.yaml:7: jobs[3]:",
    ]


def test_a_mistake_repeated_is_counted_not_listed(fail: Fail) -> None:
    _, problems = fail(manifest(*(job(f"{i}.mp4", "gian: 1") for i in range(150))))
    assert len(problems) == 101
    assert problems[-1] == "m.yaml: and 50 more problems"


def test_syntax_and_limits_have_their_codes(fail: Fail) -> None:
    assert fail("a: 1\na: 2\n") == ("manifest.syntax", ("m.yaml:2: duplicate key 'a', first on line 1",))
    assert fail("[" * 40)[0] == "manifest.limit"


def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def problem(source: Path | None) -> str:
        with pytest.raises(ManifestError) as caught:
            load_manifest(source)
        assert caught.value.code == "manifest.unreadable"
        return caught.value.message

    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    assert problem(Path("no.yaml")) == "no.yaml: no such file; give the path of a manifest, or - for standard input"
    assert problem(tmp_path) == f"{tmp_path}: a folder; give a file in it"
    assert problem(Path("loop")).startswith("loop: cannot be read by user")
    assert problem(Path("a\0b")).endswith("embedded null byte")
    monkeypatch.setattr("sys.stdin", None)
    assert problem(None) == "<stdin>: standard input is closed; give a file"
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert problem(None) == "<stdin>: the current folder is gone; change to one that exists"


# In each other's way


def test_the_same_id_twice(fail: Fail) -> None:
    code, problems = fail(manifest(job("a.mp4", "id: x"), job("b.mp4"), job("c.mp4", "id: x")))
    assert code == "manifest.conflict"
    assert problems == ("m.yaml:6: jobs[2].id: 'x' is already the id of jobs[0] (line 4)",)


def same_output(first: str, second: str, fail: Fail) -> None:
    code, problems = fail(manifest(job(first), job("other.mp4"), job(second)))
    assert code == "manifest.conflict"
    (problem,) = problems
    assert "is already written by jobs[0] (line 4" in problem


def test_the_same_output_however_it_is_spelled(fail: Fail, tmp_path: Path) -> None:
    Path("real").mkdir()
    Path("link").symlink_to("real")
    write("old.mp4")
    os.link("old.mp4", "hard.mp4")
    same_output("a.mp4", "./x/../a.mp4", fail)
    same_output("a.mp4", f"{tmp_path}/a.mp4", fail)
    same_output("real/a.mp4", "link/a.mp4", fail)
    same_output("real/new/er/a.mp4", "link/new/er/a.mp4", fail)
    same_output("old.mp4", "hard.mp4", fail)
    Path("point.mp4").symlink_to("old.mp4")
    same_output("old.mp4", "point.mp4", fail)


@pytest.fixture
def ignoring_case(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Below a folder, names that differ in case alone are the same file from now on."""

    def ignore(root: Path) -> None:
        found_by = {"stat": os.stat, "lstat": os.lstat}

        def real(path: Any) -> Any:
            if not isinstance(path, (str, os.PathLike)) or not os.fspath(path).startswith(f"{root}/"):
                return path
            at = str(root)
            for name in os.fspath(path)[len(str(root)) + 1 :].split("/"):
                names = os.listdir(at) if os.path.isdir(at) else []  # noqa: PTH112, PTH208 - Path calls what is replaced
                at += "/" + next((there for there in names if there.casefold() == name.casefold()), name)
            return at

        for name, found in found_by.items():
            monkeypatch.setattr(os, name, lambda path, found=found, **how: found(real(path), **how))

    return ignore


@pytest.mark.parametrize(
    "there", ["a name with letters", "names without letters", "an empty folder", "a folder that may not be listed"]
)
def test_the_same_output_where_names_ignore_case(
    load: Load, fail: Fail, tmp_path: Path, ignoring_case: Callable[[Path], None], there: str
) -> None:
    """Whatever there is in the folder to find it out by; without any letter in its own name, or in its parent's."""
    folder = tmp_path / "disk/2026/11/30"
    folder.mkdir(parents=True)
    if there == "a name with letters":
        (folder / "Old.mp4").touch()
    elif there == "names without letters":
        (folder / "1.2").touch()
    assert len(load(manifest(job(f"{folder}/a.mp4"), job(f"{folder}/A.mp4"))).jobs) == 2
    ignoring_case(tmp_path)
    if there == "a folder that may not be listed":
        folder.chmod(0o300)
    same_output(f"{folder}/a.mp4", f"{folder}/A.mp4", fail)
    same_output(f"{folder}/neu/ä.mp4", f"{folder}/NEU/Ä.mp4", fail)
    same_output(f"{folder}/\u00e9.mp4", f"{folder}/E\u0301.mp4", fail)


def test_two_ids_with_one_result_where_names_ignore_case(
    load: Load, tmp_path: Path, ignoring_case: Callable[[Path], None]
) -> None:
    load(manifest(job("a.mp4", "id: x"), job("b.mp4", "id: X")))
    (tmp_path / "2026").mkdir()
    load_manifest(Path("m.yaml"), results_dir=tmp_path / "2026")
    ignoring_case(tmp_path)
    with pytest.raises(ManifestError, match=r"jobs\[1\]\.id: .*/X\.json is already written by jobs\[0\]"):
        load_manifest(Path("m.yaml"), results_dir=tmp_path / "2026")


def test_names_of_hard_links_do_not_say_that_a_folder_ignores_case(load: Load, tmp_path: Path) -> None:
    (tmp_path / "2026").mkdir()
    (tmp_path / "2026/old").touch()
    os.link(tmp_path / "2026/old", tmp_path / "2026/OLD")
    assert len(load(manifest(job("2026/a.mp4"), job("2026/A.mp4"))).jobs) == 2


def test_a_folder_of_ext4_says_itself_whether_it_ignores_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There each folder has an attribute, which new folders inherit."""
    flagged, inside = tmp_path / "1", tmp_path / "1/2"
    inside.mkdir(parents=True)

    def ioctl(fd: int, request: int, _: bytes) -> bytes:
        assert request == FS_IOC_GETFLAGS
        there = os.path.samestat(os.fstat(fd), flagged.stat())
        return (FS_CASEFOLD_FL if there else 0x80000).to_bytes(8, "little")

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    assert [folds_case(folder) for folder in (tmp_path, flagged, inside)] == [False, True, False]


@pytest.mark.parametrize("kind", ["itself", "hard link", "symbolic link", "not there yet", "result file"])
def test_an_output_that_is_an_input(fail: Fail, kind: str) -> None:
    audio, save_path = "in/a.mp4", "out/b.mp4"
    if kind != "not there yet":
        write(audio)
    Path("out").mkdir()
    if kind == "hard link":
        os.link(audio, save_path)
    elif kind == "symbolic link":
        Path(save_path).symlink_to(Path(audio).absolute())
    elif kind == "result file":
        audio = "out/b.mp4.json"
    else:
        save_path = audio
    code, (problem,) = fail(manifest(job("other.mp4", audio=audio), job(save_path)))
    assert code == "manifest.conflict"
    assert problem.startswith("m.yaml:5: jobs[1].save_path: ")
    assert "would overwrite the audio of jobs[0] (line 4" in problem


def test_an_avatar_that_every_job_reads_is_named_once(fail: Fail) -> None:
    _, problems = fail(manifest(*(job(f"{i}.mp4", video="9.mp4") for i in range(10))))
    assert len(problems) == 1


# Anything at all


@given(
    st.binary(max_size=300) | st.text(string.printable, max_size=100).map(lambda text: b"version: 1\n" + text.encode())
)
def test_any_bytes_are_jobs_or_a_manifest_error(data: bytes) -> None:
    problems: tuple[str, ...] = ("none",)
    try:
        load_manifest(None, stdin=io.BytesIO(data))
    except ManifestError as error:
        problems = error.problems
    assert all(problems)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20)
FILES = NAMES.filter(lambda name: name not in {".", ".."})
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "loop": st.sampled_from(["pingpong", "restart", "hold", "error"]),
        "crf": st.integers(0, 51).map(str),
        "gain": st.just("auto") | st.floats(0, 3).map(str),
        "label": st.text(st.characters(codec="utf-8"), max_size=200),
        "face": st.tuples(*[st.integers(1, 9999)] * 4).map(lambda box: "box:" + ",".join(map(str, box))),
        "fps": st.integers(1, 240).map(str),
        "trim": st.integers(1, 9999).map(lambda end: f"-{end}"),
        "leave": st.integers(1, 9999).map(lambda end: f"-{end}, {end}-{end + 1}"),
    },
)


@pytest.mark.slow
@given(st.lists(st.tuples(FILES, FILES, VALUES), min_size=1, max_size=4))
def test_what_was_written_is_what_is_read(given_jobs: list[tuple[str, str, dict[str, str]]]) -> None:
    lines = ["version: 1", "jobs:"]
    for index, (audio, video, values) in enumerate(given_jobs):
        texts = {"audio": f"in/{audio}", "video": f"in/{video}", "save_path": f"out/{index}.mp4", **values}
        lines.append("  - { " + ", ".join(f"{key}: {ascii_yaml(text)}" for key, text in texts.items()) + " }")
    jobs = load_manifest(None, stdin=io.BytesIO("\n".join(lines).encode())).jobs
    assert [item.line for item in jobs] == list(range(3, 3 + len(given_jobs)))
    for item, (audio, video, values) in zip(jobs, given_jobs, strict=True):
        assert (item.audio, item.video) == (Path.cwd() / "in" / audio, Path.cwd() / "in" / video)
        assert item.options == JobOptions.model_validate(values)


def test_a_photo_of_a_face_is_an_input_too(tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text(
        "version: 1\njobs: [{audio: a.wav, video: v.mp4, save_path: anna.mp4, face: 'like:anna.mp4'}]\n"
    )
    with pytest.raises(ManifestError, match=r"anna\.mp4 would overwrite the photo of this job"):
        load_manifest(tmp_path / "jobs.yaml")
