"""Jobs as a batch runs them, in this process, with the default model opened once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dhcli.disk.store import Store
from dhcli.events import Event, Summary
from dhcli.families.dh_base.family import DhBase
from dhcli.manifest import single_job
from dhcli.networks.network import Device
from dhcli.render.models import Models
from dhcli.render.probes import Probes
from dhcli.results.result import JobResult, read_result
from dhcli.runs.batch import Batch
from dhcli.runs.settings import Settings

Render = Callable[..., JobResult]


@pytest.fixture(scope="session")
def models(dh_base: DhBase) -> Models:
    models = Models((), Device("cpu"))
    models._families["dh-base"] = dh_base
    return models


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Shared by the tests: what they have in common, the avatar, is analysed once."""
    return Store(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def render(models: Models, store: Store, tmp_path: Path, events: list[Event]) -> Render:
    """Render one job to `out.mp4` and give its result file; options as in a manifest, settings by name."""

    def run(audio: Path, video: Path, *, save_path: Path | None = None, **options: object) -> JobResult:
        names = {"batch", "strict", "if_exists", "limit_frames", "stall_timeout_s", "timeout_s", "results_dir"}
        how = {name: options.pop(name) for name in names & set(options)}
        output = save_path or tmp_path / "out.mp4"
        jobs = single_job(audio, video, output, {key: str(value) for key, value in options.items()}).jobs
        settings = Settings(models, probes=Probes(store), **how)  # type: ignore[arg-type]
        summary = Batch(settings, events.append).run(jobs)
        assert isinstance(summary, Summary)
        result = read_result(settings.result_path(jobs[0]))
        assert result is not None
        return result

    return run
