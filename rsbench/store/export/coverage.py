"""Coverage of a store by region and date: valid pixels, observations, shifted years."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from rsbench.store.layout import ROOT_KEY
from rsbench.store.read import Store
from rsbench.store.tree import tree_json

BLOCKS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Coverage:
    """Coverage of one region and sensor, one number per date.

    Args:
        valid: share of valid pixels.
        observations: median number of clear observations of a pixel.
        shifted: years whose images are shifted relative to the others (see
            ``rsbench.build.compose.registration``).
    """

    split: str
    dates: tuple[str, ...]
    valid: tuple[float, ...]
    observations: tuple[float, ...]
    shifted: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Share of valid pixels over all dates."""
        return sum(self.valid) / len(self.valid)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "split": self.split,
            "valid": round(self.mean, 6),
            "by_date": dict(zip(self.dates, (round(v, 6) for v in self.valid), strict=True)),
            "observations": dict(zip(self.dates, self.observations, strict=True)),
            "shifted": list(self.shifted),
        }


def coverage(store: Store, sensor: str | None = None) -> dict[str, Coverage]:
    """Return the coverage of every region, of one sensor (the first if None)."""
    name = sensor or next(iter(store.meta.sensors))
    store.sensor(name)
    return {region: _of(store, region, name) for region in store.regions}


def _of(store: Store, region: str, sensor: str) -> Coverage:
    entry = store.region(region)
    valid = store.read(region, sensor, array="valid")
    number = store.read(region, sensor, array="n_valid")
    return Coverage(
        split=entry.record.split,
        dates=tuple(t.isoformat() for t in entry.times[sensor]),
        valid=tuple(float(v.mean()) for v in valid),
        observations=tuple(float(np.median(n)) for n in number),
        shifted=tuple(sorted(_shifted(store, region, sensor))),
    )


def _shifted(store: Store, region: str, sensor: str) -> list[str]:
    attributes = tree_json(store.tree, f"{region}/zarr.json").get("attributes", {})
    held = attributes.get(ROOT_KEY, {}).get("provenance", {}).get("shift", {}).get(sensor, {})
    return [year for year, shift in held.items() if shift.get("flagged")]


def picture(found: Mapping[str, Coverage]) -> list[str]:
    """Return lines of text: a row per region, a bar per date with the share of valid pixels."""
    width = max(len(name) for name in found)
    return [
        f"  {name:{width}}  {entry.split:5}  |{''.join(map(_block, entry.valid))}|"
        f"  valid {entry.mean:.3f}  dates {_range(entry.observations)}"
        + (f"  shifted {' '.join(entry.shifted)}" if entry.shifted else "")
        for name, entry in found.items()
    ]


def _block(share: float) -> str:
    # Rounded up, but a full block means 100 %, so that every gap is visible.
    return BLOCKS[8] if share >= 1 else BLOCKS[min(7, math.ceil(share * 8))]


def _range(numbers: tuple[float, ...]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:g}" if low == high else f"{low:g}–{high:g}"


_CELL, _ROW, _LEFT, _TOP = 34, 14, 250, 30


def svg(found: Mapping[str, Coverage], title: str) -> str:
    """Return the coverage as SVG: a row per region, darker cells for more valid pixels."""
    most = max(len(entry.dates) for entry in found.values())
    same = len({entry.dates for entry in found.values()}) == 1
    dates = next(iter(found.values())).dates if same else tuple(f"{n + 1:4}" for n in range(most))
    width = _LEFT + _CELL * most + 10
    height = _TOP + _ROW * len(found) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'font-family="sans-serif" font-size="10"><title>{escape(title)}</title>'
        f'<rect width="{width}" height="{height}" fill="#fff"/>'
    ]
    for column, day in enumerate(dates):
        x = _LEFT + column * _CELL + _CELL / 2
        parts.append(f'<text x="{x}" y="{_TOP - 8}" text-anchor="middle">{day[:4]}</text>')
    for row, (name, entry) in enumerate(found.items()):
        y = _TOP + row * _ROW
        parts.append(
            f'<text x="{_LEFT - 6}" y="{y + 10}" text-anchor="end">'
            f"{escape(name)} ({entry.split})</text>"
        )
        for column, (day, share) in enumerate(zip(entry.dates, entry.valid, strict=True)):
            x = _LEFT + column * _CELL
            stroke = ' stroke="#b2182b" stroke-width="2"' if day[:4] in entry.shifted else ""
            parts.append(
                f'<rect x="{x + 1}" y="{y + 1}" width="{_CELL - 2}" height="{_ROW - 2}" '
                f'fill="{_shade(share)}"{stroke}><title>{escape(name)} {day}: {share:.1%} valid'
                "</title></rect>"
            )
    return "".join(parts) + "</svg>\n"


def _shade(share: float) -> str:
    pale, dark = (247, 237, 220), (20, 82, 120)
    mixed = (round(p + (d - p) * share) for p, d in zip(pale, dark, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)
