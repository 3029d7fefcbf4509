"""The regions of a board: a map, or a grid of names where they have no place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from markupsafe import Markup

from rsbench.catalog import Region, load_regions
from rsbench.catalog import names as recipes
from rsbench.evaluation import strata
from rsbench.evaluation.endpoint import DEFAULT
from rsbench.evaluation.positions import PLACES, utm_to_degrees
from rsbench.evaluation.report.board import Board
from rsbench.evaluation.report.charts import minus, nice_ticks
from rsbench.evaluation.report.leaderboard import first_metric
from rsbench.evaluation.table import number
from rsbench.evaluation.unit_table import RANKED_ROLES

WIDTH, HEIGHT = 720, 330
WORLD = (-180.0, 180.0, -60.0, 80.0)
"""West, east, south and north of the map of places that lie far apart."""
FAR = 60.0
"""Degrees of longitude or latitude; regions within it have a map of their own extent."""
GROUPS = ("biome", "stratum", "country")
"""Columns of the units by which regions are coloured: the first that has several values."""
MOST_GROUPS = 8


def centre(region: Region) -> tuple[float, float] | None:
    """Return latitude and longitude of a region's centre, in degrees."""
    half = region.size * region.gsd / 2
    return utm_to_degrees(region.epsg, region.origin[0] + half, region.origin[1] - half)


def where(board: Board, models: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the regions with the values of every ranked entry at lead 1, and their map.

    ``map`` is empty for simulated data and regions without a place: their names stand in a grid.
    None where no region is scored.
    """
    names = sorted(set(board.scores.units["region"].astype(str)))
    if not names:
        return None
    shown = next((m for m in models if m["role"] == "model"), None)
    skill = _values(board, shown, DEFAULT.metric) if shown else {}
    group_of, groups = _groups(board, names)
    dots = [
        _Dot(name, at, group_of.get(name, 0), groups, skill.get(name))
        for name, at in _positions(board, names).items()
    ]
    ranked = [m for m in models if m["role"] in RANKED_ROLES and m["preset"]]
    metric = first_metric(board, [])
    columns = [_values(board, m, metric) for m in ranked]
    known = {region.name: region for region in load_regions()}
    return {
        "map": _map(dots) if dots else "",
        "model": shown["model"] if shown and skill else "",
        "groups": groups, "metric": metric, "columns": ranked,
        "regions": [
            {"name": name, "group": group_of.get(name, 0),
             "label": groups[group_of.get(name, 0)] if groups else "",
             "title": known[name].title if dots and name in known else "",
             "cells": [minus(number(own[name])) if name in own else "–" for own in columns]}
            for name in sorted(names, key=lambda n: (skill.get(n, math.inf), n))
        ],
    }  # fmt: skip


def _positions(board: Board, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return region → longitude and latitude, as the runs state it or the catalogue knows it.

    Runs of earlier versions state no places. The catalogue's are taken for what its recipes built:
    elsewhere a name of the catalogue may mean another place.
    """
    if board.run.simulated:
        return {}
    stated: dict[str, Any] = {}
    for run in board.runs:
        stated |= run.extra.get(PLACES) or {}
    found = {name: (float(stated[name][0]), float(stated[name][1])) for name in names
             if name in stated}  # fmt: skip
    if found or board.run.dataset not in recipes("recipes"):
        return found
    known = {region.name: centre(region) for region in load_regions() if region.name in names}
    return {name: (at[1], at[0]) for name, at in sorted(known.items()) if at is not None}


def _groups(board: Board, names: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """Return the group of every region, and the labels of the groups; no label for one group."""
    units = board.scores.units
    for column in GROUPS:
        if column not in units:
            continue
        own = units.drop_duplicates("region").set_index("region")[column].astype(str)
        labels = sorted({label for label in own if label})
        if 1 < len(labels) <= MOST_GROUPS:
            return {name: labels.index(own[name]) for name in names if own[name]}, labels
    return {}, []


def _values(board: Board, row: Mapping[str, Any], metric: str) -> dict[str, float]:
    own = strata.headline(board.scores.region_means(), metric)
    own = own[(own["model"] == row["model"]) & (own["preset"] == row["preset"])]
    own = own[(own["lead"] == 1) & own["value"].notna()]
    pairs = zip(own["region"], own["value"], strict=True)
    return {str(region): float(value) for region, value in pairs}


@dataclass(frozen=True)
class _Dot:
    """A region on the map: longitude and latitude, group, labels of the groups, and skill."""

    name: str
    at: tuple[float, float]
    group: int
    groups: Sequence[str]
    value: float | None

    def drawn(self, x: float, y: float) -> str:
        text = f"{self.name}, {self.groups[self.group]}" if self.groups else self.name
        kind = "none" if self.value is None else "better" if self.value > 0 else "worse"
        if self.value is not None:
            text += f", MSE skill {minus(number(self.value, 3))}"
        tip, name = escape(text), escape(self.name)
        return (
            f'<g class="c{self.group}"><circle class="dot {kind}" cx="{x:.1f}" cy="{y:.1f}" r="6" '
            f'tabindex="0" role="button" aria-pressed="false" aria-label="{tip}" data-tip="{tip}" '
            f'data-region="{name}" data-group="{self.group}"/></g>'
        )


def _map(dots: Sequence[_Dot]) -> Markup:
    """Return a map as SVG: equirectangular, true to scale at its middle latitude."""
    west, east, south, north = _extent(dots)

    def at(longitude: float, latitude: float) -> tuple[float, float]:
        x = (longitude - west) / (east - west) * WIDTH
        return x, (north - latitude) / (north - south) * HEIGHT

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="group" class="map" aria-label="Map of regions">'
        "<title>Map of regions</title>"
    ]
    for longitude in nice_ticks(west, east):
        x, _ = at(longitude, south)
        if 0 <= x <= WIDTH:
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}"/>')
            label = _degrees(longitude, "EW")
            parts.append(f'<text class="tick" x="{x + 3:.1f}" y="{HEIGHT - 5}">{label}</text>')
    for latitude in nice_ticks(south, north):
        _, y = at(west, latitude)
        if 0 <= y <= HEIGHT:
            parts.append(f'<line class="grid" x1="0" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
            label = _degrees(latitude, "NS")
            parts.append(f'<text class="tick" x="3" y="{y - 4:.1f}">{label}</text>')
    parts += [dot.drawn(*at(*dot.at)) for dot in dots]
    return Markup("".join([*parts, "</svg>"]))  # every text went through escape


def _degrees(value: float, letters: str) -> str:
    return f"{abs(round(value, 4)):g}°" + ("" if value == 0 else letters[value < 0])


def _extent(dots: Sequence[_Dot]) -> tuple[float, float, float, float]:
    """Return west, east, south and north of the map around the dots, in its proportions."""
    longitudes, latitudes = [dot.at[0] for dot in dots], [dot.at[1] for dot in dots]
    wide, high = max(longitudes) - min(longitudes), max(latitudes) - min(latitudes)
    if max(wide, high) > FAR:
        return WORLD
    middle = (min(latitudes) + max(latitudes)) / 2
    shrink = max(math.cos(math.radians(middle)), 0.1)
    half = max(1.25 * high / 2, 1.25 * wide * shrink * HEIGHT / WIDTH / 2, 0.01)
    across = half * WIDTH / HEIGHT / shrink
    x = (min(longitudes) + max(longitudes)) / 2
    return x - across, x + across, middle - half, middle + half
