"""The reason that is told is the true one: of what a file is, of who died and how."""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dhcli.errors import DhError
from dhcli.media import sound_track
from dhcli.media.ffmpeg_errors import encode_error
from dhcli.media.input_file import InputFile
from dhcli.media.input_limits import MAX_PIXELS
from dhcli.media.probe import probe_audio, probe_video
from dhcli.runtime.child import Command
from dhcli.runtime.scope import Scope
from dhcli.types import F64

pytestmark = pytest.mark.slow

Render = Callable[..., Any]
Fake = Callable[..., Path]
Ffmpeg = Callable[..., None]
RATE = 16_000
TEN_FRAMES = RATE * 2 // 5
FRAME = 400 * 300 * 3 // 2


def wav(path: Path, samples: np.typing.NDArray[Any], channels: int) -> Path:
    """Samples as they are: floats of 32 and 64 bits, or integers."""
    bits, kind = samples.dtype.itemsize * 8, 3 if samples.dtype.kind == "f" else 1
    form = struct.pack("<HHIIHH", kind, channels, RATE, RATE * channels * bits // 8, channels * bits // 8, bits)
    data = samples.tobytes()
    head = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + form
    path.write_bytes(head + b"data" + struct.pack("<I", len(data)) + data)
    return path


def tone(level: float) -> F64:
    return np.sin(np.arange(TEN_FRAMES) / 20) * level


def refused(look: Callable[[Scope, InputFile], Any], path: Path) -> DhError:
    with pytest.raises(DhError) as caught, InputFile(path, "input") as file, Scope() as scope:
        look(scope, file)
    return caught.value


@pytest.mark.parametrize("channels", [9, 33, 65, 255])
def test_channels_that_nobody_can_mix_are_counted(channels: int, tmp_path: Path) -> None:
    error = refused(probe_audio, wav(tmp_path / "a.wav", np.zeros(1000 * channels, "<i2"), channels))
    assert error.code == "input.unsupported"
    assert f"{channels} channels" in error.message
    assert "mono" in error.hint


def test_a_sound_of_many_channels_that_have_their_places(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", np.zeros(1000 * 24, "<i2"), 24)
    with InputFile(path, "audio") as file, Scope() as scope:
        assert probe_audio(scope, file).samples == 1000


def test_no_channel_at_all(tmp_path: Path) -> None:
    error = refused(probe_audio, wav(tmp_path / "a.wav", np.zeros(1000, "<i2"), 0))
    assert (error.code, "0 channels" in error.message) == ("input.corrupt", True)


@pytest.mark.parametrize("level", [1e4, 1e10, 3e38])
def test_samples_far_beyond_full_scale_are_clipped(level: float, render: Render, tmp_path: Path) -> None:
    assert render(audio=wav(tmp_path / "a.wav", tone(level).astype("<f4"), 1)).result.error is None


@pytest.mark.parametrize("level", [1e300, float("inf"), float("nan")])
def test_samples_that_no_float_holds_are_said_to_be_that(level: float, render: Render, tmp_path: Path) -> None:
    error = render(audio=wav(tmp_path / "a.wav", np.full(TEN_FRAMES, level), 1)).result.error
    assert error.code == "audio.invalid"
    assert "not a number, or larger than 3.4e38" in error.message


@pytest.mark.parametrize("kind", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_what_clips_them_leaves_all_other_samples_as_they_are(kind: str, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    noise, plain, clipped = (tmp_path / name for name in ("noise.wav", "plain", "clipped"))
    ffmpeg("-f", "lavfi", "-i", "anoisesrc=d=1:r=44100:a=1:seed=1", "-af", "volume=5", "-c:a", kind, noise)
    for path, chain in ((plain, "anull"), (clipped, sound_track.CLIPPED)):
        ffmpeg("-i", noise, "-af", chain, "-f", "f32le", "-c:a", "pcm_f32le", path)
    assert plain.read_bytes() == clipped.read_bytes()


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + chunk(b"IEND", b"")


def patched(data: bytes, mark: bytes, after: int, size: bytes) -> bytes:
    at = data.index(mark) + after
    return data[:at] + size + data[at + len(size) :]


def tiff(data: bytes, side: int) -> bytes:
    (at,) = struct.unpack_from("<I", data, 4)
    out = bytearray(data)
    for entry in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", data, at)[0], 12):
        if struct.unpack_from("<H", data, entry)[0] in {256, 257}:  # width, height
            struct.pack_into("<I", out, entry + 8, side)
    return bytes(out)


HUGE: dict[str, tuple[str, int, Callable[[bytes], bytes]]] = {
    "jpeg": ("jpg", 65500, lambda data: patched(data, b"\xff\xc0", 5, struct.pack(">HH", 65500, 65500))),
    "webp": ("webp", 16383, lambda data: patched(data, b"\x9d\x01\x2a", 3, struct.pack("<HH", 16383, 16383))),
    "bmp": ("bmp", 30000, lambda data: patched(data, b"BM", 18, struct.pack("<ii", 30000, 30000))),
    "gif": ("gif", 65535, lambda data: patched(data, b"GIF8", 6, struct.pack("<HH", 65535, 65535))),
    "tiff": ("tiff", 30000, lambda data: tiff(data, 30000)),
    "a stream of pictures": (
        "avi",
        20000,
        lambda data: patched(data, b"\xff\xc0", 5, struct.pack(">HH", 20000, 20000)),
    ),
}


@pytest.mark.parametrize("kind", HUGE)
def test_a_picture_beyond_what_ffmpeg_calls_valid(kind: str, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    ending, side, change = HUGE[kind]
    path = tmp_path / f"v.{ending}"
    codec = ("-c:v", "mjpeg") if ending == "avi" else ()
    ffmpeg("-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", 1, *codec, path)
    path.write_bytes(change(path.read_bytes()))
    is_too_large(path, side)


@pytest.mark.parametrize("side", [6000, 30_000, 100_000])
def test_a_png_of_any_size_above_the_limit(side: int, tmp_path: Path) -> None:
    path = tmp_path / "v.png"
    path.write_bytes(png(side, side))
    is_too_large(path, side)


def is_too_large(path: Path, side: int) -> None:
    error = refused(probe_video, path)
    assert error.code == "input.too_large", error.message
    assert f"{side}x{side} px (limit {MAX_PIXELS} px)" in error.message


def test_a_size_of_nothing_is_no_large_one(tmp_path: Path) -> None:
    path = tmp_path / "v.png"
    path.write_bytes(png(0, 30_000))
    assert refused(probe_video, path).code == "input.corrupt"


CHATTER = "os.write(2, b'[aist#0:0 @ 0x55f83f29bf40] [warning] Guessed Channel Layout: 5.1\\n')"
DEATHS = {
    "KILL": ("killed by SIGKILL", "too little memory"),
    "SEGV": ("killed by SIGSEGV", "It crashed"),
    "XCPU": ("killed by SIGXCPU", "more processor time"),
}


@pytest.mark.usefixtures("sound_read_twice")
@pytest.mark.parametrize(
    ("role", "before", "name", "code"),
    [
        ("list", "", "KILL", "decode.failed"),
        ("list", "pass_on(-1)", "SEGV", "decode.failed"),
        ("scan", "pass_on(300)", "KILL", "decode.failed"),
        ("scan", "pass_on(-1)", "XCPU", "decode.failed"),
        ("sound", "", "SEGV", "decode.failed"),
        ("listen", "pass_on(4000)", "KILL", "decode.failed"),
        ("decode", "", "XCPU", "decode.failed"),
        ("encode", "", "KILL", "encode.failed"),
        ("encode", "", "SEGV", "encode.failed"),
        ("verify", "", "KILL", "decode.failed"),
        ("verify", "pass_on(-1)", "SEGV", "decode.failed"),
    ],
)
def test_who_was_killed_is_said_to_be(
    role: str, before: str, name: str, code: str, fake_ffmpeg: Fake, render: Render
) -> None:
    fake_ffmpeg(role, f"{CHATTER}\n{before}\nos.kill(os.getpid(), signal.SIG{name})")
    error = render().result.error
    found, hint = DEATHS[name]
    assert (error.code, found in error.message) == (code, True), error.message
    assert "Guessed" not in error.message
    assert hint in error.hint


POLITE = f"""
child = subprocess.Popen([REAL, *argv], stdin=subprocess.PIPE, close_fds=False)
left = {2 * FRAME}
while left and (block := os.read(0, min(left, 65536))):
    child.stdin.write(block)
    left -= len(block)
child.send_signal(signal.SIGTERM)
child.stdin.close()
sys.exit(child.wait())
"""
"""More than a pipe holds: ffmpeg reads, and so takes signals, when the last of it is written."""


def test_an_encoder_that_obeys_a_signal_is_no_warning(fake_ffmpeg: Fake, render: Render) -> None:
    """It ends with 255 and without a word about it."""
    fake_ffmpeg("encode", f"{CHATTER}\n{POLITE.strip()}")
    error = render().result.error
    assert error.code == "encode.failed"
    assert "exit code 255, as after a signal" in error.message
    assert "Guessed" not in error.message


def test_a_scan_that_obeys_a_signal_is_no_short_video(fake_ffmpeg: Fake, render: Render) -> None:
    """All that it said until then is true and not the whole."""
    said = "os.write(2, b'[info] Exiting normally, received signal 15.\\n')"
    fake_ffmpeg("scan", f"pass_on(-1)\n{said}\nsys.exit(255)")
    error = render().result.error
    assert (error.code, "SIGTERM" in error.message) == ("decode.failed", True)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["[aist#0:0 @ 0x5] [warning] Guessed Channel Layout: 5.1"], "exit code 1."),
        (["[info] Stream #0:0: Audio", "[aac @ 0x5] [warning] Estimating duration"], "exit code 1."),
        (["ffmpeg: it is no program"], "exit code 1, ffmpeg: it is no program."),
        (["[aac @ 0x5] [error] bad", "[error] Error encoding a frame: no"], "exit code 1, bad."),
        (["[in#0 @ 0x5] [error] bad", "[error] Error opening input file file:/proc/self/fd/7."], "exit code 1, bad."),
        (["[aac @ 0x5] [error] bad", "[warning] later"], "exit code 1, bad."),
    ],
)
def test_a_warning_is_no_reason(lines: list[str], said: str) -> None:
    program = f"import sys; sys.stderr.write({chr(10).join(lines)!r}); sys.exit(1)"
    with Scope() as scope:
        child = scope.spawn("encode", Command([sys.executable, "-c", program]))
        error = encode_error(child, child.wait(), "it ended")
    assert error.message == f"it ended; ffmpeg: {said}"
