"""From clocks to costs: which of the measured seconds belong to which stage, and the job against its floors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dhcli.bench.floors import Alone
from dhcli.bench.meter import Meter, Spent
from dhcli.bench.report import (
    STAGES,
    Cost,
    Floor,
    LongestSerial,
    Pass,
    Ratios,
    Run,
    StageName,
)
from dhcli.plan import Plan, Trace
from dhcli.runtime.threads import cores
from dhcli.timing import rate_text

ALONE = ("probe", "listen", "analyse", "verify")
"""Stages of the main thread in which no other thread of ours works: all that the process uses is theirs."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One pass of a job."""

    meter: Meter
    trace: Trace
    plan: Plan


def stage_costs(done: Measured) -> dict[StageName, Spent]:
    """Seconds of each stage of a pass; their processor times add up to all that was used."""
    meter, trace = done.meter, done.trace
    clocks, calls = meter.stages, meter.calls
    main = clocks["speak"]
    alone_s = sum(clocks[name].process_s for name in ALONE)
    threads_s = clocks["decode"].thread_s + clocks["encode"].thread_s
    outside_s = meter.main_s - main.thread_s - sum(clocks[name].thread_s for name in ALONE)
    # What is left are threads without Python: the networks' and, beside them, OpenCV's.
    native_s = meter.process_s - meter.own_s - alone_s - threads_s - main.thread_s - outside_s
    opencv_s = max(0.0, native_s - main.pool_s)
    costs: dict[StageName, Spent] = {
        "probe": _alone(meter, "probe"),
        "analyse": _alone(meter, "analyse"),
        "listen": _alone(meter, "listen"),
        "verify": _alone(meter, "verify"),
        "decode": Spent(
            clocks["decode"].thread_s + meter.child_s("decode"), clocks["decode"].wall_s - trace.reader_wait_s
        ),
        "speak": calls["speak"] + Spent(main.pool_s),
        "blend": calls["blend"] + Spent(opencv_s),
        "encode": Spent(
            clocks["encode"].thread_s + meter.child_s("encode"), clocks["encode"].wall_s - trace.writer_wait_s
        ),
    }
    known = sum(cost.cpu_s for cost in costs.values())
    phases = sum(clocks[name].wall_s for name in ALONE) + trace.timings_s["render"]
    costs["other"] = Spent(max(0.0, meter.total.cpu_s - known), max(0.0, meter.total.wall_s - phases))
    return costs


def _alone(meter: Meter, name: str) -> Spent:
    clock = meter.stages[name]
    return Spent(clock.process_s + meter.child_s(name), clock.wall_s)


def tell(cold: Measured, passes: Sequence[Measured], floors: Mapping[StageName, Alone], batches: Sequence[int]) -> Run:
    """The report of one clip. Of the warm `passes` the middle one counts; `batches` are the face network's."""
    in_order = sorted(passes, key=lambda one: one.meter.total.wall_s)
    warm = in_order[len(in_order) // 2]
    plan, frames = warm.plan, warm.plan.frames
    costs, analysis = stage_costs(warm), stage_costs(cold)["analyse"]
    costs["other"] += costs.pop("analyse")  # the track, taken from the cache
    serial = _longest(warm, floors)
    total = warm.meter.total / frames
    floor_cpu_s = sum(floors[name].a_frame.cpu_s for name in floors if name != "analyse")
    return Run(
        width=plan.format.width,
        height=plan.format.height,
        fps=rate_text(plan.format.fps),
        frames=frames,
        analysed_frames=plan.analysed_frames,
        spoken_frames=sum(batches),
        batch=max(batches, default=0),
        stages={name: _cost(analysis if name == "analyse" else costs[name], frames) for name in STAGES},
        floors={name: _floor(alone) for name, alone in floors.items()},
        warm=_pass(warm.meter.total, frames),
        warm_fps=tuple(frames / one.meter.total.wall_s for one in in_order),
        cold=_pass(warm.meter.total + analysis, frames),
        longest_serial=serial,
        ratios=Ratios(
            cpu=total.cpu_s / floor_cpu_s,
            wall=total.wall_s / max(total.cpu_s / cores(), serial.wall_ms / 1000),
            analyse=analysis.wall_s / plan.analysed_frames / total.wall_s,
        ),
        # Not of the later passes: the floors between them leave more behind than a job does.
        peak_rss_bytes=max(cold.meter.peak_rss_bytes, passes[0].meter.peak_rss_bytes),
    )


def _longest(warm: Measured, floors: Mapping[StageName, Alone]) -> LongestSerial:
    found = [
        LongestSerial(name="decode", wall_ms=floors["decode"].a_frame.wall_s * 1000),
        LongestSerial(name="speak", wall_ms=floors["speak"].a_frame.wall_s * 1000),
        LongestSerial(name="encode", wall_ms=floors["encode"].a_frame.wall_s * 1000),
        LongestSerial(name="main thread", wall_ms=warm.meter.stages["speak"].thread_s / warm.plan.frames * 1000),
    ]
    return max(found, key=lambda one: one.wall_ms)


def _cost(spent: Spent, frames: int) -> Cost:
    return Cost(cpu_ms=spent.cpu_s / frames * 1000, wall_ms=max(0.0, spent.wall_s) / frames * 1000)


def _floor(alone: Alone) -> Floor:
    spent = alone.a_frame
    return Floor(cpu_ms=spent.cpu_s * 1000, wall_ms=spent.wall_s * 1000, frames=alone.frames)


def _pass(spent: Spent, frames: int) -> Pass:
    cost = _cost(spent, frames)
    return Pass(cpu_ms=cost.cpu_ms, wall_ms=cost.wall_ms, fps=frames / spent.wall_s)
