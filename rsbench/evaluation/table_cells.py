"""Cells of the tidy table: region means averaged, with intervals, counts and shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rsbench.evaluation import intervals as inference
from rsbench.evaluation import strata
from rsbench.metrics.queries import SELECTION

SHARE = {f"skill.{SELECTION}": f"share.{SELECTION}"}
"""Skill → share of regions in which it is above 0."""


def cells_of(means: pd.DataFrame, *, paired: bool) -> pd.DataFrame:
    """Average regions: mean of region means, its interval, and the counts."""
    keys = [*strata.MODEL, *strata.SERIES, "lead", strata.GROUP]
    groups = means.groupby(keys, sort=True)
    table = groups["value"].agg(["mean", "std", "count"])
    skewness = 0.0 if paired else _skewness(means, keys)
    counts = groups[["n_samples", "n_missing"]].sum()
    table = table.assign(skewness=skewness).join(counts).reset_index()
    table = table.rename(columns={strata.GROUP: "stratum"})
    enough = table["count"] >= inference.MIN_REGIONS
    columns = [table["std"], table["skewness"], table["count"], enough]
    ends = [
        inference.skewed_ends(float(s), float(k), int(n)) if ok else (float("nan"),) * 2
        for s, k, n, ok in zip(*columns, strict=True)
    ]
    below, above = np.array(ends, dtype=float).reshape(-1, 2).T
    table["value"] = table["mean"]
    table["lo"], table["hi"] = table["mean"] - below, table["mean"] + above
    table["interval"] = np.where(enough, inference.method(paired=paired), inference.NONE)
    table["n_regions"] = table["count"]
    return table.drop(columns=["mean", "std", "count", "skewness"])


def _skewness(means: pd.DataFrame, keys: Sequence[str]) -> pd.Series:
    """Skewness over regions per cell, 0 without spread."""
    value = means["value"].astype(float)
    index = [means[name] for name in keys]
    centred = value - value.groupby(index, sort=True).transform("mean")
    second, third = ((centred**power).groupby(index, sort=True).mean() for power in (2, 3))
    return (third / second.where(second > 0) ** 1.5).fillna(0.0)


def of_blocks(cells: pd.DataFrame, means: pd.DataFrame) -> pd.DataFrame:
    """Return cells over blocks of one scene with intervals for correlated neighbours.

    Shares of blocks have no interval.
    """
    keys = [*strata.MODEL, *strata.SERIES, "lead", strata.GROUP]
    known = means[means["value"].notna()]
    columns = [*keys, "region", "value"]
    values: dict[tuple[object, ...], dict[str, float]] = {}
    for *key, region, value in known[columns].itertuples(index=False, name=None):
        values.setdefault(tuple(key), {})[str(region)] = float(value)
    names = [*strata.MODEL, *strata.SERIES, "lead", "stratum"]
    rows = cells[names].itertuples(index=False, name=None)
    found = [inference.blocks(values.get(tuple(row), {})) for row in rows]
    share = cells["metric"].isin(SHARE.values())
    changed = cells.copy()
    for place, name in enumerate(("lo", "hi", "interval")):
        changed[name] = [
            old if new is None else new[place] for old, new in zip(cells[name], found, strict=True)
        ]
        changed.loc[share, name] = inference.NONE if name == "interval" else float("nan")
    return changed


def set_cells(sets: pd.DataFrame) -> pd.DataFrame:
    """Set rows as cells of the headline stratum; ``n_samples`` is n."""
    columns = ["model", "preset", "metric", "lead", "value", "lo", "hi", "interval", "n_regions"]
    cells = sets[columns].assign(n_samples=sets["n"], n_missing=sets["n_missing"])
    return cells.assign(band="all", stratum=strata.HEADLINE)


def shares(skill: pd.DataFrame, reference: str | None) -> pd.DataFrame:
    """Return, per region, 1 where an entry has skill over the reference and 0 where it has none.

    The reference itself is left out: its skill is 0 by definition.
    """
    rows = skill[
        skill["metric"].isin(SHARE) & skill["value"].notna() & (skill["model"] != reference)
    ]
    return rows.assign(
        metric=rows["metric"].map(SHARE).astype(object),
        value=(rows["value"].astype(float) > 0.0).astype(float),
    )


def share_cells(rows: pd.DataFrame) -> pd.DataFrame:
    """Average 0 and 1 over regions, with Wilson's interval."""
    cells = cells_of(rows, paired=False)
    found = [
        inference.wilson(round(float(share) * int(n)), int(n))
        for share, n in zip(cells["value"], cells["n_regions"], strict=True)
    ]
    nowhere = inference.Interval(float("nan"), float("nan"), inference.NONE)
    for place, name in enumerate(("lo", "hi", "interval")):
        cells[name] = [(one or nowhere)[place] for one in found]
    return cells
