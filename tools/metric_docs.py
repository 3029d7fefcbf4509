"""Write the table of metrics in docs/metrics.md from the metric registry.

Usage: python tools/metric_docs.py docs/metrics.md
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rsbench.metrics.registry import MetricInfo, metric_info

BEGIN, END = "<!-- table: tools/metric_docs.py -->", "<!-- end of table -->"
WORDS = {"lower": "lower", "higher": "higher", "zero": "near 0"}


def line(metric: MetricInfo) -> str:
    """Return one row of the table."""
    low, high = ("−∞" if metric.range[0] is None else f"{metric.range[0]:g}",
                 "∞" if metric.range[1] is None else f"{metric.range[1]:g}")  # fmt: skip
    state = "" if metric.available else f" *Unavailable: {metric.reason}.*"
    state += f" *Weights: {', '.join(metric.needs)}.*" if metric.needs else ""
    state += " *Published convention.*" if metric.published else ""
    return (
        f"| `{metric.id}` | {metric.title}{state} | {WORDS[metric.direction]} | "
        f"{low} … {high} | {metric.unit} | {metric.source} |"
    )


def table() -> str:
    """Return the whole table between its markers."""
    head = ["| id | what | better | range | unit | source |", "|---|---|---|---|---|---|"]
    return "\n".join([BEGIN, *head, *(line(m) for m in metric_info(probe=False)), END])


def renew(text: str) -> str:
    """Return the page with an updated table."""
    before, rest = text.split(BEGIN, 1)
    return before + table() + rest.split(END, 1)[1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Update the table of metrics in a page.")
    parser.add_argument("page", type=Path, help="Markdown page with the table")
    page = parser.parse_args().page
    page.write_text(renew(page.read_text(encoding="utf-8")), encoding="utf-8")
