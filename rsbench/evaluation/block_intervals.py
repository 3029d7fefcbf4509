"""Intervals over the blocks of one image, which are correlated neighbours."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache

BLOCK = re.compile(r"^(?P<scene>.+)-r(?P<row>\d+)c(?P<column>\d+)$")
"""Name pattern of the blocks into which importers divide an image."""
LEAST_PARTS = 2.0


def places(names: Sequence[str]) -> tuple[tuple[int, int], ...] | None:
    """Return row and column of the blocks of one image; None for other region names."""
    found = [BLOCK.match(name) for name in names]
    whole = [match for match in found if match is not None]
    if len(whole) < len(names) or len({match["scene"] for match in whole}) != 1:
        return None
    return tuple((int(match["row"]), int(match["column"])) for match in whole)


@lru_cache(maxsize=64)
def windows(spots: tuple[tuple[int, int], ...]) -> tuple[tuple[int, ...], ...]:
    """Return every complete square window of blocks, as indices into ``spots``.

    Its side is √(n / 4) blocks, at least two, so that about four windows cover all blocks.
    """
    side = max(2, math.floor(math.sqrt(len(spots) / 4)))
    where = {spot: index for index, spot in enumerate(spots)}
    rows, columns = ({spot[axis] for spot in spots} for axis in (0, 1))
    tall, wide = (min(side, max(axis) - min(axis) + 1) for axis in (rows, columns))
    found = []
    for row in range(min(rows), max(rows) - tall + 2):
        for column in range(min(columns), max(columns) - wide + 2):
            inside = [where.get((row + i, column + j)) for i in range(tall) for j in range(wide)]
            kept = tuple(index for index in inside if index is not None)
            if len(kept) == len(inside):
                found.append(kept)
    return tuple(found)


def spread(names: Sequence[str], values: Sequence[float]) -> tuple[float, int] | None:
    """Return the standard error of a mean over blocks, and its degrees of freedom.

    The variance is that of the moving-block bootstrap (Künsch 1989, doi 10.1214/aos/1176347265),
    which has a closed form for a mean: the variance of the means of windows, over the number of
    disjoint windows. None if the blocks are too few, or the regions are no blocks.
    """
    spots = places(names)
    if spots is None or len(set(spots)) < len(spots):
        return None
    parts = windows(spots)
    if len(parts) < 2:
        return None
    n, mean = len(values), math.fsum(values) / len(values)
    fitting = n / len(parts[0])
    if fitting < LEAST_PARTS:
        return None
    means = [math.fsum(values[i] for i in part) / len(part) for part in parts]
    variance = math.fsum((m - mean) ** 2 for m in means) / len(means)
    return math.sqrt(variance / (fitting - 1.0)), max(1, math.floor(fitting - 1.0))
