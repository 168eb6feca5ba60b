"""With a network of Wav2Lip's shape: dh against the flow of Wav2Lip's own program, from start to exit.

    python benchmarks/families.py --torch PYTHON [--size 720p] [--seconds 20] [--pairs 3] [--precision fp32]

Both have the same weights (`tools/wav2lip_shape.py`), the face and speech of the sample, and the machine to themselves;
they take turns. PYTHON is one with PyTorch, OpenCV and librosa. The flow, from its description: read all frames; the
mel of the whole speech by librosa; crops of 96 px, masked and whole, in batches of 128 through the PyTorch network;
each answer resized and written over the face; a DIVX file without sound; ffmpeg encodes that again, with the sound, by
its defaults. The face's box is given to it; dh finds the face by itself: *cold* with an empty cache, *warm* the second
time.

`network` is the share of dh's CPU time that the network takes: it alone, for as many frames, in batches as in a render.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MODEL = "wav2lip-shape"
BOX = (0.40, 0.43, 0.60, 0.88)
"""Left, top, right and bottom of the face in the clip, in parts of its width and height."""
KEYS = ("kernel", "bias", "gamma", "beta", "mean", "variance")
"""Of the weights of a layer."""
BATCH = 128
"""Of Wav2Lip's own program."""


@dataclass(frozen=True, slots=True)
class Took:
    """One run of a program, its children included."""

    wall_s: float
    cpu_s: float


def timed(command: Sequence[str | Path], **environment: str) -> Took:
    """Run a program to its end."""
    began = time.monotonic()
    with subprocess.Popen([*map(str, command)], env={**os.environ, **environment}) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[0]} … ended with {process.returncode}")
    return Took(time.monotonic() - began, usage.ru_utime + usage.ru_stime)


def prepare(folder: Path, size: str, seconds: float) -> int:
    """Network, weights, clip and speech; gives the number of frames."""
    import numpy as np
    from tools.wav2lip_shape import shape_of, weights_of, write_onnx

    from dhcli.bench.clip import parse_size, resize, sample
    from dhcli.media.ffmpeg_program import find_ffmpeg
    from dhcli.runtime.scope import Scope

    shape = shape_of(96)
    weights = weights_of(shape)
    write_onnx(folder / "network.onnx", shape, weights)
    np.savez(
        folder / "weights.npz", **{f"{k}_{key}": getattr(one, key) for k, one in enumerate(weights) for key in KEYS}
    )
    speech, avatar = sample()
    with Scope() as scope:
        resize(scope, avatar, parse_size(size), folder / "clip.mp4")
    loop = [find_ffmpeg(), "-v", "error", "-stream_loop", "-1", "-i", str(speech), "-t", str(seconds)]
    subprocess.run([*loop, str(folder / "speech.wav")], check=True)
    return round(seconds * 25)


def dh(folder: Path, cache: str, precision: str) -> Took:
    """One render by dh."""
    files = ["--audio", folder / "speech.wav", "--video", folder / "clip.mp4", "--save-path", folder / "dh.mp4"]
    how = ["--models-dir", folder / "models", "--cache-dir", folder / cache, "--device", "cpu", "-q"]
    more = ["--set", f"model={MODEL}", "--precision", precision, "--if-exists", "overwrite"]
    return timed([sys.executable, "-m", "dhcli", "render", *files, *how, *more])


def network_cpu_s(path: Path, frames: int) -> float:
    """CPU time of the network alone for so many frames."""
    from dhcli.networks.batch_size import BATCH as AT_ONCE
    from dhcli.networks.network import Device, open_network

    network = open_network(path, "network", device=Device("cpu"))
    feeds = network.noise(AT_ONCE)
    outputs = [network.outputs[0].name]
    network.run_bound(outputs, feeds)
    began = time.process_time()
    calls = max(5, 200 // AT_ONCE)
    for _ in range(calls):
        network.run_bound(outputs, feeds)
    return (time.process_time() - began) / calls / AT_ONCE * frames


def original(folder: Path, ffmpeg: str) -> None:
    """Wav2Lip's own flow; prints its stages, s, as JSON."""
    import cv2
    import librosa
    import numpy as np
    import torch
    from tools.golden_sound import wav2lip_mel
    from tools.wav2lip_shape import Weights, shape_of, torch_module

    clock = [time.monotonic()]
    stages: dict[str, float] = {}

    def took(stage: str) -> None:
        clock.append(time.monotonic())
        stages[stage] = stages.get(stage, 0) + clock[-1] - clock[-2]

    video = cv2.VideoCapture(str(folder / "clip.mp4"))
    fps, frames = video.get(cv2.CAP_PROP_FPS), []
    while (answer := video.read())[0]:
        frames.append(answer[1])
    took("read")
    speech, _ = librosa.load(str(folder / "speech.wav"), sr=16000)
    columns = wav2lip_mel(speech).T.astype(np.float32)
    pieces = [*pieces_of(columns, fps)]
    took("mel")
    with np.load(folder / "weights.npz") as stored:
        weights = [Weights(*(stored[f"{k}_{key}"] for key in KEYS)) for k in range(len(stored) // len(KEYS))]
    network = torch_module(shape_of(96), weights)
    took("load")
    high, wide = frames[0].shape[:2]
    left, top, right, bottom = (int(part * side) for part, side in zip(BOX, (wide, high, wide, high), strict=True))
    writer = cv2.VideoWriter(str(folder / "silent.avi"), cv2.VideoWriter.fourcc(*"DIVX"), fps, (wide, high))
    for first in range(0, len(pieces), BATCH):
        heard = np.stack(pieces[first : first + BATCH])[:, None]
        shown = [frames[index % len(frames)].copy() for index in range(first, first + len(heard))]
        whole = np.stack([cv2.resize(frame[top:bottom, left:right], (96, 96)) for frame in shown])
        masked = whole.copy()
        masked[:, 48:] = 0
        faces = (np.concatenate([masked, whole], axis=3) / 255.0).transpose(0, 3, 1, 2).astype(np.float32)
        took("crop")
        with torch.no_grad():
            answer = network(torch.from_numpy(heard), torch.from_numpy(faces)).numpy()
        took("network")
        for picture, frame in zip(answer.transpose(0, 2, 3, 1) * 255.0, shown, strict=True):
            frame[top:bottom, left:right] = cv2.resize(picture.astype(np.uint8), (right - left, bottom - top))
            writer.write(frame)
        took("write")
    writer.release()
    join = [ffmpeg, "-v", "error", "-y", "-i", folder / "speech.wav", "-i", folder / "silent.avi", "-strict", "-2"]
    subprocess.run([*map(str, join), "-q:v", "1", str(folder / "original.mp4")], check=True)
    took("ffmpeg")
    print(json.dumps({"frames": len(pieces), **stages}))


def pieces_of(columns: Any, fps: float) -> Iterator[Any]:
    """The columns of each frame; at the end the last sixteen once."""
    index = 0
    while (start := int(index * 80 / fps)) + 16 <= columns.shape[1]:
        yield columns[:, start : start + 16]
        index += 1
    yield columns[:, -16:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", metavar="PYTHON", help="a Python with PyTorch, OpenCV and librosa")
    parser.add_argument("--size", default="720p")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--original", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--ffmpeg", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.original:
        original(wanted.original, wanted.ffmpeg)
        return
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), wanted)


def measure(folder: Path, wanted: argparse.Namespace) -> None:
    """Take turns, and say the medians."""
    from dhcli.media.ffmpeg_program import find_ffmpeg
    from dhcli.networks.bundle import load_bundle

    frames = prepare(folder, wanted.size, wanted.seconds)
    add(folder, wanted.precision == "int8")
    runs: dict[str, list[Took]] = {"dh, cold": [], "dh, warm": [], "original": []}
    for turn in range(wanted.pairs):
        runs["dh, cold"].append(dh(folder, f"cache{turn}", wanted.precision))
        runs["dh, warm"].append(dh(folder, f"cache{turn}", wanted.precision))
        if wanted.torch:
            path = os.pathsep.join(str(ROOT / part) for part in (".", "src"))
            own = [wanted.torch, __file__, "--original", folder, "--ffmpeg", find_ffmpeg()]
            runs["original"].append(timed(own, PYTHONPATH=path))
    role = "network" if wanted.precision == "fp32" else f"network_{wanted.precision}"
    alone_s = network_cpu_s(load_bundle(MODEL, (folder / "models",)).files[role].path, frames)
    print(f"{wanted.size}, {frames} frames, {wanted.precision}, {os.cpu_count()} cores\n")
    print("| | frames a second | time, s | CPU time, s | network |\n|---|---:|---:|---:|---:|")
    for who, times in runs.items():
        if times:
            wall_s, cpu_s = (
                statistics.median(values) for values in zip(*((t.wall_s, t.cpu_s) for t in times), strict=True)
            )
            share = f"{alone_s / cpu_s:.0%}" if who.startswith("dh") else ""
            print(f"| {who} | {frames / wall_s:.1f} | {wall_s:.1f} | {cpu_s:.1f} | {share} |")


def add(folder: Path, int8: bool) -> None:
    """Make the network a model."""
    command = [sys.executable, "-m", "dhcli", "models", "add", folder / "network.onnx", "--name", MODEL]
    more = ["--models-dir", folder / "models", *(["--int8"] if int8 else [])]
    subprocess.run([*map(str, command), *map(str, more)], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
