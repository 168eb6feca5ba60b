"""`dh cache`, and the flags that say where the cache is and how large."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

EACH = {"hash": 1, "probe": 2, "profile": 1, "track": 1}
"""Entries in the cache after a render, by kind."""


@pytest.fixture
def settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hashes are kept of files of any age; the cache folder."""
    monkeypatch.setattr("dhcli.disk.hashes.SETTLED_NS", -(1 << 62))
    return tmp_path / "cache"


def analysis(tmp_path: Path) -> str:
    return str(json.loads((tmp_path / "good.mp4.json").read_text())["analysis"])


@pytest.mark.slow
def test_info_and_clear(dh: Any, good: list[str], settled: Path) -> None:
    nothing = [f"folder  {settled} (not there yet)", f"all     {'0.0 MiB':>26} of 2048 MiB"]
    assert dh("cache", "info").out.splitlines() == nothing
    assert dh("render", *good).code == 0
    said = json.loads(dh("cache", "info", "--json", "--cache-size", "7").out)
    assert (said["folder"], said["limit_bytes"]) == (str(settled), 7 << 20)
    assert {kind: share["entries"] for kind, share in said["kinds"].items()} == EACH
    assert said["bytes"] == sum(share["bytes"] for share in said["kinds"].values())
    assert said["bytes"] >= sum(path.stat().st_size for path in settled.rglob("*") if path.is_file())
    for line, kind in zip(dh("cache", "info").out.splitlines()[1:], (*EACH, "all"), strict=True):
        assert line.startswith(kind)
        assert "MiB" in line
    (settled / "notes.txt").write_text("mine")
    cleared = dh("cache", "clear")
    assert (cleared.code, cleared.err) == (0, "")
    assert cleared.out.startswith("5 files removed, ")
    assert cleared.out.rstrip().endswith(f"MiB freed in {settled}")
    assert {path.name for path in settled.rglob("*") if path.is_file()} == {"CACHEDIR.TAG", "notes.txt"}
    assert dh("cache", "clear").out.startswith("0 files removed")
    assert json.loads(dh("cache", "info", "--json").out)["kinds"] == {}


@pytest.mark.slow
def test_a_cache_that_cannot_be_emptied(dh: Any, good: list[str], settled: Path, monkeypatch: Any) -> None:
    assert dh("render", *good).code == 0

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "unlink", refuse)
    said = dh("cache", "clear")
    assert (said.code, said.out) == (74, "")
    assert f"the cache in {settled} could not be emptied" in said.err


@pytest.fixture
def locked(open_folder: Path) -> Iterator[Path]:
    """A cache that only its owner, or not even he, may look into."""
    folder = open_folder / "cache"
    (folder / "store" / "track").mkdir(parents=True)
    (folder / "store" / "track" / ("0" * 64)).write_text("whose is it?")
    folder.chmod(0)
    yield folder
    folder.chmod(0o700)


@pytest.fixture
def everybodys(open_folder: Path) -> Path:
    """A folder that everybody may write to."""
    folder = open_folder / "out"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def test_a_cache_of_somebody_else_is_not_called_empty(dh: Any, request: pytest.FixtureRequest, locked: Path) -> None:
    request.getfixturevalue("nobody")
    for verb, done in (("info", "looked at"), ("clear", "emptied")):
        said = dh("cache", verb, "--cache-dir", str(locked))
        assert (said.code, said.out) == (74, "")
        assert f"the cache in {locked} could not be {done}: " in said.err
        assert "Permission denied" in said.err


def test_a_cache_of_somebody_else_is_no_reason_to_fail(
    dh: Any, good: list[str], request: pytest.FixtureRequest, locked: Path, everybodys: Path
) -> None:
    request.getfixturevalue("nobody")
    good[good.index("--save-path") + 1] = str(everybodys / "good.mp4")
    said = dh("render", *good, "--cache-dir", str(locked))
    assert said.code == 0
    assert said.err.count("[cache.unusable]") == 1


@pytest.mark.parametrize("flag", ["--cache-dir", "--results-dir", "--models-dir", "--root", "--log-file", "--run-lock"])
def test_a_path_that_is_none(dh: Any, good: list[str], tmp_path: Path, flag: str) -> None:
    """What a script makes of a variable that is not set."""
    said = dh("render", *good, flag, "")
    assert (said.code, said.out) == (2, "")
    assert f"Invalid value for '{flag}': expected a path, found nothing." in said.err
    assert [*tmp_path.iterdir()] == []


def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user of a container: no HOME, and no entry in passwd."""
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(_: int) -> None:
        raise KeyError("getpwuid(): uid not found: 54321")

    monkeypatch.setattr("pwd.getpwuid", unknown)


@pytest.mark.slow
def test_without_a_home_there_is_no_cache(dh: Any, good: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DH_CACHE_DIR")
    homeless(monkeypatch)
    said = dh("render", *good)
    assert said.code == 0
    assert said.err.count("[cache.unusable]") == 1
    assert "Not kept in the cache: there is no home" in said.err
    for meant in (["--no-cache"], ["--cache-size", "0"]):
        assert "cache.unusable" not in dh("render", *good, "--force", *meant).err
    assert dh("cache", "info").out.startswith("folder  none")
    assert json.loads(dh("cache", "info", "--json").out)["folder"] is None
    assert dh("cache", "clear").code == 0
    assert dh("models", "list").out.startswith("dh-base")
    assert "no home" in dh("models", "add", good[1], "--name", "x").err


def test_the_folder_of_a_flag_wins(dh: Any, good: list[str], settled: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert dh("render", *good, "--cache-dir", str(other)).code == 0
    assert sorted(path.name for path in other.iterdir()) == ["CACHEDIR.TAG", "hashes", "store"]
    assert not settled.exists()
    assert json.loads(dh("cache", "info", "--json", "--cache-dir", str(other)).out)["bytes"] > 0
    assert dh("cache", "clear", "--cache-dir", str(other)).out.startswith("5 files")


@pytest.mark.slow
def test_no_cache_reads_and_writes_none(dh: Any, good: list[str], settled: Path, tmp_path: Path) -> None:
    assert dh("render", *good, "--no-cache").code == 0
    assert not settled.exists()
    assert dh("render", *good, "--force").code == 0
    assert dh("render", *good, "--force").code == 0
    assert analysis(tmp_path) == "cached"
    assert dh("render", *good, "--force", "--no-cache").code == 0
    assert analysis(tmp_path) == "made"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["flag", "variable"])
def test_the_size_of_the_cache(
    how: str, dh: Any, good: list[str], settled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = ["--cache-size", "0"] if how == "flag" else []
    if how == "variable":
        monkeypatch.setenv("DH_CACHE_SIZE", "0")
    for _ in range(2):
        assert dh("render", *good, "--force", *size).code == 0
        assert analysis(tmp_path) == "made"
    assert {path.name for path in settled.iterdir()} == {"CACHEDIR.TAG", "hashes"}


@pytest.mark.parametrize("size", ["-1", "2PB"])
def test_a_size_that_is_none(size: str, dh: Any, good: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    said = dh("render", *good, "--cache-size", size)
    assert said.code == 2
    assert "--cache-size" in said.err
    monkeypatch.setenv("DH_CACHE_SIZE", size)
    said = dh("cache", "info")
    assert said.code == 2
    assert "'DH_CACHE_SIZE' in the environment" in said.err
    assert "--cache-size" not in said.err


@pytest.mark.slow
@pytest.mark.usefixtures("settled")
def test_a_plan_starts_no_ffmpeg_where_all_is_known(
    dh: Any, good: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tmp_path / "m.yaml"
    paths = f"audio: {good[1]}, video: {good[3]}"
    manifest.write_text(f"version: 1\njobs:\n  - {{id: a, {paths}, save_path: a.mp4}}\n")
    fresh = dh("check", str(manifest), "--json").out
    assert dh("render", *good).code == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    monkeypatch.setattr("dhcli.runtime.scope.Scope.spawn", None)
    known = dh("check", str(manifest), "--json")
    assert known.code == 0
    assert known.out.splitlines()[0] == fresh.splitlines()[0]
    assert dh("render", str(manifest), "--dry-run").code == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before, "and writes nothing"
    assert dh("check", str(manifest), "--cache-dir", str(tmp_path / "none")).code != 0, "the probe was needed there"


def test_a_folder_that_is_not_there_yet_is_told(dh: Any, tmp_path: Path) -> None:
    said = dh("cache", "info", "--cache-dir", str(tmp_path / "new"))
    assert (said.code, f"{tmp_path}/new (not there yet)" in said.out) == (0, True)
    assert dh("cache", "clear", "--cache-dir", str(tmp_path / "new")).code == 0


@pytest.mark.parametrize("verb", ["info", "clear"])
@pytest.mark.parametrize("below", ["", "cache"])
def test_a_file_is_no_cache(dh: Any, tmp_path: Path, verb: str, below: str) -> None:
    (tmp_path / "file").write_text("mine")
    said = dh("cache", verb, "--cache-dir", str(tmp_path / "file" / below))
    assert (said.code, said.out) == (74, "")
    assert "Not a directory" in said.err
    assert str(tmp_path / "file" / below) in said.err
    assert (tmp_path / "file").read_text() == "mine"
