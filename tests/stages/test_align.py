"""Colours and crops: matrices against ffmpeg's own conversion, and geometry that can be checked by hand."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcli.media.ffmpeg_program import find_ffmpeg
from dhcli.stages import align
from dhcli.types import U8, Colour, Frame, Pose


def flat(width: int, height: int, yuv: tuple[int, int, int]) -> Frame:
    frame = Frame(0, np.empty((height * 3 // 2, width), np.uint8))
    for plane, value in zip((frame.y, frame.u, frame.v), yuv, strict=True):
        plane[:] = value
    return frame


def ramp(width: int, height: int) -> Frame:
    """Brightness 2x + y, grey."""
    frame = flat(width, height, (0, 128, 128))
    frame.y[:] = 2 * np.arange(width) + np.arange(height)[:, None]
    return frame


@pytest.mark.parametrize("yuv", [(16, 128, 128), (235, 128, 128), (81, 90, 240), (145, 54, 34), (41, 240, 110)])
def test_untagged_colours_are_ffmpegs(yuv: tuple[int, int, int], as_rgb: Callable[[Frame], U8]) -> None:
    frame = flat(16, 16, yuv)
    ours = align.to_rgb(np.dstack([np.full((4, 4), v, np.uint8) for v in yuv]), align.yuv_matrix(Colour(), 16))
    assert np.abs(ours[0, 0] - as_rgb(frame)[0, 0]).max() <= 1.5


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m", "bt2020nc", "unknown"])
@pytest.mark.parametrize("levels", ["tv", "pc"])
def test_to_rgb_and_back(matrix: str, levels: str) -> None:
    convert = align.yuv_matrix(Colour(levels, matrix), 1080)
    rgb = np.random.default_rng(2).uniform(0, 255, (5, 7, 3)).astype(np.float32)
    assert np.allclose(align.to_rgb(align.from_rgb(rgb, convert), convert), rgb, atol=0.01)


@pytest.mark.parametrize("matrix", ["bt709", "bt470bg", "smpte240m", "fcc", "bt2020nc"])
def test_tagged_colours_are_ffmpegs(matrix: str) -> None:
    samples = (81, 90, 240)
    picture = np.concatenate([np.full(256, samples[0]), np.full(64, samples[1]), np.full(64, samples[2])])
    argv = [find_ffmpeg(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "16x16", "-i", "-"]
    argv += ["-vf", f"setparams=colorspace={matrix}:range=tv,scale,format=rgb24", "-f", "rawvideo", "-"]
    done = subprocess.run(argv, input=picture.astype(np.uint8).tobytes(), stdout=subprocess.PIPE, check=True)
    plane = np.dstack([np.full((4, 4), value, np.uint8) for value in samples])
    ours = align.to_rgb(plane, align.yuv_matrix(Colour("tv", matrix), 16))
    # ffmpeg rounds its coefficients; with those of BT.601, SMPTE 240M would be wrong by 20.
    assert np.abs(ours[0, 0] - np.frombuffer(done.stdout[:3], np.uint8)).max() <= 2.5


def test_large_untagged_video_means_bt709() -> None:
    assert np.array_equal(align.yuv_matrix(Colour(), 720).to_rgb, align.yuv_matrix(Colour(matrix="bt709"), 100).to_rgb)
    assert np.array_equal(align.yuv_matrix(Colour(), 576).to_rgb, align.yuv_matrix(Colour(matrix="bt470bg"), 9).to_rgb)


def test_a_crop_at_whole_pixels_is_the_picture_itself() -> None:
    frame = ramp(64, 48)
    crop = align.crop_yuv(frame, np.array([[1.0, 0, -8], [0, 1, -4]]), 32)
    assert np.array_equal(crop[..., 0], frame.y[4:36, 8:40])


@pytest.mark.parametrize("k", [0.5, 0.25, 0.2])
def test_a_smaller_crop_averages_around_the_same_centre(k: float) -> None:
    crop = align.crop_yuv(ramp(96, 96), np.array([[k, 0, 0], [0, k, 0]]), 10)
    x = np.arange(10) / k
    expected = 2 * x + x[:, None]
    inside = (slice(1, -1), slice(1, -1))
    assert np.abs(crop[..., 0].astype(float) - np.minimum(expected, 255))[inside].max() <= 1


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.2, 2.9])
@pytest.mark.parametrize("middle", [(96.0, 72.0), (93.7, 70.1), (30.0, 20.0), (185.0, 140.0)])
def test_a_smaller_crop_is_the_same_as_of_the_whole_picture_shrunk(angle: float, middle: tuple[float, float]) -> None:
    frame = flat(192, 144, (0, 128, 128))
    frame.y[:] = np.random.default_rng(7).integers(0, 256, frame.y.shape)
    c, s = 0.4 * np.cos(angle), 0.4 * np.sin(angle)  # 2.5 px of the picture are one: by 3 it is shrunk
    linear = np.array([[c, -s], [s, c]])
    matrix = np.column_stack([linear, 16 - linear @ middle])
    whole = cv2.resize(frame.y, (64, 48), interpolation=cv2.INTER_AREA)
    shrunk = align.regrid(matrix, (0, 0), (3.0, 3.0))
    expected = cv2.warpAffine(whole, shrunk, (32, 32), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    assert np.abs(align.crop_yuv(frame, matrix, 32)[..., 0].astype(int) - expected).max() <= 1


def test_colour_samples_lie_left_of_the_middle() -> None:
    frame = flat(32, 32, (128, 0, 128))
    frame.u[:] = 4 * np.arange(16)
    crop = align.crop_yuv(frame, np.array([[1.0, 0, 0], [0, 1, 0]]), 32)
    assert np.abs(crop[4, 2:28, 1].astype(float) - 2 * np.arange(2, 28)).max() <= 0.5


@given(
    st.floats(0.2, 300),
    st.lists(st.floats(-500, 500), min_size=3, max_size=3),
    st.lists(st.floats(-1.2, 1.2), min_size=3, max_size=3),
)
def test_a_pose_is_found_again(scale: float, move: list[float], angles: list[float]) -> None:
    canonical = np.random.default_rng(3).normal(size=(20, 3))
    (ca, cb, cc), (sa, sb, sc) = np.cos(angles), np.sin(angles)
    turn = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]]) @ np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    turn = turn @ np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    pose = align.fit_pose(canonical, scale * canonical @ turn.T + move)
    assert pose.scale == pytest.approx(scale)
    assert np.allclose(pose.rotation, turn, atol=1e-6)
    assert np.allclose(pose.translation, move, atol=1e-5)


def test_a_pose_is_no_mirror_image() -> None:
    """Points that a mirror image fits best: the answer is a rotation all the same."""
    canonical = np.random.default_rng(3).normal(size=(20, 3))
    pose = align.fit_pose(canonical, canonical * [-1.0, 1.0, 1.0])
    assert np.linalg.det(pose.rotation) == pytest.approx(1)
    assert np.allclose(pose.rotation @ pose.rotation.T, np.eye(3))


def test_a_crop_is_upright_and_centred() -> None:
    angle = 0.3
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    pose = Pose(20.0, turn, np.array([100.0, 80.0, 0.0]))
    matrix = align.crop_matrix(pose, np.zeros(3), 40.0, 160)
    assert align.apply(matrix, np.array([[100.0, 80.0]]))[0] == pytest.approx([80, 80])
    along = align.apply(matrix, np.array([[100 + 20 * np.cos(angle), 80 + 20 * np.sin(angle)]]))[0]
    assert along == pytest.approx([120, 80]), "one canonical unit to the right is 40 px to the right, not rolled"
    assert align.apply(align.invert(matrix), align.apply(matrix, np.array([[3.0, 4.0]])))[0] == pytest.approx([3, 4])
