"""Probes an input: exact frame rate and count, upright size, colours; length of a sound. Refuses what is unusable.

Headers may be wrong. The frame count comes from the packets (or, where a packet need not be a frame, from decoding),
the length of a sound from its decoded samples, the picture's properties from its first decoded frame.
"""

from __future__ import annotations

import dataclasses
import re
from fractions import Fraction

import numpy as np

from dhcli.errors import DhError
from dhcli.media import rate
from dhcli.media.complaints import DROPPED, TRUNCATION, damage
from dhcli.media.completeness import (
    Findings,
    check_pictures,
    check_sound,
    check_video,
    ends_with_sound,
    is_early,
    scan_container,
)
from dhcli.media.damage import find_lost_sound, places
from dhcli.media.ffmpeg import SOUND_FILTER, base_argv, beating, input_argv, lines_of, picture_argv, running
from dhcli.media.ffmpeg_errors import (
    COPY_AGAIN,
    NO_DECODER,
    codec_error,
    cut_error,
    decode_error,
    no_decoder,
    refused_codec,
    sound_damage,
    too_large,
)
from dhcli.media.heard import DESCRIPTION_LINES, Heard
from dhcli.media.info import AudioInfo, VideoInfo, delivered_colour, has_alpha, unusual
from dhcli.media.input_file import InputFile
from dhcli.media.input_limits import CPU_BASE_S, CPU_PER_FRAME_S, MAX_DURATION_S, MAX_PIXELS, ChildLimits
from dhcli.media.listing import FIELDS, Listing, Picture, Stream, parse_picture
from dhcli.media.loudness import louder_channel
from dhcli.media.opening import choose_stream, list_streams
from dhcli.media.packets import Timeline, one_picture, read_timelines
from dhcli.runtime.child import Command
from dhcli.runtime.scope import Scope

PICTURES = ("image2pipe", "ico")
LOOKED_THROUGH = 100
"""Pictures in which transparent pixels are looked for."""
PLANE = re.compile(r"mean:\[\d+\] stdev:\[[\d.]+\]")
OPAQUE = "mean:[255] stdev:[0.0]"
STILL_CODECS = frozenset({"png", "mjpeg", "webp", "gif", "apng", "av1", "hevc"})
"""A single frame of these in a container that could hold more is a still image: AVIF, HEIC, a GIF of one picture."""

FIELD_CODECS = frozenset({"h264", "hevc"})
"""ffmpeg gives a packet for each field of these; of others one for each frame."""
MOST_INTERLACED = 35
"""Frames a second; no interlaced video has more than 30 of them."""

MAX_NAMED = 8
"""Channels. Up to this number ffmpeg has a layout for each number of channels; without one it cannot mix them."""
MIXED = ",aformat=channel_layouts=mono"
NO_CHANNELS = re.compile(r" Hz, 0 channels")
CHECKSUMS = frozenset({"tta", "wavpack"})
"""Codecs whose decoders compare the checksum of every frame on request. Not MP3, whose checksums are often wrong."""


def probe_video(
    scope: Scope, file: InputFile, *, max_duration_s: float = MAX_DURATION_S, use_cut: bool = False
) -> VideoInfo:
    """Probe a video or still image. With `use_cut` one that ends early is no error; the answer says it.

    Raises input.not_media, .no_video, .no_frames, .corrupt, .truncated, .too_large, .too_long, .unsupported;
    decode.failed; env.*; Stopped.
    """
    with scope.stage("probe"):
        listing, findings = list_streams(scope, file), Findings()
        stream = choose_stream(file, listing, "video")
        scan = scan_container(scope, file, listing, stream, findings)
        _check_duration(file, listing.duration, max_duration_s)
        if stream.size and stream.size[0] * stream.size[1] > MAX_PIXELS:
            finding = f"has {stream.size[0]}x{stream.size[1]} px (limit {MAX_PIXELS} px)"
            raise file.error("input.too_large", finding, hint="Scale it down first.")
        heard = Heard(scope, file, listing, stream, findings)
        timeline = one_picture() if stream.tiled else _scan_video(heard)
        picture = _first_picture(heard, timeline)
        check_pictures(stream, timeline, scan, findings)
        packets_are_frames = timeline.packets_are_frames and not _may_be_fields(stream, picture, timeline)
        if not packets_are_frames:
            timeline = _decode_times(scope, file, stream, timeline.packets)
        clear = stream.alpha or (has_alpha(picture.pix_fmt) and not _is_opaque(heard))
        info = _describe(listing, stream, timeline, picture, packets_are_frames=packets_are_frames, alpha=clear)
        check_video(scope, file, listing, timeline, info, findings)
        _check_duration(file, info.duration, max_duration_s)
        if findings.cut and not use_cut:
            raise cut_error(file, findings.cut)
        found = {"damage": findings.text, "cut": findings.cut, "begin": file.begin, "demuxer": file.demuxer}
        return dataclasses.replace(info, **found)  # type: ignore[arg-type]


def probe_audio(
    scope: Scope, file: InputFile, *, max_duration_s: float = MAX_DURATION_S, use_cut: bool = False, track: str = ""
) -> AudioInfo:
    """Probe a sound, or the sound of a video; decodes it once or twice. With `use_cut` one that ends early is no error.

    `track` is a number, from 1, or a language; "" is the default one.

    Raises input.not_media, .no_audio, .corrupt, .truncated, .too_long, .unsupported; audio.too_short; decode.failed;
    env.*; Stopped.
    """
    with scope.stage("probe"):
        listing, findings = list_streams(scope, file), Findings()
        stream = choose_stream(file, listing, "audio", track)
        scan_container(scope, file, listing, stream, findings)
        _check_duration(file, listing.duration, max_duration_s)
        if NO_CHANNELS.search(stream.text):
            hint = "Export it again; if it still plays, convert it with another program."
            raise file.error("input.corrupt", "its header says that it has 0 channels", hint=hint)
        timeline = _decode_sound(Heard(scope, file, listing, stream, findings))
        seconds = timeline.total * timeline.time_base
        _check_duration(file, seconds, max_duration_s)
        check_sound(scope, file, listing, stream, seconds, findings)
        if findings.cut and not use_cut:
            raise cut_error(file, findings.cut)
        if not timeline.total:
            raise file.error("audio.too_short", "has no sample", hint="Give a recording with sound.")
        return AudioInfo(
            index=stream.index,
            codec=stream.codec,
            container=listing.container,
            sample_rate=timeline.time_base.denominator,
            channels=stream.channels,
            samples=timeline.total,
            tidy=findings.tidy,
            louder=louder_channel(scope, file, stream.index) if 1 < stream.channels <= MAX_NAMED else None,
            damage=findings.text,
            cut=findings.cut,
            begin=file.begin,
            demuxer=file.demuxer,
        )


def _check_duration(file: InputFile, seconds: Fraction | None, limit_s: float) -> None:
    if seconds is not None and seconds > limit_s:
        finding = f"has {float(seconds):.1f} s, more than the limit of {limit_s:g} s"
        raise file.error("input.too_long", finding, hint="Cut it, or raise the limit with --max-duration.")


def _decode_sound(heard: Heard) -> Timeline:
    """Decode the whole sound once: its pieces. Raises DhError input.corrupt, .unsupported; decode.failed; env.*."""
    scope, file, stream, findings = heard.scope, heard.file, heard.stream, heard.findings
    sums = ["-err_detect", "crccheck"] if stream.codec in CHECKSUMS else []
    argv = [*base_argv(), "-max_error_rate", "1", *input_argv(file, *sums), "-map", f"0:{stream.index}"]
    mixed = MIXED if stream.channels > MAX_NAMED else ""
    argv += ["-af", f"{SOUND_FILTER}{mixed}", "-c:a", "pcm_s16le", "-f", "framecrc", "pipe:1"]
    with running(scope, "probe", Command(argv, file.pass_fds)) as child:
        (timeline,) = read_timelines(beating(scope, "probe", lines_of(child)), 1)
        code = child.wait()
        scope.check()
        seconds = timeline.total * timeline.time_base
        if code:
            if damage(child.tail(100), NO_DECODER):
                raise no_decoder(file, stream.codec, child.tail(100))
            raise decode_error(file, child, code, f"{float(seconds):.2f} s of sound could be read")
        own = heard.complaints(child, code)
        findings.tidy = not sound_damage(file, child.tail(100))
    what = sound_damage(file, own)
    if not what:
        return timeline
    if not timeline.total:
        finding = f"is damaged: none of its sound can be decoded ({what})"
        raise file.error("input.corrupt", finding, hint=COPY_AGAIN, stderr_tail=own[-20:])
    if damage(own, TRUNCATION) and is_early(file, heard.listing, stream, seconds):
        findings.note_cut(f"{float(seconds):.2f} s of sound could be read ({what})")
        return timeline
    ends_clean = ends_with_sound(file, heard.listing)
    if lost := find_lost_sound(scope, file, heard.listing.container, stream.index, *sums):
        seconds_lost = sum(end - begin for begin, end in lost)
        findings.note(f"{seconds_lost:.2f} s of its sound are lost, at {places(lost)} ({what})")
    elif disturbed := sound_damage(file, [line for line in own if ends_clean or not DROPPED.search(line)]):
        findings.note(f"its sound is disturbed ({disturbed})")
    return timeline


def _scan_video(heard: Heard) -> Timeline:
    """The times of all packets.

    Nothing is decoded in the same run: showinfo writes a line in pieces, and what the demuxer says of damage can land
    between them, where it has no level and is taken for text of the file.
    """
    scope, file = heard.scope, heard.file
    argv = [*base_argv("info"), *input_argv(file), "-map", f"0:{heard.stream.index}"]
    argv += ["-c", "copy", "-copyinkf", "-f", "framecrc", "pipe:1"]
    with running(scope, "probe", Command(argv, file.pass_fds, keep_lines=DESCRIPTION_LINES)) as child:
        (timeline,) = read_timelines(beating(scope, "probe", lines_of(child)), 1)
        code = child.wait()
        scope.check()
        heard.note(heard.complaints(child, code), timeline)
    return timeline


def _first_picture(heard: Heard, timeline: Timeline) -> Picture:
    """The properties of the first picture that can be decoded.

    Raises DhError input.too_large, .unsupported, .no_frames, .corrupt.
    """
    scope, file, stream = heard.scope, heard.file, heard.stream
    argv = [*base_argv("info"), *input_argv(file), *picture_argv(stream.specifier, "showinfo")]
    argv += ["-frames:v", "1", "-f", "null", "-"]
    with running(scope, "probe", Command(argv, file.pass_fds, keep_lines=DESCRIPTION_LINES)) as child:
        for _ in lines_of(child):
            pass
        code = child.wait()
        scope.check()
        lines, own = child.tail(DESCRIPTION_LINES), heard.complaints(child, code)
        picture = parse_picture(lines)
        if picture is None and (unopened := _unopened(file, stream, lines)):
            raise unopened
        if not timeline.packets:
            hint = "It is only a header; record or export it again."
            raise file.error("input.no_frames", "its video stream has no frame", hint=hint, stderr_tail=lines[-20:])
        if picture is None:
            what = "no picture of it can be decoded"
            raise file.error("input.corrupt", what, hint=COPY_AGAIN, stderr_tail=lines[-20:])
        if file.extent.is_picture and (what := damage(own)):
            if file.extent.is_cut:
                heard.findings.note_cut(f"the end of the picture is missing ({what})")
            heard.findings.note(what)
        return picture


def _is_opaque(heard: Heard) -> bool:
    """Whether the first pictures have no transparent pixel: many formats have room for transparency, used or not."""
    file = heard.file
    argv = [*base_argv("info"), *input_argv(file)]
    argv += picture_argv(heard.stream.specifier, "format=rgba,alphaextract,showinfo")
    argv += ["-frames:v", str(LOOKED_THROUGH), "-f", "null", "-"]
    with running(heard.scope, "probe", Command(argv, file.pass_fds, keep_lines=DESCRIPTION_LINES)) as child:
        for _ in lines_of(child):
            pass
        child.wait()
        heard.scope.check()
        shown = [found for line in child.tail(DESCRIPTION_LINES) if (found := PLANE.search(line))]
    return bool(shown) and all(found[0] == OPAQUE for found in shown)


def _unopened(file: InputFile, stream: Stream, lines: list[str]) -> DhError | None:
    """The error where no decoder could be opened; None where one could."""
    if large := too_large(file, lines):
        return large
    if damage(lines, NO_DECODER):
        return no_decoder(file, stream.codec, lines)
    return codec_error(file, lines) if refused_codec(lines) else None


def _may_be_fields(stream: Stream, picture: Picture, timeline: Timeline) -> bool:
    """Whether packets may be fields, two of which make a frame: cameras write 50 or 60 of them a second."""
    if stream.codec not in FIELD_CODECS or not _is_interlaced(stream, picture):
        return False
    steps = np.diff(timeline.times)
    return bool(len(steps) and float(steps.min() * timeline.time_base) < 1 / MOST_INTERLACED)


def _is_interlaced(stream: Stream, picture: Picture) -> bool:
    return picture.fields or bool(FIELDS.search(stream.text))


def _decode_times(scope: Scope, file: InputFile, stream: Stream, packets: int) -> Timeline:
    """The times of all decoded frames, for streams whose packets are not frames; this is slower."""
    argv = [*base_argv(), "-max_error_rate", "1", *input_argv(file), "-map", f"0:{stream.index}"]
    argv += [
        "-fps_mode",
        "passthrough",
        "-enc_time_base",
        "demux",
        "-c:v",
        "wrapped_avframe",
        "-f",
        "framecrc",
        "pipe:1",
    ]
    limits = ChildLimits(CPU_BASE_S + CPU_PER_FRAME_S * packets)
    with running(scope, "probe", Command(argv, file.pass_fds), limits) as child:
        (timeline,) = read_timelines(beating(scope, "probe", lines_of(child)), 1)
        code = child.wait()
        scope.check()
        if code or not len(timeline.pts):
            raise decode_error(file, child, code, f"{len(timeline.pts)} frames could be read")
    return timeline


def _describe(
    listing: Listing, stream: Stream, timeline: Timeline, picture: Picture, *, packets_are_frames: bool, alpha: bool
) -> VideoInfo:
    pts = timeline.times
    image = len(pts) == 1 and (
        stream.tiled
        or stream.codec in STILL_CODECS
        or listing.container in PICTURES
        or listing.container.endswith("_pipe")
    )
    fps = rate.STILL_RATE if image else rate.constant_rate(pts, timeline.time_base, stream.rates)
    vfr = fps is None
    if fps is None:
        fps = rate.variable_rate(pts, timeline.time_base, stream.rates)
    last = max(timeline.end() - int(pts[-1]), 0) * timeline.time_base or 1 / fps
    duration = (int(pts[-1]) - int(pts[0])) * timeline.time_base + last if vfr else len(pts) / fps
    interlaced = _is_interlaced(stream, picture)
    return VideoInfo(
        index=stream.index,
        codec=stream.codec,
        container=listing.container,
        width=picture.width,
        height=picture.height,
        fps=fps,
        vfr=vfr,
        frames=rate.frames_at(duration, fps) if vfr else len(pts),
        duration=duration,
        rotation=stream.rotation,
        sar=picture.sar,
        colour=delivered_colour(picture),
        source_colour=picture.colour,
        pix_fmt=picture.pix_fmt,
        interlaced=interlaced,
        alpha=alpha,
        is_image=image,
        packets_are_frames=packets_are_frames,
        audio_streams=len(listing.of_kind("audio")),
        warnings=unusual(picture, fps, vfr=vfr, interlaced=interlaced, alpha=alpha),
        pts=pts,
        time_base=timeline.time_base,
        besides=listing.besides,
        as_header=stream.upright_size == (picture.width, picture.height),
        tiled=stream.tiled,
    )
