"""The verb `dh bench`: what to measure, and the report as a table or as JSON. The measuring is done elsewhere."""

from __future__ import annotations

import contextlib
import signal
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from dhcli.command.flags import SHOW, WHAT, DeviceName, FacePrecision, Model, ModelsDirs, PrecisionName, Sets, Threads
from dhcli.command.streams import answer, say
from dhcli.runtime.signals import SIGNALS

if TYPE_CHECKING:
    from dhcli.bench.clip import Size
    from dhcli.options import Job

Audio = Annotated[
    str | None,
    typer.Option("--audio", metavar="FILE", help="Speech to render; default: the sample's.", rich_help_panel=WHAT),
]
Video = Annotated[
    str | None,
    typer.Option("--video", metavar="FILE", help="Video to render; default: the sample's.", rich_help_panel=WHAT),
]
Sizes = Annotated[
    list[str] | None,
    typer.Option(
        "--size",
        metavar="SIZE",
        help="Bring the clip to this size first, as 1280x720 or 720p; may be repeated.",
        rich_help_panel=WHAT,
    ),
]
Frames = Annotated[
    int | None,
    typer.Option(
        "--frames",
        metavar="N",
        min=1,
        help="Only the first N frames; start and end of a job weigh more then.",
        rich_help_panel=WHAT,
    ),
]
JsonReport = Annotated[
    bool,
    typer.Option("--json", metavar="", help="The report as JSON on stdout; see dh schema bench.", rich_help_panel=SHOW),
]


class _Signalled(BaseException):
    """A signal, as the way out of whatever runs; it must pass every `except Exception`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def bench(
    audio: Audio = None,
    video: Video = None,
    size: Sizes = None,
    frames: Frames = None,
    device: DeviceName = "auto",
    precision: PrecisionName = FacePrecision.auto,
    threads: Threads = 0,
    model: Model = None,
    set_: Sets = None,
    models_dir: ModelsDirs = None,
    json_: JsonReport = False,
) -> None:
    """Render a clip, or the sample, and say what each stage costs beside the least that it could."""
    from dhcli.bench.run import Networks, Wanted, measure
    from dhcli.bench.table import table
    from dhcli.command.selection import chosen_device

    sizes = [_size(text) for text in size or ()]
    where = chosen_device(device, precision.value)
    networks = Networks(where, threads, precision.value, tuple(models_dir or ()))
    wanted = Wanted(_job(audio, video, model, set_), sizes, frames, networks)
    try:
        with _signals_raised():
            report = measure(wanted, lambda text: say([f"dh bench: {text}"]))
    except _Signalled as signalled:
        say(["dh bench: interrupted; nothing is left behind"])
        raise typer.Exit(128 + signalled.number) from None
    answer([report.model_dump_json()] if json_ else table(report))


def _size(text: str) -> Size:
    from dhcli.bench.clip import parse_size
    from dhcli.command.selection import usage

    try:
        return parse_size(text)
    except ValueError as error:
        usage(f"--size {text}: expected {error}")


def _job(audio: str | None, video: str | None, model: str | None, sets: list[str] | None) -> Job:
    from dhcli.bench.clip import sample
    from dhcli.command.selection import chosen_jobs

    if audio is None or video is None:
        speech, avatar = (str(path) for path in sample())
        audio, video = audio or speech, video or avatar
    # Checked as any job's and never written; no input has this name, so that it stands in nobody's way.
    save_path = str(Path(video).parent / f"dh-bench-{uuid.uuid4().hex}.mp4")
    _, (job,) = chosen_jobs(None, (audio, video, save_path), None, None, model, sets)
    return job


@contextlib.contextmanager
def _signals_raised() -> Iterator[None]:
    """INT, TERM and HUP end what runs by an exception, so that files and children go with it.

    Those that follow are ignored: a second exception would break off the removing.
    """

    def end(number: int, _: FrameType | None) -> None:
        for other in wanted:
            signal.signal(other, signal.SIG_IGN)
        raise _Signalled(number)

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may take signals
        return
    wanted = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
