"""Import dated images as a store of one sensor: one place cut into blocks, or many regions.

Units are stated or refused, never guessed. All files share bands and type, those of a region also
the grid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rsbench.build.importers.alike import require_regions_alike
from rsbench.build.importers.api import (
    LAYOUT_OPTIONS,
    ONE_SENSOR_REASONS,
    SENSOR_OPTIONS,
    STEP_OPTIONS,
    ImportRequest,
    Written,
    imported_meta,
)
from rsbench.build.importers.blocks import Block, cut
from rsbench.build.importers.common import brought_together
from rsbench.build.importers.dates import step_between
from rsbench.build.importers.layout import images_of
from rsbench.build.importers.left_over import left_below
from rsbench.build.importers.offsets import one_offset, require_one_offset
from rsbench.build.importers.places import blocks_of_place, is_for_test, is_one_scene, whole_regions
from rsbench.build.importers.plausibility import Plausibility
from rsbench.build.importers.raster import Raster, open_all
from rsbench.build.importers.regular import Regular, regular
from rsbench.build.importers.sensor_files import SensorFiles, dated_files, read_block
from rsbench.build.importers.stacks import require_bands
from rsbench.build.importers.stated import SENSOR, SensorIdentity, stated_of
from rsbench.build.importers.taken import Taken, split_text
from rsbench.build.importers.validity import may_differ
from rsbench.core.dates import uneven, usual_step
from rsbench.store.layout import RegionRecord
from rsbench.store.write import write_region


class GeoTiffSeries:
    """Images of one place, cut into blocks with a split in space, or of many regions."""

    title = "a folder of GeoTIFFs of one place, one file per date, or of many regions"
    takes = SENSOR_OPTIONS.union(STEP_OPTIONS, LAYOUT_OPTIONS, {"split"})
    reasons = MappingProxyType(
        {
            **ONE_SENSOR_REASONS,
        }
    )

    def rasters(self, request: ImportRequest) -> tuple[Path, Sequence[Raster]]:
        """Return the folder of the files, and what each says of itself."""
        folder = request.folder()
        return folder, open_all(folder, request.options)

    def prepare(self, request: ImportRequest) -> PreparedSeries:
        """See :class:`rsbench.build.importers.api.Importer`."""
        is_for_test(request)  # another split is refused before files are read
        given, options = request.options.sensor(), request.options
        folder, found = self.rasters(request)
        together = brought_together(request, images_of(request, folder, found))
        regions = one_offset(request, together)
        if options.offset_from is not None:
            given = replace(given, offset=None)
        if options.dates_in_file is None:
            for images in regions.values():
                require_bands(request, images.rasters)
        rasters = [images.rasters for images in regions.values()]
        require_regions_alike(request, rasters, but=may_differ(given))
        stated = stated_of(request, rasters[0][0], given)
        series = {
            name: dated_files(request, images, stated, given, SensorIdentity())
            for name, images in regions.items()
        }
        places = _one_place(request, series) if len(series) == 1 else _many(request, series)
        return PreparedSeries(request, places)


@dataclass(frozen=True)
class Place:
    """Files of one grid, the blocks of it that become regions, and their names."""

    series: SensorFiles
    blocks: tuple[Block, ...]
    names: tuple[str, ...]
    steps: Regular | None


def _place(request: ImportRequest, series: SensorFiles, blocks: Mapping[str, Block]) -> Place:
    options = request.options
    steps = regular(series.times, options.step, options.composite)
    return Place(series, tuple(blocks.values()), tuple(blocks), steps)


def _one_place(request: ImportRequest, regions: Mapping[str, SensorFiles]) -> tuple[Place, ...]:
    """Return one place in blocks, which are split in space."""
    (series,) = regions.values()
    grid = series.files[0].grid
    size = request.options.region_size
    blocks = blocks_of_place(
        request, (grid.height, grid.width), lambda: cut(grid.height, grid.width, size)
    )
    return (_place(request, series, {block.name(request.name): block for block in blocks}),)


def _many(request: ImportRequest, regions: Mapping[str, SensorFiles]) -> tuple[Place, ...]:
    """Return every region whole, with its split; those that are left out as a gap are not there."""
    grids = {name: series.files[0].grid for name, series in regions.items()}
    return tuple(
        _place(request, regions[name], {region: block})
        for name, region, block in whole_regions(request, grids)
    )


@dataclass(frozen=True)
class PreparedSeries:
    """Checked files, and the blocks that become regions."""

    request: ImportRequest
    places: tuple[Place, ...]

    def taken(self) -> Iterator[Taken]:
        """See :class:`rsbench.build.importers.taken.Describes`."""
        for place in self.places:
            name = place.names[0] if len(self.places) > 1 else ""
            yield from place.series.taken(name, split_text(b.split for b in place.blocks))

    def write(self, root: Path) -> Written:
        """See :class:`rsbench.build.importers.api.Prepared`; empty blocks are skipped and noted."""
        meta = self.places[0].series.meta
        written: list[str] = []
        notes: list[str] = []
        empty: Counter[str] = Counter()
        shares: list[float] = []
        for place in self.places:
            found = place.series.plausibility()
            names, gone = _written(root, place, found, shares)
            written += names
            empty += gone
            found.require()
            require_one_offset(self.request, place.series, found)
            notes += [*found.notes(), *place.series.moved()]
        steps = {_step(place) for place in self.places}
        step = steps.pop() if len(steps) == 1 else "irregular"
        recipe = self._recipe() | ({"left_out": dict(empty)} if empty else {})
        notes += [line for p in self.places for line in p.series.repeated(recipe["files"])]
        store = imported_meta(
            "series", recipe, {SENSOR: meta}, step=step, preset="fixed", protocol="year7"
        )
        blocks = Counter(block.split for place in self.places for block in place.blocks)
        gone_notes = [
            f"{count} of {blocks[split]} blocks for {split} have no valid pixel and are left out; "
            f"of the whole area {sum(shares) / len(shares):.1%} is valid"
            for split, count in empty.items()
        ]
        folder = self.request.source
        below = left_below(folder) if folder.is_dir() else []
        return Written(store, written, [*gone_notes, *below, *self._on_dates(), *notes])

    def _recipe(self) -> dict[str, Any]:
        first = self.places[0]
        files = [p.series.recipe()["files"] for p in self.places]
        return {
            "name": self.request.name,
            "importer": self.request.importer,
            "unit": first.series.meta.unit,
            "one_scene": is_one_scene({p.names[0]: p.series.files[0].grid for p in self.places}),
            **first.series.recipe(),
            "files": {name: digest for held in files for name, digest in held.items()},
            "bands": list(first.series.meta.bands),
            "region_size": first.blocks[0].window.height,
            **_added(self.places),
            **(first.steps.recipe(first.series.times) if first.steps else {}),
        }

    def _on_dates(self) -> list[str]:
        """Say which steps have no image, or that dates are irregular and what to type."""
        for place in self.places:
            times = place.series.times
            found = None if place.steps else uneven(times)
            if found is not None:
                usual = usual_step(times)
                command = self.request.command(step=f"{usual}d", composite="nearest")
                return [
                    f"the dates are irregular: {found[1]} days follow {found[0]}, elsewhere it is "
                    f"about {usual}. Forecasts need even steps; to make them, type: {command}"
                ]
        return list(dict.fromkeys(n for p in self.places if p.steps for n in p.steps.notes()))


def _added(places: Sequence[Place]) -> dict[str, Any]:
    """Return what was added to the numbers of files, where they have several offsets."""
    files = [(place.series.folder, raster) for place in places for raster in place.series.files]
    found = {
        str(path.relative_to(folder) if folder else path.name): raster.added
        for folder, raster in files
        for path in raster.paths
        if raster.added
    }
    return {"added": found} if found else {}


def _step(place: Place) -> str:
    return place.steps.step.iso if place.steps else step_between(place.series.times)


def _written(
    root: Path, place: Place, found: Plausibility, shares: list[float]
) -> tuple[Sequence[str], Counter[str]]:
    """Write the blocks of a place; return their names, and how many are empty by split.

    The valid share of every block, of empty ones too, is appended to ``shares``.
    """
    meta, written = place.series.meta, []
    empty: Counter[str] = Counter()
    for name, block in zip(place.names, place.blocks, strict=True):
        arrays = read_block(place.series, block.window, found)
        if place.steps is not None:
            arrays = place.steps.applied(arrays, meta.nodata)
        shares.append(float(arrays.valid.mean()))
        if not arrays.valid.any():
            empty[block.split] += 1
            continue
        record = RegionRecord(name, block.split, {}, arrays.times)
        write_region(root, record, {SENSOR: arrays}, {SENSOR: meta})
        written.append(name)
    return written, empty


IMPORTER = GeoTiffSeries()
