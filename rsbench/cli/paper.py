"""The commands that make tables and figures of a paper from run folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rsbench.cli.app import app, say
from rsbench.core.errors import InputError

if TYPE_CHECKING:
    from rsbench.evaluation.report.choice import Choice
    from rsbench.evaluation.report.paper_table import Style

Runs = Annotated[list[Path], typer.Argument(help="Run folders or tables.")]
MetricNames = Annotated[
    list[str] | None,
    typer.Option("--metric", help="Metric, with or without version; repeatable, or a,b."),
]
Leads = Annotated[
    list[str] | None, typer.Option("--lead", help="Lead time, from 1; repeatable, or 1,3.")
]
Rows = Annotated[
    list[str] | None,
    typer.Option("--rows", help="Entries, in this order: MODEL or MODEL/PRESET; repeatable."),
]


def register() -> None:
    """Add the commands to the application."""
    app.command()(table)


def chosen(
    metric: Sequence[str] | None, lead: Sequence[str] | None, rows: Sequence[str] | None
) -> Choice:
    """Return what the options choose; InputError where a lead is no whole number."""
    from rsbench.evaluation.report.choice import Choice

    leads = _listed(lead)
    for text in leads:
        if not text.isdigit() or int(text) < 1:
            raise InputError(f"--lead {text}", "it is no whole number above 0", "Give --lead 1")
    return Choice(_listed(metric), tuple(map(int, leads)), _listed(rows))


def _listed(values: Sequence[str] | None) -> tuple[str, ...]:
    """Return the parts of values that were given one by one or joined by commas."""
    parts = (part.strip() for value in values or () for part in value.split(","))
    return tuple(part for part in parts if part)


def table(
    runs: Runs,
    metric: MetricNames = None,
    lead: Leads = None,
    rows: Rows = None,
    no_interval: Annotated[
        bool, typer.Option("--no-interval", help="Print values without intervals.")
    ] = False,
    best: Annotated[
        str | None,
        typer.Option(
            help="tested: bold where better than all others by the paired interval (default). "
            "bold: best bold, second underlined. none."
        ),
    ] = None,
    caption: Annotated[
        str | None, typer.Option(help="With --latex: caption, LaTeX text; makes a float.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="With --caption: label for \\ref.")] = None,
    latex: Annotated[bool, typer.Option("--latex", help="LaTeX with booktabs.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Markdown (default).")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV, all columns.")] = False,
    bibtex: Annotated[bool, typer.Option("--bibtex", help="BibTeX, of run folders only.")] = False,
    methods: Annotated[
        bool, typer.Option("--methods", help="A methods paragraph, of run folders only.")
    ] = False,
) -> None:
    """Print the table of one or more runs, or text for a paper.

    There is one table per metric; the metrics named with --metric stand side by side in one.

    Examples: `rsbench table runs/a runs/b --metric ssim,rmse --lead 1,3 --latex --caption "Scores"`
    and `rsbench table runs/a --best bold --no-interval`.
    """
    if latex + markdown + csv + bibtex + methods > 1:
        raise InputError("rsbench table", "more than one format", "Give one of them")
    choice = chosen(metric, lead, rows)
    formed = bool(no_interval or best or caption or label)
    if (csv or bibtex or methods) and (formed or (not csv and not choice.everything)):
        raise InputError(
            "rsbench table", "an option that this format does not have",
            "Give it with --latex or --markdown",
        )  # fmt: skip
    if (caption or label) and not latex:
        raise InputError("--caption and --label", "they are of LaTeX", "Add --latex")
    if bibtex or methods:
        from rsbench.evaluation.report import boards, paper

        board = paper.one_board(boards(list(dict.fromkeys(runs))))
        say((paper.bibtex if bibtex else paper.methods)(board))
        return
    from rsbench.evaluation.report.paper_table import Style

    style = Style(not no_interval, best or "tested", caption or "", label or "")
    say(_table(runs, choice, style if formed else None, latex=latex, csv=csv))


def _table(
    runs: Sequence[Path], choice: Choice, style: Style | None, *, latex: bool, csv: bool
) -> str:
    """Return the table as text; one table with the metrics side by side if anything is chosen."""
    from rsbench.evaluation.report.choice import read, select
    from rsbench.evaluation.report.paper_table import Style, to_paper
    from rsbench.evaluation.table import supported_best, to_csv, to_latex, to_markdown

    frame, scores = read(runs)
    if csv:
        return to_csv(frame if choice.everything else select(frame, choice))
    if style is not None or not choice.everything:
        return to_paper(frame, scores, choice, style or Style(), latex=latex)
    best = supported_best(scores[0]) if len(runs) == len(scores) == 1 else frozenset()
    return (to_latex if latex else to_markdown)(frame, best=best, scores=scores)
