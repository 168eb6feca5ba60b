"""The verbs `dh cache info` and `dh cache clear`.

They count and remove only files that dh made, in a folder that dh marked as its cache.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from dhcli.command.flags import SHOW, CacheDir, CacheSize
from dhcli.command.streams import answer, say
from dhcli.command.verb import App
from dhcli.command.wording import count
from dhcli.errors import OK, RESULTS_LOST, DhError, describe

cache_app = App(help="What dh keeps so as not to do it twice.")
AsJson = Annotated[
    bool, typer.Option("--json", metavar="", help="The same as one JSON object on stdout.", rich_help_panel=SHOW)
]


@cache_app.command("info")
def cache_info(cache_dir: CacheDir = None, cache_size: CacheSize = 2048, json_: AsJson = False) -> None:
    """Where the cache is, and how much of what is in it."""
    from dhcli.disk.folder import CacheFolder
    from dhcli.disk.hashes import cache_folder

    folder = cache_folder(cache_dir)
    try:
        shares = CacheFolder(folder).shares()
    except OSError as error:
        raise _failed(folder, "looked at", error) from error
    total = sum(share.bytes for share in shares.values())
    if json_:
        kinds = {kind: {"entries": share.entries, "bytes": share.bytes} for kind, share in shares.items()}
        where = None if folder is None else str(folder.absolute())
        answer([json.dumps({"folder": where, "kinds": kinds, "bytes": total, "limit_bytes": cache_size << 20})])
        return
    answer([f"folder  {_place(folder)}"])
    answer(f"{kind:7} {count(share.entries, 'file'):>13} {_mib(share.bytes):>12}" for kind, share in shares.items())
    answer([f"all     {_mib(total):>26} of {cache_size} MiB"])


@cache_app.command("clear")
def cache_clear(cache_dir: CacheDir = None) -> None:
    """Remove all that dh keeps; the next runs read, probe and analyse their inputs anew."""
    from dhcli.disk.folder import CacheFolder
    from dhcli.disk.hashes import cache_folder

    folder = cache_folder(cache_dir)
    if folder is None:
        raise typer.Exit(OK)
    try:
        cleared = CacheFolder(folder).clear()
    except OSError as error:
        raise _failed(folder, "emptied", error) from error
    answer([f"{count(cleared.entries, 'file')} removed, {_mib(cleared.bytes)} freed in {folder}"])


def _failed(folder: Path | None, what: str, error: OSError) -> Exception:
    """The exception to raise for an OSError of the cache folder; the message is printed here if it is typer's."""
    if isinstance(error, TimeoutError):
        hint = "Look at that disk, or at the network that it is reached by."
        return DhError("stalled", f"The cache in {folder} could not be {what}: {error}.", hint=hint)
    say([f"dh: the cache in {folder} could not be {what}: {describe(error)}"])
    return typer.Exit(RESULTS_LOST)


def _place(folder: Path | None) -> str:
    if folder is None:
        return "none: there is no home and no DH_CACHE_DIR"
    return f"{folder.absolute()}{'' if folder.exists() else ' (not there yet)'}"


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
