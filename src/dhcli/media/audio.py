"""The sound as a waveform for the networks: mono, float32, at their rate, in blocks of bounded size."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np

from dhcli.jobs.options import Trim
from dhcli.media.ffmpeg import base_argv, input_argv, running, sound_filter
from dhcli.media.ffmpeg_errors import decode_error
from dhcli.media.info import AudioInfo
from dhcli.media.input_file import InputFile
from dhcli.runtime.child import Command
from dhcli.runtime.scope import Scope
from dhcli.types import F32

SAMPLE_BYTES = 4
SLACK_S = 0.1
"""A resampler may drop so much at the beginning and end; a cut file lacks more."""
KEPT_SAMPLES = 960_000
"""Sounds up to this length are decoded once, however often they are read: a minute at 16 kHz, 3.8 MB."""


class Repeatable:
    """A waveform that can be read from its start more than once. A long one is decoded again each time."""

    def __init__(self, open_waveform: Callable[[], Iterator[F32]]) -> None:
        self._open = open_waveform
        self._whole: list[F32] | None = None

    def __call__(self) -> Iterator[F32]:
        """All blocks, from the start. Raises what reading them raises."""
        if self._whole is not None:
            yield from self._whole
            return
        kept: list[F32] = []
        samples = 0
        for block in self._open():
            samples += len(block)
            if samples <= KEPT_SAMPLES:
                kept.append(block)
            else:
                kept.clear()
            yield block
        if samples <= KEPT_SAMPLES:
            self._whole = kept


def waveform_argv(
    file: InputFile, info: AudioInfo, rate: int, trim: Trim | None, channel: int | None = None
) -> list[str]:
    """The command line that turns a sound, or one channel of it, from 0, into raw mono float32 samples.

    The mix is normalised: the sum of all channels of a loud recording stays within -1..1.
    """
    chain = sound_filter(trim)
    if channel is not None:
        chain += f",pan=mono|c0=c{channel}"
    chain += f",aresample=out_sample_rate={rate}:out_chlayout=mono:out_sample_fmt=flt:rematrix_maxval=1"
    return [
        *(*base_argv(), "-max_error_rate", "1", *input_argv(file), "-map", f"0:{info.index}"),
        *("-af", chain, "-ar", str(rate), "-ac", "1", "-c:a", "pcm_f32le", "-f", "f32le", "pipe:1"),
    ]


def read_waveform(
    scope: Scope,
    file: InputFile,
    info: AudioInfo,
    *,
    rate: int = 16000,
    trim: Trim | None = None,
    channel: int | None = None,
    chunk_s: float = 10,
    stage: str = "listen",
) -> Iterator[F32]:
    """Blocks of (n,) float32 samples at `rate` Hz, about -1..1, each of at most `chunk_s` s; all of them not empty.

    Of the mix of all channels, or of `channel`, from 0.

    Raises audio.too_short, audio.invalid, input.truncated, .corrupt, .unsupported; decode.failed; env.*; Stopped.
    """
    expected = info.used(trim) * rate
    block = max(1, round(chunk_s * rate))
    got = 0
    argv = waveform_argv(file, info, rate, trim, channel)
    with running(scope, stage, Command(argv, file.pass_fds)) as child:
        stream: BinaryIO = os.fdopen(child.stdout.fileno(), "rb", buffering=1 << 16, closefd=False)
        while raw := stream.read(block * SAMPLE_BYTES):
            scope.beat(stage)
            samples = np.frombuffer(raw[: len(raw) // SAMPLE_BYTES * SAMPLE_BYTES], "<f4").astype(
                np.float32, copy=False
            )
            if not np.isfinite(samples).all():
                at = (got + int(np.argmin(np.isfinite(samples)))) / rate
                finding = f"a sample at {at:.3f} s is not a number, or larger than 3.4e38 (full scale is 1)"
                raise file.error("audio.invalid", finding, hint="Export the sound again, as 16-bit WAV for instance.")
            got += len(samples)
            if len(samples):
                yield samples
        code = child.wait()
        scope.check()
        if code or got < expected - SLACK_S * rate:
            finding = f"{got / rate:.2f} of {float(expected) / rate:.2f} s of sound could be read"
            raise decode_error(file, child, code, finding)
    if not got:
        raise file.error(
            "audio.too_short", f"has {float(expected) / rate * 1000:.3f} ms of sound", hint="Give a longer recording."
        )
