"""What a failed ffmpeg means, by its messages; nothing else reads them.

Exit codes say too little: the same fault has 1, 69, 183, 187, 228 or 254 by version and build, and a truncated file
even 0. The messages are stable.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from pathlib import Path

from dhcli.errors import Code, DhError
from dhcli.media.complaints import (
    CUT_PACKET,
    ERROR,
    LEVEL,
    TAIL_LINES,
    TRUNCATION,
    WHITELIST,
    complaints,
    damage,
    reason,
    spoken,
)
from dhcli.media.containers.riff import open_ended_wav
from dhcli.media.input_file import InputFile
from dhcli.media.input_limits import MAX_PIXELS
from dhcli.runtime.child import Child, exit_text

NO_DECODER = re.compile(r"no decoder found|decoder not found", re.IGNORECASE)
PICTURE_SIZE = re.compile(r"picture size (\d+)x(\d+) (?:exceeds|is invalid)", re.IGNORECASE)
"""Above some 16,000 x 16,000 px ffmpeg calls a size invalid, whatever the limit is; 0x0 as well."""
UNMIXED = re.compile(r"rematrix is needed between (.+?) and|channel layout \"(.+?)\" is invalid", re.IGNORECASE)
"""The sound has no channel layout, or more than the 64 channels that ffmpeg mixes."""
INTERRUPTED = re.compile(r"\[info\] Exiting normally, received signal (\d+)\.")
SIGNALLED = 255
"""ffmpeg's exit code after a signal that ends it in order: it stops reading and finishes its output."""
CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE})
REFUSED_CODEC = re.compile(r"Codec \((\w+)\) not on whitelist")
NOT_OPENED = re.compile(r"opening decoder|could not open codec|decoder.*failed to open", re.IGNORECASE)
"""Only then the refused codec matters: of an unwanted stream (subtitles) no decoder is opened."""
OPEN_ENDED_CAF = b"data" + b"\xff" * 8
NO_SPACE = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
TOO_LONG = re.compile(r"file too large", re.IGNORECASE)
UNFIT = re.compile(
    r"no such filter|unknown encoder|unrecognized option|option not found|error (?:while )?loading shared",
    re.IGNORECASE,
)


NOT_CLOSED = (
    "The recording was not closed; a repair program such as untrunc can rebuild it from a good file of the same camera."
)
RENDER_AGAIN = "Render again; if it happens twice, please report it with the result file."
COPY_AGAIN = "Copy or download it again; if it still plays, convert it with another program."


def sound_damage(file: InputFile, tail: Sequence[str]) -> str:
    """The first message about a damaged sound, "" where there is none.

    A WAV or CAF that was written to a pipe has no length in its header; what ffmpeg then says of its end is no damage.
    """
    head = file.head(4096)
    open_ended = open_ended_wav(head) or (head[:4] == b"caff" and OPEN_ENDED_CAF in head)
    return damage([line for line in tail if not (open_ended and CUT_PACKET.search(line))])


def refused_codec(tail: Sequence[str]) -> str:
    """The decoder of a wanted stream that is not on the list of allowed ones, "" where there is none."""
    text = "\n".join(complaints(tail))
    codecs = REFUSED_CODEC.findall(text)
    return str(codecs[-1]) if codecs and NOT_OPENED.search(text) else ""


def codec_error(file: InputFile, tail: Sequence[str]) -> DhError:
    """The error for a codec that inputs may not use."""
    finding = f"has the codec {refused_codec(tail)}, which dh does not decode"
    hint = "Convert it, to H.264 and AAC for instance."
    return file.error("input.unsupported", finding, hint=hint, stderr_tail=shortened(tail))


def no_decoder(file: InputFile, codec: str, tail: Sequence[str]) -> DhError:
    """The error for a codec that this ffmpeg cannot decode."""
    finding = f"has the codec {codec}, for which this ffmpeg has no decoder"
    hint = "Convert it with a program that plays it, to H.264 and AAC for instance."
    return file.error("input.unsupported", finding, hint=hint, stderr_tail=shortened(tail))


def shortened(tail: Sequence[str]) -> list[str]:
    """The last lines for a result file, without the text of whitelists."""
    return [WHITELIST.sub(r"\1", line) for line in tail[-20:]]


def refuse_interrupted(file: InputFile, code: int | None, tail: Sequence[str]) -> None:
    """Raise DhError decode.failed where a signal ended a probing ffmpeg: it may not have said everything."""
    interrupted = next((match for line in tail if (match := INTERRUPTED.fullmatch(line))), None)
    if code is None or code < 0 or interrupted:
        number = -int(interrupted[1]) if interrupted else code
        raise _exit_error("decode.failed", f"{file.label}: it could not be looked at", number, tail[-20:])


def too_large(file: InputFile, tail: Sequence[str]) -> DhError | None:
    """The error for a picture with more pixels than the limit; None where ffmpeg reports none."""
    sizes = [(int(match[1]), int(match[2])) for line in complaints(tail) if (match := PICTURE_SIZE.search(line))]
    large = [(width, height) for width, height in sizes if width * height > MAX_PIXELS]
    if not large:
        return None
    finding = f"has {large[0][0]}x{large[0][1]} px (limit {MAX_PIXELS} px)"
    return file.error("input.too_large", finding, hint="Scale it down first.", stderr_tail=shortened(tail))


def _unmixed(file: InputFile, tail: Sequence[str]) -> DhError | None:
    """The error for a sound whose channels cannot be mixed; None where ffmpeg reports none."""
    layout = next((match for line in complaints(tail) if (match := UNMIXED.search(line))), None)
    if layout is None:
        return None
    finding = f"has {layout[1] or layout[2]}, for which no mix to mono is defined"
    return file.error("input.unsupported", finding, hint="Mix it down to mono or stereo.", stderr_tail=shortened(tail))


def open_error(file: InputFile, tail: Sequence[str]) -> DhError:
    """The error for an input that ffmpeg could not open."""
    text, why = "\n".join(complaints(tail)), reason(tail)
    if "moov atom not found" in text:
        return file.error(
            "input.corrupt", "its index is missing (moov atom not found)", hint=NOT_CLOSED, stderr_tail=tail
        )
    if large := too_large(file, tail):
        return large
    if "not on whitelist" in text or "not in whitelist" in text:
        hint = (
            "Playlists and exotic containers are not opened; give an MP4, MOV, MKV, WebM, AVI, WAV, MP3 or FLAC file."
        )
        return file.error("input.unsupported", f"has a format that is not allowed ({why})", hint=hint, stderr_tail=tail)
    if _lacks_feature(tail):
        return _unusable(why, tail)
    hint = f"It begins with {_beginning(file)}; give a media file."
    finding = "is no audio, video or image that ffmpeg reads" + (f" ({why})" if why else "")
    return file.error("input.not_media", finding, hint=hint, stderr_tail=tail)


def damage_message(file: InputFile, what: str) -> str:
    """The warning about a damaged input."""
    return f"{file.label}: it is damaged: {what}. It is used as far as it can be decoded."


def cut_error(file: InputFile, how: str) -> DhError:
    """The error for an input that ends early; `how` says how early."""
    hint = f"{COPY_AGAIN} on_damage: use renders what is there."
    return file.error("input.truncated", f"ends early: {how}", hint=hint)


def decode_error(file: InputFile, child: Child, code: int | None, finding: str) -> DhError:
    """The error for a decoder that ended early or badly. `finding` says what came: "59 of 100 frames"."""
    tail = spoken(child.tail(TAIL_LINES))[-100:]
    if code is None or code < 0:
        return _exit_error("decode.failed", f"{file.label}: {finding}", code, tail[-20:])
    if _lacks_feature(tail):
        return _unusable(reason(tail), tail[-20:])
    if code and refused_codec(tail):
        return codec_error(file, tail)
    if code and (unmixed := _unmixed(file, tail)):
        return unmixed
    if what := damage(tail, TRUNCATION):
        return file.error("input.truncated", f"ends early: {finding} ({what})", hint=COPY_AGAIN, stderr_tail=tail[-20:])
    if what := damage(tail):
        return file.error("input.corrupt", f"is damaged: {finding} ({what})", hint=COPY_AGAIN, stderr_tail=tail[-20:])
    if code:
        return _exit_error("decode.failed", f"{file.label}: {finding}", code, tail[-20:])
    return file.error("input.truncated", f"ends early: {finding}", hint=COPY_AGAIN, stderr_tail=tail[-20:])


def encode_error(child: Child, code: int | None, finding: str, *, excess_bytes: int | None = None) -> DhError:
    """The error for an encoder that ended early or badly. `excess_bytes`: the limit, if its file has reached it."""
    tail = child.tail(100)
    if excess_bytes is not None:
        what = f"{finding}: it wrote more than {excess_bytes} bytes, which nothing in the plan needs"
        hint = "The sound is probably damaged; convert it with another program."
        return DhError("encode.failed", f"{what}.", hint=hint, stderr_tail=tail[-20:])
    if damage(tail, TOO_LONG) or code == -signal.SIGXFSZ:
        return DhError(
            "output.disk_full",
            f"The system limits the size of files: {finding}.",
            hint="Raise the limit (ulimit -f unlimited).",
            stderr_tail=tail[-20:],
        )
    if damage(tail, NO_SPACE):
        hint = "Make room on the output's disk, or write elsewhere."
        return DhError(
            "output.disk_full", f"No space to write the output: {finding}.", hint=hint, stderr_tail=tail[-20:]
        )
    if _lacks_feature(tail):
        return _unusable(reason(tail), tail[-20:])
    return _exit_error("encode.failed", finding, code, tail[-20:])


def read_back_error(path: Path, child: Child, code: int | None) -> DhError:
    """The error for an output that could not be read back; a reader that was killed says nothing about the output."""
    what, tail = f"output {path}", child.tail()
    if code is None or code < 0:
        return _exit_error("decode.failed", f"{what}: it could not be read back", code, tail)
    ended = ", ".join(filter(None, [exit_text(code), _exit_reason(code, tail)]))
    return DhError("output.mismatch", f"{what}: it cannot be read back ({ended}).", hint=RENDER_AGAIN, stderr_tail=tail)


def _exit_error(kind: Code, what: str, code: int | None, tail: Sequence[str]) -> DhError:
    ended, why = exit_text(code), _exit_reason(code, tail)
    hint = "The last lines of ffmpeg say why." if why else RENDER_AGAIN
    if code == -signal.SIGXCPU:
        hint = "It took more processor time than an honest file needs; convert the input with another program."
    elif code and -code in CRASHES:
        hint = "It crashed; convert the input with another program, or let DH_FFMPEG name another ffmpeg."
    elif code == -signal.SIGKILL:
        hint = "It was killed from outside; too little memory is the usual cause."
    elif code and code < 0:
        hint = "Another program ended it; render again."
    elif code == SIGNALLED and not why:
        ended, hint = f"{ended}, as after a signal", "Something asked it to end; render again."
    return DhError(kind, f"{what}; ffmpeg: {ended}{f', {why}' if why else ''}.", hint=hint, stderr_tail=tail)


def _exit_reason(code: int | None, tail: Sequence[str]) -> str:
    """Why a child ended, "" where it does not say. Warnings are no reason: ffmpeg goes on after them.

    Lines without a level come from a loader or a wrapper script. They do not explain why a child was killed.
    """
    killed = code is not None and code < 0
    return reason([line for line in tail if ERROR.search(line) or not (killed or LEVEL.search(line))])


def _lacks_feature(tail: Sequence[str]) -> bool:
    # In all lines: those of the loader of shared libraries have no level.
    return UNFIT.search("\n".join(tail)) is not None


def _unusable(why: str, tail: Sequence[str]) -> DhError:
    return DhError(
        "env.ffmpeg_unusable", f"This ffmpeg lacks something: {why}.", hint="Unset DH_FFMPEG.", stderr_tail=tail
    )


def _beginning(file: InputFile) -> str:
    first = file.head(24)
    if first.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "HTML or XML, probably an error page"
    if first.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, the file itself was not fetched"
    return repr(first)
