"""The data card of a store: sources, rights, statistics, coverage and leaks between splits."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from rsbench.catalog.kinds import KINDS, load_kind
from rsbench.core.errors import StoreError
from rsbench.core.io import disk_errors, target_of, write_atomic
from rsbench.store.export.card_labels import label_lines
from rsbench.store.export.coverage import Coverage, coverage, svg
from rsbench.store.layout import CARD, COVERAGE, SPLITS
from rsbench.store.lineage import Lineage
from rsbench.store.plausible import MOST_OUTSIDE, implausible_images
from rsbench.store.read import Store, open_store
from rsbench.store.texts import described, has_texts
from rsbench.store.tree import provenance

_PERCENTILES = (2, 50, 98)
NEAR_KM = 50.0
"""Distance in km below which the card lists pairs of regions of different splits."""


LEAKS = {
    "same": "are trained on themselves",
    "target_seen": "ask for an image that training was given or asked for",
    "ground_seen": "lie on a patch that is trained on in some year",
    "beside": "lie on such a patch or touch one",
}


def write_card(path: Path | str, name: str | None = None) -> Path:
    """Write the data card and the coverage picture into a finished store.

    Both depend on the store only and are not part of its digest.

    Args:
        name: what the store's folder will be called, where it is renamed afterwards.
    """
    store = open_store(path)
    found = coverage(store)
    title = f"Valid pixels of {store.recipe} by region and date"
    asked = f"writing {target_of(store.path) / CARD}"
    with disk_errors(asked, "use a copy of the store", StoreError):
        write_atomic(store.path / COVERAGE, svg(found, title))
        write_atomic(store.path / CARD, card(store, found, name or store.path.resolve().name))
    return store.path / CARD


def card(store: Store, found: Mapping[str, Coverage], name: str, tag: str | None = None) -> str:
    """Return the data card as Markdown.

    Args:
        name: of the store's folder, or of its icechunk repository, for the example code.
        tag: of the version in the repository.
    """
    parts = [
        *_head(store),
        *_sources(store),
        *_statistics(store),
        *_coverage(store, found),
        *_plausibility(store),
        *_left(store),
        *_of_kind(store),
        *label_lines(store),
        *_leaks(store),
        *_reading(store, name, tag),
    ]
    return "\n".join(parts).rstrip() + "\n"


def renamed(text: str, name: str) -> str:
    """Return a data card whose example opens a store of another name."""
    return re.sub(r'xr\.open_zarr\("[^"]*"', lambda _: f'xr.open_zarr("{name}"', text, count=1)


def _head(store: Store) -> Iterator[str]:
    meta = store.meta
    every = [store.region(name).record.times for name in store.regions]
    dates = sorted({day for times in every for day in times})
    sizes = sorted({len(times) for times in every})
    number = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} of a region"
    yield f"# {store.recipe}"
    yield ""
    if store.simulated:
        yield "**Simulated**: made-up pixels that say nothing about real places."
        yield ""
    if (lineage := Lineage.of(store)) is not None:
        weights = f", weights `{lineage.weights[:12]}`" if lineage.weights else ""
        yield (
            f"**Synthetic**: drawn by {lineage.model} {lineage.preset}{weights} from the training "
            f"regions of {lineage.dataset} (`{lineage.source[:12]}`), {lineage.per_image} per "
            "image. For training beside that store; it is refused as test data."
        )
        yield ""
    if not store.complete:
        yield f"**Incomplete**: {_lack(meta.missing)}, listed below."
        yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| digest | `{store.digest}` |"
    yield f"| lock | `{meta.lock_digest or 'none: an import'}` |"
    yield f"| kind | {meta.kind}, a frame made by `{meta.compositor}` |"
    yield f"| dates | {number}, {dates[0]} to {dates[-1]}, step {meta.step} |"
    counts = {split: sum(r["split"] == split for r in store.listed.values()) for split in SPLITS}
    yield f"| regions | {', '.join(f'{n} {split}' for split, n in counts.items() if n)} |"
    if has_texts(store):
        yield f"| texts | {described(store)} |"
    yield ""
    yield from _grids(meta.recipe)


def _grids(recipe: Mapping[str, Any]) -> Iterator[str]:
    """Yield how the grids of imported files were stated: of the recipe, or of its sensors."""
    held = [part for part in (recipe, *recipe.values()) if isinstance(part, Mapping)]
    if any(part.get("unplaced") for part in held):
        yield "**No place**: files state none; their grid is as stated, at the origin of its CRS."
        yield ""
    if moved := {name: apart for part in held for name, apart in part.get("origins", {}).items()}:
        most = max(abs(number) for apart in moved.values() for number in apart)
        yield (
            f"**Origins**: {len(moved)} files lie up to {most:.2g} px beside the first and were "
            "taken as on its grid, as stated at the import."
        )
        yield ""


def _lack(missing: Sequence[Mapping[str, Any]]) -> str:
    """Return how many region-dates are missing, and how many items in the others."""
    items = sum("item" in unit for unit in missing)
    counts = ((len(missing) - items, "region-dates"), (items, "items of other region-dates"))
    return " and ".join(f"{n} {what}" for n, what in counts if n) + " are missing"


def _sources(store: Store) -> Iterator[str]:
    yield "## Sources and rights"
    yield ""
    stated = {s.get("name"): s for s in store.meta.recipe.get("sensors", ()) if isinstance(s, dict)}
    for name, sensor in store.meta.sensors.items():
        provider = store.meta.recipe.get("provider")
        spec = stated.get(name, {}).get("providers", {}).get(provider, {})
        yield f"- **{name}**: {', '.join(sensor.bands)}; {sensor.gsd:g} m; {sensor.unit}"
        if spec:
            yield f"  - collection `{spec.get('collection')}` of {provider}"
        yield f"  - licence: {sensor.licence or 'not stated'}"
        yield f"  - attribution: {sensor.attribution or 'not stated'}"
    yield ""


def _statistics(store: Store) -> Iterator[str]:
    yield "## Statistics"
    yield ""
    yield "Valid pixels of all regions and dates of a split, in the sensor's unit."
    yield ""
    marks = " | ".join(f"{p} %" for p in _PERCENTILES)
    yield f"| sensor | split | band | pixels | mean | std | {marks} |"
    yield "|---|---|---|---|---|---|" + "---|" * len(_PERCENTILES)
    for name in store.meta.sensors:
        for split in SPLITS:
            names = [r for r in store.regions if store.listed[r]["split"] == split]
            for band, held in _by_band(store, name, names).items():
                cells = " | ".join(f"{v:.4g}" for v in held.shown())
                yield f"| {name} | {split} | {band} | {held.count} | {cells} |"
    yield ""


@dataclass
class _Sums:
    """Counts of stored numbers; all statistics are exact functions of them."""

    scale: float
    offset: float
    counts: dict[float, int]

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    def shown(self) -> tuple[float, ...]:
        if not self.counts:
            return (math.nan,) * (2 + len(_PERCENTILES))
        stored = np.array(sorted(self.counts), np.float64)
        weight = np.array([self.counts[v] for v in stored.tolist()], np.float64)
        values = stored * self.scale + self.offset
        mean = float(np.average(values, weights=weight))
        std = math.sqrt(float(np.average((values - mean) ** 2, weights=weight)))
        below = np.cumsum(weight) / weight.sum()
        marks = (float(values[np.searchsorted(below, p / 100)]) for p in _PERCENTILES)
        return (mean, std, *marks)


def _by_band(store: Store, sensor: str, regions: list[str]) -> dict[str, _Sums]:
    meta = store.sensor(sensor)
    sums = {band: _Sums(meta.scale, meta.offset, {}) for band in meta.bands} if regions else {}
    for region in regions:
        values = store.read(region, sensor)
        valid = store.read(region, sensor, array="valid")
        if values.dtype.kind == "f":  # floats are rounded, so that equal values can be counted
            values = np.round(values, 3)
        for at, band in enumerate(meta.bands):
            stored, number = np.unique(values[:, at][valid], return_counts=True)
            held = sums[band].counts
            for value, count in zip(stored.tolist(), number.tolist(), strict=True):
                held[value] = held.get(value, 0) + count
    return sums


def _coverage(store: Store, found: Mapping[str, Coverage]) -> Iterator[str]:
    yield "## Coverage"
    yield ""
    yield f"![Valid pixels by region and date]({COVERAGE})"
    yield ""
    mean = sum(c.mean for c in found.values()) / len(found)
    gone = sum(dict(store.meta.recipe.get("left_out", {})).values())
    yield (
        f"{mean:.1%} of all pixels are valid. "
        + (
            f"{gone} more blocks without a valid pixel are not in the store; with them it is "
            f"{mean * len(found) / (len(found) + gone):.1%}. "
            if gone
            else ""
        )
        + "Regions with the fewest valid pixels:"
    )
    yield ""
    yield "| region | valid | worst date | its share |"
    yield "|---|---|---|---|"
    for name, entry in sorted(found.items(), key=lambda pair: pair[1].mean)[:5]:
        worst = min(range(len(entry.dates)), key=lambda t: entry.valid[t])
        yield f"| {name} | {entry.mean:.3f} | {entry.dates[worst]} | {entry.valid[worst]:.3f} |"
    yield ""
    shifted = [f"{name} {' '.join(c.shifted)}" for name, c in found.items() if c.shifted]
    if store.meta.recipe.get("shift"):
        yield (
            "Years shifted by more than 0.3 px relative to the others: "
            + ("; ".join(shifted) if shifted else "none")
            + "."
        )
        yield ""
    for unit in store.meta.missing:
        yield f"- missing: {unit['region']} {unit['time']}: {unit['reason']}"
    if store.meta.missing:
        yield ""


def _plausibility(store: Store) -> Iterator[str]:
    """Yield the images with numbers that the ground can hardly have; none of a clean store."""
    found = list(implausible_images(store.tree, store.regions, store.meta.sensors))
    if not found:
        return
    yield "## Numbers outside the plausible range"
    yield ""
    yield f"{len(found)} images have some; an image with more than {MOST_OUTSIDE:.0%} is refused."
    yield ""
    for one in found:
        yield f"- {one.region} {one.day} {one.sensor}: {one.says}"
    yield ""


def _left(store: Store) -> Iterator[str]:
    """Yield the items that the search left out, by region, sensor and reason."""
    left = store.meta.recipe.get("left", {})
    if not left:
        return
    yield "## Left out by the search"
    yield ""
    for region, omissions in left.items():
        for one in omissions:
            yield f"- {region}, {one['sensor']}: {one['reason']}: {', '.join(one['items'])}"
    yield ""


@runtime_checkable
class CardSection(Protocol):
    """The part of a dataset kind that the data card reads."""

    def card(self, store: Store) -> Iterable[str]:
        """Yield the lines of the kind's section, none if it has none."""


def _of_kind(store: Store) -> Iterator[str]:
    """Yield the section of the store's dataset kind."""
    if store.meta.kind not in KINDS.names():
        yield f"The package of dataset kind `{store.meta.kind}` is not installed: its section"
        yield "is left out."
        yield ""
        return
    kind = load_kind(store.meta.kind)
    if isinstance(kind, CardSection):
        yield from kind.card(store)


def _leaks(store: Store) -> Iterator[str]:
    yield "## Leaks between splits"
    yield ""
    if store.one_scene:
        yield "All regions are blocks of one series of images; splits are one block apart."
        yield ""
        return
    told = store.meta.recipe.get("leaks")
    if told is not None:
        yield from _leak_shares(str(store.meta.recipe["scheme"]), told)
        return
    places = {name: _place(store, name) for name in store.regions}
    split = {name: str(store.listed[name]["split"]) for name in store.regions}
    apart = sorted(
        (_kilometres(places[a], places[b]), a, b)
        for a, b in combinations(store.regions, 2)
        if split[a] != split[b]
    )
    if not apart:
        yield "All regions are of one split."
        yield ""
        return
    nearest, a, b = apart[0]
    yield (
        f"The nearest centres of two splits are {nearest:.0f} km apart "
        f"({a}, {split[a]}; {b}, {split[b]})."
    )
    near = [pair for pair in apart if pair[0] < NEAR_KM]
    if near:
        listed = "; ".join(f"{a} – {b} {d:.0f} km" for d, a, b in near[:10])
        yield f"{len(near)} pairs of regions of different splits are nearer than {NEAR_KM:.0f} km: "
        yield listed + "."
    yield ""


def _leak_shares(scheme: str, shares: Mapping[str, float]) -> Iterator[str]:
    yield f"The split is `{scheme}`. Of the test samples (one patch, one year to the next):"
    yield ""
    for key, text in LEAKS.items():
        yield f"- {shares[key]:.1%} {text}"
    yield ""


def _place(store: Store, name: str) -> tuple[float, float]:
    """Return longitude and latitude (degrees) of a region's centre."""
    from pyproj import Transformer

    grid = next(iter(store.region(name).grids.values()))
    a, _, c, _, e, f = grid.transform
    to = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    lon, lat = to.transform(c + a * grid.width / 2, f + e * grid.height / 2)
    return float(lon), float(lat)


def _kilometres(one: tuple[float, float], other: tuple[float, float]) -> float:
    (lon_a, lat_a), (lon_b, lat_b) = (tuple(map(math.radians, point)) for point in (one, other))
    half = (
        math.sin((lat_b - lat_a) / 2) ** 2
        + math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    )
    return 2 * 6371.0 * math.asin(min(1.0, math.sqrt(half)))


def _reading(store: Store, name: str, tag: str | None) -> Iterator[str]:
    sensor = next(iter(store.meta.sensors))
    meta = store.sensor(sensor)
    yield "## Reading"
    yield ""
    yield "```python"
    source = f'"{name}"'
    if tag is not None:
        yield "import icechunk"
    yield "import xarray as xr"
    yield ""
    if tag is not None:
        yield f'storage = icechunk.local_filesystem_storage("{name}")'
        yield f'session = icechunk.Repository.open(storage).readonly_session(tag="{tag}")'
        source = "session.store"
    yield f'cube = xr.open_zarr({source}, group="{store.regions[0]}/{sensor}")'
    yield "```"
    yield ""
    yield (
        f"`image` is then {meta.unit}, NaN where pixels are missing, unless its attribute "
        f"`comment` says otherwise; {meta.unit} = stored × {meta.scale:g} + {meta.offset:g} where "
        "`valid`."
    )
    if provenance(store.tree, store.regions[0]):
        yield (
            "Each region's `zarr.json` keeps, under `provenance`, the scenes listed and read "
            "and the dates of the observations of every frame."
        )
