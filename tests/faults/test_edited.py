"""Inputs that are edited in place while they are read, with size and time of the last change as before."""

from __future__ import annotations

import mmap
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dhcli.disk import hashes
from dhcli.disk.folder import CacheFolder
from dhcli.disk.hashes import HashCache
from dhcli.disk.regular import FileStamp
from dhcli.disk.store import Store
from dhcli.errors import DhError
from dhcli.events import Event, Progress
from dhcli.manifest import single_job
from dhcli.media.input_file import InputFile
from dhcli.render.models import Models
from dhcli.render.probes import Probes
from dhcli.results.result import JobResult, read_result
from dhcli.runs.batch import Batch
from dhcli.runs.settings import Settings

pytestmark = pytest.mark.slow

FakeFfmpeg = Callable[..., Path]
Run = Callable[..., JobResult]

EDIT = """
def edit(path, sign):
    found = os.stat(path)
    with open(path, "r+b") as file:
        at = file.read().index(sign)
        file.seek(at)
        file.write(bytes([sign[0] ^ 1]))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
"""
"""One bit, at a place that no decoder reads; size and time of the last change as before."""
SIGN = b"harmless"


def edit(path: Path, sign: bytes = SIGN) -> None:
    found = path.stat()
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(content.index(sign))
        file.write(bytes([sign[0] ^ 1]))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


@pytest.fixture
def video(clip: Path, tmp_path: Path) -> Path:
    """The clip with a box at its end that all players skip."""
    path = tmp_path / "edited.mp4"
    path.write_bytes(clip.read_bytes() + (8 + len(SIGN)).to_bytes(4, "big") + b"free" + SIGN)
    return path


@pytest.fixture
def audio(words: Path, tmp_path: Path) -> Path:
    """The words with a chunk at their end that all players skip."""
    path = tmp_path / "edited.wav"
    content = words.read_bytes() + b"note" + len(SIGN).to_bytes(4, "little") + SIGN
    path.write_bytes(content[:4] + (len(content) - 8).to_bytes(4, "little") + content[8:])
    return path


@pytest.fixture
def photo(clip: Path, tmp_path: Path, ffmpeg: Callable[..., None]) -> Path:
    """The person, with a few bytes after the picture's end."""
    path = tmp_path / "edited.jpg"
    ffmpeg("-i", clip, "-frames:v", 1, "-update", 1, path)
    path.write_bytes(path.read_bytes() + SIGN)
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Store:
    return Store(tmp_path / "kept")


@pytest.fixture
def run(models: Models, out: Path, video: Path, audio: Path, cache: Store) -> Run:
    """Render the two that can be edited, with a cache; options as in a manifest, settings by name."""

    def once(*, face: str = "largest", emit: Callable[[Event], None] = lambda _: None, **how: Any) -> JobResult:
        (job,) = single_job(audio, video, out / "out.mp4", {"face": face}).jobs
        settings = Settings(models, probes=Probes(cache), **how)
        Batch(settings, emit).run([job])
        result = read_result(settings.result_path(job))
        assert result is not None
        return result

    return once


def refused(result: JobResult, name: Path, content: Callable[[], list[str]]) -> None:
    assert result.error is not None, "the result tells of another content than the one that was rendered"
    assert result.error.code == "input.changed"
    assert name.name in result.error.message
    assert content() == ["out.mp4.json"]


@pytest.mark.usefixtures("sound_read_twice")
@pytest.mark.parametrize(
    ("role", "nth", "kept"),
    [
        pytest.param("scan", 1, (), id="probe"),
        pytest.param("decode", 1, ("probe",), id="analysis"),
        pytest.param("decode", 2, ("probe", "profile", "track"), id="render"),
        pytest.param("verify", 1, ("probe", "profile", "track"), id="after the last frame"),
    ],
)
def test_a_video_is_edited(
    fake_ffmpeg: FakeFfmpeg,
    run: Run,
    video: Path,
    tmp_path: Path,
    content: Callable[[], list[str]],
    role: str,
    nth: int,
    kept: tuple[str, ...],
) -> None:
    """Nothing of it is kept under the hash of what was there before."""
    fake_ffmpeg(role, f"{EDIT}\nedit({str(video)!r}, {SIGN!r})\nreal()", nth)
    refused(run(), video, content)
    assert set(CacheFolder(tmp_path / "kept").shares()) == set(kept)
    again = run()
    assert (again.status, again.analysis) == ("succeeded", "made"), "as it is now, and nobody edits it any more"


@pytest.mark.parametrize(("role", "nth"), [("sound", 1), ("listen", 1), ("encode", 1), ("verify", 1)])
def test_a_sound_is_edited(
    fake_ffmpeg: FakeFfmpeg, run: Run, audio: Path, content: Callable[[], list[str]], role: str, nth: int
) -> None:
    fake_ffmpeg(role, f"{EDIT}\nedit({str(audio)!r}, {SIGN!r})\nreal()", nth)
    refused(run(), audio, content)


def test_a_photo_is_edited(fake_ffmpeg: FakeFfmpeg, run: Run, photo: Path, content: Callable[[], list[str]]) -> None:
    fake_ffmpeg("decode", f"{EDIT}\nedit({str(photo)!r}, {SIGN!r})\nreal()")
    refused(run(face=f"like:{photo}"), photo, content)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> HashCache:
    """A cache that takes the hashes of a test's files, young as they are."""
    monkeypatch.setattr(hashes, "SETTLED_NS", 0)
    return HashCache()


def test_a_hash_from_the_cache_is_compared_too(
    fake_ffmpeg: FakeFfmpeg, run: Run, video: Path, settled: HashCache, content: Callable[[], list[str]]
) -> None:
    assert run(hashes=settled).status == "succeeded"
    fake_ffmpeg("decode", f"{EDIT}\nedit({str(video)!r}, {SIGN!r})\nreal()")
    result = run(hashes=settled, if_exists="overwrite")
    assert result.error is not None
    assert (result.error.code, content()) == ("input.changed", ["out.mp4", "out.mp4.json"])


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="without inotify nothing is left of such an edit")
def test_an_edit_that_is_taken_back_is_an_edit(
    fake_ffmpeg: FakeFfmpeg, run: Run, video: Path, tmp_path: Path, content: Callable[[], list[str]]
) -> None:
    """The content is the same before and after; what was decoded in between nobody knows."""
    other = tmp_path / "other"
    shutil.copyfile(video, other)
    back = f"open({str(video)!r}, 'r+b').write(open({str(other)!r}, 'rb').read())"
    times = f"os.utime({str(video)!r}, ns=({video.stat().st_mtime_ns},) * 2)"
    fake_ffmpeg("decode", f"{EDIT}\nedit({str(video)!r}, {SIGN!r})\npass_on(-1)\n{back}\n{times}", 2)
    refused(run(), video, content)


def test_an_edit_through_memory(run: Run, video: Path, content: Callable[[], list[str]]) -> None:
    """The times change when a page is written to first, and not when it is written to again."""
    found = video.stat()
    at = video.read_bytes().index(SIGN)
    with video.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[at] = mapped[at]
        os.utime(video, ns=(found.st_atime_ns, found.st_mtime_ns))

        def write(event: Event) -> None:
            if isinstance(event, Progress) and event.stage == "render":
                mapped[at] = SIGN[0] ^ 1

        refused(run(emit=write), video, content)


@pytest.mark.parametrize(
    "touch",
    [
        pytest.param(lambda path: path.chmod(0o600), id="chmod"),
        pytest.param(lambda path: os.link(path, f"{path}.backup"), id="a backup makes a hard link"),
        pytest.param(lambda path: path.rename(f"{path}.old"), id="renamed"),
        pytest.param(os.utime, id="touch"),
    ],
)
def test_other_times_of_the_same_content_do_no_harm(run: Run, video: Path, touch: Callable[[Path], object]) -> None:
    done: list[object] = []

    def listen(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "render" and not done:
            done.append(touch(video))

    assert run(emit=listen).status == "succeeded"
    assert done


@pytest.fixture
def no_ctime(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that does not keep the time of the last change of status: it is that of the content."""
    real_of, real_key = FileStamp.of, hashes._key

    def of(*which: Any, **where: Any) -> FileStamp:
        found = real_of(*which, **where)
        return replace(found, ctime_ns=found.mtime_ns)

    monkeypatch.setattr(FileStamp, "of", of)
    monkeypatch.setattr(hashes, "_key", lambda descriptor: real_key(descriptor)[:4] + real_key(descriptor)[3:4])


def old(path: Path) -> Path:
    past = time.time() - 1000
    os.utime(path, (past, past))
    return path


@pytest.mark.usefixtures("no_ctime")
def test_verify_hashes_the_inputs_anew(run: Run, video: Path, audio: Path) -> None:
    known = HashCache()
    for path in (video, audio):
        old(path)
    first = run(hashes=known)
    assert first.status == "succeeded"
    edit(video)
    assert run(hashes=known) == first, "size and times are as before"
    again = run(hashes=known, verify=True)
    assert again.status == "succeeded"
    assert again.inputs.video != first.inputs.video
    assert run(hashes=known) == again, "and the cache has learned it"


@pytest.mark.usefixtures("no_ctime")
def test_a_wrong_hash_is_forgotten(run: Run, video: Path, tmp_path: Path) -> None:
    """Else the job would fail for ever."""
    folder = tmp_path / "hashes"
    old(video)
    known = HashCache(folder)
    assert run(hashes=known).status == "succeeded"
    known.save()
    edit(video)
    known = HashCache(folder)
    result = run(hashes=known, if_exists="overwrite")
    assert result.error is not None
    assert result.error.code == "input.changed"
    known.save()
    assert run(hashes=HashCache(folder), if_exists="overwrite").status == "succeeded"


@pytest.mark.usefixtures("no_ctime")
@pytest.mark.parametrize("why", ["young", "no trust in times", "cheap"])
def test_times_that_prove_nothing(video: Path, why: str) -> None:
    if why != "young":
        old(video)
    with InputFile(video, "video") as file:
        file.sha256()
        file.trusted_times = why != "no trust in times"
        edit(video)
        with pytest.raises(DhError, match=r"edited\.mp4.*another one now") as caught:
            file.check_unchanged(cheap_bytes=file.bytes if why == "cheap" else 0)
    assert caught.value.code == "input.changed"
