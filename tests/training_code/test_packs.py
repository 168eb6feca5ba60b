"""Videos to packs, and what reads them. Nothing here needs PyTorch."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from training import evaluate, prepare
from training.footage import Footage
from training.pack import Clip, Speech, held_out, load_faces, load_speech, write_faces, write_speech

from dhcli.families.dh_base.geometry import load_geometry, mouth_opening
from dhcli.families.dh_base.listen import CODE_RATE, SAMPLE_RATE
from dhcli.media.ffmpeg_program import find_ffmpeg
from dhcli.stages.mesh import landmark_box
from dhcli.types import FaceRow, FrameFormat, Pose

ROOT = Path(__file__).parents[2]
MEDIA = ROOT / "examples/media"
MODEL = ROOT / "models/dh-base"


def test_face_pack_comes_back(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    smooth = np.linspace(40, 200, 160)[:, None, None] + random.uniform(-40, 40, (3, 1, 1, 3))
    frames = np.broadcast_to(smooth, (3, 160, 160, 3)).astype(np.uint8)
    points = random.uniform(40, 120, (3, 106, 2)).astype(np.float32)
    clip = Clip(frames, points, np.zeros((3, 2), np.float32), np.array([True, False, True]))
    write_faces(tmp_path, {"one": clip}, ["one"])
    back = load_faces(tmp_path)["one"]
    assert np.abs(back.frames.astype(int) - frames).mean() < 2
    assert np.abs(back.points - points).max() < 0.1
    assert back.usable.tolist() == [True, False, True]
    assert held_out(tmp_path) == {"one"}


def test_audio_pack_comes_back(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    clips = [
        Speech(
            name, random.uniform(-0.5, 0.5, n * 640).astype(np.float32), random.normal(size=(n, 12)).astype(np.float32)
        )
        for name, n in (("a", 30), ("b", 5))
    ]
    write_speech(tmp_path, clips, ["b"])
    back = load_speech(tmp_path)
    assert [clip.name for clip in back] == ["a", "b"]
    for one, other in zip(back, clips, strict=True):
        assert np.abs(one.samples - other.samples).max() < 1e-4
        assert np.abs(one.codes - other.codes).max() < 4e-3


def test_stretches_end_where_a_frame_is_missing() -> None:
    assert list(prepare.stretches([3, 4, 5, 7, 9, 10])) == [(3, 5), (7, 7), (9, 10)]


def test_speech_ends_where_the_face_is_hidden() -> None:
    with np.load(MODEL / "geometry.npz") as arrays:
        points = arrays["canonical"].astype(np.float64) * 40 + 120
    pose = Pose(40.0, np.eye(3), np.full(3, 120.0))
    rows = {i: FaceRow(i, 0, 1.0, pose, landmark_box(points), points, seen=i != 40) for i in range(80)}
    footage = Footage(Path("a.mp4"), FrameFormat(240, 240, Fraction(CODE_RATE)), rows)
    geometry = load_geometry((MODEL / "geometry.npz").read_bytes())
    found = prepare.pieces("a", footage, np.zeros(80 * SAMPLE_RATE // CODE_RATE, np.float32), geometry)
    assert [(one.name, len(one.codes)) for one in found] == [("a_000000", 40), ("a_000041", 39)]


@pytest.mark.slow
def test_talking_videos_become_packs(tmp_path: Path) -> None:
    """The crops follow the mouth, and the speech has as many codes as pictures."""
    videos = tmp_path / "videos"
    videos.mkdir()
    for name, start in (("a", "0"), ("b", "3")):
        sound = ["-i", str(MEDIA / "speech.wav"), "-t", "2", "-map", "0:v", "-map", "1:a"]
        argv = [find_ffmpeg(), "-v", "error", "-ss", start, "-i", str(MEDIA / "avatar.mp4"), *sound]
        subprocess.run([*argv, str(videos / f"{name}.mp4")], check=True)
    prepare.main([str(videos), str(tmp_path / "faces"), str(tmp_path / "speech")])
    faces, speech = load_faces(tmp_path / "faces"), load_speech(tmp_path / "speech")
    assert set(faces) == {"a", "b"}
    assert held_out(tmp_path / "faces") == {"b"}
    for clip in faces.values():
        assert 45 <= len(clip.frames) <= 50
        lips = np.median(clip.points[:, :40].mean(1), axis=0)
        assert np.abs(lips - [80, 74]).max() < 4
    assert {one.name.split("_")[0] for one in speech} == {"a", "b"}
    assert all(len(one.samples) * CODE_RATE == len(one.codes) * SAMPLE_RATE for one in speech)


def test_references_are_the_widest_first_and_no_more_than_help() -> None:
    """40 frames of two mouths: one reference each."""
    opening = np.tile([0.1, 0.4], 20)
    shapes = np.zeros((40, 20, 2))
    shapes[:, :, 1] = opening[:, None] * np.linspace(-1, 1, 20)
    mouths = evaluate.Mouths(list(range(40)), shapes, np.zeros((40, 2)), opening)
    chosen = evaluate.references(mouths, np.ones(40, np.bool_))
    assert sorted(opening[chosen]) == [0.1, 0.4]
    assert opening[chosen[0]] == 0.4


def test_rest_is_a_closed_mouth() -> None:
    """The mean of the most closed frames, moved until the lips touch."""
    geometry = load_geometry((MODEL / "geometry.npz").read_bytes())
    with np.load(MODEL / "geometry.npz") as arrays:
        mouth = arrays["canonical"][arrays["mouth"]].astype(np.float64)
    code = np.zeros(12)
    code[0] = 1.0
    wide = mouth + np.tensordot(code, geometry.basis, 1)
    rest = prepare.rest_shape([mouth, wide, wide], geometry)
    assert mouth_opening(rest) <= mouth_opening(mouth) + 1e-6
