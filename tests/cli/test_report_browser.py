"""The page in a real browser, where there is one: sorting, choosing, hiding, comparing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
from scores_fixtures import save_run

from rsbench.evaluation.report import write_report

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = pytest.mark.skipif(not BROWSER, reason="no chromium here")

SCRIPT = """
const out = {};
const q = (s) => document.querySelector(s);
const all = (s) => [...document.querySelectorAll(s)];
const names = () => all(".leaderboard tbody th").map((n) => n.textContent.split(" ")[0]);
out.before = names();
q(".sort").click();
out.best = names();
out.sorted = q(".leaderboard thead [aria-sort]").getAttribute("aria-sort");
q(".sort").click();
out.worst = names();
q('input[value="metrics"]').click();
out.columns = all(".leaderboard thead th").map((n) => n.textContent);
out.shown = all("[data-for]").map((n) => [n.dataset.for, n.hidden]);
const filter = q('[data-pick="filter"]');
filter.value = "PERSIST";
filter.dispatchEvent(new Event("input"));
out.filtered = names();
const panel = q("[data-panels]");
panel.value = "1";
panel.dispatchEvent(new Event("input"));
out.panels = all("[data-panel]").map((n) => n.hidden);
const toggle = q('[data-toggle="simvp/tiny"]');
toggle.click();
out.hidden = all('[data-row="simvp/tiny"]').every((n) => n.classList.contains("off"));
out.pressed = toggle.getAttribute("aria-pressed");
q(".copy").closest("details").open = true;
q(".copy").click();
out.selected = String(getSelection()).startsWith("Predictions were scored");
q('.kind-prediction .shot').click();
out.dialog = q("#viewer").open;
out.pictures = [q("#viewer-truth").naturalWidth > 0, q("#viewer-other").naturalWidth > 0];
q("#theme").click();
out.theme = document.documentElement.dataset.theme;
out.wide = document.documentElement.scrollWidth <= innerWidth;
document.title = "RESULT" + JSON.stringify(out);
"""


def dump(page: Path, profile: Path, width: int) -> str:
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", f"--user-data-dir={profile}", f"--window-size={width},1200",
            "--virtual-time-budget=3000", "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("width", [500, 1400])
def test_page_works_in_a_browser(tmp_path: Path, width: int) -> None:
    page = write_report(
        [save_run(tmp_path / "run", viewer=True)], tmp_path / "r.html", published=["sat-jepa-diff"]
    )
    text = page.read_text()
    cut = text.rindex("</body>")
    later = "<script>window.onerror = (m) => { document.title = 'ERROR' + m; };</script>"
    page.write_text(
        text[:cut]
        + f"<script>addEventListener('load', () => {{ {SCRIPT} }});</script>"
        + text[cut:]
    )
    page.write_text(page.read_text().replace("<style>", later + "<style>", 1))
    dom = dump(page, tmp_path / "profile", width)
    title = re.search(r"<title>(.*?)</title>", dom, re.S)
    assert title is not None
    assert title.group(1).startswith("RESULT"), title.group(1)
    found = json.loads(unescape(title.group(1)).removeprefix("RESULT"))
    assert found["best"][:2] == ["floor", "oracle"]
    assert found["best"][-1] == found["worst"][-1] == "linear_trend"
    assert found["sorted"] == "descending"  # best first, and more skill is better
    assert found["worst"][0] == "persistence"
    assert any(column.startswith("psnr@1") for column in found["columns"])
    assert dict(found["shown"]) == {"leads": True, "metrics": False}
    assert set(found["filtered"]) == {"damped_persistence", "persistence"}
    assert found["panels"].count(False) == 1
    assert not found["panels"][1]
    assert found["hidden"]
    assert found["pressed"] == "false"
    assert found["dialog"]
    assert found["pictures"] == [True, True]
    assert found["selected"]
    assert found["theme"] in ("dark", "light")
    assert found["wide"], "the page scrolls sideways"
