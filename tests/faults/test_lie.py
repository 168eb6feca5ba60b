"""Nothing lies: a video is there only where all of it was written, read back and put in place."""

from __future__ import annotations

import ctypes
import math
import os
import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dhcli.families.dh_base.family import DhBase

pytestmark = pytest.mark.slow

Render = Callable[..., Any]
Fake = Callable[..., Path]

FRAME = 400 * 300 * 3 // 2 + 6

SHORT = f"""
data = b""
while block := os.read(0, 65536): data += block
sys.exit(subprocess.run([REAL, *argv], input=data[: data.index(b"FRAME") + 6 * {FRAME}], close_fds=False).returncode)
"""
"""An encoder that loses the last frames and is content."""


@pytest.mark.usefixtures("sound_read_twice")
@pytest.mark.parametrize(
    ("role", "nth", "behaviour", "code", "text"),
    [
        pytest.param(
            "decode", 2, f"pass_on({4 * FRAME})\nsys.exit(3)", "decode.failed", "exit code 3", id="decoder exits 3"
        ),
        pytest.param(
            "decode",
            2,
            f"pass_on({4 * FRAME})\nos.kill(os.getpid(), 9)",
            "decode.failed",
            "killed by SIGKILL",
            id="decoder killed",
        ),
        pytest.param("decode", 2, f"pass_on({4 * FRAME})", "input.truncated", "of 10 frames", id="decoder short, rc 0"),
        pytest.param(
            "decode", 2, f"pass_on({4 * FRAME} + 777)", "input.truncated", "of 10 frames", id="half a frame, rc 0"
        ),
        pytest.param("decode", 2, "pass", "input.truncated", "0 of 10 frames", id="no frame, rc 0"),
        pytest.param(
            "decode", 1, f"pass_on({4 * FRAME})", "input.truncated", "of 10 frames", id="short while analysing"
        ),
        pytest.param("listen", 1, "pass_on(4000)", "input.truncated", "of sound", id="sound short, rc 0"),
        pytest.param(
            "encode",
            1,
            f"take({2 * FRAME})\nos.write(2, b'[error] cannot\\n')\nsys.exit(1)",
            "encode.failed",
            "cannot",
            id="encoder exits 1",
        ),
        pytest.param("encode", 1, f"take({2 * FRAME})", "encode.failed", "exit code 0", id="encoder exits 0 early"),
        pytest.param(
            "encode", 1, f"take({2 * FRAME})\nos.kill(os.getpid(), 9)", "encode.failed", "SIGKILL", id="encoder killed"
        ),
        pytest.param(
            "encode",
            1,
            "take()\nos.write(2, b'[error] moov\\n')\nsys.exit(1)",
            "encode.failed",
            "moov",
            id="rc 1 at the end",
        ),
        pytest.param("encode", 1, "take()", "output.mismatch", "", id="encoder writes nothing, rc 0"),
        pytest.param("encode", 1, SHORT, "output.mismatch", "6 of 10 frames", id="encoder loses frames, rc 0"),
        pytest.param(
            "encode",
            1,
            "take()\nos.write(2, b'[error] x: No space left on device\\n')\nsys.exit(228)",
            "output.disk_full",
            "",
            id="disk full",
        ),
    ],
)
def test_a_child_that_fails(
    fake_ffmpeg: Fake,
    render: Render,
    out: Path,
    content: Callable[[], list[str]],
    role: str,
    nth: int,
    behaviour: str,
    code: str,
    text: str,
) -> None:
    (out / "out.mp4").write_bytes(b"the old video")
    fake_ffmpeg(role, behaviour, nth)
    run = render()
    assert run.result.status == "failed"
    assert run.result.error.code == code, run.result.error
    assert text in run.result.error.message
    assert run.result.error.hint
    assert run.result.output is None
    assert content() == ["out.mp4", "out.mp4.json"]
    assert (out / "out.mp4").read_bytes() == b"the old video"


class Binding:
    """What a session is bound to."""

    def __init__(self) -> None:
        self.inputs: dict[str, Any] = {}
        self.outputs: dict[str, int] = {}

    def bind_cpu_input(self, name: str, values: Any) -> None:
        self.inputs[name] = values

    def bind_output(self, name: str, *place: Any) -> None:
        self.outputs[name] = place[-1]

    def synchronize_outputs(self) -> None:
        """Nothing runs meanwhile."""


class Session:
    """A network's session that fails, or answers nonsense, in its `at`-th call."""

    def __init__(self, real: Any, at: int, do: Callable[[list[Any]], list[Any]]) -> None:
        self._real, self._left, self._do = real, at, do

    def run(self, *args: Any) -> list[Any]:
        answer: list[Any] = self._real.run(*args)
        self._left -= 1
        return self._do(answer) if self._left == 0 else answer

    def io_binding(self) -> Binding:
        return Binding()

    def run_with_iobinding(self, binding: Binding) -> None:
        for place, values in zip(
            binding.outputs.values(), self.run(list(binding.outputs), binding.inputs), strict=True
        ):
            ctypes.memmove(place, np.ascontiguousarray(values).ctypes.data, values.nbytes)

    def get_providers(self) -> list[str]:
        providers: list[str] = self._real.get_providers()
        return providers


def raising(error: Exception) -> Callable[[list[Any]], list[Any]]:
    def do(_: list[Any]) -> list[Any]:
        raise error

    return do


@pytest.mark.parametrize(
    ("do", "code", "text"),
    [
        (raising(ValueError("shape mismatch")), "model.failed", "shape mismatch"),
        (raising(queue.Empty()), "model.failed", "Empty"),
        (raising(MemoryError()), "device.out_of_memory", "MemoryError"),
        (raising(RuntimeError("CUDA failure 700: an illegal memory access")), "device.lost", "700"),
        (lambda answer: [np.full_like(a, math.nan) for a in answer], "model.bad_output", "NaN"),
        (lambda answer: [np.full_like(a, 0.5) for a in answer], "model.bad_output", "same value everywhere"),
    ],
    ids=["ValueError", "queue.Empty", "MemoryError", "device lost", "NaN", "constant"],
)
@pytest.mark.parametrize("call", [1, 2], ids=["first batch", "second batch"])
def test_a_network_that_fails(
    render: Render,
    dh_base: DhBase,
    monkeypatch: pytest.MonkeyPatch,
    out: Path,
    content: Callable[[], list[str]],
    do: Callable[[list[Any]], list[Any]],
    code: str,
    text: str,
    call: int,
) -> None:
    (out / "out.mp4").write_bytes(b"the old video")
    monkeypatch.setattr(dh_base._face, "_session", Session(dh_base._face._session, call, do))
    run = render()
    assert (run.result.status, run.result.error.code, run.result.error.stage) == ("failed", code, "speak")
    assert text in run.result.error.message
    assert run.result.frames.encoded <= run.result.frames.rendered <= 4 * (call - 1)
    assert content() == ["out.mp4", "out.mp4.json"]
    assert (out / "out.mp4").read_bytes() == b"the old video"


def test_the_encoder_of_a_failed_job_never_sees_the_end_of_its_input(
    fake_ffmpeg: Fake, render: Render, dh_base: DhBase, monkeypatch: pytest.MonkeyPatch, until: Any
) -> None:
    """At the end of its input ffmpeg would complete a short video, and say that all is well."""
    seen = "take(5)\nopen(MARK + '.now', 'w').close()\ntake()\nopen(MARK + '.end', 'w').close()"
    mark = fake_ffmpeg("encode", seen)

    def fail(_: list[Any]) -> list[Any]:
        assert until(Path(f"{mark}.now").exists)
        raise ValueError("shape mismatch")

    monkeypatch.setattr(dh_base._face, "_session", Session(dh_base._face._session, 2, fail))
    assert render().result.status == "failed"
    assert Path(f"{mark}.now").exists()
    assert not Path(f"{mark}.end").exists()


@pytest.mark.parametrize("where", ["speak", "blend", "encode", "decode"])
def test_what_nobody_foresaw_is_told_with_its_place(
    render: Render, monkeypatch: pytest.MonkeyPatch, content: Callable[[], list[str]], where: str
) -> None:
    """An exception without a text, in any thread, is a reason and never an empty one."""

    def boom(*_: Any, **__: Any) -> Any:
        raise queue.Empty

    target = {
        "speak": "dhcli.families.dh_base.family.DhBase.speak",
        "blend": "dhcli.families.dh_base.blend.FlowPatch.paste",
        "encode": "dhcli.media.writer.VideoWriter.write",
        "decode": "dhcli.render.pipeline.play",
    }[where]
    monkeypatch.setattr(target, boom)
    run = render()
    assert run.result.error.code == "internal.bug"
    assert run.result.error.message.startswith("Empty (no text) in boom")
    assert run.result.error.stage == (where if where in {"encode", "decode"} else "speak")
    assert run.result.error.traceback
    assert run.summary.exit_code == 70
    assert content() == ["out.mp4.json"]


def test_an_input_that_changes_meanwhile(
    fake_ffmpeg: Fake, render: Render, words: Path, tmp_path: Path, content: Callable[[], list[str]]
) -> None:
    copy = tmp_path / "copy.wav"
    copy.write_bytes(words.read_bytes())
    fake_ffmpeg("verify", f"open({str(copy)!r}, 'ab').write(b'more')\nreal()")
    run = render(audio=copy)
    assert run.result.error.code == "input.changed"
    assert content() == ["out.mp4.json"]


@pytest.mark.parametrize(("role", "nth"), [("scan", 1), ("listen", 1), ("decode", 1), ("decode", 2)])
def test_a_changed_input_is_not_blamed_for_its_damage(
    fake_ffmpeg: Fake, render: Render, clip: Path, words: Path, tmp_path: Path, role: str, nth: int
) -> None:
    """The copy still goes on: what was read of it is damaged, and next time it may be whole."""
    video, audio = tmp_path / "copy.mp4", tmp_path / "copy.wav"
    video.write_bytes(clip.read_bytes())
    audio.write_bytes(words.read_bytes())
    changed = audio if role == "listen" else video
    fake_ffmpeg(role, f"open({str(changed)!r}, 'ab').write(b'more')\nsys.exit(1)", nth)
    run = render(audio=audio, video=video)
    assert run.result.error.code == "input.changed"
    assert changed.name in run.result.error.message
    assert run.summary.exit_code == 75


def test_the_result_is_written_last(render: Render, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content to the disk, name to the disk, and only then the word `succeeded`."""
    order: list[str] = []
    names: dict[int, str] = {}
    real_open, real_fsync, real_replace = os.open, os.fsync, os.replace

    def spy_open(path: Any, *args: Any, **options: Any) -> int:
        fd = real_open(path, *args, **options)
        names[fd] = Path(os.fsdecode(path)).name
        return fd

    def spy_fsync(fd: int) -> None:
        order.append(f"fsync {names[fd]}")
        real_fsync(fd)

    def spy_replace(old: Any, new: Any, **folders: int) -> None:
        order.append(f"rename to {Path(new).name}")
        assert (out / "out.mp4").exists() == ("rename to out.mp4" in order[:-1])
        real_replace(old, new, **folders)

    monkeypatch.setattr(os, "open", spy_open)
    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    assert render().result.status == "succeeded"
    steps = [step for step in order if "mp4" in step or step == "fsync out"]
    video, result = steps.index("rename to out.mp4"), len(steps) - 1 - steps[::-1].index("rename to out.mp4.json")
    assert steps[video - 1].startswith("fsync .out.mp4.")
    assert steps[video + 1] == "fsync out"
    assert video < result
    assert steps[result - 1].startswith("fsync .out.mp4.json.")
    assert steps[result + 1] == "fsync out"
