"""Draws docs/images/report.png: the page of a small night over the sample. `make picture`; needs Chromium.

All scenes are made from the sample's avatar: mirrored, in other colours, covered, far away. One job has a video that is
not there, one a picture without a face.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from dhcli.media.ffmpeg_program import find_ffmpeg

ROOT = Path(__file__).parents[2]
AVATAR, SPEECH = ROOT / "examples/media/avatar.mp4", ROOT / "examples/media/speech.wav"
HAND = "drawbox=x=150:y=165:w=110:h=95:color=0x9a7360:t=fill:enable='between(t,0.5,1.6)'"
SCENES = {
    "studio.mp4": "null",
    "mirror.mp4": "hflip",
    "evening.mp4": "eq=brightness=-0.08:saturation=0.7:gamma_b=1.25",
    "cold.mp4": "hflip,eq=gamma_r=0.85:gamma_b=1.15",
    "grey.mp4": "hue=s=0",
    "hand.mp4": HAND,
    "far.mp4": "scale=184:138,pad=400:300:108:120:color=0xb0aa98",
    "empty.mp4": "boxblur=60:3",
}
JOBS = (
    ("welcome", "studio.mp4", "0-4", ""),
    ("prices", "studio.mp4", "1.5-5", ""),
    ("delivery", "mirror.mp4", "0.5-4", ""),
    ("returns", "mirror.mp4", "3-7", ""),
    ("news-monday", "evening.mp4", "0-3.5", ""),
    ("news-tuesday", "evening.mp4", "2-6", ""),
    ("support", "cold.mp4", "3-7", ""),
    ("history", "grey.mp4", "0-4", ""),
    ("thanks", "grey.mp4", "3.4-7", ""),
    ("goodbye", "cold.mp4", "0-3", ""),
    ("interview", "hand.mp4", "0-3", ""),
    ("outlook", "far.mp4", "0-3", ""),
    ("draft", "studio.mp4", "2-5", ", crf: 46"),
    ("whisper", "mirror.mp4", "0-3", ", gain: 0.1"),
    ("hall", "empty.mp4", "0-3", ""),
    ("summary", "gone.mp4", "0-3", ""),
)
SIZE, TALL = 1280, 1030
"""px of the picture."""


def scenes(folder: Path) -> None:
    """The videos of the night."""
    for name, chain in SCENES.items():
        command = [find_ffmpeg(), "-v", "error", "-i", str(AVATAR), "-vf", chain, "-crf", "12", str(folder / name)]
        subprocess.run(command, check=True)
    shutil.copy(SPEECH, folder)


def manifest() -> str:
    """The night as YAML."""
    jobs = (
        f"  - {{id: {name}, audio: {SPEECH.name}, video: {video}, save_path: out/{name}.mp4, trim: {part}{more}}}"
        for name, video, part, more in JOBS
    )
    return "\n".join(["version: 1", "jobs:", *jobs, ""])


def main() -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        sys.exit("report_page.py: there is no Chromium; docs/images/report.png stays as it is")
    with tempfile.TemporaryDirectory(prefix="night-") as name:
        folder = Path(name)
        (folder / "out").mkdir()
        (folder / "night.yaml").write_text(manifest(), encoding="utf-8")
        scenes(folder)
        dh = [sys.executable, "-m", "dhcli", "render", "night.yaml", "--report", "night.html", "--device", "cpu"]
        subprocess.run(dh, cwd=folder, check=False)  # two of its jobs fail, as they should
        shot = folder / "shot.png"
        window = [f"--window-size={SIZE},{TALL}", "--hide-scrollbars", f"--screenshot={shot}"]
        page = (folder / "night.html").as_uri()
        subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", *window, page], check=True)
        shutil.copy(shot, ROOT / "docs/images/report.png")


if __name__ == "__main__":
    main()
