"""Opens an input: what its container says of itself, and which of its streams is used."""

from __future__ import annotations

from collections.abc import Sequence

from dhcli.media.containers.extent import DEMUXERS, find_beginning
from dhcli.media.ffmpeg import base_argv, input_argv, lines_of, running
from dhcli.media.ffmpeg_errors import open_error, refuse_interrupted
from dhcli.media.heard import DESCRIPTION_LINES
from dhcli.media.input_file import InputFile
from dhcli.media.listing import Listing, Stream, parse_listing
from dhcli.runtime.child import Command
from dhcli.runtime.scope import Scope

LANGUAGES = {
    "ar": ("ara",),
    "cs": ("ces", "cze"),
    "da": ("dan",),
    "de": ("deu", "ger"),
    "en": ("eng",),
    "es": ("spa",),
    "fi": ("fin",),
    "fr": ("fra", "fre"),
    "hi": ("hin",),
    "it": ("ita",),
    "ja": ("jpn",),
    "ko": ("kor",),
    "nl": ("nld", "dut"),
    "no": ("nor", "nob", "nno"),
    "pl": ("pol",),
    "pt": ("por",),
    "ru": ("rus",),
    "sv": ("swe",),
    "tr": ("tur",),
    "uk": ("ukr",),
    "zh": ("zho", "chi"),
}
"""Files have three letters, of which some languages have two kinds (ISO 639-2); people write two (639-1)."""


def list_streams(scope: Scope, file: InputFile) -> Listing:
    """What the file says of itself. One that does not open is tried without the rubbish in front, and by its name."""
    listing, lines = _listed(scope, file)
    if listing is not None:
        return listing
    try:
        begin = find_beginning(file.fd)
    except OSError as error:
        raise file.error("input.unreadable", f"reading failed: {error.strerror}", hint="Check the disk.") from error
    named = DEMUXERS.get(file.path.suffix.lower(), "")
    for opening in filter(any, ((begin, ""), (0, named))):
        file.open_as(*opening)
        listing, _ = _listed(scope, file)
        if listing is not None and listing.streams:
            return listing
    file.open_as(0, "")
    raise open_error(file, lines[-20:])


def _named(file: InputFile, streams: Sequence[Stream], track: str) -> tuple[Stream, ...]:
    if track.isdigit():
        chosen = streams[int(track) - 1 : int(track)] if int(track) else []
    else:
        wanted = LANGUAGES.get(track.lower(), (track.lower(),))
        chosen = [stream for stream in streams if stream.language.partition("-")[0] in wanted]
    if chosen:
        return tuple(chosen)
    there = ", ".join(f"{number} {one.language or 'no language'}" for number, one in enumerate(streams, 1))
    finding = f"has no sound track {track!r} (tracks: {there})"
    raise file.error("input.no_audio", finding, hint="Set audio_track to one of them, by its number or language.")


def _listed(scope: Scope, file: InputFile) -> tuple[Listing | None, list[str]]:
    # Without an output ffmpeg describes the input and ends with an error code, which is expected.
    argv = [*base_argv("info"), *input_argv(file)]
    with running(scope, "probe", Command(argv, file.pass_fds, keep_lines=DESCRIPTION_LINES)) as child:
        for _ in lines_of(child):
            pass
        code = child.wait()
        scope.check()
        lines = child.tail(DESCRIPTION_LINES)
        refuse_interrupted(file, code, lines)
    return parse_listing(lines), lines


def choose_stream(file: InputFile, listing: Listing, kind: str, track: str = "") -> Stream:
    """The stream to use: the default one, or the sound that `track` names: its number, from 1, or its language.

    Raises DhError input.no_video, input.no_audio, input.unsupported.
    """
    streams = listing.of_kind(kind)
    if track and streams:
        streams = _named(file, sorted(streams, key=lambda stream: stream.index), track)
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
