"""Jobs that go wrong on purpose: a tiny clip, an ffmpeg that misbehaves where it is told to, and what must be left."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dhcli.events import Event, Summary
from dhcli.families.dh_base.family import DhBase
from dhcli.manifest import single_job
from dhcli.media.ffmpeg_program import find_ffmpeg
from dhcli.networks.network import Device
from dhcli.render.models import Models
from dhcli.results.result import JobResult, read_result
from dhcli.runs.batch import Batch
from dhcli.runs.retry import Retry
from dhcli.runs.settings import Policy, Settings

LIMIT_S = 60.0
"""Generous: nothing here takes longer than a few seconds, and what hangs would hang for ever."""
FAKE = '''#!{python} -IS
import os, signal, subprocess, sys, time
REAL, ROLE, NTH, MARK = {real!r}, {role!r}, {nth!r}, {mark!r}
argv = sys.argv[1:]
role = (
    "encode" if "pipe:0" in argv else "decode" if "yuv4mpegpipe" in argv else "listen" if "f32le" in argv
    else "verify" if "0:a?" in argv else "sound" if "-af" in argv else "scan" if "framecrc" in argv
    else "version" if "-version" in argv else "list"
)
def real():
    os.execv(REAL, [REAL, *argv])
def stuck():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(MARK + ".now", "w").close()
    while True: time.sleep(60)
def spin():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True: pass
def pass_on(count):
    """Some of what the real ffmpeg writes; all of it where the count is -1."""
    child = subprocess.Popen([REAL, *argv], stdout=subprocess.PIPE, close_fds=False)
    left = count
    while left and (block := child.stdout.read(min(left, 65536) if left > 0 else 65536)):
        os.write(1, block)
        left -= len(block) if left > 0 else 0
    if count >= 0:
        child.kill()
    return child.wait()
def take(count=-1):
    """Read from stdin, up to the end where the count is -1."""
    while count and (block := os.read(0, min(count, 65536) if count > 0 else 65536)):
        count -= len(block) if count > 0 else 0
if role == ROLE:
    with open(MARK, "ab") as mark:
        mark.write(b"x")
    if os.path.getsize(MARK) == NTH or not NTH:
{behaviour}
        sys.exit(0)
real()
'''


@dataclass(frozen=True, slots=True)
class Run:
    """How a job that was run in this process ended."""

    result: JobResult | None
    summary: Summary
    events: list[Event]


Render = Callable[..., Run]


@pytest.fixture(scope="session")
def models(dh_base: DhBase) -> Models:
    models = Models((), Device("cpu"))
    models._families["dh-base"] = dh_base
    return models


@pytest.fixture(scope="session")
def clip(avatar: Path, tmp_path_factory: pytest.TempPathFactory, ffmpeg: Callable[..., None]) -> Path:
    """10 frames of a person, as many as the words need."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    ffmpeg("-i", avatar, "-frames:v", 10, "-c:v", "libx264", "-crf", 18, "-preset", "ultrafast", path)
    return path


@pytest.fixture(scope="session")
def words(speech: Path, tmp_path_factory: pytest.TempPathFactory, ffmpeg: Callable[..., None]) -> Path:
    """0.4 s of speech: 10 frames."""
    path = tmp_path_factory.mktemp("words") / "words.wav"
    ffmpeg("-ss", 2, "-t", 0.4, "-i", speech, path)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An empty folder for outputs."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def render(models: Models, out: Path, clip: Path, words: Path) -> Render:
    """Render words and clip to out/out.mp4 (out2.mp4, …) in this process, each once; settings by name."""

    def run(
        *,
        audio: Path = words,
        video: Path = clip,
        copies: int = 1,
        emit: Callable[[Event], None] | None = None,
        run_lock: Path | None = None,
        **how: Any,
    ) -> Run:
        defaults: dict[str, Any] = {"if_exists": "overwrite", "stall_timeout_s": 30.0}
        settings = Settings(models, **defaults | how)
        outputs = [out / "out.mp4", *(out / f"out{number}.mp4" for number in range(2, copies + 1))]
        jobs = [single_job(audio, video, output, {}).jobs[0] for output in outputs]
        events: list[Event] = []

        def listen(event: Event) -> None:
            events.append(event)
            if emit is not None:
                emit(event)

        summary = Batch(settings, listen, Policy(retry=Retry(0), run_lock=run_lock)).run(jobs)
        result = read_result(settings.result_path(jobs[0]))
        return Run(result, summary, events)

    return run


@pytest.fixture
def fake_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """An ffmpeg that is the real one, except in the `nth` call (0: every) for one purpose; returns its mark.

    Purposes are list, scan, sound, listen, decode (first for the analysis, then for the render), encode and verify.
    `stuck()` makes the file `<mark>.now`.
    """

    def make(role: str, behaviour: str, nth: int = 1) -> Path:
        program, mark = tmp_path / "ffmpeg", tmp_path / "fake-mark"
        lines = "\n".join(f"        {line}" for line in behaviour.splitlines())
        text = FAKE.format(
            python=sys.executable, real=find_ffmpeg(), role=role, nth=nth, mark=str(mark), behaviour=lines
        )
        program.write_text(text)
        program.chmod(0o755)
        monkeypatch.setenv("DH_FFMPEG", str(program))
        return mark

    return make


@pytest.fixture
def sound_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """No sound is short enough to be kept between the two times that it is read."""
    monkeypatch.setattr("dhcli.media.audio.KEPT_SAMPLES", 0)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What an earlier test left in the cache would spare the very call that is to go wrong."""
    monkeypatch.setenv("DH_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def nothing_alive(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """No process that the test or its children started is alive afterwards; grandchildren are found by a variable."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv("DH_TEST_MARK", mark)
    yield mark
    assert wait_until(lambda: not marked(mark)), f"processes left: {marked(mark)}"


def marked(mark: str) -> list[str]:
    """Command lines of the living processes that inherited the mark. A zombie's environment is empty."""
    variable, found = f"DH_TEST_MARK={mark}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if variable in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:300])
    return found


def wait_until(condition: Callable[[], object], limit_s: float = LIMIT_S) -> bool:
    until = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def until() -> Callable[..., bool]:
    """Wait for a condition; False where it did not come."""
    return wait_until


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """The processes that a test starts; those that still run at its end are killed."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def dh(
    tmp_path: Path, out: Path, clip: Path, words: Path, started: list[subprocess.Popen[str]]
) -> Callable[..., subprocess.Popen[str]]:
    """Start `dh render` of words and clip, or of other inputs, in a process of its own, after the code `program`."""

    def start(*flags: str, program: str = "", under: tuple[str, ...] = (), **options: Any) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", f"{program}\nfrom dhcli.cli import main\nmain()"]
        argv += ["render", "--save-path", str(out / "out.mp4")]
        for flag, path in (("--audio", words), ("--video", clip)):
            argv += [] if flag in flags else [flag, str(path)]
        how: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        process = subprocess.Popen(
            [*under, *argv, "--device", "cpu", "--retries", "0", *flags],
            text=True,
            cwd=tmp_path,
            env=dict(os.environ),
            **how | options,
        )
        started.append(process)
        return process

    return start


@pytest.fixture
def content(out: Path) -> Callable[[], list[str]]:
    """Names of all files in the output folder, hidden ones too."""
    return lambda: sorted(path.name for path in out.iterdir())


@pytest.fixture
def stored(out: Path) -> Callable[[], dict[str, Any]]:
    """The result file as any program reads it."""
    return lambda: json.loads((out / "out.mp4.json").read_bytes())


@pytest.fixture
def sha256() -> Callable[[Path], str]:
    return lambda path: hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """`dh render` as a program; arguments may be bytes, since names may be no text."""

    def call(*arguments: str | bytes | Path, cwd: Path = tmp_path) -> subprocess.CompletedProcess[bytes]:
        argv = [sys.executable, "-m", "dhcli", "render", "--device", "cpu", "--retries", "0", *arguments]
        return subprocess.run(argv, capture_output=True, cwd=cwd, check=False, timeout=110)

    return call


@pytest.fixture
def visits() -> Iterator[tuple[str, list[str]]]:
    """A web server on this machine: its address, and what was asked of it."""
    seen: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_error(404)

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join()


@pytest.fixture
def write_manifest() -> Callable[[Path, list[dict[str, str]]], Path]:
    """Jobs as a manifest."""

    def write(path: Path, jobs: list[dict[str, str]]) -> Path:
        path.write_text(json.dumps({"version": 1, "jobs": jobs}, ensure_ascii=False))  # nearly all JSON is YAML
        return path

    return write


@pytest.fixture
def result_of() -> Callable[[Path], dict[str, Any]]:
    """The result beside an output, as any program reads it."""
    return lambda output: json.loads(Path(f"{output}.json").read_bytes())
