"""Every verb runs for real, and asking for help costs nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from dhcli import __version__

SOUND = "dh-base: 5 files are as they should be\nface-finder: 3 files are as they should be\n"


@pytest.mark.parametrize("kind", ["manifest", "result", "model", "event"])
def test_schema(kind: str, dh: Any) -> None:
    said = dh("schema", kind)
    assert (said.code, said.err) == (0, "")
    jsonschema.Draft202012Validator.check_schema(json.loads(said.out))


def test_doctor(dh: Any) -> None:
    said = dh("doctor", "--device", "cpu")
    assert said.code == 0
    assert all(line.startswith("ok  ") for line in said.out.splitlines())
    assert said.last == f"{len(said.out.splitlines())} checks: all is well"


def test_doctor_says_each_trouble_once_and_goes_on(dh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DH_FFMPEG", "/nowhere/ffmpeg")
    said = dh("doctor", "--device", "cpu")
    assert said.code == 69
    assert said.out.count("FAIL") == 2
    assert said.err.count("There is no ffmpeg at /nowhere/ffmpeg.") == 1
    assert said.last.endswith("checks: 2 failed (env.ffmpeg_missing)")


def test_doctor_where_the_current_folder_is_gone(dh: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.setattr("dhcli.command.doctor.Path.cwd", gone.stat)  # as the kernel answers there
    gone.rmdir()
    said = dh("doctor", "--device", "cpu")
    assert said.code == 69
    assert said.out.count("FAIL") == said.out.count("FAIL disk: env.limits") == 1
    assert "The check of disk could not be made: FileNotFoundError" in said.err


def test_doctor_asks_for_all_files_of_the_face_finder(dh: Any, repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository / "models/face-finder", tmp_path / "face-finder")
    descriptor = tmp_path / "face-finder/model.yaml"
    descriptor.write_text(descriptor.read_text().replace("  mesh:\n", "  net:\n"))
    said = dh("doctor", "--device", "cpu", "--models-dir", str(tmp_path))
    assert said.code == 69
    assert "FAIL model face-finder: model.incompatible" in said.out
    assert "no file 'mesh'" in said.err


def test_models(dh: Any) -> None:
    assert [line.split()[0] for line in dh("models", "list").out.splitlines()] == ["dh-base", "face-finder"]
    assert "face_int8  face_int8.onnx" in dh("models", "info", "dh-base").out
    assert "landmarks  landmarks.onnx" in dh("models", "info", "face-finder").out
    assert dh("models", "verify").out == SOUND


def test_a_damaged_model_does_not_hide_the_others(dh: Any, tmp_path: Path, repository: Path) -> None:
    broken = tmp_path / "models" / "broken"
    shutil.copytree(repository / "models" / "dh-base", broken)
    (broken / "model.yaml").write_text((broken / "model.yaml").read_text().replace("name: dh-base", "name: broken"))
    (broken / "face.onnx").write_bytes(b"no network")
    said = dh("models", "verify", "--models-dir", str(tmp_path / "models"))
    assert said.code == 69
    assert "[model.corrupt]" in said.err
    assert said.out == SOUND


def test_check_says_what_would_be_done(dh: Any, night: Path) -> None:
    said = dh("check", "night.yaml")
    assert (said.code, said.out) == (1, "")
    assert said.err.splitlines()[0].startswith("one: render, 178 frames, 400x300, 25 fps (")
    assert f"two: BAD: video {night.parent}/missing.mp4: there is no such file. [input.missing]" in said.err
    assert said.last == "3 jobs: 2 to render (356 frames), 1 bad (input.missing)"


@pytest.mark.slow
def test_demo(dh: Any, tmp_path: Path) -> None:
    first, again = dh("demo"), dh("demo")
    assert (first.code, first.out) == (0, "")
    assert "ok, 178 frames" in first.err
    assert (tmp_path / "dh-demo.mp4").stat().st_size > 10_000
    assert (again.code, "up to date" in again.err) == (0, True)
    assert first.last.startswith("dh demo: now your own: dh render ")
    (tmp_path / "dh-demo.mp4").write_bytes(b"mine")
    said = dh("demo", "--json")
    assert said.code == 1
    assert json.loads(said.out.splitlines()[-1])["codes"] == {"output.exists": 1}
    assert (tmp_path / "dh-demo.mp4").read_bytes() == b"mine"


@pytest.mark.slow
@pytest.mark.usefixtures("night")
def test_verbose_tells_the_stages_and_quiet_only_trouble(dh: Any) -> None:
    quiet = dh("render", "night.yaml", "--limit-frames", "2", "-q")
    assert "ok," not in quiet.err
    assert quiet.err.startswith("[2/3] two: FAILED: ")
    verbose = dh("render", "night.yaml", "--limit-frames", "2", "-v", "--force", "--job", "one")
    assert [line for line in verbose.err.splitlines() if line.endswith((": rendering", ": checking"))] == [
        "[1/1] one: rendering",
        "[1/1] one: checking",
    ]


def test_version_and_module() -> None:
    done = subprocess.run([sys.executable, "-m", "dhcli", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"dh {__version__}\n"


@pytest.mark.parametrize("arguments", [["render", "--help"], ["check", "-h"], ["models", "--help"], ["doctor", "-h"]])
def test_help_names_the_program_and_its_flags(arguments: list[str], dh: Any) -> None:
    said = dh(*arguments)
    assert (said.code, said.err) == (0, "")
    assert f"Usage: dh {arguments[0]} " in said.out


def test_the_command_line_is_read_without_anything_heavy() -> None:
    """This keeps `dh --help` under 0.3 s: numpy alone takes 0.1 s, onnxruntime and cv2 another 0.2 s."""
    look = "import sys, dhcli.cli; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    heavy = {"numpy", "cv2", "onnxruntime", "pydantic", "rich", "tqdm", "yaml", "psutil", "platformdirs", "pynvml"}
    assert not heavy & set(done.stdout.split())
