"""What a model.yaml says of a patch network, and how such networks are recognised by their tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from dhcli.errors import DhError
from dhcli.families.patch.presets import PRESETS, VALUES, expected, recognise
from dhcli.families.patch.settings import PatchSettings, settings_of
from dhcli.networks.bundle import load_bundle
from dhcli.networks.network import TensorInfo


def read(settings: Mapping[str, JsonValue]) -> PatchSettings:
    return settings_of(dataclasses.replace(load_bundle("dh-base"), family="patch", settings=settings), VALUES)


def tensors(**shapes: tuple[int | str, ...]) -> list[TensorInfo]:
    return [TensorInfo(name, shape, "float32") for name, shape in shapes.items()]


def test_a_preset_gives_what_is_not_stated() -> None:
    settings = read({"preset": "wav2lip", "size": "96", "padding": ["0", "20", "0", "0"]})
    assert (settings.size, settings.mask, settings.order) == (96, "lower_half", ("masked", "whole"))
    assert settings.padding == (0, 20, 0, 0), "what is stated counts"
    assert settings.row_width == 80


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_whole_but_for_the_side_that_the_network_tells(preset: str) -> None:
    settings = read({"preset": preset, "size": str(VALUES[preset].get("size", 96))})
    assert settings.row_width * settings.window
    assert expected(preset)


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"preset": "wav2lop"}, "there is no preset 'wav2lop'; presets are facefusion_wav2lip"),
        ({"preset": "wav2lip"}, "size: missing"),
        ({"preset": "wav2lip", "size": "96", "colour": "red"}, "colour: unknown key"),
        ({"preset": "wav2lip", "size": "9999"}, "size: "),
        ({"preset": "wav2lip", "size": "96", "range": ["1", "1"]}, "range: two different numbers"),
        ({"preset": "wav2lip", "size": "96", "mask": "rectangle"}, "a 'rectangle' goes with 'mask: rectangle'"),
        ({"preset": "dinet", "size": "128"}, "the rectangle reaches out of 128x128 px"),
        ({"preset": "wav2lip", "size": "96", "window": "7"}, "7 rows cannot have the shape"),
        ({"preset": "wav2lip", "size": "96", "tensors": {"sound": "a", "output": "b"}}, "either 'picture', or"),
    ],
)
def test_settings_that_do_not_fit_say_where(settings: Mapping[str, JsonValue], found: str) -> None:
    with pytest.raises(DhError) as caught:
        read(settings)
    assert caught.value.code == "model.incompatible"
    assert found in caught.value.message
    assert "dh-base" in caught.value.message


@given(st.sampled_from([96, 256, 288, 384, 512]), st.sampled_from([1, "n"]))
def test_wav2lip_is_known_in_its_three_namings(side: int, batch: int | str) -> None:
    for picture, sound, likeliest in (
        ("face_sequences", "indiv_mels", "wav2lip"),
        ("video_frames", "mel_spectrogram", "wav2lip_hq"),
        ("target", "source", "facefusion_wav2lip"),
    ):
        inputs = tensors(**{sound: (batch, 1, 80, 16), picture: (batch, 6, side, side)})
        match = recognise(inputs, tensors(frame=(batch, 3, side, side)))[0]
        assert (match.preset, match.size) == (likeliest, side)
        assert match.tensors == {"picture": picture, "sound": sound, "output": "frame"}


def test_the_others_are_known_by_their_shapes() -> None:
    picture = (1, 3, 256, 256)
    for inputs, output, preset in (
        ({"target": picture, "source": (1, 1, 80, 16), "weight": (1,)}, picture, "edtalk"),
        ({"mask_B": picture, "B_img": picture, "lab": (1, 256, 20)}, picture, "dinet"),
        ({"audio_feature": (1, 256, "t"), "concat_images": ("b", 6, 256, 256)}, picture, "dinet"),
        ({"input": (1, 6, 160, 160), "audio": (1, 16, 32, 32)}, (1, 3, 160, 160), "ultralight"),
        ({"input": (1, 6, 160, 160), "audio": (1, 32, 32, 32)}, (1, 3, 160, 160), "ultralight_16"),
        ({"input": (1, 6, 160, 160), "audio": (1, 256, 16, 32)}, (1, 3, 160, 160), "ultralight_wenet_16"),
        ({"input": (1, 6, 160, 160), "audio": (1, 128, 16, 32)}, (1, 3, 160, 160), "ultralight_wenet"),
    ):
        assert [match.preset for match in recognise(tensors(**inputs), tensors(output=output))] == [preset]
    pair = recognise(tensors(mask_B=picture, B_img=picture, lab=(1, 256, 20)), tensors(output=picture))[0]
    assert (pair.tensors["masked"], pair.tensors["whole"]) == ("mask_B", "B_img")


@pytest.mark.parametrize(
    "inputs",
    [
        {"picture": (1, 6, 96, 128), "sound": (1, 1, 80, 16)},
        {"picture": (1, 6, 96, 96), "sound": (1, 1, 80, 20)},
        {"picture": (1, 6, 96, 96), "sound": (1, 1, 80, 16), "more": (1, 5)},
        {"picture": (1, 6, 4000, 4000), "sound": (1, 1, 80, 16)},
        {"waveform": (1, 16000)},
    ],
)
def test_what_differs_in_one_size_is_none_of_them(inputs: Mapping[str, tuple[int | str, ...]]) -> None:
    assert not recognise(tensors(**inputs), tensors(output=(1, 3, 96, 96)))
