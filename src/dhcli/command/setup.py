"""From the values of flags to the objects that a run takes: models, caches, the limit of failures, the refusal."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dhcli.command.choices import FacePrecision
from dhcli.command.entry import as_bug, refused
from dhcli.command.streams import say
from dhcli.errors import WARNINGS, DhError, WarningCode, checked_warning
from dhcli.events import Listener

if TYPE_CHECKING:
    from dhcli.disk.hashes import HashCache
    from dhcli.media.web import Web
    from dhcli.render.models import Models
    from dhcli.render.probes import Probes
    from dhcli.runs.retry import FailureLimit

WARNINGS_OF_RUNS: frozenset[WarningCode] = frozenset(
    {"run.stopped", "result.lost", "events.lost", "report.lost", "on_finish.failed"}
)
"""Those that come after the jobs, or around them: they can make no job fail."""


@contextlib.contextmanager
def refusal_event(listener: Listener, began: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Emit a `refused` event for an error that leaves the block, then let the error go on.

    So programs that read --json, and the reports, learn of a run that cannot start or that a bug ends. Ctrl-C is one
    line on stderr instead; `began` says whether the run had started by then. Wrong usage and the ordinary end of a
    call (typer.Exit) are no refusals.
    """
    try:
        yield
    except KeyboardInterrupt:
        say(["dh: interrupted" if began() else "dh: interrupted; nothing was done"])
        raise
    except DhError as error:
        listener(refused(error))
        raise
    except (typer.Exit, typer.TyperException):
        raise
    except Exception as error:
        listener(refused(as_bug(error)))
        raise


def verbosity(*, quiet: bool = False, verbose: int = 0, for_programs: bool = False) -> int:
    """How much people are told: -1 trouble only, 0 every job, 1 and more its parts. Ends with usage for -q with -v.

    `for_programs`: a program reads the events, so that people need not be told the same, unless -v asks for it.
    """
    from dhcli.command.selection import usage

    if quiet and verbose:
        usage("give --quiet or --verbose, not both")
    return -1 if quiet or (for_programs and not verbose) else verbose


def failure_limit(text: str | None, *, fail_fast: bool) -> FailureLimit | None:
    """The limit that --max-failures or --fail-fast sets; None without one. Ends with usage where both are given."""
    from dhcli.command.selection import usage
    from dhcli.runs.retry import FailureLimit, parse_failure_limit

    if fail_fast and text is not None:
        usage("give --fail-fast or --max-failures, not both")
    if fail_fast:
        return FailureLimit(1)
    try:
        return parse_failure_limit(text) if text is not None else None
    except ValueError as error:
        usage(f"--max-failures {text}: expected {error}")


def strict_warnings(text: str | None) -> frozenset[WarningCode]:
    """The codes that --strict names. Ends with usage where one of them is no warning of a job."""
    from dhcli.command.selection import usage

    known = [code for code in WARNINGS if code not in WARNINGS_OF_RUNS]
    chosen = set[WarningCode]()
    for name in text.split(",") if text is not None else ():
        if (code := name.strip()) not in known:
            near = difflib.get_close_matches(code, known, 1)
            usage(
                f"--strict {text}: no warning of a job is '{code}'" + (f"; did you mean '{near[0]}'?" if near else "")
            )
        chosen.add(checked_warning(code))
    return frozenset(chosen)


def chosen_models(
    folders: Sequence[Path] | None, device: str, threads: int = 0, precision: FacePrecision = FacePrecision.auto
) -> Models:
    """The models that a run may open, on the device of --device; `threads` 0 leaves their number to dh."""
    from dhcli.command.selection import chosen_device
    from dhcli.render.models import Models

    return Models(folders or (), chosen_device(device, precision.value), threads, precision.value)


def open_caches(
    folder: Path | None, limit_bytes: int, stall_timeout_s: float = 60.0, *, wanted: bool = True
) -> tuple[HashCache, Probes]:
    """The cached hashes and probes of `folder`, by default of the user's cache folder; empty ones unless `wanted`.

    With a `limit_bytes` of 0, cached probes are read and no new ones are written.
    """
    from dhcli.disk.folder import CacheFolder
    from dhcli.disk.hashes import HashCache, cache_folder
    from dhcli.disk.patience import PATIENCE_S
    from dhcli.disk.store import Store
    from dhcli.render.probes import Probes

    if not wanted:
        return HashCache(), Probes()
    # A cache whose disk does not answer must be given up long before the job that asks it counts as stalled.
    place = CacheFolder(cache_folder(folder), min(PATIENCE_S, stall_timeout_s / 4))
    return HashCache(place), Probes(Store(place, limit_bytes))


def open_web(folder: Path | None, stall_timeout_s: float = 60.0, *, cached: bool) -> Web:
    """What downloads inputs into the cache folder. Ends with usage where there is none, or it is not wanted."""
    from dhcli.command.selection import usage
    from dhcli.disk.folder import NO_FOLDER, CacheFolder
    from dhcli.disk.hashes import cache_folder
    from dhcli.media.web import ANSWER_S, Web

    place = cache_folder(folder)
    if not cached or place is None:
        usage("--allow-net downloads into the cache: " + (NO_FOLDER if cached else "leave out --no-cache"))
    return Web(CacheFolder(place), min(ANSWER_S, stall_timeout_s / 2))
