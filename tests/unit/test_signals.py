from __future__ import annotations

import os
import signal
import threading

import pytest

from dhcli.runtime.signals import StopSignals

pytestmark = pytest.mark.usefixtures("no_thread_left")


def test_what_follows_at_once_is_the_same_wish() -> None:
    heard: list[int] = []
    with StopSignals(heard.append, lambda _: heard.append(0)) as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.wait(60)
        os.kill(os.getpid(), signal.SIGHUP)
    assert heard == [signal.SIGTERM]
    assert signals.number == signal.SIGTERM


def test_a_later_signal_is_a_second_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhcli.runtime.signals.REPEAT_S", -1.0)
    heard: list[int] = []
    second = threading.Event()

    def on_second(number: int) -> None:
        heard.append(number)
        second.set()

    with StopSignals(heard.append, on_second):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert second.wait(60)
    assert sorted(heard) == [signal.SIGINT, signal.SIGTERM]


def test_a_signal_right_before_the_end_is_not_lost() -> None:
    heard: list[int] = []
    with StopSignals(heard.append, heard.append):
        os.kill(os.getpid(), signal.SIGHUP)
    assert heard == [signal.SIGHUP]


def test_handlers_come_back_and_ignored_ones_stay() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        with StopSignals(print, print) as signals:
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGHUP)
        assert signals.number is None
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_no_signal_is_taken() -> None:
    taken: list[object] = []

    def work() -> None:
        with StopSignals(print, print):
            taken.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert taken == [before]
