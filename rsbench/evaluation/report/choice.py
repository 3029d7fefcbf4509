"""What of a table a paper shows: its metrics, lead times and entries, found by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rsbench.core.errors import Incomparable, InputError, unknown
from rsbench.evaluation.report.board import Board, boards, grouped
from rsbench.evaluation.report.paper import one_board
from rsbench.evaluation.scores import Scores
from rsbench.evaluation.table import load_scores, load_tables
from rsbench.evaluation.unit_table import RANKED_ROLES
from rsbench.metrics.queries import in_report_order

Entry = tuple[str, str]
"""(model, preset)."""
Part = Scores | Path | str
"""What was scored: scores, or the folder of a run."""
Source = Part | Sequence[Part]


@dataclass(frozen=True)
class Choice:
    """Names as typed; empty means all leads and entries, and the usual metrics.

    Args:
        metrics: ids, or ids without version.
        leads: lead times, from 1.
        entries: ``MODEL`` or ``MODEL/PRESET``, in the order shown.
    """

    metrics: tuple[str, ...] = ()
    leads: tuple[int, ...] = ()
    entries: tuple[str, ...] = ()

    @property
    def everything(self) -> bool:
        """Whether nothing is chosen."""
        return not (self.metrics or self.leads or self.entries)


def read(paths: Sequence[Path]) -> tuple[pd.DataFrame, tuple[Scores, ...]]:
    """Return the tidy table of run folders and tables, and the scores of the run folders.

    Runs that compare are merged as in the report: entries of other seeds or weights get names of
    their own.

    Raises:
        Incomparable: if the tables differ in data, split or protocol, or hold two values of one
            entry.
    """
    paths = list(dict.fromkeys(paths))
    table, scores = load_tables(paths), load_scores(paths)
    if len(scores) == len(paths) > 1:
        found = boards(paths)
        if len(found) == 1:
            return found[0].scores.table(), (found[0].scores,)
    keys = ["model", "preset", "metric", "band", "lead", "stratum"]
    table = table.drop_duplicates([*keys, "value"], ignore_index=True)  # reference entries
    twice = table.duplicated(keys)
    if twice.any():
        model, preset = table.loc[twice, ["model", "preset"]].iloc[0]
        raise Incomparable(
            f"one table of {', '.join(map(str, paths))}",
            f"{model} {preset}".rstrip() + " has two values in them",
            "Name run folders of equal horizon, or print them one by one",
        )
    return table, scores


def one_source(source: Source | Board) -> Board:
    """Return scores, a run folder or several of them that compare as one board.

    Raises:
        InputError: if a folder holds no run.
        Incomparable: if the runs do not compare.
    """
    if isinstance(source, Board):
        return source
    runs: list[tuple[Path, Scores]] = []
    for part in parts_of(source):
        if isinstance(part, Scores):
            runs.append((Path(f"scores-{len(runs)}"), part))
        elif Path(part) not in [folder for folder, _ in runs]:
            runs.append((Path(part), Scores.load(Path(part))))
    return one_board(grouped(runs))


def parts_of(source: Source) -> list[Part]:
    """Return the parts of what may be one or several.

    Raises:
        InputError: if it is none.
    """
    parts = [source] if isinstance(source, Scores | Path | str) else list(source)
    if not parts:
        raise InputError("reading runs", "none is given", "Give at least one run folder")
    return parts


def metrics_of(table: pd.DataFrame, names: Iterable[str]) -> list[str]:
    """Return the ids chosen in their order, or all, as the report orders them.

    Raises:
        UnknownName: if a name is no metric of the table.
    """
    there = [str(name) for name in table["metric"].unique()]
    wanted = [_metric(name, there) for name in names]
    return list(dict.fromkeys(wanted)) or in_report_order(there)


def _metric(name: str, there: Sequence[str]) -> str:
    """Return the id of a name with or without its version."""
    if name in there:
        return name
    versions = [known for known in there if known.rpartition("@")[0] == name]
    if len(versions) == 1:
        return versions[0]
    raise unknown("metric of these runs", name, versions or there)


def leads_of(table: pd.DataFrame, leads: Sequence[int]) -> list[int]:
    """Return the leads chosen, or all of the table.

    Raises:
        InputError: if the table lacks one of them.
    """
    there = sorted(int(lead) for lead in table["lead"].unique())
    for lead in leads:
        if lead not in there:
            span = f"{there[0]} to {there[-1]}" if len(there) > 1 else f"{there[0]} only"
            raise InputError(
                f"lead {lead}",
                f"these runs have lead {span}",
                f"Choose lead {there[-1]} or another",
            )
    return list(dict.fromkeys(leads)) or there


def entries_of(there: Sequence[Entry], names: Sequence[str]) -> list[Entry]:
    """Return the entries chosen in their order, or all; ``MODEL`` stands for each preset of it.

    Raises:
        UnknownName: if a name is no entry.
    """
    if not names:
        return list(there)
    by_name: dict[str, list[Entry]] = {}
    for model, preset in there:
        for name in {model, f"{model}/{preset}"}:
            by_name.setdefault(name, []).append((model, preset))
    for name in names:
        if name not in by_name:
            raise unknown("entry of these runs", name, {model for model, _ in there})
    return list(dict.fromkeys(entry for name in names for entry in by_name[name]))


def roles_of(scores: Iterable[Scores]) -> dict[Entry, str]:
    """Return the role of every entry."""
    columns = ["model", "preset", "role"]
    found: dict[Entry, str] = {}
    for one in scores:
        for part in (one.units, one.sets):
            for model, preset, role in part[columns].drop_duplicates().itertuples(index=False):
                found.setdefault((str(model), str(preset)), str(role))
    return found


def ranked(roles: Mapping[Entry, str]) -> set[Entry]:
    """Return the entries that are ranked: models and reference models, no bounds or controls."""
    return {entry for entry, role in roles.items() if role in RANKED_ROLES}


def select(table: pd.DataFrame, choice: Choice) -> pd.DataFrame:
    """Return the rows of a tidy table that are chosen, of all bands and strata, in its order."""
    rows = table
    if choice.metrics:
        rows = rows[rows["metric"].isin(metrics_of(table, choice.metrics))]
    rows = rows[rows["lead"].isin(leads_of(table, choice.leads))]
    pairs = table[["model", "preset"]].drop_duplicates().itertuples(index=False, name=None)
    kept = set(entries_of([(str(m), str(p)) for m, p in pairs], choice.entries))
    own = [entry in kept for entry in zip(rows["model"], rows["preset"], strict=True)]
    return rows[own]
