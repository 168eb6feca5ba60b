"""The store of what can be worked out again: whole or absent, within its limit, shared by processes."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dhcli.disk import store
from dhcli.disk.folder import CacheFolder
from dhcli.disk.sections import DISK_BLOCK_BYTES
from dhcli.disk.store import Store, key_of

KEY, OTHER = key_of({"content": 1}), key_of({"content": 2})
HEAD, BODY = b"what it is", b"0123456789" * 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def read(kept: Store, key: str = KEY) -> tuple[bytes, bytes] | None:
    entry = kept.get("track", key)
    if entry is None:
        return None
    with entry:
        return entry.head, entry.body()


def path_of(folder: Path, key: str = KEY) -> Path:
    return folder / "store" / "track" / key


def filled(folder: Path) -> Store:
    kept = Store(folder)
    kept.put("track", KEY, HEAD, lambda: [BODY[:700], BODY[700:]])
    assert kept.take_trouble() is None
    return kept


def test_what_was_put_is_found_by_another_process(folder: Path) -> None:
    filled(folder)
    assert read(Store(folder)) == (HEAD, BODY)
    assert read(Store(folder), OTHER) is None
    assert Store(folder).get("probe", KEY) is None


def test_only_the_owner_may_look(folder: Path) -> None:
    umask = os.umask(0)
    try:
        filled(folder)
    finally:
        os.umask(umask)
    entry = path_of(folder)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (entry, entry.parent, entry.parent.parent, folder)]
    assert modes == [0o600, 0o700, 0o700, 0o700]


def test_every_ingredient_makes_another_key() -> None:
    assert key_of({"a": 1, "b": "x"}) == key_of({"b": "x", "a": 1})
    assert len({key_of(one) for one in ({"a": 1}, {"a": 2}, {"b": 1}, {"a": "1"}, {"a": 1, "b": None})}) == 5


@pytest.mark.parametrize("at", [0, 10, 45, 74, 80, 500, -1])
def test_one_changed_bit_is_found(folder: Path, at: int) -> None:
    kept = filled(folder)
    content = bytearray(path_of(folder).read_bytes())
    content[at] ^= 1
    path_of(folder).write_bytes(content)
    assert read(kept) is None
    kept.put("track", KEY, HEAD, lambda: [BODY])
    assert read(kept) == (HEAD, BODY), "a damaged entry is replaced"


@pytest.mark.parametrize("left", [0, 5, 40, 71, 75, 76, 80, 4000])
def test_an_entry_that_was_cut_is_none(folder: Path, left: int) -> None:
    kept = filled(folder)
    os.truncate(path_of(folder), left)
    assert read(kept) is None


@pytest.mark.parametrize("what", ["other key", "longer", "text", "folder", "link", "pipe"])
def test_what_somebody_else_put_there_is_no_entry(folder: Path, what: str, tmp_path: Path) -> None:
    kept = filled(folder)
    path = path_of(folder)
    match what:
        case "other key":
            shutil.move(path, path_of(folder, OTHER))
            path = path_of(folder, OTHER)
        case "longer":
            with path.open("ab") as file:
                file.write(b"\0")
        case "text":
            path.write_text("hello")
        case "folder":
            path.unlink()
            path.mkdir()
        case "link":
            shutil.move(path, tmp_path / "elsewhere")
            path.symlink_to(tmp_path / "elsewhere")
        case "pipe":
            path.unlink()
            os.mkfifo(path)
    assert read(kept, path.name) is None


def used(path: Path, when_s: int) -> None:
    os.utime(path, (when_s, when_s))


def test_what_was_used_longest_ago_leaves(folder: Path) -> None:
    room = 4 * DISK_BLOCK_BYTES
    keys = [key_of({"number": number}) for number in range(5)]
    for number, key in enumerate(keys[:4]):
        Store(folder, room).put("track", key, b"", lambda: [b"x"])
        used(path_of(folder, key), 1000 + number)
    assert read(Store(folder, room), keys[0]) is not None, "which makes it the last one used"
    Store(folder, room).put("track", keys[4], b"", lambda: [b"x"])
    assert [path_of(folder, key).exists() for key in keys] == [True, False, True, True, True]


def test_a_long_run_stays_within_the_limit(folder: Path) -> None:
    kept = Store(folder, 8 * DISK_BLOCK_BYTES)
    for number in range(40):
        kept.put("track" if number % 2 else "probe", key_of({"number": number}), b"", lambda: [bytes(5000)])
        assert sum(share.bytes for share in CacheFolder(folder).shares().values()) <= 8 * DISK_BLOCK_BYTES
    assert sum(share.entries for share in CacheFolder(folder).shares().values()) == 4, "as many as there is room for"


def test_what_is_larger_than_the_limit_does_not_drive_out_the_rest(folder: Path) -> None:
    filled(folder)
    small = Store(folder, 20_000)
    small.put("track", OTHER, b"", lambda: [bytes(15_000), bytes(15_000)])
    assert not path_of(folder, OTHER).exists()
    assert read(small) == (HEAD, BODY)
    trouble = small.take_trouble() or ""
    assert str(folder / "store" / "track") in trouble
    assert "limit of 20000 bytes" in trouble
    assert [path.name for path in path_of(folder).parent.iterdir()] == [KEY]


def test_a_reader_writes_nothing(folder: Path) -> None:
    kept = filled(folder)
    used(path_of(folder), 1000)
    reader = kept.reader()
    assert read(reader) == (HEAD, BODY)
    reader.put("track", OTHER, HEAD)
    assert path_of(folder).stat().st_mtime == 1000
    assert not path_of(folder, OTHER).exists()
    assert reader.take_trouble() is None


def test_without_a_folder_there_is_nothing_and_that_is_said_once() -> None:
    none = Store(None)
    for _ in range(2):
        none.put("track", KEY, HEAD)
    assert (CacheFolder(None).shares(), CacheFolder(None).clear().entries) == ({}, 0)
    assert "no home" in (none.take_trouble() or "")
    assert none.take_trouble() is None


@pytest.mark.parametrize("where", [None, "/proc/dh"])
def test_the_last_entry_that_finds_no_place_is_kept_in_memory(where: str | None) -> None:
    """A night of speeches over one video analyses it once, also in a container without a home."""
    kept = Store(Path(where) if where is not None else None)
    for key in (KEY, OTHER):
        kept.put("track", key, HEAD, lambda: [BODY])
        assert read(kept, key) == (HEAD, BODY)
    assert read(kept, KEY) is None, "only the last one"
    kept.put("probe", KEY, b"", list)
    assert read(kept, OTHER) == (HEAD, BODY), "of its kind"
    kept.put("track", KEY, HEAD, lambda: [bytes(1 << 20)] * 17)
    assert read(kept, KEY) is None
    assert read(kept.reader(), OTHER) is None


@pytest.mark.slow
def test_several_processes_over_one_folder_stay_near_the_limit(folder: Path) -> None:
    limit = 64 * 4096
    stores = [Store(folder, limit) for _ in range(4)]
    most = 0
    for number in range(200):
        stores[number % 4].put("track", key_of({"number": number}), HEAD, lambda: [bytes(3000)])
        most = max(most, sum(share.bytes for share in CacheFolder(folder).shares().values()))
    assert limit / 2 < most <= limit * 1.25


def test_who_wants_nothing_kept_is_told_nothing() -> None:
    none = Store(None, 0)
    none.put("track", KEY, HEAD)
    assert (read(none), none.take_trouble()) == (None, None)


@pytest.mark.usefixtures("nobody")
def test_a_folder_that_cannot_be_written_is_said_once() -> None:
    kept = Store(Path("/proc/1/dh"))
    for _ in range(2):
        kept.put("track", KEY, HEAD)
    assert "/proc/1/dh" in (kept.take_trouble() or "")
    kept.put("track", KEY, HEAD)
    assert kept.take_trouble() is None


def test_a_file_in_place_of_the_folder(folder: Path) -> None:
    folder.write_text("mine")
    kept = Store(folder)
    kept.put("track", KEY, HEAD)
    assert kept.take_trouble() is not None
    assert folder.read_text() == "mine"


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """A disk, or a quota, that ends after 8 KiB of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_where_the_disk_ends_no_part_is_left_and_the_entry_is_in_memory(folder: Path) -> None:
    kept = Store(folder)
    with small_files():
        kept.put("track", KEY, HEAD, lambda: [BODY[:7000]])
        kept.put("track", OTHER, HEAD, lambda: [BODY[:7000], BODY[7000:]])
    assert "File too large" in (kept.take_trouble() or "")
    assert [path.name for path in path_of(folder).parent.iterdir()] == [KEY]
    assert read(kept, OTHER) == (HEAD, BODY), "once, and from its beginning"


def test_the_last_room_on_a_disk_is_for_outputs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1 << 40, 1 << 40, store.RESERVE_BYTES - 1)
    )
    nearly = Store(folder)
    nearly.put("track", OTHER, HEAD, lambda: [BODY])
    assert read(Store(folder), OTHER) is None
    assert "are free there" in (nearly.take_trouble() or "")


def test_who_waits_is_heard_and_may_give_up(folder: Path) -> None:
    kept = Store(folder)
    kept.put("track", KEY, b"", lambda: [bytes(1 << 20)] * 3)
    calls: list[int] = []
    entry = kept.get("track", KEY, lambda: calls.append(1))
    assert entry is not None
    os.close(entry.fd)
    assert len(calls) == 4
    before = len([*Path("/proc/self/fd").iterdir()])

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept.get("track", KEY, stop)
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_an_entry_may_leave_while_it_is_read(folder: Path) -> None:
    kept = filled(folder)
    entry = kept.get("track", KEY)
    assert entry is not None
    CacheFolder(folder).clear()
    with entry:
        assert entry.body() == BODY


KILLED = """
import os, signal, sys
from pathlib import Path
from dhcli.disk import store
from dhcli.disk.store import Store, key_of
store.RESERVE_BYTES = 1 << 20
def body():
    yield b"half of it"
    os.kill(os.getpid(), signal.SIGKILL)
Store(Path(sys.argv[1])).put("track", key_of({"content": 1}), b"", body)
"""


def test_what_a_killed_process_left_is_removed_in_time(folder: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    assert killed.returncode == -9
    kept = Store(folder)
    assert read(kept) is None
    (stray,) = path_of(folder).parent.iterdir()
    kept.put("track", OTHER, HEAD)
    assert stray.exists(), "it may be another process's that still writes"
    used(stray, 1000)
    Store(folder).put("track", KEY, HEAD)
    assert sorted(path.name for path in stray.parent.iterdir()) == sorted([KEY, OTHER])


WRITER = """
import sys
from pathlib import Path
from dhcli.disk import store
from dhcli.disk.sections import DISK_BLOCK_BYTES
from dhcli.disk.store import Store, key_of
store.RESERVE_BYTES = 1 << 20
kept = Store(Path(sys.argv[1]), 12 * DISK_BLOCK_BYTES)
for turn in range(150):
    number = turn % 7
    entry = kept.get("track", key_of({"number": number}))
    if entry is not None:
        with entry:
            assert entry.body() == bytes([number]) * (9000 + number), "whole at every moment"
    kept.put("track", key_of({"number": number}), b"", lambda: [bytes([number]) * (9000 + number)])
    assert kept.take_trouble() is None
"""


@pytest.mark.slow
def test_many_processes_share_a_folder(folder: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(folder)]) for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert {path.name.partition("-")[0] for path in path_of(folder).parent.iterdir()} & {".new"} == set()
    last = Store(folder, 12 * DISK_BLOCK_BYTES)
    last.put("track", KEY, HEAD)
    assert 0 < CacheFolder(folder).shares()["track"].bytes <= last.limit_bytes


def test_clear_leaves_what_is_not_ours(folder: Path) -> None:
    kept = filled(folder)
    kept.put("probe", OTHER, HEAD)
    foreign = [folder / "notes.txt", folder / "store" / "readme", path_of(folder).parent / "mine.txt"]
    for path in foreign:
        path.write_text("precious")
    cleared = CacheFolder(folder).clear()
    assert (cleared.entries, cleared.bytes) == (2, 4 * DISK_BLOCK_BYTES)
    assert CacheFolder(folder).shares() == {}
    assert all(path.exists() for path in foreign)


def test_a_disk_that_cannot_read_an_entry_has_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = filled(folder)
    real: Callable[[int, int, int], bytes] = os.pread

    def pread(fd: int, count: int, at: int) -> bytes:
        if at == unreadable:
            raise OSError(errno.EIO, "Input/output error")
        return real(fd, count, at)

    for unreadable in (0, 4096):  # noqa: B007 - the function reads it
        with monkeypatch.context() as patch:
            patch.setattr(store, "BLOCK_BYTES", 4096)
            patch.setattr(os, "pread", pread)
            before = len([*Path("/proc/self/fd").iterdir()])
            assert read(kept) is None
            assert len([*Path("/proc/self/fd").iterdir()]) == before
    assert read(kept) == (HEAD, BODY)
