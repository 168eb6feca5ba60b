"""Whether a folder is dh's cache or a user's own folder. All functions take descriptors of open folders.

It is the cache where it has dh's CACHEDIR.TAG, which also keeps it out of backups; where it is empty; or where it has a
cache file of an older dh, which made no tags.
"""

from __future__ import annotations

import contextlib
import os

from dhcli.disk.regular import open_regular
from dhcli.disk.sections import HASHES, STORE, begins, below, closing, files_in, names_in, sections_in

TAG = "CACHEDIR.TAG"
TAG_BEGIN = b"Signature: 8a477f597d28d172789f06886806bc55\n# The cache of dh, "
"""The signature is that of https://bford.info/cachedir/; the words behind it mark the cache as dh's."""
TAG_TEXT = TAG_BEGIN + b"which makes anew what is missing: no backup needs it, and 'dh cache clear' empties it.\n"
SYSTEM_NAMES = frozenset({"lost+found"})
"""Folders that a file system makes in its root."""


def is_tagged(root: int) -> bool:
    return begins(root, TAG, TAG_BEGIN)


def is_ours(root: int) -> bool:
    """Whether a folder without dh's tag is empty, or the cache of an older dh, which one cache file proves."""
    for section in sections_in(root):
        with closing(below(root, section.path)) as folder:
            if any(begins(folder, file.name, section.begin) for file in files_in(folder, section)):
                return True
    return _is_bare(root)


def _is_bare(root: int) -> bool:
    """Whether a folder is empty, but for the folders that an emptied cache keeps."""
    if not all(name in {TAG, STORE, *SYSTEM_NAMES} for name in names_in(root)):
        return False
    try:
        with closing(below(root, (STORE,))) as store:
            return all(_is_empty_folder(store, kind) for kind in names_in(store))
    except FileNotFoundError:
        return True
    except OSError:  # a link or a file, which is the user's
        return False


def _is_empty_folder(outer: int, name: str) -> bool:
    with closing(below(outer, (name,))) as folder:
        return not any(names_in(folder))


def has_foreign_files(root: int) -> bool:
    """Whether some name in the folder is none of dh's."""
    known = {STORE, *SYSTEM_NAMES, *({TAG} if _is_half_tag(root) else ())}
    return not all(name in known or HASHES.holds(name) for name in names_in(root))


def _is_half_tag(root: int) -> bool:
    """Whether the tag holds only a part of dh's: another process is writing it, or was killed meanwhile."""
    with contextlib.suppress(OSError), closing(open_regular(TAG, follow=False, within=root)) as fd:
        return TAG_TEXT.startswith(os.pread(fd, len(TAG_TEXT) + 1, 0))
    return False


def mark(root: int) -> None:
    """Write dh's tag. Raises OSError."""
    with closing(os.open(TAG, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=root)) as fd:
        os.pwrite(fd, TAG_TEXT, 0)  # several processes at once write the same bytes
