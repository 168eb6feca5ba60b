"""What tells the contact sheets of dh from other JPEG files."""

from __future__ import annotations

MARK = b"dh contact sheet"
"""In a comment right at the beginning of the file."""
HEAD_BYTES = 64


def marked(jpeg: bytes) -> bytes:
    """The file with the mark; Annex B of ITU-T T.81 has the segments."""
    comment = b"\xff\xfe" + (len(MARK) + 2).to_bytes(2, "big") + MARK
    return jpeg[:2] + comment + jpeg[2:]


def is_ours(content: bytes) -> bool:
    """Whether a file that begins with these bytes has the mark."""
    return content[:4] == b"\xff\xd8\xff\xfe" and content[6:].startswith(MARK)
