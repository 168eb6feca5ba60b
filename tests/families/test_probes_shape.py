"""The network of Wav2Lip's shape, which measures speed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tools.wav2lip_shape import shape_of, weights_of, write_onnx

from dhcli.families.patch.presets import recognise
from dhcli.networks.network import Device, open_network


def test_its_layers_fit_each_other() -> None:
    shape = shape_of(96)
    assert len(shape.face) == len(shape.paint) == 7
    assert sum(1 for _ in shape.layers()) == 51
    for before, after in zip([shape.paint[0], *shape.paint[1:]], [*shape.paint[1:], shape.last], strict=True):
        kept = shape.face[6 - shape.paint.index(before)][-1].given
        assert before[-1].given + kept == after[0].taken
    assert sum(layer.taken * layer.given * layer.kernel**2 for layer in shape.layers()) == pytest.approx(
        36.3e6, rel=0.01
    )


def test_other_sizes_are_refused() -> None:
    for size in (95, 48, 256, 0):
        with pytest.raises(ValueError, match="96, 192 or 384"):
            shape_of(size)


@pytest.mark.slow
def test_it_is_a_wav2lip_and_paints(tmp_path: Path) -> None:
    path = tmp_path / "shape.onnx"
    shape = shape_of(96)
    write_onnx(path, shape, weights_of(shape))
    network = open_network(path, "shape", device=Device("cpu"), threads=1)
    assert recognise(network.inputs, network.outputs)[0].preset == "wav2lip"
    random = np.random.default_rng(0)
    sounds = random.uniform(-4, 4, (2, 1, 80, 16)).astype(np.float32)
    (picture,) = network.run(["frames"], {"mel": sounds, "faces": np.full((2, 6, 96, 96), 0.5, np.float32)})
    assert picture.shape == (2, 3, 96, 96)
    assert 0 <= picture.min() < picture.max() <= 1
    assert np.abs(picture[0] - picture[1]).max() > 0.01, "the sound is heard"
