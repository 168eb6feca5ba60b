"""The mouth at the video's own resolution: source, reference and the network's answer composed as a render does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import onnxruntime

from dhcli.families.dh_base.geometry import CROP_SIDE, INNER, OUTER
from dhcli.families.dh_base.question import Question
from dhcli.families.dh_base.speak import OUTPUTS
from dhcli.types import F32, F64, U8

MOUTH_MARGIN_PX = 4
"""Crop px around the lips that count as mouth."""
LEAST_INSIDE = 80
"""Crop px from which a mouth counts as open."""
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class View:
    """One frame's crop at native resolution."""

    picture: U8  # (side, side, 3) RGB
    points: F64  # (106, 2) px of the 160-px crop


@dataclass(frozen=True, slots=True)
class Figures:
    """How near a mouth is to the real one; the last two are NaN where it is closed."""

    mouth_db: float
    mouth_ssim: float
    inside_db: float
    sharpness: float  # variance of the Laplacian inside the lips against the real one's


def opened(path: str) -> Any:
    """A session of face.onnx."""
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def render(network: Any, source: View, reference: View, target_points: F64) -> F32:
    """The source's crop (side, side, 3), 0..255, with its mouth where `target_points` say; all crops of one side."""
    side = len(source.picture)
    question = Question(1)
    own, lent = ((_shrunk(view.picture), view.points) for view in (source, reference))
    question.put(0, own, lent, target_points)
    answer: list[F32] = network.run([*OUTPUTS], question.of(1))
    flow, reference_flow, rgb, weights, light = (one[0].transpose(1, 2, 0) for one in answer)
    moved = _moved(source.picture, flow, side)
    teeth = _moved(reference.picture, reference_flow, side) + _enlarged(light * 255, side)
    colour = _enlarged(rgb * 255, side, cv2.INTER_CUBIC)
    new, shared = np.split(_enlarged(weights, side), 2, axis=2)
    return np.asarray((1 - new - shared) * moved + new * colour + shared * teeth, np.float32)


def _shrunk(picture: U8) -> U8:
    return np.asarray(cv2.resize(picture, (CROP_SIDE, CROP_SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def _enlarged(picture: F32, side: int, how: int = cv2.INTER_LINEAR) -> F32:
    return np.asarray(cv2.resize(picture, (side, side), interpolation=how), np.float32)


def _moved(picture: U8, flow: F32, side: int) -> F32:
    shift = _enlarged(flow, side) * (side / CROP_SIDE)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    at = (x + shift[..., 0], y + shift[..., 1])
    return np.asarray(cv2.remap(picture, *at, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.float32)


def compare(rendered: F32, real: U8, target_points: F64) -> Figures:
    """The mouth of a crop beside the real one's."""
    side, scale = len(real), len(real) / CROP_SIDE
    reach = 2 * round(MOUTH_MARGIN_PX * scale) + 1
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    mouth = cv2.dilate(_filled(target_points[OUTER], side), around) > 0
    inside = _filled(target_points[INNER], side) > 0
    ours, theirs = np.clip(rendered, 0, 255).astype(np.float32), real.astype(np.float32)
    grey, real_grey = (np.asarray(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY), np.float32) for x in (ours, theirs))
    ssim = float(_ssim(grey, real_grey)[mouth].mean())
    if inside.sum() <= LEAST_INSIDE * scale**2:
        return Figures(_psnr(ours, theirs, mouth), ssim, NAN, NAN)
    sharp, real_sharp = (float(cv2.Laplacian(x, cv2.CV_32F)[inside].var()) for x in (grey, real_grey))
    return Figures(_psnr(ours, theirs, mouth), ssim, _psnr(ours, theirs, inside), sharp / max(real_sharp, 1e-6))


def _filled(line: F64, side: int) -> U8:
    """Mask of a closed line of crop px, in 1/16 px of the native crop."""
    at = np.round((line * side / CROP_SIDE - 0.5) * 16).astype(np.int32)
    return np.asarray(cv2.fillPoly(np.zeros((side, side), np.uint8), [at], 1, cv2.LINE_8, 4), np.uint8)


def _psnr(one: F32, other: F32, where: np.typing.NDArray[np.bool_]) -> float:
    return float(10 * np.log10(255**2 / max(1e-3, float(((one - other)[where] ** 2).mean()))))


def _ssim(one: F32, other: F32) -> F32:
    """Wang, Bovik, Sheikh, Simoncelli 2004, for each px, in windows of sigma 1.5 px."""

    def mean(x: F32) -> F32:
        return np.asarray(cv2.GaussianBlur(x, (11, 11), 1.5), np.float32)

    a, b = mean(one), mean(other)
    varies, other_varies, together = mean(one * one) - a * a, mean(other * other) - b * b, mean(one * other) - a * b
    dark, flat = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    alike = (2 * a * b + dark) * (2 * together + flat)
    return np.asarray(alike / ((a * a + b * b + dark) * (varies + other_varies + flat)), np.float32)
