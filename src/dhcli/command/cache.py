"""The verbs below `dh cache`: what the cache folder holds, and how to empty it.

Only files that dh knows as its own are counted or removed: the folder may be anybody's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from dhcli.command.flags import SHOW, CacheDir, CacheSize
from dhcli.command.streams import answer, say
from dhcli.command.wording import count
from dhcli.errors import OK, RESULTS_LOST, describe

cache_app = typer.Typer(help="What dh keeps so as not to do it twice.")
AsJson = Annotated[
    bool, typer.Option("--json", metavar="", help="The same as one JSON object on stdout.", rich_help_panel=SHOW)
]
HASHES = "hash"
"""The kind of the one file that holds the hashes of inputs."""


@cache_app.command("info")
def cache_info(cache_dir: CacheDir = None, cache_size: CacheSize = 2048, json_: AsJson = False) -> None:
    """Where the cache is, and how much of what is in it."""
    from dhcli.disk.hashes import cache_folder

    folder = cache_folder(cache_dir)
    try:
        kinds = _kinds(folder)
    except OSError as error:
        raise _failed(folder, "looked at", error) from error
    total = sum(taken for _, taken in kinds.values())
    if json_:
        shares = {kind: {"entries": entries, "bytes": taken} for kind, (entries, taken) in kinds.items()}
        where = None if folder is None else str(folder.absolute())
        answer([json.dumps({"folder": where, "kinds": shares, "bytes": total, "limit_bytes": cache_size << 20})])
        return
    answer([f"folder  {_place(folder)}"])
    answer(f"{kind:7} {count(entries, 'file'):>13} {_mib(taken):>12}" for kind, (entries, taken) in kinds.items())
    answer([f"all     {_mib(total):>26} of {cache_size} MiB"])


@cache_app.command("clear")
def cache_clear(cache_dir: CacheDir = None) -> None:
    """Remove all that dh keeps; the next runs read, probe and analyse their inputs anew."""
    from dhcli.disk.hashes import cache_folder, hash_files
    from dhcli.disk.store import Store, room

    folder = cache_folder(cache_dir)
    if folder is None:
        raise typer.Exit(OK)
    try:
        cleared = Store(folder).clear()
        files, taken = cleared.entries, cleared.bytes
        for path, found in hash_files(folder):
            taken, files = taken + room(found.st_size), files + 1
            path.unlink(missing_ok=True)
    except OSError as error:
        raise _failed(folder, "emptied", error) from error
    answer([f"{count(files, 'file')} removed, {_mib(taken)} freed in {folder}"])


def _failed(folder: Path | None, what: str, error: OSError) -> typer.Exit:
    """The end of a verb that the folder did not let do its work, once that is said."""
    say([f"dh: the cache in {folder} could not be {what}: {describe(error)}"])
    return typer.Exit(RESULTS_LOST)


def _kinds(folder: Path | None) -> dict[str, tuple[int, int]]:
    """Files and bytes of each kind. Raises OSError where nobody may look."""
    from dhcli.disk.hashes import hash_files
    from dhcli.disk.store import Store, room

    if folder is None:
        return {}
    shares = {kind: (share.entries, share.bytes) for kind, share in Store(folder).shares().items()}
    sizes = [room(found.st_size) for _, found in hash_files(folder)]
    return {HASHES: (len(sizes), sum(sizes)), **shares} if sizes else shares


def _place(folder: Path | None) -> str:
    if folder is None:
        return "none: there is no home and no DH_CACHE_DIR"
    found = "" if folder.is_dir() else " (no folder, though there is a file)" if folder.exists() else " (not there yet)"
    return f"{folder.absolute()}{found}"


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
