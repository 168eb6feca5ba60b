"""The networks that the tests of model families work with: what they are, and what they say."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dhcli.errors import DhError
from dhcli.families.patch.presets import VALUES, recognise
from dhcli.families.patch.settings import settings_of
from dhcli.networks.bundle import load_bundle
from dhcli.networks.network import Device, Network, Tensor, open_network
from dhcli.types import F32
from families.probes import CONTRACTS, Contract, Says, bundle, encoder, probe, resized
from families.wav2lip_sound import filters, grey_of, mel, pieces_of, samples_of

SAYS: list[Says] = ["echo", "masked", "rows", "channels", "nan", "constant", "slow"]
each = pytest.mark.parametrize("contract", CONTRACTS.values(), ids=[*CONTRACTS])


def opened(content: bytes) -> Network:
    return open_network(content, "probe", device=Device("cpu"), threads=1)


def question(network: Network, rows: int) -> dict[str, Tensor]:
    """Something to ask, different in every number."""
    random = np.random.default_rng(1)
    shapes = {info.name: [rows if isinstance(size, str) else size for size in info.shape] for info in network.inputs}
    kinds = {info.name: info.dtype for info in network.inputs}
    return {name: random.random(shape).astype(kinds[name]) for name, shape in shapes.items()}


def answer(network: Network, asked: dict[str, Tensor]) -> F32:
    """(n, 3, size, size)"""
    return np.asarray(network.run([network.outputs[0].name], asked)[0])


def seen(contract: Contract, asked: dict[str, Tensor], part: str) -> Tensor:
    """The masked or the whole picture of a question."""
    for name, parts in contract.pictures.items():
        if part in parts:
            place = 3 * [*parts].index(part)
            return asked[name][:, place : place + 3]
    raise AssertionError(part)


@each
@pytest.mark.parametrize("says", SAYS)
def test_every_probe_is_small(contract: Contract, says: Says) -> None:
    if says == "masked" and not contract.masks:
        return
    content = probe(contract, says)
    assert len(content) < 100_000
    assert [info.name for info in opened(content).outputs] == [contract.output]


@each
def test_dh_knows_what_each_is(contract: Contract) -> None:
    for batch in ("n", 1):
        network = opened(probe(contract, "echo", batch=batch))
        match = recognise(network.inputs, network.outputs)[0]
        assert match.preset == contract.preset
        assert match.size == (None if "size" in VALUES[contract.preset] else contract.size)


@each
def test_an_echo_gives_the_whole_picture_and_a_masked_one_the_other(contract: Contract) -> None:
    for says, part in (("echo", "whole"), ("masked", "masked")):
        if part == "masked" and not contract.masks:
            continue
        network = opened(probe(contract, says))  # type: ignore[arg-type]
        asked = question(network, 3)
        assert np.array_equal(answer(network, asked), seen(contract, asked, part))


@each
def test_bands_are_the_means_of_the_sound(contract: Contract) -> None:
    network = opened(probe(contract, "rows"))
    asked = question(network, 2)
    sound = np.moveaxis(asked[contract.sound], contract.bands, 1)
    cuts = np.arange(4) * sound.shape[1] // 3
    means = [sound[:, a:b].mean(tuple(range(1, sound.ndim))) for a, b in itertools.pairwise(cuts)]
    picture = answer(network, asked)
    edge, third = contract.edge, (contract.size - 2 * contract.edge) // 3
    assert np.all(picture[:, :, :edge] == 1)
    for k, mean in enumerate(means):
        band = picture[:, :, edge + k * third : edge + (k + 1) * third, edge:-edge]
        assert np.allclose(band, (mean[:, None, None, None] + 4) / 8, atol=1e-5)
    channels = answer(opened(probe(contract, "channels")), asked)
    assert np.allclose(channels[0, :, 20, 20], [(mean[0] + 4) / 8 for mean in means], atol=1e-5)


def test_bands_of_three_sizes_more() -> None:
    for size in (288, 384, 512):
        network = opened(probe(resized(CONTRACTS["wav2lip"], size), "rows"))
        assert answer(network, question(network, 1)).shape == (1, 3, size, size)


def test_the_weight_of_edtalk_is_seen() -> None:
    network = opened(probe(CONTRACTS["edtalk"], "gains"))
    asked = question(network, 2) | {"weight": np.array([0.7], np.float32)}
    assert answer(network, asked)[:, :, 40, 40] == pytest.approx(0.7)


def test_sixteen_bits_a_fixed_batch_and_swapped_names() -> None:
    contract = CONTRACTS["wav2lip"]
    half = opened(probe(contract, "rows", half=True))
    assert {info.dtype for info in (*half.inputs, *half.outputs)} == {"float16"}
    assert np.isfinite(answer(half, question(half, 2))).all()
    single = opened(probe(contract, "rows", batch=1))
    with pytest.raises(DhError):
        answer(single, question(single, 1) | {"mel": np.zeros((2, 1, 80, 16), np.float32)})
    swapped = opened(probe(contract, "echo", names={"mel": "faces", "faces": "mel"}))
    assert {info.name: len(info.shape) and info.shape[1] for info in swapped.inputs} == {"mel": 6, "faces": 1}


@pytest.mark.parametrize(("says", "found"), [("nan", "NaN"), ("constant", "one and the same value")])
def test_bad_answers_are_found(says: Says, found: str) -> None:
    network = opened(probe(CONTRACTS["wav2lip"], says))
    with pytest.raises(DhError, match=found) as caught:
        answer(network, question(network, 2))
    assert caught.value.code == "model.bad_output"


def test_a_slow_one_turns_as_often_as_told() -> None:
    network = opened(probe(CONTRACTS["wav2lip"], "slow", turns=3))
    asked = question(network, 2)
    assert np.array_equal(answer(network, asked), seen(CONTRACTS["wav2lip"], asked, "whole"))


@pytest.mark.parametrize(
    ("kind", "shape", "rows"),
    [
        ("wenet", (1, 200, 80), (1, 50, 256)),
        ("hubert", (1, 32000), (1, 99, 1024)),
        ("wenet_stream", (1, 1, 67, 80), (1, 16, 512)),
    ],
)
def test_what_hears_gives_rows_of_three_numbers(kind: str, shape: tuple[int, ...], rows: tuple[int, ...]) -> None:
    content = encoder(kind)
    assert len(content) < 100_000
    network = opened(content)
    heard = np.random.default_rng(1).random(shape, np.float32)
    asked: dict[str, Tensor] = {}
    for info in network.inputs:
        kinds = np.int64 if info.dtype == "int64" else np.float32
        asked[info.name] = np.zeros([size if isinstance(size, int) else 1 for size in info.shape], kinds)
    asked[network.inputs[0].name] = heard
    found = network.run([network.outputs[0].name], asked)[0]
    assert found.shape == rows
    assert len(np.unique(found[0, 0])) == 3


@each
def test_a_bundle_of_each_is_read(contract: Contract, tmp_path: Path) -> None:
    bundle(tmp_path, "one", contract, probe(contract, "echo"))
    settings = settings_of(load_bundle("one", (tmp_path,)), VALUES)
    assert settings.size == contract.size
    assert settings.layout == contract.piece
    parts = [part for parts in contract.pictures.values() for part in parts]
    assert [*settings.order] == parts
    assert settings.channels == ("rgb" if contract.rgb else "bgr")


def test_a_bundle_states_other_names(tmp_path: Path) -> None:
    names = {"mel": "faces", "faces": "mel"}
    contract = CONTRACTS["wav2lip"]
    bundle(tmp_path, "one", contract, probe(contract, "echo", names=names), names=names)
    tensors = settings_of(load_bundle("one", (tmp_path,)), VALUES).tensors
    assert tensors is not None
    assert (tensors.picture, tensors.sound, tensors.output) == ("mel", "faces", "frames")


def test_the_reference_has_the_columns_and_the_scale_of_wav2lip(speech: Path) -> None:
    samples = samples_of(speech)
    columns = mel(samples)
    assert columns.shape == (80, 1 + len(samples) // 200)
    assert columns.min() == -4
    assert 0 < columns.max() <= 4
    assert mel(np.zeros(16000)).max() == -4
    assert (filters().sum(1) * 20).round(1).min() >= 0.5, "a band of area one has at least half of it on the grid"


def test_the_reference_puts_a_tone_into_its_band_and_a_click_into_its_pieces() -> None:
    time_s = np.arange(16000) / 16000
    tone = mel(0.5 * np.sin(2 * np.pi * 1000 * time_s))
    assert tone.mean(1).argmax() == filters()[:, 50].argmax(), "1000 Hz is number 50 of 20 Hz each"
    click = np.zeros(16000)
    click[8000] = 1.0
    loud = pieces_of(click, Fraction(25), 25).max((1, 2))
    heard = np.flatnonzero(loud > -4)
    # Column k hears the 400 samples on either side of 200 k: 39 to 41 hear it. Piece 8 has the columns 25 to 40 and
    # piece 13 those from 41 on; 7 ends with 37 and 14 begins with 44.
    assert (heard[0], heard[-1]) == (8, 13)
    assert grey_of(pieces_of(click, Fraction(25), 25)).shape == (25, 3)
