from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import platformdirs
import pytest

from dhcli.disk import hashes
from dhcli.disk.hashes import HashCache, cache_folder

LATER_NS = 10**10
"""All files of a test are younger than 2 s; to the cache's clock they are not."""


class _Reader:
    """Hashes a file through a cache and counts how often its content was read."""

    def __init__(self, folder: Path | None, *, later_ns: int = LATER_NS) -> None:
        self.cache = HashCache(folder, clock_ns=lambda: time.time_ns() + later_ns)
        self.reads = 0

    def sha256(self, path: Path) -> str:
        def compute() -> str:
            self.reads += 1
            return hashlib.sha256(path.read_bytes()).hexdigest()

        with path.open("rb") as file:
            found = self.cache.sha256(file.fileno(), compute)
        assert found == hashlib.sha256(path.read_bytes()).hexdigest(), "whatever the cache does, the hash is right"
        return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "dh"


@pytest.fixture
def media(tmp_path: Path) -> Path:
    path = tmp_path / "a.wav"
    path.write_bytes(b"sound")
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def filled(folder: Path, *files: Path) -> None:
    reader = _Reader(folder)
    for file in files:
        reader.sha256(file)
    reader.cache.save()


def test_a_file_is_read_once_for_all_runs(folder: Path, media: Path) -> None:
    filled(folder, media)
    second = _Reader(folder)
    second.sha256(media)
    second.sha256(media)
    assert second.reads == 0
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert names(folder) == ["CACHEDIR.TAG", "hashes"]


def test_without_a_folder_it_lives_as_long_as_the_process(media: Path) -> None:
    reader = _Reader(None)
    reader.sha256(media)
    reader.sha256(media)
    reader.cache.save()
    assert reader.reads == 1


def test_a_name_does_not_matter_and_a_copy_is_another_file(folder: Path, media: Path) -> None:
    filled(folder, media)
    link = media.with_name("link.wav")
    reader = _Reader(folder)
    link.symlink_to(media)
    reader.sha256(link)
    assert reader.reads == 0
    copy = media.with_name("copy.wav")
    copy.write_bytes(media.read_bytes())
    reader.sha256(copy)
    assert reader.reads == 1


@pytest.mark.parametrize("way", ["longer", "same size", "same size and time", "replaced", "replaced with its time"])
def test_a_changed_file_is_read_again(folder: Path, media: Path, way: str) -> None:
    filled(folder, media)
    old = media.stat()
    if way == "longer":
        media.write_bytes(b"sounds")
    elif way.startswith("same"):
        media.write_bytes(b"SOUND")
    else:
        other = media.with_name("other")
        other.write_bytes(b"SOUND")
        other.replace(media)
    if "time" in way:
        os.utime(media, ns=(old.st_atime_ns, old.st_mtime_ns))
    reader = _Reader(folder)
    reader.sha256(media)
    assert reader.reads == 1


def test_a_young_file_may_change_within_one_tick_and_is_not_trusted(folder: Path, media: Path) -> None:
    reader = _Reader(folder, later_ns=0)
    reader.sha256(media)
    reader.sha256(media)
    assert reader.reads == 2
    reader.cache.save()
    assert not folder.exists()


def test_a_file_with_a_time_to_come_is_not_trusted(folder: Path, media: Path) -> None:
    os.utime(media, ns=(0, time.time_ns() + 100 * LATER_NS))
    reader = _Reader(folder)
    reader.sha256(media)
    reader.sha256(media)
    assert reader.reads == 2


def test_a_file_that_changes_while_it_is_read_is_not_remembered(folder: Path, media: Path) -> None:
    cache = HashCache(folder, clock_ns=lambda: time.time_ns() + LATER_NS)

    def compute() -> str:
        media.write_bytes(b"SOUND!")
        return "half of this, half of that"

    with media.open("rb") as file:
        cache.sha256(file.fileno(), compute)
    cache.save()
    assert not folder.exists()


NO_HASHES = b"1 2 3 nonsense\n"
OTHERS = b"dh-hashes 1 " + hashlib.sha256(NO_HASHES).hexdigest().encode() + b"\n" + NO_HASHES


FOREIGN = ("garbage", "folder", "fifo", "endless", "link")


@pytest.mark.parametrize(
    "damage",
    ["empty", "cut", "one bit", "zeros", "other version", "not ours", *FOREIGN],
)
def test_a_damaged_cache_is_no_cache(folder: Path, media: Path, damage: str) -> None:
    filled(folder, media)
    path = folder / "hashes"
    content = path.read_bytes()
    match damage:
        case "folder":
            path.unlink()
            path.mkdir()
        case "fifo":
            path.unlink()
            os.mkfifo(path)
        case "endless":
            path.unlink()
            path.symlink_to("/dev/zero")
        case "link":
            path.symlink_to(path.rename(path.with_name("elsewhere")))
        case _:
            path.write_bytes(
                {
                    "empty": b"",
                    "cut": content[:-20],
                    "one bit": content[:-5] + bytes([content[-5] ^ 1]) + content[-4:],
                    "zeros": bytes(len(content)),
                    "garbage": b"\xff\x00" * 99,
                    "other version": content.replace(b"dh-hashes 1", b"dh-hashes 2"),
                    "not ours": OTHERS,
                }[damage]
            )
    foreign = path.lstat()
    reader = _Reader(folder)
    reader.sha256(media)
    assert reader.reads == 1
    reader.cache.save()
    again = _Reader(folder)
    again.sha256(media)
    assert again.reads == (1 if damage in FOREIGN else 0), "what dh may not have made is not replaced"
    assert (reader.cache.take_trouble() is not None) == (damage in FOREIGN), "and that is told"
    if damage in FOREIGN:
        assert (path.lstat().st_ino, path.lstat().st_mtime_ns) == (foreign.st_ino, foreign.st_mtime_ns)


@pytest.mark.usefixtures("nobody")
def test_a_folder_that_cannot_be_written_costs_nothing() -> None:
    read_only = Path("/proc/1/dh")
    reader = _Reader(read_only)
    reader.sha256(Path(__file__))
    reader.sha256(Path(__file__))
    reader.cache.save()
    assert reader.reads == 1


def test_a_full_disk_leaves_the_old_cache_whole(folder: Path, media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(folder, media)
    before = (folder / "hashes").read_bytes()
    other = media.with_name("b.wav")
    other.write_bytes(b"b")
    reader = _Reader(folder)
    reader.sha256(other)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        reader.cache.save()
    assert (folder / "hashes").read_bytes() == before
    assert names(folder) == ["CACHEDIR.TAG", "hashes"]


def test_two_processes_keep_what_both_know(folder: Path, media: Path) -> None:
    other = media.with_name("b.wav")
    other.write_bytes(b"b")
    first, second = _Reader(folder), _Reader(folder)
    first.sha256(media)
    second.sha256(other)
    first.cache.save()
    second.cache.save()
    third = _Reader(folder)
    third.sha256(media)
    third.sha256(other)
    assert third.reads == 0


SAVER = """
import sys, time
from pathlib import Path
from dhcli.disk.hashes import HashCache
for path in sys.argv[2:]:
    cache = HashCache(Path(sys.argv[1]), clock_ns=lambda: time.time_ns() + 10**10)
    with open(path, "rb") as file:
        cache.sha256(file.fileno(), lambda: "0" * 64)
    cache.save()
"""


@pytest.mark.slow
def test_many_processes_never_leave_a_damaged_cache(folder: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.wav" for number in range(120)]
    for file in files:
        file.write_bytes(b"x")
    argv = [sys.executable, "-c", SAVER, str(folder)]
    savers = [subprocess.Popen([*argv, *map(str, files[part::3])]) for part in range(3)]
    while any(saver.poll() is None for saver in savers):
        if (folder / "hashes").exists():
            assert HashCache(folder)._load(), "at every moment the cache is whole"
    assert [saver.returncode for saver in savers] == [0, 0, 0]
    assert names(folder) == ["CACHEDIR.TAG", "hashes"]


def test_the_cache_stays_small_and_keeps_what_was_used_last(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "MAX_FILES", 3)
    files = [tmp_path / f"{number}.wav" for number in range(4)]
    for file in files:
        file.write_bytes(b"x")
    reader = _Reader(folder)
    for number in (0, 1, 2, 0, 3):
        reader.sha256(files[number])
    reader.cache.save()
    again = _Reader(folder)
    for number in (0, 2, 3):
        again.sha256(files[number])
    assert again.reads == 0
    again.sha256(files[1])
    assert again.reads == 1


def test_what_a_killed_process_left_is_removed_in_time(folder: Path, media: Path) -> None:
    folder.mkdir(parents=True)
    old, new, foreign = (folder / f".hashes-{name}" for name in ("old", "new", "foreign"))
    for stray in (old, new):
        stray.write_bytes(b"dh-hashes 1 torn")
    foreign.write_bytes(b"somebody's")
    for stray in (old, foreign):
        os.utime(stray, (0, 0))
    filled(folder, media)
    assert names(folder) == [".hashes-foreign", ".hashes-new", "CACHEDIR.TAG", "hashes"]


def test_a_long_run_saves_on_its_way(folder: Path, media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "SAVE_EVERY_S", -1)
    _Reader(folder).sha256(media)
    assert (folder / "hashes").is_file()


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DH_CACHE_DIR", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("DH_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "dh"
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda _: Path("~/.cache/dh"))  # older versions
    assert cache_folder() is None, "no home: no folder named ~ in the current one"
