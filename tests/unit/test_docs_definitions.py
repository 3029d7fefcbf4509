"""The page on tables that do not compare: its numbers are those of its command, and ranks cross."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "why-tables-do-not-compare.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="not run from a checkout")


@pytest.fixture(scope="module")
def tool() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "tools" / "definitions.py"))


@pytest.fixture(scope="module")
def values(tool: dict[str, Any]) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = tool["score"](*tool["scenes"](np.random.default_rng(7)))
    return found


def test_the_table_is_the_one_its_tool_writes(
    tool: dict[str, Any], values: dict[str, np.ndarray]
) -> None:
    text = PAGE.read_text(encoding="utf-8")
    remedy = "type: python tools/definitions.py docs/why-tables-do-not-compare.md"
    assert tool["renew"](text, values) == text, remedy
    assert "(images/definitions.png)" in text
    assert (PAGE.parent / "images" / "definitions.png").is_file()


def test_ranks_cross_under_every_printed_name(
    tool: dict[str, Any], values: dict[str, np.ndarray]
) -> None:
    orders: dict[str, set[tuple[int, ...]]] = {}
    for column in tool["COLUMNS"]:
        own = tool["shared"](column.metric, values[column.metric])
        orders.setdefault(column.name, set()).add(tuple(own))
    assert {name: len(found) > 1 for name, found in orders.items()} == dict.fromkeys(
        ("SSIM", "GSSIM", "ERGAS", "SAM"), True
    )


def test_what_the_page_says_of_single_predictions(
    tool: dict[str, Any], values: dict[str, np.ndarray]
) -> None:
    place = {forecast.name: i for i, forecast in enumerate(tool["FORECASTS"])}
    bright, dark, blurred = (
        place[name] for name in ("a quarter too bright", "infrared too dark", "blurred, σ 1.2 px")
    )
    assert values["gssim.sobel3-zero@1"][bright] > 0.999
    assert tool["shared"]("ssim.blur2@1", values["ssim.blur2@1"])[blurred] == 2
    assert values["ergas.stfdiff@1"][bright] < values["ergas.gpstfdiff@1"][bright]
    assert values["ergas.stfdiff@1"][dark] > values["ergas.gpstfdiff@1"][dark]
    assert values["sam.swinstfm@1"][dark] < 1e-6
    assert tool["shared"]("sam.gpstfdiff@1", values["sam.gpstfdiff@1"])[dark] == 7
    assert values["sam.edcstfn@1"].min() > 1.1
