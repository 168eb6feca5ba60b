"""Suspicion: good renders have none, each fault has its reason, and the worst video is on top."""

from __future__ import annotations

from typing import Any

import pytest

from dhcli.overview.suspicion import LOOK, NO_VIDEO, suspicion
from dhcli.results.parts import EarlierAttempt, Kept
from overview.conftest import failed, made, warned


def test_a_good_video_is_not_suspicious() -> None:
    assert suspicion(made()).points == 0
    assert suspicion(made()).reasons == ()


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"shown": 0.05}, "the mouth opens 0.05 where 0.30 was asked for"),
        ({"shown": 0.7}, "gapes"),
        ({"asked": 0.01, "shown": 0.01, "correlation": None}, "hardly asked"),
        ({"correlation": 0.4}, "follows the speech badly"),
        ({"lag_ms": -190.0}, "190 ms early"),
        ({"sharpness": 40.0}, "13% of the original's sharpness"),
        ({"kept": Kept(missing=0.0, covered=0.5, left=0.0)}, "covers the mouth in 50%"),
        ({"kept": Kept(missing=0.5, covered=0.0, left=0.0)}, "no face in 50%"),
        ({"face_px": 40.0}, "40 px wide"),
        ({"noise_db": 0.0}, "no speech is heard"),
    ],
)
def test_each_fault_makes_a_video_worth_a_look_and_says_why(figures: dict[str, Any], words: str) -> None:
    found = suspicion(made(picture=figures))
    assert found.grave or "gapes" in words
    assert words in found.reasons[0].text


def test_faults_add_up_and_never_reach_the_points_of_no_video() -> None:
    one = suspicion(made(picture={"shown": 0.05}))
    both = suspicion(made(picture={"shown": 0.05, "correlation": 0.1, "sharpness": 10.0, "face_px": 20.0}))
    assert one.points < both.points < NO_VIDEO
    assert [each.points for each in both.reasons] == sorted((each.points for each in both.reasons), reverse=True)


def test_a_still_mouth_is_no_fault_where_nobody_speaks_or_the_job_leaves_it() -> None:
    still = {"asked": 0.0, "shown": 0.0, "correlation": None}
    silent = suspicion(made(picture=still, warnings=warned("audio.silent")))
    assert not any("asked" in one.text for one in silent.reasons)
    left = still | {"kept": Kept(missing=0.0, covered=0.0, left=1.0)}
    assert suspicion(made(picture=left)).points == 0


def test_a_warning_that_a_figure_tells_counts_once() -> None:
    figures = {"face_px": 40.0}
    assert suspicion(made(picture=figures, warnings=warned("face.small"))) == suspicion(made(picture=figures))
    assert suspicion(made(warnings=warned("input.damaged"))).points >= LOOK


def test_a_video_of_a_second_attempt_and_a_coarse_one_are_named() -> None:
    again = EarlierAttempt(attempt=1, code="decode.failed", message="the decoder died")
    assert "2 attempts" in suspicion(made(earlier_attempts=(again,), attempt=2)).reasons[0].text
    assert suspicion(made(options={"crf": 45})).grave


def test_no_video_is_the_worst() -> None:
    assert suspicion(failed("a")).points == suspicion(None).points == NO_VIDEO


def test_unknown_figures_speak_against_nobody() -> None:
    unknown = dict.fromkeys(
        ("face_px", "yaw_deg", "asked", "shown", "correlation", "lag_ms", "sharpness", "source_sharpness", "noise_db")
    )
    assert suspicion(made(picture=unknown)).points == 0
    assert suspicion(made().model_copy(update={"picture": None})).points == 0
