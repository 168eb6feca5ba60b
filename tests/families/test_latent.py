"""The family `latent`, network by network: what each is given, and what becomes of its answers."""

from __future__ import annotations

import dataclasses
import gc
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import JsonValue

from dhcli.disk.scratch import Scratch
from dhcli.errors import DhError
from dhcli.families.face_crop.crops import crop_matrix_of
from dhcli.families.family import Manner
from dhcli.families.hearing.rows import Rows
from dhcli.families.latent import kept, profile
from dhcli.families.latent.family import LatentFamily
from dhcli.families.latent.hearing import LatentSounds, sines
from dhcli.families.latent.kept import LatentFile
from dhcli.families.latent.presets import recognise
from dhcli.families.latent.profile import KeptLatents, kept_in, record_of
from dhcli.families.latent.settings import LatentSettings
from dhcli.networks.bundle import load_bundle
from dhcli.networks.model import Model
from dhcli.networks.network import Device, TensorInfo, open_network
from dhcli.render import face_track
from dhcli.render.face_finder import FaceFinder
from dhcli.sound.recipes import RECIPES
from dhcli.stages.align import yuv_matrix
from dhcli.stages.cutout import cut_out
from dhcli.stages.mesh import posed
from dhcli.types import F32, Box, FaceRow, Frame, FrameFormat, Pose
from families.latent_probes import EXACT, Kind, Layers, bundle, networks, unet, vae_encoder

FORMAT = FrameFormat(400, 300, Fraction(25))
SMALL = Kind(size=32, channels=4)
Opened = Callable[..., LatentFamily]


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """The networks of a kind as a model; `how` as in its settings, or other networks by their roles."""

    def opened(kind: Kind = SMALL, says: Any = "whole", **how: Any) -> LatentFamily:
        contents = networks(kind, says)
        replaced = {role: how.pop(role) for role in contents if role in how}
        bundle(tmp_path / "models", "muse", contents | replaced, **kind.settings | how)
        return LatentFamily(Model(load_bundle("muse", [tmp_path / "models"]), Device("cpu"), 1))

    return opened


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path / "out.mp4")


def manner(scratch: Scratch, **how: Any) -> Manner:
    return dataclasses.replace(Manner(Fraction(25), scratch, silence="follow"), **how)


def crops(count: int, size: int) -> list[F32]:
    """Pictures of noise, RGB 0..255."""
    return [*np.random.default_rng(1).uniform(0, 255, (count, size, size, 3)).astype(np.float32)]


def ask(family: LatentFamily, pictures: list[F32]) -> list[F32]:
    painter, settings = family._painter, family.settings
    sound = np.zeros((len(pictures), settings.window * settings.layers, settings.width), np.float32)
    return painter.paint(painter.encode(pictures), sound)


KINDS = [
    Kind(size=32),
    Kind(size=32, batch=1),
    Kind(size=32, batch=2, moments=True),
    Kind(size=32, half=True, timestep="int64 1"),
    Kind(size=64, timestep="float 0", moments=True),
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_echo_gives_each_crop_back(opened: Opened, kind: Kind) -> None:
    pictures = crops(3, kind.size)
    for given, made in zip(pictures, ask(opened(kind), pictures), strict=True):
        assert np.abs(given - made).max() < 0.3, "half precision has 0.06 levels at white"


@pytest.mark.parametrize("kind", KINDS)
def test_the_masked_picture_is_black_from_its_middle_down(opened: Opened, kind: Kind) -> None:
    pictures, half = crops(3, kind.size), kind.size // 2
    for given, made in zip(pictures, ask(opened(kind, "masked"), pictures), strict=True):
        assert np.abs(given[:half] - made[:half]).max() < 0.3
        assert made[half:].max() < 0.3


def test_latents_are_times_the_scale_and_the_time_step_is_the_settings(opened: Opened) -> None:
    kind = Kind(size=32, timestep="float 0")
    (white,) = np.full((1, 32, 32, 3), 255, np.float32)
    family = opened(kind, timestep=0.1)
    latents = family._painter.encode([white])
    assert latents.dtype == np.float16
    assert latents[0, EXACT:] == pytest.approx(0.18215, rel=1e-3)
    assert latents[0, :EXACT, 2:] == pytest.approx(-0.18215, rel=1e-3)
    dark = crops(1, 32)[0] / np.float32(3)
    assert ask(family, [dark])[0] == pytest.approx(dark + 127.5 * 0.1 / 0.18215, abs=0.3)


def test_colours_are_given_in_the_order_of_the_settings(opened: Opened) -> None:
    picture = np.zeros((32, 32, 3), np.float32)
    picture[..., 0] = 255
    family = opened(dataclasses.replace(SMALL), channels="bgr")
    latents = family._painter.encode([picture])[0, SMALL.channels :]
    assert [float(values.max()) > 0 for values in latents[:3]] == [False, False, True], "red is the last"
    (made,) = ask(family, [picture])
    assert made == pytest.approx(picture, abs=0.3)


SHAPES: dict[str, tuple[dict[str, tuple[Any, ...]], dict[str, tuple[Any, ...]]]] = {
    "hearing": ({"input_features": ("b", 80, 3000)}, {"rows": ("b", 5, 1500, 384)}),
    "vae_encoder": ({"sample": ("b", 3, "h", "w")}, {"latent_parameters": ("b", 8, "h8", "w8")}),
    "unet": (
        {"sample": ("b", 8, "h", "w"), "timestep": (1,), "encoder_hidden_states": ("b", "t", 384)},
        {"out_sample": ("b", 4, "h", "w")},
    ),
    "vae_decoder": ({"latent_sample": ("b", 4, "h", "w")}, {"sample": ("b", 3, "h", "w")}),
}


def tensors(shapes: dict[str, tuple[Any, ...]]) -> list[TensorInfo]:
    return [TensorInfo(name, shape, "float32") for name, shape in shapes.items()]


@pytest.mark.parametrize("role", SHAPES)
def test_each_network_is_known_by_its_tensors(role: str) -> None:
    inputs, outputs = SHAPES[role]
    assert recognise(tensors(inputs), tensors(outputs)) == role
    fixed = {name: tuple({"b": 1, "h": 0, "w": 0}.get(size, size) for size in shape) for name, shape in inputs.items()}
    places = {"vae_encoder": 256, "unet": 32, "vae_decoder": 32}.get(role, 0)
    fixed = {name: tuple(size or places for size in shape) for name, shape in fixed.items()}
    assert recognise(tensors(fixed), tensors(outputs)) == role
    assert recognise(tensors(fixed | {"more": (1, 7)}), tensors(outputs)) is None


def test_networks_of_other_sizes_are_none_of_them() -> None:
    for inputs, outputs in (
        ({"mel": (1, 80, 1500)}, {"rows": (1, 5, 1500, 384)}),
        ({"sample": (1, 9, 32, 32), "sound": (1, 50, 384)}, {"out": (1, 4, 32, 32)}),
        ({"sample": (1, 3, 512, 512)}, {"latents": (1, 4, 64, 64)}),
        ({"target": (1, 6, 96, 96), "source": (1, 1, 80, 16)}, {"out": (1, 3, 96, 96)}),
        ({"anything": ("a", "b", "c", "d")}, {"out": ("a", "b", "c", "d")}),
    ):
        assert recognise(tensors(inputs), tensors(outputs)) is None


def test_the_probes_are_what_they_stand_for() -> None:
    for kind in (Kind(size=256, channels=4, width=384, timestep="int64 1", moments=True), Kind(256, 4, width=384)):
        for role, content in networks(kind, "whole").items():
            network = open_network(content, role, device=Device("cpu"), threads=1)
            assert recognise(network.inputs, network.outputs) == role


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"size": "100"}, "size: 100 px are not a whole number for each of 32 places"),
        ({"size": "big"}, "size: "),
        ({"colour": "red"}, "colour: unknown key"),
        ({"range": ["1", "1"]}, "range: two different numbers"),
        ({"scale": "0"}, "scale: "),
        ({"positional": "perhaps"}, "positional: "),
    ],
)
def test_settings_are_checked_without_a_network(settings: dict[str, JsonValue], found: str) -> None:
    with pytest.raises(DhError) as caught:
        LatentFamily.check(dataclasses.replace(load_bundle("dh-base"), family="latent", settings=settings))
    assert caught.value.code == "model.incompatible"
    assert found in caught.value.message
    LatentFamily.check(dataclasses.replace(load_bundle("dh-base"), family="latent", settings={"scale": "0.13025"}))


@pytest.mark.parametrize("role", ["vae_encoder", "unet", "hearing"])
def test_a_network_that_does_not_fit_says_what_was_expected(opened: Opened, role: str) -> None:
    wrong = {
        "vae_encoder": vae_encoder(Kind(size=64, channels=4)),
        "unet": unet(SMALL, "whole", window=8),
        "hearing": networks(Kind(width=8), "whole")["hearing"],
    }[role]
    with pytest.raises(DhError) as caught:
        opened(**{role: wrong})
    assert caught.value.code == "model.incompatible"
    expected, found = {
        "vae_encoder": ("picture (n, 3, 32, 32) -> (n, 4, 4, 4) or (n, 8, 4, 4)", "picture (n, 3, 64, 64) float32"),
        "unet": ("sound (n, 50, 4), timestep () or (n) if any -> (n, 4, 4, 4)", "(n, 40, 4) float32"),
        "hearing": ("sound (n, 80, 3000) -> (n, 5, 1500, 4)", "rows (1, 5, 1500, 8) float32"),
    }[role]
    assert f"{role}.onnx: " in caught.value.message
    assert expected in caught.value.message
    assert found in caught.value.message


def test_layers_that_are_missing_are_told(opened: Opened) -> None:
    with pytest.raises(DhError, match=r"gives 4 layers \(hidden_states.0, .*, the settings say 5") as caught:
        opened(hearing=networks(dataclasses.replace(SMALL, layers=4, hears="apart"), "whole")["hearing"])
    assert caught.value.code == "model.incompatible"


def test_there_is_nothing_that_a_gain_could_scale(opened: Opened, scratch: Scratch) -> None:
    family = opened()
    with pytest.raises(DhError, match=r"'muse' cannot move the mouth more or less: gain is 1\.5") as caught:
        family.listen(voice(1), manner(scratch, gain=1.5))
    assert caught.value.code == "model.incompatible"
    for gain in (None, 1.0):
        assert len(family.listen(voice(0.1), manner(scratch, gain=gain)).rows)


def voice(seconds: float) -> Callable[[], Iterator[F32]]:
    """Noise whose loudness changes, in chunks."""
    random = np.random.default_rng(2)
    samples = random.normal(0, 0.1, round(seconds * 16000)) * (1 + np.sin(np.arange(round(seconds * 16000)) / 4000))
    return lambda: iter(np.array_split(samples.astype(np.float32), 7))


def heard_rows(samples: Callable[[], Iterator[F32]]) -> F32:
    """What the probe that hears gives for a whole speech at once, without its layers: (n,)"""
    mel = np.concatenate([*RECIPES["whisper_logmel"].rows(samples)]).mean(1)
    return np.asarray(np.append(mel, [mel.min()] * (len(mel) % 2)).reshape(-1, 2).mean(1))


@pytest.mark.parametrize("hears", ["steps last", "layers last", "apart", "apart and last"])
def test_layers_lie_behind_one_another_whatever_the_export(opened: Opened, scratch: Scratch, hears: Layers) -> None:
    family = opened(dataclasses.replace(SMALL, hears=hears), positional=False)
    asked = family.listen(voice(1), manner(scratch)).at(Fraction(1, 2))
    expected = heard_rows(voice(1))[21:31]
    rows = asked.sound.reshape(10, 5, 4)
    for layer in range(5):
        assert rows[:, layer] == pytest.approx(np.repeat(expected[:, None], 4, 1) * (layer + 1), rel=1e-4)


@pytest.mark.slow
def test_nothing_jumps_where_two_windows_meet(opened: Opened, scratch: Scratch) -> None:
    family = opened(positional=False)
    rows = family.listen(voice(95), manner(scratch)).rows
    assert len(rows) == 95 * 50
    assert rows.window(0, len(rows))[:, 0] == pytest.approx(heard_rows(voice(95))[: len(rows)], abs=2e-2)


@pytest.mark.slow
def test_faithful_hears_each_half_minute_for_itself(opened: Opened, scratch: Scratch) -> None:
    """As MuseTalk's own program: its rows, and nothing of the ones beside them."""
    rows = opened(positional=False).listen(voice(65), manner(scratch, faithful=True)).rows
    assert rows.window(0, 65 * 50)[:, 0] == pytest.approx(heard_rows(voice(65))[: 65 * 50], abs=1e-5)


@pytest.mark.parametrize("faithful", [False, True])
def test_behind_the_speech_are_zeros_as_before_it(opened: Opened, scratch: Scratch, faithful: bool) -> None:
    """And not what whisper makes of the silence that fills its 30 s."""
    sounds = opened(positional=False).listen(voice(1.015), manner(scratch, faithful=faithful))
    for frame, there in ((0, slice(4, 10)), (24, slice(0, 6))):
        rows = sounds.at(Fraction(frame, 25)).sound.reshape(10, -1)
        real = np.zeros(10, bool)
        real[there] = True
        assert rows[real].all()
        assert not rows[~real].any()


@pytest.mark.parametrize("rate", ["24000/1001", "24", "25", "30000/1001", "30", "50", "60"])
def test_a_frame_hears_the_sound_around_its_time_at_any_rate(scratch: Scratch, rate: str) -> None:
    settings, fps = LatentSettings(layers=1, width=1, positional=False), Fraction(rate)
    rows = Rows(scratch, Fraction(50), 1)
    rows.append(np.arange(1, 30001, dtype=np.float32)[:, None])
    shared = LatentFile(scratch, (2, 1, 1))
    sounds = LatentSounds(rows, settings, manner(scratch, fps=fps), shared, silent=False, noise_db=None)
    for frame in (0, 1, 7, 100, 14000):
        first = math.floor(frame * 50 / fps) - 4
        wanted = [number + 1 if 0 <= number < 30000 else 0 for number in range(first, first + 10)]
        assert sounds.at(frame / fps).sound[:, 0].tolist() == wanted
    faithful = dataclasses.replace(sounds, manner=manner(scratch, fps=fps, faithful=True))
    shift = {"24000/1001": 6, "24": 6, "50": 2, "60": 2}.get(rate, 4)
    assert faithful.at(Fraction(2)).sound[0, 0] == 101 - shift, "as MuseTalk's own program at this rate"


def test_sines_tell_the_rows_apart() -> None:
    added = sines(50, 384)
    assert added.shape == (50, 384)
    for row, column, value in ((0, 0, 0.0), (0, 1, 1.0), (7, 0, math.sin(7)), (7, 1, math.cos(7))):
        assert added[row, column] == pytest.approx(value, abs=1e-6)
    slow = 10000 ** (-190 * 2 / 384)
    assert added[49, 380:382] == pytest.approx([math.sin(49 * slow), math.cos(49 * slow)], abs=1e-6)
    assert sines(3, 5).shape == (3, 5)


def test_latents_of_a_job_lie_in_a_scratch_file(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    shape = (2, 2, 2)
    monkeypatch.setattr(kept, "MOST_BYTES", 3 * 16)
    file = LatentFile(scratch, shape)
    assert file.find(5) is None
    for frame in (9, 5, 7, 8):
        file.keep(frame, np.full(shape, frame, np.float16))
    assert [found is not None and float(found.max()) for found in map(file.find, (5, 7, 8, 9))] == [5, 7, False, 9]
    assert not [path for path in scratch.save_path.parent.iterdir() if path.name.startswith("out")]
    del file
    gc.collect()
    assert set(Path("/proc/self/fd").iterdir()) <= before, "the file goes with the object"


def test_where_the_disk_is_full_latents_are_made_again(scratch: Scratch) -> None:
    file = LatentFile(dataclasses.replace(scratch, keep_free_bytes=1 << 60), (2, 2, 2))
    file.keep(1, np.zeros((2, 2, 2), np.float16))
    assert file.find(1) is None


@pytest.fixture
def face() -> FaceRow:
    """A face in the middle of the picture, upright."""
    mesh = FaceFinder(load_bundle("face-finder"), Device("cpu")).mesh
    pose = Pose(30.0, np.eye(3), np.array([200.0, 130.0, 0.0]))
    return FaceRow(0, 0, 1.0, pose, Box(140, 60, 120, 150), posed(mesh.canonical, pose))


def picture(index: int) -> Frame:
    return Frame(index, np.random.default_rng(index).integers(16, 235, (450, 400), np.uint8))


def profiled(family: LatentFamily, face: FaceRow, frames: int, margin: int = 0) -> bytes:
    profiler = family.profiler(FORMAT)
    x0, y0, x1, y1 = profiler.area(face)
    low, high = np.array([x0 + margin, y0], np.float64), np.array([x1, y1], np.float64)
    for index in range(0, 2 * frames, 2):
        profiler.see(
            dataclasses.replace(face, index=index), cut_out(picture(index), low, high, 120 if not margin else 2)
        )
    return profiler.finish(list)


def test_a_profile_has_the_latents_that_the_frames_themselves_give(opened: Opened, face: FaceRow) -> None:
    family = opened(Kind(size=32))
    kept_latents = family.profile(profiled(family, face, 3), 1)
    assert kept_latents.frames.tolist() == [0, 2, 4]
    yuv = yuv_matrix(FORMAT.colour, FORMAT.height)
    for index in (0, 2, 4):
        crop = family._painter.crop(picture(index), crop_matrix_of(family._plan, face, 400, 300), yuv)
        found = kept_latents.find(index)
        assert found is not None
        assert np.array_equal(found, family._painter.encode([crop])[0])
    assert kept_latents.find(1) is None
    assert kept_latents.find(99) is None


def test_frames_that_were_cut_out_too_small_are_not_kept(opened: Opened, face: FaceRow) -> None:
    assert profiled(opened(), face, 2, margin=30) == b""


def test_a_profile_is_bounded(opened: Opened, face: FaceRow, monkeypatch: pytest.MonkeyPatch) -> None:
    family = opened()
    record = record_of(family.settings.latents).itemsize
    monkeypatch.setattr(profile, "MOST_BYTES", 3 * record)
    assert len(profiled(family, face, 5)) == 3 * record


def test_the_bound_is_what_the_cache_takes() -> None:
    record = record_of(LatentSettings().latents).itemsize
    assert record == 16388
    assert profile.MOST_BYTES <= face_track.PROFILE_BYTES
    assert profile.MOST_BYTES // record > 4000


def test_what_was_never_kept_is_no_profile() -> None:
    shape = (2, 1, 1)
    records = np.zeros(2, record_of(shape))
    records["frame"] = [3, 4]
    assert isinstance(kept_in(records.tobytes(), shape), KeptLatents)
    assert kept_in(b"", shape).find(0) is None
    unordered, endless = records.copy(), records.copy()
    unordered["frame"] = [4, 4]
    endless["latents"][1] = np.inf
    for bad in (records.tobytes()[:-1], unordered.tobytes(), endless.tobytes()):
        with pytest.raises(ValueError, match=r"frames|numbers|buffer"):
            kept_in(bad, shape)
