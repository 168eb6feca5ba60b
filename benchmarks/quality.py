"""How mouths come out: people of talking videos say the same again, rendered by dh, and are compared with themselves.

    python benchmarks/quality.py FOLDER [--models-dir DIR --model NAME]

FOLDER has talking videos with their sound. Each is rendered with its own sound, so that the original shows what the
mouth should do, and `dh score --against` compares both. The columns are those of `dh score`, 1 is like the original:
opening, sharpness inside the mouth, flicker of the lips, change inside the mouth from frame to frame, then the
correlation of the mouth with the sound, its lag in ms, and the levels of 255 by which the rest of the picture differs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DH = [sys.executable, "-m", "dhcli"]
AGAINST = ("opening", "sharpness", "flicker", "inside_change")
COLUMNS = (*AGAINST, "correlation", "lag_ms", "outside_mean")


def rendered(video: Path, out: Path, options: Sequence[str]) -> None:
    """Render a video with its own sound."""
    manifest = out.with_suffix(".yaml")
    job = {"audio": str(video), "video": str(video), "save_path": str(out), "crf": 16}
    manifest.write_text(json.dumps({"version": 1, "jobs": [job]}))
    subprocess.run([*DH, "render", str(manifest), "--quiet", *options], check=True)


def scored(out: Path, original: Path) -> dict[str, Any]:
    """The figures of COLUMNS; None stands for what no frame tells."""
    command = [*DH, "score", str(out), "--against", str(original), "--json"]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {name: report["against"].get(name, report.get(name)) for name in AGAINST} | {
        "correlation": report["correlation"],
        "lag_ms": report["lag_ms"],
        "outside_mean": report["against"]["outside_mean"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    arguments, options = parser.parse_known_args()
    videos = sorted(path for path in arguments.folder.iterdir() if path.is_file())
    print("| video |", *(f"{name} |" for name in COLUMNS))
    print("|---|" + "---|" * len(COLUMNS))
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for video in videos:
            out = Path(folder) / f"{video.stem}.mp4"
            rendered(video, out, options)
            figures.append(scored(out, video))
            print(f"| {video.stem} |", *(_cell(figures[-1][name]) for name in COLUMNS), flush=True)
    medians = (statistics.median(known) if (known := _known(figures, name)) else None for name in COLUMNS)
    print("| median |", *(_cell(value) for value in medians))


def _known(figures: list[dict[str, Any]], name: str) -> list[float]:
    return [one[name] for one in figures if one[name] is not None]


def _cell(value: float | None) -> str:
    return "- |" if value is None else f"{value:.0f} |" if abs(value) >= 10 else f"{value:.2f} |"


if __name__ == "__main__":
    main()
