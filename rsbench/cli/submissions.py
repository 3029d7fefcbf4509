"""Commands for models written elsewhere: a task goes out as files, predictions come in."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rsbench.cli.app import Metrics, Suite, app, note, say


def export_task(
    store: Annotated[Path, typer.Argument(help="A store.")],
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    protocol: Annotated[str | None, typer.Option(help="A protocol.")] = None,
    context: Annotated[str | None, typer.Option(help="Context frames k, or `all`.")] = None,
    horizon: Annotated[int | None, typer.Option(help="Leads to predict.")] = None,
    split: Annotated[str, typer.Option(help="test, val or train.")] = "test",
    form: Annotated[str, typer.Option("--format", help="npy, zarr or geotiff.")] = "npy",
) -> None:
    """Write what a model in another language needs, and where its answers go."""
    from rsbench.core.progress import progress
    from rsbench.evaluation.submissions import export_task as export
    from rsbench.evaluation.submissions import form_named
    from rsbench.store.read import open_store
    from rsbench.tasks.config import EvaluationOptions

    chosen = form_named(form)
    options = EvaluationOptions(split=split, context=context, horizon=horizon)
    with progress() as advance:
        folder = export(
            open_store(store), out, protocol=protocol, options=options, form=chosen,
            advance=advance,
        )  # fmt: skip
    say(f"{folder}  read task.json; answers go into {folder / 'predictions'}")
    say(f"then type: rsbench score {folder / 'predictions'} --data {store} --out DIR")


def score(
    predictions: Annotated[Path, typer.Argument(help="A folder of answers with answer.json.")],
    data: Annotated[Path, typer.Option(help="The store they were made for.")],
    out: Annotated[Path, typer.Option(help="Where the run goes.")],
    suite: Suite = None,
    metrics: Metrics = None,
) -> None:
    """Score predictions made elsewhere beside the trivial rows, as `run` does."""
    from rsbench.core.progress import progress
    from rsbench.evaluation.submissions import ScoreOptions, score_answers
    from rsbench.store.read import open_store

    options = ScoreOptions(
        suite=suite, metrics=metrics, command="rsbench " + " ".join(sys.argv[1:])
    )
    with progress() as advance:
        result = score_answers(
            predictions, open_store(data), out, options, note=note, advance=advance
        )
    say(result.summary())
    say(f"report: {result.out / 'report.html'}")


def register() -> None:
    """Add these commands, after those that were added before."""
    app.command("export-task")(export_task)
    app.command("score")(score)
