"""Opens an input: what its container says of itself, and which of its streams is used."""

from __future__ import annotations

from dhcli.media.containers.extent import DEMUXERS, find_beginning
from dhcli.media.ffmpeg import base_argv, input_argv, lines_of, running
from dhcli.media.ffmpeg_errors import open_error, refuse_interrupted
from dhcli.media.heard import DESCRIPTION_LINES
from dhcli.media.input_file import InputFile
from dhcli.media.listing import Listing, Stream, parse_listing
from dhcli.runtime.child import Command
from dhcli.runtime.scope import Scope


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


def choose_stream(file: InputFile, listing: Listing, kind: str) -> Stream:
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
