"""Windows of a region on a fixed grid."""

from __future__ import annotations

from rsbench.core.errors import InputError
from rsbench.core.grid import Grid, Window


def whole_window(grid: Grid) -> Window:
    """Return the window of a whole region."""
    return Window(0, 0, grid.height, grid.width)


def windows_of(
    region: str, grid: Grid, *, window: int, stride: int
) -> tuple[tuple[Window, ...], int]:
    """Return the windows of a fixed grid from the upper-left corner, and the pixels left over.

    Raises:
        InputError: if the window is larger than the region.
    """
    side = min(grid.height, grid.width)
    if window > side:
        raise InputError(
            f"windows of {window} px in region {region}",
            f"it has {grid.height}×{grid.width} px",
            f"Take a protocol with a window of {side} px or less",
        )
    rows = range(0, grid.height - window + 1, stride)
    columns = range(0, grid.width - window + 1, stride)
    found = tuple(Window(y, x, window, window) for y in rows for x in columns)
    covered = _covered(rows, window, stride) * _covered(columns, window, stride)
    return found, grid.height * grid.width - covered


def _covered(origins: range, window: int, stride: int) -> int:
    return (len(origins) - 1) * min(window, stride) + window
