"""Jobs that a manifest does not list one by one: matrices, templates, presets, variables, tables, flags."""

from __future__ import annotations

import dataclasses
import glob
import itertools
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhcli.errors import DhError, ManifestError
from dhcli.jobs.documents import parse
from dhcli.jobs.expanded import expanded
from dhcli.jobs.files import Files
from dhcli.jobs.keys import is_id
from dhcli.jobs.matrix import MAX_JOBS, Pair, pairs
from dhcli.jobs.options import Job
from dhcli.jobs.strict_yaml import StrictYamlError
from dhcli.jobs.templates import Values, filled, wrong
from dhcli.manifest import Manifest, jobs_of_flags, load_manifest
from dhcli.runtime.disk_calls import DiskCalls

Load = Callable[..., Manifest]
Fail = Callable[..., tuple[str, ...]]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads a text as a file of the current folder, in which there are some empty media."""
    monkeypatch.chdir(tmp_path)
    for name in ("intro.wav", "takes/b.wav", "takes/a.wav", "takes/10.wav", "takes/.c.wav", "anna.mp4", "ben.mp4"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()

    def from_text(text: str | bytes, name: str = "m.yaml", **variables: str) -> Manifest:
        Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_manifest(Path(name), variables=variables)

    return from_text


@pytest.fixture
def fail(load: Load) -> Fail:
    """The problems of a text that is refused."""

    def from_text(text: str | bytes, name: str = "m.yaml", **variables: str) -> tuple[str, ...]:
        with pytest.raises(ManifestError) as caught:
            load(text, name, **variables)
        return caught.value.problems

    return from_text


def matrix(more: str = "", audio: str = '[intro.wav, "takes/*.wav"]', video: str = "[anna.mp4, ben.mp4]") -> str:
    """A manifest whose matrix begins in line 2."""
    path = "save_path: 'out/{video.stem}/{audio.stem}.mp4'"
    return f"version: 1\nmatrix:\n  audio: {audio}\n  video: {video}\n  {path}\n{more}"


def names(manifest: Manifest) -> list[str]:
    return [f"{job.video.stem} {job.audio.stem}" for job in manifest.jobs]


def bare(jobs: tuple[Job, ...]) -> list[Job]:
    """The jobs without what tells where they stood."""
    return [dataclasses.replace(job, index=0, line=None) for job in jobs]


# Matrices


@given(
    st.lists(st.integers(0, 9), max_size=6),
    st.lists(st.integers(0, 9), max_size=6),
    st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9))),
    st.sampled_from(["product", "zip"]),
)
def test_pairs(audios: list[int], videos: list[int], left_out: set[tuple[int, int]], how: Pair) -> None:
    if how == "zip":
        videos = (videos * 7)[: len(audios)]
        audios = audios[: len(videos)]
    found = list(pairs(audios, videos, how, lambda audio, video: (audio, video) in left_out))
    wanted = (
        [(a, v) for v, a in itertools.product(videos, audios)]
        if how == "product"
        else [*zip(audios, videos, strict=True)]
    )
    assert found == [pair for pair in wanted if pair not in left_out]


def test_a_matrix_takes_every_audio_with_every_video_in_order(load: Load, tmp_path: Path) -> None:
    manifest = load(matrix())
    assert names(manifest) == [f"{v} {a}" for v in ("anna", "ben") for a in ("intro", "10", "a", "b")]
    assert manifest.jobs[5].save_path == tmp_path / "out/ben/10.mp4"
    assert [job.index for job in manifest.jobs] == [*range(8)]
    assert len({job.id for job in manifest.jobs}) == 8


def test_zip_excludes_and_entries_of_their_own(load: Load) -> None:
    audio = '[{path: "takes/*.wav", gain: 2}, {path: takes/b.wav, crf: 9, use: sharp}]'
    video = "[anna.mp4, {path: ben.mp4, crf: 8, gain: 1}, anna.mp4]"
    more = "  pair: zip\n  crf: 7\n  fps: 30\n  exclude: [{audio: '*/a.wav', video: '*'}, {video: no.mp4}]\n"
    manifest = load(matrix(more, audio, video) + "presets: {sharp: {crf: 1, detail: 0.5, label: x}}\n")
    assert names(manifest) == ["anna 10", "anna b"]
    first, last = (job.options for job in manifest.jobs)
    assert (first.crf, first.gain, first.detail) == (7, 2, 1)
    assert (last.crf, last.gain, last.detail, last.label, str(last.fps)) == (9, "auto", 0.5, "x", "30")


def test_the_audio_wins_over_the_video_and_both_over_the_matrix(load: Load) -> None:
    text = matrix(
        "  crf: 1\n  gain: 1\n  detail: 0.1\n", "{path: intro.wav, crf: 3}", "{path: anna.mp4, crf: 2, gain: 2}"
    )
    (job,) = load(text).jobs
    assert (job.options.crf, job.options.gain, job.options.detail) == (3, 2, 0.1)


def test_several_matrices_and_jobs_with_defaults(load: Load, tmp_path: Path) -> None:
    text = """version: 1
defaults: {video: anna.mp4, save_path: "out/{index:02}-{audio.folder}-{label}.mp4", label: a/b}
jobs:
  - {audio: intro.wav}
  - {audio: takes/a.wav, save_path: "{id}.mp4", skip: true}
matrix:
  - {audio: takes/a.wav}
  - {audio: takes/b.wav, video: ben.mp4, skip: true}
  - {audio: takes/b.wav, video: ben.mp4, save_path: "{id}.mp4", id: "{audio.stem} of {video.stem}"}
"""
    manifest = load(text)
    folder = tmp_path.name
    assert [job.save_path.name for job in manifest.jobs] == [f"01-{folder}-a-b.mp4", "03-takes-a-b.mp4", "b-of-ben.mp4"]
    assert manifest.jobs[2].id == "b-of-ben"
    assert manifest.skipped == {"{id}", "04-takes-a-b"}


def test_a_job_that_is_left_out_names_no_other_anew_and_is_in_nobodys_way(load: Load, fail: Fail) -> None:
    both = "version: 1\ndefaults: {audio: intro.wav, video: anna.mp4}\njobs: [{save_path: a/x.mp4}, {save_path: b/x.mp4"
    assert [job.id for job in load(both + ", skip: TRUE}]").jobs] == [job.id for job in load(both + "}]").jobs][:1]
    load(
        "version: 1\njobs: [{audio: a, video: v, save_path: x.mp4}, {audio: a, video: v, save_path: x.mp4, skip: true}]"
    )
    assert load("version: 1\njobs: [{audio: a, video: v, save_path: x.mp4, skip: true}]").jobs == ()
    (problem,) = fail(both + ", skip: true, crf: x}]")
    assert "jobs[1].crf" in problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (matrix(audio="x/*.wav"), "3: matrix.audio: no file matches 'x/*.wav'"),
        (matrix(audio="[]"), "3: matrix.audio: found an empty list, expected at least one file"),
        (matrix(audio="[a, ~]"), "3: matrix.audio[1]: found no value, expected a path"),
        (matrix(audio="[{crf: 2}]"), "3: matrix.audio[0].path: missing; the speech"),
        (matrix(audio="{path: a, audio: b}"), "3: matrix.audio.audio: unknown key"),
        (matrix(audio="{path: a, crf: x}"), "3: matrix.audio.crf: found 'x', expected a whole number"),
        (matrix("  pair: all\n"), "6: matrix.pair: found 'all', expected product or zip"),
        (matrix("  pair: zip\n"), "6: matrix.pair: zip needs as many audios as videos; found 4 and 2"),
        (matrix("  exclude: [a]\n"), "6: matrix.exclude[0]: found 'a', expected 'audio:', 'video:' or both"),
        (matrix("  exclude: {adio: a}\n"), "6: matrix.exclude.adio: unknown key, did you mean 'audio'?"),
        (matrix("  id: '{id}'\n"), "6: matrix.id: unknown field '{id}'"),
        (matrix("  id: '-{audio.stem}'\n", "intro.wav", "anna.mp4"), "3: jobs[0].id: found '-intro', expected 1 to"),
        (matrix().replace("audio.stem", "audio.stm"), "5: matrix.save_path: unknown field '{audio.stm}'; did you m"),
        (matrix().replace("{audio.stem}", "{audio.stem"), "5: matrix.save_path: a single '{' in a template; write"),
        (matrix().replace("{audio.stem}", "{id}"), "3: jobs[0].save_path: the template 'out/{video.stem}/{id}.mp4'"),
        (matrix(video="anna.mp4").replace("{audio.stem}", "x"), "3: jobs[1].save_path: "),
        ("version: 1\nmatrix: x", "2: matrix: found 'x', expected 'audio:' and 'video:' with lists"),
        ("version: 1\nmatrix: [{audio: a, video: v}]", "2: matrix[0].save_path: missing; the video to write"),
        ("version: 1\nmatrix: {audio: a, save_path: x.mp4}", "2: matrix.video: missing; the person"),
        ("version: 1\npresets: {a: 1}\njobs: []", "2: presets.a: found '1', expected options"),
        ("version: 1\ndefaults: {use: [fst]}\npresets: {fast: {crf: 2}}", "2: defaults.use: no preset 'fst', did y"),
        ("version: 1\ndefaults: {save_path: '{x}.mp4'}\njobs: []", "2: defaults.save_path: unknown field '{x}'; kn"),
        ("version: 1\ndefaults: {audio: ''}\njobs: [{video: v, save_path: x.mp4}]", "2: defaults.audio: no path; t"),
        ("version: 1\njobs: [{audio: a, video: v, save_path: x.mp4, skip: 1}]", "2: jobs[0].skip: found '1', expec"),
        ("version: 1\njobs: [{audio: a, video: v, save_path: x.mp4, channel: x}]", "2: jobs[0].channel: found 'x',"),
        ("version: 1\njobs: [{audio: a, video: v, save_path: x.mp4, faithful: x}]", "2: jobs[0].faithful: found 'x"),
        ("version: 1\njobs: [{audio: a, video: v, save_path: x.mp4, smoothing: x}]", "2: jobs[0].smoothing: found"),
        ("version: 1\njobs: [{audio: a, video: v, save_path: x.mp4, enhancer: ''}]", "2: jobs[0].enhancer: found '"),
    ],
    ids=range(28),
)  # fmt: skip
def test_problem(fail: Fail, text: str, problem: str) -> None:
    problems = fail(text)
    assert any(line.startswith(f"m.yaml:{problem}") for line in problems), problems
    assert all("Input should" not in line for line in problems)


def test_a_conflict_in_a_matrix_says_whose(fail: Fail) -> None:
    (problem,) = fail(matrix(audio="[intro.wav, takes/a.wav]", video="anna.mp4").replace("{audio.stem}", "x"))
    assert problem.endswith("x.mp4 is already written by jobs[0] (line 3) (of a.wav and anna.mp4)")


def test_a_matrix_has_its_limit(fail: Fail) -> None:
    files = "[" + ", ".join(["a.wav"] * (MAX_JOBS // 1000 + 1)) + "]"
    (problem,) = fail(matrix(audio=files, video="[" + ", ".join(["v"] * 1000) + "]"))
    assert problem == f"m.yaml:3: more than {MAX_JOBS} jobs; split the lists"


@pytest.mark.usefixtures("load")
def test_a_pattern_leads_nowhere_outside_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/in").symlink_to(tmp_path)
    for number, pattern in enumerate(("../*.wav", f"{tmp_path}/*.wav", "in/*.wav")):
        (tmp_path / "root/m.yaml").write_text(matrix(audio=f'["{pattern}"]', video="v.mp4"))
        with pytest.raises(ManifestError, match=r"matrix\.audio\[0\]: .* is outside of") as caught:
            load_manifest(tmp_path / "root/m.yaml", root=tmp_path / "root")
        assert len(caught.value.problems) == 1, number


def test_patterns_find_and_match_the_same_files(load: Load, tmp_path: Path) -> None:
    del load
    for name in ("[1].wav", "1.wav", "deep/er/1.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files = Files(tmp_path, DiskCalls())
    assert files.find("[1].wav") is None
    for pattern in ("*.wav", "**/*.wav", "takes/*", "**/1.wav", "*/[ab].wav", "./takes/?.wav", f"{tmp_path}/*/*.wav"):
        found = files.find(pattern)
        assert found == sorted(found or [])
        shown = [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith(".")]
        assert found == sorted(path for path in shown if files.matcher(pattern)(path)), pattern
    with pytest.raises(ValueError, match=r"no file matches 'tak\*'"):
        files.find("tak*")  # a folder


def test_a_pattern_on_a_disk_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    back = threading.Event()

    def gone(*_: object, **__: object) -> list[str]:
        back.wait()
        return []

    monkeypatch.setattr(glob, "iglob", gone)
    try:
        with pytest.raises(DhError, match=r"No answer from the disk for 0\.1 s: the files of '\*\.wav'"):
            Files(tmp_path, DiskCalls(0.1)).find("*.wav")
    finally:
        back.set()


# Templates and ids


@given(st.text("{}ab", max_size=12))
def test_a_template_is_wrong_or_can_be_filled(text: str) -> None:
    values = Values(Path("/x/a.wav"), Path("/y/v.mp4"), "i", 7, "l/l")
    if wrong(text) is None:
        assert filled(text, values).count("{") == text.count("{{")


def test_fields() -> None:
    values = Values(Path("/x/a.b.wav"), Path("/y/v.mp4"), "i", 7, "l/l")
    text = "{{{audio.stem}}} {audio.folder} {video.stem} {video.folder} {id} {index} {index:03} {label}"
    assert filled(text, values) == "{a.b} x v y i 7 007 l-l"


@pytest.mark.parametrize("text", ["größe", "видео_1", "हिन्दी", "映像-02", "a.b-c", "_", "٣"])
def test_ids_of_every_script(text: str) -> None:
    assert is_id(text)


@pytest.mark.parametrize(
    "text", ["", "-a", ".a", "a b", "a/b", "a\n", "ä" * 129, "a" * 129, "ü:", "\u0301a", "😀", "ä\u200b"]
)
def test_no_ids(text: str) -> None:
    assert not is_id(text)


# Variables


def test_variables(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DH_TEST_VOICE", "ben")
    text = """version: 1
vars: {a: 1, voice: {env: DH_TEST_VOICE, default: anna}, must: null}
defaults: {crf: "${a}${a}", label: "$${a} $a ${must}"}
jobs: [{audio: x, video: "${voice}.mp4", save_path: x.mp4}]
"""
    (job,) = load(text, must="${a}").jobs
    assert (job.options.crf, job.options.label, job.video.name) == (11, "${a} $a ${a}", "ben.mp4")
    (job,) = load(text, must="m", voice="c", a="2").jobs
    assert (job.options.crf, job.video.name) == (22, "c.mp4")
    monkeypatch.delenv("DH_TEST_VOICE")
    assert load(text, must="").jobs[0].video.name == "anna.mp4"


def test_a_manifest_without_variables_says_what_it_says(load: Load) -> None:
    assert load("version: 1\njobs: [{audio: '${a}', video: '{id}', save_path: '{x}.mp4'}]").jobs[0].audio.name == "${a}"


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        ("{a: ~}", "m.yaml:2: vars.a: no value; give --var a=VALUE"),
        ("{a: {env: DH_TEST_NONE}}", "m.yaml:2: vars.a: no value; give --var a=VALUE, or set DH_TEST_NONE"),
        ("{a: {var: x, default: 1}}", "m.yaml:2: vars.a.var: unknown key; allowed: env, default"),
        ("{a: [1]}", "m.yaml:2: vars.a: found a list, expected one value"),
        ("{a: {env: [X]}}", "m.yaml:2: vars.a.env: found a list, expected the name"),
        ("{a: 1, b-c: 1}", "m.yaml:2: vars.b-c: expected a name of letters"),
        ("{aa: 1}", "m.yaml:3: ${a}: 'vars:' does not declare it, did you mean 'aa'?; write '$${'"),
        ("[a]", "m.yaml:2: vars: found a list, expected names with defaults"),
    ],
)
def test_wrong_variables(fail: Fail, declared: str, problem: str) -> None:
    problems = fail(f"version: 1\nvars: {declared}\njobs: [{{audio: '${{a}}', video: v, save_path: x.mp4}}]")
    assert any(line.startswith(problem) for line in problems), problems


def test_values_for_variables_that_are_not_declared(fail: Fail) -> None:
    jobs = "jobs: [{audio: a, video: v, save_path: x.mp4}]"
    assert fail(f"version: 1\n{jobs}", a="1") == ("--var a: the manifest has no 'vars:' that declares it",)
    assert fail(f"version: 1\nvars: {{ab: 1}}\n{jobs}", a="1") == (
        "--var a: 'vars:' does not declare it, did you mean 'ab'?",
    )


def test_variables_make_no_manifest_of_any_size(fail: Fail) -> None:
    uses = "".join(f"  - {{audio: '${{a}}', video: v, save_path: {i}.mp4}}\n" for i in range(170))
    (problem,) = fail(f"version: 1\nvars: {{a: x}}\njobs:\n{uses}", a="x" * 100_000)
    assert problem == "m.yaml:171: larger than 16 MiB with its variables"


# Tables and JSON


LABEL = '"a, ""b""\nc"'
A, B = (
    '"audio": "a.wav", "video": "v.mp4", "save_path": "x.mp4"',
    '"audio": "a.wav", "video": "v.mp4", "save_path": "y.mp4"',
)
C = r'"gain": 1.5, "label": "a, \"b\"\nc"'


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"audio,video,save_path,gain,label\na.wav,v.mp4,x.mp4,,\na.wav,v.mp4,y.mp4,1.5,{LABEL}\n", "m.csv"),
        (
            f"\ufeffaudio;video;save_path;gain;label\r\na.wav;v.mp4;x.mp4\r\n;;\r\na.wav;v.mp4; y.mp4 ;1.5;{LABEL}",
            "m.CSV",
        ),
        (f"sep=;\naudio;video;save_path;gain;label;\na.wav;v.mp4;x.mp4;;;\na.wav;v.mp4;y.mp4;1.5;{LABEL};", "m.csv"),
        (f"audio\tvideo\tsave_path\tgain\tlabel\na.wav\tv.mp4\tx.mp4\na.wav\tv.mp4\ty.mp4\t1.5\t{LABEL}", "m.tsv"),
        (f"{{{A}}}\n\n{{{B}, {C}}}\n", "m.jsonl"),
        (f'{{"version": 1,\n\t"jobs": [{{{A}}},\n{{{B}, {C}}}]}}', "m.json"),
    ],
    ids=["commas", "semicolons", "sep", "tabs", "lines", "json"],
)
def test_tables_and_json_are_the_same_jobs(load: Load, text: str, name: str) -> None:
    yaml = r"""version: 1
jobs:
  - {audio: a.wav, video: v.mp4, save_path: x.mp4}
  - {audio: a.wav, video: v.mp4, save_path: y.mp4, gain: 1.5, label: "a, \"b\"\nc"}
"""
    assert bare(load(text, name).jobs) == bare(load(yaml).jobs)


@pytest.mark.parametrize(
    ("text", "name", "problem"),
    [
        ("", "m.csv", "m.csv: the file is empty, expected keys in its first row"),
        ('audio,label\n\n"a\nb",c,d\n', "m.csv", "m.csv:3: a value without a key above it, in the first row"),
        ("audio,,video\na,b,c", "m.csv", "m.csv:2: a value without a key above it, in the first row"),
        ("audio,audio\na,b", "m.csv", "m.csv:1: duplicate key 'audio'"),
        ('audio,label\na,"b', "m.csv", "m.csv:2: not CSV: unexpected end of data"),
        ('audio;video;save_path;crf\n"a";v;"x\ny.mp4";\nb;v;y.mp4;x;', "m.csv", "m.csv:4: jobs[1].crf: found 'x'"),
        ("audi;video;save_path\na;v;x.mp4", "m.csv", "m.csv:2: jobs[0].audi: unknown key, did you mean 'audio'?"),
        ("audio;vidéo\na;v".encode("latin-1"), "m.csv", "m.csv:1:10: byte 0xe9 is not UTF-8"),
        ('{"audio": "a"}\n\n{"audio": "b", "crf": 99}', "m.jsonl", "m.jsonl:3: jobs[1].crf: found '99'"),
        ('{"audio": "a"}\n{"audio": ', "m.jsonl", "m.jsonl:2:"),
    ],
)  # fmt: skip
def test_wrong_tables(fail: Fail, text: str | bytes, name: str, problem: str) -> None:
    problems = fail(text, name)
    assert any(line.startswith(problem) for line in problems), problems


def test_json_of_python(load: Load) -> None:
    """`json.dumps` writes one character in two parts; YAML knows whole ones only."""
    text = json.dumps({"audio": "😀\\ud83d.wav", "video": "v", "save_path": "x.mp4"})
    assert "\\ud83d\\ude00" in text
    assert load(text, "m.jsonl").jobs[0].audio.name == "😀\\ud83d.wav"


TEXTS = st.text('audio,;\t"\r\n{}[]: \\ud8dc\u2028é', max_size=60).map(str.encode) | st.binary(max_size=40)


@given(TEXTS, st.sampled_from([".csv", ".tsv", ".json", ".jsonl"]))
def test_any_bytes_are_a_tree_or_problems(data: bytes, suffix: str) -> None:
    problems: tuple[str, ...] = ("m: none",)
    try:
        parse(data, "m", suffix)
    except StrictYamlError as error:
        problems = error.problems
    assert problems
    assert all(problem.startswith("m:") for problem in problems)


# Flags


def test_the_same_jobs_however_they_were_written(load: Load) -> None:
    """So their results do not depend on it, either: a fingerprint is made of inputs and options."""
    takes = [f"takes/{name}.wav" for name in ("10", "a", "b")]
    jobs = [f"{{audio: {take}, video: anna.mp4, save_path: out/{Path(take).stem}.mp4}}" for take in takes]
    listed = bare(load(f"version: 1\njobs: [{', '.join(jobs)}]").jobs)
    rows = [f"{take},anna.mp4,out/{Path(take).stem}.mp4" for take in takes]
    common = "video: anna.mp4, save_path: 'out/{audio.stem}.mp4'"
    audios = ", ".join(f"{{audio: {take}}}" for take in takes)
    assert bare(load("\n".join(["audio,video,save_path", *rows]), "m.csv").jobs) == listed
    assert bare(load(f"version: 1\ndefaults: {{{common}}}\njobs: [{audios}]").jobs) == listed
    assert bare(load(f"version: 1\nmatrix: {{audio: 'takes/*.wav', {common}}}").jobs) == listed
    assert bare(jobs_of_flags(["takes/*.wav"], ["anna.mp4"], "out").jobs) == listed
    assert bare(jobs_of_flags(takes, ["anna.mp4"], "out/{audio.stem}.mp4").jobs) == listed


@pytest.mark.parametrize(
    ("audios", "videos", "out", "pair", "outputs"),
    [
        (["intro.wav"], ["anna.mp4"], "", "product", ["intro"]),
        (["intro.wav"], ["*.mp4"], "o/", "product", ["o/anna", "o/ben"]),
        (["intro.wav", "takes/a.wav"], ["*.mp4"], "o", "zip", ["o/intro", "o/a"]),
        (["takes/[ab].wav"], ["ben.mp4", "anna.mp4"], "o", "product", ["o/ben/a", "o/ben/b", "o/anna/a", "o/anna/b"]),
        (["takes/?.wav"], ["ben.mp4"], "{index}-{{{video.stem}.MP4", "product", ["1-{ben", "2-{ben"]),
    ],
)
def test_outputs_of_flags(
    load: Load, tmp_path: Path, audios: list[str], videos: list[str], out: str, pair: Pair, outputs: list[str]
) -> None:
    del load
    found = jobs_of_flags(audios, videos, out, pair).jobs
    assert [job.save_path.relative_to(tmp_path).with_suffix("").as_posix() for job in found] == outputs


@pytest.mark.parametrize(
    ("audios", "out", "pair", "problem"),
    [
        (["x*.wav", ""], "o", "product", "--audio: no file matches 'x*.wav'"),
        ([""], "o", "product", "--audio: no path; the speech: a sound file, or a video with sound"),
        (["intro.wav"], "{x}.mp4", "product", "--out: unknown field '{x}'; known: "),
        (["intro.wav"], "{id}.mp4", "product", "--out: the template '{id}.mp4' needs an id here"),
        (["intro.wav", "takes/a.wav"], "o", "zip", "--pair: zip needs as many audios as videos; found 2 and 1"),
        (["intro.wav", "takes/a.wav"], "o.mp4", "product", "--out: "),
    ],
)
def test_wrong_flags(load: Load, audios: list[str], out: str, pair: Pair, problem: str) -> None:
    del load
    with pytest.raises(ManifestError) as caught:
        jobs_of_flags(audios, ["anna.mp4"], out, pair)
    assert caught.value.problems[0].startswith(problem)
    assert "None" not in caught.value.message


# Expansion

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8)


@settings(max_examples=20)
@given(st.lists(st.tuples(NAMES, NAMES, st.sampled_from([{}, {"gain": "2"}, {"trim": "1-2"}])), min_size=1, max_size=3))
def test_the_expansion_is_the_same_jobs(
    tmp_path_factory: pytest.TempPathFactory, given_jobs: list[tuple[str, str, dict[str, str]]]
) -> None:
    folder = tmp_path_factory.mktemp("x")
    jobs = [
        {
            "audio": f"in/{audio}",
            "video": f"in/{name}",
            "label": name,
            "save_path": f"out/{index}{name}.mp4"[-240:],
            **more,
        }
        for index, (audio, name, more) in enumerate(given_jobs)
    ]
    (folder / "m.json").write_text(json.dumps({"version": 1, "jobs": jobs}))
    first = load_manifest(folder / "m.json").jobs
    (folder / "x.yaml").write_text("\n".join(expanded(first)))
    (folder / "x.json").write_text("\n".join(expanded(first, as_json=True)))
    for name in ("x.yaml", "x.json"):
        assert bare(load_manifest(folder / name).jobs) == bare(first)


def test_a_name_that_no_manifest_can_hold(load: Load, tmp_path: Path) -> None:
    del load
    (tmp_path / "takes/\udcff.wav").touch()
    jobs = jobs_of_flags(["takes/*.wav"], ["anna.mp4"], "o").jobs
    with pytest.raises(DhError, match="its name is not UTF-8"):
        expanded(jobs)
