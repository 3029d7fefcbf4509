"""The commands that make tables and figures of a paper from run folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rsbench.cli.app import Force, Json, app, dump, note, say
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
    app.command()(compare)
    app.command()(table)
    app.command()(figure)


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


def compare(
    run_a: Annotated[Path, typer.Argument(help="Run folder or table.")],
    run_b: Annotated[Path, typer.Argument(help="Second run folder or table.")],
    more: Annotated[
        list[Path] | None, typer.Argument(help="Further run folders, such as other seeds.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="MODEL or MODEL/PRESET; give two. Default: that of each run."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare two models, paired over regions, by every metric and lead.

    p values have Holm's correction over all metrics and leads; the effect is Cohen's d of paired
    samples. Several seeds of a model are crossed with the regions. Two files, or two runs without
    --model, are also compared row by row.
    """
    from rsbench.evaluation.gate import compare as compare_rows
    from rsbench.evaluation.report.versus import compare_models

    runs = [run_a, run_b, *(more or ())]
    by_row = not (more or model or as_json)
    for line in compare_rows(run_a, run_b) if by_row else ():
        say(line)
    if by_row and not all(path.is_dir() for path in runs):
        return
    try:
        found = compare_models(runs, model or ())
    except InputError as error:
        if not by_row:
            raise
        note(f"no paired comparison of two models: {error}")
        return
    if as_json:
        dump(found.to_json())
        return
    for line in ["", *found.lines()] if by_row else found.lines():
        say(line)


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
    as_json: Json = False,
    bibtex: Annotated[bool, typer.Option("--bibtex", help="BibTeX, of run folders only.")] = False,
    methods: Annotated[
        bool, typer.Option("--methods", help="A methods paragraph, of run folders only.")
    ] = False,
) -> None:
    """Print the table of one or more runs, or text for a paper.

    There is one table per metric; the metrics named with --metric stand side by side in one.
    """
    if latex + markdown + csv + as_json + bibtex + methods > 1:
        raise InputError("rsbench table", "more than one format", "Give one of them")
    choice = chosen(metric, lead, rows)
    formed = bool(no_interval or best or caption or label)
    columns = csv or as_json
    if (columns or bibtex or methods) and (formed or (not columns and not choice.everything)):
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
    if as_json:
        from rsbench.evaluation.report.choice import read, select
        from rsbench.evaluation.table import records

        frame = read(runs)[0]
        dump(records(frame if choice.everything else select(frame, choice)))
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


def figure(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    kind: Annotated[str, typer.Argument(help="strip, decay, ranking or perception-distortion.")],
    out: Annotated[
        Path,
        typer.Option(help="File to write: .pdf, .svg, .png; a strip also .gif."),
    ],
    metric: MetricNames = None,
    lead: Leads = None,
    rows: Rows = None,
    region: Annotated[str | None, typer.Option(help="Of a strip: the region.")] = None,
    zoom: Annotated[
        str | None, typer.Option(help="Of a strip: an enlarged part, X,Y,W,H in pixels.")
    ] = None,
    no_error: Annotated[
        bool, typer.Option("--no-error", help="Of a strip: without error maps.")
    ] = False,
    width: Annotated[float | None, typer.Option(min=0.5, max=40.0, help="Width in inches.")] = None,
    force: Force = False,
) -> None:
    """Draw a figure of one or more runs for a paper."""
    from rsbench.evaluation.plot.files import Drawing, save

    drawing = Drawing(region, _part(zoom), not no_error, width)
    say(str(save(kind, runs, out, choice=chosen(metric, lead, rows), drawing=drawing, force=force)))


def _part(text: str | None) -> tuple[int, int, int, int] | None:
    """Return X,Y,W,H as numbers."""
    if text is None:
        return None
    numbers = _listed([text])
    if len(numbers) != 4 or not all(number.isdigit() for number in numbers):
        raise InputError(f"--zoom {text}", "it is not four whole numbers", "Give --zoom X,Y,W,H")
    x, y, width, height = map(int, numbers)
    return x, y, width, height
