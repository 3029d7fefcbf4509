"""The coarsest pixels of a batch: augmentation cuts images only along their edges."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rsbench.core.errors import InputError
from rsbench.models.api import Frames
from rsbench.training.data import TrainingBatch

Box = tuple[slice, slice]
"""Rows and columns."""
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Lattice:
    """Cells of the coarsest native pixels of all frames of a batch, given and wanted.

    Args:
        size: height and width of the crops in wanted pixels.
        pixels: wanted pixels along one side of a cell.
        first: ``(B, 2)`` row and column of the wanted pixel at which the first whole cell starts.
            Cells are counted from the corner of the region, where crops need not start on one.
        counts: ``(B, 2)`` numbers of whole cells along the sides of each crop.
    """

    size: tuple[int, int]
    pixels: int
    first: Places
    counts: Places

    @classmethod
    def of(cls, batch: TrainingBatch) -> Self:
        """Return the lattice of a batch.

        Raises:
            InputError: if frames do not cover the wanted window in pixels of one ratio, crops do
                not start on a pixel of every grid, or crops are smaller than a cell.
        """
        size = batch.want.size
        given = batch.given
        found = [*given.frames.values(), *given.taught.values(), batch.truth]
        spans = [_span(frames, size) for frames in found]
        # A multiple of p/q wanted pixels is a whole number of them if it is one of p.
        pixels = math.lcm(*(span.numerator for span in spans))
        corners = np.array([(s.window.y, s.window.x) for s in batch.want.samples], np.int64)
        first = -corners % pixels
        for frames in found:
            if (first * np.array(frames.values.shape[-2:]) % size).any():
                raise InputError(
                    f"boxes in crops of {size[0]}×{size[1]} px",
                    f"a crop of {frames.values.shape[-2]}×{frames.values.shape[-1]} px of the same "
                    "place does not start on a pixel of its own grid",
                    "Cut crops on pixels that all grids share, or leave cutmix and cutout out",
                )
        if min(size) < pixels:
            raise InputError(
                f"boxes in crops of {size[0]}×{size[1]} px",
                f"the coarsest pixel of the inputs spans {pixels} of these pixels",
                "Take a protocol with a larger window, or leave cutmix and cutout out",
            )
        return cls(size, pixels, first, np.maximum((np.array(size) - first) // pixels, 0))

    def slices(self, row: int, cells: Box, frames: Frames) -> tuple[Any, ...]:
        """Return the index of a box of whole cells in one sample's ``(B, …, H, W)`` pixels."""

        def along(axis: int) -> slice:
            length, most = frames.values.shape[axis - 2], self.size[axis]
            ends = (cells[axis].start, cells[axis].stop)
            wanted = (int(self.first[row, axis]) + self.pixels * end for end in ends)
            return slice(*(place * length // most for place in wanted))

        return (row, ..., along(0), along(1))


def _span(frames: Frames, size: tuple[int, int]) -> Fraction:
    """Return how many wanted pixels one native pixel of some frames spans along one side."""
    height, width = frames.values.shape[-2:]
    ratio = Fraction(size[0], height)
    if ratio != Fraction(size[1], width):
        raise InputError(
            f"boxes in crops of {size[0]}×{size[1]} px",
            f"frames of the same place have {height}×{width} px",
            "Give frames whose pixels have one ratio to the wanted ones in rows and columns",
        )
    return ratio * frames.footprint
