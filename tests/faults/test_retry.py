"""What may go away by itself is tried again, what cannot is not, and what concerns every job ends the run."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dhcli.errors import Code, DhError
from dhcli.events import Event, JobFinished, JobStarted, Retrying, Summary, Warned
from dhcli.families.dh_base.blend import FlowPatch
from dhcli.families.dh_base.family import DhBase
from dhcli.families.family import Shot
from dhcli.jobs.options import Job
from dhcli.manifest import single_job
from dhcli.networks.bundle import load_bundle
from dhcli.networks.model import Model
from dhcli.networks.network import Device
from dhcli.render.models import Models
from dhcli.reports.log_file import LogFile
from dhcli.results.result import JobResult, read_result
from dhcli.runs.batch import Batch
from dhcli.runs.retry import FailureLimit, Retry
from dhcli.runs.settings import Policy, Settings
from dhcli.stages.align import YuvMatrix

pytestmark = pytest.mark.slow

FakeFfmpeg = Callable[..., Path]


class Rig:
    """A batch in this process whose waits are written down instead of waited."""

    def __init__(self, out: Path, models: Models, audio: Path, video: Path) -> None:
        self.models, self._out, self._audio, self._video = models, out, audio, video
        self.waits: list[float] = []
        self.events: list[Event] = []
        self.on_event: Callable[[Event], None] = lambda _: None
        self.retry = Retry(1, dice=lambda: 0.5, pause=self.waits.append)

    def run(self, jobs: int = 1, *, missing: Sequence[int] = (), limit: FailureLimit | None = None) -> Summary:
        """Render out1.mp4, out2.mp4 …; those in `missing` have no video."""
        chosen: list[Job] = []
        for number in range(1, jobs + 1):
            video = self._out / "nowhere.mp4" if number in missing else self._video
            chosen += single_job(self._audio, video, self._out / f"out{number}.mp4", {"preset": "ultrafast"}).jobs

        def emit(event: Event) -> None:
            self.events.append(event)
            self.on_event(event)

        settings = Settings(self.models, if_exists="overwrite", stall_timeout_s=30)
        return Batch(settings, emit, Policy(self.retry, limit)).run(chosen)

    def result(self, number: int = 1) -> JobResult:
        found = read_result(self._out / f"out{number}.mp4.json")
        assert found is not None
        return found

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def rig(out: Path, models: Models, words: Path, clip: Path) -> Rig:
    return Rig(out, models, words, clip)


def test_a_transient_error_is_tried_once_more(rig: Rig, fake_ffmpeg: FakeFfmpeg) -> None:
    fake_ffmpeg("encode", "os.write(2, b'the encoder is unwell')\nos._exit(3)", 1)
    summary = rig.run()
    assert (summary.succeeded, summary.failed, summary.exit_code, summary.codes) == (1, 0, 0, {})
    result = rig.result()
    assert (result.status, result.attempt) == ("succeeded", 2)
    (earlier,) = result.earlier_attempts
    assert (earlier.attempt, earlier.code) == (1, "encode.failed")
    assert any("the encoder is unwell" in line for line in earlier.stderr_tail)
    assert [event.attempt for event in rig.of(JobStarted)] == [1, 2]
    (retry,) = rig.of(Retrying)
    assert (retry.attempt, retry.code, retry.wait_s) == (1, "encode.failed", 2.5)
    assert rig.waits == [2.5]
    assert len(rig.of(JobFinished)) == 1


def test_the_last_error_is_the_reason_and_75_says_try_later(rig: Rig, fake_ffmpeg: FakeFfmpeg) -> None:
    fake_ffmpeg("encode", "os._exit(3)", 0)
    rig.retry = dataclasses.replace(rig.retry, limit=2)
    summary = rig.run()
    result = rig.result()
    assert (result.status, result.attempt, summary.exit_code) == ("failed", 3, 75)
    assert [attempt.attempt for attempt in result.earlier_attempts] == [1, 2]
    assert rig.waits == [2.5, 5.0]
    assert summary.codes == {"encode.failed": 1}, "a job counts once, however often it was tried"


def test_no_retries_where_none_are_wanted(rig: Rig, fake_ffmpeg: FakeFfmpeg) -> None:
    fake_ffmpeg("encode", "os._exit(3)", 0)
    rig.retry = Retry(0)
    rig.run()
    assert (rig.result().attempt, rig.waits) == (1, [])


def test_a_permanent_error_is_not_tried_again(rig: Rig) -> None:
    rig.retry = dataclasses.replace(rig.retry, limit=5)
    assert rig.run(missing=[1]).exit_code == 1
    assert (rig.result().attempt, rig.waits) == (1, [])


def test_no_attempt_follows_a_stop_signal(rig: Rig, fake_ffmpeg: FakeFfmpeg) -> None:
    fake_ffmpeg("encode", "os._exit(3)", 0)
    rig.retry = Retry(5, dice=lambda: 1.0)  # waits for real, 5 s: unless the signal ends it

    def stop(event: Event) -> None:
        if isinstance(event, Retrying):
            os.kill(os.getpid(), signal.SIGTERM)

    rig.on_event = stop
    summary = rig.run(jobs=2)
    assert (summary.exit_code, summary.not_started) == (128 + signal.SIGTERM, 1)
    assert len(rig.of(JobStarted)) == 1
    assert (rig.result().status, rig.result().attempt) == ("failed", 1)


class _Small(DhBase):
    """The default model on a device that has room for two frames."""

    def __init__(self, model: type[Model] = Model) -> None:
        super().__init__(model(load_bundle("dh-base"), Device("cpu"), 2))
        self.batches: list[int] = []

    def speak(self, shots: Sequence[Shot], yuv: YuvMatrix) -> list[FlowPatch]:
        self.batches.append(len(shots))
        if len(shots) > 2:
            raise DhError("device.out_of_memory", "The network 'face' found too little memory: BFCArena", hint="-")
        return super().speak(shots, yuv)


def test_out_of_memory_is_tried_with_half_the_batch_for_the_rest_of_the_run(rig: Rig) -> None:
    small = _Small()
    rig.models = Models((), Device("cpu"))
    rig.models._families["dh-base"] = small
    summary = rig.run(jobs=2)
    assert (summary.succeeded, summary.exit_code) == (2, 0)
    assert small.batches == [4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    assert [rig.result(number).attempt for number in (1, 2)] == [2, 1]
    assert rig.result().earlier_attempts[0].code == "device.out_of_memory"


class _Unmeasured(Model):
    """One that has too little memory even to measure how many frames it takes at once."""

    @functools.cached_property
    def batch(self) -> int:
        raise DhError("device.out_of_memory", "The network 'face' found too little memory: BFCArena", hint="-")


class _Large(Model):
    """One that asks for more frames at once than the job has."""

    batch = 32


@pytest.mark.parametrize(("model", "batches"), [(_Unmeasured, [2, 2, 2, 2, 2]), (_Large, [10, 5, 2, 2, 2, 2, 2])])
def test_the_batch_that_was_too_large_is_halved_not_the_one_that_was_planned(
    rig: Rig, model: type[Model], batches: list[int]
) -> None:
    rig.models = Models((), Device("cpu"))
    rig.models._families["dh-base"] = small = _Small(model)
    rig.retry = dataclasses.replace(rig.retry, limit=3)
    assert rig.run().exit_code == 0
    assert small.batches == batches


class _Broken(DhBase):
    """The default model on a device that fails in its first batch."""

    def __init__(self, code: Code) -> None:
        super().__init__(Model(load_bundle("dh-base"), Device("cpu"), 2))
        self._code = code
        self.batches: list[int] = []

    def speak(self, shots: Sequence[Shot], yuv: YuvMatrix) -> list[FlowPatch]:
        self.batches.append(len(shots))
        if len(self.batches) == 1:
            raise DhError(self._code, "CUDA failure 700: an illegal memory access", hint="-")
        return super().speak(shots, yuv)


def test_a_lost_device_ends_the_run_without_another_attempt(rig: Rig) -> None:
    """Its context is poisoned: nothing that this process does on it can succeed."""
    rig.models = Models((), Device("cpu"))
    rig.models._families["dh-base"] = broken = _Broken("device.lost")
    rig.retry = dataclasses.replace(rig.retry, limit=5)
    summary = rig.run(jobs=3)
    assert (summary.failed, summary.not_started, summary.exit_code) == (1, 2, 75)
    assert (len(broken.batches), rig.waits, rig.result().attempt) == (1, [], 1)


def test_little_memory_in_the_machine_is_tried_with_half_the_batch_too(rig: Rig) -> None:
    rig.models = Models((), Device("cpu"))
    rig.models._families["dh-base"] = broken = _Broken("job.out_of_memory")
    assert rig.run().exit_code == 0
    assert broken.batches == [4, 2, 2, 2, 2, 2]
    assert [attempt.code for attempt in rig.result().earlier_attempts] == ["job.out_of_memory"]


def test_each_attempt_stands_in_the_log(rig: Rig, fake_ffmpeg: FakeFfmpeg, tmp_path: Path) -> None:
    fake_ffmpeg("encode", "os._exit(3)", 0)
    rig.retry = dataclasses.replace(rig.retry, limit=2)
    log = LogFile(tmp_path / "log")
    rig.on_event = log
    rig.run()
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(line["event"], line["attempt"]) for line in lines if line["event"] in {"job_started", "retry"}] == [
        ("job_started", 1),
        ("retry", 1),
        ("job_started", 2),
        ("retry", 2),
        ("job_started", 3),
    ]
    retries = [line for line in lines if line["event"] == "retry"]
    assert [(line["code"], line["wait_s"]) for line in retries] == [("encode.failed", 2.5), ("encode.failed", 5.0)]
    assert {(line["job_id"], line["run_id"]) for line in retries} == {("out1", lines[0]["run_id"])}


@pytest.mark.parametrize(("limit", "failed"), [(FailureLimit(2), 2), (FailureLimit(50, percent=True), 3)])
def test_a_run_with_too_many_failures_starts_no_more_jobs(rig: Rig, limit: FailureLimit, failed: int) -> None:
    summary = rig.run(jobs=6, missing=range(7), limit=limit)
    assert (summary.failed, summary.not_started, summary.exit_code) == (failed, 6 - failed, 1)
    (warning,) = rig.of(Warned)
    assert warning.code == "run.stopped"
    assert f"Failed: {failed} (limit {limit})" in warning.message


def test_the_last_job_may_fail_without_a_word_about_others(rig: Rig) -> None:
    assert rig.run(jobs=2, missing=[1, 2], limit=FailureLimit(2)).not_started == 0
    assert rig.of(Warned) == []


def test_a_fault_of_the_machine_ends_the_run(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DH_FFMPEG", "/nowhere/ffmpeg")
    summary = rig.run(jobs=3)
    assert (summary.failed, summary.not_started, summary.exit_code) == (1, 2, 69)
    assert (rig.waits, summary.codes) == ([], {"env.ffmpeg_missing": 1})


def test_a_full_disk_ends_the_run(rig: Rig, fake_ffmpeg: FakeFfmpeg, out: Path) -> None:
    said = "[out#0/mp4 @ 0x1] [error] Error writing trailer: No space left on device\\n"
    fake_ffmpeg("encode", f"take()\nos.write(2, {said!r}.encode())\nos._exit(228)", 0)
    summary = rig.run(jobs=3)
    assert (summary.failed, summary.not_started, summary.exit_code) == (1, 2, 75)
    assert (rig.waits, summary.codes) == ([], {"output.disk_full": 1})
    assert sorted(path.name for path in out.iterdir()) == ["out1.mp4.json"]
