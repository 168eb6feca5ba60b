"""The page in Chromium: it sorts, filters, searches and opens details, without an error, in both colours and narrow."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from overview.conftest import failed, made, warned
from overview.test_page import NASTY, page_of

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MOST_S = 60
DARK = ("--force-dark-mode", "--blink-settings=preferredColorScheme=0")
Drive = Callable[..., dict[str, str]]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium (Debian: apt-get install chromium)"),
]
DRIVER = """
<script>
const seen = [];
addEventListener("error", (event) => seen.push(`error: ${event.message}`));
addEventListener("securitypolicyviolation", (event) => seen.push(`policy: ${event.violatedDirective}`));
const $ = (selector) => document.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];
const shown = () => all("tbody.job").filter((one) => one.checkVisibility()).map((one) => one.dataset.id);
const say = (name, value) => seen.push(`${name}=${JSON.stringify(value)}`);
const press = (text) => all("button").find((one) => one.textContent.trim().startsWith(text)).click();
const put = (selector, value, event) => {
  $(selector).value = value;
  $(selector).dispatchEvent(new Event(event, {bubbles: true}));
};
const choose = (selector, value) => put(selector, value, "change");
const type = (text) => put("input[type=search]", text, "input");
addEventListener("load", async () => {
  STEPS
  const out = document.createElement("pre");
  out.id = "seen";
  out.textContent = seen.join("\\n");
  document.body.append(out);
});
</script>
"""


@pytest.fixture(scope="module")
def night() -> str:
    return page_of(
        made("anna-1"),
        made("anna-2", picture={"shown": 0.02}, warnings=warned("mouth.still")),
        made("ben-10", at_s=10),
        made("ben-9", at_s=20),
        failed("clara", "input.missing", "video /srv/gone.mp4: there is no such file.", at_s=30),
    )


def chromium(*arguments: str) -> str:
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=MOST_S, check=True).stdout


@pytest.fixture
def drive(tmp_path: Path, night: str) -> Drive:
    """Open the page, take these steps (JavaScript), and give what they said; any error of the page fails the test."""

    def run(steps: str, *flags: str) -> dict[str, str]:
        # The page's own policy would refuse the steps, and a test holds that; here it has to give way.
        page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", night)
        driven = tmp_path / "driven.html"
        driven.write_text(page.replace("</title>", "</title>" + DRIVER.replace("STEPS", steps), 1), encoding="utf-8")
        dom = chromium(*flags, "--dump-dom", driven.as_uri())
        found = re.search(r'<pre id="seen">(.*?)</pre>', dom, re.DOTALL)
        assert found is not None
        lines = found[1].splitlines()
        assert not [line for line in lines if line.startswith(("error", "policy"))]
        return dict(line.split("=", 1) for line in lines)

    return run


def test_it_sorts_by_any_column_both_ways(drive: Drive) -> None:
    said = drive("""
        say("first", shown());
        press("Job"); say("id", shown());
        press("Job"); say("back", shown());
        press("Ended"); say("ended", shown()[0]); say("aria", $("th[data-sort=ended]").getAttribute("aria-sort"));
    """)
    assert said["first"].startswith('["clara","anna-2"')
    assert said["id"] == '["anna-1","anna-2","ben-9","ben-10","clara"]'
    assert said["back"] == '["clara","ben-10","ben-9","anna-2","anna-1"]'
    assert (said["ended"], said["aria"]) == ('"clara"', '"descending"')


def test_it_filters_and_searches(drive: Drive) -> None:
    said = drive("""
        press("Failed"); say("failed", shown());
        press("Worth a look"); say("look", shown());
        press("All"); choose("select[data-filter=code]", "mouth.still"); say("code", shown());
        choose("select[data-filter=code]", ""); type("ANNA-1 mp4"); say("words", shown());
        say("count", $(".found").textContent);
        type("no such file"); say("message", shown());
        location.hash = "#job-1"; await new Promise((done) => setTimeout(done, 100)); say("all", shown().length);
        say("open", all("details[open]").map((one) => one.id));
    """)
    assert said["failed"] == said["message"] == '["clara"]'
    assert said["look"] == said["code"] == '["anna-2"]'
    assert (said["words"], said["count"]) == ('["anna-1"]', '"1 of 5"')
    assert (said["all"], said["open"]) == ("5", '["job-1-more"]'), "a link shows its job whatever was filtered"


def test_details_open_by_a_button_with_a_name_and_a_state(drive: Drive) -> None:
    said = drive("""
        say("before", document.querySelectorAll("details[open]").length);
        press("clara"); say("state", $("#job-0 button").getAttribute("aria-expanded"));
        say("hint", $("#job-0 .hint").checkVisibility());
        const name = (one) => one.textContent || one.labels?.[0]?.textContent || "";
        say("nameless", all("button,select,input,a").filter((one) => !name(one).trim()).length);
    """)
    assert said == {"before": "0", "state": '"true"', "hint": "true", "nameless": "0"}


def test_its_own_script_passes_its_policy(tmp_path: Path, night: str) -> None:
    path = tmp_path / "night.html"
    path.write_text(night, encoding="utf-8")
    dom = chromium("--dump-dom", path.as_uri())
    assert '<html lang="en" data-made-by="dh report" class="js">' in dom


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (500, "light")])
def test_it_is_drawn_in_both_colours_and_nothing_sticks_out(drive: Drive, width: int, scheme: str) -> None:
    own = [f"--window-size={width},900", *(DARK if scheme == "dark" else ())]
    steps = """
        press("anna-2");
        say("paper", getComputedStyle(document.body).backgroundColor);
        say("wide", document.documentElement.scrollWidth - innerWidth);
        say("narrow", matchMedia("(max-width: 600px)").matches);
    """
    said = drive(steps, *own)
    light = said["paper"] == '"rgb(246, 246, 243)"'
    assert light == (scheme == "light")
    assert said["narrow"] == str(width < 600).lower()
    assert int(said["wide"]) <= 0


def test_an_id_that_is_markup_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "nasty.html"
    path.write_text(page_of(failed(NASTY, "input.missing", NASTY)), encoding="utf-8")
    dom = chromium("--dump-dom", path.as_uri())
    assert dom.count("<script") == 1
    assert "<img" not in dom
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in dom


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out(drive: Drive, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1."""
    said = drive(
        """
        for (const one of all("details")) one.open = true;
        const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
        const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        const light = (colour) => {
          const [r, g, b] = channels(colour).map((v) => linear(v / 255));
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const paper = (one) => {
          for (let at = one; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if (channels(colour)[3] !== 0) return colour;
          }
        };
        const says = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        const poor = new Set();
        for (const one of all("body *").filter((one) => says(one) && one.checkVisibility())) {
          if (one.closest("svg,script,.sr")) continue;
          const [a, b] = [light(getComputedStyle(one).color), light(paper(one))].sort((x, y) => y - x);
          const contrast = (a + 0.05) / (b + 0.05);
          if (contrast < 4.5) poor.add(`${one.tagName}.${one.className}: ${contrast.toFixed(2)}`);
        }
        say("poor", [...poor]);
        """,
        *(DARK if scheme == "dark" else ()),
    )
    assert said["poor"] == "[]"


def test_without_scripts_all_is_there(tmp_path: Path, night: str) -> None:
    path = tmp_path / "plain.html"
    path.write_text(re.sub(r"<script>.*?</script>", "", night, flags=re.DOTALL), encoding="utf-8")
    dom = chromium("--dump-dom", path.as_uri())
    assert dom.count("<summary>Details of") == 5
    assert '<form class="controls" role="search" hidden' in dom
