"""Contact sheets beside outputs, and the preview of one job."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from dhcli.sheets.draw import TILE
from dhcli.sheets.mark import is_ours
from overview.conftest import Dh

JOB = "  - {{id: {name}, audio: {speech}, video: {avatar}, save_path: {name}.mp4, preset: ultrafast{more}}}\n"
FLAGS = ("--device", "cpu")


@pytest.fixture
def manifest(tmp_path: Path, avatar: Path, speech: Path) -> Path:
    path = tmp_path / "night.yaml"
    path.write_text(
        "version: 1\njobs:\n"
        + JOB.format(name="promo", speech=speech, avatar=avatar, more="")
        + JOB.format(name="other", speech=speech, avatar=avatar, more=", leave: 0-")
    )
    return path


@pytest.mark.slow
def test_a_sheet_lies_beside_the_output_and_stays_while_that_is_up_to_date(
    dh: Dh, manifest: Path, tmp_path: Path
) -> None:
    call = ("render", manifest, "--job", "promo", "--limit-frames", "10", "--preview", *FLAGS)
    assert dh(*call).code == 0
    sheet = tmp_path / "promo.mp4.jpg"
    first = sheet.read_bytes()
    assert is_ours(first)
    picture = cv2.imread(str(sheet))
    assert picture is not None
    assert picture.shape[0] > 2 * TILE.height
    stamp = sheet.stat().st_mtime_ns
    assert dh(*call).code == 0
    assert sheet.stat().st_mtime_ns == stamp, "an output that is up to date keeps its sheet"
    sheet.unlink()
    assert dh(*call).code == 0
    assert sheet.exists()


@pytest.mark.slow
def test_a_preview_is_three_seconds_of_the_loudest_part(dh: Dh, manifest: Path, tmp_path: Path) -> None:
    said = dh("preview", manifest, "--job", "other", *FLAGS)
    assert said.code == 0, said.err
    sheet = tmp_path / "other.preview.mp4.jpg"
    assert said.out.strip() == str(sheet)
    assert is_ours(sheet.read_bytes())
    result = json.loads((tmp_path / "other.preview.mp4.json").read_text())
    assert (result["output"]["frames"], result["options"]["leave"]) == (75, None)
    assert not (tmp_path / "other.mp4").exists()
    said = dh("report", tmp_path, "--json")
    assert said.code == 2, "a preview is no job of the night"


def test_a_preview_needs_to_know_the_job(dh: Dh, manifest: Path) -> None:
    said = dh("preview", manifest)
    assert said.code == 2
    assert "name one of the 2 jobs, as --job promo" in said.err


def test_a_preview_of_a_speech_that_is_gone_says_so(dh: Dh, tmp_path: Path, avatar: Path) -> None:
    path = tmp_path / "night.yaml"
    path.write_text("version: 1\njobs:\n" + JOB.format(name="promo", speech="gone.wav", avatar=avatar, more=""))
    said = dh("preview", path, *FLAGS)
    assert said.code == 1
    assert "input.missing" in said.err
    assert said.out == ""


@pytest.mark.parametrize("call", [("render", "--preview", "--job", "promo"), ("preview", "--job", "promo")])
def test_a_file_of_another_job_or_program_is_not_overwritten(
    dh: Dh, tmp_path: Path, avatar: Path, speech: Path, call: tuple[str, ...]
) -> None:
    verb, *flags = call
    name = "promo.mp4.jpg" if verb == "render" else "promo.preview.mp4.jpg"
    face = tmp_path / name
    face.write_bytes(b"\xff\xd8 a photo")
    jobs = JOB.format(name="promo", speech=speech, avatar=avatar, more="")
    path = tmp_path / "night.yaml"
    path.write_text("version: 1\njobs:\n" + jobs)
    said = dh(verb, path, *flags, *FLAGS)
    assert said.code == 2
    assert "which is no contact sheet of dh" in said.err
    path.write_text("version: 1\njobs:\n" + jobs + JOB.format(name="b", speech=speech, avatar=name, more=""))
    said = dh(verb, path, *flags, *FLAGS)
    assert said.code == 2
    assert f"would overwrite the video of the job b, {face}" in said.err
    assert face.read_bytes() == b"\xff\xd8 a photo"


@pytest.mark.slow
def test_faces_are_listed_and_their_sheet_is_written(dh: Dh, avatar: Path, tmp_path: Path) -> None:
    said = dh("faces", avatar, "--device", "cpu")
    assert said.code == 0, said.err
    assert "index:0" in said.out
    assert "sheet: avatar.mp4.faces.jpg" in said.out
    assert is_ours((tmp_path / "avatar.mp4.faces.jpg").read_bytes())
    (person,) = json.loads(dh("faces", avatar, "--device", "cpu", "--json", "-o", "a.jpg").out)["persons"]
    assert person["usable"]


def test_faces_of_a_video_that_is_gone_and_over_a_photo(dh: Dh, tmp_path: Path) -> None:
    said = dh("faces", "gone.mp4")
    assert said.code == 1
    assert "[input.missing]" in said.err
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"\xff\xd8 a photo")
    assert dh("faces", photo, "-o", photo).code == 2
    assert dh("faces", "gone.mp4", "-o", photo).code == 2
