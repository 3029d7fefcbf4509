"""Groups of units, and the matched sets on which leads may be compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

HEADLINE = "all"
"""Stratum of the table: the same starts for all leads."""

SAME_TARGET = "same-target"
"""Stratum of the table: the same target dates for all leads, at a fixed context."""

GROUP_COLUMNS = ("biome", "stratum")
"""Region properties of the catalogue by which the table is grouped, where there are ≥ 2 groups."""

CONDITION = "condition"
"""Column of the units, where samples were put under strain on purpose, and its strata."""

ZONE = "zone"
"""Column of the units that hold a part of an image's pixels, chosen from what models see."""

ADDED = (CONDITION, ZONE)
"""Key columns that units only have where they say something; empty where they say nothing."""

YEAR = "year"
"""Stratum by the year that is forecast, where there are ≥ 2 of them at one lead."""

FORECASTS = ("model", "trivial", "oracle", "control")
"""Roles that take part in matching; a ``floor`` row is no forecast and hides no start."""

MODEL = ["model", "preset"]
SERIES = ["metric", "band"]
GROUP = "_group"


@dataclass(frozen=True)
class Matching:
    """Which origins a curve kept.

    Args:
        stratum: ``all`` (origins are start dates) or ``same-target`` (target dates).
        metric: metric id.
        band: band or ``all``.
        origins: the ISO dates kept, ascending.
        kept: pairs (region, origin) with every lead of every row defined.
        dropped: pairs offered but not kept.
    """

    stratum: str
    metric: str
    band: str
    origins: tuple[str, ...]
    kept: int
    dropped: int


def matched(units: pd.DataFrame, horizon: int, stratum: str) -> pd.DataFrame:
    """Return the units offered to a curve with a bool column ``kept``.

    A pair (region, start) — or (region, target) for ``same-target`` — is kept where every lead
    of every row is defined, so that no lead and no model is scored on easier ground. A row that
    lacks a lead everywhere (its horizon is shorter) takes part with the leads it has.
    """
    origin, flags = _origin(stratum)
    units = whole(units)
    offered = units[units["curve"].isin(flags) & units["lead"].between(1, horizon)].copy()
    defined = offered[(offered["weight"] > 0) & offered["role"].isin(FORECASTS)]
    cells = defined[[*SERIES, *MODEL, "lead"]].drop_duplicates()
    need = cells.groupby(SERIES, observed=True).size().rename("_need")
    pair = [*SERIES, "region", origin, *([CONDITION] if CONDITION in units.columns else [])]
    have = defined.groupby(pair, observed=True).size().rename("_have")
    joined = offered.join(need, on=SERIES).join(have, on=pair)
    complete = joined["_need"].notna() & (joined["_need"] == joined["_have"])
    offered["kept"] = (complete & (offered["weight"] > 0)).to_numpy(dtype=bool)
    return offered


def whole(units: pd.DataFrame) -> pd.DataFrame:
    """Return the units of whole images."""
    return units[units[ZONE] == ""] if ZONE in units.columns else units


def matchings(units: pd.DataFrame, horizon: int, stratum: str) -> tuple[Matching, ...]:
    """Say for every metric and band how many origins were kept and how many dropped."""
    origin, _ = _origin(stratum)
    rows = matched(units, horizon, stratum)
    rows = rows[rows["role"].isin(FORECASTS)]
    pairs = rows.groupby([*SERIES, "region", origin], observed=True)["kept"].max().reset_index()
    result = []
    for key, group in pairs.groupby(SERIES, observed=True):
        metric, band = key
        kept = group[group["kept"]]
        origins = tuple(sorted(str(value) for value in kept[origin].unique()))
        dropped = len(group) - len(kept)
        result.append(Matching(stratum, str(metric), str(band), origins, len(kept), dropped))
    return tuple(result)


def grouped(units: pd.DataFrame, horizon: int) -> pd.DataFrame:
    """Return offered units once per group they belong to, the label in column ``_group``."""
    groups = list(_groups(units, horizon))
    full = [group for group in groups if len(group)]
    return pd.concat(full, ignore_index=True) if full else groups[0]


def _groups(units: pd.DataFrame, horizon: int) -> Iterator[pd.DataFrame]:
    headline = matched(units, horizon, HEADLINE)
    yield headline.assign(**{GROUP: HEADLINE})
    yield matched(units, horizon, SAME_TARGET).assign(**{GROUP: SAME_TARGET})
    yield from _zones(units, horizon)
    if CONDITION in headline.columns:
        yield headline.assign(**{GROUP: CONDITION + "=" + headline[CONDITION].astype(str)})
    for column in GROUP_COLUMNS:
        if column not in headline.columns or headline[column].nunique() < 2:
            continue
        named = headline[headline[column].notna() & (headline[column] != "")]
        yield named.assign(**{GROUP: column + "=" + named[column].astype(str)})
    if CONDITION not in headline.columns:
        yield from _years(headline)


def _zones(units: pd.DataFrame, horizon: int) -> Iterator[pd.DataFrame]:
    names = sorted(set(units[ZONE]) - {""}) if ZONE in units.columns else []
    for name in names:
        part = units[units[ZONE] == name].assign(**{ZONE: ""})
        found = matched(part, horizon, HEADLINE)
        if found["kept"].any():  # where nothing changed anywhere there is no such zone
            yield found.assign(**{GROUP: f"{ZONE}={name}"})


def _years(headline: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Group by target year, all bands pooled; with one start a year is a lead and says no more."""
    years = headline["target"].astype(str).str.slice(0, 4)
    pooled = headline["band"] == "all"
    if not pooled.any() or years[pooled].groupby(headline.loc[pooled, "lead"]).nunique().max() < 2:
        return
    rows = headline[pooled]
    yield rows.assign(**{GROUP: YEAR + "=" + years[pooled]})


def is_derived(metric: str, stratum: str) -> bool:
    """Say whether a row follows from the units of other rows and may lack in an older table."""
    return metric.startswith("share.") or stratum.startswith(f"{YEAR}=")


def _origin(stratum: str) -> tuple[str, tuple[str, str]]:
    if stratum == SAME_TARGET:
        return "target", ("targets", "both")
    return "start", ("starts", "both")


def region_means(offered: pd.DataFrame) -> pd.DataFrame:
    """Pool units within regions: Σ value / Σ weight over kept units.

    Returns:
        one row per (model, preset, role, metric, band, lead, group, region) with ``value``,
        ``n_samples`` and ``n_missing``; regions without a kept unit carry a null value.
    """
    keys = [*MODEL, "role", *SERIES, "lead", GROUP, "region"]
    kept = offered["kept"]
    images = offered["n_images"]
    sums = offered.assign(
        _value=offered["value_sum"].where(kept, 0.0),
        _weight=offered["weight"].where(kept, 0.0),
        n_samples=(images - offered["n_missing"]).where(kept, 0),
        n_missing=offered["n_missing"].where(kept, images),
    )
    added = ["_value", "_weight", "n_samples", "n_missing"]
    pooled = sums.groupby(keys, observed=True, sort=True)[added].sum().reset_index()
    pooled["value"] = (pooled["_value"] / pooled["_weight"]).where(pooled["_weight"] > 0)
    return pooled.drop(columns=["_value", "_weight"])
