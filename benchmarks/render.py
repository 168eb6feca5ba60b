"""Whole runs of dh on an idle machine: how soon, in how much memory, and what playing backward costs.

python benchmarks/render.py memory
python benchmarks/render.py pingpong
python benchmarks/render.py start
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from dhcli.media.ffmpeg_program import find_ffmpeg

MEDIA = Path(__file__).parents[1] / "examples/media"
SHORT_S = 20
"""At 1440x1080 and 25 fps these are 1.2 GB: more than is kept, so that backward is decoded again in parts."""
LOOK_EVERY_S = 0.05


def render(audio: Path, folder: Path, *more: str, video: Path = MEDIA / "avatar.mp4") -> tuple[float, int]:
    """Wall time of the whole process, s, and the highest resident memory of it and its children together, bytes."""
    command = [sys.executable, "-m", "dhcli", "render", "--audio", str(audio), "--video", str(video), *more]
    command += ["--save-path", str(folder / "out.mp4"), "--if-exists", "overwrite", "--device", "cpu", "-q"]
    command += ["--cache-dir", str(folder / "cache")]
    began, peak = time.monotonic(), 0
    with psutil.Popen(command) as process:
        while process.poll() is None:
            try:
                tree = [process, *process.children(recursive=True)]
                peak = max(peak, sum(one.memory_info().rss for one in tree if not _unborn(one, process)))
            except psutil.Error:  # one of them just ended
                pass
            time.sleep(LOOK_EVERY_S)
    if process.returncode:
        sys.exit(f"dh ended with {process.returncode}")
    return time.monotonic() - began, peak


def _unborn(one: psutil.Process, dh: psutil.Process) -> bool:
    """A child before its exec: a copy of dh for a millisecond, in the same memory."""
    return one.pid != dh.pid and one.exe() == dh.exe()


def memory() -> None:
    """One, ten and thirty minutes of speech over the avatar's 8 s."""
    with tempfile.TemporaryDirectory() as folder:
        render(MEDIA / "speech.wav", Path(folder))  # the analysis is in the cache then
        for minutes in (1, 10, 30):
            speech = Path(folder) / f"{minutes}.wav"
            ffmpeg("-stream_loop", "-1", "-i", str(MEDIA / "speech.wav"), "-t", str(60 * minutes), str(speech))
            wall_s, peak = render(speech, Path(folder))
            print(f"{minutes:3} min: peak {peak / 2**20:.0f} MiB, {1500 * minutes / wall_s:.1f} fps")


def pingpong() -> None:
    """A video that goes forward and backward, against the same frames laid out as one long video."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        speech, short, long = folder / "speech.wav", folder / "short.mp4", folder / "long.mp4"
        source = ["-stream_loop", "-1", "-i", str(MEDIA / "speech.wav"), "-t", str(4 * SHORT_S)]
        ffmpeg(*source, str(speech))
        picture = ["-vf", "scale=1440:1080,noise=alls=5:allf=t:all_seed=7", "-c:v", "libx264", "-preset", "veryfast"]
        ffmpeg("-stream_loop", "-1", "-i", str(MEDIA / "avatar.mp4"), "-t", str(SHORT_S), *picture, str(short))
        turned = "[0:v]split[a][b];[b]reverse[c];[a][c]concat,split[d][e];[d][e]concat"
        ffmpeg("-i", str(short), "-filter_complex", turned, *picture[2:], str(long))
        for video in (short, long):
            render(speech, folder, video=video)  # the analysis is in the cache then
        frames = 4 * SHORT_S * 25
        for label, video in (("forward", long), ("forward and backward", short)):
            wall_s, peak = render(speech, folder, video=video)
            print(f"{label}: {frames / wall_s:.1f} fps, peak {peak / 2**20:.0f} MiB")


def start(runs: int = 5) -> None:
    """A job of one frame, all of the process included, with the sample's analysis in the cache."""
    with tempfile.TemporaryDirectory() as folder:
        render(MEDIA / "speech.wav", Path(folder), "--limit-frames", "1")
        times = sorted(render(MEDIA / "speech.wav", Path(folder), "--limit-frames", "1")[0] for _ in range(runs))
        print(f"one frame: median {statistics.median(times):.2f} s ({times[0]:.2f} to {times[-1]:.2f})")


def ffmpeg(*arguments: str) -> None:
    """Run the bundled ffmpeg."""
    subprocess.run([find_ffmpeg(), "-v", "error", *arguments], check=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["memory"]:
            memory()
        case ["pingpong"]:
            pingpong()
        case ["start"]:
            start()
        case _:
            sys.exit(__doc__)
