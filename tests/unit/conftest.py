"""Networks of one node, made here: no weights, loaded in a millisecond."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
from onnx import TensorProto, helper

MakeNetwork = Callable[..., bytes]


@pytest.fixture(scope="session")
def make_network() -> MakeNetwork:
    """ONNX bytes of a network that puts its float32 input `x` through one operator and calls the answer `y`."""

    def make(
        operator: str = "Identity", *, shape: Sequence[int | str] = ("n", 4), opset: int = 17, output: str = "y"
    ) -> bytes:
        graph = helper.make_graph(
            [helper.make_node(operator, ["x"], [output])],
            "tiny",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        )
        opsets = [helper.make_opsetid("", opset)]
        content: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
        return content

    return make


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    """Fails a test that leaves a thread behind."""
    before = set(threading.enumerate())
    yield
    assert [thread.name for thread in threading.enumerate() if thread not in before] == []
