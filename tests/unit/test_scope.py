from __future__ import annotations

import signal
import subprocess
import threading
from typing import Any

import pytest

from dhcli.errors import Code, DhError
from dhcli.runtime import scope as scope_module
from dhcli.runtime.channel import Channel
from dhcli.runtime.child import Command
from dhcli.runtime.scope import Scope, Stopped

pytestmark = pytest.mark.usefixtures("no_thread_left")


class HandedOver:
    """Who is told that a call does not return."""

    def __init__(self) -> None:
        self.told: list[DhError] = []
        self.over = threading.Event()

    def __call__(self, error: DhError) -> None:
        self.told.append(error)
        self.over.set()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scope_module, "TICK_S", 0.005)


class Clock:
    """The scope's time, moved by the test: nothing here depends on how fast the machine is."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._looks = 0
        self._looked = threading.Condition()

    def monotonic(self) -> float:
        if threading.current_thread().name == "watchdog":
            with self._looked:
                self._looks += 1
                self._looked.notify_all()
                return self._now
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the time in one step, and let the watchdog have a whole look at it."""
        with self._looked:
            assert self._looked.wait_for(lambda: self._looks, 60)  # else the watchdog would begin after the step
            self._now += seconds
            enough = self._looks + 2  # the look that may be under way, and the next one
            assert self._looked.wait_for(lambda: self._looks >= enough, 60)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("dhcli.runtime.scope.time.monotonic", clock.monotonic)
    return clock


def _wait_for_failure(scope: Scope) -> DhError:
    # The flag is what a stage would look at; its own timeout is the test's.
    assert scope._stop.wait(60)
    assert scope.error is not None
    return scope.error


def test_first_error_stays_and_later_ones_become_notes() -> None:
    with Scope() as scope:
        scope.fail(DhError("decode.failed", "first"), "decode")
        scope.fail(BrokenPipeError(), "encode")
        scope.fail(Stopped(), "speak")
        assert scope.error is not None
        scope.fail(scope.error, "job")
    assert (scope.error.code, scope.error.stage) == ("decode.failed", "decode")
    assert scope.notes == ["then, in encode: BrokenPipeError (no text)"]


def test_a_child_that_obeyed_the_same_signal_is_not_the_reason() -> None:
    with Scope() as scope:
        scope.fail(DhError("decode.failed", "killed by SIGTERM"), "decode")
        scope.fail(DhError("job.cancelled", "SIGTERM"), "signal")
    assert scope.error is not None
    assert scope.error.code == "job.cancelled"
    assert scope.notes == ["first, in decode: DhError: killed by SIGTERM"]


@pytest.mark.parametrize("code", ["face.lost", "stalled", "output.disk_full"])
def test_any_other_error_stays_the_reason_when_a_signal_comes(code: Code) -> None:
    with Scope() as scope:
        scope.fail(DhError(code, "x"), "analyse")
        scope.fail(DhError("job.cancelled", "SIGTERM"), "signal")
    assert scope.error is not None
    assert scope.error.code == code


def test_after_the_seal_nothing_stops_the_job() -> None:
    with Scope() as scope:
        scope.seal()
        scope.fail(DhError("job.cancelled", "SIGTERM"), "signal")
        scope.check()
        assert scope.error is None
    assert scope.notes == ["then, in signal: DhError: SIGTERM"]


def test_what_has_failed_cannot_be_sealed() -> None:
    with Scope() as scope:
        scope.fail(DhError("job.cancelled", "SIGTERM"), "signal")
        with pytest.raises(Stopped):
            scope.seal()


def test_one_error_of_many_threads_wins() -> None:
    ready = threading.Barrier(8)
    with Scope() as scope:

        def fail(number: int) -> None:
            ready.wait()
            scope.fail(ValueError(number), f"stage {number}")

        threads = [threading.Thread(target=fail, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert scope.error is not None
    assert len(scope.notes) == 7
    assert not any(note.startswith(f"then, in {scope.error.stage}:") for note in scope.notes)


def test_stopped_alone_is_no_reason() -> None:
    with Scope() as scope:
        scope.fail(Stopped(), "speak")
        assert scope.error is None
        assert not scope.stopped


def test_check_raises_only_after_a_failure() -> None:
    with Scope() as scope:
        scope.check()
        scope.fail(DhError("job.cancelled", "SIGINT"), "job")
        with pytest.raises(Stopped):
            scope.check()


def test_error_inside_a_stage_gets_its_name() -> None:
    with Scope() as scope, pytest.raises(DhError) as caught, scope.stage("speak"):
        raise DhError("model.failed", "x", frame=3)
    assert (caught.value.stage, caught.value.frame) == ("speak", 3)


def test_failure_kills_every_child_and_frees_its_reader() -> None:
    with Scope() as scope:
        children = [scope.spawn(f"child {i}", Command(["sh", "-c", "sleep 100 & wait"])) for i in range(2)]
        scope.fail(DhError("stalled", "x"), "decode")
        for child in children:
            assert child.stdout.read() == b""
            assert child.wait() == -signal.SIGKILL


def test_end_of_the_job_ends_its_children() -> None:
    with Scope() as scope:
        child = scope.spawn("encoder", Command(["cat"], takes_input=True))
    assert child.wait(0) == -signal.SIGKILL


def test_nothing_starts_after_a_failure() -> None:
    with Scope() as scope:
        scope.fail(DhError("stalled", "x"), "decode")
        with pytest.raises(Stopped):
            scope.spawn("encoder", Command(["cat"], takes_input=True))


def test_released_child_is_gone() -> None:
    with Scope() as scope:
        child = scope.spawn("encoder", Command(["cat"], takes_input=True))
        scope.release(child)
        assert child.wait(0) == -signal.SIGKILL
        scope.release(child)


def test_flood_of_messages_fails_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhcli.runtime.child.STDERR_BYTES", 100_000)
    with Scope() as scope:
        child = scope.spawn("encode", Command(["sh", "-c", "read go; yes damaged >&2"], takes_input=True))
        child.stdin.write(b"go\n")
        error = _wait_for_failure(scope)
        assert child.wait() == -signal.SIGKILL
    assert (error.code, error.stage) == ("encode.failed", "encode")
    assert error.stderr_tail[-1] == "damaged"


def test_stage_without_progress_is_accused(clock: Clock) -> None:
    with Scope(stall_timeout_s=15) as scope, scope.stage("decode"):
        clock.advance(9)
        assert scope.error is None
        clock.advance(9)
        error = _wait_for_failure(scope)
    assert (error.code, error.stage) == ("stalled", "decode")
    assert "18.0 s (limit 15 s)" in error.message


def test_only_the_stage_that_stands_is_accused(clock: Clock) -> None:
    with Scope(stall_timeout_s=15) as scope, scope.stage("encode"):
        scope.beat("decode")
        scope.beat("speak")
        scope.idle("speak")
        for _ in range(2):
            clock.advance(9)
            scope.beat("decode")
        assert _wait_for_failure(scope).stage == "encode"
    assert scope.notes == []


def test_waiting_at_a_channel_is_no_stall(clock: Clock) -> None:
    with Scope(stall_timeout_s=15) as scope:
        channel: Channel[int] = Channel(1, scope)
        got: list[object] = []
        receiver = threading.Thread(target=lambda: got.append(channel.get("receiver")))
        receiver.start()
        for _ in range(4):
            clock.advance(9)
        assert scope.error is None
        channel.put(7, "sender")
        receiver.join()
        assert got == [7]


def test_stage_that_is_over_is_no_stall(clock: Clock) -> None:
    with Scope(stall_timeout_s=15) as scope:
        with scope.stage("probe"):
            pass
        for _ in range(4):
            clock.advance(9)
        assert scope.error is None


def test_stage_inside_itself_goes_on_being_watched(clock: Clock) -> None:
    with Scope(stall_timeout_s=15) as scope, scope.stage("probe"):
        with scope.stage("probe"):
            pass
        clock.advance(9)
        clock.advance(9)
        assert _wait_for_failure(scope).stage == "probe"


def test_stall_after_the_seal_ends_the_process(clock: Clock) -> None:
    handed = HandedOver()
    with Scope(stall_timeout_s=15, on_stuck=handed) as scope, scope.stage("commit"):
        scope.seal()
        clock.advance(9)
        clock._now += 9  # the watchdog ends with its last look: no whole look to wait for
        assert handed.over.wait(60)
        assert scope.error is None
    assert [(error.code, error.stage) for error in handed.told] == [("stalled", "commit")]


def test_machine_that_slept_is_nobodys_stall(clock: Clock) -> None:
    with Scope(stall_timeout_s=15) as scope:
        scope.beat("decode")
        scope.idle("encode")
        clock.advance(3600)
        clock.advance(9)
        assert scope.error is None
        clock.advance(9)
        assert _wait_for_failure(scope).stage == "decode"


def test_job_has_its_own_time_limit() -> None:
    with Scope(timeout_s=0.05) as scope:
        error = _wait_for_failure(scope)
    assert error.code == "job.timeout"
    assert "0.05 s" in error.message


@pytest.mark.parametrize("code", ["stalled", "job.cancelled", "decode.failed"])
def test_call_that_never_returns_is_handed_over(monkeypatch: pytest.MonkeyPatch, code: Code) -> None:
    monkeypatch.setattr(scope_module, "STUCK_S", 0.01)
    handed = HandedOver()
    with Scope(stall_timeout_s=0.05, on_stuck=handed) as scope:
        scope.fail(DhError(code, "x"), "speak")
        assert handed.over.wait(60)
    assert handed.told == [scope.error]


def test_slow_call_after_an_error_elsewhere_has_time_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scope_module, "STUCK_S", 0.01)
    told: list[DhError] = []
    with Scope(stall_timeout_s=60, on_stuck=told.append) as scope:
        scope.fail(DhError("decode.failed", "x"), "decode")
        scope._watchdog.join(0.1)  # ten times the grace after a stall
    assert told == []


def test_a_stage_may_be_silent_for_longer_than_others(clock: Clock) -> None:
    with Scope(stall_timeout_s=15) as scope, scope.stage("commit", limit_s=30):
        for _ in range(3):
            clock.advance(9)
        assert scope.error is None
        clock.advance(9)
        assert "(limit 30 s)" in _wait_for_failure(scope).message


def test_waiting_for_somebody_else_is_no_stall(clock: Clock) -> None:
    with Scope(stall_timeout_s=15) as scope, scope.stage("encode"):
        with scope.waiting("encode"):
            for _ in range(4):
                clock.advance(9)
        assert scope.error is None
        clock.advance(9)
        clock.advance(9)
        assert _wait_for_failure(scope).stage == "encode"


def test_a_signal_after_the_seal_ends_a_job_that_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scope_module, "STUCK_S", 0.01)
    handed = HandedOver()
    with Scope(on_stuck=handed) as scope, scope.stage("commit"):
        scope.seal()
        scope.fail(DhError("job.cancelled", "SIGTERM"), "signal")
        assert handed.over.wait(60)
        assert not scope.stopped
    assert [error.code for error in handed.told] == ["job.cancelled"]


def test_a_signal_shortens_the_grace_of_an_earlier_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scope_module, "STUCK_S", 0.01)
    handed = HandedOver()
    with Scope(stall_timeout_s=3600, on_stuck=handed) as scope:
        scope.fail(DhError("face.lost", "x"), "analyse")
        scope.fail(DhError("job.cancelled", "SIGTERM"), "signal")
        assert handed.over.wait(60)
    assert [error.code for error in handed.told] == ["face.lost"]


def test_no_thread_left_for_the_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(DhError) as caught, Scope():
        pass
    assert caught.value.code == "env.limits"
    assert "'watchdog'" in caught.value.message


def test_no_thread_left_for_a_child_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def spy(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(real(*args, **options))
        return started[-1]

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with Scope() as scope:
        monkeypatch.setattr(subprocess, "Popen", spy)
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(DhError) as caught:
            scope.spawn("decode", Command(["sleep", "600"]))
    assert caught.value.code == "env.limits"
    assert [process.returncode for process in started] == [-signal.SIGKILL] * 2, "guard and child are dead and reaped"
    assert all(pipe.closed for process in started for pipe in (process.stdin, process.stdout, process.stderr) if pipe)
