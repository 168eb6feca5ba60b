"""A file over http or https whose hash is known: it goes on where an earlier try ended, and is nothing else then."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from dhcli import __version__
from dhcli.errors import DhError, describe
from dhcli.install.content import HEAD_BYTES, other_content, refuse_large
from dhcli.install.staging import FULL, OnBytes, unwritable
from dhcli.media.web import SCHEMES, web_opener

TIMEOUT_S = 30.0
"""For the connection, and for each piece of the answer."""
TRIES = 5
"""Connections in a row that may give nothing."""
BLOCK_BYTES = 1 << 18
PART = ".part"
WEB = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
RANGE = re.compile(r"bytes ([0-9]+)-[0-9]+/(?:[0-9]+|\*)")
AGAIN = "Start the same command again: it goes on where it ended."
LOOK = "Look at the address."
KEPT = "/%:@!$&'()*+,;=~?"
"""Characters beside letters and digits that path and query may have as they are (RFC 3986, section 3.3)."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a file is, and the hash it has to have."""

    url: str
    sha256: str

    @classmethod
    def of(cls, text: str, sha256: str) -> Address:
        """As people write it: letters and spaces of any kind are escaped. Raises DhError model.missing."""
        try:
            parts = urllib.parse.urlsplit(text)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise _unusable(text, str(error)) from error
        if parts.scheme not in SCHEMES:
            raise _unusable(text, "it is neither http nor https")
        if not host:
            raise _unusable(text, "it names no server")
        if parts.username is not None:
            raise _unusable(f"{parts.scheme}://…@{host}", "it has a user's name, and none is sent")
        path, query = (urllib.parse.quote(one, safe=KEPT) for one in (parts.path, parts.query))
        return cls(urllib.parse.urlunsplit((parts.scheme, parts.netloc, path, query, "")), sha256)

    @property
    def name(self) -> str:
        """For messages: host and path, without a password."""
        parts = urllib.parse.urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}{parts.path}"


def is_url(text: str) -> bool:
    """Whether it names something on a network, and no file."""
    return WEB.match(text) is not None


def fetched(address: Address, folder: Path, on_bytes: OnBytes) -> Path:
    """The file at an address, in `folder` under its hash. An unfinished one stays there for the next try.

    Raises DhError model.missing where it cannot be fetched, model.corrupt where it is another file,
    model.incompatible where it is too large, env.disk_full.
    """
    path = folder / f"{address.sha256}{PART}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(path, address) as file:
            _fill(file, address, on_bytes)
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def _fill(file: BinaryIO, address: Address, on_bytes: OnBytes) -> None:
    """Fetch until the file has the wanted hash. Raises DhError as `fetched` does, and OSError."""
    idle = 0
    while not _is_whole(file, address):
        before = os.fstat(file.fileno()).st_size
        try:
            ended = _connected(address, file, on_bytes)
        except DhError as error:
            if error.code == "model.incompatible":  # too large: nothing of it is of use
                file.truncate(0)
            raise
        after = os.fstat(file.fileno()).st_size
        if ended is None and not _is_whole(file, address):
            other = _another(file, address)
            if not before:
                raise other
            ended = other.message  # what was here before may have been another file's: once more from the start
        idle = 0 if after > before and ended is not None else idle + 1
        if ended is not None and idle == TRIES:
            raise DhError("model.missing", f"{address.name}: {ended}.", hint=AGAIN)


@contextlib.contextmanager
def _locked(path: Path, address: Address) -> Iterator[BinaryIO]:
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DhError("model.missing", f"{address.name}: another dh fetches it now.", hint="Try later.") from error
        yield file


def _connected(address: Address, file: BinaryIO, on_bytes: OnBytes) -> str | None:
    """Fetch what is lacking over one connection: None at the end of the file, else why it broke off."""
    done = file.seek(0, os.SEEK_END)
    headers = {"User-Agent": f"dh/{__version__}", "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    request = urllib.request.Request(address.url, headers=headers)  # noqa: S310 - `Address` is http or https
    try:
        with web_opener().open(request, timeout=TIMEOUT_S) as answer:
            if done and not _goes_on(answer, done):
                file.truncate(0)  # a server without Range begins anew
                done = 0
            stated = answer.headers.get("Content-Length", "")
            total = done + int(stated) if stated.isdecimal() else None
            refuse_large(address.name, total or 0)
            while block := answer.read(BLOCK_BYTES):
                done += len(block)
                refuse_large(address.name, done)
                file.write(block)
                on_bytes(address.name, done, total)
            file.flush()
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and done:
            file.truncate(0)  # it has no more, and what is here is not what is wanted
            return "it is shorter than what was fetched earlier"
        if error.code >= http.client.INTERNAL_SERVER_ERROR:
            return f"the server answered {error.code} {error.reason}"
        raise _refused(address, f"the server answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, str):
            raise _refused(address, error.reason) from error
        return f"no connection ({describe(error.reason)})"
    except http.client.InvalidURL as error:
        raise _refused(address, str(error)) from error
    except (http.client.HTTPException, OSError) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        file.flush()
        return f"the connection broke off at {done} bytes ({describe(error)})"
    if total is not None and done < total:
        return f"the connection broke off at {done} of {total} bytes"
    return None


def _goes_on(answer: Any, done: int) -> bool:
    """Whether the answer begins where the file ends."""
    found = RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    return answer.status == http.client.PARTIAL_CONTENT and found is not None and int(found[1]) == done


def _is_whole(file: BinaryIO, address: Address) -> bool:
    return _sha256(file) == address.sha256


def _sha256(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def _another(file: BinaryIO, address: Address) -> DhError:
    """What came is another file: it does not stay, since nothing can be added to it."""
    file.seek(0)
    head, size = file.read(HEAD_BYTES), file.seek(0, os.SEEK_END)
    found = _sha256(file)
    file.truncate(0)
    other = other_content(head)
    return DhError(
        "model.corrupt",
        f"{address.name}: its SHA-256 is {found}, not {address.sha256} ({size} bytes){f'; {other}' if other else ''}.",
        hint="Look at the address, and at where the hash comes from.",
    )


def _unusable(text: str, found: str) -> DhError:
    return DhError("model.missing", f"{text}: no address that a file is fetched from: {found}.", hint=LOOK)


def _refused(address: Address, found: str) -> DhError:
    return DhError("model.missing", f"{address.name}: {found}.", hint=LOOK)
