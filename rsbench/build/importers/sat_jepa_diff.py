"""Bringing in the data of Sat-JEPA-Diff as they are published, under one of three splits.

``space``: regions apart. ``time``: the same regions, later years. ``published``: the splits of the
published code, sample by sample; they overlap, and the store says by how much.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from rsbench.build.engine.builder import BuildResult
from rsbench.build.engine.staging import place
from rsbench.build.importers.geotiff_series import COMPOSITOR
from rsbench.build.importers.raster import (
    SENSOR,
    Raster,
    Stated,
    meta_of,
    read_part,
    require_plausible,
    stated_of,
    valid_part,
)
from rsbench.build.importers.sat_jepa_layout import Place, find_places
from rsbench.build.importers.splits import (
    PUBLISHED,
    SCHEMES,
    SPACE,
    TIME,
    Piece,
    as_published,
    by_region,
    by_year,
    leaks,
)
from rsbench.core.digest import sha256_file
from rsbench.core.errors import InputError, unknown
from rsbench.core.grid import Window
from rsbench.store.export.card import write_card
from rsbench.store.layout import RegionRecord, SensorArrays, SensorMeta, StoreMeta
from rsbench.store.write import finalise, write_region

KIND = "sat-jepa-diff"
COLOURS = ("red", "green", "blue")
PATCH = 128


@dataclass(frozen=True)
class _Cut:
    """One region of the store: a window of a place in some years, and its split."""

    name: str
    place: Place
    years: tuple[int, ...]
    window: Window
    split: str


def import_sat_jepa_diff(
    source: Path | str,
    out: Path | str,
    *,
    unit: str | None,
    scale: float | None = None,
    offset: float | None = None,
    nodata: float | None = None,
    bands: Sequence[str] | None = None,
    crs: str | None = None,
    patch: int | None = None,
    split: str = SPACE,
) -> BuildResult:
    """Make a store from a folder per region of yearly RGB images.

    Args:
        source: the folder that holds a folder per region, see
            :mod:`rsbench.build.importers.sat_jepa_layout`.
        out: folder of the store; absent or empty.
        unit: ``reflectance`` or ``display``; the files do not say.
        scale: ``reflectance = stored · scale + offset``. Always stated, for floats too: the
            published scripts disagree on it.
        offset: likewise; 0 where nothing is stated.
        nodata: stored number of missing pixels, instead of what the files state.
        bands: names of the three bands; red, green, blue.
        crs: coordinate system of files that state none.
        patch: side of a published sample in pixels; 128.
        split: ``space``, ``time`` or ``published``.

    Raises:
        InputError: if something is not stated, or files do not fit together.
    """
    folder, target = Path(source), Path(out)
    if split not in SCHEMES:
        raise unknown("split", split, SCHEMES)
    side = PATCH if patch is None else patch
    places = find_places(folder, crs)
    first = _first(places[0])
    stated = _stated(folder, target, first, unit, scale, offset, split)
    meta = meta_of(folder, first, stated, nodata, bands or COLOURS)
    _require_patches(places, side)
    cuts, pieces = _cuts(places, side, split)
    with place(target) as root:
        for cut in cuts:
            _write(root, cut, meta, first.nodata if nodata is None else nodata)
        store = _meta(folder, places, meta, side, split, leaks(pieces))
        digest = finalise(root, store, regions=[cut.name for cut in cuts])
        write_card(root)
    return BuildResult(target, digest, complete=True)


def _first(entry: Place) -> Raster:
    return entry.images[entry.years[0]]


def _stated(
    folder: Path,
    out: Path,
    first: Raster,
    unit: str | None,
    scale: float | None,
    offset: float | None,
    split: str,
) -> Stated:
    tagged = (first.scale, first.offset) != (1.0, 0.0)
    if unit in (None, "reflectance") and scale is None and not tagged:
        parts = ["rsbench", "import-dataset", KIND, str(folder), "--out", str(out)]
        parts += ["--unit", "reflectance"] + (["--split", split] if split != SPACE else [])
        raise InputError(
            f"importing {folder}",
            f"no value scale is stated for the {first.dtype} numbers in {first.path.name}, and "
            "the published scripts disagree on it",
            f"Type, with the scale that is true: {shlex.join([*parts, '--scale', '0.0001'])} ; "
            "1 if they are reflectance already",
        )
    return stated_of(folder, out, first, unit, scale, offset, kind=KIND)


def _require_patches(places: Sequence[Place], side: int) -> None:
    for entry in places:
        grid = _first(entry).grid
        if side < 1 or side > min(grid.height, grid.width):
            raise InputError(
                f"patches of {side} px",
                f"{entry.name} has {grid.width}×{grid.height} px",
                f"Give --region-size {min(grid.height, grid.width)} or less",
            )


# Regions of the store -------------------------------------------------------------------


def _cuts(
    places: Sequence[Place], side: int, split: str
) -> tuple[list[_Cut], dict[str, list[Piece]]]:
    """Return the regions of the store, and the pieces of each split."""
    if split == PUBLISHED:
        return _published(places, side)
    cuts = _by_region(places) if split == SPACE else list(_by_year(places))
    pieces: dict[str, list[Piece]] = {}
    for cut in cuts:
        pieces.setdefault(cut.split, []).extend(_pieces(cut.place, cut.years, side))
    return cuts, pieces


def _by_region(places: Sequence[Place]) -> list[_Cut]:
    splits = by_region({entry.name: _centre(entry) for entry in places})
    return [_Cut(p.name, p, p.years, _whole(p), splits[p.name]) for p in places]


def _by_year(places: Sequence[Place]) -> Iterator[_Cut]:
    last = {entry.name: entry.years[-1] for entry in places}
    if len(set(last.values())) > 1:
        early, late = min(last, key=last.__getitem__), max(last, key=last.__getitem__)
        raise InputError(
            "a split forward in time",
            f"{early} ends in {last[early]}, {late} in {last[late]}",
            "Bring all regions to the same last year, or take --split space",
        )
    for entry in places:
        for name, years in by_year(entry.years).items():
            yield _Cut(f"{entry.name}-{name}", entry, years, _whole(entry), name)


def _published(places: Sequence[Place], side: int) -> tuple[list[_Cut], dict[str, list[Piece]]]:
    """Return a region per sample: in the published split a patch has a split in each year."""
    by_name = {entry.name: entry for entry in places}
    known = [
        piece
        for entry in places
        for piece in _pieces(entry, entry.years, side)
        if piece.year + 1 in entry.embeddings
    ]
    if not known:
        raise InputError(
            "the published split",
            "no region has an embedding raster of a year after its first, and the published "
            "loader lists no sample without",
            "Put embedding_<Region>_<YYYY>_10km.tif beside the images, or take --split space",
        )
    splits = as_published(known)
    cuts = [
        _Cut(
            f"{p.region}-r{p.row:02d}c{p.column:02d}-{p.year}-{name}",
            by_name[p.region],
            (p.year, p.year + 1),
            Window(p.row * side, p.column * side, side, side),
            name,
        )
        for name, pieces in splits.items()
        for p in pieces
    ]
    return cuts, {name: list(pieces) for name, pieces in splits.items()}


def _pieces(entry: Place, years: Sequence[int], side: int) -> Iterator[Piece]:
    grid = _first(entry).grid
    for year in years[:-1]:
        for row in range(grid.height // side):
            for column in range(grid.width // side):
                yield Piece(entry.name, year, row, column)


def _whole(entry: Place) -> Window:
    grid = _first(entry).grid
    return Window(0, 0, grid.height, grid.width)


def _centre(entry: Place) -> tuple[float, float]:
    from pyproj import Transformer

    grid = _first(entry).grid
    a, _, c, _, e, f = grid.transform
    to = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    x, y = to.transform(c + a * grid.width / 2, f + e * grid.height / 2)
    return float(x), float(y)


# Writing --------------------------------------------------------------------------------


def _write(root: Path, cut: _Cut, meta: SensorMeta, nodata: float | None) -> None:
    rasters = [cut.place.images[year] for year in cut.years]
    w = cut.window
    shape = (len(rasters), len(meta.bands), w.height, w.width)
    values, valid = np.empty(shape, meta.dtype), np.empty((shape[0], *shape[2:]), np.bool_)
    middle: list[list[float]] = []
    for t, raster in enumerate(rasters):
        pixels = read_part(raster, w)
        valid[t] = valid_part(nodata, raster, pixels)
        values[t] = np.where(valid[t], pixels, meta.nodata)
        middle.append([float(np.median(pixels[:, valid[t]]))] if valid[t].any() else [])
    require_plausible(rasters, meta, middle)
    times = tuple(date(year, 7, 1) for year in cut.years)
    grid = rasters[0].grid.window(w)
    arrays = SensorArrays(values, valid, valid.astype(np.uint16), times, grid)
    record = RegionRecord(cut.name, cut.split, {}, times)
    write_region(root, record, {SENSOR: arrays}, {SENSOR: meta})


def _meta(
    folder: Path,
    places: Sequence[Place],
    meta: SensorMeta,
    side: int,
    split: str,
    found: dict[str, float],
) -> StoreMeta:
    rasters = [raster for entry in places for raster in entry.images.values()]
    recipe: dict[str, Any] = {
        "name": KIND if split == SPACE else f"{KIND}-{split}",
        "importer": KIND,
        "scheme": split,
        "patch": side,
        "leaks": found,
        "unit": meta.unit,
        "scale": meta.scale,
        "offset": meta.offset,
        "bands": list(meta.bands),
        "files": {f"{r.path.parent.name}/{r.path.name}": sha256_file(r.path) for r in rasters},
        "embeddings": sorted(
            f"{entry.name}/{year}" for entry in places for year in entry.embeddings
        ),
    }
    long = split == SPACE and min(len(entry.years) for entry in places) > 7
    return StoreMeta(
        kind="series",
        recipe=recipe,
        lock_digest=None,
        compositor=COMPOSITOR,
        simulated=False,
        complete=True,
        missing=(),
        step="P1Y",
        default_preset="fixed",
        default_protocol="year7" if long else "year1",
        sensors={SENSOR: meta},
    )


__all__ = ["KIND", "PUBLISHED", "SPACE", "TIME", "import_sat_jepa_diff"]
