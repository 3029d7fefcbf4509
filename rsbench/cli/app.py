"""The application: what every command of the command line shares."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from rsbench.core.version import __version__

app = typer.Typer(
    name="rsbench",
    help="Build satellite-image datasets, run models on them, and compare what can be compared.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
weights_app = typer.Typer(help="Weights of perceptual metrics.", no_args_is_help=True)
lock_app = typer.Typer(help="Locks: the frozen answers of searches.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")
app.add_typer(lock_app, name="lock")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]

Suite = Annotated[
    str | None, typer.Option(help="Suites or ids of metrics, in place of the protocol's.")
]
Metrics = Annotated[str | None, typer.Option(help="Suites or ids of metrics, beside those.")]


def say(text: str = "") -> None:
    """Write a result to the standard output."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Write a remark to the standard error."""
    sys.stderr.write(text + "\n")


def quiet(text: str) -> None:
    """Say nothing."""


def dump(value: Any) -> None:
    """Write JSON to the standard output."""
    say(json.dumps(value, indent=2, ensure_ascii=False))


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        say(__version__)
        raise typer.Exit
