"""What probing gave, kept by content: the same as asked anew, never more than a probe can have said."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dhcli.disk.folder import CacheFolder
from dhcli.disk.store import Store
from dhcli.errors import DhError
from dhcli.manifest import single_job
from dhcli.media.info import AudioInfo, VideoInfo
from dhcli.media.input_file import InputFile
from dhcli.media.probe import probe_audio, probe_video
from dhcli.render import probes
from dhcli.render.probes import KIND, Probes, probe_key
from dhcli.runtime.scope import Scope
from dhcli.types import Colour

JOB = single_job(Path("a.wav"), Path("v.mp4"), Path("o.mp4")).jobs[0]
LIMIT_S = 100.0
VIDEO = VideoInfo(
    index=0,
    codec="h264",
    container="mov,mp4",
    width=64,
    height=48,
    fps=Fraction(30000, 1001),
    vfr=True,
    frames=3,
    duration=Fraction(1, 10),
    rotation=90,
    sar=Fraction(4, 3),
    colour=Colour("tv", "bt709"),
    source_colour=Colour("tv", "bt709"),
    pix_fmt="yuv420p",
    interlaced=False,
    alpha=False,
    is_image=False,
    packets_are_frames=True,
    audio_streams=1,
    warnings=(("input.vfr", "The frame rate varies; it becomes 29.97 fps."),),
    pts=np.array([0, 1001, 2003]),
    time_base=Fraction(1, 30000),
)
AUDIO = AudioInfo(1, "aac", "mov,mp4", 48000, 2, 4800)


@pytest.fixture
def scope() -> Iterator[Scope]:
    with Scope() as scope:
        yield scope


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which probes were made; each gives the constant above."""
    made: list[str] = []

    def probe(kind: str, info: object) -> Callable[..., object]:
        def answer(*_: object, **__: object) -> object:
            made.append(kind)
            return info

        return answer

    monkeypatch.setattr(probes, "probe_video", probe("video", VIDEO))
    monkeypatch.setattr(probes, "probe_audio", probe("audio", AUDIO))
    return made


def look(known: Probes, path: Path = Path(__file__), **differently: Any) -> tuple[VideoInfo, AudioInfo]:
    how: dict[str, Any] = {"sha256": "aa", "max_duration_s": LIMIT_S} | differently
    nothing: Any = None
    with InputFile(path, "video") as file:  # any file does: the probes are not the real ones
        return known.video(nothing, file, **how), known.audio(nothing, file, **how)


def test_kept_is_what_was_probed(asked: list[str], tmp_path: Path) -> None:
    store = Store(tmp_path)
    for known in (first := Probes(store), first, Probes(store)):
        video, audio = look(known)
        assert (video, audio) == (VIDEO, AUDIO)
        assert np.array_equal(video.pts, VIDEO.pts)
        assert video.pts.dtype == np.int64
    assert asked == ["video", "audio"]


def test_real_files_give_the_same_from_the_cache(scope: Scope, avatar: Path, speech: Path, tmp_path: Path) -> None:
    with InputFile(avatar, "video") as video, InputFile(speech, "audio") as audio:
        for _ in range(2):
            known = Probes(Store(tmp_path))
            found = known.video(scope, video, "v", LIMIT_S), known.audio(scope, audio, "a", LIMIT_S)
            fresh = probe_video(scope, video, max_duration_s=LIMIT_S)
            assert found == (fresh, probe_audio(scope, audio, max_duration_s=LIMIT_S))
            assert np.array_equal(found[0].pts, fresh.pts)
        assert known.has(JOB, "v", "a", LIMIT_S)
        assert not known.has(JOB, "a", "v", LIMIT_S)


def test_a_file_of_unknown_content_is_asked_once_a_run_while_it_stays_as_it_is(
    asked: list[str], tmp_path: Path
) -> None:
    cache, path = tmp_path / "cache", tmp_path / "film"
    known = Probes(Store(cache))
    path.write_bytes(b"one")
    for _ in range(3):
        look(known, path, sha256=None)
    assert asked == ["video", "audio"]
    path.write_bytes(b"other")
    look(known, path, sha256=None)
    look(Probes(Store(cache)), path, sha256=None)
    assert asked == ["video", "audio"] * 3
    assert not known.has(JOB, None, None, LIMIT_S)
    assert CacheFolder(cache).shares() == {}


@pytest.mark.parametrize("what", ["content", "limit", "kind", "ffmpeg", "dh", "format"])
def test_all_that_decides_an_answer_is_in_its_key(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = probe_key(VideoInfo, "aa", LIMIT_S)
    assert probe_key(VideoInfo, "aa", LIMIT_S) == before
    if what == "ffmpeg":
        monkeypatch.setattr(probes, "ffmpeg_build", lambda _: "another one")
    if what == "dh":
        monkeypatch.setattr(probes, "__version__", "9.9")
    if what == "format":
        monkeypatch.setattr(probes, "FORMAT", probes.FORMAT + 1)
    shape = AudioInfo if what == "kind" else VideoInfo
    assert probe_key(shape, "bb" if what == "content" else "aa", 5.0 if what == "limit" else LIMIT_S) != before


def test_refusals_are_found_anew(scope: Scope, tmp_path: Path) -> None:
    text = tmp_path / "a.mp4"
    text.write_text("no video")
    known = Probes(Store(tmp_path / "cache"))
    with InputFile(text, "video") as file, pytest.raises(DhError, match=r"a\.mp4"):
        known.video(scope, file, "aa", LIMIT_S)
    assert CacheFolder(tmp_path / "cache").shares() == {}


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_what_changes_while_it_is_looked_at_is_not_kept(
    kind: str,
    scope: Scope,
    avatar: Path,
    speech: Path,
    ffmpeg: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else what the new content gave would be believed of the old one, wherever that lies, for ever."""
    original, file = (avatar, tmp_path / "in.mp4") if kind == "video" else (speech, tmp_path / "in.wav")
    other = file.with_stem("other")
    ffmpeg("-t", 1, "-i", original, other)
    file.write_bytes(original.read_bytes())
    os.utime(file, (1000, 1000))
    real = getattr(probes, f"probe_{kind}")

    def overwritten(*args: Any, **how: Any) -> object:
        file.write_bytes(other.read_bytes())
        return real(*args, **how)

    known = Probes(Store(tmp_path / "cache"))
    with monkeypatch.context() as patch, InputFile(file, kind) as opened:
        patch.setattr(probes, f"probe_{kind}", overwritten)
        with pytest.raises(DhError, match=r"in\..* changed while it was read") as raised:
            getattr(known, kind)(scope, opened, "aa", LIMIT_S)
        assert raised.value.code == "input.changed"
    assert CacheFolder(tmp_path / "cache").shares() == {}
    with InputFile(original, kind) as opened:
        assert getattr(known, kind)(scope, opened, "aa", LIMIT_S) == real(scope, opened, max_duration_s=LIMIT_S)


def entry(info: VideoInfo | AudioInfo) -> tuple[dict[str, Any], bytes]:
    """Head, as JSON, and body."""
    body = info.pts.astype("<i8").tobytes() if isinstance(info, VideoInfo) else b""
    return json.loads(probes._head(info)), body


NO_COLOUR = {"range": "tv", "matrix": "bt709,movie=/etc/passwd", "primaries": "unknown", "transfer": "unknown"}


@pytest.mark.parametrize(
    "change",
    [
        {"fps": "0"},
        {"fps": "1/0"},
        {"fps": 25.5},
        {"fps": "1e999999999"},
        {"width": "64"},
        {"width": -64},
        {"frames": 0},
        {"vfr": "yes"},
        {"index": -1},
        {"colour": {"range": "tv"} | {"more": 1}},
        {"sar": "-1"},
        {"surplus": 1},
        {"codec": None},
        {"pts": [0]},
        {"warnings": [["only one"]]},
        {"time_base": "__import__('os')"},
        {"width": 2**31},
        {"width": 64_000, "height": 48_000},
        {"height": 0},
        {"index": 10**6},
        {"audio_streams": -1},
        {"rotation": 360},
        {"frames": 4},
        {"frames": 10**12},
        {"frames": 10**400},
        {"fps": "1000"},
        {"fps": "1/1000"},
        {"vfr": False, "warnings": []},
        {"is_image": True},
        {"duration": "1/100"},
        {"duration": "1000"},
        {"duration": f"1/{10**29}"},
        {"time_base": f"{10**29}"},
        {"sar": f"{2**31}/{2**31 - 1}"},
        {"source_colour": {"range": "tv", "matrix": "fcc", "primaries": "unknown", "transfer": "unknown"}},
        {"colour": NO_COLOUR, "source_colour": NO_COLOUR},
        {"pix_fmt": "yuv420p10le"},
        {"pix_fmt": "yuv420p,movie=/etc/passwd"},
        {"codec": "h264\n\x1b[2J"},
        {"container": "x" * 100_000},
        {"warnings": []},
        {"warnings": [["input.vfr", "Everything is fine."]]},
    ],
    ids=lambda change: str(change)[:60],
)
def test_only_what_a_probe_can_have_said_is_believed(
    change: dict[str, object], asked: list[str], tmp_path: Path
) -> None:
    """Whoever can write to the folder can also make a checksum."""
    head, body = entry(VIDEO)
    store, key = Store(tmp_path), probe_key(VideoInfo, "aa", LIMIT_S)
    store.put(KIND, key, json.dumps(head | change).encode(), lambda: [body])
    look(Probes(store))
    assert asked == ["video", "audio"]
    look(Probes(store))
    assert asked == ["video", "audio"], "it was replaced"


@pytest.mark.parametrize(
    "change",
    [
        {"index": -1},
        {"codec": "aac -f null"},
        {"sample_rate": 0},
        {"sample_rate": 2**31},
        {"channels": -1},
        {"channels": 10**9},
        {"samples": 0},
        {"samples": 10**18},
        {"samples": 10**400},
        {"warnings": [["input.vfr", "It is no video."]]},
    ],
    ids=lambda change: str(change)[:60],
)
def test_only_what_a_probe_can_have_said_of_a_sound_is_believed(
    change: dict[str, object], asked: list[str], tmp_path: Path
) -> None:
    head, _ = entry(AUDIO)
    store, key = Store(tmp_path), probe_key(AudioInfo, "aa", LIMIT_S)
    store.put(KIND, key, json.dumps(head | change).encode())
    look(Probes(store))
    assert asked == ["video", "audio"]


@pytest.mark.parametrize("head", [b"", b"{", b"[]", b"\x80\x04N.", b"null", b"[" * 5000], ids=str)
def test_a_head_that_is_no_json(head: bytes, asked: list[str], tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(KIND, probe_key(AudioInfo, "aa", LIMIT_S), head)
    look(Probes(store))
    assert asked == ["video", "audio"]


@pytest.mark.parametrize(
    "times",
    [
        *([], [0], [0, 0, 0], [5, 4, 6], [0, 1001, 2**62], [-(2**62), 0, 2**62], [-(2**63), 0, 2**63 - 1]),
        [0, 1001, 30_000],
    ],
    ids=str,
)
@pytest.mark.parametrize("cut", [0, 1])
def test_times_that_cannot_be(times: list[int], cut: int, asked: list[str], tmp_path: Path) -> None:
    store, body = Store(tmp_path), np.array(times, "<i8").tobytes()
    store.put(KIND, probe_key(VideoInfo, "aa", LIMIT_S), probes._head(VIDEO), lambda: [body[: len(body) - cut]])
    look(Probes(store))
    assert asked == ["video", "audio"]


@pytest.mark.usefixtures("asked")
def test_an_entry_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it kept, where it is an honest one: the memory of a run has a limit."""
    with monkeypatch.context() as small:
        small.setattr(probes, "BODY_BYTES", 16)
        look(Probes(Store(tmp_path)))
        assert CacheFolder(tmp_path).shares()[KIND].entries == 1, "that of the sound"
    look(Probes(Store(tmp_path)))
    assert Probes(Store(tmp_path)).has(JOB, "aa", "aa", LIMIT_S)
    monkeypatch.setattr(probes, "BODY_BYTES", 16)
    assert not Probes(Store(tmp_path)).has(JOB, "aa", "aa", LIMIT_S)


def test_memory_is_bounded(asked: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(probes, "MAX_UNHASHED", 4)
    known = Probes(Store(tmp_path / "cache"))
    for number in range(6):
        path = tmp_path / f"{number}"
        path.write_text("a video")
        look(known, path, sha256=None)
        look(known, path, sha256=None)
    assert len(asked) == 12
    assert len(known._unhashed) == 4


def test_a_cache_without_rights_is_none(asked: list[str], tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    look(Probes(Store(tmp_path)))
    look(Probes(Store(tmp_path)))
    assert asked == ["video", "audio"] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
