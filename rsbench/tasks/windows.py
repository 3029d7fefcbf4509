"""Windows of a region on a fixed grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsbench.core.errors import InputError
from rsbench.core.grid import Grid, Window

if TYPE_CHECKING:
    from rsbench.catalog import Protocol
    from rsbench.store.read import Store


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


def fitting(protocol: Protocol, store: Store, sensor: str) -> Protocol:
    """Return the protocol with a window no larger than the store's regions; the table names it."""
    grids = [store.region(name).grids[sensor] for name in store.regions]
    side = min(min(grid.height, grid.width) for grid in grids)
    if side >= protocol.window:
        return protocol
    changes = {"window": side, "stride": min(side, protocol.stride)}
    return protocol.model_copy(update={"name": f"{protocol.name}/w{side}", **changes})
