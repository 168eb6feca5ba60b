"""Files that would take a machine's memory, time or disk: refused before they do, and children that cannot run wild."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import psutil
import pytest

from dhcli.errors import DhError
from dhcli.media import input_limits
from dhcli.media.ffmpeg import running
from dhcli.media.ffmpeg_program import find_ffmpeg
from dhcli.media.info import frame_format
from dhcli.media.input_file import InputFile
from dhcli.media.probe import probe_audio, probe_video
from dhcli.media.reader import read_frames
from dhcli.media.writer import encode_bytes
from dhcli.runtime.child import Command
from dhcli.runtime.scope import Scope
from dhcli.types import FrameFormat

pytestmark = pytest.mark.slow

Ffmpeg = Callable[..., None]
BLACK = ("-f", "lavfi", "-i")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot limit a process from outside")


def code_of(look: Callable[..., object], path: Path, **limits: Any) -> DhError:
    with Scope() as scope, InputFile(path, "video") as file, pytest.raises(DhError) as caught:
        look(scope, file, **limits)
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("name", "size", "how"),
    [
        ("bomb.png", "16000x8000", ("-frames:v", "1")),
        ("bomb.mp4", "8192x8192", ("-frames:v", "2", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")),
        ("bomb.mkv", "12000x3000", ("-frames:v", "1", "-c:v", "ffv1")),
    ],
)
def test_a_small_file_with_a_large_picture(
    name: str, size: str, how: tuple[str, ...], ffmpeg: Ffmpeg, out: Path
) -> None:
    path = out / name
    ffmpeg(*BLACK, f"color=black:s={size}:r=25,format=gray", *how, path)
    assert path.stat().st_size < 1 << 20
    before = psutil.Process().memory_info().rss
    error = code_of(probe_video, path)
    assert error.code == "input.too_large"
    assert size in error.message
    assert psutil.Process().memory_info().rss - before < 64 << 20


def test_a_picture_that_grows_after_its_header(ffmpeg: Ffmpeg, out: Path) -> None:
    small, large, both = out / "small.mjpeg", out / "large.mjpeg", out / "both.mjpeg"
    ffmpeg(*BLACK, "color=s=64x64:r=25", "-frames:v", "2", small)
    ffmpeg(*BLACK, "color=s=12000x4000:r=25", "-frames:v", "1", large)
    both.write_bytes(small.read_bytes() + large.read_bytes())

    def read_all(scope: Scope, file: InputFile) -> None:
        info = probe_video(scope, file)
        list(read_frames(scope, file, info, frame_format(info)))

    assert code_of(read_all, both).code in {"input.too_large", "input.corrupt"}


def test_a_very_long_video_in_a_few_bytes(ffmpeg: Ffmpeg, out: Path) -> None:
    path = out / "long.mp4"
    ffmpeg(*BLACK, "color=s=16x16:r=1/60:d=21600", "-c:v", "libx264", "-preset", "ultrafast", path)
    assert path.stat().st_size < 100_000
    error = code_of(probe_video, path)
    assert error.code == "input.too_long"
    assert "21600.0 s" in error.message
    assert "14400" in error.message
    assert "--max-duration" in error.hint
    with Scope() as scope, InputFile(path, "video") as file:
        assert probe_video(scope, file, max_duration_s=30_000).decoded == 360


def test_a_sound_that_is_longer_than_it_says(ffmpeg: Ffmpeg, out: Path) -> None:
    path = out / "claims.wav"
    ffmpeg(*BLACK, "sine=d=3:r=8000", path)
    error = code_of(probe_audio, path, max_duration_s=2.0)
    assert error.code == "input.too_long"
    raw = bytearray(path.read_bytes())
    at = raw.index(b"data") + 4
    raw[at : at + 4] = raw[4:8] = b"\xff\xff\xff\xff"  # as a recorder writes it that cannot seek back
    path.write_bytes(raw)
    assert code_of(probe_audio, path, max_duration_s=2.0).code == "input.too_long"


def test_the_limit_of_the_command_line_is_the_one(
    dh: Callable[..., Any], stored: Callable[[], Any], speech: Path
) -> None:
    process = dh("--max-duration", "1")
    assert process.wait(60) == 0
    process = dh("--max-duration", "1", "--set", "trim=0-0.1", "--audio", str(speech))
    assert process.wait(60) == 1
    assert stored()["error"]["code"] == "input.too_long"


@LINUX
def test_every_child_has_the_kernels_limits(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!{sys.executable} -IS\nimport os\nos.read(0, 1)\nwhile True: os.write(1, b'0' * 65536)\n")
    program.chmod(0o755)
    monkeypatch.setenv("DH_FFMPEG", str(program))
    with Scope() as scope, running(scope, "probe", Command([find_ffmpeg(), "-i", str(clip)])) as child:
        limits = {which: resource.prlimit(child.pid, which)[0] for which in (resource.RLIMIT_DATA, resource.RLIMIT_CPU)}
        assert 0 < limits[resource.RLIMIT_DATA] < psutil.virtual_memory().total
        assert limits[resource.RLIMIT_CPU] == input_limits.CPU_BASE_S
        assert resource.prlimit(child.pid, resource.RLIMIT_CORE)[0] == 0
    assert resource.getrlimit(resource.RLIMIT_CORE) != (0, 0), "ours stay as they are"


@LINUX
def test_a_child_that_spins_is_ended_by_the_kernel(
    clip: Path, fake_ffmpeg: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_ffmpeg("list", "spin()")
    monkeypatch.setattr(
        "dhcli.media.ffmpeg.confine", lambda pid, *_: input_limits.confine(pid, input_limits.ChildLimits(1))
    )
    error = code_of(probe_video, clip)
    assert error.code == "decode.failed"
    assert "SIGXCPU" in error.message
    assert "processor time" in error.hint


@LINUX
def test_a_child_that_eats_memory_gets_no_more(
    clip: Path, fake_ffmpeg: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = fake_ffmpeg(
        "list",
        "held = []\n"
        "try:\n"
        "    while True:\n"
        "        held.append(bytearray(1 << 20))\n"
        "        if len(held) > 2000: break\n"
        "except MemoryError: pass\n"
        "open(MARK + '.held', 'w').write(str(len(held)))\n"
        "sys.exit(1)",
    )
    monkeypatch.setattr(input_limits, "MEMORY_SHARE", (256 << 20) / psutil.virtual_memory().total)
    code_of(probe_video, clip)
    assert 10 < int(Path(f"{mark}.held").read_text()) < 300


ENDLESS = """
fd = os.open(argv[-1].removeprefix("file:"), os.O_WRONLY)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
while True: os.write(fd, bytes(1 << 20))
"""


@LINUX
def test_an_encoder_that_writes_without_end_is_ended_by_the_kernel(
    render: Callable[..., Any], fake_ffmpeg: Callable[..., Path], content: Callable[[], list[str]]
) -> None:
    fake_ffmpeg("encode", ENDLESS.strip())
    run = render()
    assert run.result.error.code == "encode.failed"
    assert "it wrote more than" in run.result.error.message
    assert "nothing in the plan needs" in run.result.error.message
    assert run.result.error.hint
    assert content() == ["out.mp4.json"]


@LINUX
@pytest.mark.parametrize(("limit", "code"), [(20_000, "encode.failed"), (None, None)])
def test_the_real_encoder_meets_the_limit_of_its_plan(
    render: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, limit: int | None, code: str | None
) -> None:
    if limit is not None:
        monkeypatch.setattr("dhcli.media.writer.encode_bytes", lambda *_: limit)
    error = render().result.error
    assert (error.code if error else None) == code
    if error is not None:
        assert f"more than {limit} bytes" in error.message


def test_the_limit_of_an_output_grows_with_its_plan(words: Path) -> None:
    small, large = FrameFormat(400, 300, Fraction(25)), FrameFormat(1920, 1080, Fraction(50))
    with InputFile(words, "audio") as file:
        limits = [encode_bytes(fmt, Fraction(length), file) for fmt in (small, large) for length in (1, 100)]
    assert limits[0] < limits[1] < limits[3]
    assert limits[0] < limits[2] < limits[3]
    # Noise at crf 0, the worst that there is, is 1.6 times as large as the frames.
    assert limits[3] > 1.6 * 100 * 50 * large.frame_bytes * 2
    assert limits[0] < 100 << 20


@LINUX
def test_a_lower_limit_of_the_user_stays(clip: Path) -> None:
    with Scope() as scope, running(scope, "probe", Command([find_ffmpeg(), "-i", str(clip)])) as child:
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        input_limits.confine(child.pid, input_limits.ChildLimits(None, 5000))
        assert resource.prlimit(child.pid, resource.RLIMIT_FSIZE) == (1000, resource.RLIM_INFINITY)


def test_an_open_input_is_judged_by_where_it_lies(clip: Path, tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    os.link(clip, outside / "v.mp4")
    os.link(clip, root / "v.mp4")
    with InputFile(root / "v.mp4", "video", root=root):
        pass
    # What a check of the path alone cannot see: the link was swapped between the check and the opening.
    (root / "link.mp4").symlink_to(outside / "v.mp4")
    with pytest.raises(DhError) as caught:
        InputFile(root / "link.mp4", "video", root=root)
    assert caught.value.code == "input.unreadable"
    assert str(outside) in caught.value.message


def test_a_root_reached_by_a_link_is_the_same_root(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    os.link(clip, tmp_path / "real/v.mp4")
    with InputFile(tmp_path / "alias/v.mp4", "video", root=tmp_path / "alias") as file:
        assert file.bytes
