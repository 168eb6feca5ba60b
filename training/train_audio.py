"""Train the head of audio.onnx on an audio pack.

    python -m training.train_audio PACK audio.onnx NEW.onnx --minutes 20

Begins with the head in audio.onnx and leaves its front end as it is. NEW.onnx is the same graph with other weights; it
is not written where it differs from PyTorch by more than 1e-4 of a code, and holds the head that did best on the clips
held out. The lines tell, for the opening of the mouth there, the correlation with the real one and the spread against
its: means over the clips.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from training.audio_head import AudioFile, AudioHead, largest
from training.pack import Speech, held_out, load_speech

from dhcli.families.dh_base.geometry import Geometry, load_geometry
from dhcli.families.dh_base.listen import SAMPLES, measure_loudness
from dhcli.types import F32

MODEL = Path(__file__).parents[1] / "models/dh-base"
MOST_APART = 1e-4
CROP = 100
"""Codes in one example, 4 s."""
STEP_COST = 2.0
"""Of a wrong step from code to code, beside a wrong code."""
DROP = 0.1
SPEAKS = 0.02
"""Standard deviation of the opening, canonical units, from which somebody speaks in a clip."""
CHECK_EVERY = 200
"""Steps."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One clip as the head is asked it."""

    hidden: Tensor  # (256, 2 k)
    mels: Tensor  # (40, 2 k)
    codes: Tensor  # (k, 12) the real ones


def padded(samples: F32) -> F32:
    """As dh asks the network: loudness normalised, and two codes of silence, since the front end looks ahead."""
    gain = np.float32(measure_loudness(iter([samples])).gain)
    return np.concatenate([samples * gain, np.zeros(2 * SAMPLES, np.float32)])


def heard(file: AudioFile, clips: Sequence[Speech]) -> list[Heard]:
    """The front end's part: done once."""
    found = []
    for clip in clips:
        hidden, mels = file.hear(padded(clip.samples))
        count = min(len(clip.codes), hidden.shape[1] // 2)
        hidden, mels = (np.ascontiguousarray(x[:, : 2 * count]) for x in (hidden, mels))
        codes = clip.codes[:count].astype(np.float32)
        found.append(Heard(torch.from_numpy(hidden), torch.from_numpy(mels), torch.from_numpy(codes)))
    return found


def openings(codes: Tensor, geometry: Geometry) -> Tensor:
    """(k,) canonical units between the lips that codes (k, 12) ask for."""
    return codes @ torch.from_numpy(geometry.gap_of_code).float()


def judge(head: AudioHead, clips: Sequence[Heard], geometry: Geometry) -> tuple[float, float, float]:
    """Mean error of a code, correlation of the opening, and its spread against the real one."""
    head.eval()
    errors, alike, spreads = [], [], []
    with torch.no_grad():
        for clip in clips:
            said = head(clip.hidden[None], clip.mels[None])[0]
            errors.append((said - clip.codes).abs().mean().item())
            ours, real = openings(said, geometry), openings(clip.codes, geometry)
            if real.std() > SPEAKS:
                alike.append(torch.corrcoef(torch.stack([ours, real]))[0, 1].item())
                spreads.append((ours.std() / real.std()).item())
    head.train()
    return mean(errors), mean(alike), mean(spreads)


def mean(values: Sequence[float]) -> float:
    """NaN of nothing."""
    return float(np.mean(values)) if values else float("nan")


def example(clips: Sequence[Heard], count: int, random: np.random.Generator) -> Heard:
    """`count` stretches of CROP codes, out of clips chosen by their length."""
    long = [clip for clip in clips if len(clip.codes) >= CROP]
    share = np.array([len(clip.codes) for clip in long], np.float64)
    parts = []
    for at in random.choice(len(long), count, p=share / share.sum()):
        clip = long[at]
        first = int(random.integers(len(clip.codes) - CROP + 1))
        both = slice(2 * first, 2 * (first + CROP))
        parts.append((clip.hidden[:, both], clip.mels[:, both], clip.codes[first : first + CROP]))
    hidden, mels, codes = (torch.stack(part) for part in zip(*parts, strict=True))
    return Heard(hidden, mels, codes)


def cost(said: Tensor, real: Tensor) -> Tensor:
    """Of the codes and of the steps between them: closures are short."""
    error = said - real
    return error.abs().mean() + STEP_COST * error.diff(dim=1).abs().mean()


def train(head: AudioHead, learn: Sequence[Heard], back: Sequence[Heard], geometry: Geometry, asked: Any) -> AudioHead:
    """The best head by the error on the clips held out."""
    random = np.random.default_rng()
    learner = torch.optim.AdamW(head.parameters(), asked.rate, weight_decay=1e-3)
    best, least = head, float("inf")
    began, step, total, going = time.monotonic(), 0, 0.0, True
    while going:
        going = time.monotonic() - began < asked.minutes * 60
        if step % CHECK_EVERY == 0 or not going:
            error, alike, spread = judge(head, back, geometry)
            words = f"error {error:.4f}, opening correlates {alike:.3f}, spread {spread:.2f}"
            print(f"step {step}  cost {total / max(step, 1):.4f}  held out: {words}", flush=True)
            if error < least:
                best, least = copy.deepcopy(head), error
        batch = example(learn, asked.batch, random)
        wrong = cost(head(batch.hidden, batch.mels), batch.codes)
        learner.zero_grad(set_to_none=True)
        wrong.backward()
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        learner.step()
        step, total = step + 1, total + wrong.item()
    return best


def main(argv: list[str] | None = None) -> None:
    """Hear the pack, train, exchange the head, compare, and only then write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("pack", "network", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument(
        "--geometry", type=Path, default=MODEL / "geometry.npz", help="of the model that gets the network"
    )
    asked = parser.parse_args(argv)
    file, geometry = AudioFile(asked.network), load_geometry(asked.geometry.read_bytes())
    clips, back = load_speech(asked.pack), held_out(asked.pack)
    kept_back = [clip for clip in clips if clip.name in back]
    learn = heard(file, [clip for clip in clips if clip.name not in back])
    if not kept_back or not any(len(clip.codes) >= CROP for clip in learn):
        sys.exit(f"Nothing is trained: {asked.pack} needs clips held out, and others of {CROP} codes at least.")
    head = train(file.head(DROP), learn, heard(file, kept_back), geometry, asked).eval()
    file.exchange(head)
    sound = padded(kept_back[0].samples)
    with torch.no_grad():
        wanted = head(*(torch.from_numpy(x)[None] for x in file.hear(sound)))[0].numpy()
    apart = largest(file.codes(sound), wanted)
    if not apart <= MOST_APART:
        sys.exit(f"{asked.out} is not written: it is {apart:.1e} from PyTorch.")
    file.save(asked.out)
    print(f"{asked.out}: {apart:.1e} from PyTorch")


if __name__ == "__main__":
    main()
