"""Rank histograms: the rank of the truth among the members of an ensemble."""

from __future__ import annotations

import re

from markupsafe import Markup

from rsbench.evaluation.report.board import Board
from rsbench.evaluation.report.charts import Frame, Looks, line_chart, line_of

RANK = re.compile(r"rank (\d+), lead (\d+)")
"""Name of a count of ranks in a run."""


def histograms(board: Board, looks: Looks) -> list[tuple[int, Markup]]:
    """Return (lead, chart) of rank histograms at the first and the last lead (Hamill 2001).

    A point is the share of pixels whose truth has a rank among M members, times M + 1: 1 where
    truth and members come from one distribution, higher at both ends where the spread of the
    members is too small.
    """
    counts: dict[tuple[int, str], dict[int, int]] = {}
    for row in board.counts:
        if fits := RANK.fullmatch(str(row["what"])):
            rank, lead = (int(text) for text in fits.groups())
            counts.setdefault((lead, str(row["model"])), {})[rank] = int(row["count"])
    leads = sorted({lead for lead, _ in counts})
    found = []
    for lead in dict.fromkeys((leads[0], leads[-1])) if leads else ():
        lines = []
        for key, look in looks.items():
            if ranks := counts.get((lead, key.rpartition("/")[0])):
                size = board.run.members + 1  # ranks without pixels are not listed
                scale = size / sum(ranks.values())
                points = ((float(r), ranks.get(r, 0) * scale, None, None) for r in range(size))
                lines.append(line_of(key, look, points))
        frame = Frame(
            f"rank histogram, {board.run.words.lead(lead)}", "rank of the truth among the members",
            "relative frequency (1 = flat)", board.run.simulated, zero=True,
        )  # fmt: skip
        found.append((lead, line_chart(lines, frame)))
    return found
