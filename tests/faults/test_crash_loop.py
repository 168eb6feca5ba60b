"""SIGKILL at any moment leaves nothing, or a complete pair of video and result; the next run cleans up and finishes."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dhcli.results.result import read_result

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("DH_TEST_KILLS", "8"))
"""A longer loop is asked for by the variable: DH_TEST_KILLS=100 takes about 3 minutes."""
SEED = 20
EVENTS = 9
"""Lines of `--json` up to and with job_finished, at least; one more stands for a moment after the end."""
MAX_DELAY_S = 0.1
"""After such a line, so that every moment between two of them is met; a stage of this job takes about that."""


@pytest.fixture(scope="module")
def reference() -> dict[str, str]:
    """What the first, undisturbed run found out: the hash of its video."""
    return {}


@pytest.mark.parametrize("number", range(KILLS))
def test_kill_at_a_random_moment(
    dh: Callable[..., subprocess.Popen[str]],
    render: Callable[..., Any],
    reference: dict[str, str],
    out: Path,
    content: Callable[[], list[str]],
    sha256: Callable[[Path], str],
    number: int,
) -> None:
    """Random moments are counted in what the run says, not in seconds: so they are where the work is, however slow."""
    if not reference:
        assert dh().wait(60) == 0
        reference["sha256"] = sha256(out / "out.mp4")
        for path in out.iterdir():
            path.unlink()
    dice = random.Random(SEED * 1000 + number)  # noqa: S311 - a moment, no secret
    process = dh("--json")
    assert process.stdout is not None
    seen = [json.loads(line)["event"] for line in itertools.islice(process.stdout, dice.randint(1, EVENTS + 1))]
    time.sleep(dice.random() * MAX_DELAY_S)
    process.kill()
    process.wait(60)
    left = check_pair(out, reference["sha256"], sha256)
    assert left == "succeeded" or "job_finished" not in seen, "who says so has it on the disk"
    run = render(if_exists="skip")
    assert run.summary.exit_code == 0
    assert content() == ["out.mp4", "out.mp4.json"], "the leftovers of the killed run are gone"
    assert sha256(out / "out.mp4") == run.result.output.sha256 == reference["sha256"]


KILL_ON = """
import os, signal
from dhcli.command.console import JsonLines
real = JsonLines.__call__
def killer(self, event):
    real(self, event)
    if {moment!r} in (event.name, getattr(event, "stage", None)):
        os.kill(os.getpid(), signal.SIGKILL)
JsonLines.__call__ = killer
"""


@pytest.mark.parametrize(
    ("moment", "status"),
    [
        ("job_decided", None),
        ("probe", "running"),
        ("analyse", "running"),
        ("render", "running"),
        ("verify", "running"),
        ("job_finished", "succeeded"),
    ],
)
def test_kill_at_a_chosen_moment(
    dh: Callable[..., subprocess.Popen[str]],
    out: Path,
    content: Callable[[], list[str]],
    sha256: Callable[[Path], str],
    moment: str,
    status: str | None,
) -> None:
    """Random moments prove that nothing else is left; these, that each of the three things that may be left is."""
    old = b"the old video"
    (out / "out.mp4").write_bytes(old)
    assert dh("--json", "--force", program=KILL_ON.format(moment=moment)).wait(60) == -9
    whole = sha256(out / "out.mp4") if status == "succeeded" else ""
    if status != "succeeded":
        assert (out / "out.mp4").read_bytes() == old
        (out / "out.mp4").unlink()
    assert check_pair(out, whole, sha256) == status
    assert any(name.endswith(".dh-part") for name in content()) == (status == "running")


def check_pair(out: Path, whole: str, sha256: Callable[[Path], str]) -> str | None:
    """A video is whole or absent, and who says that it succeeded can prove it. The status that is told."""
    video, result = out / "out.mp4", read_result(out / "out.mp4.json")
    if video.exists():
        assert sha256(video) == whole
    if result is not None and result.status == "succeeded":
        assert result.output is not None
        assert sha256(video) == result.output.sha256
    elif result is not None:
        assert result.status == "running"
    return result.status if result is not None else None


KILL_AT = """
import os, signal, types
import dhcli.disk.part as part
real, count = {owner}.{call}, 0
def killer(*args, **options):
    global count
    count += 1
    {before}
    answer = real(*args, **options)
    {after}
    return answer
part.os = types.SimpleNamespace(**vars(os))  # what caches do with their files does not count
{owner}.{call} = killer
"""
KILL = "if count == {at}: os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.parametrize(
    ("call", "at", "when", "status", "new"),
    [
        ("replace", 1, "before", None, False),
        ("replace", 1, "after", "running", False),
        ("fsync", 2, "after", "running", False),  # the folder of `running`
        ("fsync", 3, "before", "running", False),  # the video
        ("replace", 2, "before", "running", False),  # `running` with the video's hash
        ("replace", 2, "after", "running", False),
        ("rename_new", 1, "before", "running", False),
        ("rename_new", 1, "after", "running", True),
        ("fsync", 7, "before", "running", True),  # the folder of the video
        ("replace", 3, "before", "running", True),
        ("replace", 3, "after", "succeeded", True),
        ("fsync", 9, "after", "succeeded", True),  # the folder of the result
    ],
)
def test_kill_around_every_step_of_the_commit(
    dh: Callable[..., subprocess.Popen[str]],
    render: Callable[..., Any],
    out: Path,
    content: Callable[[], list[str]],
    call: str,
    at: int,
    when: str,
    status: str | None,
    new: bool,
) -> None:
    """`running` is renamed first, then the video, then `succeeded`; each is flushed with its folder."""
    steps = {"before": "pass", "after": "pass"} | {when: KILL.format(at=at)}
    owner = "part.rename" if call == "rename_new" else "part.os"
    process = dh(program=KILL_AT.format(owner=owner, call=call, **steps))
    said = process.communicate(timeout=60)
    assert process.returncode == -9, said
    result = read_result(out / "out.mp4.json")
    assert (result.status if result is not None else None) == status
    assert (out / "out.mp4").exists() == new
    run = render(if_exists="skip")
    assert run.summary.exit_code == 0
    assert run.result.status == "succeeded"
    assert json.loads((out / "out.mp4.json").read_bytes())["output"]["bytes"] == (out / "out.mp4").stat().st_size
    assert content() == ["out.mp4", "out.mp4.json"]
