"""Cells of the tidy table: region means averaged, with intervals, counts and shares."""

from __future__ import annotations

import pandas as pd

from rsbench.evaluation import intervals as inference
from rsbench.evaluation import strata
from rsbench.metrics.queries import SELECTION

SHARE = {f"skill.{SELECTION}": f"share.{SELECTION}"}
"""Skill → share of regions in which it is above 0."""


def cells_of(means: pd.DataFrame) -> pd.DataFrame:
    """Average regions: mean of region means, its interval, and the counts."""
    keys = [*strata.MODEL, *strata.SERIES, "lead", strata.GROUP]
    groups = means.groupby(keys, sort=True)
    table = groups["value"].agg(["mean", "std", "skew", "count"])
    table = table.join(groups[["n_samples", "n_missing"]].sum()).reset_index()
    table = table.rename(columns={strata.GROUP: "stratum", "mean": "value", "count": "n_regions"})
    columns = [table[name] for name in ("metric", "value", "std", "skew", "n_regions")]
    found = [_interval(*row) for row in zip(*columns, strict=True)]
    for place, name in enumerate(("lo", "hi", "interval")):
        table[name] = pd.Series(
            [one[place] for one in found], dtype="object" if place == 2 else float
        )
    return table.drop(columns=["std", "skew"])


NOWHERE = inference.Interval(float("nan"), float("nan"), inference.NONE)


def _interval(
    metric: str, mean: float, deviation: float, skewness: float, n: int
) -> inference.Interval:
    """Return the interval of a mean over n regions, absent below the least number of regions."""
    if n < inference.MIN_REGIONS:
        return NOWHERE
    ends = inference.skewed_ends(deviation, skewness, n)
    return inference.held(mean, *ends, inference.bounds_of(metric), inference.method())


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
    bounds = [inference.bounds_of(metric) for metric in cells["metric"]]
    rows = zip(cells[names].itertuples(index=False, name=None), bounds, strict=True)
    found = [inference.blocks(values.get(tuple(row), {}), bounds=ends) for row, ends in rows]
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
    cells = cells_of(rows)
    found = [
        inference.wilson(round(float(share) * int(n)), int(n))
        for share, n in zip(cells["value"], cells["n_regions"], strict=True)
    ]
    for place, name in enumerate(("lo", "hi", "interval")):
        cells[name] = [(one or NOWHERE)[place] for one in found]
    return cells
