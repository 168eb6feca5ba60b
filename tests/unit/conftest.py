"""Networks of one node, made here: no weights, loaded in a millisecond; and a sandbox that a program puts itself in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
from onnx import TensorProto, helper

MakeNetwork = Callable[..., bytes]
DENY = """
import ctypes, struct

def deny(call):  # by a filter that allows all others
    code = [(0x20, 0, 0, 0), (0x15, 0, 1, call), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7FFF0000)]
    lines = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in code))
    program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(lines))
    libc = ctypes.CDLL(None)
    assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0

"""


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


@pytest.fixture(scope="session")
def deny() -> str:
    """Text of a program: `deny(number)`, after which the system refuses its process that call with EPERM."""
    return DENY
