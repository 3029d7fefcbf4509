"""Import the data of Sat-JEPA-Diff as they are published, under one of three splits.

``space``: regions apart. ``time``: the same regions, later years. ``published``: the splits of the
published code, sample by sample; they overlap, and the store says by how much.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rsbench.build.importers.api import (
    COMMON_REASONS,
    ONE_SENSOR_REASONS,
    SENSOR_OPTIONS,
    ImportRequest,
    Written,
    imported_meta,
)
from rsbench.build.importers.lacks import NotStatedError
from rsbench.build.importers.raster import Raster
from rsbench.build.importers.sat_jepa_layout import Place, find_places
from rsbench.build.importers.sensor_files import SensorFiles, read_block
from rsbench.build.importers.splits import (
    PUBLISHED,
    SCHEMES,
    SPACE,
    Piece,
    as_published,
    by_region,
    by_year,
    leaks,
)
from rsbench.build.importers.stated import (
    SENSOR,
    SensorIdentity,
    Stated,
    has_scale,
    meta_of,
    stated_of,
)
from rsbench.build.importers.taken import Taken
from rsbench.build.importers.validity import Read, declared_nodata, valid_reader
from rsbench.core.digest import sha256_file
from rsbench.core.errors import InputError, unknown
from rsbench.core.grid import Window
from rsbench.store.layout import RegionRecord, SensorMeta
from rsbench.store.write import write_region

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


class SatJepaDiff:
    """A folder per region of yearly RGB images, see ``sat_jepa_layout``."""

    title = "the published layout of Sat-JEPA-Diff: a folder per region, a file per year"
    takes = SENSOR_OPTIONS - {"dates"} | {"split", "gsd"}
    reasons = MappingProxyType(
        {
            **{name: why for name, why in COMMON_REASONS.items() if name != "gsd"},
            "dates": "the year stands in the names of the layout",
            **ONE_SENSOR_REASONS,
        }
    )

    def prepare(self, request: ImportRequest) -> PreparedRegions:
        """See :class:`rsbench.build.importers.api.Importer`.

        ``scale`` is always stated for reflectance, for floats too: the published scripts disagree
        on it. ``region_size`` is the side of a published sample in pixels, 128 by default, and
        ``split`` is ``space``, ``time`` or ``published``.
        """
        options, given = request.options, request.options.sensor()
        split = options.split or SPACE
        if split not in SCHEMES:
            raise unknown("split", split, SCHEMES)
        side = PATCH if options.region_size is None else options.region_size
        places = find_places(request.folder(), options)
        first = _first(places[0])
        stated = _stated(request, first)
        nodata = declared_nodata(given, first)
        identity = SensorIdentity(bands=options.bands or COLOURS)
        meta = meta_of(request, first, stated, nodata, identity)
        _require_patches(places, side)
        cuts, pieces = _cuts(places, side, split)
        recipe = _recipe(places, meta, side, split, pieces)
        return PreparedRegions(cuts, meta, valid_reader(given.nodata), recipe, nodata)


@dataclass(frozen=True)
class PreparedRegions:
    """Checked regions.

    Args:
        cuts: the regions of the store.
        meta: metadata of the sensor.
        read: reads pixels, and where they are valid.
        recipe: how the store is imported, as JSON values.
        nodata: what missing pixels hold, where it is stated or the first file states it.
    """

    cuts: Sequence[_Cut]
    meta: SensorMeta
    read: Read
    recipe: Mapping[str, Any]
    nodata: float | None

    def taken(self) -> Iterator[Taken]:
        """See :class:`rsbench.build.importers.taken.Describes`."""
        for cut in self.cuts:
            yield from _files(cut, self).taken(cut.name, cut.split)

    def write(self, root: Path) -> Written:
        """See :class:`rsbench.build.importers.api.Prepared`."""
        notes = [note for cut in self.cuts for note in _write(root, cut, self)]
        shortest = min(len(cut.place.years) for cut in self.cuts)
        protocol = "year7" if self.recipe["scheme"] == SPACE and shortest > 7 else "year1"
        store = imported_meta(
            "series", self.recipe, {SENSOR: self.meta}, step="P1Y", preset="fixed",
            protocol=protocol,
        )  # fmt: skip
        return Written(store, [cut.name for cut in self.cuts], notes)


def _recipe(
    places: Sequence[Place],
    meta: SensorMeta,
    side: int,
    split: str,
    pieces: Mapping[str, Sequence[Piece]],
) -> dict[str, Any]:
    rasters = [raster for entry in places for raster in entry.images.values()]
    return {
        "name": KIND if split == SPACE else f"{KIND}-{split}",
        "importer": KIND,
        "scheme": split,
        "patch": side,
        "leaks": leaks(pieces),
        "unit": meta.unit,
        "scale": meta.scale,
        "offset": meta.offset,
        "bands": list(meta.bands),
        "files": {f"{r.path.parent.name}/{r.path.name}": sha256_file(r.path) for r in rasters},
        "embeddings": sorted(f"{p.name}/{year}" for p in places for year in p.embeddings),
    }


def _first(entry: Place) -> Raster:
    return entry.images[entry.years[0]]


def _stated(request: ImportRequest, first: Raster) -> Stated:
    given = request.options.sensor()
    if given.unit in (None, "reflectance") and given.scale is None and not has_scale(first):
        usual = {"unit": "reflectance", "scale": 0.0001}
        command = request.command(**usual)
        raise NotStatedError(
            f"importing {request.source}",
            f"no value scale is stated for the {first.dtype} numbers in {first.path.name}, and "
            "the published scripts disagree on it",
            f"Type, with the scale that is true: {command} ; 1 if they are reflectance already",
            lacks=f"the scale of the {first.dtype} numbers in {first.path.name}",
            assumed=usual,
        )
    return stated_of(request, first, given)


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
    """Return a region per sample, as the split of a patch differs from year to year."""
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


def _files(cut: _Cut, prepared: PreparedRegions) -> SensorFiles:
    times = tuple(date(year, 7, 1) for year in cut.years)
    files = tuple(cut.place.images[year] for year in cut.years)
    return SensorFiles(files, times, prepared.meta, prepared.nodata, prepared.read)


def _write(root: Path, cut: _Cut, prepared: PreparedRegions) -> list[str]:
    meta, sensor = prepared.meta, _files(cut, prepared)
    found = sensor.plausibility()
    arrays = read_block(sensor, cut.window, found)
    found.require()
    record = RegionRecord(cut.name, cut.split, {}, sensor.times)
    write_region(root, record, {SENSOR: arrays}, {SENSOR: meta})
    return [f"{cut.name}: {note}" for note in found.notes()]


IMPORTER = SatJepaDiff()
