"""Splits of many regions, such as patches: by groups 50 km apart, else along a line with gaps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from rsbench.build.importers.api import ImportRequest
from rsbench.build.importers.blocks import LEAST_LINES, Block, splits_of_lines
from rsbench.build.importers.splits import by_region
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid, Window
from rsbench.core.names import as_folder

TEST = "test"
_METRES_PER_DEGREE = 111_320.0


@dataclass(frozen=True)
class Spot:
    """Centre of a region (degrees), and its longer side (metres)."""

    longitude: float
    latitude: float
    side: float


def spot_of(grid: Grid) -> Spot:
    """Return where a grid lies."""
    from pyproj import Transformer

    a, _, c, _, e, f = grid.transform
    to_degrees = Transformer.from_crs(grid.crs, 4326, always_xy=True).transform
    x, y = c + a * grid.width / 2, f + e * grid.height / 2
    east, north = to_degrees(x, y)
    edges = [to_degrees(x + a * grid.width / 2, y), to_degrees(x, y + e * grid.height / 2)]
    side = 2 * max(
        math.hypot((lon - east) * math.cos(math.radians(north)), lat - north) for lon, lat in edges
    )
    return Spot(float(east), float(north), side * _METRES_PER_DEGREE)


def is_for_test(request: ImportRequest) -> bool:
    """Return whether all places are to be the split test, without training on them.

    Raises:
        InputError: if another split, or a size of blocks beside it, is stated.
    """
    stated = request.options.split
    if stated is None:
        return False
    if stated != TEST:
        raise InputError(
            f"--split {stated}",
            f"the split of {request.importer} follows from places",
            f"Leave --split out, or give --split {TEST} to test on the whole",
        )
    if request.options.region_size is not None:
        raise InputError(
            f"--split {TEST} with --region-size {request.options.region_size}",
            "places are taken whole to test on",
            "Leave one of them out",
        )
    return True


def blocks_of_place(
    request: ImportRequest, shape: tuple[int, int], cut: Callable[[], tuple[Block, ...]]
) -> tuple[Block, ...]:
    """Return the blocks of a single place; a refusal tells how to test on it without training.

    Args:
        request: the import.
        shape: rows and columns of the place.
        cut: makes blocks for training, validation and test, or raises an :class:`InputError`.
    """
    if is_for_test(request):
        return (Block(0, 0, Window(0, 0, *shape), TEST),)
    try:
        return cut()
    except InputError as error:
        command = request.command(split=TEST, region_size=None)
        remedy = f"{error.remedy}; to only test on the whole of it, type: {command}"
        raise InputError(error.asked, error.found, remedy) from error


def whole_regions(
    request: ImportRequest, grids: Mapping[str, Grid]
) -> Iterator[tuple[str, str, Block]]:
    """Yield name, name in the store and block of every region; those of a gap are left out.

    Raises:
        InputError: if a region size is stated, or train, val and test cannot be kept apart.
    """
    if request.options.region_size is not None:
        raise InputError(
            f"--region-size {request.options.region_size}",
            f"{request.source} holds {len(grids)} regions, which are taken whole",
            "Leave --region-size out",
        )
    splits = dict.fromkeys(grids, TEST) if is_for_test(request) else region_splits(grids)
    for name, split in sorted(splits.items()):
        whole = Window(0, 0, grids[name].height, grids[name].width)
        yield name, as_folder(name, "region"), Block(0, 0, whole, split)


def region_splits(grids: Mapping[str, Grid]) -> dict[str, str]:
    """Return the split of each region; regions that are left out as a gap have none.

    Regions that form three groups or more, 50 km apart, are split by group. Others, such as patches
    of one scene, are cut along the longer side of their extent into 50, 10 and 40 % of their lines,
    with one line left out between.

    Raises:
        InputError: if they are too few to keep train, val and test apart.
    """
    spots = {name: spot_of(grid) for name, grid in grids.items()}
    try:
        return by_region({n: (s.longitude, s.latitude) for n, s in spots.items()})
    except InputError:
        return _along_a_line(spots)


def is_one_scene(grids: Mapping[str, Grid]) -> bool:
    """Return whether regions are parts of one scene: fewer than three groups 50 km apart."""
    spots = {name: spot_of(grid) for name, grid in grids.items()}
    try:
        return not by_region({n: (s.longitude, s.latitude) for n, s in spots.items()})
    except InputError:
        return True


def _along_a_line(spots: Mapping[str, Spot]) -> dict[str, str]:
    north = max(spots.values(), key=lambda s: s.latitude).latitude
    shrink = math.cos(math.radians(north)) * _METRES_PER_DEGREE
    flat = {n: (s.longitude * shrink, s.latitude * _METRES_PER_DEGREE) for n, s in spots.items()}
    spans = [max(p[i] for p in flat.values()) - min(p[i] for p in flat.values()) for i in (0, 1)]
    axis = 0 if spans[0] >= spans[1] else 1
    side = max(s.side for s in spots.values())
    first = min(p[axis] for p in flat.values())

    def line(name: str) -> int:
        return math.floor((flat[name][axis] - first) / side + 0.5)

    lines = [list(held) for _, held in groupby(sorted(flat, key=line), key=line)]
    if len(lines) < LEAST_LINES:
        raise InputError(
            f"a split of {len(spots)} regions",
            f"they lie in {len(lines)} lines of {side:.0f} m and in fewer than three groups 50 km "
            f"apart; train, val and test with a gap between need {LEAST_LINES} lines",
            "Bring more regions in, or import one folder by itself, which is cut into blocks",
        )
    parts = splits_of_lines(len(lines))
    return {name: part for part, held in zip(parts, lines, strict=True) for name in held if part}
