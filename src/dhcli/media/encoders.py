"""The encoders: their command lines, and which of them work on this machine.

Options have the scale of libx264: `crf` 0 to 51, and its presets by name. VP9 and AV1 count quality from 0 to 63, the
others have their own speeds; the tables here translate.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dhcli.errors import DhError
from dhcli.jobs.formats import ENCODERS, HARDWARE, EncoderName
from dhcli.jobs.options import Preset
from dhcli.media.ffmpeg_program import complaint, find_ffmpeg

GPU: tuple[EncoderName, ...] = (*HARDWARE, "hevc_nvenc")
CRF_63 = 63 / 51
SPEEDS: tuple[Preset, ...] = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip
AV1_PRESETS = (9, 9, 8, 8, 7, 6, 5, 4, 3, 2)
"""Of libsvtav1. From 10 on it warns of artefacts, and moving edges are lost. 8 takes 1.5 times as long as libx264
veryfast at 960x720."""
VP9_SPEEDS = (8, 8, 7, 6, 5, 4, 3, 2, 1, 0)
"""Of libvpx-vp9: from `LIVE` on with its deadline "realtime", where 7 takes as long as libx264 veryfast."""
LIVE = 5
NVENC_PRESETS = ("p1", "p1", "p2", "p3", "p3", "p4", "p5", "p6", "p7", "p7")

Quality = Callable[[int, int], list[str]]
"""Options for a crf, 0..51, and the number of a speed, 0..9."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """How one of them is called."""

    name: str
    quality: Quality
    pix_fmt: str = "yuv420p"
    before: tuple[str, ...] = ()
    """Options before the inputs."""
    chain: tuple[str, ...] = ()
    """Filters at the end."""


def _x26x(crf: int, speed: int) -> list[str]:
    return ["-crf", str(crf), "-preset", SPEEDS[speed]]


def _vp9(crf: int, speed: int) -> list[str]:
    deadline = "realtime" if VP9_SPEEDS[speed] >= LIVE else "good"
    pace = ["-deadline", deadline, "-cpu-used", str(VP9_SPEEDS[speed]), "-row-mt", "1"]
    return ["-crf", str(round(crf * CRF_63)), "-b:v", "0", *pace]


def _av1(crf: int, speed: int) -> list[str]:
    return ["-crf", str(round(crf * CRF_63)), "-preset", str(AV1_PRESETS[speed])]


def _nvenc(crf: int, speed: int) -> list[str]:
    return ["-rc", "vbr", "-cq", str(crf), "-b:v", "0", "-preset", NVENC_PRESETS[speed]]


TABLE: Mapping[str, Encoder] = {
    one.name: one
    for one in (
        Encoder("libx264", _x26x),
        Encoder("libx265", lambda crf, speed: [*_x26x(crf, speed), "-x265-params", "log-level=error"]),
        Encoder("libsvtav1", _av1),
        Encoder("libvpx-vp9", _vp9),
        Encoder("prores_ks", lambda _, __: ["-profile:v", "hq", "-vendor", "apl0"], "yuv422p10le"),
        Encoder("h264_nvenc", _nvenc),
        Encoder("hevc_nvenc", _nvenc),
        Encoder("h264_qsv", lambda crf, _: ["-global_quality", str(crf)], "nv12"),
        Encoder(
            "h264_vaapi",
            lambda crf, _: ["-rc_mode", "CQP", "-qp", str(crf)],
            "nv12",
            before=("-vaapi_device", "/dev/dri/renderD128"),
            chain=("format=nv12", "hwupload"),
        ),
    )
}
"""By name."""


def speed_of(preset: Preset) -> int:
    """0 for the fastest, 9 for the slowest."""
    return SPEEDS.index(preset)


def software_for(ending: str) -> EncoderName:
    """What `auto` means in a file with this ending."""
    return "libvpx-vp9" if ending == ".webm" else "libx264"


def chosen(wanted: EncoderName, ending: str) -> tuple[EncoderName, str]:
    """The encoder that a job gets, and a warning or "". Raises DhError env.device_unavailable, env.ffmpeg_*."""
    if wanted == "auto":
        return software_for(ending), ""
    if wanted == "auto-hw":
        for name in HARDWARE:
            if name in ENCODERS[ending] and not why_not(name):
                return name, ""
        software = software_for(ending)
        return software, f"No hardware encoder works here ({', '.join(HARDWARE)}); {software} is used."
    if wanted in GPU and (reason := why_not(wanted)):
        raise DhError(
            "env.device_unavailable",
            f"The encoder {wanted} does not work on this machine: {reason}.",
            hint="Use encoder: auto-hw, which falls back to the CPU, or libx264; `dh doctor` lists what works.",
        )
    return wanted, ""


@functools.cache
def why_not(name: str) -> str:
    """Why an encoder does not work on this machine, from a trial; "" where it does. Raises DhError env.ffmpeg_*."""
    encoder = TABLE[name]
    chain = ",".join(encoder.chain or (f"format={encoder.pix_fmt}",))
    source = ["-f", "lavfi", "-i", "color=gray:s=320x240:r=25", "-frames:v", "3", "-vf", chain, "-c:v", name]
    return complaint(find_ffmpeg(), *encoder.before, *source, *encoder.quality(18, 2), "-f", "null", "-")
