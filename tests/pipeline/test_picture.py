"""What results and `dh score` say of pictures: each fault of a picture moves the figure that names it, by how much."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dhcli.disk.store import Store
from dhcli.families.dh_base.blend import Blender
from dhcli.manifest import single_job
from dhcli.render.models import Models
from dhcli.render.probes import Probes
from dhcli.results.parts import Picture
from dhcli.results.result import JobResult, read_result
from dhcli.runs.batch import Batch
from dhcli.runs.settings import Settings
from dhcli.score.report import Score
from dhcli.score.run import Request, score
from dhcli.types import Frame

Ffmpeg = Callable[..., None]
Render = Callable[..., JobResult]
Figures = Callable[..., Score]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sound(speech: Path, tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> Path:
    """4 s of speech."""
    path = tmp_path_factory.mktemp("sound") / "speech.wav"
    ffmpeg("-ss", 0.5, "-t", 4, "-i", speech, path)
    return path


@pytest.fixture(scope="module")
def spoken(sound: Path, avatar: Path, models: Models, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The avatar says it."""
    output = tmp_path_factory.mktemp("spoken") / "out.mp4"
    settings = Settings(models, probes=Probes(store))
    Batch(settings, lambda _: None).run(single_job(sound, avatar, output).jobs)
    return output


@pytest.fixture(scope="module")
def figures(models: Models) -> Figures:
    return lambda video, **others: score(Request(video, **others), models)


@pytest.fixture(scope="module")
def base(spoken: Path, figures: Figures) -> Score:
    return figures(spoken)


def correlation(found: Score) -> float:
    assert found.correlation is not None
    return found.correlation


def test_a_render_is_in_step_with_its_sound(base: Score) -> None:
    assert correlation(base) > 0.9
    assert abs(base.lag_ms or 0) <= 40
    assert (base.frames, base.with_face, base.warnings) == (100, 1.0, ())
    assert (base.face_px or 0) == pytest.approx(100, abs=5)


@pytest.mark.parametrize("shift_ms", [200, -200])
def test_a_shifted_sound_moves_the_lag(
    base: Score, spoken: Path, sound: Path, figures: Figures, ffmpeg: Ffmpeg, tmp_path: Path, shift_ms: int
) -> None:
    shifted, skipped_s = tmp_path / "shifted.wav", max(0, -shift_ms) / 1000
    ffmpeg("-ss", skipped_s, "-i", sound, "-af", f"adelay={max(0, shift_ms)}", shifted)
    found = figures(spoken, audio=shifted)
    assert (found.lag_ms or 0) - (base.lag_ms or 0) == pytest.approx(-shift_ms, abs=40)


def test_another_sound_takes_half_of_the_correlation(
    base: Score, spoken: Path, sound: Path, figures: Figures, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    backward = tmp_path / "backward.wav"
    ffmpeg("-i", sound, "-af", "areverse", backward)
    found = figures(spoken, audio=backward)
    assert found.correlation is None or found.correlation < correlation(base) / 2


def test_a_frozen_mouth_is_still(sound: Path, avatar: Path, figures: Figures, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    frozen = tmp_path / "frozen.mp4"
    ffmpeg("-i", avatar, "-i", sound, "-vf", "loop=99:1:0,setpts=N/25/TB", "-frames:v", 100, frozen)
    found = figures(frozen)
    assert [one.code for one in found.warnings] == ["mouth.still"]
    assert (found.opening or 0) < 0.02 < (found.asked or 0) / 4
    assert found.correlation is None


def test_a_blurred_mouth_loses_its_sharpness(spoken: Path, figures: Figures, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    blurred = tmp_path / "blurred.mp4"
    graph = "[0:v]split[a][b];[b]crop=76:60:164:156,gblur=2[mouth];[a][mouth]overlay=164:156"
    ffmpeg("-i", spoken, "-filter_complex", graph, "-crf", 12, "-c:a", "copy", blurred)
    found = figures(blurred, original=spoken)
    assert found.against is not None
    assert (found.against.sharpness or 1) < 0.4
    assert [one.code for one in found.warnings] in (["picture.soft"], [])
    assert (found.against.opening or 0) == pytest.approx(1, abs=0.15), "it moves as before"
    assert (found.against.outside_mean or 9) < 1


def test_half_the_movement_is_half_the_range(
    sound: Path, avatar: Path, render: Render, figures: Figures, tmp_path: Path
) -> None:
    whole = (render(sound, avatar, gain=1.0), figures(tmp_path / "out.mp4"))[1]
    result = render(sound, avatar, gain=0.5, if_exists="overwrite")
    found = figures(tmp_path / "out.mp4")
    assert (found.opening or 0) / (whole.opening or 1) == pytest.approx(0.5, abs=0.12)
    assert correlation(found) > 0.85
    picture = picture_of(result)
    assert picture.shown == pytest.approx(found.opening, rel=0.3)


def picture_of(result: JobResult) -> Picture:
    assert result.picture is not None, result.error
    return result.picture


def test_the_result_says_what_the_score_says(base: Score, spoken: Path) -> None:
    result = read_result(spoken.with_name("out.mp4.json"))
    assert result is not None
    picture = picture_of(result)
    assert picture.looked >= 12
    assert (picture.correlation or 0) > 0.85
    assert abs(picture.lag_ms or 0) <= 60
    assert picture.shown == pytest.approx(base.opening, rel=0.25)
    assert picture.shown == pytest.approx(picture.asked, rel=0.4)
    assert picture.sharpness == pytest.approx(base.sharpness, rel=0.4)
    assert picture.source_sharpness == pytest.approx(picture.sharpness, rel=0.3)
    assert picture.kept.model_dump() == {"missing": 0, "covered": 0, "left": 0}


def test_a_large_output_is_looked_at_in_stretches(
    sound: Path, avatar: Path, render: Render, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    large, graph = tmp_path / "large.mp4", "scale=1280:960,drawbox=enable='lt(n,10)':color=black:t=fill"
    ffmpeg("-i", avatar, "-vf", graph, "-preset", "ultrafast", large)
    picture = picture_of(render(sound, large, preset="ultrafast", max_face_missing=1))
    assert picture.looked >= 12
    assert (picture.correlation or 0) > 0.85
    assert abs(picture.lag_ms or 0) <= 60
    assert picture.face_px == pytest.approx(320, rel=0.05)
    assert picture.kept.missing == pytest.approx(0.1, abs=0.03)


@pytest.fixture
def dumb(monkeypatch: pytest.MonkeyPatch) -> None:
    """A face network that leaves every mouth as it is."""

    def blend(_: Blender, frame: Frame, *__: object) -> Frame:
        return frame

    monkeypatch.setattr(Blender, "blend", blend)


@pytest.fixture
def still(avatar: Path, ffmpeg: Ffmpeg, tmp_path: Path) -> Path:
    path = tmp_path / "still.png"
    ffmpeg("-i", avatar, "-frames:v", 1, path)
    return path


def codes(result: JobResult) -> list[str]:
    return [warning.code for warning in result.warnings]


@pytest.mark.usefixtures("dumb")
def test_a_mouth_that_does_not_move_is_told(sound: Path, still: Path, render: Render) -> None:
    result = render(sound, still, limit_frames=40)
    assert result.status == "succeeded"
    assert codes(result) == ["mouth.still"]
    picture = picture_of(result)
    assert (picture.shown or 0) < 0.02 < (picture.asked or 0) / 4


@pytest.mark.usefixtures("dumb")
def test_strict_makes_it_a_failure_each_time(sound: Path, still: Path, render: Render, tmp_path: Path) -> None:
    strict, output = frozenset({"mouth.still"}), tmp_path / "out.mp4"

    def failed() -> JobResult:
        result = render(sound, still, limit_frames=20, strict=strict)
        assert (result.status, result.error and result.error.code) == ("failed", "job.strict")
        assert codes(result) == ["mouth.still"]
        assert result.picture is not None
        return result

    failed()
    assert not output.exists()
    result = render(sound, still, limit_frames=20)
    assert (result.status, codes(result)) == ("succeeded", ["mouth.still"])
    before = output.read_bytes()
    assert failed().last_success is not None
    assert output.read_bytes() == before, "an earlier output stays"
    result = render(sound, still, limit_frames=20)
    assert (result.status, codes(result)) == ("skipped", ["mouth.still"])
    failed()
    result = render(sound, still, limit_frames=20, strict=frozenset({"picture.soft"}))
    assert result.status == "skipped", "another warning is not there"
