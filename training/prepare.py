"""A folder of talking videos -> a face pack and an audio pack (see `training.pack`).

    python -m training.prepare VIDEOS FACE_PACK AUDIO_PACK [--model models/dh-base]

One clip a video: the person who is in most of its frames, found and followed by dh itself. Where the face is seen
without a gap and the video has sound, the speech goes into the audio pack in pieces of 8 s, with the mouth codes of
that face as what the audio head has to say. Every eighth video, by name, is held out of training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from training.footage import Footage, analysed, crop_points, speech_of, videos_in
from training.pack import Clip, Speech, write_faces, write_speech

from dhcli.errors import DhError
from dhcli.families.dh_base.geometry import Geometry, face_crop_matrix, load_geometry, mouth_opening
from dhcli.families.dh_base.listen import CODE_RATE, SAMPLES
from dhcli.families.dh_base.profile import CLOSED_SHARE
from dhcli.families.dh_base.references import yaw_pitch
from dhcli.stages.mesh import pose_free
from dhcli.types import F32, F64, FaceRow

MODEL = Path(__file__).parents[1] / "models/dh-base"
LEAST_FRAMES = 20
"""Of a clip."""
PIECE, LEAST_PIECE = 8 * CODE_RATE, CODE_RATE
"""Codes in a piece of speech, and in the last piece at least."""
HELD_OUT_EVERY = 8


@dataclass(frozen=True, slots=True)
class Prepared:
    """What one video gives."""

    clip: Clip
    speech: list[Speech]


def face_clip(footage: Footage, geometry: Geometry) -> Clip:
    """The face network's crops of all frames with the face."""
    matrices = {index: face_crop_matrix(row.pose) for index, row in footage.rows.items()}
    crops = dict(footage.crops(matrices))
    rows = [footage.rows[index] for index in crops]
    return Clip(
        np.stack(list(crops.values())),
        np.stack([crop_points(row, geometry) for row in rows]).astype(np.float32),
        np.stack([yaw_pitch(row) for row in rows]).astype(np.float32),
        np.array([row.seen for row in rows]),
    )


def mouth_codes(rows: list[FaceRow], geometry: Geometry) -> F32:
    """(n, 12): how each mouth differs from the same person's mouth at rest."""
    mouths = [pose_free(row.points[geometry.mouth], row.pose) for row in rows]
    rest = rest_shape(mouths, geometry)
    return np.stack([geometry.mouth_code(mouth, rest) for mouth in mouths]).astype(np.float32)


def rest_shape(mouths: list[F64], geometry: Geometry) -> F64:  # (106, 3)
    """The mouth at rest, canonical units, as in a render."""
    openings = np.array([mouth_opening(mouth) for mouth in mouths])
    closed = openings <= np.quantile(openings, CLOSED_SHARE)
    return geometry.closed(np.mean([mouth for mouth, one in zip(mouths, closed, strict=True) if one], axis=0))


def stretches(indices: list[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of consecutive numbers."""
    breaks = np.flatnonzero(np.diff(indices) != 1) + 1
    for run in np.split(np.array(indices), breaks):
        yield int(run[0]), int(run[-1])


def pieces(name: str, footage: Footage, sound: F32, geometry: Geometry) -> list[Speech]:
    """The speech while the face is seen, with its codes."""
    rows = {index: row for index, row in footage.rows.items() if row.seen}
    codes = dict(zip(rows, mouth_codes(list(rows.values()), geometry), strict=True))
    found = []
    for first, last in stretches(list(rows)):
        for begin in range(first, last + 1, PIECE):
            end = min(begin + PIECE, last + 1, len(sound) // SAMPLES)
            if end - begin >= LEAST_PIECE:
                part = np.stack([codes[index] for index in range(begin, end)])
                found.append(Speech(f"{name}_{begin:06d}", sound[begin * SAMPLES : end * SAMPLES], part))
    return found


def prepared(video: Path, geometry: Geometry) -> Prepared | None:
    """One video; None, with a line that says why, where dh finds too little in it."""
    try:
        footage = analysed(video)
        sound = speech_of(video)
    except DhError as error:
        print(f"{video.name} is left out: {error}", file=sys.stderr)
        return None
    seen = sum(row.seen for row in footage.rows.values())
    if seen < LEAST_FRAMES:
        print(f"{video.name} is left out: a face in {seen} frames, {LEAST_FRAMES} needed", file=sys.stderr)
        return None
    speech = [] if sound is None else pieces(video.stem, footage, sound, geometry)
    print(
        f"{video.name}: {len(footage.rows)} crops, {sum(len(one.codes) for one in speech) / CODE_RATE:.0f} s of speech"
    )
    return Prepared(face_clip(footage, geometry), speech)


def main(argv: list[str] | None = None) -> None:
    """Analyse every video; write both packs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("videos", "face_pack", "audio_pack"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--model", type=Path, default=MODEL, help="whose geometry the mouth codes have")
    asked = parser.parse_args(argv)
    geometry = load_geometry((asked.model / "geometry.npz").read_bytes())
    found = {video.stem: prepared(video, geometry) for video in videos_in(asked.videos)}
    usable = {name: one for name, one in found.items() if one is not None}
    if not usable:
        sys.exit(f"Nothing is written: no usable video in {asked.videos}.")
    back = list(usable)[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY] or list(usable)[1:][-1:]
    write_faces(asked.face_pack, {name: one.clip for name, one in usable.items()}, back)
    speech = [piece for one in usable.values() for piece in one.speech]
    if speech:
        kept_back = [piece.name for name in back for piece in usable[name].speech]
        write_speech(asked.audio_pack, speech, kept_back)
    else:
        print("No audio pack: no video has sound beside a face.")


if __name__ == "__main__":
    main()
