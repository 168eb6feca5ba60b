"""Networks on a device: the only importer of ONNX Runtime.

A network is opened from bytes. It names the provider that runs it, and rejects outputs that are not finite numbers.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from dhcli.disk.regular import read_regular
from dhcli.errors import DhError
from dhcli.networks.onnx_errors import OUT_OF_MEMORY, first_line, load_error, run_error
from dhcli.runtime.threads import cores

Tensor: TypeAlias = npt.NDArray[Any]

CPU_PROVIDER, CUDA_PROVIDER = "CPUExecutionProvider", "CUDAExecutionProvider"
DRIVER = "libcuda.so.1"
"""The driver's own library; containers that are given a GPU have it, too. Without it ONNX Runtime blames libcublas."""
FATAL_ONLY = 4
"""ONNX Runtime's log level; below it coloured lines of C++ go to stderr, right through the progress bar."""
MOST_THREADS = 4
"""Unless more are asked for: 1 to 4 threads give the same bits, 7 round elsewhere, which eight-bit networks turn into
up to 8 levels of a pixel. Decoder and encoder have a use for the other cores."""
MOST_BYTES = (2 << 30) - 1
"""Of a file of a model: Protocol Buffers, the format of ONNX, reads no larger message."""
CONSTANT_SIZE = 16
"""Outputs with fewer numbers (a presence logit, one code) may well hold a single value."""


@dataclass(frozen=True, slots=True)
class Device:
    """Where networks run."""

    kind: Literal["cpu", "cuda"]
    index: int = 0
    required: bool = True
    """False: the CPU does as well; with a warning where there is a GPU that cannot be used."""

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


def means_cpu(device: Device) -> bool:
    """Whether networks on this device run on the CPU, without a trial.

    A machine without an NVIDIA driver is a CPU machine: for "auto" that is nothing to warn about.
    """
    return device.kind == "cpu" or (not device.required and not _has_driver())


def check_device(device: Device) -> None:
    """Look whether a GPU that is asked for can be there at all: driver, and a runtime that knows it.

    Raises DhError env.device_unavailable. Whether it works shows with the first network.
    """
    if not device.required or device.kind == "cpu":
        return
    _require_driver(device)
    if CUDA_PROVIDER not in _runtime().get_available_providers():
        raise _unavailable(device, "this ONNX Runtime is one for CPUs alone")


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
        self.runs = 0
        """How often it was run."""
        self._answers: dict[tuple[str, ...], list[Tensor]] = {}
        """Memory of `run_bound`'s answers, by the outputs that are asked for."""
        self.inputs = _tensors(session.get_inputs())
        self.outputs = _tensors(session.get_outputs())

    @property
    def provider(self) -> str:
        """The execution provider that is in use now."""
        return str(self._session.get_providers()[0])

    def run(
        self, outputs: Sequence[str], feeds: Mapping[str, Tensor], *, seldom: bool = False, even: bool = False
    ) -> list[Tensor]:
        """The named outputs for these inputs, in the order asked for.

        `even`: one and the same value everywhere is an answer, too.

        `seldom`: the working memory is given back afterwards, which ONNX Runtime else keeps for the next run: 80 MiB
        after 20 s of sound.

        Raises DhError model.failed, model.bad_output, device.out_of_memory or device.lost.
        """
        self.runs += 1
        try:
            answer: list[Tensor] = self._session.run(
                list(outputs), dict(feeds), self._giving_back() if seldom else None
            )
        except Exception as error:
            raise run_error(self.name, error) from error
        self._check(outputs, answer, even=even)
        return answer

    def noise(self, rows: int) -> dict[str, Tensor]:
        """Something to ask where only the time counts: `rows` for every free size."""
        random = np.random.default_rng(0)
        return {
            info.name: random.random([s if isinstance(s, int) else rows for s in info.shape], np.float32).astype(
                info.dtype
            )
            for info in self.inputs
        }

    def run_bound(self, outputs: Sequence[str], feeds: Mapping[str, Tensor]) -> list[Tensor]:
        """Like `run`, for inputs and outputs with a row for each of the things asked: the answers are not allocated.

        They lie in memory that the next call overwrites, as much as the longest question so far needed. Raises as
        `run` does.
        """
        rows = len(next(iter(feeds.values())))
        memory = self._answers.get(tuple(outputs))
        if memory is None or len(memory[0]) < rows:
            memory = self._answers[tuple(outputs)] = self.run(outputs, feeds)
            return list(memory)
        answer = [values[:rows] for values in memory]
        self.runs += 1
        try:
            binding = self._session.io_binding()
            for name, values in feeds.items():
                binding.bind_cpu_input(name, values)  # read where it lies, or copied to the GPU
            for name, values in zip(outputs, answer, strict=True):
                binding.bind_output(name, "cpu", 0, values.dtype, values.shape, values.ctypes.data)
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()
        except Exception as error:
            raise run_error(self.name, error) from error
        self._check(outputs, answer)
        return answer

    def _giving_back(self) -> Any:
        if self.provider != CPU_PROVIDER:
            return None
        options = _runtime().RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return options

    def _check(self, names: Sequence[str], answer: Sequence[Tensor], *, even: bool = False) -> None:
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
            if values.size >= CONSTANT_SIZE and not even:
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
    """Open an ONNX network; `threads` 0 means one for each core, at most `MOST_THREADS`.

    It is always loaded from bytes, so that it cannot name other files as its weights. Raises DhError model.missing,
    model.corrupt, model.incompatible, env.device_unavailable or device.out_of_memory.
    """
    content = _read(data, name) if isinstance(data, Path) else data
    if means_cpu(device):
        return Network(_cpu_session(content, name, threads), name, None)
    try:
        return Network(_cuda_session(content, name, device, threads), name, None)
    except DhError as error:
        if device.required or error.code not in {"env.device_unavailable", "device.out_of_memory"}:
            raise
        return Network(_cpu_session(content, name, threads), name, f"No GPU is used: {error.message}")


def _read(path: Path, name: str) -> bytes:
    try:
        return read_regular(path, MOST_BYTES, "network")
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
        raise load_error(name, error, runtime_version()) from error


def _cuda_session(content: bytes, name: str, device: Device, threads: int) -> Any:
    _require_driver(device)
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
            raise _unavailable(device, first_line(error)) from error
        raise load_error(name, error, runtime_version()) from error
    # A provider that cannot start is replaced by the CPU without an exception or a warning.
    if session.get_providers()[0] != CUDA_PROVIDER:
        raise _unavailable(device, first_line(said.getvalue()) or "the CUDA libraries or the driver are missing")
    return session


def _unavailable(device: Device, found: str) -> DhError:
    return DhError(
        "env.device_unavailable",
        f"The device {device} cannot be used: {found}.",
        hint="Look at `nvidia-smi`, install the extra dhcli[cuda], or use --device cpu.",
    )


def _require_driver(device: Device) -> None:
    if not _has_driver():
        raise _unavailable(device, f"there is no NVIDIA driver ({DRIVER})")


@functools.cache
def _has_driver() -> bool:
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return False
    return True


@functools.cache
def _runtime() -> Any:
    # Otherwise ONNX Runtime 1.31 keeps an identity in the user's cache folder and, in runs of some 20 s, sends events
    # to its maker. It looks at this once, when it is loaded.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise DhError(
            "env.device_unavailable",
            f"ONNX Runtime cannot be loaded: {first_line(error)}.",
            hint="Install dh again, with exactly one of onnxruntime-gpu and onnxruntime.",
        ) from error
    onnxruntime.set_default_logger_severity(FATAL_ONLY)
    return onnxruntime


def _options(threads: int) -> Any:
    # One factory: a misspelled keyword would be swallowed without a word.
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or min(MOST_THREADS, cores())
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = FATAL_ONLY
    # Waiting threads that spin take a third more CPU (2 cores: 1.9 s for 1.3 s) and make a face take twice as long
    # while x264 runs beside them; without it a lone network is no slower.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Smaller shares for the threads, the last ones the smallest: one that x264 keeps from its core holds up the others
    # less: a video of 720p has 2 to 3 % more frames a second on 2 cores. Who takes which share differs from run to run,
    # and so may the rounding: the face network always gives the same bits, the audio network has one thread therefore.
    options.add_session_config_entry("session.dynamic_block_base", "4")
    return options


def _tensors(nodes: Sequence[Any]) -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(node.name, tuple("?" if size is None else size for size in node.shape), _dtype(node.type))
        for node in nodes
    )


def _dtype(kind: str) -> str:
    inner = kind.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(inner, inner)
