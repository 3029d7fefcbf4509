"""One table for a paper: chosen metrics side by side, as LaTeX or Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from rsbench.core.errors import InputError, unknown
from rsbench.evaluation import intervals as inference
from rsbench.evaluation import strata
from rsbench.evaluation.intervals import loss
from rsbench.evaluation.report.choice import (
    Choice,
    Entry,
    entries_of,
    leads_of,
    metrics_of,
    ranked,
    roles_of,
)
from rsbench.evaluation.scores import Scores
from rsbench.evaluation.table import (
    ALPHA,
    FIT,
    clipped_in,
    number,
    preface,
    primary_in,
    size_of,
    supported_best,
    tex,
    unranked,
    words_of,
)
from rsbench.metrics.queries import direction

ARROWS = {"lower": r"$\downarrow$", "higher": r"$\uparrow$", "zero": r"$\rightarrow 0$"}
PLAIN_ARROWS = {"lower": "↓", "higher": "↑", "zero": "→ 0"}
MARKS = ("tested", "bold", "none")
Column = tuple[str, int]
"""(metric, lead)."""
LeadName = Callable[[int], str]


@dataclass(frozen=True)
class Style:
    """How a table is set.

    Args:
        interval: print intervals beside values.
        best: ``tested``: bold where better than every other entry by more than the paired
            interval; ``bold``: bold for the best value and underlined for the second; ``none``.
        caption: caption of a LaTeX table; it is then a float.
        label: label of a LaTeX table.
    """

    interval: bool = True
    best: str = "tested"
    caption: str = ""
    label: str = ""

    def __post_init__(self) -> None:
        if self.best not in MARKS:
            raise unknown("choice of --best", self.best, MARKS)
        if self.label and not self.caption:
            raise InputError(
                f"--label {self.label}", "a label numbers a caption, and there is none",
                "Add --caption TEXT",
            )  # fmt: skip


@dataclass(frozen=True)
class _Grid:
    """What is printed: entries down, columns across, and the marks of cells."""

    columns: Sequence[Column]
    entries: Sequence[Entry]
    cells: Mapping[tuple[Entry, Column], pd.Series]
    bold: frozenset[tuple[Entry, Column]]
    underlined: frozenset[tuple[Entry, Column]]

    @property
    def presets(self) -> bool:
        """Whether a model has several presets, which then need a column."""
        return len({model for model, _ in self.entries}) < len(self.entries)


def to_paper(
    table: pd.DataFrame, scores: Sequence[Scores], choice: Choice, style: Style, *, latex: bool
) -> str:
    """Return one table of the chosen metrics, or one per metric where none is chosen.

    Args:
        table: the tidy table of the runs.
        scores: their scores, needed for paired tests and to leave bounds out of ranks.
        latex: LaTeX with ``booktabs``, shrunk to the width of a column; otherwise Markdown.

    Raises:
        InputError: if a metric, lead or entry is not there, or nothing can be ranked.
    """
    if style.caption and not choice.metrics:
        raise InputError(
            "--caption", "it is of one table, and there is one per metric",
            f"Add --metric {primary_in(table, scores).metric}",
        )  # fmt: skip
    metrics = metrics_of(table, choice.metrics)
    parts = [metrics] if choice.metrics else [[metric] for metric in metrics]
    grids = [_grid(table, scores, choice, style, part) for part in parts]
    notes = _notes(table, scores, grids, style)
    lead = words_of(table, scores).lead
    if latex:
        head = ["% needs the packages booktabs and graphicx", *(f"% {note}" for note in notes)]
        return "\n".join([*head, *(_latex(grid, style, lead) for grid in grids)])
    return "\n".join([*(_markdown(grid, style, lead) for grid in grids), *_list(notes), ""])


def _list(notes: Sequence[str]) -> list[str]:
    return [f"- {note}" for note in notes]


def _grid(
    table: pd.DataFrame, scores: Sequence[Scores], choice: Choice, style: Style,
    metrics: Sequence[str],
) -> _Grid:  # fmt: skip
    wanted = leads_of(table, choice.leads)
    rows = strata.headline(table)
    rows = rows[rows["metric"].isin(metrics) & rows["lead"].isin(wanted)]
    there = set(rows[["metric", "lead"]].itertuples(index=False, name=None))
    columns = [(m, lead) for m in metrics for lead in wanted if (m, lead) in there]
    entries = entries_of(_ordered(table, scores, columns), choice.entries)
    cells = {
        ((str(row["model"]), str(row["preset"])), (str(row["metric"]), int(row["lead"]))): row
        for _, row in rows.iterrows()
    }
    return _Grid(columns, entries, cells, *_marks(scores, columns, entries, cells, style.best))


def _ordered(
    table: pd.DataFrame, scores: Sequence[Scores], columns: Sequence[Column]
) -> list[Entry]:
    """Return the entries with a row, by the primary endpoint, then by the first column."""
    losses = primary_in(table, scores).losses(table)
    rows = strata.headline(table)
    first = {}
    for metric, lead in columns[:1]:
        own = rows[(rows["metric"] == metric) & (rows["lead"] == lead) & rows["value"].notna()]
        triples = own[["model", "preset", "value"]].itertuples(index=False, name=None)
        first = {(m, p): loss(metric, float(value)) for m, p, value in triples}
    pairs = rows[["model", "preset"]].drop_duplicates().itertuples(index=False, name=None)
    entries = [(str(model), str(preset)) for model, preset in pairs]
    return sorted(entries, key=lambda e: (losses.get(e, math.inf), first.get(e, math.inf), e))


def _marks(
    scores: Sequence[Scores], columns: Sequence[Column], entries: Sequence[Entry],
    cells: Mapping[tuple[Entry, Column], pd.Series], best: str,
) -> tuple[frozenset[tuple[Entry, Column]], frozenset[tuple[Entry, Column]]]:  # fmt: skip
    """Return the bold and the underlined cells."""
    none: frozenset[tuple[Entry, Column]] = frozenset()
    if best == "none":
        return none, none
    if best == "tested":
        found = supported_best(scores[0]) if len(scores) == 1 else frozenset()
        return frozenset(
            ((model, preset), (metric, lead))
            for model, preset, metric, band, lead, stratum in found
            if (band, stratum) == ("all", strata.HEADLINE)
            and (model, preset) in entries
            and (metric, lead) in columns
        ), none
    if not scores:
        raise InputError(
            "--best bold", "a table does not say which of its entries are bounds, not models",
            "Name run folders",
        )  # fmt: skip
    rivals = ranked(roles_of(scores))
    bold: set[tuple[Entry, Column]] = set()
    second: set[tuple[Entry, Column]] = set()
    for metric, lead in columns:
        if not inference.is_ranked(metric):
            continue
        values = {
            entry: loss(metric, float(cells[entry, (metric, lead)]["value"]))
            for entry in entries
            if entry in rivals and (entry, (metric, lead)) in cells
            and math.isfinite(float(cells[entry, (metric, lead)]["value"]))
        }  # fmt: skip
        order = sorted(set(values.values()))[:2] if len(values) > 1 else []
        for entry, value in values.items():
            for place, marked in zip(order, (bold, second), strict=False):
                if value == place:
                    marked.add((entry, (metric, lead)))
    return frozenset(bold), frozenset(second)


def _notes(
    table: pd.DataFrame, scores: Sequence[Scores], grids: Sequence[_Grid], style: Style
) -> list[str]:
    """Return what a reader of the numbers must know, one sentence each."""
    lines = preface(table, primary_in(table, scores), words_of(table, scores), scores)
    if not style.interval:
        lines = [line.replace("value [interval]:", "value:") for line in lines]
    for grid in grids:
        lines += _metric_notes(grid, scores)
    if any(grid.underlined for grid in grids):
        lines.append("bold: best value; underlined: second; neither is a test of significance")
    elif any(grid.bold for grid in grids):
        compared = sum(inference.is_ranked(metric) for grid in grids for metric, _ in grid.columns)
        lines.append(
            "bold: better than every other entry by more than the paired interval; of "
            f"{compared} columns, up to {number(ALPHA * compared, 2)} are bold by chance"
        )
    shown = {model for grid in grids for model, _ in grid.entries}
    absent = dict.fromkeys(a for one in scores for a in one.absences())
    lines += [
        f"{a.model}: {a.reason}" for a in absent
        if a.metric is None and a.lead is None and a.model in shown
    ]  # fmt: skip
    return lines


def _metric_notes(grid: _Grid, scores: Sequence[Scores]) -> list[str]:
    """Return what is particular to the values of a metric."""
    lines = []
    for metric in dict.fromkeys(metric for metric, _ in grid.columns):
        leads = [lead for name, lead in grid.columns if name == metric]
        found = {e: {n: grid.cells.get((e, (metric, n))) for n in leads} for e in grid.entries}
        rows = [
            (*entry, {n: cell for n, cell in own.items() if cell is not None})
            for entry, own in found.items()
        ]
        note = clipped_in(metric, scores)
        about = size_of(metric, rows, scores) + unranked(metric) + (f"; {note}" if note else "")
        lines += [f"{metric}: {about.removeprefix('; ')}"] if about else []
    return lines


def _text(cell: pd.Series | None, style: Style) -> tuple[str, str]:
    """Return value and interval of a cell as text."""
    if cell is None or not math.isfinite(float(cell["value"])):
        return "–", ""
    text = number(float(cell["value"]))
    if not style.interval or cell["interval"] == inference.NONE:
        return text, ""
    return text, f"[{number(float(cell['lo']), 3)}, {number(float(cell['hi']), 3)}]"


def _heads(grid: _Grid) -> Iterator[tuple[str, int]]:
    """Yield (metric, number of columns)."""
    for metric, own in groupby(grid.columns, key=lambda column: column[0]):
        yield metric, len(list(own))


def _markdown(grid: _Grid, style: Style, lead: LeadName) -> str:
    fixed = 2 if grid.presets else 1
    titles = {m: f"{m} {PLAIN_ARROWS[direction(m)]}" for m, _ in grid.columns}
    several = len(titles) > 1
    heads = [f"{titles[m]} {lead(n)}" if several else lead(n) for m, n in grid.columns]
    first = "model" if several else next(iter(titles.values()), "")
    lines = [f"| {' | '.join([*(first, 'preset')[:fixed], *heads])} |"]
    lines.append("|" + "---|" * fixed + "---:|" * len(grid.columns))
    for entry in grid.entries:
        cells = [_markdown_cell(grid, entry, column, style) for column in grid.columns]
        lines.append(f"| {' | '.join([*entry[:fixed], *cells])} |")
    return "\n".join(lines) + "\n"


def _markdown_cell(grid: _Grid, entry: Entry, column: Column, style: Style) -> str:
    text = " ".join(filter(None, _text(grid.cells.get((entry, column)), style)))
    if (entry, column) in grid.bold:
        return f"**{text}**"
    return f"<u>{text}</u>" if (entry, column) in grid.underlined else text


def _latex(grid: _Grid, style: Style, lead: LeadName) -> str:
    fixed = 2 if grid.presets else 1
    first, rules, at = [], [], fixed + 1
    for metric, width in _heads(grid):
        first.append(rf"\multicolumn{{{width}}}{{c}}{{{tex(metric)} {ARROWS[direction(metric)]}}}")
        rules.append(rf"\cmidrule(lr){{{at}-{at + width - 1}}}")
        at += width
    second = [*["model", "preset"][:fixed], *(tex(lead(number)) for _, number in grid.columns)]
    body = [
        FIT, r"\begin{tabular}{" + "l" * fixed + "r" * len(grid.columns) + "}", r"\toprule",
        " & ".join([*[""] * fixed, *first]).strip() + r" \\", "".join(rules),
        " & ".join(second) + r" \\", r"\midrule",
    ]  # fmt: skip
    for entry in grid.entries:
        cells = [_tex_cell(grid, entry, column, style) for column in grid.columns]
        body.append(" & ".join([*map(tex, entry[:fixed]), *cells]) + r" \\")
    body += [r"\bottomrule", r"\end{tabular}}", ""]
    if not style.caption:
        return "\n".join(body)
    label = [rf"\label{{{style.label}}}"] if style.label else []
    head = [r"\begin{table}", r"\centering", rf"\caption{{{style.caption}}}", *label]
    return "\n".join([*head, *body[:-1], r"\end{table}", ""])


def _tex_cell(grid: _Grid, entry: Entry, column: Column, style: Style) -> str:
    value, span = (
        text.replace("–", "--") for text in _text(grid.cells.get((entry, column)), style)
    )
    value = value.replace("-", "$-$") if value.startswith("-") and value != "--" else value
    if (entry, column) in grid.bold:
        value = rf"\textbf{{{value}}}"
    elif (entry, column) in grid.underlined:
        value = rf"\underline{{{value}}}"
    span = span.replace("-", "$-$")
    return value + (rf" {{\scriptsize {span}}}" if span else "")
