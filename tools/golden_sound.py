"""Make tests/golden/sound.npz: what the libraries of other people's programs make of a sound.

    python -m tools.golden_sound

Needs librosa, scipy and torchaudio, which are no part of the development tools. Of each recipe some rows are
kept, spread over the sound with its ends, and how many there are.
"""

from __future__ import annotations

import itertools
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dhcli.types import F32, F64

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests/golden/sound.npz"
RATE = 16_000
KEPT_EVERY, KEPT_ENDS = 17, 4
"""Every so many rows one is kept, and so many at both ends."""
SWEEP_S = 1.5037
"""A length that is no multiple of any step."""
LONG_TIMES = 5
"""How often the speech is repeated for 35 s, more than whisper hears at once."""


def speech() -> F32:
    """The sample speech, 7.1 s."""
    with wave.open(str(ROOT / "examples/media/speech.wav")) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    return pcm.astype(np.float32) / np.float32(32768)


def sweep() -> F32:
    """A tone that rises from 30 Hz to 7.9 kHz and swells to full scale, with 0.2 s of digital silence in its middle."""
    at = np.arange(round(SWEEP_S * RATE)) / RATE
    share = at / SWEEP_S
    tone = np.sin(2 * np.pi * SWEEP_S * (30 * share + (7900 - 30) / 2 * share**2)) * 10.0 ** (2 * share - 2)
    tone[(at > 0.7) & (at < 0.9)] = 0
    return tone.astype(np.float32)


def sounds() -> dict[str, F32]:
    """By name."""
    return {"speech": speech(), "sweep": sweep(), "long": np.tile(speech(), LONG_TIMES)}


def kept(count: int) -> list[int]:
    """The rows of so many that are kept."""
    ends = {*range(KEPT_ENDS), *range(count - KEPT_ENDS, count)}
    return sorted(ends | set(range(0, count, KEPT_EVERY)))


def wav2lip_mel(sound: F32) -> F64:
    """Wav2Lip's audio.py, with librosa as it was before 0.10: the edges mirrored."""
    import librosa
    from scipy.signal import lfilter

    sharp = lfilter([1, -0.97], [1], sound)
    spectrum = np.abs(librosa.stft(y=sharp, n_fft=800, hop_length=200, win_length=800, pad_mode="reflect"))
    bands = librosa.filters.mel(sr=RATE, n_fft=800, n_mels=80, fmin=55, fmax=7600) @ spectrum
    level = 20 * np.log10(np.maximum(1e-5, bands)) - 20
    return np.asarray(np.clip(8 * (level + 100) / 100 - 4, -4, 4).T)


def facefusion_mel(sound: F32) -> F64:
    """What facefusion's audio.py does, for sound of 16 kHz; its numbers of bins as int64."""
    from scipy.signal import lfilter, stft
    from scipy.signal.windows import triang

    sharp = lfilter([1.0, -0.97], [1.0], sound / np.max(np.abs(sound)))
    low, high = 2595 * np.log10(1 + np.array([55.0, 7600.0]) / 700)
    corners = 700 * (10 ** (np.linspace(low, high, 82) / 2595) - 1)
    bins = np.floor(801 * corners / RATE).astype(np.int64)
    bank = np.zeros((80, 401))
    for band, (begin, end) in enumerate(itertools.pairwise(bins[:81])):
        bank[band, begin:end] = triang(end - begin)
    spectrum = stft(sharp, nperseg=800, nfft=800, noverlap=600)[2]
    return np.asarray(np.clip(np.log10(np.maximum(1e-5, bank @ np.abs(spectrum))) * 1.6 + 3.2, -4, 4).T)


def wenet_logmel(sound: F32) -> F64:
    """HeyGem's log-mel by its parameters, with librosa."""
    import librosa
    from scipy.signal import lfilter

    sharp = lfilter([1, -0.97], [1], sound)
    spectrum = np.abs(librosa.stft(y=sharp, n_fft=1024, hop_length=160, win_length=800, pad_mode="reflect")) ** 2
    bands = librosa.filters.mel(sr=RATE, n_fft=1024, n_mels=80, fmin=0, fmax=8000) @ spectrum
    return np.asarray((10 * np.log10(bands + 1e-5) - 20).T)


def whisper_logmel(sound: F32) -> F64:
    """OpenAI's whisper, each 30 s for itself, with torch."""
    import librosa
    import torch

    bank = torch.from_numpy(librosa.filters.mel(sr=RATE, n_fft=400, n_mels=80)).double()
    rows = []
    for at in range(0, len(sound), 30 * RATE):
        part = torch.zeros(30 * RATE, dtype=torch.float64)
        part[: len(sound) - at] = torch.from_numpy(sound[at : at + 30 * RATE])
        window = torch.hann_window(400, dtype=torch.float64)
        power = torch.stft(part, 400, 160, window=window, return_complex=True)[:, :-1].abs() ** 2
        level = torch.clamp(bank @ power, min=1e-10).log10()
        rows.append(((torch.maximum(level, level.max() - 8.0) + 4.0) / 4.0).T.numpy())
    return np.concatenate(rows)


def kaldi_fbank(sound: F32) -> F64:
    """torchaudio's, with the arguments of WeNet's programs."""
    import torch
    from torchaudio.compliance import kaldi

    samples = torch.from_numpy(sound)[None].double() * 32768
    return np.asarray(
        kaldi.fbank(samples, num_mel_bins=80, dither=0.0, energy_floor=0.0, sample_frequency=RATE).numpy()
    )


def golden() -> Mapping[str, Any]:
    """The arrays of the file."""
    arrays: dict[str, Any] = {}
    for name, sound in sounds().items():
        for recipe in (wav2lip_mel, facefusion_mel, wenet_logmel, whisper_logmel, kaldi_fbank):
            if name == "long" and recipe is not whisper_logmel:
                continue
            rows = recipe(sound)
            arrays[f"{recipe.__name__}/{name}"] = rows[kept(len(rows))].astype(np.float32)
            arrays[f"{recipe.__name__}/{name}/count"] = len(rows)
    return arrays


if __name__ == "__main__":
    np.savez_compressed(GOLDEN, **golden())
    print(f"{GOLDEN.name}: {GOLDEN.stat().st_size / 1000:.0f} kB")
