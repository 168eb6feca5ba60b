"""What goes into a pipe comes out of it, though it is lent: whatever becomes of the memory of those who sent it."""

from __future__ import annotations

import fcntl
import os
import platform
import select
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import IO

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
    with open(writing, "wb", buffering=0) as pipe:
        feed, left = Feed(pipe, lend=True), memoryview(data)
        while left:
            left = left[feed.send(left):]

thread = threading.Thread(target=send)
thread.start()
with open(reading, "rb") as file:
    assert file.read() == data
thread.join()
"""


@pytest.fixture
def pipe() -> Iterator[tuple[int, IO[bytes]]]:
    """Both ends of a pipe."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, ROOM)
    with os.fdopen(writing, "wb", buffering=0) as end:
        yield reading, end
    os.close(reading)


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


@pytest.mark.parametrize("lend", [True, False])
def test_every_byte_comes_out_in_order(pipe: tuple[int, IO[bytes]], lend: bool) -> None:
    reading, writing = pipe
    sizes = [int(size) for size in np.random.default_rng(0).choice(SIZES, 60)]

    def send() -> None:
        feed = Feed(writing, lend=lend)
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


def test_a_piece_is_kept_as_long_as_a_byte_of_it_is_unread(pipe: tuple[int, IO[bytes]]) -> None:
    reading, writing = pipe
    feed, dice = Feed(writing, lend=True), np.random.default_rng(1)
    poll = select.poll()
    poll.register(writing, select.POLLOUT)
    sent = read = 0
    ends: list[tuple[weakref.ref[U8], int]] = []
    for k in range(400):
        begin, size = (int(number) for number in dice.integers(0, (5000, 3 * LEAST_BYTES)))
        data = piece(begin + LEAST_BYTES + size, k % 256)
        while not poll.poll(0):
            read += len(os.read(reading, int(dice.integers(1, 9000))))
        sent += feed.send(data.data[begin:])
        ends.append((weakref.ref(data), sent))
        del data
        assert all(kept() is not None for kept, end in ends if end > read)
    assert read > 4 * ROOM


def test_what_was_read_is_not_kept(pipe: tuple[int, IO[bytes]]) -> None:
    reading, writing = pipe
    feed, size = Feed(writing, lend=True), 100_000
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


def test_nothing_is_kept_where_nothing_is_lent(pipe: tuple[int, IO[bytes]]) -> None:
    feed, data = Feed(pipe[1], lend=False), piece(LEAST_BYTES, 1)
    gone = weakref.ref(data)
    send_all(feed, data)
    del data
    assert gone() is None


@pytest.mark.parametrize("size", [6, LEAST_BYTES])
def test_a_reader_that_has_gone_is_a_broken_pipe(size: int) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb", buffering=0) as end:
        feed = Feed(end, lend=True)
        os.close(reading)
        with pytest.raises(BrokenPipeError):
            feed.send(piece(size, 1).data)


def test_a_closed_pipe_takes_nothing() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb", buffering=0) as end:
        feed = Feed(end, lend=True)
    with pytest.raises(ValueError, match="closed"):
        feed.send(piece(LEAST_BYTES, 1).data)
    os.close(reading)


def test_a_signal_is_no_error(pipe: tuple[int, IO[bytes]]) -> None:
    reading, writing = pipe
    feed, sent = Feed(writing, lend=True), list[int]()
    full = piece(2 * ROOM, 1)
    ended, over = threading.Event(), threading.Event()

    def send() -> None:
        try:
            sent.append(feed.send(full.data))  # as much as there is room for
            sent.append(feed.send(full.data))  # waits
        finally:
            ended.set()
            over.wait()  # a thread that is gone must get no signal

    thread = threading.Thread(target=send)
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        thread.start()
        assert thread.ident is not None
        while not ended.wait(0.01):
            signal.pthread_kill(thread.ident, signal.SIGUSR1)
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    assert sent[1] == 0
    assert os.read(reading, sent[0]) == full[: sent[0]].tobytes()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the number of the call")
def test_where_lending_is_forbidden_all_is_copied(deny: str) -> None:
    subprocess.run([sys.executable, "-c", deny + REFUSED], check=True)
