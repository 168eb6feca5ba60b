"""Encoders hear all rows of a speech once, at their time, wherever their windows begin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dhcli.disk.scratch import Scratch
from dhcli.errors import DhError
from dhcli.families.family import Manner
from dhcli.families.hearing.encoders import ENCODERS, Encoder, open_encoder
from dhcli.families.hearing.hear import hear
from dhcli.families.hearing.windows import Windows
from dhcli.networks.network import Network
from dhcli.sound.recipes import RECIPES, SAMPLE_RATE
from dhcli.types import F32
from families import ears

NETWORKS: dict[str, Callable[[], Network]] = {
    "wenet": ears.wenet,
    "wenet_stream": ears.wenet_stream,
    "hubert": ears.hubert,
}


def encoded(encoder: Encoder, rows: F32, block: int = 999) -> F32:
    def blocks() -> Iterator[F32]:
        return (rows[at : at + block] for at in range(0, len(rows), block))

    return np.concatenate([np.zeros((0, encoder.width), np.float32), *encoder.encode(blocks)])


def numbered(count: int) -> F32:
    """Rows of 80 that hold their own number."""
    return np.repeat(np.arange(count, dtype=np.float32)[:, None], 80, 1)


@pytest.mark.parametrize("count", [1, 6, 7, 8, 3499, 3500, 3501, 3700, 3701, 6800, 6801, 11_000])
def test_wenet_loses_no_row_where_windows_meet(count: int) -> None:
    rows = encoded(open_encoder("wenet", ears.wenet()), numbered(count))
    assert rows.shape == (-(-count // 4), 256)
    expected = 4 * np.arange(len(rows)) + 3
    whole = expected + 3 < count  # the others hear the last row again and again
    assert rows[whole, 0] == pytest.approx(expected[whole], abs=1e-3)
    assert (np.diff(rows[:, 0]) > 0).all()


def test_wenet_is_told_how_many_rows_there_are() -> None:
    rows = encoded(open_encoder("wenet", ears.wenet(lengths=True)), numbered(100))
    assert rows[:20, 0] == pytest.approx(4 * np.arange(20) + 3 + 106)


@pytest.mark.parametrize("seconds", [0.01, 0.9, 20, 45.03])
def test_hubert_hears_the_standardised_wave_in_pairs(seconds: float) -> None:
    count = round(seconds * SAMPLE_RATE)
    wave = (np.random.default_rng(0).normal(0.1, 0.02, count) + np.linspace(0, 0.1, count)).astype(np.float32)
    rows = encoded(open_encoder("hubert", ears.hubert()), wave[:, None], 160_000)
    assert rows.shape == (-(-count // 640), 2048)
    level = (wave.astype(np.float64) - wave.mean(dtype=np.float64)) / np.sqrt(wave.var(dtype=np.float64) + 1e-7)
    for half in (0, 1):
        for k in {0, len(rows) // 3, len(rows) // 2, max(0, len(rows) - 2)}:
            part = level[640 * k + 320 * half :][:400]
            assert rows[k, 1024 * half] == pytest.approx(part.sum() / 400, abs=1e-3)


def test_ultralights_ears_go_on_by_5_rows_with_an_empty_memory() -> None:
    rows = encoded(open_encoder("wenet_stream", ears.wenet_stream()), numbered(333))
    assert rows.shape == ((333 - 67) // 5 + 1, 16 * 512)
    for k in (0, 1, len(rows) - 1):
        assert rows[k, :6].tolist() == [5 * k, 5 * k + 33, 5 * k + 66, 100, 0, 0]


@pytest.mark.parametrize("kind", ["wenet", "hubert", "wenet_stream"])
def test_a_sound_is_in_the_rows_of_its_time(kind: str, tmp_path: Path) -> None:
    """A burst of 40 ms at 2 s; the middle of the rows that it changes, to half a row."""
    wave = np.zeros(4 * SAMPLE_RATE, np.float32)
    bursting = wave.copy()
    bursting[(begin := 2 * SAMPLE_RATE) : begin + 640] = np.random.default_rng(0).normal(0, 0.1, 640)
    encoder = open_encoder(kind, NETWORKS[kind]())
    assert encoder.recipe is not None
    manner = Manner(Fraction(25), Scratch(tmp_path / "out.mp4"), faithful=True)
    heard = hear(
        lambda: iter([bursting]),
        RECIPES[encoder.recipe],
        encoder,
        manner,
        before_s=0.4 * (kind == "wenet"),
        after_s=0.4,
    ).rows
    rows = heard.window(0, 4 * int(encoder.rate))
    column = 1 if kind == "wenet_stream" else 0
    changed = np.flatnonzero(np.abs(rows[:, column] - np.median(rows[:, column])) > 1e-3)
    middle = (changed[0] + changed[-1] + 1) / 2 / float(encoder.rate)
    assert middle == pytest.approx(2.02, abs=0.5 / float(encoder.rate) + 1e-9)
    assert len(heard) >= 4 * encoder.rate


@pytest.mark.parametrize("kind", ENCODERS)
def test_nothing_comes_of_nothing(kind: str) -> None:
    encoder = open_encoder(kind, NETWORKS[kind]())
    assert encoded(encoder, np.zeros((0, 1 if encoder.recipe == "samples" else 80), np.float32)).shape[0] == 0


@pytest.mark.parametrize(
    ("kind", "network", "wanted"),
    [
        *((kind, other, r"expected (input|no inputs)") for kind in NETWORKS for other in NETWORKS if other != kind),
        ("wenet_stream", "odd memory", r"expected input \(3, 8, 16, 128\)"),
        ("wenet", "fixed", r"expected input \(1, n, 80\)"),
        ("hubert", "narrow", r"expected output \(1, n, 1024\)"),
        ("wenet", "more inputs", r"expected no inputs beside \(1, n, 80\)"),
    ],
)
def test_a_network_of_another_kind_is_refused(kind: str, network: str, wanted: str) -> None:
    with pytest.raises(DhError, match=wanted) as caught:
        open_encoder(kind, odd(network) if network not in NETWORKS else NETWORKS[network]())
    assert caught.value.code == "model.incompatible"
    assert "it takes" in caught.value.message


def odd(what: str) -> Network:
    if what == "odd memory":
        return ears.wenet_stream(att_cache=(3, 4, 16, 128))
    graph = ears.Graph()
    shapes: dict[str, tuple[dict[str, tuple[int, ears.Shape]], dict[str, ears.Shape]]] = {
        "fixed": ({"x": (ears.FLOAT, (1, 400, 80))}, {"y": (1, 400, 80)}),
        "four states": ({"x": (ears.FLOAT, (1, 80, 3000))}, {f"y{k}": (1, 1500, 384) for k in range(4)}),
        "narrow": ({"x": (ears.FLOAT, (1, "n"))}, {"y": (1, "m", 768)}),
        "more inputs": ({"x": (ears.FLOAT, (1, "n", 80)), "z": (ears.FLOAT, (1, 9))}, {"y": (1, "m", 256)}),
    }
    inputs, outputs = shapes[what]
    for output in outputs:
        graph.add(
            "Reshape",
            "x",
            graph.constant([size if isinstance(size, int) else -1 for size in outputs[output]]),
            output=output,
        )
    return graph.network(inputs, outputs)


def test_an_encoder_at_another_rate_is_refused() -> None:
    windows = Windows(lambda rows: rows[::2], Fraction(25), 80, 4, 875, 25)
    with pytest.raises(DhError, match=r"50 x 80 numbers for 100 rows of sound: expected 25 x 80") as caught:
        encoded(windows, numbered(100))
    assert caught.value.code == "model.incompatible"


def test_an_encoder_that_hears_another_recipe_is_refused(tmp_path: Path) -> None:
    manner = Manner(Fraction(25), Scratch(tmp_path / "out.mp4"))
    with pytest.raises(DhError, match="hears the recipe 'wenet_logmel'") as caught:
        hear(
            lambda: iter([np.ones(800, np.float32)]),
            RECIPES["kaldi_fbank"],
            open_encoder("wenet", ears.wenet()),
            manner,
        )
    assert caught.value.code == "model.incompatible"
