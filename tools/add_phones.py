"""Give audio.onnx a second output: which phones its front end hears.

    python tools/add_phones.py ASSETS models/dh-base/audio.onnx

ASSETS is the folder hama/assets of the PyPI package hama 1.3.13, whose recogniser the front end is. That one's last
layer tells 191 tokens from the 256 numbers that audio.onnx makes anyway. `phones` (n, steps, 2), 50 steps a second,
sums them up: the probability of a phone made with closed lips (b, p, m), and of any phone. A step between two phones,
or in a pause, has neither: the recogniser names a phone for one or two steps, near its end. Every bit of `codes` stays
as it was. audio.onnx is replaced.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper, numpy_helper

BILABIAL = frozenset({"b", "p", "m", "pʰ", "p͈", "ɓ"})
NO_PHONE = frozenset({"<pad>", "<sos>", "<eos>", "<unk>", " ", "%", ",", "<wb>", "<blank>"})
MORE_TOKENS = ["<wb>", "<blank>"]
"""The recogniser's last two tokens, which its vocabulary does not list: the border of a word, and nothing new."""
HIDDEN = "head//a/Transpose"
"""The node that takes the hidden layer, (n, steps, 256), and gives (n, 256, steps)."""


def main() -> None:
    """Add the output, compare, and only then write."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    assets, path = Path(sys.argv[1]), Path(sys.argv[2])
    before = path.read_bytes()
    after = with_phones(onnx.load_from_string(before), onnx.load(assets / "asr_waveform_fp16.onnx"), tokens(assets))
    sound = np.random.default_rng(0).normal(0, 0.08, (1, 32_000)).astype(np.float32)
    old, new = run(before, sound), run(after, sound)
    if not np.array_equal(old["codes"], new["codes"]):
        sys.exit(f"{path.name} is not written: its codes would be others.")
    path.write_bytes(after)
    print(f"{path.name}: {len(before)} -> {len(after)} bytes; phones {new['phones'].shape}")


def tokens(assets: Path) -> list[str]:
    """The recogniser's 191 tokens in the order of its outputs."""
    listed: list[str] = json.loads((assets / "g2p_vocab.json").read_text(encoding="utf-8"))["decoder"]
    return listed + MORE_TOKENS


def with_phones(audio: onnx.ModelProto, recogniser: onnx.ModelProto, names: list[str]) -> bytes:
    """The audio network with the output `phones`. Exits where it has that already."""
    graph = audio.graph
    if any(output.name == "phones" for output in graph.output):
        sys.exit("The network has the output 'phones' already.")
    layer = {one.name.rsplit(".", 1)[-1]: one for one in recogniser.graph.initializer if ".proj." in one.name}
    sums = np.array([[name in BILABIAL for name in names], [name not in NO_PHONE for name in names]])
    hidden = next(node.output[0] for node in graph.node if node.name == HIDDEN)
    for name, values in (
        ("phones.weight", numpy_helper.to_array(layer["weight"]).astype(np.float16)),  # as the front end's own
        ("phones.bias", numpy_helper.to_array(layer["bias"]).astype(np.float16)),
        ("phones.sums", sums[:, :, None].astype(np.float16)),
    ):
        graph.initializer.append(numpy_helper.from_array(values, name))
        graph.node.append(helper.make_node("Cast", [name], [f"{name}.fp32"], to=onnx.TensorProto.FLOAT))
    graph.node.extend([
        helper.make_node("Conv", [hidden, "phones.weight.fp32", "phones.bias.fp32"], ["phones.logits"]),
        helper.make_node("Softmax", ["phones.logits"], ["phones.tokens"], axis=1),
        helper.make_node("Conv", ["phones.tokens", "phones.sums.fp32"], ["phones.planes"]),
        helper.make_node("Transpose", ["phones.planes"], ["phones"], perm=[0, 2, 1]),
    ])  # fmt: skip
    graph.output.append(helper.make_tensor_value_info("phones", onnx.TensorProto.FLOAT, ["n", "steps", 2]))
    onnx.checker.check_model(audio)
    return bytes(audio.SerializeToString())


def run(network: bytes, sound: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[Any]]:
    """All outputs for a sound (1, samples), by name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # with more, equal sums may be rounded in another way
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"waveform": sound}), strict=True))


if __name__ == "__main__":
    main()
