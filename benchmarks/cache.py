"""What the cache is worth: a night of speeches over one avatar, and a plan of 10,000 jobs.

    python benchmarks/cache.py [--speeches 100] [--jobs 10000] [--folder FOLDER]

The night: as many speeches of 1 s, then as many of 3 s, each of its own, over the sample avatar, which the first job of
all analyses. The difference of the two runs is what frames cost; the rest of the shorter run, divided by its jobs, is
what a job costs besides. The plan: `dh render --dry-run` over copies of those speeches and the one avatar, whose hashes
and probes the night has kept; every job has an output of its own, and none is there yet.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MEDIA = ROOT / "examples" / "media"
DH = [sys.executable, "-m", "dhcli"]
SECONDS = (1, 3)
SETTLE_S = 2.1
"""Hashes of files younger than 2 s are not kept."""


def speeches(folder: Path, count: int, seconds: int) -> Iterator[Path]:
    """Parts of the sample speech, each with a number in its first sample: no two are the same."""
    with wave.open(str(MEDIA / "speech.wav")) as sample:
        form, rate = sample.getparams(), sample.getframerate()
        sound = bytearray(sample.readframes(sample.getnframes()))
    width = form.sampwidth * form.nchannels
    for number in range(count):
        path = folder / f"{seconds}s-{number:04d}.wav"
        begin = width * (number * rate // 50 % (len(sound) // width - seconds * rate))
        part = bytearray(sound[begin : begin + width * seconds * rate])
        part[:2] = number.to_bytes(2, "little")
        with wave.open(str(path), "wb") as file:
            file.setparams(form)
            file.writeframes(part)
        yield path


def manifest(path: Path, sounds: list[Path], jobs: int) -> Path:
    """A manifest of `jobs` jobs, speech after speech, over the one avatar."""
    lines = ["version: 1", "jobs:"]
    for number in range(jobs):
        sound = sounds[number % len(sounds)]
        lines.append(
            f"  - {{audio: {sound}, video: {sound.parent / 'avatar.mp4'}, save_path: {path.stem}/{number:05d}.mp4}}"
        )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (path.parent / path.stem).mkdir()
    return path


def timed(*arguments: str | Path) -> tuple[float, float, list[dict[str, object]]]:
    """Wall and CPU seconds of a call of dh, and its events."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*DH, *map(str, arguments)], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, cpu_s, [json.loads(line) for line in done.stdout.splitlines()]


def night(folder: Path, count: int) -> list[Path]:
    """Render the speeches; print what a job costs. The speeches of 1 s."""
    sounds = {seconds: list(speeches(folder, count, seconds)) for seconds in SECONDS}
    time.sleep(SETTLE_S)
    first = manifest(folder / "first.yaml", sounds[1][:1], 1)
    cold_s, cold_cpu_s, _ = timed("render", first, "--json")
    warm_s, warm_cpu_s, _ = timed("render", first, "--json", "--force")
    print(f"one job: cold {cold_s:.2f} s ({cold_cpu_s:.2f} s of CPU), warm {warm_s:.2f} s ({warm_cpu_s:.2f} s of CPU)")
    spent = {}
    for seconds in SECONDS:
        wall_s, cpu_s, events = timed("render", manifest(folder / f"{seconds}s.yaml", sounds[seconds], count), "--json")
        ended = [event for event in events if event["event"] == "job_finished"]
        made = sum(event["analysis"] == "made" for event in ended)
        spent[seconds] = wall_s, cpu_s, sum(int(str(event["frames"])) for event in ended)
        print(f"{len(ended)} speeches of {seconds} s: {wall_s:.1f} s, {cpu_s:.1f} s of CPU, {made} analyses")
    short, long = (spent[seconds] for seconds in SECONDS)
    for what, at in (("wall", 0), ("CPU", 1)):
        frame_s = (long[at] - short[at]) / (long[2] - short[2])
        beyond_s = (short[at] - frame_s * short[2]) / count
        print(f"{what}: {1000 * frame_s:.1f} ms a frame, and {beyond_s:.3f} s a job beyond its frames")
    return sounds[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speeches", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="where to work; default: a new temporary folder")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=wanted.folder) as name:
        folder = Path(name)
        os.environ["DH_CACHE_DIR"] = str(folder / "cache")
        (folder / "avatar.mp4").write_bytes((MEDIA / "avatar.mp4").read_bytes())
        sounds = night(folder, wanted.speeches)
        plan = manifest(folder / "plan.yaml", sounds, wanted.jobs)
        wall_s, cpu_s, events = timed("render", "--dry-run", "--json", plan)
        summary = events[-1]
        print(f"plan of {summary['jobs']} jobs, {summary['to_render']} to render: {wall_s:.1f} s, {cpu_s:.1f} s of CPU")


if __name__ == "__main__":
    main()
