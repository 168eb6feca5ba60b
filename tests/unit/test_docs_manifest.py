"""docs/manifest.md and the examples say what the code does: every key, every default, every line of output."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from dhcli.errors import CODES, ManifestError
from dhcli.jobs.options import JobOptions, parse_face
from dhcli.jobs.schema import manifest_schema
from dhcli.jobs.templates import FIELDS
from dhcli.manifest import load_manifest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "manifest.md").read_text(encoding="utf-8")
EXAMPLES = sorted((ROOT / "examples" / "manifests").glob("*.yaml"))


def table(heading: str) -> dict[str, list[str]]:
    """The cells of the first table below a heading, by their first."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return {cells[0].strip(" `"): [cell.strip() for cell in cells[1:]] for cells in rows}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_every_option_is_documented_in_order_with_its_default() -> None:
    documented = {name: cells[1].strip("`") for name, cells in table("Options of a job").items()}
    defaults = json.loads(JobOptions.model_validate({}).model_dump_json())
    assert list(documented) == list(defaults)
    assert documented == {
        name: value if isinstance(value, str) and value else json.dumps(value) for name, value in defaults.items()
    }


def test_every_choice_and_limit_is_documented() -> None:
    cells = table("Options of a job")
    for name, schema in manifest_schema()["$defs"].items():
        for choice in schema.get("enum", []):
            assert f"`{choice}`" in cells[name][0], name
        if schema.get("type") in ("number", "integer"):
            assert f"number, {schema['minimum']} to {schema['maximum']}" in cells[name][0]
            assert ("whole" in cells[name][0]) == (schema["type"] == "integer")


def test_every_key_is_documented() -> None:
    schema = manifest_schema()
    assert set(table("Keys of the file")) == set(schema["properties"])
    job = schema["properties"]["jobs"]["items"]
    assert set(table("Keys of a job")) | set(table("Options of a job")) == set(job["properties"])
    needed = [name for name, cells in table("Keys of a job").items() if "needed" in cells[-1]]
    assert needed == [
        key for rule in schema["allOf"] for key in rule["then"]["properties"]["jobs"]["items"]["required"]
    ]
    matrix = schema["properties"]["matrix"]["anyOf"][0]["properties"]
    own = {key for name in table("Many jobs") if "{" not in name for key in re.findall(r"[a-z_]+", name)}
    assert own | {"use", "skip"} | set(table("Options of a job")) == set(matrix)


def test_every_field_of_templates_is_documented() -> None:
    fields = {name for row in table("Many jobs") for name in re.findall(r"{([a-z.]+)}", row)}
    assert fields == {*FIELDS, "index"}


def test_every_code_is_documented() -> None:
    documented = {name: int(cells[-1]) for name, cells in table("When something is wrong").items()}
    assert documented == {name: code.exit_code for name, code in CODES.items() if name.startswith("manifest.")}


def test_the_good_examples_of_the_page_are_good() -> None:
    smallest, larger, *_ = blocks("yaml")
    (job,) = load_manifest(None, stdin=io.BytesIO(smallest.encode())).jobs
    assert (job.id, job.options) == ("hello", JobOptions.model_validate({}))
    monday, promo = load_manifest(None, stdin=io.BytesIO(larger.encode())).jobs
    assert (monday.id, monday.options.loop, monday.options.crf) == ("monday", "hold", 20)
    assert (promo.id, promo.options.loop, promo.options.crf, str(promo.options.trim)) == (
        "promo",
        "pingpong",
        20,
        "65-80",
    )


def test_the_examples_with_many_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, matrix, variables, *_ = blocks("yaml")
    (tmp_path / "takes").mkdir()
    for name in ("intro.wav", "takes/01.wav", "takes/03.wav", "takes/12.wav"):
        (tmp_path / name).touch()
    (tmp_path / "matrix.yaml").write_text(matrix)
    jobs = load_manifest(tmp_path / "matrix.yaml").jobs
    assert [job.save_path.relative_to(tmp_path / "out").as_posix() for job in jobs] == [
        "anna/intro.mp4", "anna/01.mp4", "anna/12.mp4", "anna/03.mp4", "ben/intro.mp4", "ben/12.mp4",
    ]  # fmt: skip
    assert [str(job.options.trim) for job in jobs if job.options.trim] == ["2-"]
    monkeypatch.setenv("VOICE", "ben")
    (tmp_path / "vars.yaml").write_text(variables)
    (job,) = load_manifest(tmp_path / "vars.yaml", variables={"show": "tuesday"}).jobs
    assert (job.audio, job.id) == (tmp_path / "tuesday/ben.wav", "tuesday")
    assert (job.options.preset, job.options.gain, job.options.crf) == ("ultrafast", 0.8, 28)


def test_the_table_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "jobs.csv").write_text(blocks("csv")[0], encoding="utf-8-sig")
    monday, tuesday = load_manifest(tmp_path / "jobs.csv").jobs
    assert (monday.options.gain, monday.options.label) == ("auto", "News; Monday")
    assert (tuesday.id, tuesday.options.gain, tuesday.options.label) == ("tuesday", 0.8, "")


def test_the_output_shown_is_the_real_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = list(zip(blocks("yaml")[-2:], blocks("text"), strict=True))
    for manifest, output in shown:
        Path("night.yaml").write_text(manifest, encoding="utf-8")
        with pytest.raises(ManifestError) as caught:
            load_manifest(Path("night.yaml"))
        assert caught.value.message == output.rstrip("\n")


def test_the_forms_of_face_on_the_page_are_read() -> None:
    section = PAGE.split("`face` is one of")[1].split("\n\n")[1]
    forms = re.findall(r"`([^`]+)`", section)
    assert {parse_face(re.sub("[NXYWH]", "7", form)).rule for form in forms} == {
        "largest", "left", "right", "center", "any", "index", "box", "like",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["c.mov", "c.MKV", "c.webm", "c.mp4", "${where}.mov"])
def test_the_schema_takes_every_ending(name: str) -> None:
    jobs = [{"audio": "a.wav", "video": "b.mp4", "save_path": name}]
    jsonschema.Draft202012Validator(manifest_schema()).validate({"version": 1, "jobs": jobs})


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_valid_and_their_media_exist(path: Path) -> None:
    manifest = load_manifest(path)
    jsonschema.Draft202012Validator(manifest_schema()).validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    for job in manifest.jobs:
        assert job.audio.is_file()
        assert job.video.is_file()
        assert job.save_path.is_relative_to(ROOT / "examples" / "out")


def test_the_examples_are_the_documented_ones() -> None:
    assert [path.name for path in EXAMPLES] == ["ci-smoke.yaml", "nightly.yaml", "sample.yaml"]
    assert load_manifest(ROOT / "examples/manifests/sample.yaml").jobs[0].save_path == ROOT / "examples/out/hello.mp4"


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"jobs": []},
        {"defaults": {"id": "a"}},
        {"matrix": {"audio": "a", "save_path": "c.mp4"}},
        {"matrix": {"audio": [], "video": "v", "save_path": "c.mp4"}},
        {"matrix": {"audio": "a", "video": "v", "save_path": "c.mp4", "pair": "all"}},
        {"matrix": {"audio": {"gain": 1}, "video": "v", "save_path": "c.mp4"}},
        {"matrix": {"audio": "a", "video": "v", "save_path": "c.mp4", "exclude": [{}]}},
        {"presets": {"x": {"audio": "a"}}},
        {"vars": {"a-b": "x"}},
        {"jobs": [{"audio": "a", "video": "b", "save_path": "c.mp4", "skip": "perhaps"}]},
        {"jobs": [{"audio": "a", "video": "b", "save_path": "c.mp4", "id": "a b"}]},
        {"jobs": [{"audio": "a", "video": "b"}]},
        {"jobs": [{"audio": "a", "video": "b", "save_path": "c.avi"}]},
        {"jobs": [{"audio": "a", "video": "b", "save_path": "c.mp4", "gain": 4}]},
        {"jobs": [{"audio": "a", "video": "b", "save_path": "c.mp4", "audoi": "a"}]},
    ],
    ids=str,
)
def test_schema_and_reader_refuse_the_same(change: dict[str, Any]) -> None:
    schema = manifest_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    good = {"version": 1, "jobs": [{"audio": "a", "video": "b", "save_path": "c.mp4"}]}
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(good)
    assert not validator.is_valid(good | change)
    with pytest.raises(ManifestError):
        load_manifest(None, stdin=io.BytesIO(json.dumps(good | change).encode()))


@pytest.mark.parametrize(
    "change",
    [
        {
            "defaults": {"audio": "a.wav", "use": "x"},
            "presets": {"x": {"crf": 2}},
            "jobs": [{"video": "b", "save_path": "c.mp4"}],
        },
        {"vars": {"g": 1, "h": {"env": "H", "default": "${g}"}}, "defaults": {"gain": "${g}", "face": "like:${h}"}},
        {
            "matrix": {
                "audio": ["x", {"path": "y", "gain": 1, "skip": True}],
                "video": "v",
                "save_path": "{audio.stem}.mp4",
            }
        },
        {
            "matrix": [
                {"audio": "x", "video": "v", "save_path": "d.mp4", "exclude": {"audio": "*"}, "id": "{audio.stem}"}
            ]
        },
        {
            "jobs": [
                {"audio": "a", "video": "b", "save_path": "c.mp4", "id": "größe-हिन्दी", "use": None, "skip": "false"}
            ]
        },
    ],
    ids=str,
)
def test_schema_and_reader_take_the_same(change: dict[str, Any]) -> None:
    good = {"version": 1, "jobs": [{"audio": "a", "video": "b", "save_path": "c.mp4"}]}
    jsonschema.Draft202012Validator(manifest_schema()).validate(good | change)
    assert load_manifest(None, stdin=io.BytesIO(json.dumps(good | change).encode())).jobs
