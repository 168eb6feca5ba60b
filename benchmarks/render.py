"""How fast the sample renders, and whether memory grows with the length of the speech. Run it on an idle machine.

python benchmarks/render.py speed [RUNS]
python benchmarks/render.py memory
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from dhcli.media.ffmpeg import find_ffmpeg

MEDIA = Path(__file__).parents[1] / "examples/media"
FRAMES = 178
LOOK_EVERY_S = 0.05


def render(audio: Path, folder: Path) -> tuple[float, int]:
    """Wall time of the whole process, s, and the highest resident memory of it and its children together, bytes."""
    command = [sys.executable, "-m", "dhcli", "render", "--audio", str(audio), "--video", str(MEDIA / "avatar.mp4")]
    command += ["--save-path", str(folder / "out.mp4"), "--if-exists", "overwrite", "--device", "cpu", "-q"]
    began, peak = time.monotonic(), 0
    with psutil.Popen(command) as process:
        while process.poll() is None:
            try:
                tree = [process, *process.children(recursive=True)]
                peak = max(peak, sum(one.memory_info().rss for one in tree))
            except psutil.Error:  # one of them just ended
                pass
            time.sleep(LOOK_EVERY_S)
    if process.returncode:
        sys.exit(f"dh ended with {process.returncode}")
    return time.monotonic() - began, peak


def speed(runs: int) -> None:
    """The sample from start to end of the process, imports, opening the model and the analysis included."""
    with tempfile.TemporaryDirectory() as folder:
        render(MEDIA / "speech.wav", Path(folder))
        times = [render(MEDIA / "speech.wav", Path(folder))[0] for _ in range(runs)]
    rates = [FRAMES / one for one in sorted(times, reverse=True)]
    print(
        f"{FRAMES} frames, {runs} runs: median {statistics.median(rates):.1f} fps ({rates[0]:.1f} to {rates[-1]:.1f})"
    )


def memory() -> None:
    """One and ten minutes of speech over the avatar's 8 s."""
    with tempfile.TemporaryDirectory() as folder:
        for minutes in (1, 10):
            speech = Path(folder) / f"{minutes}.wav"
            source = ["-stream_loop", "-1", "-i", str(MEDIA / "speech.wav"), "-t", str(60 * minutes)]
            subprocess.run([find_ffmpeg(), "-v", "error", *source, str(speech)], check=True)
            wall_s, peak = render(speech, Path(folder))
            print(f"{minutes:3} min: peak {peak / 2**20:.0f} MiB, {1500 * minutes / wall_s:.1f} fps")


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        memory()
    else:
        speed(int(sys.argv[2]) if len(sys.argv) > 2 else 5)
