"""What probing found out about inputs, kept in the store: an input that was probed before starts no ffmpeg.

Refusals are not kept: a refused input is probed again each time.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar, get_type_hints

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, create_model

from dhcli import __version__
from dhcli.disk.regular import FileStamp
from dhcli.disk.store import Entry, Store, key_of
from dhcli.jobs.options import Job
from dhcli.media import rate
from dhcli.media.besides import MOST_SUBTITLES, Besides
from dhcli.media.completeness import TEXT_CHARS
from dhcli.media.containers.extent import DEMUXERS, FRONT_BYTES
from dhcli.media.containers.picture import STREAMS as PICTURE_STREAMS
from dhcli.media.ffmpeg_program import ffmpeg_build, find_ffmpeg
from dhcli.media.info import AudioInfo, VideoInfo, delivered_colour, unusual
from dhcli.media.input_file import InputFile
from dhcli.media.input_limits import MAX_PIXELS
from dhcli.media.listing import Picture
from dhcli.media.probe import probe_audio, probe_video
from dhcli.runtime.scope import Scope

KIND = "probe"
FORMAT = 5
"""To be raised when probing says something else of the same file; a new version of dh probes again in any case."""
MAX_UNHASHED = 16
"""Inputs without a known hash that are remembered; the times of a video of four hours at 60 fps take 7 MB."""
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
"""A codec, container or pixel format."""
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
"""ffmpeg's words for colours. They go into filter arguments, where another word could mean another filter."""
ARRAY = "pts"
"""The one field that is an array: the entry's body, as 64-bit little-endian integers."""


def _ratio(text: object) -> Fraction:
    """The fraction that "N" or "N/D" means. `Fraction` itself also takes exponents, which make numbers of a gigabyte.

    Raises ValueError.
    """
    if not isinstance(text, str) or not RATIO.fullmatch(text):
        raise ValueError("a whole number or N/D")
    return Fraction(text)


def _form(shape: type[AudioInfo | VideoInfo]) -> type[BaseModel]:
    """A pydantic model of the dataclass that converts nothing, and allows no missing and no additional field."""
    hints = get_type_hints(shape)
    names = (field.name for field in dataclasses.fields(shape) if field.name != ARRAY)
    exact = Annotated[Fraction, BeforeValidator(_ratio)]
    fields: dict[str, Any] = {name: (exact if hints[name] is Fraction else hints[name], ...) for name in names}
    return create_model(shape.__name__, __config__=ConfigDict(strict=True, extra="forbid"), **fields)


FORMS: dict[type, type[BaseModel]] = {shape: _form(shape) for shape in (AudioInfo, VideoInfo)}
Info = TypeVar("Info", AudioInfo, VideoInfo)
_Key: TypeAlias = tuple[type, str, float, str]
"""What is probed for, the hash of the content, the longest duration allowed, s, and what else the answer depends on."""
PROBED = ("input.", "audio.", "decode.")
"""Beginnings of the codes of errors that a wrong entry can cause."""


class Probes:
    """What probing finds out about inputs. The store keeps it by the hash of their content. For one thread.

    An input without a known hash is probed once and then remembered by its stamp: `dh render --dry-run` hashes no
    input, and may have thousands of jobs over a handful of files.
    """

    def __init__(self, store: Store | None = None) -> None:
        self.store = store if store is not None else Store(None, 0)
        self._unhashed: dict[tuple[type, FileStamp, float, str], AudioInfo | VideoInfo] = {}
        self._used: set[_Key] = set()
        """Entries of the store that were used in this run."""
        self._doubted: set[_Key] = set()
        """Entries that are not used any more in this run."""

    def has(self, job: Job, video_sha256: str | None, audio_sha256: str | None, max_duration_s: float) -> bool:
        """Whether the store has what there is to say about both contents, so that neither is probed again."""
        if video_sha256 is None or audio_sha256 is None:
            return False
        video = (VideoInfo, video_sha256, max_duration_s, _named(job.video))
        audio = (AudioInfo, audio_sha256, max_duration_s, _named(job.audio) + (job.options.audio_track or ""))
        if job.options.own_sound != "drop":
            own = (AudioInfo, video_sha256, max_duration_s, _named(job.video))
            if self._stored(AudioInfo, own) is None:
                return False
        return self._stored(VideoInfo, video) is not None and self._stored(AudioInfo, audio) is not None

    def doubt(self, code: str, *contents: str) -> bool:
        """Whether a job may have ended with `code` because of a wrong entry about one of these contents, by hash.

        A forged entry can be plausible and wrong. The next attempt probes the inputs again, and replaces the entry.
        Doubted entries are not used any more in this run, so that this is True once for each.
        """
        may_be_wrong = code.startswith(PROBED) and code != "input.changed"
        doubted = {key for key in self._used if may_be_wrong and key[1] in contents}
        self._used -= doubted
        self._doubted |= doubted
        return bool(doubted)

    def video(self, scope: Scope, file: InputFile, sha256: str | None, max_duration_s: float) -> VideoInfo:
        """What `probe_video` says of the file, even if it ends early. Raises what that raises, and input.changed."""
        how = _named(file.path)
        known = self._known(VideoInfo, file, sha256, max_duration_s, how)
        return _opened(file, known) or self._keep(scope, file, sha256, max_duration_s, how, probe_video)

    def audio(
        self, scope: Scope, file: InputFile, sha256: str | None, max_duration_s: float, track: str = ""
    ) -> AudioInfo:
        """What `probe_audio` says of the file, even if it ends early. Raises what that raises, and input.changed."""
        how, probe = _named(file.path) + track, functools.partial(probe_audio, track=track)
        known = self._known(AudioInfo, file, sha256, max_duration_s, how)
        return _opened(file, known) or self._keep(scope, file, sha256, max_duration_s, how, probe)

    def _known(
        self, shape: type[Info], file: InputFile, sha256: str | None, max_duration_s: float, how: str
    ) -> Info | None:
        if sha256 is not None:
            return self._stored(shape, (shape, sha256, max_duration_s, how))
        info = self._unhashed.get((shape, FileStamp.of(file.fd), max_duration_s, how))
        return info if isinstance(info, shape) else None

    def _stored(self, shape: type[Info], key: _Key) -> Info | None:
        info = _kept(shape, self.store, key) if key not in self._doubted else None
        if info is not None:
            self._used.add(key)
        return info

    def _keep(
        self,
        scope: Scope,
        file: InputFile,
        sha256: str | None,
        max_duration_s: float,
        how: str,
        probe: Callable[..., Info],
    ) -> Info:
        """Probe the file, and keep what that says."""
        info = probe(scope, file, max_duration_s=max_duration_s, use_cut=True)
        file.check_unchanged(lambda: scope.alive("probe"))  # else the new content's probe would get the old one's key
        if sha256 is None:
            if len(self._unhashed) >= MAX_UNHASHED:
                self._unhashed.clear()
            self._unhashed[type(info), FileStamp.of(file.fd), max_duration_s, how] = info
            return info
        body = info.pts.astype("<i8").tobytes() if isinstance(info, VideoInfo) else b""
        if len(body) <= BODY_BYTES:
            self.store.put(KIND, probe_key(type(info), sha256, max_duration_s, how), _head(info), lambda: [body])
        return info


def _opened(file: InputFile, known: Info | None) -> Info | None:
    """The same; the file is read as the probe read it."""
    if known is not None:
        file.open_as(known.begin, known.demuxer)
    return known


def _named(path: Path) -> str:
    """What an input's name says of its content, where names can decide how it is read."""
    suffix = path.suffix.lower()
    return suffix if suffix in DEMUXERS or suffix in PICTURE_STREAMS else ""


def probe_key(shape: type, sha256: str, max_duration_s: float, how: str = "") -> str:
    """The store's key of a probe, made of all that its answer depends on. Raises DhError env.ffmpeg_*."""
    return key_of(
        {
            "format": FORMAT,
            "dh": __version__,
            "ffmpeg": ffmpeg_build(find_ffmpeg()),
            "what": shape.__name__,
            "content": sha256,
            "how": how,
            "max_duration_s": max_duration_s,  # refused is a header that gives more, even if it is wrong
        }
    )


def _kept(shape: type[Info], store: Store, key: _Key) -> Info | None:
    """What the store has; None where it has nothing, or what no probe can have said."""
    entry = store.get(KIND, probe_key(*key))
    if entry is None:
        return None
    with entry:
        try:
            info = _parsed(shape, entry)
        except (ValidationError, ValueError, EOFError, OSError):
            return None
    if isinstance(info, AudioInfo):
        return info if _is_sound(info, key[2]) else None
    return info if _is_video(info, key[2]) else None


def _parsed(shape: type[Info], entry: Entry) -> Info:
    """The entry as a dataclass. Raises ValueError where a field is wrong; EOFError and OSError as `Entry.body`."""
    if len(entry.head) > HEAD_BYTES or entry.size > BODY_BYTES:
        raise ValueError("larger than any entry that dh writes")
    head = FORMS[shape].model_validate_json(entry.head)
    fields = {name: getattr(head, name) for name in type(head).model_fields}
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
        and (info.louder is None or 0 <= info.louder < info.channels)
        and not info.warnings
        and _is_told(info)
    )


def _is_video(info: VideoInfo, max_duration_s: float) -> bool:
    """Whether a probe can have said this: values within their bounds, and no two that contradict each other."""
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
        and (info.as_header or info.tiled)
        and 0 < info.duration <= max_duration_s
        and _is_on_time(info)
        and _is_described(info)
        and _is_told(info)
    )


def _is_told(info: AudioInfo | VideoInfo) -> bool:
    named = info.demuxer == "" or info.demuxer in DEMUXERS.values()
    told = max(len(info.damage), len(info.cut)) <= TEXT_CHARS and named and 0 <= info.begin < FRONT_BYTES
    return told and (isinstance(info, AudioInfo) or _is_besides(info.besides))


def _is_besides(besides: Besides) -> bool:
    tracks = besides.subtitles
    return (
        len(tracks) <= MOST_SUBTITLES
        and all(0 <= one.index < STREAMS and _are_names(one.codec) for one in tracks)
        and all(one.language == "" or WORD.fullmatch(one.language) for one in tracks)
        and 0 <= besides.chapters <= INT32
        and len(besides.timecode) <= TEXT_CHARS
    )


def _are_names(*words: str) -> bool:
    return all(WORD.fullmatch(word) for word in words)


def _is_on_time(info: VideoInfo) -> bool:
    """Whether rate, duration and number of frames follow from the time stamps, by the rules of `probe_video`."""
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
    """Whether the frames' colours and the warnings follow from the first picture."""
    picture = Picture(info.pix_fmt, info.width, info.height, info.sar, info.interlaced, info.source_colour)
    remarks = unusual(picture, info.fps, vfr=info.vfr, interlaced=info.interlaced, alpha=info.alpha)
    return info.colour == delivered_colour(picture) and info.warnings == remarks


def _head(info: AudioInfo | VideoInfo) -> bytes:
    form = FORMS[type(info)]
    return form.model_construct(**{name: getattr(info, name) for name in form.model_fields}).model_dump_json().encode()
