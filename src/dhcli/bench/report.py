"""The report of a measurement: the fields of `dh bench --json`, and a table. Fields are added and never removed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from fractions import Fraction
from typing import Literal

from pydantic import ConfigDict, Field, JsonValue

from dhcli.results.parts import Environment, Part, Resources, Timings


class Pass(Part):
    """One render of the clip, as its result file tells of it."""

    analysis: Literal["made", "cached"] | None = Field(description="Whether the face's track was in the cache.")
    frames_per_s: float = Field(gt=0, description="Frames of the output a second, from the job's start to its end.")
    timings_s: Timings = Field(description="Where the time went, s.")
    resources: Resources = Field(description="What the job used.")


class Run(Part):
    """One clip."""

    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    fps: str = Field(description="Frame rate of the clip, as a fraction.")
    frames: int = Field(ge=1, description="Frames of the output.")
    cold: Pass = Field(description="The first render: its video is analysed.")
    warm: Pass = Field(description="Of three more renders the one whose time is in the middle.")


class BenchReport(Part):
    """How fast this machine renders."""

    model_config = ConfigDict(title="dh bench")

    schema_version: Literal[1] = 1
    environment: Environment = Field(description="What it ran on.")
    cores: int = Field(ge=1, description="Cores that dh may use.")
    options: dict[str, JsonValue] = Field(description="The options of the jobs.")
    load_s: float = Field(ge=0, description="Seconds to open the model, once a run; in none of the timings.")
    runs: tuple[Run, ...]


def table(report: BenchReport) -> Iterator[str]:
    """The lines of a table, 80 columns at most: for each run the cold pass beside the warm one."""
    where, options = report.environment, report.options
    how = f"{report.cores} cores, {options['encoder']} {options['preset']} crf {options['crf']}"
    yield from textwrap.wrap(f"{options['model']} ({where.precision}) on {where.device}, {how}", 80)
    for run in report.runs:
        yield ""
        yield f"{run.width}x{run.height}, {run.frames} frames, {float(Fraction(run.fps)):.6g} fps"
        yield f"{'':18}{'cold':>12}{'warm':>12}"
        warm = _figures(run.warm)
        yield from (f"{title:18}{cold:>12}{warm[title]:>12}" for title, cold in _figures(run.cold).items())


def _figures(one: Pass) -> dict[str, str]:
    spent, used = one.timings_s, one.resources
    seconds = spent.model_dump(exclude={"queued", "stages"}) | spent.stages | {"CPU time": used.cpu_s or 0.0}
    return {
        "analysis": one.analysis or "none",
        **{name.replace("_", " "): f"{value:.3f} s" for name, value in seconds.items()},
        "frames a second": f"{one.frames_per_s:.1f}",
        "peak memory": f"{(used.peak_rss_bytes or 0) >> 20} MiB",
    }
