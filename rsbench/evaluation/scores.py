"""Sums and weights per unit, and the tidy table made from them."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any, cast

import pandas as pd

from rsbench.core.errors import UPGRADE, Incomparable, InputError, SchemaError, first_line
from rsbench.core.html import html_table
from rsbench.evaluation import intervals as inference
from rsbench.evaluation import strata
from rsbench.evaluation.pooled_metrics import empty_counts, pooled_tables
from rsbench.evaluation.run_files import (
    PARTS,
    RUN,
    UNITS,
    again_into,
    read_frames,
    read_run,
    unsealed,
    write_run,
)
from rsbench.evaluation.run_info import Absent, RunInfo, merged
from rsbench.evaluation.table_cells import cells_of, of_blocks, set_cells, share_cells, shares
from rsbench.evaluation.unit_table import KEYS, PIXEL_COLUMNS, PIXEL_KEYS, checked, stack
from rsbench.metrics.queries import SELECTION, SKILL, headline, perfect_values

COLUMNS = [
    "schema", "dataset", "dataset_digest", "split", "protocol", "model", "preset", "inputs",
    "weights", "seed", "precision", "metric", "band", "lead", "step", "stratum", "value", "lo",
    "hi", "interval", "n_regions", "n_samples", "n_missing",
]  # fmt: skip
SET_COLUMNS = [
    "model", "preset", "role", "metric", "lead", "value", "lo", "hi", "interval", "n_regions", "n",
    "d", "n_missing", "halves", "origins", "notes",
]  # fmt: skip
HALVES = "halves"
"""The entry of two halves of the truth, each of half the images: a floor of set metrics."""


@dataclass(frozen=True)
class Scores:
    """Sums per unit of one run: one row per (model, region, start, lead, metric, band).

    ``value_sum`` is Σ over images of the per-image value, ``weight`` the number of images with a
    defined value, ``n_images`` all images of the unit, ``n_missing`` those without a value.
    ``pixels`` has these rows per class of pixels (column ``pixel_class``), for metrics that are
    means over pixels: the sums and weights of the classes of one layer add up to the unit. ``sets``
    holds metrics of sets of images, one row per (model, lead, metric), without sums. ``counts``
    holds what pooled metrics count in every image.
    """

    units: pd.DataFrame
    run: RunInfo
    sets: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=SET_COLUMNS))
    pixels: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=PIXEL_COLUMNS))
    counts: pd.DataFrame = field(default_factory=empty_counts)
    _made: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", checked(self.units, KEYS))
        if len(self.pixels):
            object.__setattr__(self, "pixels", checked(self.pixels, PIXEL_KEYS))

    def __repr__(self) -> str:
        return f"Scores({self._title()}: {', '.join(dict.fromkeys(self.units['model']))})"

    def _title(self) -> str:
        run = self.run
        return f"{run.label}, protocol {run.protocol}, split {run.split}, leads 1 to {run.horizon}"

    def _repr_html_(self) -> str:
        """Return headline values: a row per entry, a column per metric and first or last lead."""
        rows = strata.headline(self.table())
        rows = rows[rows["lead"].isin((1, self.run.horizon))]
        rows = rows[rows["metric"].isin({*headline(), SELECTION, SKILL + SELECTION})]
        grid = rows.pivot_table(
            index=["model", "preset"], columns=["metric", "lead"], values="value", sort=False
        )
        columns: list[tuple[str, int]] = grid.columns.to_numpy().tolist()
        entries: list[tuple[str, str]] = grid.index.to_numpy().tolist()
        head = ["model", "preset", *(f"{metric}, lead {lead}" for metric, lead in columns)]
        cells = (
            [*entry, *("–" if math.isnan(v) else f"{v:.4g}" for v in values)]
            for entry, values in zip(entries, grid.to_numpy(), strict=True)
        )
        return html_table(self._title(), head, cells)

    def __add__(self, other: Scores) -> Scores:
        """Return the scores of both parts: sums and weights of equal units add."""
        ours, theirs = self.run.identity(), other.run.identity()
        differ = [f"{n} {ours[n]!r} / {theirs[n]!r}" for n in ours if ours[n] != theirs[n]]
        differ += [
            f"weights of {model}"
            for model in sorted(set(self.run.weights) & set(other.run.weights))
            if self.run.weights[model] != other.run.weights[model]
        ]
        if differ:
            raise Incomparable(
                "adding scores", f"the parts differ in {', '.join(differ)}", "Add parts of one run"
            )
        both = pd.concat([self.units, other.units], ignore_index=True)
        pixels = stack(self.pixels, other.pixels)
        run = merged(self.run, other.run)
        why = "a distance of sets does not add up over parts; score them in one run"
        metrics = sorted({*self.sets["metric"], *other.sets["metric"]})
        gone = tuple(Absent("*", why, str(metric)) for metric in metrics)
        run = replace(run, absent=tuple(dict.fromkeys(run.absent + gone)))
        return Scores(both, run, pixels=pixels, counts=stack(self.counts, other.counts))

    @classmethod
    def sum(cls, parts: Sequence[Scores]) -> Scores:
        """Return the sum of at least one part."""
        return reduce(lambda a, b: a + b, parts)

    def table(self) -> pd.DataFrame:
        """Return the tidy table: one row per model, metric, band, lead and stratum."""
        return self._tidy()[0].copy()

    def absences(self) -> tuple[Absent, ...]:
        """Return the reasons for absent values: those of the run and of undefined skill."""
        return self.run.absent + self._tidy()[1]

    def region_means(self) -> pd.DataFrame:
        """Return pooled values per region on the matched sets, skill included.

        Columns: model preset role metric band lead stratum region value n_samples n_missing.
        """
        if "regions" not in self._made:
            means, skill, _ = self._pooled()
            of_regions = shares(skill, self.run.best_trivial)
            parts = stack(means, skill, of_regions, self._pooled_tables()[1])
            self._made["regions"] = parts.rename(columns={strata.GROUP: "stratum"})
        return cast("pd.DataFrame", self._made["regions"])

    def _pooled(self) -> tuple[pd.DataFrame, pd.DataFrame, tuple[Absent, ...]]:
        if "pooled" not in self._made:
            means = strata.pooled(self.units, self.pixels, self.run.horizon)
            self._made["pooled"] = (means, *_skill(means, self.run))
        return cast("tuple[pd.DataFrame, pd.DataFrame, tuple[Absent, ...]]", self._made["pooled"])

    def _tidy(self) -> tuple[pd.DataFrame, tuple[Absent, ...]]:
        if "tidy" not in self._made:
            added = stack(set_cells(self.sets), self._pooled_tables()[0])
            self._made["tidy"] = _tidy(self.run, *self._pooled(), added)
        return cast("tuple[pd.DataFrame, tuple[Absent, ...]]", self._made["tidy"])

    def _pooled_tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return cells and pseudo-values by region of the pooled metrics."""
        if "counted" not in self._made:
            subsets = strata.regions_by_stratum(self.units)
            self._made["counted"] = pooled_tables(
                self.counts, self.run.bands, self.run.pooled, subsets
            )
        return cast("tuple[pd.DataFrame, pd.DataFrame]", self._made["counted"])

    def matchings(self, stratum: str) -> tuple[strata.Matching, ...]:
        """Return per metric and band the origins that a matched set kept and dropped."""
        name = f"matchings {stratum}"
        if name not in self._made:
            self._made[name] = strata.matchings(self.units, self.run.horizon, stratum)
        return cast("tuple[strata.Matching, ...]", self._made[name])

    def save(self, folder: Path, more: Mapping[str, Any] | None = None) -> None:
        """Write ``scores.parquet`` and ``run.json`` into a folder, each whole or not at all.

        ``sets.parquet``, ``pixels.parquet`` and ``counts.parquet`` are written if there are such
        scores. ``run.json`` is written last and has the digests of the others and of itself.
        ``more``: further keys of ``run.json``.
        """
        folder.mkdir(parents=True, exist_ok=True)
        run = replace(self.run, absent=tuple(dict.fromkeys(self.absences())))
        write_run(
            folder, {**run.to_json(), **(more or {})}, {"scores": self.units, **self._further()}
        )

    def _further(self) -> dict[str, pd.DataFrame]:
        return {name: part for name in PARTS if len(part := getattr(self, name))}

    @classmethod
    def load(cls, folder: Path) -> Scores:
        """Read a run folder.

        Raises:
            InputError: if a file is absent, or is not the one that was written.
            SchemaError: if it was written under another schema.
        """
        value, asked = read_run(folder), f"reading the run {folder}"
        try:
            run = RunInfo.from_json(unsealed(value))
        except SchemaError as error:
            here = f"{error.remedy} --out {shlex.quote(f'{folder}-again')}"
            remedy = error.remedy if UPGRADE in error.remedy else here
            raise SchemaError(asked, error.found, remedy) from error
        except InputError as error:
            found = f"{RUN} is damaged ({error.found})"
            raise InputError(asked, found, again_into(folder)) from error
        frames = read_frames(folder, value)
        try:
            return cls(frames.pop("scores"), run, **frames)
        except InputError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            found = f"{UNITS} is damaged ({first_line(error)})"
            raise InputError(asked, found, again_into(folder)) from error


def _skill(means: pd.DataFrame, run: RunInfo) -> tuple[pd.DataFrame, tuple[Absent, ...]]:
    """Return skill per region, (s − ref) / (perfect − ref), and why any of it is absent."""
    perfect = perfect_values()
    rows = means[means["metric"].isin(perfect)]
    models = sorted(set(rows["model"]))
    keys = [*strata.SERIES, "lead", strata.GROUP, "region"]
    reference = rows[rows["model"] == run.best_trivial]
    if run.best_trivial is None or reference.empty:
        why = (
            "there is no reference model"
            if run.best_trivial is None
            else f"the reference {run.best_trivial} has no scores"
        )
        found = sorted(set(rows["metric"])) or sorted(perfect)
        gone = [Absent(model, why, f"skill.{name}") for model in models for name in found]
        return rows.iloc[:0], tuple(gone)
    reference = reference.drop_duplicates(keys)[[*keys, "value"]].rename(columns={"value": "_ref"})
    joined = rows.merge(reference, on=keys, how="left")
    room = joined["metric"].map(perfect).astype(float) - joined["_ref"]
    skill = (joined["value"] - joined["_ref"]) / room.where(room != 0)
    joined["metric"] = strata.relabelled(joined["metric"], lambda name: f"skill.{name}")
    joined["value"] = skill
    why = f"{run.best_trivial} is already perfect or absent in every region"
    counts = joined.assign(_there=skill.notna())
    headline = counts[(counts[strata.GROUP] == strata.HEADLINE) & (counts["band"] == "all")]
    there = headline.groupby(["model", "metric", "lead"])["_there"].any()
    known = {(item.model, f"skill.{item.metric}"): item.reason for item in run.absent}
    gone = [Absent(m, known.get((m, k), why), k, int(n)) for (m, k, n) in there[~there].index]
    return joined.drop(columns="_ref"), tuple(gone)


def _tidy(
    run: RunInfo,
    means: pd.DataFrame,
    skill: pd.DataFrame,
    absent: tuple[Absent, ...],
    added: pd.DataFrame,
) -> tuple[pd.DataFrame, tuple[Absent, ...]]:
    cells = stack(
        cells_of(means),
        cells_of(skill),
        share_cells(shares(skill, run.best_trivial)),
    )
    if run.one_scene:
        cells = of_blocks(cells, stack(means, skill))
    itself = cells["metric"].str.startswith("skill.") & (cells["model"] == run.best_trivial)
    cells.loc[itself, ["lo", "hi"]] = float("nan")  # zero by definition, not by measurement
    cells.loc[itself, "interval"] = inference.NONE
    if run.one_scene:
        spread = cells["interval"] != inference.NONE
        cells.loc[spread, "interval"] += inference.ONE_SCENE
    cells = stack(cells, added)
    cells = stack(cells, _null_rows(cells, run.absent + absent, run))
    cells["inputs"] = cells["model"].map(run.inputs).fillna(f"{run.sensor} k={run.context}")
    cells["weights"] = cells["model"].map(run.weights).astype(object)
    cells["weights"] = cells["weights"].where(cells["weights"].notna(), None)
    for name in ("schema", "dataset_digest", "split", "protocol", "seed", "precision", "step"):
        cells[name] = getattr(run, name)
    cells["dataset"] = run.label
    order = ["model", "preset", "metric", "band", "stratum", "lead"]
    return cells[COLUMNS].sort_values(order, kind="stable").reset_index(drop=True), absent


def _each_model(absent: Sequence[Absent], models: Sequence[str]) -> Iterator[Absent]:
    for item in absent:
        yield from [item] if item.model != "*" else [replace(item, model=m) for m in models]


def _null_rows(cells: pd.DataFrame, absent: Sequence[Absent], run: RunInfo) -> pd.DataFrame:
    """Return a null row for every headline cell that has a reason and no value."""
    metrics = sorted(set(cells["metric"]))
    presets = dict(zip(cells["model"], cells["preset"], strict=True))
    headline = strata.headline(cells)
    there = set(zip(headline["model"], headline["metric"], headline["lead"], strict=True))
    rows: dict[tuple[str, str, str, int], None] = {}
    for item in _each_model(absent, sorted(set(cells["model"]))):
        for metric in metrics if item.metric is None else [item.metric]:
            for lead in range(1, run.horizon + 1) if item.lead is None else [item.lead]:
                if (item.model, metric, lead) not in there:
                    rows[item.model, presets.get(item.model, ""), metric, lead] = None
    frame = pd.DataFrame(list(rows), columns=["model", "preset", "metric", "lead"])
    frame = frame.astype({"lead": "int64"}).assign(**dict.fromkeys(("value", "lo", "hi"), math.nan))
    counts: dict[str, Any] = dict.fromkeys(("n_regions", "n_samples", "n_missing"), 0)
    return frame.assign(band="all", stratum=strata.HEADLINE, interval=inference.NONE, **counts)
