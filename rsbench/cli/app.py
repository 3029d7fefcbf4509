"""The typer application, and the options and output functions that commands share."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any

import typer

from rsbench.cli.frame import App, Group, Quiet, Verbose, say_much
from rsbench.core.phases import phase_lines
from rsbench.core.progress import Detail, detail
from rsbench.core.version import __version__

_BEGUN = time.monotonic()

app = App(
    name="rsbench",
    cls=Group,
    help="Build satellite-image datasets, run forecasting and fusion models, compare their scores.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
weights_app = App(
    cls=Group,
    help="Weight files of perceptual metrics, and published weights of models.",
    no_args_is_help=True,
)
lock_app = App(cls=Group, help="Lock files: frozen STAC searches.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")
app.add_typer(lock_app, name="lock")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]

Suite = Annotated[
    str | None, typer.Option(help="Suites or metric ids that replace those of the protocol.")
]
Metrics = Annotated[str | None, typer.Option(help="Further suites or metric ids.")]
FreshReferences = Annotated[
    bool,
    typer.Option(
        "--fresh-references",
        help="Compute the scores of reference models, even where an earlier run kept them.",
    ),
]


def say(text: str = "") -> None:
    """Write a line to standard output."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Write a message to standard error: none with ``-q``, with ``-v`` after the seconds gone."""
    if detail() is not Detail.QUIET:
        gone = time.monotonic() - _BEGUN
        alert(f"[{gone:.1f} s] {text}" if detail() is Detail.VERBOSE else text)


def say_phases(seconds: Mapping[str, float]) -> None:
    """With ``-v``, write where the time went to standard error: a line per phase."""
    if detail() is Detail.VERBOSE:
        for line in phase_lines(seconds):
            alert(f"  {line}")


def alert(text: str) -> None:
    """Write a line to standard error; a message that cannot be written is lost."""
    with suppress(OSError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def confirmed(question: str) -> bool:
    """Ask on standard error; return whether the line typed is yes. The end of input means no."""
    sys.stderr.write(f"{question} [y/N]: ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def quiet(text: str) -> None:
    """Write nothing."""


def dump(value: Any) -> None:
    """Write a value as JSON to standard output, in escapes where it cannot hold all characters."""
    say(json.dumps(value, indent=2, ensure_ascii=only_ascii()))


def only_ascii() -> bool:
    """Return whether standard output lacks characters that a text may hold."""
    return "utf" not in (sys.stdout.encoding or "utf-8").lower()


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    say_much(verbose=verbose, quiet=quiet)
    if version:
        say(__version__)
        raise typer.Exit
