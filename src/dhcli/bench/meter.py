"""Who spends the time of one job: processor time and wall time of each stage, of its ffmpeg, of the networks' threads.

The pipeline runs as it is. A scope that looks at the clocks where a stage begins and ends, and a model family that does
so around its calls, are all that is put into it; a thread asks the system for what only others can tell. What the
numbers mean for the user is not known here.
"""

from __future__ import annotations

import contextlib
import resource
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import psutil

from dhcli.runtime.child import STDERR_LINES, Child
from dhcli.runtime.scope import Scope
from dhcli.runtime.threads import start_thread

EVERY_S = 0.02
"""Between two looks at the children. What a child uses after the last look at it counts as nobody's: 0.02 s at most for
each core. A look takes 0.1 ms; the thread's own time is taken off."""


@dataclass(slots=True)
class Spent:
    """Seconds."""

    cpu_s: float = 0.0
    wall_s: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.cpu_s + other.cpu_s, self.wall_s + other.wall_s)

    def __truediv__(self, number: float) -> Spent:
        return Spent(self.cpu_s / number, self.wall_s / number)


@dataclass(slots=True)
class StageClock:
    """What was used from the beginning to the end of a stage."""

    wall_s: float = 0.0
    thread_s: float = 0.0
    """Processor time of the stage's own thread."""
    process_s: float = 0.0
    """Processor time of all threads of this process meanwhile."""
    pool_s: float = 0.0
    """Processor time of the networks' threads meanwhile."""


def children_cpu_s() -> float:
    """Processor time of all children that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def native_threads() -> frozenset[int]:
    """Threads of this process that Python did not start."""
    ours = {thread.native_id for thread in threading.enumerate()}
    return frozenset(thread.id for thread in psutil.Process().threads() if thread.id not in ours)


class Meter:
    """Looks at the clocks while its block runs. One job, one meter."""

    def __init__(self, pool: Collection[int] = ()) -> None:
        """`pool` are the networks' threads, as `native_threads` numbers them."""
        self.stages: defaultdict[str, StageClock] = defaultdict(StageClock)
        """By the scope's names; stages of a thread within another one count as the outer one."""
        self.calls: defaultdict[str, Spent] = defaultdict(Spent)
        """Calls of the model family, in their own thread."""
        self.commands: dict[str, tuple[str, ...]] = {}
        """The first command line of each stage that has an ffmpeg."""
        self.total = Spent()
        """Everything, children included."""
        self.process_s = self.main_s = self.own_s = 0.0
        """Processor time of the process, of the thread that has the meter, and of the meter itself."""
        self.peak_rss_bytes = 0
        """Most memory of this process and its ffmpegs together."""
        self._pool = frozenset(pool)
        self._within = threading.local()
        self._children: dict[int, tuple[str, psutil.Process, float]] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="meter", daemon=True)

    def __enter__(self) -> Self:
        self._began = time.monotonic(), time.process_time(), time.thread_time(), children_cpu_s()
        start_thread(self._thread)
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join()
        wall, process, main, children = self._began
        self.process_s, self.main_s = time.process_time() - process, time.thread_time() - main
        cpu_s = self.process_s - self.own_s + children_cpu_s() - children
        self.total = Spent(cpu_s, time.monotonic() - wall)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add what the block uses to the stage."""
        if getattr(self._within, "stage", False):
            yield
            return
        self._within.stage = True
        before = self._clocks()
        try:
            yield
        finally:
            self._within.stage = False
            clock, after = self.stages[name], self._clocks()
            clock.wall_s += after.wall_s - before.wall_s
            clock.thread_s += after.thread_s - before.thread_s
            clock.process_s += after.process_s - before.process_s
            clock.pool_s += after.pool_s - before.pool_s

    @contextlib.contextmanager
    def call(self, name: str) -> Iterator[None]:
        """Add the time of the block, in this thread alone, to the call."""
        wall, cpu = time.monotonic(), time.thread_time()
        try:
            yield
        finally:
            self.calls[name] += Spent(time.thread_time() - cpu, time.monotonic() - wall)

    def child_s(self, stage: str) -> float:
        """Processor time of the stage's ffmpegs."""
        return sum(cpu_s for name, _, cpu_s in self._children.values() if name == stage)

    def started(self, stage: str, child: Child) -> None:
        """A child of the stage runs."""
        self.commands.setdefault(stage, child.argv)
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended already
            self._children[child.pid] = stage, psutil.Process(child.pid), 0.0

    def _clocks(self) -> StageClock:
        own_s = self.own_s
        return StageClock(time.monotonic(), time.thread_time(), time.process_time() - own_s, self._pool_s())

    def _pool_s(self) -> float:
        if not self._pool:
            return 0.0
        return sum(one.user_time + one.system_time for one in psutil.Process().threads() if one.id in self._pool)

    def _watch(self) -> None:
        own = psutil.Process()
        running = True
        while running:
            running = not self._done.wait(EVERY_S)
            memory = own.memory_info().rss
            for pid, (stage, process, _) in tuple(self._children.items()):
                with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # it ended: the last look holds
                    used = process.cpu_times()
                    memory += process.memory_info().rss
                    self._children[pid] = stage, process, used.user + used.system
            self.peak_rss_bytes = max(self.peak_rss_bytes, memory)
            self.own_s = time.thread_time()


class MeteredScope(Scope):
    """A job's scope whose stages and children are measured."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter

    @contextlib.contextmanager
    def stage(self, name: str, limit_s: float = 0.0) -> Iterator[None]:
        with super().stage(name, limit_s), self._meter.stage(name):
            yield

    def spawn(
        self,
        name: str,
        argv: Sequence[str],
        *,
        feed: bool = False,
        pass_fds: Sequence[int] = (),
        keep_lines: int = STDERR_LINES,
    ) -> Child:
        child = super().spawn(name, argv, feed=feed, pass_fds=pass_fds, keep_lines=keep_lines)
        self._meter.started(name, child)
        return child
