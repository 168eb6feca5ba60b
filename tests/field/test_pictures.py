"""Pictures and videos as phones, cameras and broadcasters write them: they come out as every player shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from field import heif, paff

Make = Callable[..., Path]
Decode = Callable[[Path], SimpleNamespace]

WALL, GREY, WHITE = 161, 106, 235
"""Luma of a grey wall, of an 18 % grey card and of white, 8 bits."""
BARS = "color=black:s=96x32:r=25:d=0.04,format=yuv444p,geq=lum='if(lt(X,32),161,if(lt(X,64),106,235))':cb=128:cr=128"
SDR = "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"
TO_HDR = "zscale=tin=bt709:min=bt709:pin=bt709:rin=tv:t={trc}:m=bt2020nc:p=bt2020:r=tv:npl=203,format=yuv420p10le"


def hdr(make: Make, trc: str, *codec: str) -> Path:
    tags = ("-colorspace", "bt2020nc", "-color_primaries", "bt2020", "-color_trc", trc)
    return make("hdr.mkv", "-f", "lavfi", "-i", f"{BARS},{SDR}", "-vf", TO_HDR.format(trc=trc), *codec, *tags)


@pytest.mark.parametrize("trc", ["arib-std-b67", "smpte2084"])
def test_hdr_is_as_bright_as_it_was_filmed(make: Make, decode: Decode, trc: str) -> None:
    frame = decode(hdr(make, trc, "-c:v", "ffv1")).frames[0]
    wall, grey, white = (float(frame.y[8:24, x : x + 16].mean()) for x in (8, 40, 72))
    assert abs(wall - WALL) <= 3
    assert abs(grey - GREY) <= 3
    assert 226 <= white <= WHITE
    assert np.abs(frame.u.astype(int) - 128).max() <= 1


def quarters(make: Make, codec: tuple[str, ...]) -> list[heif.Item]:
    """Four tiles of 64 px, each of one brightness."""
    tiles = []
    for luma in (50, 100, 150, 200):
        source = f"color=black:s=64x64:r=25:d=0.04,format=yuv420p,geq=lum={luma}:cb=128:cr=128"
        path = make(f"{luma}.mp4", "-f", "lavfi", "-i", source, "-frames:v", "1", *codec)
        tiles.append(heif.coded(path, (64, 64), hidden=True))
    return tiles


CODECS = {
    "heic": ("-c:v", "libx265", "-x265-params", "log-level=none"),
    "avif": ("-c:v", "libaom-av1", "-cpu-used", "8"),
}


@pytest.mark.slow
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", CODECS)
def test_a_picture_of_tiles_is_put_together(
    make: Make, decode: Decode, tmp_path: Path, name: str, *, turned: bool
) -> None:
    """With a thumbnail and a depth map beside it, and tiles that are larger than the picture, as phones write it."""
    tiles = quarters(make, CODECS[name])
    turn = (heif.box(b"irot", b"\1"),) if turned else ()
    whole = heif.grid(2, 2, (120, 112), (1, 2, 3, 4), *turn)
    thumbnail = replace(tiles[2], refers=(b"thmb", (5,)), hidden=False)
    depth = heif.auxiliary(5, tiles[3], "urn:mpeg:hevc:2015:auxid:2")
    path = heif.write(tmp_path / f"photo.{name}", [*tiles, whole, thumbnail, depth], 5, name.encode())
    got = decode(path)
    assert got.info.is_image
    assert len(got.frames) == 1
    frame = got.frames[0]
    assert (frame.width, frame.height) == ((112, 120) if turned else (120, 112))
    lumas = [int(frame.y[y, x]) for y in (20, 100) for x in (20, 100)]
    assert np.abs(np.array(lumas) - ([100, 200, 50, 150] if turned else [50, 100, 150, 200])).max() <= 3


@pytest.mark.slow
def test_a_picture_beside_smaller_ones_is_the_one_that_the_file_names(
    make: Make, decode: Decode, tmp_path: Path
) -> None:
    small, photo = quarters(make, CODECS["heic"])[:2]
    items = [replace(small, refers=(b"thmb", (2,)), hidden=False), replace(photo, hidden=False)]
    assert int(decode(heif.write(tmp_path / "photo.heic", items, 2)).frames[0].y[9, 9]) == pytest.approx(100, abs=3)


@pytest.mark.slow
def test_a_moving_avif_moves(make: Make, decode: Decode) -> None:
    source = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=0.2")
    got = decode(make("moving.avif", *source, *CODECS["avif"]))
    assert (got.info.frames, got.info.is_image, got.info.fps) == (5, False, 25)


def picture(make: Make, name: str, size: str, colour: str) -> bytes:
    source = ("-f", "lavfi", "-i", f"color={colour}:s={size}", "-frames:v", "1")
    return make(name, *source).read_bytes()


@pytest.mark.parametrize("behind", ["picture", "newline", "zeros", "noise", "video"])
@pytest.mark.parametrize("name", ["p.jpg", "p.png"])
def test_a_picture_is_the_first_one_of_its_file(
    make: Make, clip: Path, decode: Decode, tmp_path: Path, name: str, behind: str
) -> None:
    tails = {
        "picture": picture(make, name, "48x32", "white"),
        "newline": b"\n",
        "zeros": bytes(3000),
        "noise": np.random.default_rng(5).bytes(9000),
        "video": clip.read_bytes(),
    }
    path = tmp_path / name
    path.write_bytes(picture(make, name, "96x64", "gray") + tails[behind])
    got = decode(path)
    assert got.info.is_image
    assert [(frame.width, frame.height) for frame in got.frames] == [(96, 64)]
    assert np.abs(got.frames[0].y.astype(int) - 126).max() <= 3


def test_a_thumbnail_inside_a_jpeg_does_not_end_it(make: Make, decode: Decode, tmp_path: Path) -> None:
    small, large = picture(make, "s.jpg", "16x16", "white"), picture(make, "p.jpg", "96x64", "gray")
    note = b"\xff\xe1" + (len(small) + 8).to_bytes(2, "big") + b"thumb\0" + small
    path = tmp_path / "p.jpg"
    path.write_bytes(large[:2] + note + large[2:])
    assert (decode(path).info.width, decode(path).info.frames) == (96, 1)


def test_jpegs_in_a_row_are_a_video_where_its_name_says_so(make: Make, decode: Decode) -> None:
    got = decode(make("camera.mjpeg", "-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=0.2", "-c:v", "mjpeg"))
    assert (got.info.frames, got.info.is_image) == (5, False)


@pytest.mark.parametrize("name", ["a.h264", "a.ts", "a.mp4", "a.mkv"])
def test_fields_that_are_pictures_of_their_own(make: Make, decode: Decode, tmp_path: Path, name: str) -> None:
    """The top fields have one brightness, the bottom fields another."""
    luma = "color=black:s=96x32:r=25:d=0.8,format=yuv420p,geq=lum='60+mod(N,2)*100':cb=128:cr=128"
    settings = ("-x264-params", paff.SETTINGS, "-profile:v", "baseline")
    raw = tmp_path / "a.h264"
    raw.write_bytes(paff.fields(make("p.h264", "-f", "lavfi", "-i", luma, *paff.ENCODER, *settings).read_bytes()))
    timed = ("-c", "copy", "-bsf:v", "setts=pts=N*1800:dts=N*1800:time_base=1/90000")
    broadcast = make("a.ts", "-r", "50", "-i", raw, *timed)
    paths = {"a.h264": raw, "a.ts": broadcast}
    got = decode(paths.get(name) or make(name, "-i", broadcast, "-c", "copy"))
    assert got.info.interlaced
    assert (got.info.fps, got.info.frames, len(got.frames)) == (25, 10, 10)
    assert got.frames[5].y.mean() == pytest.approx(110, abs=60)


@pytest.mark.parametrize("name", ["p.tga", "p.ico", "p.pcx"])
def test_pictures_of_old_programs(make: Make, decode: Decode, name: str) -> None:
    got = decode(make(name, "-f", "lavfi", "-i", "color=gray:s=96x64", "-frames:v", "1"))
    assert (got.info.is_image, len(got.frames)) == (True, 1)
    assert np.abs(got.frames[0].y.astype(int) - 126).max() <= 3


@pytest.mark.parametrize("name", ["p.png", "p.jpg", "p.mp4"])
def test_rubbish_in_front_of_a_picture(make: Make, decode: Decode, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\r\n" + make(name, "-f", "lavfi", "-i", "color=gray:s=96x64", "-frames:v", "1").read_bytes())
    got = decode(path)
    assert [(frame.width, frame.height) for frame in got.frames] == [(96, 64)]


@pytest.mark.parametrize(
    ("name", "clear"), [("p.gif", False), ("p.webp", False), ("p.webp", True), ("p.png", False), ("p.png", True)]
)
def test_only_what_is_transparent_is_said_to_be(make: Make, decode: Decode, name: str, *, clear: bool) -> None:
    mixed = ",colorchannelmixer=aa=0" if clear else ""
    codec = ("-c:v", "libwebp", "-lossless", "1") if name == "p.webp" else ()
    form = "rgba" if name == "p.png" else "bgra"
    argv = ("-f", "lavfi", "-i", "testsrc2=s=96x64", "-vf", f"format={form}{mixed}", "-frames:v", "1")
    got = decode(make(name, *argv, *codec))
    assert ("input.alpha" in [code for code, _ in got.info.warnings]) == clear


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_what_a_video_has_besides_is_found(make: Make, clip: Path, decode: Decode, tmp_path: Path, name: str) -> None:
    words, chapters = tmp_path / "s.srt", tmp_path / "c.txt"
    words.write_text("1\n00:00:00,000 --> 00:00:00,500\nhello\n")
    chapters.write_text(";FFMETADATA1\ntitle=A talk\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=500\ntitle=one\n")
    tags = ("-map_metadata", "2", "-map_chapters", "2", "-c:v", "copy", "-timecode", "01:00:00:00")
    kept = ("-map", "0:v", "-map", "1", *tags, "-c:s", "mov_text" if name == "a.mp4" else "srt")
    got = decode(make(name, "-i", clip, "-i", words, "-i", chapters, *kept))
    assert str(got.info.besides) == "1 subtitle track, 1 chapter, a title, a time code"
    assert not decode(clip).info.besides
