"""What probing found out about an input, kept by the hash of its content: an input that is known starts no ffmpeg.

Refusals are not kept: they are found anew each time. Inputs are looked at by `media.probe`.
"""

from __future__ import annotations

import dataclasses
import re
from fractions import Fraction
from typing import Annotated, Any, TypeAlias, TypeVar, get_type_hints

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, create_model

from dhcli import __version__
from dhcli.disk.regular import FileStamp
from dhcli.disk.store import Entry, Store, key_of
from dhcli.media import rate
from dhcli.media.ffmpeg import InputFile, ffmpeg_build, find_ffmpeg
from dhcli.media.info import AudioInfo, VideoInfo, delivered_colour, has_alpha, unusual
from dhcli.media.input_limits import MAX_PIXELS
from dhcli.media.listing import Picture
from dhcli.media.probe import probe_audio, probe_video
from dhcli.runtime.scope import Scope

KIND = "probe"
FORMAT = 2
"""Raised where probing finds something else in the same file; a new version of dh asks anew in any case."""
RECENT, RECENT_FRAMES = 1024, 4096
"""Probes kept in memory, and the frames of the longest video among them: 32 MiB at most."""
RATIO = re.compile(r"-?[0-9]{1,30}(/0*[1-9][0-9]{0,29})?")
INT32 = 2**31 - 1
"""ffmpeg keeps sizes, rates and both parts of a ratio in 32 bits,"""
TIMES = 2**62
"""and times in 64; the difference of two below this is exact, too."""
STREAMS = 1000
"""More than ffmpeg reads of a file."""
HEAD_BYTES, BODY_BYTES = 1 << 16, 64 << 20
"""Of an entry: a hundred times the usual one, and the times of a day of video at 100 fps."""
WORD = re.compile(r"[A-Za-z0-9_,.-]{1,100}")
"""A name of ffmpeg's."""
COLOUR_WORDS = {
    "range": re.compile("unknown|tv|pc"),
    "matrix": re.compile(
        "unknown|reserved|gbr|bt709|fcc|bt470bg|smpte170m|smpte240m|ycgco|ycgco-r[eo]|bt2020n?c|smpte2085|"
        "chroma-derived-n?c|ictcp|ipt-c2"
    ),
    "primaries": re.compile(
        "unknown|reserved|bt709|bt470m|bt470bg|smpte170m|smpte240m|film|bt2020|smpte4(28|31|32)|ebu3213"
    ),
    "transfer": re.compile(
        "unknown|reserved|bt709|bt470m|bt470bg|smpte170m|smpte240m|linear|log100|log316|iec61966-2-[14]|bt1361e|"
        "bt2020-1[02]|smpte2084|smpte428|arib-std-b67"
    ),
}
"""What ffmpeg says of colours. It stands in filters, where any other word would be an error, or another filter."""
ARRAY = "pts"
"""The one field that is an array: it stands in the entry's body, as 64-bit numbers."""


def _ratio(text: object) -> Fraction:
    """Not what `Fraction` would take besides: floats, and exponents that make numbers of a gigabyte."""
    if not isinstance(text, str) or not RATIO.fullmatch(text):
        raise ValueError("a whole number or N/D")
    return Fraction(text)


def _form(shape: type[AudioInfo | VideoInfo]) -> type[BaseModel]:
    """The shape's fields, each of just its type: nothing is converted, nothing may lack, nothing may be added."""
    hints = get_type_hints(shape)
    names = (field.name for field in dataclasses.fields(shape) if field.name != ARRAY)
    exact = Annotated[Fraction, BeforeValidator(_ratio)]
    fields: dict[str, Any] = {name: (exact if hints[name] is Fraction else hints[name], ...) for name in names}
    return create_model(shape.__name__, __config__=ConfigDict(strict=True, extra="forbid"), **fields)


FORMS: dict[type, type[BaseModel]] = {shape: _form(shape) for shape in (AudioInfo, VideoInfo)}
Info = TypeVar("Info", AudioInfo, VideoInfo)
_Asked: TypeAlias = tuple[type, str, float]
"""What was asked for, the hash of the content or else the place of the file, and the longest duration allowed."""
PROBED = ("input.", "audio.", "decode.")
"""Begin the codes of errors that a wrong answer of the store can end in."""
PLACE = "at "
"""Begins a place; no hash begins so."""


class Probes:
    """What is known of the inputs of a run: from the store, and, for inputs of several jobs, in memory. For one thread.

    A file whose content has no known hash (None) is looked at once a run, as long as it stays as it is: a plan, which
    reads no input for its hash, may have thousands of jobs over a handful of files. Nothing of it goes into the store.
    """

    def __init__(self, store: Store | None = None) -> None:
        self.store = store if store is not None else Store(None, 0)
        self._recent: dict[_Asked, AudioInfo | VideoInfo] = {}
        self._stored: set[_Asked] = set()
        """What the store has answered in this run,"""
        self._doubted: set[_Asked] = set()
        """and what it is not to be asked again."""

    def knows(self, video_sha256: str | None, audio_sha256: str | None, max_duration_s: float) -> bool:
        """Whether neither input need be looked at."""
        if video_sha256 is None or audio_sha256 is None:
            return False
        video, audio = (VideoInfo, video_sha256, max_duration_s), (AudioInfo, audio_sha256, max_duration_s)
        return self._known(VideoInfo, video) is not None and self._known(AudioInfo, audio) is not None

    def doubt(self, code: str, *contents: str) -> bool:
        """Whether a job that ended with `code` may owe it to what the store said of these contents, by their hashes.

        An answer can be sane and wrong, in an entry that somebody forged. The next attempt looks at the inputs anew,
        and what it finds replaces the entry; so it happens once in a run.
        """
        doubted = {asked for asked in self._stored if code.startswith(PROBED) and asked[1] in contents}
        for asked in doubted:
            self._recent.pop(asked, None)
        self._stored -= doubted
        self._doubted |= doubted
        return bool(doubted)

    def video(self, scope: Scope, file: InputFile, sha256: str | None, max_duration_s: float) -> VideoInfo:
        """What `probe_video` says of the file. Raises as that does, and input.changed."""
        asked: _Asked = (VideoInfo, sha256 or _place(file), max_duration_s)
        known = self._known(VideoInfo, asked)
        if known is None:
            known = probe_video(scope, file, max_duration_s=max_duration_s)
            self._keep(scope, asked, file, known, known.pts.astype("<i8").tobytes())
        return known

    def audio(self, scope: Scope, file: InputFile, sha256: str | None, max_duration_s: float) -> AudioInfo:
        """What `probe_audio` says of the file. Raises as that does, and input.changed."""
        asked: _Asked = (AudioInfo, sha256 or _place(file), max_duration_s)
        known = self._known(AudioInfo, asked)
        if known is None:
            known = probe_audio(scope, file, max_duration_s=max_duration_s)
            self._keep(scope, asked, file, known, b"")
        return known

    def _known(self, shape: type[Info], asked: _Asked) -> Info | None:
        recent = self._recent.pop(asked, None)
        known = recent if isinstance(recent, shape) else None
        if known is None and not asked[1].startswith(PLACE) and asked not in self._doubted:
            known = _kept(shape, self.store, asked)
            if known is not None:
                self._stored.add(asked)
        if known is not None:
            self._remember(asked, known)
        return known

    def _keep(self, scope: Scope, asked: _Asked, file: InputFile, found: AudioInfo | VideoInfo, body: bytes) -> None:
        # Else what another content gave would stand under the hash of the first one.
        file.check_unchanged(lambda: scope.alive("probe"))
        if not asked[1].startswith(PLACE) and len(body) <= BODY_BYTES:
            self.store.put(KIND, probe_key(*asked), _head(found), lambda: [body])
        self._remember(asked, found)

    def _remember(self, asked: _Asked, found: AudioInfo | VideoInfo) -> None:
        if isinstance(found, AudioInfo) or len(found.pts) <= RECENT_FRAMES:
            self._recent[asked] = found  # at the end: the order is that of the last use
        while len(self._recent) > RECENT:
            del self._recent[next(iter(self._recent))]


def _place(file: InputFile) -> str:
    """Where an open file lies, and its times: another content has another one."""
    return f"{PLACE}{FileStamp.of(file.fd)}"


def probe_key(shape: type, sha256: str, max_duration_s: float) -> str:
    """The key of what is known of a file: of all that the answer depends on. Raises DhError env.ffmpeg_*."""
    return key_of(
        {
            "format": FORMAT,
            "dh": __version__,
            "ffmpeg": ffmpeg_build(find_ffmpeg()),
            "what": shape.__name__,
            "content": sha256,
            "max_duration_s": max_duration_s,  # a header may promise more than there is, and is refused for that
        }
    )


def _kept(shape: type[Info], store: Store, asked: _Asked) -> Info | None:
    """What the store has, or None where that is nothing that a probe can have said."""
    entry = store.get(KIND, probe_key(*asked))
    if entry is None:
        return None
    with entry:
        try:
            found = _parsed(shape, entry)
        except (ValidationError, ValueError, EOFError, OSError):
            return None
    if isinstance(found, AudioInfo):
        return found if _is_sound(found, asked[2]) else None
    return found if _is_video(found, asked[2]) else None


def _parsed(shape: type[Info], entry: Entry) -> Info:
    """The entry's fields, each of its type. Raises ValueError where they are not, EOFError and OSError as `body`."""
    if len(entry.head) > HEAD_BYTES or entry.size > BODY_BYTES:
        raise ValueError("larger than any")
    told = FORMS[shape].model_validate_json(entry.head)
    fields = {name: getattr(told, name) for name in type(told).model_fields}
    if shape is VideoInfo:
        fields[ARRAY] = np.frombuffer(entry.body(), "<i8").astype(np.int64)
    return shape(**fields)


def _is_sound(info: AudioInfo, max_duration_s: float) -> bool:
    """Whether a probe can have said this."""
    return (
        _are_names(info.codec, info.container)
        and 0 <= info.index < STREAMS
        and 0 < info.sample_rate <= INT32
        and 0 <= info.channels <= STREAMS
        and 0 < info.duration <= max_duration_s
        and not info.warnings
    )


def _is_video(info: VideoInfo, max_duration_s: float) -> bool:
    """Whether a probe can have said this: within what files can have, and what follows from something else does."""
    return (
        _are_names(info.codec, info.container, info.pix_fmt)
        and all(words.fullmatch(getattr(info.source_colour, name)) for name, words in COLOUR_WORDS.items())
        and 0 <= info.index < STREAMS
        and 0 <= info.audio_streams < STREAMS
        and min(info.width, info.height) > 0
        and info.width * info.height <= MAX_PIXELS
        and all(
            0 < part <= INT32 for ratio in (info.sar, info.time_base, info.fps) for part in ratio.as_integer_ratio()
        )
        and 0 <= info.rotation < 360
        and 0 < info.duration <= max_duration_s
        and _is_on_time(info)
        and _is_described(info)
    )


def _are_names(*words: str) -> bool:
    return all(WORD.fullmatch(word) for word in words)


def _is_on_time(info: VideoInfo) -> bool:
    """Whether rate, duration and number of frames follow from the times as `probe_video` has it."""
    pts, fps = info.pts, info.fps
    if not len(pts) or (pts[1:] < pts[:-1]).any() or max(abs(int(pts[0])), abs(int(pts[-1]))) >= TIMES:
        return False
    span = (int(pts[-1]) - int(pts[0])) * info.time_base
    if info.is_image and (len(pts) > 1 or fps != rate.STILL_RATE or info.vfr):
        return False
    if not rate.MIN_RATE <= fps <= rate.MAX_RATE:
        return False
    if info.vfr:
        return 0 < span <= info.duration and info.frames == rate.frames_at(info.duration, fps)
    constant = span <= 0 or rate.fits(pts, info.time_base, fps)
    return constant and info.frames == len(pts) and info.duration == len(pts) / fps


def _is_described(info: VideoInfo) -> bool:
    """Whether the colours of its frames and the warnings are those of its first picture."""
    picture = Picture(info.pix_fmt, info.width, info.height, info.sar, info.interlaced, info.source_colour)
    remarks = unusual(picture, info.fps, vfr=info.vfr, interlaced=info.interlaced, alpha=info.alpha)
    transparent = info.alpha or not has_alpha(info.pix_fmt)
    return transparent and info.colour == delivered_colour(picture) and info.warnings == remarks


def _head(info: AudioInfo | VideoInfo) -> bytes:
    form = FORMS[type(info)]
    return form.model_construct(**{name: getattr(info, name) for name in form.model_fields}).model_dump_json().encode()
