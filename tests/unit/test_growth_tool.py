"""The tool that measures how plans, locks and builds grow, without its recorded page."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from support.tool import load_tool

from rsbench.build.plan.items import MAX_DEPTH, _frozen, _frozen_plain

growth = load_tool("growth")


def test_page_and_picture_show_every_size(tmp_path: Path) -> None:
    found = [growth.Measured("building, years", size, 0.5 * size, 130.0) for size in (1, 4)]
    text = growth.page(found, {"Python": "3"})
    assert "| building, years | 4 | 2.00 | 500 | 130 |" in text
    assert "![Growth](growth.svg)" in text
    growth.draw(found, tmp_path / "growth.svg")
    assert (tmp_path / "growth.svg").stat().st_size > 1000


def test_rows_measured_apart_make_one_page(tmp_path: Path) -> None:
    rows = [growth.Measured("scoring, regions / 8", 1, 2.0, 700.0),
            growth.Measured("planning, regions", 100, 9.0, 99.0),
            growth.Measured("planning, regions", 100, 4.0, 85.0)]  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))
    assert growth.known_rows(path) == [rows[2], rows[0]]
    assert growth.known_rows(tmp_path / "absent") == []


def test_without_recorded_pages_the_tool_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RSBENCH_TEST_DATA", raising=False)
    with pytest.raises(SystemExit, match="RSBENCH_TEST_DATA names no folder"):
        growth.recorded_page()


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ({"a": [1, 2.5, "x", None, True]}, True),
        ({"a": float("nan")}, False),
        ({"a": [{"b": 1 << 64}]}, False),
        ({"a": nested(MAX_DEPTH - 2)}, True),
        ({"a": nested(MAX_DEPTH + 1)}, False),
        ({"a": "\ud800"}, False),
        ({"a": {1, 2}}, False),
        ({"a": [{"é": 1}]}, False),
    ],
)
def test_what_is_surely_plain_is_not_looked_at_part_by_part(value: object, plain: bool) -> None:
    frozen = _frozen_plain(value)
    assert (frozen is not None) is plain
    assert frozen is None or frozen == _frozen(value)
