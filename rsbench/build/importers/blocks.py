"""Cut one image into blocks that serve as regions, with a spatial split and a buffer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from rsbench.core.errors import InputError
from rsbench.core.grid import Window

SIZES = (512, 256, 192, 128, 96, 64, 48, 32)
MIN_TEST = 8
LEAST_SIDE = 24
"""Pixels of a side that the metrics of our protocols need."""
LEAST_LINES = 5
"""Train, buffer, val, buffer and test: one line of blocks each."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block: its row and column in the lattice, its window and its split."""

    row: int
    column: int
    window: Window
    split: str

    def name(self, place: str) -> str:
        """Return the name of the region that the block of a place becomes."""
        return f"{place}-r{self.row:02d}c{self.column:02d}"


def cut(height: int, width: int, size: int | None) -> tuple[Block, ...]:
    """Cut an image into square blocks split into contiguous train, val and test parts.

    The parts follow one another along the longer side, 50, 10 and 40 % of its lines of blocks,
    with one line of blocks left out between them. Rows and columns that fill no block are left
    out.

    Args:
        height: rows of the image.
        width: columns of the image.
        size: pixels of a block; None for the largest of ``SIZES`` with 8 test blocks or more.

    Raises:
        InputError: if the image is too small for three parts and two buffers.
    """
    if size is not None:
        blocks = _cut(height, width, size)
        if not blocks:
            raise InputError(
                f"blocks of {size} px",
                f"{height}×{width} px hold fewer than {LEAST_LINES} in a line, so that train, val "
                "and test cannot be kept apart",
                _remedy(height, width),
            )
        return blocks
    fitting = [blocks for s in SIZES if (blocks := _cut(height, width, s))]
    if not fitting:
        raise InputError(
            "cutting the image into regions",
            f"{height}×{width} px are too few for train, val and test blocks of {SIZES[-1]} px",
            _remedy(height, width),
        )
    enough = [b for b in fitting if Counter(x.split for x in b)["test"] >= MIN_TEST]
    return enough[0] if enough else fitting[-1]


def largest_side(height: int, width: int) -> int:
    """Return the side of the largest blocks of which an image has train, val and test."""
    return min(max(height, width) // LEAST_LINES, height, width)


def _remedy(height: int, width: int) -> str:
    """Say which size of blocks is possible, if one is that can be scored."""
    largest = largest_side(height, width)
    if largest >= LEAST_SIDE:
        return f"Give --region-size {largest} or less, and {LEAST_SIDE} or more"
    return (
        f"Bring larger images in: of {LEAST_LINES * LEAST_SIDE} px or more along one side and "
        f"{LEAST_SIDE} along the other, since metrics need blocks of {LEAST_SIDE} px"
    )


def _cut(height: int, width: int, size: int) -> tuple[Block, ...]:
    if size < 1:
        return ()
    rows, columns = height // size, width // size
    lines = max(rows, columns)
    if lines < LEAST_LINES or min(rows, columns) < 1:
        return ()
    splits = splits_of_lines(lines)
    along_columns = columns >= rows
    blocks = []
    for row in range(rows):
        for column in range(columns):
            split = splits[column if along_columns else row]
            if split:
                window = Window(row * size, column * size, size, size)
                blocks.append(Block(row, column, window, split))
    return tuple(blocks)


def splits_of_lines(lines: int) -> list[str]:
    """Return the split of each line of blocks; the empty one is a buffer."""
    used = lines - 2
    val = max(1, round(0.1 * used))
    test = max(1, min(round(0.4 * used), used - val - 1))
    train = used - val - test
    return ["train"] * train + [""] + ["val"] * val + [""] + ["test"] * test
