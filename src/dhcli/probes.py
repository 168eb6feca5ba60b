"""What probing found out about an input, kept by the hash of its content: an input that is known starts no ffmpeg.

Refusals are not kept: they are found anew each time. How an input is looked at is not known here.
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
from dhcli.media.ffmpeg import InputFile, ffmpeg_build, find_ffmpeg
from dhcli.media.info import AudioInfo, VideoInfo
from dhcli.media.probe import probe_audio, probe_video
from dhcli.runtime.scope import Scope

KIND = "probe"
FORMAT = 2
"""Raised where probing finds something else in the same file; a new version of dh asks anew in any case."""
RECENT, RECENT_FRAMES = 1024, 4096
"""Probes kept in memory, and the frames of the longest video among them: 32 MiB at most."""
RATIO = re.compile(r"-?[0-9]{1,30}(/0*[1-9][0-9]{0,29})?")
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

    def knows(self, video_sha256: str | None, audio_sha256: str | None, max_duration_s: float) -> bool:
        """Whether neither input need be looked at."""
        if video_sha256 is None or audio_sha256 is None:
            return False
        video, audio = (VideoInfo, video_sha256, max_duration_s), (AudioInfo, audio_sha256, max_duration_s)
        return self._known(VideoInfo, video) is not None and self._known(AudioInfo, audio) is not None

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
        if known is None and not asked[1].startswith(PLACE):
            known = _kept(shape, self.store, probe_key(*asked))
        if known is not None:
            self._remember(asked, known)
        return known

    def _keep(self, scope: Scope, asked: _Asked, file: InputFile, found: AudioInfo | VideoInfo, body: bytes) -> None:
        # Else what another content gave would stand under the hash of the first one.
        file.check_unchanged(lambda: scope.alive("probe"))
        if not asked[1].startswith(PLACE):
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


def _kept(shape: type[Info], store: Store, key: str) -> Info | None:
    """What the store has, or None where that is nothing that a probe can have said."""
    entry = store.get(KIND, key)
    if entry is None:
        return None
    with entry:
        try:
            return _parsed(shape, entry)
        except (ValidationError, ValueError, EOFError):
            return None


def _parsed(shape: type[Info], entry: Entry) -> Info | None:
    told = FORMS[shape].model_validate_json(entry.head)
    fields = {name: getattr(told, name) for name in type(told).model_fields}
    positive = ("sample_rate", "samples", "width", "height", "frames", "fps", "duration", "sar", "time_base")
    if any(fields[name] <= 0 for name in positive if name in fields) or fields["index"] < 0:
        return None
    if shape is VideoInfo:
        fields[ARRAY] = pts = np.frombuffer(entry.body(), "<i8").astype(np.int64)
        if not len(pts) or (np.diff(pts) < 0).any():
            return None
    return shape(**fields)


def _head(info: AudioInfo | VideoInfo) -> bytes:
    form = FORMS[type(info)]
    return form.model_construct(**{name: getattr(info, name) for name in form.model_fields}).model_dump_json().encode()
