"""Jobs over a video that was analysed before: the same bytes, and nothing decoded for the analysis."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dhcli.disk import store
from dhcli.disk.folder import CacheFolder
from dhcli.disk.hashes import HashCache
from dhcli.disk.scratch import Scratch
from dhcli.disk.store import Body, Entry, Store
from dhcli.errors import DhError
from dhcli.events import Event, JobFinished, Progress
from dhcli.families.dh_base.family import DhBase
from dhcli.families.dh_base.profile import PERSON, REFERENCE
from dhcli.jobs.options import Job
from dhcli.manifest import single_job
from dhcli.media.input_file import InputFile
from dhcli.media.reader import read_frames
from dhcli.networks.model import Model
from dhcli.render import face_track
from dhcli.render.face_finder import FaceFinder
from dhcli.render.face_track import PROFILE, TRACK, Analysis, profile_key, track_key
from dhcli.render.models import Models
from dhcli.render.plan import Contents, Plan, PlanInputs, analysed_frames, plan_job
from dhcli.render.probes import Probes
from dhcli.render.trace import Trace
from dhcli.render.track_file import FaceTrack, unpack
from dhcli.render.track_record import HIDDEN, RECORD
from dhcli.results.result import JobResult, read_result
from dhcli.runs.batch import Batch
from dhcli.runs.settings import Settings
from dhcli.runtime.scope import Scope, Stopped
from dhcli.types import FaceRow

FRAMES = 20
Ffmpeg = Callable[..., None]


@pytest.fixture(scope="module")
def clip(avatar: Path, tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> Path:
    """20 frames; the last five show no face."""
    path = tmp_path_factory.mktemp("clip") / "clip.mkv"
    ffmpeg("-i", avatar, "-frames:v", FRAMES, "-vf", "drawbox=t=fill:c=black:enable='gte(n,15)'", "-c:v", "ffv1", path)
    return path


@pytest.fixture(scope="module")
def words(speech: Path, tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> tuple[Path, Path]:
    """0.4 s and 0.6 s of speech: 10 and 15 frames."""
    folder = tmp_path_factory.mktemp("words")
    for name, seconds in (("short", 0.4), ("long", 0.6)):
        ffmpeg("-ss", 2, "-t", seconds, "-i", speech, folder / f"{name}.wav")
    return folder / "short.wav", folder / "long.wav"


@dataclasses.dataclass(frozen=True)
class Done:
    result: JobResult
    events: list[Event]
    content: str

    @property
    def analysed(self) -> int:
        """Frames that the analysis looked at."""
        return sum(isinstance(event, Progress) and event.stage == "analyse" for event in self.events)


Run = Callable[..., Done]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def run(models: Models, clip: Path, words: tuple[Path, Path], cache: Path, tmp_path: Path) -> Run:
    """Render one job as a process with this cache would; options as in a manifest."""

    def render(
        audio: Path = words[0],
        video: Path = clip,
        *,
        folder: Path | None = cache,
        how: dict[str, Any] | None = None,
        **options: str,
    ) -> Done:
        jobs = single_job(audio, video, tmp_path / "out.mp4", {"preset": "ultrafast", **options}).jobs
        settings = Settings(models, if_exists="overwrite", hashes=HashCache(folder), **(how or {}))
        settings = dataclasses.replace(settings, probes=Probes(Store(folder)))
        events: list[Event] = []
        Batch(settings, events.append).run(jobs)
        result = read_result(settings.result_path(jobs[0]))
        assert result is not None
        output = tmp_path / "out.mp4"
        content = hashlib.sha256(output.read_bytes()).hexdigest() if output.exists() else ""
        return Done(result, events, content)

    return render


def decoders(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stages for which the video is decoded from now on."""
    stages: list[str] = []
    real = read_frames

    def read(*args: Any, **options: Any) -> Any:
        stages.append(options["stage"])
        return real(*args, **options)

    monkeypatch.setattr("dhcli.render.face_track.read_frames", read)
    return stages


@pytest.mark.slow
def test_warm_is_cold_bit_for_bit(run: Run, words: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    without = run(folder=None)
    stages = decoders(monkeypatch)
    cold, warm = run(), run()
    assert [done.result.analysis for done in (without, cold, warm)] == ["made", "made", "cached"]
    assert without.content == cold.content == warm.content
    assert stages == ["analyse"]
    assert [done.analysed for done in (cold, warm)] == [FRAMES, 1]
    told = [event.analysis for event in cold.events + warm.events if isinstance(event, JobFinished)]
    assert told == ["made", "cached"]
    other = run(words[1])
    assert other.result.analysis == "cached", "another speech needs no other analysis"
    assert other.content == run(words[1], folder=None).content


@pytest.mark.slow
def test_only_frames_that_are_shown_count_as_missing(
    run: Run, speech: Path, words: tuple[Path, Path], ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    long = tmp_path / "long.wav"
    ffmpeg("-ss", 2, "-t", 1, "-i", speech, long)
    for _ in range(2):
        shown = run(words[1]).result
        assert (shown.status, shown.frames.face_missing, shown.frames.face_missing_ranges) == ("succeeded", 0, ())
        assert shown.warnings == ()
        longer = run(long).result
        assert (longer.frames.face_missing, longer.frames.face_missing_ranges) == (5, ((15, 19),))
        assert "5 of 20 frames" in longer.warnings[0].message


@pytest.mark.slow
def test_a_face_that_comes_after_all_that_is_shown(run: Run, avatar: Path, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    late = tmp_path / "late.mkv"
    ffmpeg("-i", avatar, "-frames:v", 30, "-vf", "drawbox=t=fill:c=black:enable='lt(n,15)'", "-c:v", "ffv1", late)
    for _ in range(2):
        error = run(video=late).result.error
        assert error is not None
        assert error.code == "face.not_found"
        assert "10 frames that are shown" in error.message
        assert str(late) in error.message


@pytest.mark.slow
def test_a_quick_look_analyses_no_more_than_it_shows(run: Run) -> None:
    assert run(how={"limit_frames": 3}).analysed == 3
    assert run(how={"limit_frames": 3}).result.analysis == "cached"
    assert run().result.analysis == "made"


@pytest.mark.parametrize(
    ("available", "needed", "analysed"),
    [
        *[(1, 1, 1), (200, 25, 200), (750, 1, 750), (751, 1, 750), (9000, 750, 750)],
        *[(9000, 751, 1500), (9000, 3200, 6000), (9000, 6001, 9000), (9000, 9000, 9000)],
    ],
)
def test_how_much_of_a_video_is_analysed(available: int, needed: int, analysed: int) -> None:
    assert analysed_frames(available, needed, Fraction(25)) == analysed
    assert analysed_frames(10_000, 900, Fraction(30000, 1001)) == 1799, "899.1 frames are 30 s"


@pytest.fixture(scope="module")
def plan(clip: Path, words: tuple[Path, Path]) -> Iterator[Plan]:
    job = single_job(words[0], clip, words[0].with_name("out.mp4"), {}).jobs[0]
    with Scope() as scope, InputFile(clip, "video") as video, InputFile(words[0], "audio") as audio:
        yield plan_job(job, PlanInputs(video, audio, contents=Contents("v", "a")), scope, Trace(), Probes())


def other_job(plan: Plan, **options: object) -> Job:
    return dataclasses.replace(plan.job, options=plan.job.options.model_copy(update=options))


@pytest.mark.parametrize(
    "what",
    [
        *("content", "frames", "fps", "face", "photo", "networks", "provider"),
        *("dh", "analysis", "format", "ffmpeg", "onnxruntime", "opencv", "numpy"),
    ],
)
def test_all_that_decides_a_track_is_in_its_key(
    what: str, plan: Plan, finder: FaceFinder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = track_key(plan, finder)
    photo = dataclasses.replace(plan, job=other_job(plan, face="like:/a.jpg"), contents=Contents("v", "a", "p"))
    match what:
        case "content":
            plan = dataclasses.replace(plan, contents=Contents("w", "a"))
        case "frames":
            plan = dataclasses.replace(plan, analysed_frames=19)
        case "fps":
            plan = dataclasses.replace(plan, format=dataclasses.replace(plan.format, fps=Fraction(24)))
        case "face":
            plan = dataclasses.replace(plan, job=other_job(plan, face="left"))
        case "photo":
            before, plan = track_key(photo, finder), dataclasses.replace(photo, contents=Contents("v", "a", "q"))
        case "networks":
            files = dict(finder.bundle.files)
            files["detect"] = dataclasses.replace(files["detect"], sha256="0" * 64)
            monkeypatch.setattr(finder, "bundle", dataclasses.replace(finder.bundle, files=files))
        case "provider":
            monkeypatch.setattr(FaceFinder, "providers", "CUDAExecutionProvider CPUExecutionProvider")
        case "onnxruntime":
            monkeypatch.setattr(face_track, "runtime_version", lambda: "9.9")
        case "opencv":
            monkeypatch.setattr("cv2.__version__", "9.9")
        case "numpy":
            monkeypatch.setattr(np, "__version__", "9.9")
        case "ffmpeg":
            monkeypatch.setattr(face_track, "ffmpeg_build", lambda _: "another one")
        case _:
            name = {"dh": "__version__", "analysis": "VERSION", "format": "FORMAT"}[what]
            monkeypatch.setattr(face_track, name, "9.9")
    assert track_key(plan, finder) != before


@pytest.mark.parametrize("what", ["track", "name", "version", "bundle", "provider", "precision"])
def test_all_that_decides_a_profile_is_in_its_key(what: str, dh_base: DhBase, monkeypatch: pytest.MonkeyPatch) -> None:
    before = profile_key("t", dh_base)
    match what:
        case "name" | "version":
            monkeypatch.setattr(DhBase, what, "9")
        case "bundle":
            changed = dataclasses.replace(dh_base.model.bundle, family="other")
            monkeypatch.setattr(dh_base.model, "bundle", changed)
        case "provider":
            monkeypatch.setattr(Model, "provider", "CUDAExecutionProvider")
        case "precision":
            monkeypatch.setattr(dh_base.model, "precision", "fp16")
    assert profile_key("u" if what == "track" else "t", dh_base) != before


def test_what_does_not_decide_a_track_is_not_in_its_key(plan: Plan, finder: FaceFinder, tmp_path: Path) -> None:
    key = track_key(plan, finder)
    assert key is not None
    moved = dataclasses.replace(other_job(plan, gain=2.0, crf=30, loop="hold"), save_path=tmp_path / "other.mp4")
    assert track_key(dataclasses.replace(plan, job=moved, contents=Contents("v", "b")), finder) == key
    here, there = (
        dataclasses.replace(plan, job=other_job(plan, face=f"like:/{name}.jpg"), contents=Contents("v", "a", "p"))
        for name in ("here", "there")
    )
    assert track_key(here, finder) == track_key(there, finder)


def test_without_a_content_there_is_no_key(plan: Plan, finder: FaceFinder) -> None:
    assert track_key(dataclasses.replace(plan, contents=Contents(None, "a")), finder) is None
    assert track_key(dataclasses.replace(plan, job=other_job(plan, face="like:/a.jpg")), finder) is None


@pytest.fixture(scope="module")
def finder(models: Models) -> FaceFinder:
    return models.finder


@pytest.fixture
def analysis(plan: Plan, finder: FaceFinder, dh_base: DhBase) -> Callable[[Scope, Store], Analysis]:
    """The analysis of the clip, in a scope and with a store."""
    return lambda scope, store: Analysis(
        plan, finder, dh_base, scope, Trace(), lambda *_: None, store, Scratch(plan.job.save_path)
    )


@pytest.fixture(scope="module")
def kept(plan: Plan, finder: FaceFinder, dh_base: DhBase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds the clip's track."""
    folder = tmp_path_factory.mktemp("kept")
    with Scope() as scope:
        scratch = Scratch(plan.job.save_path)
        track, _ = Analysis(plan, finder, dh_base, scope, Trace(), lambda *_: None, Store(folder), scratch).run()
        track.close()
    return folder


def the_track(cache: Path) -> Path:
    return the_entry(cache, TRACK)


def the_entry(cache: Path, kind: str) -> Path:
    (path,) = (cache / "store" / kind).iterdir()
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "analysis"), [(TRACK, "made"), (PROFILE, "cached")])
@pytest.mark.parametrize("damage", ["one bit", "cut", "gone", "foreign"])
def test_a_damaged_entry_is_made_anew(run: Run, cache: Path, damage: str, kind: str, analysis: str) -> None:
    cold = run()
    path = the_entry(cache, kind)
    original = path.read_bytes()
    content = bytearray(original)
    match damage:
        case "one bit":
            content[-7000] ^= 4
            path.write_bytes(content)
        case "cut":
            path.write_bytes(content[:-1400])
        case "gone":
            path.unlink()
        case "foreign":
            path.write_bytes(b"GIF89a")
    again, warm = run(), run()
    assert [again.result.analysis, warm.result.analysis] == [analysis, "cached"]
    assert cold.content == again.content == warm.content
    assert the_entry(cache, kind).read_bytes() == bytes(original)


def nothing(_: bytes) -> bytes:
    return b""


def twice(kept: bytes) -> bytes:
    return kept * 2


def cut_short(kept: bytes) -> bytes:
    return kept[:-2]


def person_with(field: str, value: float) -> Callable[[bytes], bytes]:
    def forge(kept: bytes) -> bytes:
        person = np.frombuffer(kept, PERSON, 1).copy()
        person[field] = value
        return person.tobytes() + kept[PERSON.itemsize :]

    return forge


def reference_with(field: str, value: float) -> Callable[[bytes], bytes]:
    def forge(kept: bytes) -> bytes:
        reference = np.frombuffer(kept, REFERENCE, 1, PERSON.itemsize).copy()
        reference[field] = value
        return kept[: PERSON.itemsize] + reference.tobytes() + kept[PERSON.itemsize + REFERENCE.itemsize :]

    return forge


FORGERIES = {
    "nothing": nothing,
    "twice": twice,
    "shorter": cut_short,
    "no place": person_with("rest", np.nan),
    "far": person_with("rest", 1e30),
    "no spread": person_with("spread", np.nan),
    "references": person_with("references", 0xFFFFFFFF),
    "one less": person_with("references", 1),
    "odd size": reference_with("size", 33),
    "large": reference_with("size", 1 << 14),
    "flat": reference_with("matrix", 0.0),
    "nan": reference_with("points", np.nan),
}


@pytest.mark.slow
@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_profile_is_made_anew(run: Run, cache: Path, forge: Callable[[bytes], bytes]) -> None:
    """Its checksum is right, and what it says is not."""
    cold = run()
    path = the_entry(cache, PROFILE)
    original = path.read_bytes()
    entry = Store(cache).get(PROFILE, path.name)
    assert entry is not None
    with entry:
        forged = forge(entry.body())
    Store(cache).put(PROFILE, path.name, b"", lambda: [forged])
    again = run()
    assert (again.result.status, again.result.analysis) == ("succeeded", "cached"), again.result.error
    assert again.content == cold.content
    assert path.read_bytes() == original, "it is replaced"


@pytest.mark.slow
def test_a_profile_is_made_without_looking_for_faces(run: Run, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A video that was analysed for another family is only decoded once more."""
    cold = run()
    the_entry(cache, PROFILE).unlink()
    stages = decoders(monkeypatch)
    monkeypatch.setattr(FaceFinder, "detect", lambda *_: pytest.fail("the track is there"))
    again = run()
    assert (again.result.analysis, stages, again.content) == ("cached", ["analyse"], cold.content)


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 21},
        {"frames": "20"},
        {"persons": 0},
        {"persons": 2},
        {"cuts": [20]},
        {"missing_ranges": [[3, 2]]},
        {"missing_ranges": [[1, 2], [3, 4]]},
        {"missing_ranges": [[15, 20]]},
        {"missing_ranges": []},
        {"missing_ranges": [[15, 18]]},
        {"frames": 10**12},
        {"cuts": [5, 5]},
        {"cuts": list(range(1, 20)) * 1000},
        {"searched": 21},
        {"searched": -1},
        {"more": 1},
        {"covered_ranges": [[3, 4]]},
        {"covered_ranges": [[19, 20]]},
        {"record": ("state", 4)},
        {"record": ("state", 5)},
        {"record": ("person", 1)},
        {"record": ("scale", np.nan)},
        {"record": ("scale", -1)},
        {"record": ("scale", 1e-40)},
        {"record": ("scale", 1e9)},
        {"record": ("rotation", 0)},
        {"record": ("rotation", -np.eye(3))},
        {"record": ("rotation", np.nan)},
        {"record": ("translation", 1e30)},
        {"record": ("weight", -1)},
        {"record": ("weight", 1e6)},
        {"record": ("relief", np.nan)},
        {"record": ("relief", -1)},
        {"record": ("relief", 4)},
        {"record": ("box", np.inf)},
        {"record": ("box", 2000)},
        {"record": ("box", 0)},
        {"record": ("points", 0)},
    ],
    ids=lambda change: str(change)[:60],
)
def test_only_what_the_analysis_can_have_written_is_a_track(
    change: dict[str, Any], kept: Path, cache: Path, plan: Plan, finder: FaceFinder
) -> None:
    """Whoever can write to the folder can also make a checksum."""
    key = the_track(kept).name
    head, body = content_of(kept)
    if (record := change.get("record")) is not None:
        records_of(body)[record[0]][2] = record[1]
    else:
        head |= change
    Store(cache).put(TRACK, key, json.dumps(head).encode(), lambda: [bytes(body)])
    forged = Store(cache).get(TRACK, key)
    assert forged is not None, "its checksum is right"
    assert unpack(forged, finder.mesh, plan.format, FRAMES, Scratch(cache / "out.mp4"), lambda: None) is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(forged.fd)


def test_a_person_who_is_never_seen_is_none(kept: Path, cache: Path, plan: Plan, finder: FaceFinder) -> None:
    """A profiler has nothing to say of such a person."""
    key = the_track(kept).name
    head, body = content_of(kept)
    records_of(body)["state"][:15] = HIDDEN
    Store(cache).put(TRACK, key, json.dumps(head).encode(), lambda: [bytes(body)])
    forged = Store(cache).get(TRACK, key)
    assert forged is not None
    assert unpack(forged, finder.mesh, plan.format, FRAMES, Scratch(cache / "out.mp4"), lambda: None) is None


def content_of(cache: Path) -> tuple[dict[str, Any], bytearray]:
    """Head and body of the one track in a cache."""
    entry = Store(cache).get(TRACK, the_track(cache).name)
    assert entry is not None
    with entry:
        return json.loads(entry.head), bytearray(entry.body())


def records_of(body: bytearray) -> np.typing.NDArray[np.void]:
    """The records in a body; what is written to them is written there."""
    return np.frombuffer(body, RECORD)


def shorter(head: dict[str, Any], body: bytearray) -> None:
    head |= {"frames": 12, "searched": 0, "missing_ranges": []}
    del body[-8 * RECORD.itemsize :]


def present(head: dict[str, Any], _: bytearray) -> None:
    head["missing_ranges"] = []


def absent(_: dict[str, Any], body: bytearray) -> None:
    records_of(body)["state"][:] = 0


def tiny(_: dict[str, Any], body: bytearray) -> None:
    records_of(body)["scale"][:] = 1e-40


def nowhere(_: dict[str, Any], body: bytearray) -> None:
    records_of(body)["translation"][:] = 1e30


def flat(_: dict[str, Any], body: bytearray) -> None:
    records_of(body)["rotation"][:] = 0


def wide(_: dict[str, Any], body: bytearray) -> None:
    records_of(body)["box"][:] = 1e30


@pytest.mark.slow
@pytest.mark.parametrize("forge", [shorter, present, absent, tiny, nowhere, flat, wide])
def test_a_forged_track_is_made_anew(run: Run, cache: Path, forge: Callable[[dict[str, Any], bytearray], None]) -> None:
    """Its checksum is right, and what it says is not."""
    cold = run()
    key, original = the_track(cache).name, the_track(cache).read_bytes()
    head, body = content_of(cache)
    forge(head, body)
    Store(cache).put(TRACK, key, json.dumps(head).encode(), lambda: [bytes(body)])
    again = run()
    assert (again.result.status, again.result.analysis) == ("succeeded", "made"), again.result.error
    assert again.content == cold.content
    assert the_track(cache).read_bytes() == original, "it is replaced"


NUMBERS = (0, -1, 1, 3, 0.5, 100, 5000, -5000, 1e-40, 1e9, 1e30, 1e300, np.nan, np.inf, -np.inf)


@pytest.mark.slow
def test_whatever_is_believed_of_a_track_can_be_rendered(
    kept: Path, cache: Path, plan: Plan, finder: FaceFinder
) -> None:
    """Any number in any field, once, for a frame, or for all of them: refused, or what follows from it is a number."""
    chance = np.random.default_rng(1)
    key, (head, original) = the_track(kept).name, content_of(kept)
    believed = 0
    for _ in range(400):
        body = bytearray(original)
        records = records_of(body)
        frame = int(chance.integers(15))
        where = (records[:15], records[frame : frame + 1])[chance.integers(2)]
        names = where.dtype.names or ()
        field = where[names[chance.integers(len(names))]]
        number, times = NUMBERS[chance.integers(len(NUMBERS))], chance.random() < 0.5
        with np.errstate(all="ignore"):
            field[...] = ((field if times else 1.0) * np.full(field.shape, float(number))).astype(field.dtype)
        forged = bytes(body)
        Store(cache).put(TRACK, key, json.dumps(head).encode(), lambda forged=forged: [forged])  # type: ignore[misc]
        entry = Store(cache).get(TRACK, key)
        assert entry is not None
        track = unpack(entry, finder.mesh, plan.format, FRAMES, Scratch(cache / "out.mp4"), lambda: None)
        if track is None:
            continue
        believed += 1
        with track:
            rows = [row for row in map(track.row, range(FRAMES)) if row is not None]
            assert len(rows) == 15
            numbers = np.concatenate([np.ravel(part) for row in rows for part in parts_of(row)])
            assert (np.abs(numbers) < 1e4).all()
    assert 20 < believed < 200


def parts_of(row: FaceRow) -> tuple[Any, ...]:
    """All numbers of a row."""
    return row.points, row.pose.scale, row.pose.rotation, row.pose.translation, row.weight, row.box.centre


def test_a_track_from_the_store_is_the_track(kept: Path, plan: Plan, finder: FaceFinder, tmp_path: Path) -> None:
    entry = Store(kept).get(TRACK, the_track(kept).name)
    assert entry is not None
    track = unpack(entry, finder.mesh, plan.format, FRAMES, Scratch(tmp_path / "out.mp4"), lambda: None)
    assert isinstance(track, FaceTrack)
    with track:
        again = Store(tmp_path / "again")
        head, body = track.pack(lambda: None)
        again.put(TRACK, the_track(kept).name, head, body)
        assert the_track(tmp_path / "again").read_bytes() == the_track(kept).read_bytes()
        assert (track.frames, track.totals.missing_ranges, track.totals.persons) == (FRAMES, ((15, 19),), 1)
        assert track.missing_among(17) == ((15, 16),)
        assert track.missing_among(15) == ()


def replaced_by(monkeypatch: pytest.MonkeyPatch, change: Callable[[Path, Entry], Entry]) -> None:
    """Tracks change between being found sound and being read."""
    real = Store.get

    def get(store: Store, kind: str, key: str, *alive: Any) -> Entry | None:
        entry = real(store, kind, key, *alive)
        if entry is None or kind != TRACK or store._folder.path is None:
            return entry
        return change(store._folder.path / "store" / kind / key, entry)

    monkeypatch.setattr(Store, "get", get)


def cut_in_the_first_record(path: Path, entry: Entry) -> Entry:
    os.truncate(path, entry.start + 100)
    return entry


def cut_in_the_records(path: Path, entry: Entry) -> Entry:
    os.truncate(path, entry.start + entry.size - 1)
    return entry


def unreadable(_: Path, entry: Entry) -> Entry:
    """The first page of a process cannot be read: EIO, as a network's disk says it."""
    os.close(entry.fd)
    return dataclasses.replace(entry, fd=os.open("/proc/self/mem", os.O_RDONLY))


@pytest.mark.slow
@pytest.mark.parametrize("change", [cut_in_the_first_record, cut_in_the_records, unreadable])
def test_a_track_that_cannot_be_read_any_more_is_made_anew(
    run: Run, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path, Entry], Entry]
) -> None:
    cold = run()
    before = len([*Path("/proc/self/fd").iterdir()])
    with monkeypatch.context() as patch:
        patch.setattr(store, "BLOCK_BYTES", 4096)  # else so short a track is read in one go
        replaced_by(patch, change)
        again = run()
    assert len([*Path("/proc/self/fd").iterdir()]) == before
    assert (again.result.status, again.result.analysis) == ("succeeded", "made"), again.result.error
    warm = run()
    assert warm.result.analysis == "cached"
    assert cold.content == again.content == warm.content


def test_nothing_of_the_cache_is_read_once_the_track_is_there(
    analysis: Callable[[Scope, Store], Analysis], kept: Path, cache: Path
) -> None:
    shutil.copytree(kept, cache)
    with Scope() as scope:
        tour = analysis(scope, Store(cache))
        track, _ = tour.run()
    with track:
        os.truncate(the_track(cache), 0)
        assert tour.trace.analysis == "cached"
        assert [index for index in range(FRAMES) if track.row(index) is None] == [*range(15, 20)]


def changing(monkeypatch: pytest.MonkeyPatch, role: str, change: Callable[[], object]) -> None:
    """An input changes when the analysis is about to read it."""
    real = read_frames

    def read(scope: Scope, file: InputFile, *args: Any, **options: Any) -> Any:
        if file.role == role:
            change()
        return real(scope, file, *args, **options)

    monkeypatch.setattr(face_track, "read_frames", read)


@pytest.mark.slow
@pytest.mark.parametrize("role", ["video", "photo"])
def test_an_input_that_changes_during_the_analysis_leaves_no_track(
    role: str, run: Run, clip: Path, cache: Path, ffmpeg: Ffmpeg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the untouched original would be rendered with the other one's face for ever."""
    video, photo, other = tmp_path / "v.mkv", tmp_path / "p.png", tmp_path / "other"
    video.write_bytes(clip.read_bytes())
    ffmpeg("-i", clip, "-frames:v", 1, photo)
    path = {"video": video, "photo": photo}[role]
    other = path.with_stem("other")
    ffmpeg(
        "-i", path, "-vf", "pad=iw+20:ih:20:0,crop=iw-20:ih:0:0", *(("-c:v", "ffv1") if role == "video" else ()), other
    )
    original = path.read_bytes()
    os.utime(path, (1000, 1000))
    with monkeypatch.context() as patch:
        changing(patch, role, lambda: path.write_bytes(other.read_bytes()))
        changed = run(video=video, face=f"like:{photo}").result
    assert changed.error is not None
    assert (changed.error.code, changed.error.stage) == ("input.changed", "analyse")
    assert str(path) in changed.error.message
    assert TRACK not in CacheFolder(cache).shares()
    path.write_bytes(original)
    again = run(video=video, face=f"like:{photo}")
    assert again.result.analysis == "made"
    assert again.content == run(video=video, face=f"like:{photo}", folder=None).content


@pytest.mark.slow
def test_the_photo_is_the_one_that_was_opened_whatever_its_name_leads_to(
    run: Run, clip: Path, ffmpeg: Ffmpeg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, other = tmp_path / "p.png", tmp_path / "other.png"
    ffmpeg("-i", clip, "-frames:v", 1, photo)
    whole = run(face=f"like:{photo}", folder=None)
    other.write_text("no picture")
    changing(monkeypatch, "photo", lambda: other.replace(photo))
    swapped = run(face=f"like:{photo}")
    assert (swapped.result.status, swapped.result.analysis) == ("succeeded", "made"), swapped.result.error
    assert swapped.content == whole.content


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_fails_no_job(run: Run, cache: Path) -> None:
    cache.write_text("a file")
    done = run()
    assert (done.result.status, done.result.analysis) == ("succeeded", "made")
    ((code, message),) = [(warning.code, warning.message) for warning in done.result.warnings]
    assert code == "cache.unusable"
    assert message.startswith(f"Not kept in the cache: {cache}/store/probe: "), "that is what was tried first"
    assert done.content == run(folder=None).content


def test_a_stop_while_the_cache_is_written_leaves_nothing(
    analysis: Callable[[Scope, Store], Analysis], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = FaceTrack.pack

    def failing(track: FaceTrack, alive: Callable[[], None]) -> tuple[bytes, Body]:
        scope.fail(DhError("job.cancelled", "SIGTERM ended the job."), "signal")
        return packed(track, alive)

    monkeypatch.setattr(FaceTrack, "pack", failing)
    before = len([*Path("/proc/self/fd").iterdir()])
    with pytest.raises(Stopped), Scope() as scope:
        analysis(scope, Store(cache)).run()
    assert [*(cache / "store" / TRACK).iterdir()] == []
    assert len([*Path("/proc/self/fd").iterdir()]) == before


ON_A_SMALL_DISK = """
from dhcli.disk import store
store.RESERVE_BYTES = 1 << 20
from dhcli.cli import main
main()
"""


@pytest.mark.slow
def test_two_processes_that_analyse_the_same_video(
    clip: Path, words: tuple[Path, Path], cache: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "DH_CACHE_DIR": str(cache)}
    argv: list[str | Path] = [
        sys.executable,
        "-c",
        ON_A_SMALL_DISK,
        "render",
        "--audio",
        words[0],
        "--video",
        clip,
        "--device",
        "cpu",
        "-q",
    ]
    outputs = [tmp_path / f"{number}.mp4" for number in range(2)]
    both = [subprocess.Popen([*argv, "--save-path", output], env=environment) for output in outputs]
    try:
        assert [process.wait(110) for process in both] == [0, 0]
    finally:
        for process in both:
            process.kill()
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert len([*(cache / "store" / TRACK).iterdir()]) == 1
