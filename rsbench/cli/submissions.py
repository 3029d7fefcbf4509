"""Commands for models written elsewhere: a task goes out as files, predictions come in."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rsbench.cli.app import FreshReferences, Metrics, Suite, app, note, say, say_phases


def export_task(
    store: Annotated[Path, typer.Argument(help="Path of a store.")],
    out: Annotated[Path, typer.Argument(help="New output folder.")],
    protocol: Annotated[str | None, typer.Option(help="Name or file of a protocol.")] = None,
    context: Annotated[str | None, typer.Option(help="Context frames k, or `all`.")] = None,
    horizon: Annotated[int | None, typer.Option(help="Leads to predict.")] = None,
    split: Annotated[str, typer.Option(help="test, val or train.")] = "test",
    form: Annotated[str, typer.Option("--format", help="npy, zarr, geotiff or envi.")] = "npy",
) -> None:
    """Write the inputs of a task as files, for models in other languages."""
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
    say(f"{folder}  read task.json; predictions go into {folder / 'predictions'}")
    say(f"then type: rsbench score {folder / 'predictions'} --data {store} --out DIR")


def score(
    predictions: Annotated[Path, typer.Argument(help="Folder of predictions with answer.json.")],
    data: Annotated[Path, typer.Option(help="Store that they were made for.")],
    out: Annotated[Path, typer.Option(help="Output folder.")],
    suite: Suite = None,
    metrics: Metrics = None,
    fresh_references: FreshReferences = False,
) -> None:
    """Score prediction files beside the reference models, as `run` does."""
    from rsbench.core.progress import progress
    from rsbench.evaluation.submissions import ScoreOptions, score_answers
    from rsbench.store.read import open_store

    options = ScoreOptions(
        suite=suite, metrics=metrics, command="rsbench " + " ".join(sys.argv[1:]),
        fresh_references=fresh_references,
    )  # fmt: skip
    with progress() as advance:
        result = score_answers(
            predictions, open_store(data), out, options, note=note, advance=advance
        )
    say(result.summary())
    say_phases(result.phases)
    say(f"report: {result.out / 'report.html'}")


def register() -> None:
    """Register the commands of this module."""
    app.command("export-task")(export_task)
    app.command("score")(score)
