"""Where the regions lie, and which of them have skill: dots on a graticule."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from markupsafe import Markup

from rsbench.catalog import Region, load_regions
from rsbench.catalog import names as recipes
from rsbench.evaluation import strata
from rsbench.evaluation.endpoint import DEFAULT
from rsbench.evaluation.report.board import Board
from rsbench.evaluation.report.charts import minus
from rsbench.evaluation.table import number

# WGS 84 and UTM.
AXIS, FLATTENING, SCALE, FALSE_EAST, FALSE_NORTH = 6_378_137.0, 1 / 298.257223563, 0.9996, 5e5, 1e7
WIDTH, HEIGHT, SOUTH, NORTH = 720, 330, -60.0, 80.0


def utm_to_degrees(epsg: int, x: float, y: float) -> tuple[float, float] | None:
    """Return latitude and longitude of a UTM position, to a millimetre inside its zone.

    None for an EPSG code that is not of WGS 84 / UTM. Snyder 1987, USGS professional paper 1395,
    equations 8-17 to 8-25.
    """
    south, zone = epsg // 100 == 327, epsg % 100
    if epsg // 100 not in (326, 327) or not 1 <= zone <= 60:
        return None
    e2 = FLATTENING * (2 - FLATTENING)
    arc = (y - (FALSE_NORTH if south else 0.0)) / SCALE
    mu = arc / (AXIS * (1 - e2 / 4 - 3 * e2**2 / 64 - 5 * e2**3 / 256))
    root = math.sqrt(1 - e2)
    e1 = (1 - root) / (1 + root)
    foot = (
        mu
        + (3 * e1 / 2 - 27 * e1**3 / 32) * math.sin(2 * mu)
        + (21 * e1**2 / 16 - 55 * e1**4 / 32) * math.sin(4 * mu)
        + 151 * e1**3 / 96 * math.sin(6 * mu)
        + 1097 * e1**4 / 512 * math.sin(8 * mu)
    )
    second = e2 / (1 - e2)
    c, t = second * math.cos(foot) ** 2, math.tan(foot) ** 2
    below = 1 - e2 * math.sin(foot) ** 2
    n, r = AXIS / math.sqrt(below), AXIS * (1 - e2) / below**1.5
    d = (x - FALSE_EAST) / (n * SCALE)
    latitude = foot - n * math.tan(foot) / r * (
        d**2 / 2
        - (5 + 3 * t + 10 * c - 4 * c**2 - 9 * second) * d**4 / 24
        + (61 + 90 * t + 298 * c + 45 * t**2 - 252 * second - 3 * c**2) * d**6 / 720
    )
    longitude = (
        d
        - (1 + 2 * t + c) * d**3 / 6
        + (5 - 2 * c + 28 * t - 3 * c**2 + 8 * second + 24 * t**2) * d**5 / 120
    ) / math.cos(foot)
    return math.degrees(latitude), math.degrees(longitude) + zone * 6 - 183


def centre(region: Region) -> tuple[float, float] | None:
    """Return latitude and longitude of a region's centre, in degrees."""
    half = region.size * region.gsd / 2
    return utm_to_degrees(region.epsg, region.origin[0] + half, region.origin[1] - half)


def where(board: Board, models: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return a map of the regions of the catalogue, with the first model's skill at lead 1.

    None for simulated data, and for what no recipe of the catalogue built: elsewhere a name of
    the catalogue may mean another place.
    """
    if board.run.simulated or board.run.dataset not in recipes("recipes"):
        return None
    known = {region.name: region for region in load_regions()}
    names = sorted(set(board.scores.units["region"].astype(str)) & set(known))
    if not names:
        return None
    shown = next((m for m in models if m["role"] == "model"), None)
    values = _values(board, shown) if shown else {}
    dots = []
    for name in names:
        place = centre(known[name])
        if place is not None:
            dots.append(_dot(known[name], place, values.get(name)))
    return {
        "map": Markup("".join([*_graticule(), *dots, "</svg>"])),  # every text went through escape
        "model": shown["model"] if shown and values else "",
        "regions": [
            {"name": name, "country": known[name].country, "biome": known[name].biome,
             "value": minus(number(values[name])) if name in values else "–"}
            for name in sorted(names, key=lambda n: values.get(n, math.inf))
        ],
    }  # fmt: skip


def _values(board: Board, row: dict[str, Any]) -> dict[str, float]:
    own = strata.headline(board.scores.region_means(), DEFAULT.metric)
    own = own[(own["model"] == row["model"]) & (own["preset"] == row["preset"])]
    own = own[(own["lead"] == 1) & own["value"].notna()]
    pairs = zip(own["region"], own["value"], strict=True)
    return {str(region): float(value) for region, value in pairs}


def _at(latitude: float, longitude: float) -> tuple[float, float]:
    x = (longitude + 180) / 360 * WIDTH
    return round(x, 1), round((NORTH - latitude) / (NORTH - SOUTH) * HEIGHT, 1)


def _graticule() -> list[str]:
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" class="map" aria-label="Map of regions">'
        "<title>Map of regions</title>"
    ]
    for longitude in range(-180, 181, 30):
        x, _ = _at(0, longitude)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="{HEIGHT}"/>')
    for latitude in range(-60, 81, 30):
        _, y = _at(latitude, 0)
        kind = "zero" if latitude == 0 else "grid"
        parts.append(f'<line class="{kind}" x1="0" x2="{WIDTH}" y1="{y}" y2="{y}"/>')
    return parts


def _dot(region: Region, place: tuple[float, float], value: float | None) -> str:
    x, y = _at(*place)
    text = f"{region.name}: {region.title}" if region.title else region.name
    kind = "none" if value is None else "better" if value > 0 else "worse"
    if value is not None:
        text += f", MSE skill {minus(number(value, 3))}"
    tip = escape(text)
    return (
        f'<circle class="dot {kind}" cx="{x}" cy="{y}" r="5" tabindex="0" role="img" '
        f'aria-label="{tip}" data-tip="{tip}"/>'
    )
