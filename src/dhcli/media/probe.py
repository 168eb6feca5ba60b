"""Probes an input: exact frame rate and count, upright size, colours; length of a sound. Refuses what is unusable.

Headers may be wrong. The frame count comes from the packets (or, where a packet need not be a frame, from decoding),
the length of a sound from its decoded samples, the picture's properties from its first decoded frame.
"""

from __future__ import annotations

import re
from fractions import Fraction

from dhcli.errors import DhError
from dhcli.media import rate
from dhcli.media.completeness import check_container, check_pictures, check_sound, check_video
from dhcli.media.ffmpeg import SOUND_FILTER, base_argv, beating, input_argv, lines_of, running
from dhcli.media.ffmpeg_errors import (
    COPY_AGAIN,
    DAMAGED_CONTAINER,
    NO_DECODER,
    TRUNCATION,
    codec_error,
    damage,
    decode_error,
    open_error,
    refuse_interrupted,
    refused_codec,
    sound_damage,
    too_large,
)
from dhcli.media.info import AudioInfo, VideoInfo, delivered_colour, has_alpha, unusual
from dhcli.media.input_file import InputFile
from dhcli.media.input_limits import CPU_BASE_S, CPU_PER_FRAME_S, MAX_DURATION_S, MAX_PIXELS, ChildLimits
from dhcli.media.listing import FIELDS, Listing, Picture, Stream, parse_listing, parse_picture
from dhcli.media.packets import Timeline, read_timelines
from dhcli.runtime.child import Child, Command
from dhcli.runtime.scope import Scope

DESCRIPTION_LINES = 4000
"""Lines of an input's description that are kept; a disc copy with 80 tracks writes about 800."""
STILL_CODECS = frozenset({"png", "mjpeg", "webp", "gif", "apng", "av1", "hevc"})
"""A single frame of these in a container that could hold more is a still image: AVIF, HEIC, a GIF of one picture."""

MAX_NAMED = 8
"""Channels. Up to this number ffmpeg has a layout for each number of channels; without one it cannot mix them."""
MIXED = ",aformat=channel_layouts=mono"
NO_CHANNELS = re.compile(r" Hz, 0 channels")
CHECKSUMS = frozenset({"tta", "wavpack"})
"""Codecs whose decoders compare the checksum of every frame on request. Not MP3, whose checksums are often wrong."""


def probe_video(scope: Scope, file: InputFile, *, max_duration_s: float = MAX_DURATION_S) -> VideoInfo:
    """Probe a video or still image.

    Raises input.not_media, .no_video, .no_frames, .corrupt, .truncated, .too_large, .too_long, .unsupported;
    decode.failed; env.*; Stopped.
    """
    with scope.stage("probe"):
        listing = _list_streams(scope, file)
        stream = _choose(file, listing, "video")
        scan = check_container(scope, file, listing, stream)
        _check_duration(file, listing.duration, max_duration_s)
        if stream.size and stream.size[0] * stream.size[1] > MAX_PIXELS:
            finding = f"has {stream.size[0]}x{stream.size[1]} px (limit {MAX_PIXELS} px)"
            raise file.error("input.too_large", finding, hint="Scale it down first.")
        timeline = _scan_video(scope, file, listing, stream)
        picture = _first_picture(scope, file, listing, stream, timeline)
        check_pictures(file, stream, timeline, scan)
        packets_are_frames = timeline.packets_are_frames
        if not packets_are_frames:
            timeline = _decode_times(scope, file, stream, timeline.packets)
        info = _describe(listing, stream, timeline, picture, packets_are_frames=packets_are_frames)
        check_video(scope, file, listing, timeline, info)
        _check_duration(file, info.duration, max_duration_s)
        return info


def probe_audio(scope: Scope, file: InputFile, *, max_duration_s: float = MAX_DURATION_S) -> AudioInfo:
    """Probe a sound, or the sound of a video; decodes it once.

    Raises input.not_media, .no_audio, .corrupt, .truncated, .too_long, .unsupported; audio.too_short; decode.failed;
    env.*; Stopped.
    """
    with scope.stage("probe"):
        listing = _list_streams(scope, file)
        stream = _choose(file, listing, "audio")
        check_container(scope, file, listing, stream)
        _check_duration(file, listing.duration, max_duration_s)
        if NO_CHANNELS.search(stream.text):
            hint = "Export it again; if it still plays, convert it with another program."
            raise file.error("input.corrupt", "its header says that it has 0 channels", hint=hint)
        sums = ["-err_detect", "crccheck"] if stream.codec in CHECKSUMS else []
        argv = [*base_argv(), "-max_error_rate", "0", *input_argv(file, *sums), "-map", f"0:{stream.index}"]
        argv += [
            "-af",
            f"{SOUND_FILTER}{MIXED if stream.channels > MAX_NAMED else ''}",
            "-c:a",
            "pcm_s16le",
            "-f",
            "framecrc",
            "pipe:1",
        ]
        with running(scope, "probe", Command(argv, file.pass_fds)) as child:
            (timeline,) = read_timelines(beating(scope, "probe", lines_of(child)), 1)
            code = child.wait()
            scope.check()
            samples = timeline.total
            sample_rate = timeline.time_base.denominator
            seconds = Fraction(samples, sample_rate)
            if code or sound_damage(file, child.tail(100)):
                raise decode_error(file, child, code, f"{float(seconds):.2f} s of sound could be read")
        _check_duration(file, seconds, max_duration_s)
        check_sound(scope, file, listing, stream, seconds)
        if not samples:
            raise file.error("audio.too_short", "has no sample", hint="Give a recording with sound.")
        return AudioInfo(stream.index, stream.codec, listing.container, sample_rate, stream.channels, samples)


def _list_streams(scope: Scope, file: InputFile) -> Listing:
    # Without an output ffmpeg describes the input and ends with an error code, which is expected.
    argv = [*base_argv("info"), *input_argv(file)]
    with running(scope, "probe", Command(argv, file.pass_fds, keep_lines=DESCRIPTION_LINES)) as child:
        for _ in lines_of(child):
            pass
        code = child.wait()
        scope.check()
        lines = child.tail(DESCRIPTION_LINES)
        refuse_interrupted(file, code, lines)
    listing = parse_listing(lines)
    if listing is None:
        raise open_error(file, lines[-20:])
    return listing


def _choose(file: InputFile, listing: Listing, kind: str) -> Stream:
    streams = listing.of_kind(kind)
    if streams and streams[0].codec == "none":
        finding = f"no codec that ffmpeg knows for its {kind} ({streams[0].text})"
        hint = "Convert it with another program; if it was made by a common one, its header is damaged."
        raise file.error("input.unsupported", finding, hint=hint)
    if streams:
        return streams[0]
    what = "sound" if kind == "audio" else "a picture"
    raise file.error(
        "input.no_audio" if kind == "audio" else "input.no_video",
        f"no {kind} stream (streams: {listing.summary})",
        hint=f"Give a file with {what} in '{file.role}'.",
    )


def _check_duration(file: InputFile, seconds: Fraction | None, limit_s: float) -> None:
    if seconds is not None and seconds > limit_s:
        finding = f"has {float(seconds):.1f} s, more than the limit of {limit_s:g} s"
        raise file.error("input.too_long", finding, hint="Cut it, or raise the limit with --max-duration.")


def _scan_video(scope: Scope, file: InputFile, listing: Listing, stream: Stream) -> Timeline:
    """The times of all packets. Raises DhError input.corrupt, input.truncated.

    Nothing is decoded in the same run: showinfo writes a line in pieces, and what the demuxer says of damage can land
    between them, where it has no level and is taken for text of the file.
    """
    argv = [*base_argv("info"), *input_argv(file), "-map", f"0:{stream.index}"]
    argv += ["-c", "copy", "-copyinkf", "-f", "framecrc", "pipe:1"]
    with running(scope, "probe", Command(argv, file.pass_fds, keep_lines=DESCRIPTION_LINES)) as child:
        (timeline,) = read_timelines(beating(scope, "probe", lines_of(child)), 1)
        _refuse_damage(scope, file, child, listing, stream, timeline)
    return timeline


def _first_picture(scope: Scope, file: InputFile, listing: Listing, stream: Stream, timeline: Timeline) -> Picture:
    """The properties of the first picture that can be decoded.

    Raises DhError input.too_large, .unsupported, .no_frames, .corrupt, .truncated.
    """
    argv = [*base_argv("info"), *input_argv(file), "-map", f"0:{stream.index}"]
    argv += ["-frames:v", "1", "-vf", "showinfo", "-f", "null", "-"]
    with running(scope, "probe", Command(argv, file.pass_fds, keep_lines=DESCRIPTION_LINES)) as child:
        for _ in lines_of(child):
            pass
        lines = _refuse_damage(scope, file, child, listing, stream, timeline)
        picture = parse_picture(lines)
        if picture is None and (unopened := _unopened(file, stream, lines)):
            raise unopened
        if not timeline.packets:
            hint = "It is only a header; record or export it again."
            raise file.error("input.no_frames", "its video stream has no frame", hint=hint, stderr_tail=lines[-20:])
        if picture is None:
            what = "no picture of it can be decoded"
            raise file.error("input.corrupt", what, hint=COPY_AGAIN, stderr_tail=lines[-20:])
        return picture


def _refuse_damage(
    scope: Scope, file: InputFile, child: Child, listing: Listing, stream: Stream, timeline: Timeline
) -> list[str]:
    """Wait for the end of `child`: what it said, where that is no damage."""
    code = child.wait()
    scope.check()
    lines = child.tail(DESCRIPTION_LINES)
    refuse_interrupted(file, code, lines)
    if what := damage(lines, DAMAGED_CONTAINER):
        raise file.error("input.corrupt", f"is damaged ({what})", hint=COPY_AGAIN, stderr_tail=lines[-20:])
    if timeline.corrupt or damage(lines, TRUNCATION):
        raise _cut(file, child, code, listing, stream, timeline.packets - timeline.corrupt)
    return lines


def _unopened(file: InputFile, stream: Stream, lines: list[str]) -> DhError | None:
    """The error where no decoder could be opened; None where one could."""
    if large := too_large(file, lines):
        return large
    if damage(lines, NO_DECODER):
        hint = "Convert it to H.264."
        return file.error("input.unsupported", f"no decoder for {stream.codec}", hint=hint, stderr_tail=lines[-20:])
    return codec_error(file, lines) if refused_codec(lines) else None


def _cut(file: InputFile, child: Child, code: int | None, listing: Listing, stream: Stream, count: int) -> DhError:
    if listing.duration is None or listing.estimated or not stream.rates:
        return decode_error(file, child, code, f"{count} frames could be read")
    declared = rate.frames_at(listing.duration, Fraction(stream.rates[0]))
    if count < declared:
        return decode_error(file, child, code, f"{count} of {declared} frames")
    what = damage(child.tail(100), TRUNCATION)
    return file.error("input.corrupt", f"is damaged ({what})", hint=COPY_AGAIN, stderr_tail=child.tail())


def _decode_times(scope: Scope, file: InputFile, stream: Stream, packets: int) -> Timeline:
    """The times of all decoded frames, for streams whose packets are not frames; this is slower."""
    argv = [*base_argv(), *input_argv(file), "-map", f"0:{stream.index}", "-fps_mode", "passthrough"]
    argv += ["-enc_time_base", "demux", "-c:v", "wrapped_avframe", "-f", "framecrc", "pipe:1"]
    limits = ChildLimits(CPU_BASE_S + CPU_PER_FRAME_S * packets)
    with running(scope, "probe", Command(argv, file.pass_fds), limits) as child:
        (timeline,) = read_timelines(beating(scope, "probe", lines_of(child)), 1)
        code = child.wait()
        scope.check()
        if code or not len(timeline.pts):
            raise decode_error(file, child, code, f"{len(timeline.pts)} frames could be read")
    return timeline


def _describe(
    listing: Listing, stream: Stream, timeline: Timeline, picture: Picture, *, packets_are_frames: bool
) -> VideoInfo:
    pts = timeline.times
    image = len(pts) == 1 and (stream.codec in STILL_CODECS or listing.container.endswith("_pipe"))
    fps = rate.STILL_RATE if image else rate.constant_rate(pts, timeline.time_base, stream.rates)
    vfr = fps is None
    if fps is None:
        fps = rate.variable_rate(pts, timeline.time_base, stream.rates)
    last = max(timeline.end() - int(pts[-1]), 0) * timeline.time_base or 1 / fps
    duration = (int(pts[-1]) - int(pts[0])) * timeline.time_base + last if vfr else len(pts) / fps
    interlaced = picture.fields or bool(FIELDS.search(stream.text))
    alpha = stream.alpha or has_alpha(picture.pix_fmt)
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
    )
