"""The command that renders a job once more."""

from __future__ import annotations

import shlex

from dhcli.jobs.options import JobOptions
from dhcli.results.result import JobResult


def repeat_command(result: JobResult, save_path: str) -> str:
    """For the shell: from the manifest, or from the paths and options where the job came without one."""
    force = ["--force"] if result.output is not None else []
    if result.manifest is not None:
        return shlex.join(["dh", "render", result.manifest, "--job", result.job_id, *force])
    inputs = result.inputs
    if inputs.video is None or inputs.audio is None:
        return ""
    words = ["dh", "render", "--audio", inputs.audio.path, "--video", inputs.video.path, "--save-path", save_path]
    return shlex.join([*words, *_options(result), *force])


def _options(result: JobResult) -> list[str]:
    """Every option that is not what it is by default, as --set."""
    usual = JobOptions().model_dump(mode="json")
    words: list[str] = []
    for name, value in result.options.items():
        if name == "limit_frames":
            words += ["--limit-frames", str(value)]
        elif name in usual and value != usual[name]:
            words += [
                "--set",
                f"{name}={'null' if value is None else str(value).lower() if isinstance(value, bool) else value}",
            ]
    return words
