"""Import a folder of dated GeoTIFFs of one place as a store of one sensor.

Units are stated or refused, never guessed. All files share grid, bands and type.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from rsbench.build.importers.alike import require_alike
from rsbench.build.importers.api import (
    COARSE_OPTIONS,
    GATE_OPTIONS,
    SENSOR_OPTIONS,
    STEP_OPTIONS,
    ImportRequest,
    Written,
    imported_meta,
)
from rsbench.build.importers.blocks import Block, cut
from rsbench.build.importers.dates import step_between
from rsbench.build.importers.plausibility import Plausibility
from rsbench.build.importers.raster import open_all
from rsbench.build.importers.regular import Regular, regular
from rsbench.build.importers.sensor_files import SensorFiles, dated_files, read_block
from rsbench.build.importers.stated import SENSOR, SensorIdentity, stated_of
from rsbench.build.importers.validity import may_differ
from rsbench.core.dates import uneven, usual_step
from rsbench.store.layout import RegionRecord
from rsbench.store.write import write_region


class GeoTiffSeries:
    """A folder of GeoTIFFs, one file per date, cut into blocks with a split in space."""

    title = "a folder of GeoTIFFs of one place, one file per date"
    takes = SENSOR_OPTIONS.union(STEP_OPTIONS)
    reasons = MappingProxyType(
        {
            "split": "its split follows from places or dates",
            **dict.fromkeys((*COARSE_OPTIONS, *GATE_OPTIONS), "it has no coarse sensor"),
        }
    )

    def prepare(self, request: ImportRequest) -> PreparedSeries:
        """See :class:`rsbench.build.importers.api.Importer`."""
        given, options = request.options.sensor(), request.options
        rasters = open_all(request.folder(), options)
        require_alike(rasters, but=may_differ(given))
        first = rasters[0]
        stated = stated_of(request, first, given)
        series = dated_files(request, rasters, stated, given, SensorIdentity())
        blocks = cut(first.grid.height, first.grid.width, options.region_size)
        steps = regular(series.times, options.step, options.composite)
        return PreparedSeries(request, series, blocks, steps)


@dataclass(frozen=True)
class PreparedSeries:
    """A checked folder, and the blocks that become regions."""

    request: ImportRequest
    series: SensorFiles
    blocks: tuple[Block, ...]
    steps: Regular | None = None

    def write(self, root: Path) -> Written:
        """See :class:`rsbench.build.importers.api.Prepared`; empty blocks are skipped and noted."""
        meta = self.series.meta
        written: list[str] = []
        empty: Counter[str] = Counter()
        found = Plausibility(self.series.files, meta)
        for block in self.blocks:
            arrays = read_block(self.series, block.window, found)
            if self.steps is not None:
                arrays = self.steps.applied(arrays, meta.nodata)
            if not arrays.valid.any():
                empty[block.split] += 1
                continue
            name = f"{self.request.name}-r{block.row:02d}c{block.column:02d}"
            record = RegionRecord(name, block.split, {}, arrays.times)
            write_region(root, record, {SENSOR: arrays}, {SENSOR: meta})
            written.append(name)
        found.require()
        recipe = {
            "name": self.request.name,
            "importer": self.request.importer,
            "unit": meta.unit,
            **self.series.recipe(),
            "bands": list(meta.bands),
            "region_size": self.blocks[0].window.height,
            **(self.steps.recipe(self.series.times) if self.steps else {}),
        }
        step = self.steps.step.iso if self.steps else step_between(self.series.times)
        store = imported_meta(
            "series", recipe, {SENSOR: meta}, step=step, preset="fixed", protocol="year7"
        )
        blocks = Counter(block.split for block in self.blocks)
        notes = [
            f"{count} of {blocks[split]} blocks for {split} have no valid pixel and are left out"
            for split, count in empty.items()
        ]
        return Written(store, written, [*notes, *self._on_dates(), *found.notes()])

    def _on_dates(self) -> list[str]:
        """Say which steps have no image, or that the dates are irregular and what to type."""
        if self.steps is not None:
            return self.steps.notes()
        times = self.series.times
        found = uneven(times)
        if found is None:
            return []
        usual = usual_step(times)
        command = self.request.command(step=f"{usual}d", composite="nearest")
        return [
            f"the dates are irregular: {found[1]} days follow {found[0]}, elsewhere it is about "
            f"{usual}. Forecasts need even steps; to make them, type: {command}"
        ]


IMPORTER = GeoTiffSeries()
