"""Machines that are short of something or set up oddly: the right code, the right file, nothing left behind."""

from __future__ import annotations

import datetime as dt
import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from called import may_run
from dhcli.errors import DhError
from dhcli.events import JobStarted
from dhcli.families.dh_base.family import DhBase

pytestmark = pytest.mark.slow

Start = Callable[..., subprocess.Popen[str]]
Render = Callable[..., Any]
Fake = Callable[..., Path]

LIMIT_S = 60.0


def ended(process: subprocess.Popen[str]) -> str:
    """What it said on stderr, which was no traceback."""
    _, stderr = process.communicate(timeout=LIMIT_S)
    assert "Traceback" not in stderr
    return stderr


@pytest.mark.parametrize(
    "behaviour",
    [
        "os.write(2, b\"Unrecognized option 'max_error_rate'.\\nError splitting: Option not found\\n\")\nsys.exit(1)",
        "os.write(2, b'ffmpeg: error while loading shared libraries: libavdevice.so.61\\n')\nsys.exit(127)",
    ],
    ids=["version 3.0", "libraries of another version"],
)
@pytest.mark.parametrize("role", ["list", "encode"])
def test_an_ffmpeg_that_is_unfit(
    fake_ffmpeg: Fake, render: Render, content: Callable[[], list[str]], role: str, behaviour: str
) -> None:
    """Told by what it cannot do, at its first call or at a later one; versions that vendors invent tell nothing."""
    fake_ffmpeg(role, behaviour, 0)
    run = render(copies=2)
    assert (run.result.error.code, run.summary.exit_code) == ("env.ffmpeg_unusable", 69)
    assert run.result.error.stderr_tail
    assert run.summary.not_started == 1
    assert content() == ["out.mp4.json"]


@pytest.mark.parametrize("files", [8, 12, 22, 63])
def test_too_few_open_files(dh: Start, content: Callable[[], list[str]], files: int) -> None:
    """Told before anything is rendered; 8 are too few even to load dh."""
    process = dh(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)))
    stderr = ended(process)
    assert process.returncode == 69, stderr
    assert stderr.splitlines()[-1] == "dh: nothing was done: 1 problem [env.limits]"
    assert "ulimit -n" in stderr
    assert content() == []


def test_open_files_that_run_out(dh: Start, stored: Callable[[], Any], content: Callable[[], list[str]]) -> None:
    """The limit is high enough, but somebody else in this process has taken most of it."""
    taken = "import os\ntaken = [os.open('/dev/null', os.O_RDONLY) for _ in range(64 - 21)]\n"
    process = dh(program=taken, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
    stderr = ended(process)
    assert process.returncode == 69, stderr
    assert stored()["error"]["code"] == "env.limits"
    assert content() == ["out.mp4.json"]


Limit = Callable[..., list[str]]


@pytest.fixture
def no_thread(monkeypatch: pytest.MonkeyPatch) -> Limit:
    """At a limit of processes (ulimit -u, pids.max), which a superuser does not have: the one that runs this test."""

    def set_limit(name: str, spared: int = 0) -> list[str]:
        start, asked = threading.Thread.start, []

        def limited(thread: threading.Thread) -> None:
            asked.extend([name] if thread.name == name else [])
            if thread.name == name and len(asked) > spared:
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", limited)
        return asked

    return set_limit


def test_no_thread_is_left_for_the_watch_over_a_run(
    render: Render, content: Callable[[], list[str]], no_thread: Limit
) -> None:
    no_thread("watchdog")
    with pytest.raises(DhError) as caught:
        render()
    assert (caught.value.code, caught.value.info.exit_code) == ("env.limits", 69)
    assert content() == []


@pytest.mark.parametrize("name", ["watchdog", "decode", "encode", "analyse-stderr", "encode-stderr"])
def test_a_thread_that_cannot_be_started(
    render: Render, content: Callable[[], list[str]], no_thread: Limit, name: str
) -> None:
    asked = no_thread(name, spared=1 if name == "watchdog" else 0)
    run = render(copies=2)
    assert asked
    assert (run.result.error.code, run.summary.exit_code) == ("env.limits", 69)
    assert run.summary.not_started == 1
    assert content() == ["out.mp4.json"]


@pytest.mark.parametrize("at", [1, 2, 7])
def test_a_process_that_cannot_be_started(
    render: Render, content: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """The same limit, when it is ffmpeg's turn or that of its guard."""
    popen, left = subprocess.Popen, [at]

    def limited(*args: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return popen(*args, **options)

    monkeypatch.setattr(subprocess, "Popen", limited)
    run = render()
    assert (run.result.error.code, run.summary.exit_code) == ("env.limits", 69)
    assert content() == ["out.mp4.json"]


SHORT_OF_MEMORY = """
import resource
import numpy as np
from dhcli.families.dh_base.blend import FlowPatch
def paste(*args):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    limit = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (8 << 20), limit[1]))
    try:
        return np.zeros(1 << 28)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)
FlowPatch.paste = paste
"""


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")
def test_too_little_memory_for_a_picture(
    dh: Start, stored: Callable[[], Any], content: Callable[[], list[str]]
) -> None:
    process = dh(program=SHORT_OF_MEMORY)
    ended(process)
    assert process.returncode == 75
    assert stored()["error"]["code"] == "job.out_of_memory"
    assert "2.00 GiB" in stored()["error"]["message"]
    assert content() == ["out.mp4.json"]


def test_a_lost_device_ends_the_run(
    render: Render, dh_base: DhBase, monkeypatch: pytest.MonkeyPatch, content: Callable[[], list[str]]
) -> None:
    """Its context is poisoned: the next job in this process would fail as well, the next process may not."""

    def lost(*_: Any) -> Any:
        raise DhError("device.lost", "CUDA failure 700: an illegal memory access was encountered")

    monkeypatch.setattr(type(dh_base), "speak", lost)
    run = render(copies=3)
    assert (run.summary.failed, run.summary.not_started, run.summary.exit_code) == (1, 2, 75)
    assert len([event for event in run.events if isinstance(event, JobStarted)]) == 1
    assert run.result.error.code == "device.lost"
    assert content() == ["out.mp4.json"]


@pytest.mark.parametrize("lacking", ["gpu", "ffmpeg"])
def test_what_the_machine_lacks_is_not_written_into_a_result(
    dh: Start,
    stored: Callable[[], Any],
    content: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    lacking: str,
) -> None:
    first = dh()
    assert "FAILED" not in ended(first)
    before = stored()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    if lacking == "ffmpeg":
        monkeypatch.setenv("DH_FFMPEG", "/nowhere/ffmpeg")
    process = dh("--device", "cuda" if lacking == "gpu" else "cpu", "--force")
    said = ended(process)
    assert process.returncode == 69
    assert "env.device_unavailable" in said or "env.ffmpeg_missing" in said
    assert "All that is known" not in said
    assert (stored(), content()) == (before, ["out.mp4", "out.mp4.json"])


def test_no_home_and_no_folder_for_temporary_files(
    dh: Start, stored: Callable[[], Any], content: Callable[[], list[str]], tmp_path: Path
) -> None:
    """As cron, systemd and containers start it: hardly an environment, and what there is leads nowhere."""
    nowhere = tmp_path / "nowhere"
    under = ("env", "-i", "PATH=/usr/bin:/bin", f"HOME={nowhere}", f"TMPDIR={nowhere}", "LC_ALL=C")
    process = dh(under=under)
    stderr = ended(process)
    assert process.returncode == 0, stderr
    assert stored()["status"] == "succeeded"
    assert content() == ["out.mp4", "out.mp4.json"]


def test_a_home_that_is_read_only(dh: Start, stored: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DH_CACHE_DIR")
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "/proc/self")
    process = dh()
    assert "OSError" not in ended(process)
    assert process.returncode == 0
    assert stored()["status"] == "succeeded"


def test_umask_and_a_group_that_folders_pass_on(render: Render, out: Path) -> None:
    """Who may read the folder may read what is put there, like any other file; not only its owner, as with mkstemp."""
    group = next((number for number in os.getgroups() if number != os.getgid()), None)
    if os.geteuid() == 0:
        group = 12345
    if group is not None:
        os.chown(out, -1, group)
    out.chmod(0o2770)
    before = os.umask(0o027)
    try:
        run = render()
    finally:
        os.umask(before)
    assert run.result.status == "succeeded"
    for path in out.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o640, path.name
        assert path.stat().st_gid == out.stat().st_gid, path.name


def test_a_rename_never_crosses_file_systems(render: Render, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part lies in the folder of its output, whatever TMPDIR says; a system that refuses all the same is told of."""
    replace = os.replace

    def crossing(old: Any, new: Any, **folders: int) -> None:
        if Path(new).name == "out.mp4":
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        assert folders["src_dir_fd"] == folders["dst_dir_fd"]
        assert Path(old).name == os.fspath(old)
        replace(old, new, **folders)

    (out / "out.mp4").write_bytes(b"the old video")
    monkeypatch.setattr(os, "replace", crossing)
    run = render()
    assert run.result.error.code == "output.not_writable"
    assert (out / "out.mp4").read_bytes() == b"the old video"
    assert sorted(path.name for path in out.iterdir()) == ["out.mp4", "out.mp4.json"]


def test_a_clock_that_jumps(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    """Back by decades in the middle of a job: stamps are what the clock says, durations are not taken from it."""
    early, real, began = dt.datetime(2001, 1, 1, tzinfo=dt.UTC), time.time, time.monotonic()
    monkeypatch.setattr(time, "time", lambda: early.timestamp() if time.monotonic() - began > 0.3 else real())
    monkeypatch.setattr("dhcli.runs.attempt_record.now", lambda: early)
    run = render()
    assert run.result.status == "succeeded"
    assert run.result.finished_at == early < run.result.started_at
    assert 0 < run.result.timings_s.wall < LIMIT_S
    assert all(spent >= 0 for spent in run.result.timings_s.stages.values())


def test_a_parent_that_ignores_the_end_of_children(dh: Start, stored: Callable[[], Any]) -> None:
    """It is inherited, and the kernel would then keep their exit codes to itself."""
    process = dh(preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    stderr = ended(process)
    assert process.returncode == 0, stderr
    assert stored()["status"] == "succeeded"


def test_a_sandbox_that_forbids_limits(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    """ffmpeg's own options and the watchdog remain."""
    asked = []

    def forbidden(*_: Any) -> None:
        asked.append(True)
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(resource, "prlimit", forbidden)
    assert render().result.status == "succeeded"
    assert asked


def test_a_system_without_a_shell(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("dhcli.runtime.child", "dhcli.media.ffmpeg_program"):
        monkeypatch.setattr(f"{module}.GUARD", ("/nowhere/sh", "-c", "true"))
    error = render().result.error
    assert error.code == "env.ffmpeg_unusable"
    assert "there is no /nowhere/sh" in error.message


NO_PROC = (
    "unshare",
    "--user",
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    'mount -t tmpfs none /proc && exec "$@"',
    "sh",
)
"""A mount namespace in which /proc is empty, as in a chroot where nobody has mounted it."""
PROC = pytest.mark.skipif(not may_run(*NO_PROC, "true"), reason="no mount namespace can be made here")


@PROC
@pytest.mark.parametrize("flags", [(), ("--root", "/")], ids=["", "root"])
def test_a_system_without_proc(dh: Start, content: Callable[[], list[str]], flags: tuple[str, ...]) -> None:
    """Files reach ffmpeg by it: that is said, instead of something about a good file."""
    process = dh(*flags, under=NO_PROC)
    stderr = ended(process)
    assert process.returncode == 69, stderr
    assert stderr.splitlines()[-1] == "dh: nothing was done: 1 problem [env.no_proc]"
    assert "mount -t proc" in stderr
    assert content() == []


def _examine(*under: str, **options: Any) -> subprocess.CompletedProcess[str]:
    argv = [*under, sys.executable, "-m", "dhcli", "doctor", "--device", "cpu"]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=LIMIT_S, **options)


@PROC
def test_doctor_without_proc() -> None:
    done = _examine(*NO_PROC)
    assert done.returncode == 69
    assert "FAIL /proc: env.no_proc" in done.stdout
    assert "all is well" not in done.stderr


STRANGER = 50_000 + os.getpid() % 10_000
"""A user id that nobody has, and so no processes; another one in each test run. Limits do not hold for root."""
READ_ALL = "-all,+dac_override,+dac_read_search"
AS_STRANGER = (
    *("setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups", f"--bounding-set={READ_ALL}"),
    *(f"--inh-caps={READ_ALL}", f"--ambient-caps={READ_ALL}"),
)
"""Who may read what belongs to others, as the folder of a test, and may not exceed limits."""


LIMITED = pytest.mark.skipif(not may_run(*AS_STRANGER, "true"), reason="only root can become another user")


@LIMITED
@pytest.mark.parametrize("processes", [1, 4, 6, 8, 11, 15])
def test_too_few_processes(dh: Start, content: Callable[[], list[str]], processes: int) -> None:
    """`ulimit -u`: whether dh gets no thread, ffmpeg or its guard are not started, or ffmpeg gets no thread."""
    process = dh("--no-cache", under=(*AS_STRANGER, "prlimit", f"--nproc={processes}"))
    stderr = ended(process)
    assert process.returncode == 69, stderr
    assert "[env.limits]" in stderr
    assert "ulimit" in stderr
    assert "out.mp4" not in content()


@LIMITED
@pytest.mark.parametrize("here_as_well", [True, False])
def test_an_encoder_without_threads(
    render: Render, fake_ffmpeg: Fake, no_thread: Limit, content: Callable[[], list[str]], here_as_well: bool
) -> None:
    """libx264 says only that it could not be opened. The machine is to blame where it gives dh no threads either."""
    limited = [*AS_STRANGER, "prlimit", "--nproc=1"]
    fake_ffmpeg("encode", f"os.execvp({limited[0]!r}, [*{limited!r}, REAL, *argv])")
    if here_as_well:
        no_thread("trial", spared=3)
    error = render().result.error
    assert error.code == ("env.limits" if here_as_well else "encode.failed")
    assert error.stderr_tail
    assert content() == ["out.mp4.json"]


def test_an_ffmpeg_that_claims_a_shortage_is_not_believed(fake_ffmpeg: Fake, render: Render) -> None:
    """A damaged file can make it say so; the run goes on, since this process gets its threads."""
    fake_ffmpeg(
        "decode", "os.write(2, b'[error] pthread_create() failed: Resource temporarily unavailable\\n')\nsys.exit(1)", 2
    )
    run = render(copies=2)
    assert run.result.error.code == "decode.failed"
    assert run.summary.succeeded == 1


@LIMITED
@pytest.mark.parametrize("processes", [1, 6])
def test_doctor_with_too_few_processes(processes: int) -> None:
    done = _examine(*AS_STRANGER, "prlimit", f"--nproc={processes}")
    assert done.returncode == 69
    assert "FAIL threads: env.limits" in done.stdout
    assert "ffmpeg_missing" not in done.stdout
