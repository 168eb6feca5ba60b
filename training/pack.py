"""Packs: what the training reads, a folder each.

A face pack has `<clip>.mp4`, aligned 160-px crops of one person at 25 frames a second, and `points.npz` with
`<clip>/points` (n, 106, 2) crop px, `<clip>/pose` (n, 2) yaw and pitch in rad, and `<clip>/ok` (n,), whether the face
was seen there.

An audio pack has `speech.flac`, 16 kHz mono, all clips one behind the other, and `codes.npz`: for each clip `names`,
`start` and `length` in samples, `code_start` and `code_length`, and `codes` (all, 12), 25 a second.

Both have `held_out.txt`, the names of the clips that no training may see.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dhcli.families.dh_base.geometry import CROP_SIDE
from dhcli.families.dh_base.listen import CODE_RATE, SAMPLE_RATE
from dhcli.media.ffmpeg_program import find_ffmpeg
from dhcli.types import F32, U8

POINTS, SPEECH, CODES, HELD_OUT = "points.npz", "speech.flac", "codes.npz", "held_out.txt"
"""Files of the packs."""
HELD_OUT_OF_DH_BASE = ("vr__1", "vr__5", "vx__vasa-1_7", "ls__demo2", "st__WDA_KatieHill_000", "lp__d9")
"""Where a pack says nothing."""
CRF = "10"
"""Of the crops: 52 dB."""

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Clip:
    """One person's crops."""

    frames: U8  # (n, 160, 160, 3) RGB
    points: F32  # (n, 106, 2) crop px
    pose: F32  # (n, 2) yaw and pitch, rad
    usable: Flags  # (n,)


@dataclass(frozen=True, slots=True)
class Speech:
    """One clip of an audio pack."""

    name: str
    samples: F32  # (n,) 16 kHz
    codes: F32  # (k, 12)


def load_faces(pack: Path) -> dict[str, Clip]:
    """Every clip of a face pack by its name. 19,000 crops take 1.5 GB."""
    with np.load(pack / POINTS, allow_pickle=False) as meta:
        names = sorted({key.rsplit("/", 1)[0] for key in meta.files})
        clips = {}
        for name in names:
            frames = np.stack(list(pictures(pack / f"{name}.mp4")))
            n = len(frames)
            points, pose, usable = (meta[f"{name}/{key}"][:n] for key in ("points", "pose", "ok"))
            clips[name] = Clip(frames, points.astype(np.float32), pose.astype(np.float32), usable.astype(bool))
    return clips


def pictures(path: Path) -> Iterator[U8]:
    """The RGB frames of a video."""
    video = cv2.VideoCapture(str(path))
    while (got := video.read())[0]:
        yield np.asarray(got[1][..., ::-1], np.uint8)


def held_out(pack: Path) -> frozenset[str]:
    """Names of the clips that are kept for the validation."""
    listed = pack / HELD_OUT
    return frozenset(listed.read_text(encoding="utf-8").split()) if listed.exists() else frozenset(HELD_OUT_OF_DH_BASE)


def write_faces(pack: Path, clips: dict[str, Clip], kept_back: Sequence[str]) -> None:
    """A face pack."""
    pack.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {}
    for name, clip in clips.items():
        _write_crops(pack / f"{name}.mp4", clip.frames)
        arrays[f"{name}/points"] = clip.points.astype(np.float16)  # 0.06 px at 100 px
        arrays[f"{name}/pose"] = clip.pose.astype(np.float16)
        arrays[f"{name}/ok"] = clip.usable
    np.savez_compressed(pack / POINTS, **arrays)
    (pack / HELD_OUT).write_text("".join(f"{name}\n" for name in kept_back), encoding="utf-8")


def _write_crops(path: Path, frames: U8) -> None:
    side = f"{CROP_SIDE}x{CROP_SIDE}"
    argv = [find_ffmpeg(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", side, "-r", str(CODE_RATE)]
    argv += ["-i", "-", "-c:v", "libx264", "-crf", CRF, "-pix_fmt", "yuv444p", str(path)]
    subprocess.run(argv, input=frames.tobytes(), check=True)


def load_speech(pack: Path) -> list[Speech]:
    """Every clip of an audio pack."""
    argv = [
        find_ffmpeg(),
        "-v",
        "error",
        "-i",
        str(pack / SPEECH),
        "-f",
        "f32le",
        "-ac",
        "1",
        "-ar",
        str(SAMPLE_RATE),
        "-",
    ]
    sound = np.frombuffer(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout, np.float32)
    with np.load(pack / CODES, allow_pickle=False) as meta:
        codes = meta["codes"].astype(np.float32)
        rows = zip(*(meta[key] for key in ("names", "start", "length", "code_start", "code_length")), strict=True)
        return [Speech(str(name), sound[a : a + n], codes[b : b + k]) for name, a, n, b, k in rows]


def write_speech(pack: Path, clips: Sequence[Speech], kept_back: Sequence[str]) -> None:
    """An audio pack. Raises ValueError where there is no clip."""
    if not clips:
        raise ValueError("no clip with speech")
    pack.mkdir(parents=True, exist_ok=True)
    sound = np.concatenate([clip.samples for clip in clips])
    argv = [find_ffmpeg(), "-v", "error", "-y", "-f", "f32le", "-ar", str(SAMPLE_RATE), "-ac", "1", "-i", "-"]
    subprocess.run([*argv, "-sample_fmt", "s16", str(pack / SPEECH)], input=sound.tobytes(), check=True)
    lengths, counts = (
        [len(part) for part in parts] for parts in zip(*((c.samples, c.codes) for c in clips), strict=True)
    )
    np.savez_compressed(
        pack / CODES,
        names=np.array([clip.name for clip in clips]),
        start=np.cumsum([0, *lengths[:-1]]),
        length=np.array(lengths),
        code_start=np.cumsum([0, *counts[:-1]]),
        code_length=np.array(counts),
        codes=np.concatenate([clip.codes for clip in clips]).astype(np.float16),
    )
    (pack / HELD_OUT).write_text("".join(f"{name}\n" for name in kept_back), encoding="utf-8")
