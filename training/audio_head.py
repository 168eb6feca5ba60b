"""The head of audio.onnx: from what its front end hears to mouth codes. It is taken out of the file, and put back.

The front end, a phoneme recogniser up to its last hidden layer beside a log-mel spectrum, stays as it is; ONNX Runtime
computes it. The head's weights are found by their names (`head/a.…`), those of its norms by where they stand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from dhcli.types import F32

PREFIX = "head/a."
HEARD, MELS, WIDTH, CODES = 256, 40, 128, 12
DILATIONS = (1, 2, 4, 1, 2)


class Layer(nn.Module):
    """A norm, a dilated convolution and a plain one, beside a shortcut."""

    def __init__(self, dilation: int, drop: float) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, WIDTH)
        self.wide = nn.Conv1d(WIDTH, WIDTH, 3, padding=dilation, dilation=dilation)
        self.plain = nn.Conv1d(WIDTH, WIDTH, 1)
        self._drop = drop

    def forward(self, x: Tensor) -> Tensor:
        return x + self.plain(F.dropout(F.gelu(self.wide(self.norm(x))), self._drop, self.training))


class AudioHead(nn.Module):
    """Hidden layer (n, 256, 2 k) and log-mels (n, 40, 2 k), 50 a second -> codes (n, k, 12)."""

    def __init__(self, drop: float = 0.0) -> None:
        super().__init__()
        self.h, self.m = nn.Conv1d(HEARD, WIDTH, 1), nn.Conv1d(MELS, WIDTH, 3, padding=1)
        self.b = nn.Conv1d(WIDTH, WIDTH, 4, 2, 1)
        self.r = nn.ModuleList([Layer(dilation, drop) for dilation in DILATIONS])
        self.o = nn.Conv1d(WIDTH, CODES, 1)

    def forward(self, heard: Tensor, mels: Tensor) -> Tensor:
        x = self.b(F.gelu(self.h(heard) + self.m(mels)))
        for layer in self.r:
            x = layer(x)
        return self.o(x).transpose(1, 2)


class AudioFile:
    """An audio.onnx whose head can be exchanged. Raises ValueError where it is none that this module knows."""

    def __init__(self, path: Path) -> None:
        self._model = onnx.load(path)
        graph = self._model.graph
        self._constants = {one.name: one for one in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._users = {name: node for node in graph.node for name in node.input}
        try:
            self._names = self._weights()
            asked = [self._users[f"{PREFIX}{part}.weight"].input[0] for part in ("h", "m")]
        except (KeyError, IndexError) as error:
            raise ValueError(f"{path} has no head of the form that is trained here: {error} is missing") from None
        front = onnx.ModelProto()
        front.CopyFrom(self._model)
        front.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in asked)
        self._front, self._asked = _session(front), asked

    def hear(self, samples: F32) -> tuple[F32, F32]:
        """What the front end makes of speech (n,): (256, 2 k) and (40, 2 k)."""
        heard, mels = self._front.run(self._asked, {"waveform": samples[None]})
        return heard[0], mels[0]

    def head(self, drop: float = 0.0) -> AudioHead:
        """The head with the file's weights."""
        head = AudioHead(drop)
        state = {}
        for ours, name in self._names.items():
            state[ours] = torch.from_numpy(numpy_helper.to_array(self._constants[name]).copy())
        shapes = head.state_dict()
        head.load_state_dict({ours: value.reshape(shapes[ours].shape) for ours, value in state.items()})
        return head

    def exchange(self, head: AudioHead) -> None:
        """Put this head into the graph; `save` writes it."""
        state = head.state_dict()
        for ours, name in self._names.items():
            old = self._constants[name]
            new = state[ours].detach().cpu().numpy().astype(np.float32).reshape(tuple(old.dims))
            old.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(new), name))

    def codes(self, samples: F32) -> F32:
        """(k, 12): what the whole network says now."""
        said: F32 = _session(self._model).run(["codes"], {"waveform": samples[None]})[0][0]
        return said

    def save(self, path: Path) -> None:
        """Write the whole network."""
        onnx.save(self._model, path)

    def _weights(self) -> dict[str, str]:
        """Our names of the head's weights -> those in the file."""
        names = {f"{part}.{kind}": f"{PREFIX}{part}.{kind}" for part in "hmbo" for kind in ("weight", "bias")}
        for i in range(len(DILATIONS)):
            for ours, theirs in (("wide", "0"), ("plain", "3")):
                for kind in ("weight", "bias"):
                    names[f"r.{i}.{ours}.{kind}"] = f"{PREFIX}r.{i}.{theirs}.{kind}"
            add = self._makers[self._users[names[f"r.{i}.wide.weight"]].input[0]]
            names[f"r.{i}.norm.bias"] = self._constant(add)
            names[f"r.{i}.norm.weight"] = self._constant(self._makers[add.input[0]])
        for name in names.values():
            self._constants[name]
        return names

    def _constant(self, node: NodeProto) -> str:
        name: str = next(name for name in node.input if name in self._constants)
        return name


def _session(model: onnx.ModelProto) -> Any:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def largest(one: F32, other: F32) -> float:
    """The largest difference of two answers."""
    return float(np.abs(one - other).max()) if one.shape == other.shape else np.inf
