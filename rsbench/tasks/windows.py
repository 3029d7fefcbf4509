"""Windows of a region on a fixed grid."""

from __future__ import annotations

from rsbench.core.errors import InputError
from rsbench.core.grid import Grid, Window


def whole_window(grid: Grid) -> Window:
    """Return the window of a whole region."""
    return Window(0, 0, grid.height, grid.width)


def windows_of(region: str, grid: Grid, *, window: int, stride: int) -> tuple[Window, ...]:
    """Return the windows of a fixed grid from the upper-left corner.

    A remainder that is smaller than the window is in none of them.

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
    return tuple(Window(y, x, window, window) for y in rows for x in columns)
