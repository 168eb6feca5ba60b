"""How long `dh render` takes to find out that nothing has to be done.

    python benchmarks/resume.py [--jobs 10000] [--folder FOLDER]

Makes jobs that are up to date: every job has a speech of its own (--bytes large) and an output, ten share a video. One
job is rendered for its result; the others get results as dh would write them. `dh render` then runs twice: with an
empty hash cache, which reads all media once, and with a full one.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dhcli.families.dh_base.family import DhBase
from dhcli.jobs.options import JobOptions
from dhcli.results.result import JobResult, read_result, write_result
from dhcli.results.uptodate import Ingredients

ROOT = Path(__file__).resolve().parents[1]
MEDIA = ROOT / "examples" / "media"
JOBS_A_VIDEO = 10
SETTLE_S = 2.1
"""Files younger than 2 s do not go into the cache."""


def make(folder: Path, jobs: int, size: int) -> Path:
    """The manifest of `jobs` jobs that are up to date."""
    first = folder / "first.mp4"
    render = [sys.executable, "-m", "dhcli", "render", "--limit-frames", "5", "-q"]
    single = ["--audio", MEDIA / "speech.wav", "--video", MEDIA / "avatar.mp4", "--save-path", first]
    subprocess.run([*render, *single], check=True)
    done = read_result(first.with_name("first.mp4.json"))
    assert done is not None
    video = (MEDIA / "avatar.mp4").read_bytes()
    lines = ["version: 1", "jobs:"]
    for number in range(jobs):
        name = f"{number:05d}"
        audio = _write(folder / "in" / f"{name}.wav", os.urandom(16) + bytes(size - 16))
        clip = _write(
            folder / "in" / f"{number // JOBS_A_VIDEO:05d}.mp4", video + bytes([0, number // JOBS_A_VIDEO % 251])
        )
        output = folder / "out" / f"{name}.mp4"
        shutil.copyfile(first, output)
        write_result(output.with_name(f"{output.name}.json"), _result(done, name, audio, clip))
        lines.append(
            f"  - {{audio: in/{name}.wav, video: in/{number // JOBS_A_VIDEO:05d}.mp4, save_path: out/{name}.mp4}}"
        )
    manifest = folder / "night.yaml"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return manifest


def _write(path: Path, content: bytes) -> str:
    if not path.exists():
        path.write_bytes(content)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _result(done: JobResult, name: str, audio: str, video: str) -> JobResult:
    model, face_finder = done.environment.model, done.environment.face_finder
    assert model is not None
    assert face_finder is not None
    options = JobOptions().model_dump(mode="json")
    fingerprint = Ingredients(audio, video, model, face_finder, options, DhBase.version).fingerprint
    return done.model_copy(update={"job_id": name, "options": options, "fingerprint": fingerprint})


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--bytes", type=int, default=32_000, help="size of each speech")
    parser.add_argument("--folder", type=Path, help="where to work; default: a new temporary folder")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=wanted.folder) as name:
        folder = Path(name)
        for part in ("in", "out", "cache"):
            (folder / part).mkdir()
        os.environ["DH_CACHE_DIR"] = str(folder / "cache")
        manifest = make(folder, wanted.jobs, wanted.bytes)
        time.sleep(SETTLE_S)
        for cache in ("empty", "full"):
            began, began_cpu_s = time.monotonic(), _cpu_s()
            done = subprocess.run(
                [sys.executable, "-m", "dhcli", "render", manifest], check=True, capture_output=True, text=True
            )
            spent_s = time.monotonic() - began
            cpu_s = _cpu_s() - began_cpu_s
            print(f"{cache} cache: {spent_s:.1f} s, {cpu_s:.1f} s of CPU. {done.stderr.splitlines()[-1]}")


if __name__ == "__main__":
    main()
