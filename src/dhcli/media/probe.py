"""What an input is: the exact frame rate and count, upright size, colours; length of a sound. Decides what is refused.

Headers are claims. The frame count comes from the packets (or, where a packet need not be a frame, from decoding), the
length of a sound from its decoded samples, the picture's properties from its first decoded frame.
"""

from __future__ import annotations

import re
from fractions import Fraction

from dhcli.errors import DhError
from dhcli.media import rate
from dhcli.media.completeness import check_framing, check_pictures, check_sound, check_video
from dhcli.media.ffmpeg import SOUND_FILTER, InputFile, base_argv, beating, input_argv, lines_of, running
from dhcli.media.ffmpeg_errors import (
    COPY_AGAIN,
    DAMAGED_CONTAINER,
    NO_DECODER,
    TRUNCATION,
    damage,
    decode_failure,
    open_failure,
    refusal,
    refused_codec,
    sound_damage,
    too_large,
    whole_answer,
)
from dhcli.media.info import AudioInfo, VideoInfo, delivered_colour, has_alpha, unusual
from dhcli.media.input_limits import CPU_BASE_S, CPU_PER_FRAME_S, MAX_DURATION_S, MAX_PIXELS
from dhcli.media.listing import FIELDS, Listing, Picture, Stream, parse_listing, parse_picture
from dhcli.media.packets import Timeline, read_timelines
from dhcli.runtime.child import Child
from dhcli.runtime.scope import Scope

DESCRIPTION_LINES = 4000
"""Lines of an input's description that are kept; a disc copy with 80 tracks writes about 800."""
STILL_CODECS = frozenset({"png", "mjpeg", "webp", "gif", "apng", "av1", "hevc"})
"""One frame of these in a container that could hold more is a still image: AVIF, HEIC, a GIF that does not move."""

MAX_NAMED = 8
"""Channels. ffmpeg has a layout for every number up to this, and for some above; without one it cannot mix them."""
MIXED = ",aformat=channel_layouts=mono"
NO_CHANNELS = re.compile(r" Hz, 0 channels")
CHECKSUMS = frozenset({"tta", "wavpack"})
"""Codecs whose decoders look at the checksum of every frame where they are asked to. Those of MP3 are often wrong."""


def probe_video(scope: Scope, file: InputFile, *, max_duration_s: float = MAX_DURATION_S) -> VideoInfo:
    """Look at a video or still image.

    Raises input.not_media, .no_video, .no_frames, .corrupt, .truncated, .too_large, .too_long, .unsupported;
    decode.failed; env.*; Stopped.
    """
    with scope.stage("probe"):
        listing = _list_streams(scope, file)
        stream = _choose(file, listing, "video")
        found = check_framing(scope, file, listing, stream)
        _check_duration(file, listing.duration, max_duration_s)
        if stream.size and stream.size[0] * stream.size[1] > MAX_PIXELS:
            finding = f"has {stream.size[0]}x{stream.size[1]} px (limit {MAX_PIXELS} px)"
            raise file.error("input.too_large", finding, hint="Scale it down first.")
        timeline, picture = _scan_video(scope, file, listing, stream)
        check_pictures(file, stream, timeline, found)
        plain = timeline.plain
        if not plain:
            timeline = _decode_times(scope, file, stream, len(timeline.pts) + timeline.untimed)
        info = _describe(listing, stream, timeline, picture, plain=plain)
        check_video(scope, file, listing, timeline, info)
        _check_duration(file, info.duration, max_duration_s)
        return info


def probe_audio(scope: Scope, file: InputFile, *, max_duration_s: float = MAX_DURATION_S) -> AudioInfo:
    """Look at a sound, or the sound of a video; decodes it once.

    Raises input.not_media, .no_audio, .corrupt, .truncated, .too_long, .unsupported; audio.too_short; decode.failed;
    env.*; Stopped.
    """
    with scope.stage("probe"):
        listing = _list_streams(scope, file)
        stream = _choose(file, listing, "audio")
        check_framing(scope, file, listing, stream)
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
        with running(scope, "probe", argv, pass_fds=file.pass_fds) as child:
            (timeline,) = read_timelines(beating(scope, "probe", lines_of(child)), 1)
            code = child.wait()
            scope.check()
            samples = timeline.total
            sample_rate = timeline.time_base.denominator
            seconds = Fraction(samples, sample_rate)
            if code or sound_damage(file, child.tail(100)):
                raise decode_failure(file, child, code, f"{float(seconds):.2f} s of sound could be read")
        _check_duration(file, seconds, max_duration_s)
        check_sound(scope, file, listing, stream, seconds)
        if not samples:
            raise file.error("audio.too_short", "has no sample", hint="Give a recording with sound.")
        return AudioInfo(stream.index, stream.codec, listing.container, sample_rate, stream.channels, samples)


def _list_streams(scope: Scope, file: InputFile) -> Listing:
    # Without an output ffmpeg describes the input and ends; that this counts as an error is of no interest.
    argv = [*base_argv("info"), *input_argv(file)]
    with running(scope, "probe", argv, pass_fds=file.pass_fds, keep_lines=DESCRIPTION_LINES) as child:
        for _ in lines_of(child):
            pass
        code = child.wait()
        scope.check()
        lines = child.tail(DESCRIPTION_LINES)
        whole_answer(file, code, lines)
    listing = parse_listing(lines)
    if listing is None:
        raise open_failure(file, lines[-20:])
    return listing


def _choose(file: InputFile, listing: Listing, kind: str) -> Stream:
    found = listing.of_kind(kind)
    if found and found[0].codec == "none":
        finding = f"no codec that ffmpeg knows for its {kind} ({found[0].text})"
        hint = "Convert it with another program; if it was made by a common one, its header is damaged."
        raise file.error("input.unsupported", finding, hint=hint)
    if found:
        return found[0]
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


def _scan_video(scope: Scope, file: InputFile, listing: Listing, stream: Stream) -> tuple[Timeline, Picture]:
    """Every packet's time, and the first picture, in one run."""
    chosen = ("-map", f"0:{stream.index}")
    argv = [*base_argv("info"), *input_argv(file), *chosen, "-c", "copy", "-copyinkf", "-f", "framecrc", "pipe:1"]
    argv += [*chosen, "-frames:v", "1", "-vf", "showinfo", "-f", "null", "-"]
    with running(scope, "probe", argv, pass_fds=file.pass_fds, keep_lines=DESCRIPTION_LINES) as child:
        (timeline,) = read_timelines(beating(scope, "probe", lines_of(child)), 1)
        code = child.wait()
        scope.check()
        lines = child.tail(DESCRIPTION_LINES)
        whole_answer(file, code, lines)
        picture = parse_picture(lines)
        count = len(timeline.pts) + timeline.untimed
        if what := damage(lines, DAMAGED_CONTAINER):
            raise file.error("input.corrupt", f"is damaged ({what})", hint=COPY_AGAIN, stderr_tail=lines[-20:])
        if timeline.corrupt or damage(lines, TRUNCATION):
            raise _cut(file, child, code, listing, stream, count - timeline.corrupt)
        if picture is None and (unopened := _unopened(file, stream, lines)):
            raise unopened
        if count == 0:
            hint = "It is only a header; record or export it again."
            raise file.error("input.no_frames", "its video stream has no frame", hint=hint, stderr_tail=lines[-20:])
        if picture is None:
            what = "no picture of it can be decoded"
            raise file.error("input.corrupt", what, hint=COPY_AGAIN, stderr_tail=lines[-20:])
    return timeline, picture


def _unopened(file: InputFile, stream: Stream, lines: list[str]) -> DhError | None:
    """Where no decoder could be opened; ffmpeg ends then before it has read a packet."""
    if large := too_large(file, lines):
        return large
    if damage(lines, NO_DECODER):
        hint = "Convert it to H.264."
        return file.error("input.unsupported", f"no decoder for {stream.codec}", hint=hint, stderr_tail=lines[-20:])
    return refusal(file, lines) if refused_codec(lines) else None


def _cut(file: InputFile, child: Child, code: int | None, listing: Listing, stream: Stream, count: int) -> DhError:
    if listing.duration is None or listing.estimated or not stream.rates:
        return decode_failure(file, child, code, f"{count} frames could be read")
    promised = rate.frames_at(listing.duration, Fraction(stream.rates[0]))
    if count < promised:
        return decode_failure(file, child, code, f"{count} of {promised} frames")
    what = damage(child.tail(100), TRUNCATION)
    return file.error("input.corrupt", f"is damaged ({what})", hint=COPY_AGAIN, stderr_tail=child.tail())


def _decode_times(scope: Scope, file: InputFile, stream: Stream, packets: int) -> Timeline:
    """Times of the frames that really come out of the decoder; slower, for streams whose packets are not frames."""
    argv = [*base_argv(), *input_argv(file), "-map", f"0:{stream.index}", "-fps_mode", "passthrough"]
    argv += ["-enc_time_base", "demux", "-c:v", "wrapped_avframe", "-f", "framecrc", "pipe:1"]
    cpu_s = CPU_BASE_S + CPU_PER_FRAME_S * packets
    with running(scope, "probe", argv, pass_fds=file.pass_fds, cpu_s=cpu_s) as child:
        (timeline,) = read_timelines(beating(scope, "probe", lines_of(child)), 1)
        code = child.wait()
        scope.check()
        if code or not len(timeline.pts):
            raise decode_failure(file, child, code, f"{len(timeline.pts)} frames could be read")
    return timeline


def _describe(listing: Listing, stream: Stream, timeline: Timeline, picture: Picture, *, plain: bool) -> VideoInfo:
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
        packets_are_frames=plain,
        audio_streams=len(listing.of_kind("audio")),
        warnings=unusual(picture, fps, vfr=vfr, interlaced=interlaced, alpha=alpha),
        pts=pts,
        time_base=timeline.time_base,
    )
