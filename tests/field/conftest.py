"""The same tools as the tests of single readers."""

from __future__ import annotations

from media.conftest import audio, clip, decode, listen, make, scope, video

__all__ = ["audio", "clip", "decode", "listen", "make", "scope", "video"]
