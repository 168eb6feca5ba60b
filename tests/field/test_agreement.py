"""`dh check` says of a file what the render says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from media.conftest import Make

X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
COLOURS = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-movflags", "+write_colr")


def files(make: Make, folder: Path, avatar: Path, speech: Path) -> dict[str, tuple[Path, Path]]:
    """By kind: a sound and a picture."""
    face = ("-i", avatar, "-frames:v", "10", "-vf", "crop=240:240:80:20", "-an")
    video = make("v.mp4", *face, *X264, *COLOURS).read_bytes()
    picture = make("p.jpg", *face[:2], "-frames:v", "1").read_bytes()
    sound = make("s.mp3", "-ss", "1", "-t", "0.4", "-i", speech, "-c:a", "libmp3lame").read_bytes()
    wave = make("s.wav", "-ss", "1", "-t", "0.4", "-i", speech).read_bytes()
    note = b"\xff\xe1\x00\x18Exif\0\0II*\0\x0f\x27\0\0junkjunk"
    cut_colr = bytearray(video)
    at = cut_colr.index(b"colr")
    cut_colr[at - 4 : at] = (9).to_bytes(4, "big")
    contents = {
        "broken EXIF": ("mp3", sound, "jpg", picture[:2] + note + picture[2:]),
        "cut colr": ("mp3", sound, "mp4", bytes(cut_colr)),
        "half a picture": ("mp3", sound, "jpg", picture[: len(picture) // 2]),
        "half a video": ("mp3", sound, "mp4", video[: len(video) // 2]),
        "half a sound": ("wav", wave[: len(wave) // 2], "mp4", video),
        "noise": ("wav", wave, "mp4", bytes(range(256)) * 40),
        "text": ("mp3", b"no sound at all\n" * 99, "mp4", video),
        "empty": ("mp3", b"", "mp4", video),
        "junk behind the sound": ("mp3", sound + bytes(2048), "mp4", video),
        "no picture": ("wav", wave, "mp4", wave),
    }
    made = {}
    for kind, (ending, heard, form, shown) in contents.items():
        paths = folder / f"{kind}.{ending}", folder / f"{kind} seen.{form}"
        for path, content in zip(paths, (heard, shown), strict=True):
            path.write_bytes(content)
        made[kind] = paths
    return made


@pytest.mark.slow
def test_check_and_render_agree(make: Make, avatar: Path, speech: Path, tmp_path: Path) -> None:
    pairs = files(make, tmp_path, avatar, speech)
    jobs = [
        {"id": f"j{k}", "audio": str(heard), "video": str(shown), "save_path": str(tmp_path / f"{k}.mp4")}
        for k, (heard, shown) in enumerate(pairs.values())
    ]
    (tmp_path / "m.yaml").write_text(yaml.safe_dump({"version": 1, "jobs": jobs}))
    command = [sys.executable, "-m", "dhcli", "render", "m.yaml", "--json", "--device", "cpu"]
    told: list[dict[str, str | None]] = []
    for more, event in (["--dry-run"], "job_planned"), ([], "job_finished"):
        done = subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True, check=False)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        told.append({one["job_id"]: one["code"] for one in events if one["event"] == event})
    expected, found = told
    kinds = dict(zip(expected, pairs, strict=True))
    different = {kinds[job]: (expected[job], found[job]) for job in kinds if expected[job] != found[job]}
    assert different == {}
    assert {kinds[job] for job, code in found.items() if code is None} == {
        "broken EXIF", "cut colr", "junk behind the sound",
    }  # fmt: skip
