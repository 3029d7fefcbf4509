"""Boards: runs of equal identity and horizon, merged into one table without repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from rsbench.evaluation.collapse import collapse_notes
from rsbench.evaluation.costs import Cost, costs_of
from rsbench.evaluation.equal_answers import equal_notes
from rsbench.evaluation.run_files import PARTS
from rsbench.evaluation.run_info import RunInfo
from rsbench.evaluation.scores import Scores
from rsbench.evaluation.unit_table import stack


@dataclass(frozen=True)
class Board:
    """Runs of one identity, merged: one entry per model, preset, weights and seed.

    Args:
        scores: all entries, on one matched set.
        folders: the run folders, in the order given.
        runs: descriptions of the runs, in the same order.
        names: for each folder, model name of the run → name on the board.
        notes: sentences about the merge, for the report.
    """

    scores: Scores
    folders: tuple[Path, ...]
    runs: tuple[RunInfo, ...]
    names: tuple[dict[str, str], ...]
    notes: tuple[str, ...] = ()

    @property
    def run(self) -> RunInfo:
        """Identity of the board and the union of the descriptions of its runs."""
        return self.scores.run

    @property
    def costs(self) -> dict[tuple[str, str], Cost]:
        """Costs of the entries by model (name on the board) and preset."""
        return costs_of([(r.extra, n) for r, n in zip(self.runs, self.names, strict=True)])

    @property
    def counts(self) -> list[dict[str, Any]]:
        """Counts of all runs, by ``model`` (name on the board), ``metric`` and ``what``."""
        found = {}
        for run, called in zip(self.runs, self.names, strict=True):
            for row in run.extra.get("counts") or []:
                model = called.get(str(row["model"]), str(row["model"]))
                found[model, row["metric"], row["what"]] = {**row, "model": model}
        return list(found.values())


def boards(folders: Sequence[Path]) -> tuple[Board, ...]:
    """Read run folders and group comparable runs, in the order of first appearance."""
    return grouped([(folder, Scores.load(folder)) for folder in folders])


def grouped(runs: Sequence[tuple[Path, Scores]]) -> tuple[Board, ...]:
    """Group comparable runs, in the order of first appearance; a run is (folder, scores)."""
    found: dict[str, list[tuple[Path, Scores]]] = {}
    for folder, scores in runs:
        key = repr((sorted(scores.run.identity().items()), scores.run.horizon))
        found.setdefault(key, []).append((folder, scores))
    return tuple(_merged(members) for members in found.values())


def _merged(members: Sequence[tuple[Path, Scores]]) -> Board:
    taken: dict[tuple[str, str], tuple[object, ...]] = {}
    parts: list[Scores] = []
    names: list[dict[str, str]] = []
    for _, scores in members:
        part, called = _without_repeats(scores, taken)
        names.append(called)
        if part is not None:
            parts.append(part)
    joined = {name: stack(*(getattr(part, name) for part in parts)) for name in ("units", *PARTS)}
    whole = Scores(run=_described(parts), **joined)
    sizes = {int(n) for n in whole.sets.loc[whole.sets["role"] != "floor", "n"]}
    references = {scores.run.best_trivial for _, scores in members} - {None}
    notes = []
    if len(references) > 1:
        notes.append(
            "The runs have different references of skill "
            f"({', '.join(sorted(str(r) for r in references))}); skill here is against "
            f"{whole.run.best_trivial}."
        )
    if len(sizes) > 1:
        several = ", ".join(str(n) for n in sorted(sizes))
        notes.append(
            f"Set metrics were computed on different numbers of images (n = {several}): their "
            "values are not comparable."
        )
    said = dict.fromkeys(s.run.implausible for _, s in members if s.run.implausible)
    said |= dict.fromkeys(s.run.labelled for _, s in members if s.run.labelled)
    said |= dict.fromkeys(equal_notes(s.run for _, s in members))
    said |= dict.fromkeys(collapse_notes(s for _, s in members))
    notes += [f"{text[0].upper()}{text[1:]}." for text in said]
    folders = tuple(folder for folder, _ in members)
    return Board(whole, folders, tuple(s.run for _, s in members), tuple(names), tuple(notes))


def _without_repeats(
    scores: Scores, taken: dict[tuple[str, str], tuple[object, ...]]
) -> tuple[Scores | None, dict[str, str]]:
    """Drop entries that the board has already; rename those whose weights or seed differ."""
    run, units = scores.run, scores.units
    called: dict[str, str] = {}
    dropped: list[tuple[str, str]] = []
    both = [part[["model", "preset", "role"]] for part in (units, scores.sets) if len(part)]
    rows = pd.concat(both).drop_duplicates().itertuples(index=False, name=None)
    for model, preset, role in rows:
        trained = run.weights.get(model)
        # A model fitted in closed form does not depend on the seed of the run.
        seeded = trained is not None and role != "trivial"
        stamp = (trained, run.seed if seeded else None, run.precision)
        name, number = str(model), 1
        while taken.get((name, preset), stamp) != stamp:
            number += 1
            name = f"{model} (seed {run.seed})" if number == 2 else f"{model} (run {number})"
        if (name, preset) in taken:
            dropped.append((model, preset))
        taken[(name, preset)] = stamp
        called[str(model)] = name
    kept = _left(units, dropped, called)
    if kept.empty:
        return None, called
    others = {name: _left(getattr(scores, name), dropped, called) for name in PARTS}
    return Scores(kept, _renamed(run, called), **others), called


def _left(
    rows: pd.DataFrame, dropped: Sequence[tuple[str, str]], called: dict[str, str]
) -> pd.DataFrame:
    if rows.empty:
        return rows
    gone = pd.Series(zip(rows["model"], rows["preset"], strict=True)).isin(dropped).to_numpy()
    kept = rows[~gone]
    return kept.assign(model=kept["model"].map(lambda model: called[str(model)]))


def _renamed(run: RunInfo, called: dict[str, str]) -> RunInfo:
    def new(name: str) -> str:
        return called.get(name, name)

    renamed: dict[str, Any] = {
        field: {new(name): value for name, value in getattr(run, field).items()}
        for field in ("weights", "inputs", "citations", "history")
    }
    absent = tuple(replace(item, model=new(item.model)) for item in run.absent)
    return replace(run, absent=absent, **renamed)


def _by_row(parts: Sequence[tuple[Scores, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return values by model, or by model and preset where a model has several presets."""
    found: dict[str, dict[str, Any]] = {}
    for scores, values in parts:
        rows = scores.units[["model", "preset"]].drop_duplicates()
        presets = dict(rows.itertuples(index=False, name=None))
        for model, value in values.items():
            found.setdefault(model, {}).setdefault(str(presets.get(model, "")), value)
    return {
        model if len(presets) == 1 else f"{model} {preset}": value
        for model, presets in found.items()
        for preset, value in presets.items()
    }


def of_row(values: Mapping[str, Any], model: str, preset: str) -> Any:
    """Return the value of one entry, or None."""
    return values.get(f"{model} {preset}", values.get(model))


def _described(parts: Sequence[Scores]) -> RunInfo:
    """Return the union of the descriptions; an entry that any run has is not absent."""
    first = parts[0].run
    runs = [part.run for part in parts]
    there = {str(model) for part in parts for model in part.units["model"]}
    absent = dict.fromkeys(item for run in runs for item in run.absent)
    chosen = next((run for run in runs if run.best_trivial in there), None)
    return replace(
        first,
        starts=tuple(sorted({start for run in runs for start in run.starts})),
        complete=all(run.complete for run in runs),
        simulated=any(run.simulated for run in runs),
        weights=_by_row([(part, part.run.weights) for part in parts]),
        inputs={k: v for run in reversed(runs) for k, v in run.inputs.items()},
        licences={k: v for run in runs for k, v in run.licences.items()},
        citations={k: v for run in reversed(runs) for k, v in run.citations.items()},
        history=_by_row([(part, part.run.history) for part in parts]),
        absent=tuple(
            item
            for item in absent
            if item.metric is not None or item.lead is not None or item.model not in there
        ),
        best_trivial=chosen.best_trivial if chosen else None,
        selection=chosen.selection if chosen else None,
    )
