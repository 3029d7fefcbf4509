"""Write the images of a fine and a coarse sensor of one place as a store of triplets."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from rsbench.build.importers.api import GATE_OPTIONS, ImportRequest, Written, imported_meta
from rsbench.build.importers.blocks import LEAST_SIDE, Block, cut, largest_side
from rsbench.build.importers.date_gate import Gate, Images, judge, open_gate
from rsbench.build.importers.left_over import left_below, left_beside
from rsbench.build.importers.offsets import require_one_offset
from rsbench.build.importers.plausibility import Plausibility
from rsbench.build.importers.raster import Raster
from rsbench.build.importers.sensor_files import SensorFiles, read_block
from rsbench.build.importers.taken import Taken, split_text
from rsbench.core.errors import InputError, PixelError
from rsbench.core.grid import Window, nesting
from rsbench.store.layout import RegionRecord
from rsbench.store.write import write_region

FINE, COARSE = "fine", "coarse"
_MOST_APART, _LEAST_APART = 5.0, 0.02
"""Medians of both sensors that differ by this factor, and by this reflectance, cannot be true."""

Pair = tuple[SensorFiles, SensorFiles]


@dataclass(frozen=True)
class PreparedTriplets:
    """A checked pair of sensors.

    Args:
        request: the import.
        pair: the fine and the coarse sensor.
        ratio: fine pixels along a coarse pixel of the files.
        blocks: windows of the fine grid that become regions.
    """

    request: ImportRequest
    pair: Pair
    ratio: int
    blocks: tuple[Block, ...]

    def taken(self) -> Iterator[Taken]:
        """See :class:`rsbench.build.importers.taken.Describes`."""
        split = split_text(block.split for block in self.blocks)
        for sensor in self.pair:
            yield from sensor.taken("", split)

    def write(self, root: Path) -> Written:
        """See :class:`rsbench.build.importers.api.Prepared`."""
        gate = self._gate()
        pair = tuple(_without(sensor, gate.refused) for sensor in self.pair)
        found = [sensor.plausibility() for sensor in pair]
        metas = {FINE: self.pair[0].meta, COARSE: self.pair[1].meta}
        seen = np.zeros(len(pair[1].files), np.bool_)
        told = {"days": [look.note() for look in gate.looks if look.day in gate.kept]}
        written = []
        for block in self.blocks:
            fine = read_block(pair[0], block.window, found[0])
            low = read_block(pair[1], _coarser(block.window, self.ratio), found[1])
            clear = low.valid.any(axis=(1, 2))
            seen |= clear
            if len(self.blocks) > 1 and not (clear.all() and fine.valid.any()):
                continue  # nothing is known of this block on some date
            name = block.name(self.request.name)
            record = RegionRecord(name, block.split, {}, gate.kept)
            arrays = {FINE: fine, COARSE: low}
            write_region(root, record, arrays, metas, attrs=told)
            written.append(name)
        _require_seen(pair[1].files, seen.tolist())
        if not written:
            raise PixelError(
                f"importing {self.request.source} in blocks of {self.request.options.region_size}",
                "in every block some coarse image has no valid pixel",
                "Give a larger --region-size",
            )
        for sensor in found:
            sensor.require()
        for at in (0, 1):
            require_one_offset(self.request, pair[at], found[at], coarse=at == 1)
        _require_one_scale(self.request, found)
        protocol = "fusion2" if len(gate.kept) > 2 else "fusion1"
        recipe = self._recipe(gate)
        store = imported_meta(
            "triplets",
            recipe,
            metas,
            step="irregular",
            preset="default",
            protocol=protocol,
        )
        notes = [*gate.notes(), *found[0].notes(), *found[1].notes()]
        for one in self.pair:
            notes += one.moved()
            notes += one.repeated(recipe[one.meta.name]["files"])
            notes += left_below(one.folder) if one.folder else []
        if all(one.folder for one in self.pair):
            notes += left_beside(
                self.request.source, [one.folder for one in self.pair if one.folder]
            )
        return Written(store, written, [*notes, *self._on_training()])

    def _on_training(self) -> list[str]:
        """Say how the scene can also be trained on, where it is one region."""
        grid = self.pair[0].files[0].grid
        side = largest_side(grid.height, grid.width) // self.ratio * self.ratio
        if len(self.blocks) > 1 or side < LEAST_SIDE:
            return []
        command = self.request.command(region_size=side)
        return [
            "the whole image is one region to test on. To train on a part of it too, type: "
            f"{command} ; its blocks are split in space, with a gap"
        ]

    def _gate(self) -> Gate:
        """Return which dates are kept.

        Raises:
            PixelError: if a coarse image has no valid pixel, or too few dates are left.
        """
        fine, low = self.pair
        common = sorted(set(fine.times) & set(low.times))
        sizes = [sensor.files[0].grid for sensor in self.pair]
        whole = [Window(0, 0, grid.height, grid.width) for grid in sizes]

        def images(day: date) -> Images:
            read = [s.read(s.at(day), w) for s, w in zip(self.pair, whole, strict=True)]
            return (*read[0], *read[1])

        span = self.ratio if self.ratio > 1 else max(1, round(low.meta.gsd / fine.meta.gsd))
        bands, options = fine.meta.bands, self.request.options
        gate = judge(common, images, span=span, bands=bands, options=options)
        _require_seen(
            [low.at(day) for day in common], [look.coarse_clear > 0 for look in gate.looks]
        )
        if len(gate.kept) < 2:
            raise _too_few(self.request, gate)
        return gate

    def _recipe(self, gate: Gate) -> dict[str, Any]:
        refused = {day.isoformat(): why for day, why in gate.refused.items()}
        way = self.request.options.coarse_resampling
        limits = {n: v for n, v in self.request.options.given().items() if n in GATE_OPTIONS}
        return {
            **({"refused": {self.request.name: refused}} if refused else {}),
            **({"limits": limits} if limits else {}),
            **({"coarse_resampling": way} if way else {}),
            "name": self.request.name,
            "importer": self.request.importer,
            "unit": self.pair[0].meta.unit,
            "ratio": self.ratio,
            "region_size": self.request.options.region_size,
            **{sensor.meta.name: sensor.recipe() for sensor in self.pair},
        }


def prepare_triplets(request: ImportRequest, pair: Pair) -> PreparedTriplets:
    """Check that two sensors fit together, and cut their images into blocks.

    Raises:
        InputError: if they share fewer than two dates, their grids do not nest, or the region size
            is no whole number of coarse pixels.
    """
    _require_common(request.source, pair)
    grids = (pair[0].files[0].grid, pair[1].files[0].grid)
    ratio = nesting(*grids, str(request.source))
    size = (grids[0].height, grids[0].width)
    blocks = blocks_of(size, request.options.region_size, ratio)
    return PreparedTriplets(request, pair, ratio, blocks)


def blocks_of(image: tuple[int, int], size: int | None, ratio: int) -> tuple[Block, ...]:
    """Return the blocks of an image of height and width; one to test on without a size.

    Raises:
        InputError: if no such blocks are whole coarse pixels and can be kept apart.
    """
    height, width = image
    if size is None:
        return (Block(0, 0, Window(0, 0, height, width), "test"),)
    largest = largest_side(height, width) // ratio * ratio
    if size % ratio or not ratio <= size <= largest:
        found = f"a coarse pixel spans {ratio} fine pixels"
        if size % ratio == 0:
            found = f"{height}×{width} px hold too few such blocks to keep train, val, test apart"
        near = min(max(size, LEAST_SIDE), largest) // ratio * ratio
        raise InputError(
            f"--region-size {size}",
            found,
            f"Give --region-size {near}"
            if near >= LEAST_SIDE
            else "Leave --region-size out: the image is too small to be cut into blocks",
        )
    return cut(height, width, size)


def _require_common(folder: Path, pair: Pair) -> None:
    """Refuse two sensors that share no two dates: one to start from, one to predict."""
    common = set(pair[0].times) & set(pair[1].times)
    if len(common) > 1:
        return
    if common:
        raise InputError(
            f"importing {folder}",
            f"the sensors share one date, {common.pop()}",
            "Add another: fusion goes from one date to another",
        )
    shown = (f"{sensor.times[0]} to {sensor.times[-1]}" for sensor in pair)
    raise InputError(
        f"importing {folder}",
        f"the fine images ({next(shown)}) and the coarse ones ({next(shown)}) have no date in "
        "common",
        "State one date for both images of a pair with --dates FILE.csv",
    )


def _coarser(window: Window, ratio: int) -> Window:
    y, x, height, width = (n // ratio for n in (window.y, window.x, window.height, window.width))
    return Window(y, x, height, width)


def _require_one_scale(request: ImportRequest, found: Sequence[Plausibility]) -> None:
    """Refuse two sensors whose median reflectances differ so far that a scale is wrong."""
    if found[0].meta.unit != "reflectance":
        return
    fine, low = (sensor.median() for sensor in found)
    if abs(fine - low) > _LEAST_APART and max(fine, low) > _MOST_APART * min(fine, low):
        raise InputError(
            f"importing {request.source} as reflectance",
            f"the fine images have a median of {fine:.3g}, the coarse images {low:.3g}, of the "
            "same ground",
            "State the true scale of each with --scale and --coarse-scale, e.g. 1/255 of bytes",
        )


def _without(sensor: SensorFiles, refused: Container[date]) -> SensorFiles:
    """Return a sensor without the images of some dates."""
    kept = [at for at, day in enumerate(sensor.times) if day not in refused]
    return replace(
        sensor,
        files=tuple(sensor.files[at] for at in kept),
        times=tuple(sensor.times[at] for at in kept),
    )


def _too_few(request: ImportRequest, gate: Gate) -> PixelError:
    """Return what to say where the gate leaves fewer than two dates."""
    said = "; ".join(f"{day}: {why}" for day, why in list(gate.refused.items())[:4])
    more = len(gate.refused) - 4
    return PixelError(
        f"importing {request.source}",
        f"of {len(gate.looks)} dates {len(gate.kept)} are left; {said}"
        + (f"; and {more} more" if more > 0 else ""),
        f"Bring clearer dates in, or keep them as they are: {request.command(**open_gate(gate))}",
    )


def _require_seen(files: Sequence[Raster], seen: Sequence[bool]) -> None:
    for raster, any_valid in zip(files, seen, strict=True):
        if not any_valid:
            raise PixelError(
                f"importing {raster.path}",
                "none of its pixels is valid",
                "Remove it: a coarse image without a valid pixel cannot be used",
            )
