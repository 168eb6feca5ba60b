"""What goes into a pipe comes out of it, though it is lent: whatever becomes of the memory of those who sent it."""

from __future__ import annotations

import fcntl
import os
import platform
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from dhcli.runtime.feed import LEAST_BYTES, Feed
from dhcli.types import U8

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no such call")

ROOM = 1 << 18
SIZES = (6, LEAST_BYTES - 1, LEAST_BYTES, LEAST_BYTES + 1, 180_000, ROOM, 1_382_400)

REFUSED = """
import os, threading
from dhcli.runtime.feed import LEAST_BYTES, Feed

deny(278)
reading, writing = os.pipe()
data = os.urandom(3 * LEAST_BYTES)

def send():
    feed, left = Feed(writing), memoryview(data)
    try:
        while left:
            left = left[feed.send(left):]
    finally:
        os.close(writing)

thread = threading.Thread(target=send)
thread.start()
with open(reading, "rb") as file:
    assert file.read() == data
thread.join()
"""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe."""
    ends = os.pipe()
    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, ROOM)
    yield ends
    for fd in ends:
        os.close(fd)


def piece(size: int, value: int) -> U8:
    return np.full(size, value, np.uint8)


def send_all(feed: Feed, data: U8) -> None:
    left = data.data
    while left:
        left = left[feed.send(left) :]


def read_all(fd: int, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += os.read(fd, size - len(found))
    return found


def test_every_byte_comes_out_in_order(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    sizes = [int(size) for size in np.random.default_rng(0).choice(SIZES, 60)]

    def send() -> None:
        feed = Feed(writing)
        for k, size in enumerate(sizes):
            whole = piece(size + 64, k)  # its part begins anywhere in a page
            send_all(feed, whole[k % 64 : k % 64 + size])
            del whole
            piece(size + 64, 255)  # takes memory that was given back

    thread = threading.Thread(target=send)
    thread.start()
    for k, size in enumerate(sizes):
        assert read_all(reading, size) == bytes([k]) * size, f"piece {k} of {size} bytes"
    thread.join()


def test_what_was_sent_is_kept_until_it_was_read(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    feed, size = Feed(writing), 100_000
    first = piece(size, 1)
    gone = weakref.ref(first)
    send_all(feed, first)
    del first
    read_all(reading, size - 1)
    send_all(feed, piece(size, 2))
    assert gone() is not None
    read_all(reading, 1)
    send_all(feed, piece(size, 3))
    assert gone() is None


def test_a_reader_that_has_gone_is_a_broken_pipe() -> None:
    reading, writing = os.pipe()
    feed = Feed(writing)
    os.close(reading)
    for size in (6, LEAST_BYTES):
        with pytest.raises(BrokenPipeError):
            feed.send(piece(size, 1).data)
    os.close(writing)


def test_a_signal_is_no_error(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    feed, sent = Feed(writing), list[int]()
    full = piece(2 * ROOM, 1)
    ended = threading.Event()

    def send() -> None:
        try:
            sent.append(feed.send(full.data))  # as much as there is room for
            sent.append(feed.send(full.data))  # waits
        finally:
            ended.set()

    thread = threading.Thread(target=send)
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        thread.start()
        while not ended.wait(0.01):
            signal.pthread_kill(thread.ident or 0, signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
        thread.join()
    assert sent[1] == 0
    assert os.read(reading, sent[0]) == full[: sent[0]].tobytes()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the number of the call")
def test_where_lending_is_forbidden_all_is_copied(deny: str) -> None:
    subprocess.run([sys.executable, "-c", deny + REFUSED], check=True)
