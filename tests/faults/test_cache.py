"""The cache and its folder: a user's files in it, links out of it, a disk that does not answer, and forged entries."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dhcli.disk import sections as rooms
from dhcli.disk.folder import CacheFolder, NotACacheError
from dhcli.disk.hashes import HashCache
from dhcli.disk.mark import TAG_BEGIN, TAG_TEXT
from dhcli.disk.sections import DISK_BLOCK_BYTES, entries_of
from dhcli.disk.store import Store, key_of
from dhcli.media.info import AudioInfo, VideoInfo
from dhcli.media.input_limits import MAX_DURATION_S
from dhcli.render.probes import KIND, Probes, _head, probe_key
from dhcli.results.result import JobResult

pytestmark = pytest.mark.slow

Dh = Callable[..., subprocess.Popen[str]]
Cache = Callable[..., subprocess.CompletedProcess[str]]
KEYS = [key_of({"number": number}) for number in range(4)]
OLD = (1000.0, 1000.0)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file and link below a folder, with what is in it."""
    paths = [path for path in folder.rglob("*") if path.is_symlink() or path.is_file()]
    return {f"{path}": bytes(path.readlink()) if path.is_symlink() else path.read_bytes() for path in paths}


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A user's folder, in which every file has a name that dh gives as well, and is old."""
    folder = tmp_path / "precious"
    for room in ("", "track"):
        (folder / room).mkdir()
        for name in (*KEYS, ".new-0123abcd", ".hashes-0123abcd", "hashes"):
            (folder / room / name).write_text("mine")
            os.utime(folder / room / name, OLD)
    return folder


@pytest.fixture
def cache() -> Cache:
    """`dh cache`, as a program."""

    def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "dhcli", "cache", *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=110)

    return call


def fill(folder: Path, limit_bytes: int = 1 << 30) -> str | None:
    """Put more into the cache than one has room for; what was wrong."""
    store = Store(folder, limit_bytes)
    for key in KEYS:
        store.put("track", key, b"head", lambda: [bytes(100)])
    hashes = HashCache(folder, clock_ns=lambda: 1 << 62)
    with Path(__file__).open("rb") as file:
        hashes.sha256(file.fileno(), lambda: "0" * 64)
    hashes.save()
    return store.take_trouble() or hashes.take_trouble()


@pytest.mark.parametrize("link", ["store", "store/track"])
def test_no_link_leads_out_of_the_cache(link: str, precious: Path, tmp_path: Path, cache: Cache) -> None:
    """Neither what is put there, nor what leaves for it, nor `clear`."""
    folder = tmp_path / "cache"
    fill(folder)
    shutil.rmtree(folder / link)
    (folder / link).symlink_to(precious)
    before = tree(precious)
    trouble = fill(folder, limit_bytes=2 * DISK_BLOCK_BYTES) or ""
    assert str(folder / "store" / "track") in trouble
    assert "a link or a file, not a folder" in trouble
    assert cache("clear", "--cache-dir", folder).returncode == 0
    assert cache("info", "--cache-dir", folder).returncode == 0
    assert tree(precious) == before
    assert (folder / link).readlink() == precious


def test_a_cache_may_lie_behind_a_link_of_the_user(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "disk").mkdir()
    folder = tmp_path / "cache"
    folder.symlink_to(tmp_path / "disk")
    assert fill(folder) is None
    assert cache("clear", "--cache-dir", folder).stdout.startswith("5 files removed")


@pytest.mark.parametrize("how", ["clear", "evict"])
def test_a_folder_that_is_swapped_meanwhile(
    how: str, precious: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two removals a link takes the folder's place."""
    folder = tmp_path / "cache"
    fill(folder)
    before, real = tree(precious), os.unlink

    def unlink(path: Any, **options: Any) -> None:
        if Path(path).name in KEYS and not (folder / "store" / "track").is_symlink():
            (folder / "store" / "track").rename(tmp_path / "moved")
            (folder / "store" / "track").symlink_to(precious)
        real(path, **options)

    monkeypatch.setattr(os, "unlink", unlink)
    if how == "clear":
        with pytest.raises(NotADirectoryError):
            CacheFolder(folder).clear()
    else:
        fill(folder, limit_bytes=2 * DISK_BLOCK_BYTES)
    assert (tmp_path / "moved").is_dir()
    assert tree(precious) == before


def test_only_what_begins_as_dhs_is_removed(precious: Path, tmp_path: Path, cache: Cache) -> None:
    """Files with names like dh's, in the cache's own folders."""
    folder = tmp_path / "cache"
    Store(folder).put("probe", KEYS[0], b"head")
    shutil.copytree(precious / "track", folder / "store" / "track")
    shutil.copy(precious / "hashes", folder / "hashes")
    shutil.copy2(precious / ".hashes-0123abcd", folder)
    before = tree(folder / "store" / "track")
    Store(folder, 2 * DISK_BLOCK_BYTES).put("probe", KEYS[1], b"head")
    assert "hashes" in (HashCacheOf(folder).trouble or "")
    assert cache("clear", "--cache-dir", folder).returncode == 0
    assert tree(folder / "store" / "track") == before
    assert (folder / "hashes").read_text() == (folder / ".hashes-0123abcd").read_text() == "mine"
    assert tree(folder / "store" / "probe") == {}


class HashCacheOf:
    """A hash that is saved in a folder, and what was wrong with that."""

    def __init__(self, folder: Path) -> None:
        hashes = HashCache(folder, clock_ns=lambda: 1 << 62)
        with Path(__file__).open("rb") as file:
            hashes.sha256(file.fileno(), lambda: "0" * 64)
        hashes.save()
        self.trouble = hashes.take_trouble()


@pytest.mark.parametrize("what", ["hashes", "tag", "store", "folder"])
def test_a_users_folder_is_no_cache(what: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    match what:
        case "hashes":
            (folder / "hashes").write_text("mine")
        case "tag":  # another program's
            (folder / "CACHEDIR.TAG").write_bytes(TAG_BEGIN.split(b"\n")[0] + b"\n# The cache of make\n")
            (folder / "object").write_text("mine")
        case "store":
            (folder / "store" / "track").mkdir(parents=True)
            (folder / "store" / "track" / KEYS[0]).write_text("mine")
        case "folder":
            (folder / "2026").mkdir()
    before = tree(folder)
    assert "NotACacheError: it has other files in it and no CACHEDIR.TAG of dh" in (fill(folder) or "")
    with pytest.raises(NotACacheError):
        CacheFolder(folder).clear()
    assert tree(folder) == before


def test_a_job_whose_cache_is_a_users_folder(
    dh: Dh, cache: Cache, stored: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    """It is rendered without a cache, which is said once; the verbs refuse."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "hashes").write_text("mine")
    (folder / "photo.jpg").write_text("mine, too")
    before = tree(folder)
    process = dh("--cache-dir", str(folder))
    stderr = process.communicate()[1]
    assert (process.returncode, stored()["status"]) == (0, "succeeded")
    assert stderr.count("[cache.unusable]") == 1
    assert f"{folder}: NotACacheError: it has other files in it and no CACHEDIR.TAG of dh" in stderr
    for verb in ("info", "clear"):
        said = cache(verb, "--cache-dir", folder)
        assert (said.returncode, said.stdout) == (74, "")
        assert f"dh: the cache in {folder} could not be" in said.stderr
        assert "no CACHEDIR.TAG of dh" in said.stderr
    assert tree(folder) == before


def test_a_new_cache_is_marked(tmp_path: Path) -> None:
    for folder in (tmp_path / "empty", tmp_path / "new", tmp_path / "disk", tmp_path / "half"):
        if folder.name != "new":
            folder.mkdir()
        if folder.name == "disk":  # a file system of its own
            (folder / "lost+found").mkdir()
        if folder.name == "half":  # killed while it wrote it
            (folder / "CACHEDIR.TAG").write_bytes(TAG_TEXT[:50])
        assert fill(folder) is None
        lines = (folder / "CACHEDIR.TAG").read_text().splitlines()
        assert lines[0] == "Signature: 8a477f597d28d172789f06886806bc55"
        assert lines[1].startswith("# The cache of dh, ")
        (folder / "notes.txt").write_text("mine")
        assert fill(folder) is None, "what comes later does not make it the user's"


@pytest.mark.parametrize("what", ["full", "hashes", "entries", "emptied"])
def test_the_cache_of_an_earlier_dh_is_adopted(what: str, tmp_path: Path) -> None:
    """It has no tag. One file in it is proof enough, and so is that there is nothing but its empty folders."""
    folder = tmp_path / "cache"
    fill(folder)
    (folder / "CACHEDIR.TAG").unlink()
    if what == "emptied":
        CacheFolder(folder).clear()
    if what in {"entries", "emptied"}:
        (folder / "hashes").unlink(missing_ok=True)
    if what == "hashes":
        shutil.rmtree(folder / "store")
    kept = {} if what == "emptied" else CacheFolder(folder).shares()
    assert ("track" in kept, "hash" in kept) == (what in {"full", "entries"}, what in {"full", "hashes"})
    assert not (folder / "CACHEDIR.TAG").exists(), "who only reads writes nothing"
    assert fill(folder) is None
    assert (folder / "CACHEDIR.TAG").read_bytes() == TAG_TEXT


def test_an_earlier_cache_among_a_users_files_is_used_and_not_marked(tmp_path: Path, cache: Cache) -> None:
    """A tag would keep the user's files out of backups."""
    folder = tmp_path / "cache"
    fill(folder)
    (folder / "CACHEDIR.TAG").unlink()
    (folder / "notes.txt").write_text("mine")
    assert fill(folder) is None
    assert not (folder / "CACHEDIR.TAG").exists()
    assert cache("clear", "--cache-dir", folder).stdout.startswith("5 files removed")
    assert tree(folder) == {str(folder / "notes.txt"): b"mine"}


BLOCKED = """
import os, threading
import dhcli.disk.patience as patience
patience.PATIENCE_S = 0.3
real = os.{call}
def blocked(path, *args, **more):
    if {when}:
        threading.Event().wait()
    return real(path, *args, **more)
os.{call} = blocked
"""
"""A call that reaches the cache's disk never comes back."""
FIRST, ENTRY, RENAME = "str(path).startswith('{cache}')", "'.new-' in str(path)", "str(path).startswith('.hashes-')"


@pytest.mark.parametrize(
    ("call", "when"),
    [("open", FIRST), ("mkdir", FIRST), ("open", ENTRY), ("replace", ENTRY), ("replace", RENAME)],
    ids=["first look", "first folder", "an entry", "its name", "the hashes' name, at the end"],
)
def test_a_cache_on_a_dead_disk_fails_no_job(
    dh: Dh, out: Path, tmp_path: Path, stored: Callable[[], dict[str, Any]], call: str, when: str
) -> None:
    program = "import dhcli.disk.hashes as hashes\nhashes.SETTLED_NS = -(1 << 62)\n"
    process = dh(program=program + BLOCKED.format(call=call, when=when.format(cache=tmp_path / "cache")))
    stderr = process.communicate(timeout=60)[1]
    assert (process.returncode, stored()["status"]) == (0, "succeeded"), stderr
    assert stderr.count("[cache.unusable]") == 1
    assert "TimeoutError: the disk did not answer within 0.3 s" in stderr
    assert sorted(path.name for path in out.iterdir()) == ["out.mp4", "out.mp4.json"]


def test_a_cache_on_a_dead_disk_is_told_of_where_nothing_is_rendered(dh: Dh, tmp_path: Path) -> None:
    """All inputs are read again then, and nothing else would say why that takes so long."""
    assert dh().wait(60) == 0
    again = dh(program=BLOCKED.format(call="open", when=FIRST.format(cache=tmp_path / "cache")))
    stderr = again.communicate(timeout=60)[1]
    assert (again.returncode, stderr.count("[cache.unusable]")) == (0, 1)
    assert "1 up to date" in stderr


@pytest.mark.parametrize("how", ["evict", "sweep", "clear", "info"])
def test_a_large_cache_on_a_slow_disk_is_asked_for_a_few_files_at_once(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, dh's or not: the patience is for one call."""
    cache, room = CacheFolder(tmp_path), entries_of("track")
    Store(cache).put("track", KEYS[0], b"head")
    for number in range(9):
        foreign, stray = (tmp_path.joinpath(*room.path, name) for name in (f"{number:064}", f".new-{number}"))
        foreign.write_text("mine")
        stray.write_bytes(room.begin)
        os.utime(stray, OLD)
    looked_at: list[int] = []
    real_ask, real_files, real_begins = CacheFolder.ask, rooms.files_in, rooms.begins

    def ask(self: CacheFolder, call: Callable[[], Any]) -> Any:
        looked_at.append(0)
        return real_ask(self, call)

    def files(*where: Any) -> Any:
        for found in real_files(*where):
            looked_at[-1] += 1
            yield found

    def begins(*where: Any) -> bool:
        looked_at[-1] += 1
        return real_begins(*where)

    monkeypatch.setattr("dhcli.disk.folder.AT_ONCE", 4)
    monkeypatch.setattr("dhcli.disk.folder.files_in", files)
    monkeypatch.setattr("dhcli.disk.folder.begins", begins)
    monkeypatch.setattr(CacheFolder, "ask", ask)
    match how:
        case "evict":
            cache.evict(0, (room, KEYS[1]))
        case "sweep":
            cache.sweep(room)
        case "clear":
            cache.clear()
        case "info":
            cache.shares()
    assert sum(looked_at) >= 19
    assert max(looked_at) <= 8, "four are listed, and four are opened"


FORGED: dict[str, tuple[type, Callable[[Any], dict[str, Any]]]] = {
    "samples": (AudioInfo, lambda info: {"samples": info.samples * 3}),
    "stream of the sound": (AudioInfo, lambda _: {"index": 1}),
    "stream of the video": (VideoInfo, lambda _: {"index": 1}),
    "size": (VideoInfo, lambda info: {"width": info.width // 2}),
    "frames": (
        VideoInfo,
        lambda info: {
            "frames": 2 * info.frames,
            "duration": 2 * info.duration,
            "pts": np.arange(2 * info.frames) * (info.pts[1] - info.pts[0]),
        },
    ),
}
"""What is forged, and how: sane answers, each of which would be the truth about another file."""


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_probe_blames_no_input(
    render: Callable[..., Any], clip: Path, words: Path, tmp_path: Path, sha256: Callable[[Path], str], what: str
) -> None:
    shape, forge = FORGED[what]
    cache = tmp_path / "cache"

    def run() -> JobResult:
        result = render(probes=Probes(Store(cache))).result
        assert isinstance(result, JobResult)
        return result

    honest = run()
    assert honest.attempt == 1
    asked = (shape, sha256(clip if shape is VideoInfo else words), MAX_DURATION_S, "")
    true = Probes(Store(cache))._stored(shape, asked)
    assert true is not None
    wrong = dataclasses.replace(true, **forge(true))
    pts = wrong.pts.astype("<i8").tobytes() if isinstance(wrong, VideoInfo) else b""
    Store(cache).put(KIND, probe_key(*asked), _head(wrong), lambda: [pts])
    assert Probes(Store(cache))._stored(shape, asked) is not None, "it is believed"
    shutil.rmtree(cache / "store" / "track")  # else nobody looks at the video
    result = run()
    assert (result.status, result.attempt, len(result.earlier_attempts)) == ("succeeded", 2, 1), result.error
    assert result.frames.planned == honest.frames.planned
    assert run().attempt == 1, "the entry is replaced"


def test_an_input_that_is_to_blame_is_tried_once_more_at_most(
    render: Callable[..., Any], fake_ffmpeg: Callable[..., Path], tmp_path: Path
) -> None:
    assert render(probes=Probes(Store(tmp_path / "cache")), limit_frames=2).result.status == "succeeded"
    fake_ffmpeg("decode", "sys.exit(1)", nth=0)
    for attempt in (2, 2):
        result = render(probes=Probes(Store(tmp_path / "cache"))).result
        assert (result.status, result.attempt) == ("failed", attempt)


CALLS = (
    "open",
    "close",
    "fstat",
    "stat",
    "read",
    "pread",
    "write",
    "pwrite",
    "mkdir",
    "scandir",
    "unlink",
    "replace",
    "utime",
)


class DyingDisk:
    """The disk of a folder from the `at`-th call on: whoever asks it waits until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        self._left, self._back, self._main = at, threading.Event(), threading.get_ident()
        self.died = False
        for name in CALLS:
            monkeypatch.setattr(os, name, self._dying(getattr(os, name)))

    def _dying(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            if threading.get_ident() != self._main:
                self._left -= 1
                if self._left <= 0:
                    self.died = True
                    self._back.wait()
            return real(*args, **more)

        return call

    def let_go(self) -> None:
        self._back.set()


def test_a_disk_may_die_at_any_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked of the cache comes back, and what is not told is right."""
    for at in range(1, 500, 2):
        folder = tmp_path / f"{at}"  # those that were let go may still write to theirs
        Store(folder).put("track", KEYS[0], b"head", lambda: [bytes(3 << 20)])
        place = CacheFolder(folder, 0.05)
        store, hashes = Store(place, 4 << 20), HashCache(place, clock_ns=lambda: 1 << 62)
        with monkeypatch.context() as patch:
            disk = DyingDisk(patch, at)
            with Path(__file__).open("rb") as file:
                assert hashes.sha256(file.fileno(), lambda: "0" * 64) == "0" * 64
            entry = store.get("track", KEYS[0])
            if entry is not None:
                with entry, contextlib.suppress(TimeoutError):
                    assert entry.body(100) == bytes(100)
            store.put("track", KEYS[1], b"head", lambda: [bytes(2 << 20)])
            hashes.save()
            dead = disk.died
            store.put("track", KEYS[2], b"head", lambda: [b"body"])
            kept = store.get("track", KEYS[2])
            if dead or kept is not None:
                assert kept is not None, "in memory, for the jobs that follow"
                with kept:
                    assert kept.body() == b"body"
            trouble = place.take_trouble()
            died = disk.died
            disk.let_go()
        if not died and trouble is None:  # a busy machine may be slow enough to look dead before its turn
            break
        assert not dead or "did not answer" in (trouble or "")
    assert 30 < at < 499
