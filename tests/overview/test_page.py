"""The page: whole without scripts, nothing from outside is markup, nothing is loaded."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from dhcli.overview.collect import Entry
from dhcli.overview.document import page
from dhcli.overview.repeat import repeat_command
from dhcli.overview.summary import row_of, summary_of
from dhcli.reports.page_file import is_ours
from dhcli.results.parts import Inputs, VideoInput
from dhcli.results.result import JobResult
from overview.conftest import failed, made

NASTY = '</script><script>alert(1)</script><img src=x onerror="alert(2)">&amp;\'"'
VOID = frozenset({"meta", "img", "input", "line", "path", "circle", "br"})


class Outline(HTMLParser):
    """Checks that elements are closed in order, and keeps what the tests ask about."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] not in {"script", "style"}:
            self.text += data


def page_of(*results: JobResult) -> str:
    entries = [
        Entry(one.job_id, f"/srv/out/{one.job_id}.mp4", Path(f"/srv/out/{one.job_id}.mp4.json"), one) for one in results
    ]
    return page(entries, summary_of(map(row_of, entries)), {})


def test_it_says_all_without_scripts() -> None:
    text = Outline(
        page_of(made("fine"), failed("bad", "input.missing", "video /srv/gone.mp4: there is no such file."))
    ).text
    for words in ("fine", "bad", "input.missing", "there is no such file.", "Trim the clip.", "Details of bad"):
        assert words in text
    assert "dh render /srv/night.yaml --job bad" in text


def test_nothing_from_outside_is_markup() -> None:
    plain, nasty = Outline(page_of(failed("a", "x.y", "m"))), Outline(page_of(failed(NASTY, NASTY, NASTY)))
    assert nasty.tags == plain.tags
    assert NASTY in nasty.text
    assert {(tag, name) for tag, name, _ in nasty.attributes} == {(tag, name) for tag, name, _ in plain.attributes}


def test_invisible_characters_are_shown() -> None:
    assert r"a\u202egnp.4pm" in page_of(made("a\u202egnp.4pm"))


def test_it_loads_nothing_and_only_its_own_script_may_run() -> None:
    whole = page_of(made("a"))
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"<script>.*</script>", "", whole, flags=re.DOTALL))
    assert "default-src 'none'" in whole


def test_a_table_has_names_scopes_and_a_caption() -> None:
    outline = Outline(page_of(made("a"), made("b")))
    scopes = [value for tag, name, value in outline.attributes if (tag, name) == ("th", "scope")]
    assert scopes.count("row") == 2
    assert scopes.count("col") == 9
    assert "caption" in outline.tags


def test_the_worst_video_is_on_top() -> None:
    results = [made(f"job-{at:02d}") for at in range(50)]
    results[31] = made("job-31", picture={"shown": 0.01})
    text = Outline(page_of(*results)).text
    table = text[text.index("All jobs, the most suspicious first") :]
    assert re.search(r"job-\d\d", table)[0] == "job-31"  # type: ignore[index]
    assert "Look at these first" in text


def test_the_line_of_time_is_of_the_last_night() -> None:
    day = 24 * 3600
    whole = page_of(made("old"), made("older", at_s=-day), made("new", at_s=day), made("last", at_s=day + 7200))
    drawn = whole[whole.index('class="night') : whole.index('id="jobs"')]
    assert re.findall(r'title="(\w+):', drawn) == ["new", "last"]
    assert "2 jobs of earlier nights not drawn" in drawn


def test_jobs_at_one_time_lie_below_one_another() -> None:
    whole = page_of(made("a"), made("b", at_s=2), made("c", at_s=6))
    assert whole.count('class="lane"') == 2


def test_a_page_knows_itself() -> None:
    assert is_ours(page_of(made("a")).encode()[:256])
    assert not is_ours(b"<!doctype html>\n<html><head><title>Mine</title>")


@pytest.mark.parametrize(
    ("change", "command"),
    [
        ({}, "dh render /srv/night.yaml --job promo --force"),
        ({"manifest": "/srv/my night.yaml"}, "dh render '/srv/my night.yaml' --job promo --force"),
        (
            {"manifest": None, "options": {"gain": 1.2, "model": "dh-base", "faithful": True, "limit_frames": 3}},
            (
                "dh render --audio /srv/monday.wav --video /srv/anna.mp4 --save-path /o.mp4 --set gain=1.2 "
                "--set faithful=true --limit-frames 3 --force"
            ),
        ),
        ({"manifest": None, "inputs": Inputs(video=VideoInput(path="/srv/anna.mp4"))}, ""),
    ],
)
def test_the_command_renders_the_same_once_more(change: dict[str, Any], command: str) -> None:
    assert repeat_command(made(**change), "/o.mp4") == command
