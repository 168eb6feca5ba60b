from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dhcli.disk.lock import lock_path, output_lock
from dhcli.errors import DhError

HOLDER = """
import sys
from pathlib import Path
from dhcli.disk.lock import output_lock
with output_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


class _Holder:
    """Another process that holds the lock until it is told to go, or killed."""

    def __init__(self, save_path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(save_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"held\n"

    def end(self, sign: signal.Signals | None = None) -> None:
        if sign is not None:
            self.process.send_signal(sign)
        self.process.communicate()


@pytest.fixture
def save_path(tmp_path: Path) -> Path:
    return tmp_path / "hello.mp4"


def test_lock_leaves_nothing_behind(save_path: Path) -> None:
    with output_lock(save_path):
        assert len(list(save_path.parent.iterdir())) == 1
    assert list(save_path.parent.iterdir()) == []


def test_lock_is_freed_by_an_error(save_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), output_lock(save_path):
        raise ZeroDivisionError
    with output_lock(save_path):
        pass


def test_second_process_is_told_who_has_it(save_path: Path) -> None:
    holder = _Holder(save_path)
    with (
        pytest.raises(DhError, match=f"process {holder.process.pid} on {os.uname().nodename}") as caught,
        output_lock(save_path),
    ):
        pytest.fail("two writers")
    assert caught.value.code == "env.locked"
    assert caught.value.info.transient
    holder.end()
    assert list(save_path.parent.iterdir()) == []


def test_outputs_beside_each_other_do_not_meet(save_path: Path) -> None:
    with output_lock(save_path), output_lock(save_path.with_name("other.mp4")):
        pass


def test_same_output_by_another_way_is_the_same_lock(save_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    link = tmp_path_factory.mktemp("links") / "out"
    link.symlink_to(save_path.parent)
    with output_lock(save_path), pytest.raises(DhError), output_lock(link / save_path.name):
        pytest.fail("two writers")


def test_sigkill_frees_it(save_path: Path) -> None:
    _Holder(save_path).end(signal.SIGKILL)
    with output_lock(save_path):
        pass
    assert list(save_path.parent.iterdir()) == []


def test_child_does_not_inherit_it(save_path: Path) -> None:
    with output_lock(save_path):
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
    with output_lock(save_path):
        child.communicate()


def test_waiting_gets_it_when_the_holder_goes(save_path: Path) -> None:
    holder = _Holder(save_path)
    told: list[bool] = []

    def tell() -> None:  # called between two tries
        if not told:
            told.append(True)
            holder.end()

    with output_lock(save_path, wait_s=60, check=tell):
        assert told, "it was not to be had before"


def test_lock_file_that_its_holder_just_removed_is_no_lock(save_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The holder leaves between our opening of the file and our lock on it: that file is nobody's lock any more.
    real = fcntl.flock
    removed: list[Path] = []

    def flock(descriptor: int, operation: int) -> None:
        if not removed:
            (path,) = save_path.parent.iterdir()
            removed.append(path)
            path.unlink()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with output_lock(save_path):
        assert list(save_path.parent.iterdir()) == removed
        with pytest.raises(DhError), output_lock(save_path):
            pytest.fail("two writers")


def test_many_processes_never_hold_it_together(save_path: Path, tmp_path: Path) -> None:
    # Each adds one under the lock by reading and writing: a lost update means that two were inside.
    counter = tmp_path / "counter"
    counter.write_text("0")
    program = (
        "import sys; from pathlib import Path; from dhcli.disk.lock import output_lock\n"
        "for _ in range(40):\n"
        "    with output_lock(Path(sys.argv[1]), wait_s=60):\n"
        "        counter = Path(sys.argv[2]); counter.write_text(str(int(counter.read_text()) + 1))\n"
    )
    argv = [
        sys.executable,
        "-c",
        "import dhcli.disk.lock; dhcli.disk.lock.POLL_S = 0.001\n" + program,
        str(save_path),
        str(counter),
    ]
    processes = [subprocess.Popen(argv) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert counter.read_text() == "120"


@pytest.mark.parametrize("name", ["x" * 251 + ".mp4", "ü 😀\n%03d.mp4", "-y.mp4", os.fsdecode(b"\xff.mp4")])
def test_any_file_name_can_be_locked(tmp_path: Path, name: str) -> None:
    with output_lock(tmp_path / name):
        pass


def test_the_lock_of_another_user_is_respected_and_does_not_stay_for_ever(
    request: pytest.FixtureRequest, open_folder: Path
) -> None:
    """In a folder like /tmp, where everybody may make files and nobody may touch those of others."""
    if os.geteuid() != 0:
        pytest.skip("it takes two users")
    open_folder.chmod(0o1777)
    save_path = open_folder / "out.mp4"
    with output_lock(save_path):
        request.getfixturevalue("nobody")
        with pytest.raises(DhError) as caught, output_lock(save_path):
            pass
        assert caught.value.code == "env.locked"
        assert f"process {os.getpid()}" in caught.value.message
        os.seteuid(0)
    lock_path(save_path).write_text('{"pid": 1, "host": "left by somebody who was killed"}')
    os.seteuid(65534)
    with output_lock(save_path):
        os.seteuid(0)
        with pytest.raises(DhError), output_lock(save_path):
            pass


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DhError, match=r"does not exist: .*/no") as caught, output_lock(tmp_path / "no" / "x.mp4"):
        pytest.fail("locked in no folder")
    assert caught.value.code == "output.not_writable"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOLCK, "output.not_writable"),
        (errno.EIO, "output.not_writable"),
        (errno.ENOSPC, "output.disk_full"),
    ],
)
def test_file_system_without_locks(save_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(DhError, match=os.strerror(number)) as caught, output_lock(save_path):
        pytest.fail("locked without a lock")
    assert caught.value.code == code
    assert list(save_path.parent.iterdir()) == []
