"""The wheel as others get it: the model is in it, and it renders far from this repository."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tools.cpu_wheel import make, record_line

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=repository, check=True, capture_output=True)
    (path,) = folder.glob("dhcli-*.whl")
    return path


def test_the_wheel_holds_the_models_the_texts_and_the_command(wheel: Path, repository: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        scripts = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
        for path in (repository / "models").glob("*/*"):
            assert archive.read(f"dhcli/models/{path.parent.name}/{path.name}") == path.read_bytes(), path
        for path in (repository / "examples" / "media").iterdir():  # with the licence of the sample
            assert archive.read(f"dhcli/sample/{path.name}") == path.read_bytes(), path.name
    assert "dh = dhcli.__main__:main" in scripts
    assert {"LICENSE", "NOTICE"} <= {Path(name).name for name in names}
    assert {"dhcli/py.typed", "dhcli/overview/page.css", "dhcli/overview/page.js"} <= set(names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"dhcli"}


def test_dh_from_the_wheel_renders_outside_the_repository(
    wheel: Path, avatar: Path, speech: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    work = tmp_path / "work"
    work.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site), "DH_CACHE_DIR": str(tmp_path / "cache")}

    def dh(*arguments: str) -> str:
        command = [sys.executable, "-m", "dhcli", *arguments]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert f"folder  {site}/dhcli/models/dh-base" in dh("models", "info", "dh-base")
    inputs = ["--audio", str(speech), "--video", str(avatar), "--save-path", "hello.mp4"]
    dh("render", *inputs, "--device", "cpu", "--limit-frames", "3", "--set", "preset=ultrafast")
    assert json.loads((work / "hello.mp4.json").read_text())["status"] == "succeeded"
    assert (work / "hello.mp4").stat().st_size > 0
    sample = json.loads(dh("bench", "--limit-frames", "3", "--device", "cpu", "--json"))
    assert [run["frames"] for run in sample["runs"]] == [3]


def test_the_wheel_for_cpus_has_another_name_and_runtime(wheel: Path, tmp_path: Path) -> None:
    """Installed by pip, which reads METADATA and checks nothing else: so each line of RECORD is looked at."""
    made = make(wheel)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", tmp_path, made], check=True)
    (metadata,) = (path.read_text() for path in tmp_path.glob("dhcli_cpu-*.dist-info/METADATA"))
    needs = [line for line in metadata.splitlines() if line.startswith("Requires-Dist: onnxruntime")]
    assert needs == ["Requires-Dist: onnxruntime<2,>=1.22"]
    assert "Name: dhcli-cpu\n" in metadata
    assert "cuda" not in [line.removeprefix("Provides-Extra: ") for line in metadata.splitlines()]
    with zipfile.ZipFile(made) as archive, zipfile.ZipFile(wheel) as original:
        (record,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("/RECORD"))
        for name, *_ in csv.reader(record.splitlines()):
            if not name.endswith("/RECORD"):
                assert record_line(name, archive.read(name)) in record
        assert len(record.splitlines()) == len(archive.namelist()) == len(original.namelist())
