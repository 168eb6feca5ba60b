"""What a network is given and where its picture goes, read back from rendered frames, beside Wav2Lip's own program."""

from __future__ import annotations

import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dhcli.stages.align import to_rgb, yuv_matrix
from dhcli.types import F64, Colour, Frame
from families.probes import CONTRACTS, Says, resized, thirds
from families.studio import LATENT, Studio, Window, grey, painted, psnr, succeeded
from families.wav2lip_sound import grey_of, pieces_of, samples_of

pytestmark = pytest.mark.slow

Decode = Callable[..., list[Frame]]
SIZE = 400, 300
LEVELS, COLOUR_LEVELS = 1.0, 4.0
"""Levels, 0..255, that a grey band may be off, and one of colour: 4:2:0 has 8 bits for a step of up to 2 levels."""
FAITHFUL: dict[str, Any] = {"faithful": "true", "crf": 0}


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(tmp_path_factory.mktemp("studio"))


@pytest.fixture(scope="module")
def filmed(avatar: Path, decoded: Decode) -> list[Frame]:
    return decoded(avatar, *SIZE)


@pytest.fixture(scope="module")
def windows(studio: Studio, speech: Path, avatar: Path, filmed: list[Frame], decoded: Decode) -> list[Window]:
    """Where Wav2Lip's crop lies in each of the first 12 frames."""
    output = studio.folder / "windows.mp4"
    succeeded(studio.render(speech, avatar, output, studio.model("wav2lip", "rows"), limit_frames=12, **FAITHFUL))
    return [painted(new, old) for new, old in zip(decoded(output, *SIZE), filmed, strict=False)]


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("wav2lip", {}),
        ("wav2lip", {"half": True}),
        ("wav2lip", {"batch": 1}),
        ("wav2lip", {"names": {"mel": "faces", "faces": "mel"}}),
        ("wav2lip_256", {}),
    ],
    ids=["96", "fp16", "batch 1", "swapped names", "256"],
)
def test_bands_are_those_of_wav2lips_own_code_frame_by_frame(
    studio: Studio, name: str, how: dict[str, Any], speech: Path, avatar: Path, filmed: list[Frame],
    decoded: Decode, tmp_path: Path,
) -> None:  # fmt: skip
    """The whole clip of 178 frames."""
    output = tmp_path / "out.mp4"
    contract = CONTRACTS[name]
    result = succeeded(studio.render(speech, avatar, output, studio.model(name, "rows", **how), **FAITHFUL))
    frames = decoded(output, *SIZE)
    assert len(frames) == result.frames.planned == 178
    expected = grey_of(pieces_of(samples_of(speech), Fraction(25), len(frames)))
    assert expected.std(0).min() > 15, "the bands say something"
    third = (1 - 2 * contract.edge / contract.size) / 3
    for index, frame in enumerate(frames):
        window, picture = painted(frame, filmed[index]), grey(frame)
        places = [contract.edge / contract.size + (k + 0.5) * third for k in range(3)]
        found = [window.near(picture, 0.5, place) for place in places]
        assert np.abs(found - expected[index]).max() <= LEVELS, (index, found, expected[index])


def test_one_column_late_would_be_seen(speech: Path) -> None:
    """The test above can fail: 12.5 ms of delay, or another scale, are more than it allows."""
    samples = samples_of(speech)
    here = grey_of(pieces_of(samples, Fraction(25), 178))
    late = grey_of(pieces_of(np.concatenate([np.zeros(200), samples]), Fraction(25), 178))
    assert np.abs(late - here).max() > 5 * LEVELS


@pytest.mark.parametrize("size", [96, 288])
def test_an_echo_is_the_input(
    studio: Studio, size: int, speech: Path, avatar: Path, filmed: list[Frame], windows: list[Window],
    decoded: Decode, tmp_path: Path,
) -> None:  # fmt: skip
    output = tmp_path / "out.mp4"
    model = studio.model(resized(CONTRACTS["wav2lip"], size), "echo")
    succeeded(studio.render(speech, avatar, output, model, limit_frames=12, crf=0))
    for new, old, window in zip(decoded(output, *SIZE), filmed, windows, strict=False):
        inside = np.s_[window.top : window.bottom, window.left : window.right]
        assert psnr(new.y[inside].astype(np.float64), old.y[inside].astype(np.float64)) >= 40


def test_a_faithful_echo_is_as_soft_as_its_crop(
    studio: Studio, speech: Path, avatar: Path, filmed: list[Frame], windows: list[Window], decoded: Decode,
    tmp_path: Path,
) -> None:  # fmt: skip
    """288 px hold all of a face that has 180 px in the picture; outside of the crop nothing changes."""
    output = tmp_path / "out.mp4"
    model = studio.model(resized(CONTRACTS["wav2lip"], 288), "echo")
    succeeded(studio.render(speech, avatar, output, model, limit_frames=12, **FAITHFUL))
    for new, old, window in zip(decoded(output, *SIZE), filmed, windows, strict=False):
        inside = np.s_[window.top : window.bottom, window.left : window.right]
        assert psnr(new.y[inside].astype(np.float64), old.y[inside].astype(np.float64)) >= 40
        outside = np.ones(new.y.shape, bool)
        outside[window.top - 1 : window.bottom + 1, window.left - 1 : window.right + 1] = False
        assert np.array_equal(new.y[outside], old.y[outside])


def test_the_mask_is_the_lower_half(
    studio: Studio, speech: Path, avatar: Path, filmed: list[Frame], windows: list[Window], decoded: Decode,
    tmp_path: Path,
) -> None:  # fmt: skip
    """The masked picture comes back: black from the row in the middle on, and the face above it."""
    output = tmp_path / "out.mp4"
    succeeded(studio.render(speech, avatar, output, studio.model("wav2lip", "masked"), limit_frames=12, **FAITHFUL))
    for new, old, window in zip(decoded(output, *SIZE), filmed, windows, strict=False):
        middle = (window.top + window.bottom) / 2
        inside = slice(window.left + 2, window.right - 2)
        below = new.y[int(middle) + 2 : window.bottom - 2, inside]
        assert np.abs(below.astype(int) - 16).max() <= 1
        above = np.s_[window.top + 2 : int(middle) - 2, inside]
        assert psnr(new.y[above].astype(np.float64), old.y[above].astype(np.float64)) > 27
        column = new.y[:, (window.left + window.right) // 2].astype(int)
        edge = int(np.flatnonzero(column[window.top : window.bottom] <= 20)[0]) + window.top
        assert abs(edge - middle) <= 1.5


def test_the_masked_picture_comes_first(
    studio: Studio, speech: Path, avatar: Path, windows: list[Window], decoded: Decode, tmp_path: Path
) -> None:
    """Told that it comes second, dh gives the whole one to a network that takes the first three channels."""
    output = tmp_path / "out.mp4"
    model = studio.model("wav2lip", "masked", settings={"order": ["whole", "masked"]})
    succeeded(studio.render(speech, avatar, output, model, limit_frames=2, **FAITHFUL))
    for new, window in zip(decoded(output, *SIZE), windows, strict=False):
        assert window.near(grey(new), 0.5, 0.75) > 40, "not black"


@pytest.mark.parametrize(("name", "rectangle"), [("ultralight", (5, 5, 150, 145)), ("dinet", (37, 86, 181, 166))])
def test_the_mask_of_the_others_is_their_rectangle(
    studio: Studio, name: str, rectangle: tuple[int, int, int, int], speech: Path, avatar: Path,
    filmed: list[Frame], decoded: Decode, tmp_path: Path,
) -> None:  # fmt: skip
    """Pasted as a whole box, to see all of it."""
    pictures: list[Frame] = []
    says: Says
    for says in ("rows", "masked"):
        output = tmp_path / f"{says}.mp4"
        model = studio.model(name, says, settings={"paste": "box"})
        succeeded(studio.render(speech, avatar, output, model, limit_frames=1, **FAITHFUL))
        pictures += decoded(output, *SIZE)
    size, window, picture = CONTRACTS[name].size, painted(pictures[0], filmed[0]), grey(pictures[1])
    x, y, width, height = rectangle
    for across, down, black in (
        (x + 8, y + 8, True),
        (x + width - 8, y + height - 8, True),
        (x + width / 2, y - 4 if y > 20 else y + 4, y <= 20),
        (x + width / 2, y + height - 4, True),
        (x + width + 8, y + height / 2, width > size * 0.9),
    ):
        if across < size:
            assert (window.near(picture, across / size, down / size) < 8) == black, (across, down)


def test_channels_are_in_the_networks_order(
    studio: Studio, speech: Path, avatar: Path, filmed: list[Frame], decoded: Decode, tmp_path: Path
) -> None:
    """Wav2Lip's first channel is blue."""
    output = tmp_path / "out.mp4"
    succeeded(studio.render(speech, avatar, output, studio.model("wav2lip", "channels"), limit_frames=60, **FAITHFUL))
    expected = grey_of(pieces_of(samples_of(speech), Fraction(25), 60))[:, ::-1]
    matrix = yuv_matrix(Colour("tv", "unknown"), SIZE[1])
    checked = 0
    for index, frame in enumerate(decoded(output, *SIZE)):
        window = painted(frame, filmed[index])
        row, column = window.at(0.5, 0.5)
        yuv = np.array([[[frame.y[row, column], frame.u[row // 2, column // 2], frame.v[row // 2, column // 2]]]])
        rgb: F64 = to_rgb(yuv.astype(np.float32), matrix)[0, 0].astype(np.float64)
        assert np.abs(rgb - expected[index]).max() <= COLOUR_LEVELS, (index, rgb, expected[index])
        checked += abs(float(expected[index, 0] - expected[index, 2])) > 2 * COLOUR_LEVELS
    assert checked > 10, "red and blue differ enough to tell them apart"


BURST_S, BEGIN_S, END_S = 0.4, 2.0, 4.4
SPANS = {"wenet": (-70.0, 30.0), "wenet_stream": (-20.0, 20.0), "hubert": (0.0, 4.0)}
"""Values of the probes' encoders that become black and white."""


@pytest.mark.parametrize(
    ("name", "ahead_s"),
    [
        ("wav2lip", 7.5 / 80),
        ("facefusion_wav2lip", 7.5 / 80),
        ("edtalk", 7.5 / 80),
        ("dinet", -0.5 / 25),
        ("dinet_wrapped", -0.5 / 25),
        ("ultralight", -0.5 / 25),
        ("ultralight_16", -0.5 / 25),
        ("latent", 0.5 / 50 + 0.005),  # each row is of two that are 10 ms apart
        # Each hears from 0.32 s before its time on, 64 of its 67 rows, since the probe's pool leaves three out.
        ("ultralight_wenet", -0.5 / 20 + 0.0075),
        ("ultralight_wenet_16", -0.5 / 20 + 0.0075),
    ],
)
def test_a_sound_is_seen_when_it_is_heard(
    studio: Studio, name: str, ahead_s: float, avatar: Path, decoded: Decode, tmp_path: Path
) -> None:
    """A burst of noise in silence; `ahead_s`: how far the middle of a frame's piece lies behind the frame's time."""
    random, burst = np.random.default_rng(1), np.zeros(round(END_S * 16000))
    begin, end = (round(time_s * 16000) for time_s in (BEGIN_S, BEGIN_S + BURST_S))
    burst[begin:end] = random.uniform(-0.3, 0.3, end - begin)
    sound = tmp_path / "burst.wav"
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((burst * 32767).astype("<i2").tobytes())
    output = tmp_path / "out.mp4"
    if name == LATENT:
        model = studio.model(name, "rows")
    else:
        span = SPANS[encoder] if (encoder := CONTRACTS[name].encoder) else (-4.0, 4.0)
        model = studio.model(name, "rows", span=span, settings={"paste": "box"})
    succeeded(studio.render(sound, avatar, output, model, **FAITHFUL))
    levels = np.array([grey(frame)[180:210, 195:215].mean() for frame in decoded(output, *SIZE)])
    levels -= np.median(levels)
    levels[: round((BEGIN_S - 1) * 25)] = levels[round((BEGIN_S + BURST_S + 1) * 25) :] = 0  # the ends hear beyond it
    assert levels.max() > 20, "it is seen"
    shown = np.clip(levels - 0.2 * levels.max(), 0, None)
    middle_s = float((shown * np.arange(len(levels))).sum() / shown.sum() / 25)
    assert abs(middle_s + ahead_s - BEGIN_S - BURST_S / 2) < 0.04, middle_s


def test_thirds_are_three() -> None:
    assert thirds(80) == [(0, 26), (26, 53), (53, 80)]
