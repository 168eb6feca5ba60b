"""A patch network in 8 bits, calibrated on what it is asked while real videos are rendered."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dhcli.errors import DhError, describe
from dhcli.families.family import Family
from dhcli.families.patch.family import NETWORKS, PatchFamily
from dhcli.families.registry import open_family
from dhcli.install.self_test import Sample, asking, self_test
from dhcli.networks.model import Model
from dhcli.networks.network import Device, Network, Tensor, open_network
from dhcli.render.models import Models
from dhcli.types import Numbers

NARROW = NETWORKS["int8"]
LEAST_DB = 38.0
"""Of the picture beside the one in full numbers: below, skin becomes uneven."""
MOST_DB = 100.0
"""Stands for no difference at all."""
FRAMES = 200
"""Of each video: the whole sample."""
EVERY = 5
"""One frame of so many is kept; neighbours teach nothing."""
BATCH = 4

Feeds = Mapping[str, Tensor]


class _Watched(Network):
    """A network that keeps some of what it is asked: single questions, or whole batches where it takes no others."""

    def __init__(self, network: Network, kept: list[Feeds]) -> None:
        vars(self).update(vars(network))  # the same session
        self._kept, self._seen = kept, 0
        self._is_fixed = any(isinstance(info.shape[0], int) and info.shape[0] > 1 for info in self.inputs if info.shape)

    def run(
        self, outputs: Sequence[str], feeds: Mapping[str, Tensor], *, seldom: bool = False, even: bool = False
    ) -> list[Tensor]:
        """As `Network.run`."""
        rows = max(len(values) for values in feeds.values())
        step = rows if self._is_fixed else 1
        for row in range(0, rows, step):
            if self._seen % EVERY == 0:
                self._kept.append({name: _rows(values, row, step, rows) for name, values in feeds.items()})
            self._seen += 1
        return super().run(outputs, feeds, seldom=seldom, even=even)


def _rows(values: Tensor, row: int, count: int, rows: int) -> Tensor:
    """One question, or as many as are asked at once; what all have in common stays whole."""
    return np.array(values[row : row + count] if len(values) == rows else values)


class _WatchedModel(Model):
    def __init__(self, models: _WatchedModels, name: str) -> None:
        super().__init__(models.bundle(name), Device("cpu"), precision="fp32")
        self._kept = models.kept

    def open_main(self, roles: Mapping[Numbers, str]) -> Network:
        """As `Model.open_main`."""
        return _Watched(super().open_main(roles), self._kept)


class _WatchedModels(Models):
    def __init__(self, folders: Sequence[Path]) -> None:
        super().__init__(folders, Device("cpu"))
        self.kept: list[Feeds] = []
        self._opened: dict[str, Family] = {}

    def family(self, name: str) -> Family:
        """As `Models.family`."""
        if name not in self._opened:
            self._opened[name] = open_family(PatchFamily, _WatchedModel(self, name))
        return self._opened[name]


@dataclass
class _Ranges:
    """The questions of a calibration, in the form that ONNX Runtime's tools take."""

    questions: Sequence[Feeds]
    _at: int = field(default=0)

    def get_next(self) -> Feeds | None:
        """The next question; None at the end."""
        self._at += 1
        return self.questions[self._at - 1] if self._at <= len(self.questions) else None

    def rewind(self) -> None:
        """Begin again."""
        self._at = 0


def require_tools() -> tuple[Any, Any]:
    """The modules `onnx` and `onnxruntime.quantization`. Raises DhError model.incompatible where one is absent."""
    try:
        import onnx
        from onnxruntime import quantization
    except ImportError as error:
        raise DhError(
            "model.incompatible",
            f"--int8 cannot quantise here: {error}.",
            hint="Install the extra: pip install 'dhcli[int8]'; or leave --int8 out.",
        ) from error
    return onnx, quantization


def questions(folders: Sequence[Path], name: str, clips: Sequence[Sample]) -> list[Feeds]:
    """What the model's network is asked while the clips are rendered. Raises as `self_test` does."""
    models = _WatchedModels(folders)
    for clip in clips:
        self_test(models, asking(name), clip)
    return models.kept


def quantised(network: Path, target: Path, asked: Sequence[Feeds]) -> float:
    """Write the network in 8 bits, and give its PSNR in dB on questions that it was not calibrated on.

    Weights of 7 bits, since 8 overflow on processors without VNNI: so every processor computes the same. Raises
    DhError model.incompatible where it cannot be made, or is worse than `LEAST_DB`.
    """
    onnx, tools = require_tools()
    taught, held_out = asked[::2], asked[1::2]
    try:
        with tempfile.TemporaryDirectory(prefix="dh-int8-") as folder:
            simpler = Path(folder) / "simpler.onnx"
            tools.quant_pre_process(str(network), str(simpler), skip_symbolic_shape=True)
            model = onnx.load(simpler)
            for k, one in enumerate(model.graph.node):
                one.name = f"{one.op_type}_{k}"  # the quantiser finds nodes by name
            tools.quantize_static(
                model,
                str(target),
                _reader(tools, taught),
                quant_format=tools.QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "ConvTranspose"],
                per_channel=True,
                reduce_range=True,
                activation_type=tools.QuantType.QUInt8,
                weight_type=tools.QuantType.QInt8,
            )
    except Exception as error:  # the tools raise whatever a network leads them to
        raise DhError(
            "model.incompatible",
            f"{network.name}: it cannot be had in 8 bits: {describe(error)}",
            hint="Leave --int8 out.",
        ) from error
    if not any(node.op_type == "QuantizeLinear" for node in onnx.load(target).graph.node):
        raise DhError(
            "model.incompatible",
            f"{network.name}: it has no convolutions, and nothing else becomes faster in 8 bits.",
            hint="Leave --int8 out.",
        )
    found = psnr(network, target, held_out)
    if found < LEAST_DB:
        raise DhError(
            "model.incompatible",
            f"{network.name}: in 8 bits it is {found:.1f} dB from the network it is made from; {LEAST_DB:g} dB are "
            "the least.",
            hint="Leave --int8 out, or calibrate it on more of what it will see: --calibrate VIDEO.",
        )
    return found


def _reader(tools: Any, asked: Sequence[Feeds]) -> Any:
    """`_Ranges` as a class of the tools'."""
    return type("Ranges", (_Ranges, tools.CalibrationDataReader), {})(asked)


def psnr(one: Path, other: Path, asked: Sequence[Feeds]) -> float:
    """Of the second network's first output beside the first's, dB; the peak is the range of the first's values."""
    networks = [open_network(path, path.name, device=Device("cpu")) for path in (one, other)]
    output = networks[0].outputs[0].name
    error = peak = count = 0.0
    low = np.inf
    for feeds in asked:
        pair = [np.asarray(network.run((output,), feeds, even=True)[0], np.float64) for network in networks]
        error += float(((pair[0] - pair[1]) ** 2).sum())
        count += pair[0].size
        peak, low = max(peak, float(pair[0].max())), min(low, float(pair[0].min()))
    if not count:
        return 0.0
    return min(MOST_DB, float(10 * np.log10(max(peak - low, 1e-9) ** 2 / max(error / count, 1e-30))))
