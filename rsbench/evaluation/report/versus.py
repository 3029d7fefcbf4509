"""Two models on the same regions: every metric and lead, paired, with corrected p values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd

from rsbench.core.errors import InputError, unknown
from rsbench.evaluation import intervals as inference
from rsbench.evaluation import strata
from rsbench.evaluation.intervals import loss
from rsbench.evaluation.paired_tests import paired_test
from rsbench.evaluation.report.board import Board
from rsbench.evaluation.report.choice import Entry, Source, one_source, parts_of
from rsbench.evaluation.table import number
from rsbench.metrics.queries import derived, direction, in_report_order

ALPHA = 1.0 - inference.LEVEL
Cell = tuple[str, int]
"""(metric, lead)."""
Side = Mapping[int, Entry]
"""Seed → (name on the board, preset)."""
SideValues = Mapping[Cell, Mapping[int, Mapping[str, float]]]
"""(metric, lead) → seed → region → value."""


@dataclass(frozen=True)
class PairedRow:
    """One metric at one lead time.

    Args:
        a: mean of the first model over seeds and regions.
        b: that of the second.
        difference: mean of a − b; of a metric whose best value is 0, of |a| − |b|.
        lo: lower end of its interval, absent below 8 regions.
        hi: upper end.
        interval: name of the interval; ``crossed-…`` over seeds and regions, ``none``.
        p: two-sided p value.
        p_holm: after Holm's correction over all rows.
        effect: mean difference over the standard deviation of the differences of regions; above 0
            where the first model is better.
        better: ``a`` or ``b`` where ``p_holm`` is below 0.05, otherwise empty.
    """

    metric: str
    lead: int
    a: float
    b: float
    difference: float
    lo: float | None
    hi: float | None
    interval: str
    p: float | None
    p_holm: float | None
    effect: float | None
    better: str
    n_regions: int
    n_seeds: int


@dataclass(frozen=True)
class ModelComparison:
    """Two models, metric by metric and lead by lead.

    Args:
        a: name of the first model.
        b: name of the second.
        rows: by metric and lead.
        untested: metrics without a value per region in both, such as distances of sets.
        simulated: whether the data are simulated.
    """

    a: str
    b: str
    rows: tuple[PairedRow, ...]
    untested: tuple[str, ...]
    simulated: bool = False

    @property
    def wins(self) -> tuple[int, int]:
        """Number of rows in which a, and in which b, is better after the correction."""
        better = [row.better for row in self.rows]
        return better.count("a"), better.count("b")

    def table(self) -> pd.DataFrame:
        """Return the rows as a frame."""
        return pd.DataFrame([asdict(row) for row in self.rows])

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """Yield the comparison as lines of text."""
        yield f"A = {self.a}, B = {self.b}" + (" (simulated data)" if self.simulated else "")
        heads = ("metric", "lead", "A", "B", "A − B [95 % interval]", "effect", "p", "p (Holm)", "")
        cells = [heads, *(_texts(row) for row in self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
        for row in cells:
            yield "  ".join(
                text.ljust(width) for text, width in zip(row, widths, strict=True)
            ).rstrip()
        tested = sum(row.p is not None for row in self.rows)
        few = "" if tested else f"; fewer than {inference.MIN_REGIONS} regions allow no test"
        yield (
            f"{tested} tests: A is better in {self.wins[0]}, B in {self.wins[1]}, after Holm's "
            f"correction{few}"
        )
        if any(direction(row.metric) == "zero" for row in self.rows):
            yield "where the best value is 0, the difference is that of the absolute values"
        if self.untested:
            yield f"not tested, as they have no value per region: {', '.join(self.untested)}"


def _texts(row: PairedRow) -> tuple[str, ...]:
    span = (
        "" if row.lo is None or row.hi is None else f" [{number(row.lo, 3)}, {number(row.hi, 3)}]"
    )
    return (
        row.metric, str(row.lead), number(row.a), number(row.b), number(row.difference, 3) + span,
        number(row.effect, 2), _p_text(row.p), _p_text(row.p_holm),
        f"{row.better.upper()} better" if row.better else "",
    )  # fmt: skip


def _p_text(p: float | None) -> str:
    return "–" if p is None else "<0.0001" if p < 1e-4 else f"{p:.2g}"


def compare(a: Source, b: Source, *, models: Sequence[str] = ()) -> ModelComparison:
    """Return the comparison of two models by every metric and lead, paired over regions.

    Args:
        a: scores, a run folder, or several of them, such as seeds.
        b: the same of the second model.
        models: two names, ``MODEL`` or ``MODEL/PRESET``, found in all runs; or one, in the first
            run and in the others. Without names, the first and the last run have one model each.

    Returns:
        A row per metric and lead: means and their difference in the unit of the metric, interval,
        effect size and p values.

    Raises:
        UnknownName: if a model is not there.
        InputError: if the models are not two, or one of them has two results of one seed.
        Incomparable: if the runs do not compare.
    """
    return compare_models([*parts_of(a), *parts_of(b)], models)


def compare_models(source: Source, models: Sequence[str] = ()) -> ModelComparison:
    """Compare two models of runs; see :func:`compare`."""
    board = one_source(source)
    names, sides = _sides(board, models)
    return compare_sides(board, names, sides)


def compare_sides(
    board: Board, names: tuple[str, str], sides: tuple[Side, Side]
) -> ModelComparison:
    """Compare two sides of a board; see :func:`compare`."""
    cells = cells_of(board)
    rows = compare_cells(board, sides, cells)
    there = {row.metric for row in rows}
    untested = [m for m in dict.fromkeys(metric for metric, _ in cells) if m not in there]
    return ModelComparison(*names, rows, tuple(untested), board.run.simulated)


def compare_cells(
    board: Board, sides: tuple[Side, Side], cells: Sequence[Cell]
) -> tuple[PairedRow, ...]:
    """Compare two sides by these metrics and leads, with Holm's correction over them."""
    means = region_values(board)
    return compare_values(values_of(means, sides[0]), values_of(means, sides[1]), cells)


def compare_values(
    ours: SideValues, theirs: SideValues, cells: Sequence[Cell]
) -> tuple[PairedRow, ...]:
    """Compare the values of two sides; see :func:`compare_cells`."""
    raw = [
        _row(cell, ours[cell], theirs[cell]) for cell in cells if cell in ours and cell in theirs
    ]
    rows = [row for row in raw if row is not None]
    tested = [row.p for row in rows if row.p is not None]
    adjusted = iter(inference.holm(tested))
    return tuple(_judged(row, None if row.p is None else next(adjusted)) for row in rows)


def _judged(row: PairedRow, p: float | None) -> PairedRow:
    better = ""
    if p is not None and p < ALPHA:
        higher = direction(row.metric) == "higher"
        better = "a" if (row.difference > 0) == higher else "b"
    return replace(row, p_holm=p, better=better)


def cells_of(board: Board) -> list[Cell]:
    """Return the metrics and leads compared: ranked ones; of skill only the primary endpoint."""
    rows = strata.headline(board.scores.table())
    primary = board.run.endpoint.metric
    names = [
        name for name in in_report_order(rows["metric"].unique())
        if inference.is_ranked(name) and (not derived(name) or name == primary)
    ]  # fmt: skip
    return [
        (name, lead) for name in names
        for lead in sorted(int(n) for n in rows.loc[rows["metric"] == name, "lead"].unique())
    ]  # fmt: skip


def region_values(board: Board) -> pd.DataFrame:
    """Return the values per region of all entries, on the headline set."""
    rows = strata.headline(board.scores.region_means())
    return rows[rows["value"].notna()]


def values_of(means: pd.DataFrame, side: Side) -> SideValues:
    """Return (metric, lead) → seed → region → value of one side."""
    rows = means[means["model"].isin([model for model, _ in side.values()])]
    seeds = {entry: seed for seed, entry in side.items()}
    columns = ["model", "preset", "metric", "lead", "region", "value"]
    found: dict[Cell, dict[int, dict[str, float]]] = {}
    for model, preset, metric, lead, region, value in rows[columns].itertuples(
        index=False, name=None
    ):
        seed = seeds.get((str(model), str(preset)))
        if seed is not None:
            cell = found.setdefault((str(metric), int(lead)), {})
            cell.setdefault(seed, {})[str(region)] = float(value)
    return found


def _row(
    cell: Cell, a: Mapping[int, Mapping[str, float]], b: Mapping[int, Mapping[str, float]]
) -> PairedRow | None:
    metric, lead = cell
    losses = [
        {seed: {region: loss(metric, v) for region, v in own.items()} for seed, own in side.items()}
        for side in (a, b)
    ]
    test = paired_test(losses[0], losses[1], bounds=inference.difference_bounds(metric))
    if test is None:
        return None
    lo, hi, name = test.interval or (None, None, inference.NONE)
    mean = test.mean
    if direction(metric) == "higher":  # differences of losses have the other sign
        mean, lo, hi = -mean, _minus(hi), _minus(lo)
    regions = set.intersection(*(set(own) for side in (a, b) for own in side.values()))
    return PairedRow(
        metric, lead, _mean(a, regions), _mean(b, regions), mean, lo, hi, name, test.p, None,
        _minus(test.effect), "", test.n_regions, test.n_seeds,
    )  # fmt: skip


def _minus(value: float | None) -> float | None:
    return None if value is None else -value + 0.0


def _mean(values: Mapping[int, Mapping[str, float]], regions: Set[str]) -> float:
    """Return the mean over seeds and these regions."""
    kept = [value for own in values.values() for name, value in own.items() if name in regions]
    return math.fsum(kept) / len(kept)


# ------------------------------------------------------------------------------- the two sides


def _sides(board: Board, models: Sequence[str]) -> tuple[tuple[str, str], tuple[Side, Side]]:
    """Return names and entries by seed of the two models."""
    if not models:
        models = [_main(board, 0), _main(board, -1)]
    models = [*models, *models] if len(models) == 1 else list(models)
    if len(models) != 2:
        raise InputError(
            f"comparing {', '.join(models)}", f"{len(models)} models are named",
            "Give --model twice",
        )  # fmt: skip
    if models[0] != models[1]:
        first, second = (_side(board, name, range(len(board.runs))) for name in models)
        return (models[0], models[1]), (first, second)
    if len(board.runs) < 2:
        raise InputError(
            f"comparing {models[0]} with itself", "one run is named", "Name two runs, or two models"
        )
    sides = (_side(board, models[0], [0]), _side(board, models[0], range(1, len(board.runs))))
    if set(sides[0].values()) & set(sides[1].values()):
        raise InputError(
            f"comparing {models[0]} with itself", "both runs hold the same result of it",
            "Name two models with --model",
        )  # fmt: skip
    folders = [folder.name for folder in board.folders]
    return (f"{models[0]} of {folders[0]}", f"{models[0]} of {', '.join(folders[1:])}"), sides


def _main(board: Board, at: int) -> str:
    """Return the only model of a run."""
    units = board.scores.units
    own = set(units.loc[units["role"] == "model", "model"])
    names = [name for name, called in board.names[at].items() if called in own]
    if len(names) != 1:
        there = ", ".join(sorted(map(str, units["model"].unique())))
        raise InputError(
            f"comparing {board.folders[at]}", f"it has {len(names)} models, not one",
            f"Name two entries with --model: {there}",
        )  # fmt: skip
    return names[0]


def _side(board: Board, name: str, runs: Sequence[int] | range) -> Side:
    """Return the entries of a model by seed."""
    model, _, preset = name.partition("/")
    units = board.scores.units[["model", "preset"]].drop_duplicates()
    there = [(str(m), str(p)) for m, p in units.itertuples(index=False, name=None)]
    found: dict[int, Entry] = {}
    for at in runs:
        called = board.names[at].get(model)
        for entry in there:
            if entry[0] != called or (preset and entry[1] != preset) or entry in found.values():
                continue
            seed = board.runs[at].seed
            if seed in found:
                raise InputError(
                    f"comparing {name}", f"there are two results of seed {seed}",
                    f"Name the preset, or one of the runs: {board.folders[at]}",
                )  # fmt: skip
            found[seed] = entry
    if not found:
        raise unknown("entry of these runs", name, {m for called in board.names for m in called})
    return found
