"""A model family that another package adds: nothing in dh names it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dhcli.families.dh_base.family import DhBase
from dhcli.types import U8, Frame

pytestmark = pytest.mark.slow

TOY = Path(__file__).parent / "toy_family"
MODELS = TOY / "models"
SIZE = 400, 300
MOUTH = np.s_[205:212, 205:218]
"""Rows and columns of the avatar's mouth in its first frames."""
Dh = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, installed as users do it."""
    source, target = tmp_path_factory.mktemp("source") / "toy", tmp_path_factory.mktemp("site")
    shutil.copytree(TOY, source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", target, source], check=True)
    return target


@pytest.fixture
def dh(tmp_path: Path, speech: Path, avatar: Path) -> Dh:
    """Render 10 frames to `NAME.mp4` with the packages in a folder; the cache is the test's."""

    def run(name: str, *options: str, site: Path, verb: str = "render") -> subprocess.CompletedProcess[str]:
        output = tmp_path / f"{name}.mp4"
        files: list[str | Path] = ["--audio", speech, "--video", avatar, "--save-path", output, "--limit-frames", "10"]
        argv: list[str | Path] = [sys.executable, "-m", "dhcli", verb, *(files if verb == "render" else []), *options]
        environment = {**os.environ, "PYTHONPATH": str(site), "DH_CACHE_DIR": str(tmp_path / "cache")}
        return subprocess.run(argv, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


def test_a_package_adds_a_family(
    dh: Dh, installed: Path, tmp_path: Path, decoded: Callable[..., list[Frame]], as_rgb: Callable[[Frame], U8]
) -> None:
    first = dh("base", site=installed)
    assert first.returncode == 0, first.stderr
    ended = dh("toy", "--set", "model=toy", "--models-dir", str(MODELS), site=installed)
    assert ended.returncode == 0, ended.stderr
    result = json.loads((tmp_path / "toy.mp4.json").read_text())
    assert result["environment"]["model"]["name"] == "toy"
    assert result["analysis"] == "cached", "it was analysed for another family"
    for frame in decoded(tmp_path / "toy.mp4", *SIZE):
        red, green, blue = as_rgb(frame)[MOUTH].mean((0, 1))
        assert green > 170
        assert max(red, blue) < 60
    (before,) = decoded(tmp_path / "base.mp4", *SIZE, "-frames:v", "1")
    assert as_rgb(before)[MOUTH].mean((0, 1))[1] < 150


def test_a_louder_speech_opens_the_toys_mouth(
    dh: Dh, installed: Path, tmp_path: Path, decoded: Callable[..., list[Frame]], as_rgb: Callable[[Frame], U8]
) -> None:
    greens = []
    for gain in ("0.1", "3"):
        assert not dh("toy", "--set", "model=toy", "--set", f"gain={gain}", "--models-dir", str(MODELS), "--force",
                      site=installed).returncode  # fmt: skip
        rgb = as_rgb(decoded(tmp_path / "toy.mp4", *SIZE)[9]).astype(int)
        greens.append(int((rgb[..., 1] - rgb[..., 0] > 100).sum()))
    assert greens[1] > 1.5 * greens[0] > 0


def test_another_version_of_a_family_makes_its_outputs_stale(dh: Dh, installed: Path, tmp_path: Path) -> None:
    newer = tmp_path / "site"
    shutil.copytree(installed, newer, ignore=shutil.ignore_patterns("__pycache__"))
    code = newer / "toy_family.py"
    code.write_text(code.read_text().replace("version: ClassVar[int] = 1", "version: ClassVar[int] = 2"))
    runs = []
    for site in (installed, installed, newer, newer):
        ended = dh("toy", "--set", "model=toy", "--models-dir", str(MODELS), site=site)
        assert ended.returncode == 0, ended.stderr
        runs.append(json.loads((tmp_path / "toy.mp4.json").read_text())["run_id"])
    assert runs[0] == runs[1] != runs[2] == runs[3]


def test_without_the_package_the_families_that_there_are_are_named(dh: Dh, tmp_path: Path) -> None:
    ended = dh("toy", "--set", "model=toy", "--models-dir", str(MODELS), site=tmp_path)
    assert ended.returncode == 1
    assert "[model.incompatible]" in ended.stderr
    assert "is of the family 'toy'" in ended.stderr
    assert DhBase.name in ended.stderr


def test_a_check_finds_a_model_that_cannot_be_rendered_with(dh: Dh, tmp_path: Path) -> None:
    ended = dh("toy", "--set", "model=face-finder", "--dry-run", site=tmp_path)
    assert ended.returncode == 1
    assert "'face-finder' is of the family 'face_finder'" in ended.stdout + ended.stderr


def test_a_package_that_cannot_be_loaded_is_named(dh: Dh, installed: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    shutil.copytree(installed, site)
    (site / "toy_family.py").write_text("raise RuntimeError('made for another dh')")
    ended = dh("toy", "--set", "model=toy", "--models-dir", str(MODELS), site=site)
    assert ended.returncode == 1
    assert "toy-family" in ended.stderr
    assert "made for another dh" in ended.stderr


FAULTS = {
    "__init__": ("self.model = model", "raise RuntimeError('broken')"),
    "listen": ("return Levels(speech, 1.0 if manner.gain is None else manner.gain)", "raise RuntimeError('broken')"),
    "at": ("return self.gain * self.levels", "raise RuntimeError('broken')  #"),
    "profiler": (
        "def profiler(self, _: FrameFormat) -> None:\n        return None",
        "def profiler(self, _: FrameFormat) -> None:\n        1 / 0",
    ),
    "speak": ("return [self.ellipse(shot) for shot in shots]", "raise RuntimeError('broken')"),
    "too few patches": ("return [self.ellipse(shot) for shot in shots]", "return []"),
    "exit": ("return [self.ellipse(shot) for shot in shots]", "raise SystemExit(3)"),
    "no patches": ("return [self.ellipse(shot) for shot in shots]", "return [None] * len(shots)"),
}


@pytest.mark.parametrize("where", FAULTS)
def test_what_a_foreign_family_raises_is_its_packages_fault(
    where: str, dh: Dh, installed: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    shutil.copytree(installed, site)
    code = (site / "toy_family.py").read_text()
    assert FAULTS[where][0] in code
    (site / "toy_family.py").write_text(code.replace(*FAULTS[where]))
    ended = dh("toy", "--set", "model=toy", "--models-dir", str(MODELS), site=site)
    assert ended.returncode == 75, ended.stderr
    error = json.loads((tmp_path / "toy.mp4.json").read_text())["error"]
    assert error["code"] == "model.failed", error
    assert "toy_family.ToyFamily raised: " in error["message"]
    assert error["traceback"] is None


def test_a_patch_that_is_not_finite_is_bad_output(dh: Dh, installed: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    shutil.copytree(installed, site)
    code = (site / "toy_family.py").read_text()
    assert "self.picture, soft)" in code
    (site / "toy_family.py").write_text(code.replace("self.picture, soft)", "self.picture * np.nan, soft)"))
    ended = dh("toy", "--set", "model=toy", "--models-dir", str(MODELS), site=site)
    assert "[model.bad_output]" in ended.stderr
    assert "RuntimeWarning" not in ended.stderr
    assert not (tmp_path / "toy.mp4").exists()


def test_a_precision_means_nothing_without_a_main_network(dh: Dh, installed: Path) -> None:
    for said in ("ok", "up to date"):
        ended = dh(
            "toy", "--set", "model=toy", "--models-dir", str(MODELS), "--precision", "int8", "-v", site=installed
        )
        assert ended.returncode == 0, ended.stderr
        assert said in ended.stderr


@pytest.mark.parametrize("damage", ["a role", "the family"])
def test_a_check_finds_a_face_finder_that_cannot_work(dh: Dh, tmp_path: Path, repository: Path, damage: str) -> None:
    models = tmp_path / "models"
    shutil.copytree(repository / "models/face-finder", models / "face-finder")
    descriptor = models / "face-finder" / "model.yaml"
    wrong = ("  mesh:", "  net:") if damage == "a role" else ("family: face_finder", "family: toy")
    descriptor.write_text(descriptor.read_text().replace(*wrong))
    ended = dh("toy", "--models-dir", str(models), "--dry-run", site=tmp_path)
    assert ended.returncode == 1
    assert "[model.incompatible]" in ended.stdout + ended.stderr
    assert dh("", "--models-dir", str(models), site=tmp_path, verb="doctor").returncode == 69


def test_two_packages_with_one_family_are_refused(dh: Dh, installed: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    shutil.copytree(installed, site)
    (info,) = site.glob("*.dist-info")
    shutil.copytree(info, site / "other_toy-1.0.dist-info")
    metadata = site / "other_toy-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("Name: toy-family", "Name: other-toy"))
    ended = dh("toy", "--set", "model=toy", "--models-dir", str(MODELS), site=site)
    assert ended.returncode == 1
    assert "in several packages: " in ended.stderr
    assert "other-toy" in ended.stderr


def test_a_bundle_without_what_its_family_needs_is_no_bug(dh: Dh, installed: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(MODELS, models)
    descriptor = models / "toy" / "model.yaml"
    descriptor.write_text(descriptor.read_text().replace("  colour:", "  color:"))
    ended = dh("toy", "--set", "model=toy", "--models-dir", str(models), site=installed)
    assert ended.returncode == 1
    assert "no file 'colour', which its family 'toy' needs" in ended.stderr
    assert "It has: color." in ended.stderr
    told = dh("", "--models-dir", str(models), site=installed, verb="doctor")
    assert told.returncode == 69
    assert "no file 'colour'" in told.stdout + told.stderr
