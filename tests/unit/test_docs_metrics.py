"""The page of metrics says what the metrics say of themselves."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from rsbench.metrics.registry import metric_info

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "metrics.md"


@pytest.mark.skipif(not PAGE.is_file(), reason="not run from a checkout")
def test_the_table_is_the_one_its_tool_writes() -> None:
    text = PAGE.read_text(encoding="utf-8")
    renew = runpy.run_path(str(ROOT / "tools" / "metric_docs.py"))["renew"]
    assert renew(text) == text, "type: python tools/metric_docs.py docs/metrics.md"
    for metric in metric_info():
        assert f"| `{metric.id}` |" in text
