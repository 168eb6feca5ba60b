"""Inputs from the web: an address is downloaded into the cache, once a run, and opened there.

Nothing but http and https is asked, also after a redirect. ffmpeg itself never gets an address.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dhcli import __version__
from dhcli.disk.folder import CacheFolder
from dhcli.disk.sections import DOWNLOAD, entries_of
from dhcli.errors import DhError, describe

SCHEMES = frozenset({"http", "https"})
ADDRESS = re.compile(
    r"(?:^|/)((?:https?|ftps?|s3|gs|rtmps?|rtsp|srt|udp|smb|data|file):/.*)", re.IGNORECASE | re.DOTALL
)
"""Finds an address that was read as a path: the current folder stands in front of it, and `//` has become `/`."""
BLOCK_BYTES = 1 << 18
MOST_BYTES, MOST_S = 4 << 30, 1800.0
"""Of one download."""
ANSWER_S = 15.0
"""For the connection, and for each piece of the answer."""
RESERVE_BYTES = 256 << 20
"""Stay free on the cache's disk."""


class OnlyWeb(urllib.request.HTTPRedirectHandler):
    """Redirects to http and https alone; urllib itself would follow one to ftp."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urllib.parse.urlsplit(newurl).scheme not in SCHEMES:
            fp.close()
            raise urllib.error.URLError(f"it leads to {newurl}, which is not http or https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def web_opener() -> urllib.request.OpenerDirector:
    """For the web alone, by the proxies of the environment."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        OnlyWeb(),
    ):
        opener.add_handler(handler)
    return opener


def address_of(path: Path) -> str:
    """The address that a path was read from; "" where it is none."""
    found = ADDRESS.search(str(path))
    return found[1].replace(":/", "://", 1) if found else ""


def public_name(address: str) -> str:
    """For messages and results: without user, password, query and fragment, which may be secret."""
    parts = urllib.parse.urlsplit(address)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"


@dataclass(frozen=True, slots=True)
class Download:
    """A file that came from the web."""

    fd: int
    """Open for reading; whoever takes it closes it."""
    name: str
    """Its address for messages."""


class Web:
    """Downloads inputs. For one thread."""

    def __init__(
        self, cache: CacheFolder, answer_s: float = ANSWER_S, most_bytes: int = MOST_BYTES, most_s: float = MOST_S
    ) -> None:
        """`answer_s`: how long the server may be silent, s. `most_s`: longest time of one download, s."""
        self._cache, self._answer_s = cache, answer_s
        self._most_bytes, self._most_s = most_bytes, most_s
        self._here: set[str] = set()
        """Addresses that this run has downloaded."""

    def get(self, path: Path, role: str, alive: Callable[[], None]) -> Download | None:
        """The file at the address that a path was read from; None where that is no address of the web.

        `role` begins every message. `alive` is called for every piece, and may raise.
        Raises DhError input.missing, input.unreachable, input.too_large, input.unreadable, input.empty.
        """
        address = address_of(path)
        if urllib.parse.urlsplit(address).scheme.lower() not in SCHEMES:
            return None
        try:
            name = public_name(address)
        except ValueError as error:
            raise DhError("input.missing", f"{role} {path}: {error}.", hint="Correct the address.") from error
        subject, key = f"{role} {name}", hashlib.sha256(address.encode("utf-8", "surrogateescape")).hexdigest()
        if key in self._here and (fd := self._opened(key)) is not None:
            return Download(fd, name)
        try:
            self._fetch(address, key, subject, alive)
        except OSError as error:
            hint = "Name a folder that can be written: --cache-dir."
            raise DhError("input.unreadable", f"{subject}: cannot be kept: {describe(error)}.", hint=hint) from error
        self._here.add(key)
        if (fd := self._opened(key)) is None:
            raise DhError("input.empty", f"{subject}: has no bytes.", hint="Look at the address.")
        return Download(fd, name)

    def _opened(self, key: str) -> int | None:
        try:
            return self._cache.open(entries_of(DOWNLOAD), key, 0, used=True).fd
        except OSError:  # removed meanwhile: it is downloaded again
            return None

    def _fetch(self, address: str, key: str, subject: str, alive: Callable[[], None]) -> None:
        """Download into the cache. Raises DhError input.*, OSError of the cache's disk, and what `alive` raises."""
        try:
            url = urllib.parse.quote(address, safe="%/:=&?~#+!$,;'@()*[]")
            headers = {"User-Agent": f"dh/{__version__}", "Accept-Encoding": "identity"}
            request = urllib.request.Request(url, headers=headers)  # noqa: S310 - `get` lets only the web pass
            answer = web_opener().open(request, timeout=self._answer_s)
        except urllib.error.HTTPError as error:
            error.close()  # it holds the connection
            raise _refused(subject, error) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(getattr(error, "reason", None), str):  # the address itself is wrong, or leads astray
                raise DhError("input.missing", f"{subject}: {_reason(error)}.", hint="Look at the address.") from error
            raise _unreachable(subject, f"no answer ({_reason(error)})") from error
        with answer:
            self._keep(answer, key, subject, alive)

    def _keep(self, answer: Any, key: str, subject: str, alive: Callable[[], None]) -> None:
        stated = answer.headers.get("Content-Length", "")
        total = int(stated) if stated.isdecimal() else None
        if total is not None and total > self._most_bytes:
            raise self._too_large(subject, total)
        began_s, done = time.monotonic(), 0
        with self._cache.new_file(entries_of(DOWNLOAD), RESERVE_BYTES + (total or 0)) as file:
            while block := _read(answer, subject, done):
                done += len(block)
                if done > self._most_bytes:
                    raise self._too_large(subject, done)
                if time.monotonic() - began_s > self._most_s:
                    raise _unreachable(subject, f"{done} bytes came within {self._most_s:g} s, and it is not all")
                file.write(block)
                alive()
            if total is not None and done < total:
                raise _unreachable(subject, f"the connection broke off at {done} of {total} bytes")
            file.put(key)

    def _too_large(self, subject: str, size: int) -> DhError:
        found = f"{subject}: {size} bytes or more are too many; a download has at most {self._most_bytes}."
        return DhError("input.too_large", found, hint="Download it yourself, and give the path of the file.")


def _read(answer: Any, subject: str, done: int) -> bytes:
    try:
        block: bytes = answer.read1(BLOCK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(subject, f"the connection broke off at {done} bytes ({_reason(error)})") from error
    return block


def _refused(subject: str, error: urllib.error.HTTPError) -> DhError:
    found = f"the server answered {error.code} {error.reason}"
    if error.code >= http.client.INTERNAL_SERVER_ERROR or error.code == http.client.TOO_MANY_REQUESTS:
        return _unreachable(subject, found)
    return DhError("input.missing", f"{subject}: {found}.", hint="Look at the address.")


def _unreachable(subject: str, found: str) -> DhError:
    return DhError("input.unreachable", f"{subject}: {found}.", hint="Look at the network and the server.")


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return describe(reason) if isinstance(reason, Exception) else str(reason)
