"""Networks on a device: the only importer of ONNX Runtime, and the only place that knows its exceptions and its moods.

It opens a network from bytes, says which provider really runs it, runs it and refuses answers that are no numbers. It
knows nothing of bundles, of faces or of speech.
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from dhcli.errors import DhError

Tensor: TypeAlias = npt.NDArray[Any]

CPU_PROVIDER, CUDA_PROVIDER = "CPUExecutionProvider", "CUDAExecutionProvider"
FATAL_ONLY = 4
"""ONNX Runtime's log level; below it coloured lines of C++ go to stderr, right through the progress bar."""
TEXT_LIMIT = 400
"""Characters of ONNX Runtime's own words that go into a message; a graph error may quote a whole graph."""
CONSTANT_SIZE = 16
"""Outputs with fewer numbers (a presence logit, one code) may well hold a single value."""

# The texts, not the exception types, tell these apart: all of them arrive as RuntimeException or Fail.
OUT_OF_MEMORY = re.compile(
    r"BFCArena|out of memory|Failed to allocate memory|bad_alloc|ALLOC_FAILED|MemoryError", re.IGNORECASE
)
DEVICE_LOST = re.compile(r"CUDA (failure|error)|CUDNN failure|CUBLAS failure|cudaError|CUDNN_STATUS|CUBLAS_STATUS")
TOO_NEW = re.compile(r"opset|IR version|not a registered function/op|Could not find an implementation", re.IGNORECASE)
EXTERNAL_DATA = re.compile(r"external data|model_path must not be empty", re.IGNORECASE)
NOISE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : |/\S+\.(?:cc|cu|h):\d+ \S.*?\)(?: const)? ")
"""What ONNX Runtime puts around its reason: a number with its name, a source file with a C++ signature."""


@dataclass(frozen=True, slots=True)
class Device:
    """Where networks run."""

    kind: Literal["cpu", "cuda"]
    index: int = 0
    required: bool = True
    """False: the CPU does as well, with a warning."""

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"cuda:{self.index}"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output of a network."""

    name: str
    shape: tuple[int | str, ...]
    """A text stands for a size that is free; sizes with the same name are equal."""
    dtype: str
    """In numpy's words, like "float32"."""

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(map(str, self.shape))}) {self.dtype}"


def parse_device(text: str) -> Device:
    """The device that "auto", "cpu", "cuda" or "cuda:N" asks for. Raises DhError env.device_unavailable."""
    if text == "auto":
        return Device("cuda", required=False)
    if text == "cpu":
        return Device("cpu")
    if match := re.fullmatch(r"cuda(?::([0-9]{1,3}))?", text):
        return Device("cuda", int(match[1] or 0))
    raise DhError(
        "env.device_unavailable", f"There is no device '{text}'.", hint="Devices are auto, cpu, cuda and cuda:N."
    )


def runtime_version() -> str:
    """ONNX Runtime's version."""
    return str(_runtime().__version__)


class Network:
    """An opened network. Not for two threads at once: a run on CUDA belongs to the thread that opened it."""

    def __init__(self, session: Any, name: str, warning: str | None) -> None:
        self._session = session
        self.name = name
        self.warning = warning
        """Why the network is not on the device asked for, or None."""
        self.provider: str = session.get_providers()[0]
        self.inputs = _tensors(session.get_inputs())
        self.outputs = _tensors(session.get_outputs())

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Tensor]) -> list[Tensor]:
        """The named outputs for these inputs, in the order asked for.

        Raises DhError model.failed, model.bad_output, device.out_of_memory or device.lost.
        """
        try:
            answer: list[Tensor] = self._session.run(list(outputs), dict(feeds))
        except Exception as error:
            raise _run_error(self.name, error) from error
        self._check(outputs, answer)
        return answer

    def _check(self, names: Sequence[str], answer: Sequence[Tensor]) -> None:
        constant = []
        for name, values in zip(names, answer, strict=True):
            if values.size == 0 or values.dtype.kind not in "fiu":
                continue
            low, high = values.min(), values.max()  # both are NaN where one value is; 20 µs for a 160-px crop
            if not (np.isfinite(low) and np.isfinite(high)):
                raise self._bad(
                    f"has {np.count_nonzero(~np.isfinite(values))} values of {values.size} in its output "
                    f"'{name}' that are NaN or infinite"
                )
            if values.size >= CONSTANT_SIZE:
                constant.append(low == high)
        # One constant output can be right (nothing new appears in the mouth), all of them together cannot.
        if constant and all(constant):
            raise self._bad(f"gave one and the same value everywhere ({', '.join(names)})")

    def _bad(self, what: str) -> DhError:
        return DhError(
            "model.bad_output",
            f"The network '{self.name}' {what}, on {self.provider}.",
            hint="Try --device cpu; if it fails there too, verify the model with `dh models verify`.",
        )


def open_network(data: bytes | Path, name: str, *, device: Device, threads: int = 0) -> Network:
    """Open an ONNX network; `threads` 0 means one for each core.

    It is always loaded from bytes, so that it cannot name other files as its weights. Raises DhError model.missing,
    model.corrupt, model.incompatible, env.device_unavailable or device.out_of_memory.
    """
    content = _read(data, name) if isinstance(data, Path) else data
    if device.kind == "cpu":
        return Network(_cpu_session(content, name, threads), name, None)
    try:
        return Network(_cuda_session(content, name, device, threads), name, None)
    except DhError as error:
        if device.required or error.code not in {"env.device_unavailable", "device.out_of_memory"}:
            raise
        return Network(_cpu_session(content, name, threads), name, f"No GPU is used: {error.message}")


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DhError(
            "model.missing",
            f"The network '{name}' cannot be read from {path}: {error.strerror}.",
            hint="Put the model's files back, or name another model.",
        ) from error


def _cpu_session(content: bytes, name: str, threads: int) -> Any:
    try:
        return _runtime().InferenceSession(content, _options(threads), providers=[CPU_PROVIDER])
    except Exception as error:
        raise _load_error(name, error) from error


def _cuda_session(content: bytes, name: str, device: Device, threads: int) -> Any:
    said = io.StringIO()
    # HEURISTIC: the exhaustive search would run again, for seconds, for every new batch size.
    settings = {"device_id": device.index, "cudnn_conv_algo_search": "HEURISTIC"}
    try:
        # Both calls print on stdout what is missing, which would end up between the JSON lines.
        with contextlib.redirect_stdout(said):
            runtime = _runtime()
            runtime.preload_dlls()
            session = runtime.InferenceSession(
                content, _options(threads), providers=[(CUDA_PROVIDER, settings), CPU_PROVIDER]
            )
    except Exception as error:
        if re.search("cuda|cudnn|cublas", str(error), re.IGNORECASE) and not OUT_OF_MEMORY.search(str(error)):
            raise _unavailable(device, _first_line(error)) from error
        raise _load_error(name, error) from error
    # A provider that cannot start is replaced by the CPU without an exception or a warning.
    if session.get_providers()[0] != CUDA_PROVIDER:
        raise _unavailable(device, _first_line(said.getvalue()) or "the CUDA libraries or the driver are missing")
    return session


def _unavailable(device: Device, found: str) -> DhError:
    return DhError(
        "env.device_unavailable",
        f"The device {device} cannot be used: {found}.",
        hint="Look at `nvidia-smi`, install the extra dhcli[cuda], or use --device cpu.",
    )


@functools.cache
def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise DhError(
            "env.device_unavailable",
            f"ONNX Runtime cannot be loaded: {_first_line(error)}.",
            hint="Install dh again, with exactly one of onnxruntime-gpu and onnxruntime.",
        ) from error
    onnxruntime.set_default_logger_severity(FATAL_ONLY)
    return onnxruntime


def _options(threads: int) -> Any:
    # One factory: a misspelled keyword would be swallowed without a word.
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = FATAL_ONLY
    # Waiting threads that spin take a third more CPU (2 cores: 1.9 s for 1.3 s) and make a face take twice as long
    # while x264 runs beside them; without it a lone network is no slower.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _tensors(nodes: Sequence[Any]) -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(node.name, tuple("?" if size is None else size for size in node.shape), _dtype(node.type))
        for node in nodes
    )


def _dtype(kind: str) -> str:
    inner = kind.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(inner, inner)


def _load_error(name: str, error: Exception) -> DhError:
    text = _first_line(error)
    if OUT_OF_MEMORY.search(f"{type(error).__name__}: {error}"):
        return _out_of_memory(name, text)
    if type(error).__name__ in {"NotImplemented", "InvalidGraph"} or TOO_NEW.search(str(error)):
        return DhError(
            "model.incompatible",
            f"ONNX Runtime {runtime_version()} cannot run the network '{name}': {text}",
            hint="Use a newer ONNX Runtime, or export the network with an older opset.",
        )
    if EXTERNAL_DATA.search(str(error)):
        return DhError(
            "model.corrupt",
            f"The network '{name}' keeps its weights in other files, which dh does not read.",
            hint="Save the network with its weights inside, in one file.",
        )
    return DhError(
        "model.corrupt",
        f"The network '{name}' is not an ONNX file that can be read: {text}",
        hint="Fetch the model's files again and run `dh models verify`.",
    )


def _run_error(name: str, error: Exception) -> DhError:
    text = _first_line(error)
    whole = f"{type(error).__name__}: {error}"
    if OUT_OF_MEMORY.search(whole):
        return _out_of_memory(name, text)
    if DEVICE_LOST.search(whole):
        return DhError(
            "device.lost",
            f"The device failed in the network '{name}': {text}",
            hint="Start dh again; if it comes back, look at `nvidia-smi` and the kernel's log (Xid).",
        )
    return DhError(
        "model.failed",
        f"The network '{name}' failed: {text}",
        hint="If it fails again, run `dh models verify` and report it with the result file.",
    )


def _out_of_memory(name: str, text: str) -> DhError:
    return DhError(
        "device.out_of_memory",
        f"The network '{name}' found too little memory: {text}",
        hint="End other programs on the device, or use --device cpu.",
    )


def _first_line(error: Exception | str) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return "" if isinstance(error, str) else type(error).__name__
    return NOISE.sub("", lines[0])[:TEXT_LIMIT].rstrip(".")
