"""How fine pixels nest in coarse ones, and which parts of coarse grids become regions."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rsbench.build.importers.api import ImportRequest
from rsbench.build.importers.blocks import LEAST_LINES, Block, cut, largest_side
from rsbench.build.importers.raster import Raster
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid, nesting

LEAST_SIDE = 8
"""Coarse pixels of a side that a region needs."""


def one_ratio(request: ImportRequest, firsts: Mapping[str, tuple[Raster, Raster]]) -> int:
    """Return the fine pixels along a coarse pixel, the same in all regions.

    Args:
        request: the import, for messages.
        firsts: region → a fine and a coarse image.

    Raises:
        InputError: if they are fewer than two, do not nest, or differ between regions.
    """
    found = {name: _ratio(request, name, *pair) for name, pair in firsts.items()}
    if len(set(found.values())) > 1:
        text = ", ".join(f"{name} {ratio}" for name, ratio in list(found.items())[:6])
        raise InputError(
            f"pairs of {request.source}",
            f"the fine pixels along a coarse one differ between regions: {text}",
            "Import regions of one ratio, or resample the fine images to one",
        )
    return next(iter(found.values()))


def _ratio(request: ImportRequest, region: str, fine: Raster, coarse: Raster) -> int:
    try:
        ratio = nesting(fine.grid, coarse.grid, region or str(request.source))
    except InputError as error:
        raise InputError(error.asked, error.found, _to_nest(fine, coarse)) from error
    if ratio < 2:
        raise InputError(
            f"pairs of {region or request.source}",
            "fine and coarse pixels are of one size",
            "Give the finer images as fine, or import the images as geotiff-series",
        )
    return ratio


def _to_nest(fine: Raster, coarse: Raster) -> str:
    """Return the command by which fine pixels nest: it cuts the coarse or warps the fine image."""
    if fine.grid.crs == coarse.grid.crs:
        covered = _covered(fine.grid, coarse.grid)
        if covered is None:
            return "Bring images of one ground in: the fine image covers no coarse pixel wholly"
        if covered != _bounds(coarse.grid):
            text = " ".join(f"{edge:.10g}" for edge in covered)
            return (
                "The fine image covers a part of the coarse one. Cut that to whole pixels: "
                f"rio clip {coarse.path} OUT.tif --bounds '{text}'"
            )
    size = coarse.grid.transform[0]
    ratio = max(2, round(size / fine.grid.transform[0])) if fine.grid.crs == coarse.grid.crs else 10
    text = " ".join(f"{edge:.10g}" for edge in _bounds(coarse.grid))
    return (
        f"Resample the fine image to pixels of 1/{ratio} of a coarse one: rio warp {fine.path} "
        f"OUT.tif --dst-crs {coarse.grid.crs} --dst-bounds {text} --res {size / ratio:.10g} "
        "--resampling average"
    )


def _bounds(grid: Grid) -> tuple[float, float, float, float]:
    """Return left, bottom, right and top."""
    a, _, c, _, e, f = grid.transform
    return (c, f + e * grid.height, c + a * grid.width, f)


def _covered(fine: Grid, coarse: Grid) -> tuple[float, float, float, float] | None:
    """Return the bounds of the coarse pixels that the fine image covers; None without any."""
    a, _, c, _, e, f = coarse.transform
    left, bottom, right, top = _bounds(fine)
    slack = 1e-6
    first = max(0, math.ceil((left - c) / a - slack)), max(0, math.ceil((top - f) / e - slack))
    last = (
        min(coarse.width, math.floor((right - c) / a + slack)),
        min(coarse.height, math.floor((bottom - f) / e + slack)),
    )
    if last[0] <= first[0] or last[1] <= first[1]:
        return None
    return (c + a * first[0], f + e * last[1], c + a * last[0], f + e * first[1])


def blocks_of(request: ImportRequest, coarse: Grid, ratio: int) -> tuple[Block, ...]:
    """Return the blocks of one place, in coarse pixels; their size is stated in fine pixels.

    Raises:
        InputError: if train, val and test cannot be kept apart in blocks of that size.
    """
    height, width = coarse.height, coarse.width
    size, largest = request.options.region_size, largest_side(height, width)
    if size is None:
        try:
            return cut(height, width, None)
        except InputError as error:
            found = f"{height}×{width} coarse pixels are too few for train, val and test blocks"
            raise InputError(error.asked, found, _smaller(largest, ratio)) from error
    if size % ratio or not LEAST_SIDE <= size // ratio <= largest:
        found = f"a coarse pixel spans {ratio} fine pixels"
        if size % ratio == 0:
            found = (
                f"{height}×{width} coarse pixels are cut into blocks of {LEAST_SIDE} to {largest}, "
                f"not {size // ratio}, so that train, val and test can be kept apart"
            )
        raise InputError(f"--region-size {size}", found, _smaller(largest, ratio))
    return cut(height, width, size // ratio)


def _smaller(largest: int, ratio: int) -> str:
    if largest >= LEAST_SIDE:
        return f"Give --region-size {largest * ratio}, or a smaller multiple of {ratio}"
    return f"Bring larger images in: of {LEAST_LINES * LEAST_SIDE} coarse pixels along one side"
