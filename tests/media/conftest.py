"""Clips made by the bundled ffmpeg's own sources: a few kB each, made once a session."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dhcli.media.audio import read_waveform
from dhcli.media.ffmpeg_program import find_ffmpeg
from dhcli.media.info import AudioInfo, VideoInfo, frame_format
from dhcli.media.input_file import InputFile
from dhcli.media.probe import probe_audio, probe_video
from dhcli.media.reader import read_frames
from dhcli.runtime.scope import Scope

Make = Callable[..., Path]
LOSSLESS = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "0")


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """`make(name, *ffmpeg arguments)`: the file that ffmpeg writes, from the same arguments only once."""
    folder = tmp_path_factory.mktemp("clips")

    def run(name: str, *argv: str | Path) -> Path:
        key = hashlib.sha1("\0".join(map(str, argv)).encode(), usedforsecurity=False).hexdigest()[:12]
        path = folder / key / name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            done = subprocess.run(
                [find_ffmpeg(), "-nostdin", "-v", "error", "-y", *map(str, argv), f"file:{path}"],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
        return path

    return run


@pytest.fixture
def scope() -> Iterator[Scope]:
    with Scope(stall_timeout_s=20) as made:
        yield made


@pytest.fixture
def video(scope: Scope) -> Callable[[Path], VideoInfo]:
    def probe(path: Path) -> VideoInfo:
        with InputFile(path, "video") as file:
            return probe_video(scope, file)

    return probe


@pytest.fixture
def audio(scope: Scope) -> Callable[[Path], AudioInfo]:
    def probe(path: Path) -> AudioInfo:
        with InputFile(path, "audio") as file:
            return probe_audio(scope, file)

    return probe


@pytest.fixture
def decode(scope: Scope) -> Callable[[Path], SimpleNamespace]:
    """Everything about a video: `.info`, `.fmt`, `.frames`, `.remarks`."""

    def read(path: Path) -> SimpleNamespace:
        with InputFile(path, "video") as file:
            info = probe_video(scope, file)
            fmt = frame_format(info)
            frames = list(read_frames(scope, file, info, fmt))
            return SimpleNamespace(info=info, fmt=fmt, frames=frames, remarks=file.remarks)

    return read


@pytest.fixture
def listen(scope: Scope) -> Callable[..., np.ndarray]:
    """The whole waveform of a file."""

    def read(path: Path, **options: object) -> np.ndarray:
        with InputFile(path, "audio") as file:
            info = probe_audio(scope, file)
            return np.concatenate(list(read_waveform(scope, file, info, **options)))  # type: ignore[arg-type]

    return read


@pytest.fixture(scope="session")
def clip(make: Make) -> Path:
    """25 frames, 96x64, 25 fps, lossless, every frame different, with a tone of one second."""
    return make(
        "clip.mp4",
        *("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=1", "-f", "lavfi", "-i", "sine=d=1:r=48000"),
        *(*LOSSLESS, "-pix_fmt", "yuv420p", "-c:a", "aac"),
    )
