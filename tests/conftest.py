"""What every test may use: the repository's media, the default model opened once, and a watch over leftovers."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import settings

from dhcli.disk import store
from dhcli.families.dh_base.family import DhBase
from dhcli.media.ffmpeg_program import find_ffmpeg
from dhcli.networks.bundle import load_bundle
from dhcli.networks.model import Model
from dhcli.networks.network import Device
from dhcli.types import F64, U8, Frame, FrameFormat

ROOT = Path(__file__).parents[1]
ENDING_S = 10.0
"""A thread that ends by itself needs milliseconds; on a busy machine it may get its turn late."""

# A busy machine takes any time for an example; hypothesis fails what takes longer than 200 ms.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session", autouse=True)
def small_disk() -> Iterator[None]:
    """The tests' few MB are kept on a disk of any size; of the session, as fixtures that all tests share keep some."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "RESERVE_BYTES", 1 << 20)
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def avatar() -> Path:
    """8 s, 200 frames, 400x300, 25 fps, one face, no sound."""
    return ROOT / "examples/media/avatar.mp4"


@pytest.fixture(scope="session")
def speech() -> Path:
    """7.1 s of speech, 16 kHz mono."""
    return ROOT / "examples/media/speech.wav"


@pytest.fixture(scope="session")
def golden() -> dict[str, F64]:
    """What the model's reference computes from the avatar and the speech."""
    with np.load(ROOT / "tests/golden/golden.npz", allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


@pytest.fixture(scope="session")
def dh_base() -> DhBase:
    """The default model on the CPU."""
    return DhBase(Model(load_bundle("dh-base"), Device("cpu"), 2))


@pytest.fixture(scope="session")
def avatar_format() -> FrameFormat:
    return FrameFormat(400, 300, Fraction(25))


@pytest.fixture(scope="session")
def avatar_frames(avatar: Path) -> list[Frame]:
    """The avatar's first 60 frames as the decoder gives them."""
    return decode(avatar, 400, 300, "-frames:v", "60")


@pytest.fixture(scope="session")
def ffmpeg() -> Callable[..., None]:
    """Run the bundled ffmpeg with these arguments; any warning of it fails the test."""

    def run(*arguments: object) -> None:
        command = [find_ffmpeg(), "-v", "error", "-nostdin", "-y", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    return run


def decode(path: Path, width: int, height: int, *options: str) -> list[Frame]:
    """All frames of a file as planar YUV, without dh's own reader."""
    command = [find_ffmpeg(), "-v", "error", "-nostdin", "-i", str(path), "-map", "0:v:0", *options]
    raw = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"], capture_output=True, check=True)
    planes = np.frombuffer(raw.stdout, np.uint8).reshape(-1, height * 3 // 2, width)
    return [Frame(index, data) for index, data in enumerate(planes)]


@pytest.fixture(scope="session")
def decoded() -> Callable[..., list[Frame]]:
    """`decode` for tests that need another clip."""
    return decode


@pytest.fixture(scope="session")
def as_rgb() -> Callable[[Frame], U8]:
    """A frame as RGB, (H, W, 3), by ffmpeg's own conversion."""

    def convert(frame: Frame) -> U8:
        size = f"{frame.width}x{frame.height}"
        command = [find_ffmpeg(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", size, "-i", "-"]
        done = subprocess.run(
            [*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
            input=frame.data.tobytes(),
            capture_output=True,
            check=True,
        )
        return np.frombuffer(done.stdout, np.uint8).reshape(frame.height, frame.width, 3)

    return convert


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No test may leave a thread or a child process behind: a night of jobs would pile them up."""
    threads = set(threading.enumerate())
    yield
    started = [thread for thread in threading.enumerate() if thread not in threads]
    for thread in started:
        thread.join(ENDING_S)  # a timer that was cancelled takes a moment to end
    left = [thread.name for thread in started if thread.is_alive()]
    assert not left, f"threads left: {left}"
    assert not (children := living_children()), f"children left: {children}"


def living_children() -> list[list[str]]:
    """Command lines of this process's children that run."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # there is none. To look through all processes takes 5 ms, and this is asked 2,800 times
        return []
    return [child.cmdline() for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def nobody() -> Iterator[None]:
    """Not root, who may write everywhere; effective rights only, so that the test gets its own back."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach; pytest's own is for its owner alone."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
