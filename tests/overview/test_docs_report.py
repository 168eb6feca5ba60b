"""docs/report.md says from which values on a video is suspicious, as the code has them."""

from __future__ import annotations

from pathlib import Path

import jsonschema

from dhcli.overview import suspicion as limits
from dhcli.overview.collect import Entry
from dhcli.overview.summary import Summary, row_of, summary_of
from dhcli.picture.judge import ASKED, SMALL_PX, SOFT_SHARE, STILL_SHARE
from dhcli.results.parts import schema_of
from dhcli.sheets.mouths import STRETCH_S
from overview.conftest import failed, made

PAGE = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
ROWS = {
    "the mouth opens less": (f"{limits.MOVES_WELL:.0%}", f"{STILL_SHARE:.0%}", limits.STILL),
    "the mouth is hardly asked": (ASKED, 0, limits.UNASKED),
    "it gapes": (f"{limits.GAPES:.0%}", f"{limits.GAPES_MOST:.0%}", limits.GAPING),
    "it follows the speech badly": (limits.FOLLOWS, limits.FOLLOWS_BADLY, limits.APART),
    "it is late or early": (f"{limits.IN_TIME_MS:.0f} ms", f"{limits.LATE_MS:.0f} ms", limits.LATE),
    "it is softer inside": (f"{limits.SHARP:.0%}", f"{SOFT_SHARE / 2 * 100:g} %", limits.SOFT),
    "something covers it": ("1%", "60%", limits.KEPT),
    "the face is small": (f"{limits.LARGE_PX:.0f} px", f"{SMALL_PX / 2:.0f} px", limits.SMALL),
    "the head is turned": (f"{limits.FRONTAL_DEG:.0f}°", f"{limits.SIDE_DEG:.0f}°", limits.TURNED),
    "the sound is noisy": (f"{limits.QUIET_DB:.0f} dB", f"{limits.LOUD_DB:.0f} dB", limits.NOISY),
    "the video is coded coarsely": (f"crf {limits.GOOD_CRF}", f"crf {limits.BAD_CRF}", limits.COARSE),
}


def test_every_limit_is_in_its_row() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| reason")]
    assert len(rows) == len(ROWS) + 1
    for (name, numbers), row in zip(ROWS.items(), rows, strict=False):
        assert row.startswith(f"| {name}")
        assert row.endswith(f" {numbers[-1]} |")
        said = row.replace(" %", "%")
        assert all(str(number).replace(" %", "%") in said for number in numbers), row
    assert f"from {limits.LOOK} on" in PAGE
    assert f"{STRETCH_S:g} s around its loudest part" in PAGE


def test_the_summary_is_as_its_schema_says() -> None:
    results = [made("a"), failed("b")]
    entries = [Entry(one.job_id, "/o.mp4", Path(f"/{one.job_id}.json"), one) for one in results]
    entries.append(Entry("c", "/c.mp4", Path("/c.json"), None, "never run"))
    summary = summary_of(map(row_of, entries))
    jsonschema.validate(summary.model_dump(mode="json"), schema_of(Summary))
    assert summary.missing == 1
