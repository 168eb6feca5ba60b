"""ONNX Runtime's exceptions in dh's words. Their texts tell them apart, so the library is not imported."""

from __future__ import annotations

import re

from dhcli.errors import MORE_MEMORY, DhError

TEXT_LIMIT = 400
"""Characters of ONNX Runtime's own words that go into a message; a graph error may quote a whole graph."""

# The texts, not the exception types, tell these apart: all of them arrive as RuntimeException or Fail.
OUT_OF_MEMORY = re.compile(
    r"BFCArena|out of memory|Failed to allocate memory|bad_alloc|ALLOC_FAILED|MemoryError", re.IGNORECASE
)
DEVICE_LOST = re.compile(r"CUDA (failure|error)|CUDNN failure|CUBLAS failure|cudaError|CUDNN_STATUS|CUBLAS_STATUS")
TOO_NEW = re.compile(r"opset|IR version|not a registered function/op|Could not find an implementation", re.IGNORECASE)
EXTERNAL_DATA = re.compile(r"external data|model_path must not be empty", re.IGNORECASE)
NOISE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : |/\S+\.(?:cc|cu|h):\d+ \S.*?\)(?: const)? ")
"""What ONNX Runtime puts around its reason: a number with its name, a source file with a C++ signature."""


NO_MEMORY = re.compile(r"pthread_create failed|Cannot allocate memory")
"""Of the process itself, at a limit of the system: before anything could be allocated for a network."""


def load_error(name: str, error: Exception, version: str) -> DhError:
    """Why a network cannot be opened by this `version`."""
    text = first_line(error)
    if NO_MEMORY.search(str(error)):
        return DhError("env.limits", f"The network '{name}' cannot be opened: {text}", hint=MORE_MEMORY)
    if OUT_OF_MEMORY.search(f"{type(error).__name__}: {error}"):
        return _out_of_memory(name, text)
    if type(error).__name__ in {"NotImplemented", "InvalidGraph"} or TOO_NEW.search(str(error)):
        return DhError(
            "model.incompatible",
            f"ONNX Runtime {version} cannot run the network '{name}': {text}",
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


def run_error(name: str, error: Exception) -> DhError:
    """Why a network gave no answer."""
    text = first_line(error)
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


def first_line(error: Exception | str) -> str:
    """The first line that says something, without what only a developer of ONNX Runtime wants to know."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return "" if isinstance(error, str) else type(error).__name__
    return NOISE.sub("", lines[0])[:TEXT_LIMIT].rstrip(".")
