"""What `dh bench` is made of: sizes' names, whose processor time it was, frames kept in memory, the page and chart."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dhcli.bench.clip import Size, parse_size, sample
from dhcli.bench.family import Reel
from dhcli.bench.floors import Alone, medians
from dhcli.bench.meter import Meter, MeteredScope, Spent
from dhcli.bench.report import BenchReport, StageName
from dhcli.types import Frame, FrameFormat

BURN_S = 0.3
BURN = f"import time\nwhile time.process_time() < {BURN_S}: pass"
COST = {"cpu_ms": 2.0, "wall_ms": 1.0}
RUN = {
    "width": 400,
    "height": 300,
    "fps": "25/1",
    "frames": 10,
    "analysed_frames": 10,
    "spoken_frames": 10,
    "batch": 4,
    "stages": dict.fromkeys(
        ("probe", "analyse", "listen", "decode", "speak", "blend", "encode", "verify", "other"), COST
    ),
    "floors": {name: {**COST, "frames": 10} for name in ("analyse", "listen", "decode", "speak", "encode")},
    "warm": {"cpu_ms": 16.0, "wall_ms": 9.0, "fps": 111.1},
    "cold": {"cpu_ms": 18.0, "wall_ms": 10.0, "fps": 100.0},
    "longest_serial": {"name": "encode", "wall_ms": 1.0},
    "ratios": {"cpu": 2.0, "wall": 1.125, "analyse": 0.11},
    "peak_rss_bytes": 1 << 28,
}
REPORT = {
    "dh": "0.1.0",
    "ffmpeg": "7.1",
    "onnxruntime": "1.31.0",
    "model": "dh-base",
    "device": "cpu",
    "provider": "CPUExecutionProvider",
    "precision": "int8",
    "cores": 2,
    "threads": 0,
    "encoder": "libx264 veryfast crf 18",
    "load_s": 0.4,
    "runs": [RUN, {**RUN, "width": 1280, "height": 720}],
}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("400x300", Size(400, 300)),
        ("720p", Size(1280, 720)),
        ("1080p", Size(1920, 1080)),
        ("2160p", Size(3840, 2160)),
        ("480p", Size(854, 480)),
    ],
)
def test_sizes_have_two_names(text: str, size: Size) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "p", "720", "1280x", "99999x10", "63x64", "720i", "8000x4000", "721p", "-1x64"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="WIDTHxHEIGHT or LINESp"):
        parse_size(text)


def test_the_sample_is_there() -> None:
    audio, video = sample()
    assert (audio.name, video.name) == ("speech.wav", "avatar.mp4")
    assert audio.is_file()


def _burn() -> None:
    until = time.thread_time() + BURN_S
    while time.thread_time() < until:
        pass


def test_processor_time_goes_to_the_stage_whose_thread_used_it() -> None:
    with Meter() as meter, MeteredScope(meter) as scope:

        def elsewhere() -> None:
            with scope.stage("decode"):
                _burn()

        thread = threading.Thread(target=elsewhere)
        with scope.stage("speak"):
            thread.start()
            thread.join()
        with scope.stage("listen"), scope.stage("probe"):
            _burn()
    stages = meter.stages
    assert set(stages) == {"decode", "speak", "listen"}, "a stage within another one is the outer one's"
    for name in ("decode", "listen"):
        assert BURN_S <= stages[name].thread_s < 1.5 * BURN_S, name
    assert stages["speak"].thread_s < BURN_S / 3
    assert stages["speak"].process_s >= BURN_S
    assert stages["speak"].wall_s >= BURN_S
    assert meter.total.cpu_s >= 2 * BURN_S


def test_processor_time_of_a_child_is_its_stages_and_in_the_total() -> None:
    with Meter() as meter, MeteredScope(meter) as scope:
        child = scope.spawn("encode", [sys.executable, "-c", BURN])
        assert child.wait(60) == 0
        scope.release(child)
    # On a busy machine the last look at the child may be long before its end.
    assert BURN_S / 2 < meter.child_s("encode") <= meter.total.cpu_s
    assert meter.child_s("decode") == 0
    assert meter.total.cpu_s >= BURN_S
    assert meter.process_s < meter.total.cpu_s
    assert meter.commands["encode"][0] == sys.executable
    assert meter.peak_rss_bytes > 10 << 20


def test_the_reel_keeps_what_fits_as_the_encoder_reads_it() -> None:
    fmt = FrameFormat(4, 2, Fraction(25))
    frames = [Frame(i, np.full((3, 4), i, np.uint8)) for i in range(5)]
    with Reel(3 * (fmt.frame_bytes + 6) + 5) as reel:
        reel.begin(fmt)
        for frame in frames:
            reel.append(frame)
        head, *parts = os.pread(reel.fd, 1000, 0).split(b"FRAME\n")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reel.fd)
    assert reel.frames == 3
    assert head.startswith(b"YUV4MPEG2 W4 H2 F25:1")
    assert parts == [frame.data.tobytes() for frame in frames[:3]]


def test_page_document_and_chart_are_made_of_the_figures_alone(repository: Path, tmp_path: Path) -> None:
    for folder in ("benchmarks", "docs"):
        shutil.copytree(repository / folder, tmp_path / folder)
    figures = tmp_path / "benchmarks" / "speed.json"
    figures.write_text(BenchReport.model_validate(REPORT).model_dump_json())
    script = [sys.executable, str(tmp_path / "benchmarks" / "speed.py"), "--draw", "--label", "a trial"]

    def draw() -> list[str]:
        done = subprocess.run(script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        made = ("benchmarks/speed.md", "docs/performance.md", "docs/images/speed.svg")
        return [(tmp_path / name).read_text(encoding="utf-8") for name in made]

    page, document, chart = first = draw()
    assert draw() == first, "drawn again, it is the same"
    assert page.count("### a trial\n") == 1
    for text in (page, document):
        assert "| **warm** | **16.00 / 9.00** | **16.00 / 9.00** |" in text
    assert "| 1280x720 | 111 | 16.0 | 62 | 256 MiB |" in document
    bars = [part for part in ET.fromstring(chart) if part.get("height") == "20"]  # noqa: S314 - our own
    assert len(bars) == 2 * (8 + 4), "eight stages and four floors at each of two sizes"


def test_a_floor_is_what_it_took_in_the_middle_of_its_times() -> None:
    times: list[dict[StageName, Alone]] = [
        {"encode": Alone(Spent(cpu_s, wall_s), 10, 0.5)} for cpu_s, wall_s in ((3.0, 1.0), (1.0, 9.0), (2.0, 5.0))
    ]
    assert medians(times) == {"encode": Alone(Spent(2.0, 5.0), 10, 0.5)}
