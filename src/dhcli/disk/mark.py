"""Whose a folder is: the cache's own, or a user's. All functions take descriptors of open folders.

A folder is the cache's where it carries dh's CACHEDIR.TAG, which also keeps it out of backups; where it is empty; or
where a file in it proves that a dh which made no tags used it.
"""

from __future__ import annotations

import contextlib
import os

from dhcli.disk.regular import open_regular
from dhcli.disk.sections import HASHES, STORE, begins, below, closing, files_in, names_in, rooms_in

TAG = "CACHEDIR.TAG"
TAG_BEGIN = b"Signature: 8a477f597d28d172789f06886806bc55\n# The cache of dh, "
"""The signature is that of https://bford.info/cachedir/; the words behind it tell dh's caches from all others."""
TAG_TEXT = TAG_BEGIN + b"which makes anew what is missing: no backup needs it, and 'dh cache clear' empties it.\n"
NO_STRANGERS = frozenset({"lost+found"})
"""Made by the file system, where the folder is a whole disk."""


def is_tagged(root: int) -> bool:
    return begins(root, TAG, TAG_BEGIN)


def is_ours(root: int) -> bool:
    """Whether a folder without dh's tag is the cache of a dh that made none, which one file proves, or empty."""
    for room in rooms_in(root):
        with closing(below(root, room.path)) as folder:
            if any(begins(folder, found.name, room.begin) for found in files_in(folder, room)):
                return True
    return _is_bare(root)


def _is_bare(root: int) -> bool:
    """Whether there is nothing in a folder, or only the folders that an emptied cache keeps."""
    if not all(name in {TAG, STORE, *NO_STRANGERS} for name in names_in(root)):
        return False
    try:
        with closing(below(root, (STORE,))) as store:
            return all(_is_empty_folder(store, kind) for kind in names_in(store))
    except FileNotFoundError:
        return True
    except OSError:  # a link, or a file: the user's
        return False


def _is_empty_folder(outer: int, name: str) -> bool:
    with closing(below(outer, (name,))) as folder:
        return not any(names_in(folder))


def has_strangers(root: int) -> bool:
    """Whether something in the folder is not dh's, by its name."""
    known = {STORE, *NO_STRANGERS, *({TAG} if _is_half_tag(root) else ())}
    return not all(name in known or HASHES.holds(name) for name in names_in(root))


def _is_half_tag(root: int) -> bool:
    """Another process is just writing dh's tag, or was killed while it did."""
    with contextlib.suppress(OSError), closing(open_regular(TAG, follow=False, within=root)) as fd:
        return TAG_TEXT.startswith(os.pread(fd, len(TAG_TEXT) + 1, 0))
    return False


def mark(root: int) -> None:
    """Write dh's tag. Raises OSError."""
    with closing(os.open(TAG, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=root)) as fd:
        os.pwrite(fd, TAG_TEXT, 0)  # the same bytes for every process that comes here at once
