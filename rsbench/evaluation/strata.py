"""Groups of units and of pixels, and the matched sets on which leads may be compared.

A stratum is fixed before scoring, from inputs or an earlier catalogue. Unit strata regroup stored
sums of whole images; pixel strata have their own sums, which add up to those of the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

HEADLINE = "all"
"""Stratum of the table: the same starts for all leads."""

SAME_TARGET = "same-target"
"""Stratum of the table: the same target dates for all leads, at a fixed context."""

GROUP_COLUMNS = {"biome": "biome", "stratum": "stratum", "land_cover": "land cover"}
"""Region properties of the catalogue → the name of the stratum, where there are ≥ 2 groups."""

CONDITION = "condition"
"""Column of the units for stress conditions, and its strata."""

ZONE = "zone"
"""Column of the units that hold a part of the pixels of an image, chosen from the inputs."""

ADDED = (CONDITION, ZONE)
"""Optional key columns of units; empty where they do not apply."""

YEAR = "year"
"""Stratum by target year, if a lead has at least two of them."""

SEASON = "season"
HEMISPHERE = "hemisphere"
"""Stratum by season of the target date; units have the hemisphere."""

VALID = "valid fraction"
INPUT_VALID = "input_valid"
"""Stratum by the share of valid input pixels; units have its sum over their images."""

VALID_CLASSES = ((0.5, "below 0.5"), (0.8, "0.5 to 0.8"), (0.95, "0.8 to 0.95"))
VALID_MOST = "0.95 to 1"
"""Upper bounds (exclusive) and names of the classes of the valid fraction."""

SEASONS = ("winter", "spring", "summer", "autumn")
"""Quarters of the year from December on, north of the equator; south of it two quarters later."""

OBSERVATIONS = (0, 3, 7, 15)
"""Upper bounds of the classes of pixels by number of observations; the last is open."""

OBSERVATION_NAMES = ("none", "1 to 3", "4 to 7", "8 to 15", "16 or more")
"""Names of these classes, in order."""

PIXEL = "pixel "
"""Prefix of the name of a stratum of pixels."""

LEAST_SHARE = 0.01
"""Least share of the scored pixels of a region for which it contributes to a stratum."""

FORECASTS = ("model", "trivial", "oracle", "control")
"""Roles that are matched. A ``floor`` entry is no forecast and excludes no start."""

MODEL = ["model", "preset"]
SERIES = ["metric", "band"]
GROUP = "_group"
MEANS = [*MODEL, "role", *SERIES, "lead", GROUP, "region"]
"""Columns that name a mean of a region."""
TEXTS = (*MODEL, "role", *SERIES, "region", "start", "target", "curve")
"""Columns of units that hold names and dates."""
PIXEL_CLASS = "pixel_class"
"""Column of pixel sums that names the stratum, e.g. ``pixel land cover=water``."""


@dataclass(frozen=True)
class Matching:
    """Which origins a curve kept.

    Args:
        stratum: ``all`` (origins are start dates) or ``same-target`` (target dates).
        metric: metric id.
        band: band or ``all``.
        origins: the ISO dates kept, ascending.
        kept: pairs (region, origin) with every lead of every entry defined.
        dropped: pairs offered but not kept.
    """

    stratum: str
    metric: str
    band: str
    origins: tuple[str, ...]
    kept: int
    dropped: int


def matched(
    units: pd.DataFrame, horizon: int, stratum: str, *, within: tuple[str, ...] = ()
) -> pd.DataFrame:
    """Return the candidate units of a curve with a bool column ``kept``.

    A pair (region, start), or (region, target) for ``same-target``, is kept where every lead of
    every entry is defined, so that all are scored on the same samples. An entry with a shorter
    horizon is matched with the leads it has. ``within`` names columns that are matched value by
    value.
    """
    series = [*SERIES, *within]
    origin, flags = _origin(stratum)
    units = whole(units)
    offered = units[units["curve"].isin(flags) & units["lead"].between(1, horizon)].copy()
    defined = offered[(offered["weight"] > 0) & offered["role"].isin(FORECASTS)]
    pair = [*series, "region", origin, *([CONDITION] if CONDITION in units.columns else [])]
    cells = defined[[*series, *MODEL, "lead"]].drop_duplicates()
    need, have = _counts(offered, cells, series), _counts(offered, defined, pair)
    offered["kept"] = (need > 0) & (need == have) & (offered["weight"] > 0).to_numpy(dtype=bool)
    return offered


def _counts(rows: pd.DataFrame, counted: pd.DataFrame, keys: list[str]) -> npt.NDArray[np.int64]:
    """Return, for each row, how many of the rows that are counted have its keys.

    ``counted``: some of the rows.
    """
    if rows.empty:
        return np.zeros(0, np.int64)
    of = rows.groupby(keys, observed=True, sort=False).ngroup()
    known = of[counted.index]
    found = np.bincount(known[known >= 0], minlength=int(of.max()) + 1)
    return np.where(of >= 0, found[of], 0)


def headline(table: pd.DataFrame, metric: str | None = None) -> pd.DataFrame:
    """Return the rows of the headline stratum over all bands, of one metric if it is given."""
    rows = table[(table["band"] == "all") & (table["stratum"] == HEADLINE)]
    return rows if metric is None else rows[rows["metric"] == metric]


def whole(units: pd.DataFrame) -> pd.DataFrame:
    """Return the units of whole images."""
    return units[units[ZONE] == ""] if ZONE in units.columns else units


def matchings(units: pd.DataFrame, horizon: int, stratum: str) -> tuple[Matching, ...]:
    """Return the numbers of kept and dropped origins for every metric and band."""
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


def pooled(units: pd.DataFrame, pixels: pd.DataFrame, horizon: int) -> pd.DataFrame:
    """Return :func:`region_means` of every group of units and of classes of pixels.

    A group is pooled before the next one is made: a unit is in up to six of them.
    """
    found = [region_means(group) for group in _all_groups(units, pixels, horizon)]
    full = [means for means in found if len(means)]
    if not full:
        return found[0]
    means = _narrow(pd.concat(full, ignore_index=True))
    means = means.sort_values(MEANS, kind="stable", ignore_index=True)
    return means.astype({name: object for name in MEANS if name != "lead"})


def _all_groups(units: pd.DataFrame, pixels: pd.DataFrame, horizon: int) -> Iterator[pd.DataFrame]:
    yield from _groups(_narrow(units), horizon)
    if len(pixels):
        yield grouped_pixels(_narrow(pixels), horizon)


def _narrow(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose names and dates are categories: a code of few bytes in each row."""
    names = {*TEXTS, *ADDED, PIXEL_CLASS, GROUP}.intersection(frame.columns)
    return frame.astype(dict.fromkeys(names, "category"))


def relabelled(column: pd.Series, label: Callable[[str], str]) -> pd.Series:
    """Return the label of every value; it is made once for equal values."""
    codes, values = pd.factorize(column.astype(object))
    found = np.array([label(str(value)) for value in values], dtype=object)
    return pd.Series(found[codes], index=column.index, dtype=object)


def _groups(units: pd.DataFrame, horizon: int) -> Iterator[pd.DataFrame]:
    starts = matched(units, horizon, HEADLINE)
    yield starts.assign(**{GROUP: HEADLINE})
    yield matched(units, horizon, SAME_TARGET).assign(**{GROUP: SAME_TARGET})
    yield from _zones(units, horizon)
    if CONDITION in starts.columns:
        yield starts.assign(
            **{GROUP: relabelled(starts[CONDITION], lambda label: f"{CONDITION}={label}")}
        )
    for column, name in GROUP_COLUMNS.items():
        if column in starts.columns:
            yield from _named(starts, name, starts[column].fillna("").astype(str))
    pooled = starts[starts["band"] == "all"]  # all bands together, to keep the table small
    if CONDITION not in starts.columns:
        years = relabelled(pooled["target"], lambda day: day[:4])
        yield from _named(pooled, YEAR, years, at_one_lead=True)
    if HEMISPHERE in pooled.columns:
        yield from _named(pooled, SEASON, seasons(pooled), at_one_lead=True)
    if INPUT_VALID in pooled.columns:
        yield from _named(pooled, VALID, valid_classes(pooled))


def _zones(units: pd.DataFrame, horizon: int) -> Iterator[pd.DataFrame]:
    names = sorted(set(units[ZONE]) - {""}) if ZONE in units.columns else []
    for name in names:
        part = units[units[ZONE] == name].assign(**{ZONE: ""})
        found = matched(part, horizon, HEADLINE)
        if found["kept"].any():  # a zone needs a pixel with change
            yield found.assign(**{GROUP: f"{ZONE}={name}"})


def _named(
    rows: pd.DataFrame, name: str, labels: pd.Series, *, at_one_lead: bool = False
) -> Iterator[pd.DataFrame]:
    """Group rows by label if there are at least two labels; an empty label is no group.

    ``at_one_lead`` requires two labels at one lead: with one start, each year is one lead.
    """
    there = labels[labels != ""]
    if at_one_lead and len(there):
        most = there.groupby(rows.loc[there.index, "lead"]).nunique().max()
    else:
        most = there.nunique()
    if most >= 2:
        labels = relabelled(there, lambda label: f"{name}={label}")
        yield rows.loc[there.index].assign(**{GROUP: labels})


def season_of(month: int, hemisphere: str) -> str:
    """Return the season of a month (1 … 12) in the ``north`` or the ``south``; elsewhere ``""``."""
    later = {"north": 0, "south": 2}.get(hemisphere)
    return "" if later is None else SEASONS[(month % 12 // 3 + later) % 4]


def seasons(units: pd.DataFrame) -> pd.Series:
    """Return the season of each unit's target date, ``""`` where the hemisphere is not known."""
    months = relabelled(units["target"], lambda day: day[5:7]).astype(int)
    places = units[HEMISPHERE].fillna("").astype(str)
    found = [season_of(m, place) for m, place in zip(months, places, strict=True)]
    return pd.Series(found, index=units.index, dtype=object)


def valid_classes(units: pd.DataFrame) -> pd.Series:
    """Return the class of each unit's valid fraction of inputs, ``""`` where it is not known."""
    shares = units[INPUT_VALID].astype(float) / units["n_images"]
    return shares.map(valid_class).astype(object)


def valid_class(share: float) -> str:
    """Return the class of a share of valid pixels, 0 … 1; ``""`` for NaN."""
    if math.isnan(share):
        return ""
    rounded = round(share, 9)  # the order of a sum must not change the class
    return next((name for end, name in VALID_CLASSES if rounded < end), VALID_MOST)


def regions_by_stratum(units: pd.DataFrame) -> dict[str, frozenset[str]]:
    """Return the regions of the headline stratum, and of every label of a group of regions.

    A group with one label is no group; an empty label is none.
    """
    regions = units.drop_duplicates("region")
    found = {HEADLINE: frozenset(map(str, regions["region"]))}
    for column, name in GROUP_COLUMNS.items():
        if column in regions.columns:
            labels = regions[column].fillna("").astype(str)
            named = regions[labels != ""].groupby(name + "=" + labels[labels != ""])["region"]
            if named.ngroups > 1:
                found |= {str(key): frozenset(map(str, own)) for key, own in named}
    return found


def grouped_pixels(pixels: pd.DataFrame, horizon: int) -> pd.DataFrame:
    """Return the candidate sums of pixel classes, with the label in ``_group``.

    A layer with only one class equals the whole image and is left out.
    """
    layers = relabelled(pixels[PIXEL_CLASS], lambda label: label.partition("=")[0])
    of_layer = pd.DataFrame({"layer": layers, "name": pixels[PIXEL_CLASS]}).drop_duplicates()
    classes = layers.map(of_layer["layer"].value_counts())
    enough = pixels["weight"] >= LEAST_SHARE * pixels["n_images"]
    usable = pixels.assign(
        weight=pixels["weight"].where(enough, 0.0),
        value_sum=pixels["value_sum"].where(enough, 0.0),
        n_missing=pixels["n_missing"].where(enough, pixels["n_images"]),
    )[classes >= 2]
    offered = matched(usable, horizon, HEADLINE, within=(PIXEL_CLASS,))
    return offered.rename(columns={PIXEL_CLASS: GROUP})


def is_derived(metric: str, stratum: str) -> bool:
    """Return whether a value is derived from other units and may be missing in older tables."""
    later = (YEAR, SEASON, VALID, GROUP_COLUMNS["land_cover"])
    return metric.startswith("share.") or stratum.partition("=")[0] in later


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
    kept, images = offered["kept"], offered["n_images"]
    sums = offered[MEANS].assign(
        _value=offered["value_sum"].where(kept, 0.0),
        _weight=offered["weight"].where(kept, 0.0),
        n_samples=(images - offered["n_missing"]).where(kept, 0),
        n_missing=offered["n_missing"].where(kept, images),
    )
    added = ["_value", "_weight", "n_samples", "n_missing"]
    pooled = sums.groupby(MEANS, observed=True, sort=True)[added].sum().reset_index()
    pooled["value"] = (pooled["_value"] / pooled["_weight"]).where(pooled["_weight"] > 0)
    return pooled.drop(columns=["_value", "_weight"])
