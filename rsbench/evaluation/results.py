"""Runs and their results by one call, as the commands ``run``, ``report`` and ``table`` do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsbench.core.errors import unknown
from rsbench.core.progress import Advance, silent
from rsbench.tasks.config import Note, quiet

if TYPE_CHECKING:
    import pandas as pd

    from rsbench.evaluation.run import RunResult

Paths = str | Path | Sequence[str | Path]
_PATHS = ("data", "out", "checkpoint")


def run(
    model: str,
    data: str | Path | None = None,
    out: str | Path | None = None,
    *,
    note: Note = quiet,
    progress: Advance = silent,
    **named: Any,
) -> RunResult:
    """Score a model beside the reference models and write a run folder, as ``rsbench run`` does.

    A trainable model without a fitting checkpoint is trained first. The same call again does
    nothing. Images are ``(C, H, W)`` in the sensor's unit.

    Args:
        model: name of an installed model.
        data: path of a store; ``$RSBENCH_DATA`` or the store built last where None.
        out: folder of the run; one in ``runs`` where None.
        note: takes messages, e.g. on defaults that were chosen.
        progress: called with ``(label, done, total)``.
        named: fields of :class:`rsbench.RunRequest` by name, e.g. ``horizon=7`` leads, ``seed=1``
            or ``options={"sampler": "sjd-fm"}``.

    Returns:
        The folder and the scores.

    Raises:
        UnknownName: if a model, preset, protocol, metric or option is unknown.
        InputError: if model, store and protocol do not fit, or the folder is in use.
        TrainingError: if training cannot start or continue.
    """
    from rsbench.evaluation.run import RunRequest, run_model

    known = [field.name for field in fields(RunRequest)]
    for name in named:
        if name not in known:
            raise unknown("option of a run", name, known)
    chosen = {"data": data, "out": out, **named}
    paths = {name: Path(chosen[name]) for name in _PATHS if chosen.get(name) is not None}
    return run_model(RunRequest(model=model, **{**named, **paths}), note=note, advance=progress)


def report(
    runs: Paths,
    out: str | Path = "report.html",
    *,
    published: Sequence[str] = (),
    linked: bool = False,
    force: bool = False,
) -> Path:
    """Write one HTML page about run folders, as ``rsbench report`` does.

    Args:
        runs: one or more run folders.
        out: the HTML file.
        published: names of published tables to show beside the runs.
        linked: write the pictures as files beside the page, for hosting.
        force: overwrite what is there.

    Returns:
        The path of the file.

    Raises:
        InputError: if no run was named, a run is damaged, or the file exists.
        UnknownName: if no published table has this name.
    """
    from rsbench.evaluation.report import write_report

    return write_report(_paths(runs), Path(out), published=published, linked=linked, force=force)


def table(runs: Paths) -> pd.DataFrame:
    """Return the tidy table of runs: a row per model, metric, band, lead and stratum.

    Args:
        runs: one or more run folders or tables of one dataset, split and protocol.

    Returns:
        The columns of ``rsbench table --csv``. ``value``, ``lo`` and ``hi`` are in the unit of the
        metric (see ``rsbench metrics``); an absent value is NaN. ``lead`` counts steps from 1.

    Raises:
        InputError: if a table is absent or damaged.
        Incomparable: if dataset, split or protocol differ.
    """
    from rsbench.evaluation.table import load_tables

    return load_tables(_paths(runs))


def _paths(runs: Paths) -> list[Path]:
    return [Path(runs)] if isinstance(runs, str | Path) else [Path(run) for run in runs]
