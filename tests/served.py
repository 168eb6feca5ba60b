"""Servers of the tests' own, in a thread, asked without a proxy."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator
from http.server import HTTPServer
from typing import TypeVar

import pytest

Server = TypeVar("Server", bound=HTTPServer)


@contextlib.contextmanager
def served(monkeypatch: pytest.MonkeyPatch, server: Server) -> Iterator[Server]:
    """The server, at work during the block."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with server as one:
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield one
        one.shutdown()
        thread.join()
    gc.collect()  # a connection that was not closed is told in the test that left it
