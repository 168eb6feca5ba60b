from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcli.errors import DhError
from dhcli.runtime.channel import Channel, EndOfStream
from dhcli.runtime.scope import Scope, Stopped

pytestmark = pytest.mark.usefixtures("no_thread_left")


class _Thread(threading.Thread):
    """Keeps what its work raised."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error


def _receive(channel: Channel[int]) -> tuple[list[int], int]:
    items = []
    while not isinstance(item := channel.get("receiver"), EndOfStream):
        items.append(item)
    return items, item.count


@pytest.mark.parametrize("capacity", [0, 1, 3, 1000])
def test_items_arrive_in_order_with_their_number(capacity: int) -> None:
    with Scope() as scope:
        channel: Channel[int] = Channel(capacity, scope)

        def send() -> None:
            for item in range(200):
                channel.put(item, "sender")
            channel.end("sender")

        sender = _Thread(send)
        assert _receive(channel) == (list(range(200)), 200)
        sender.join()
        assert sender.error is None


def test_empty_stream_has_an_end_too() -> None:
    with Scope() as scope:
        channel: Channel[int] = Channel(1, scope)
        channel.end("sender")
        assert channel.get("receiver") == EndOfStream(0)


@given(capacity=st.integers(1, 5), items=st.lists(st.integers(), max_size=5))
def test_falsy_items_are_items(capacity: int, items: list[int]) -> None:
    with Scope() as scope:
        channel: Channel[int] = Channel(max(capacity, len(items) + 1), scope)
        for item in items:
            channel.put(item, "sender")
        channel.end("sender")
        assert _receive(channel) == (items, len(items))


@pytest.mark.parametrize(("capacity", "held"), [(0, 1), (1, 1), (2, 2)])
def test_sender_is_held_back_at_the_capacity(capacity: int, held: int) -> None:
    with Scope() as scope:
        channel: Channel[int] = Channel(capacity, scope)
        sent: list[int] = []
        full = threading.Event()

        def send() -> None:
            for item in range(5):
                channel.put(item, "sender")
                sent.append(item)
                if len(sent) == held:
                    full.set()

        sender = _Thread(send)
        assert full.wait(60)
        sender.join(0.05)
        assert sender.is_alive()
        assert len(sent) == held
        assert [channel.get("receiver") for _ in range(5)] == [0, 1, 2, 3, 4]
        sender.join()


@pytest.mark.parametrize("side", ["get", "put", "end"])
def test_failure_wakes_whoever_waits(side: str) -> None:
    with Scope() as scope:
        channel: Channel[int] = Channel(1, scope)
        if side != "get":
            channel.put(0, "sender")
        work: dict[str, Callable[[], object]] = {
            "get": lambda: channel.get("receiver"),
            "put": lambda: channel.put(1, "sender"),
            "end": lambda: channel.end("sender"),
        }
        waiting = _Thread(work[side])
        waiting.join(0.05)
        assert waiting.is_alive()
        scope.fail(DhError("decode.failed", "died"), "decode")
        waiting.join()
        assert isinstance(waiting.error, Stopped)


def test_nothing_moves_after_a_failure() -> None:
    with Scope() as scope:
        channel: Channel[int] = Channel(3, scope)
        channel.put(0, "sender")
        scope.fail(DhError("decode.failed", "died"), "decode")
        for move in (lambda: channel.get("receiver"), lambda: channel.put(1, "sender"), lambda: channel.end("sender")):
            with pytest.raises(Stopped):
                move()


def test_waiting_time_is_counted_on_the_side_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    channel: Channel[int] = Channel(3, Scope())  # not entered: its watchdog would look at the clock, too
    monkeypatch.setattr("dhcli.runtime.channel.time.monotonic", lambda: float(next(clock)))
    channel.put(1, "sender")
    channel.end("sender")
    channel.get("receiver")
    assert (channel.put_wait_s, channel.get_wait_s) == (2.0, 1.0)
