"""Units made without items that cannot be read, where an incomplete store is allowed."""

from __future__ import annotations

from collections.abc import Callable

from rsbench.build.engine.region import Work
from rsbench.core.errors import ItemFailed

SHARE = 0.25
"""Largest share of a sensor's items that a unit may lack; one may always go, if another is left.

Where more items fail, the fault is likely of the network, and the whole unit fails.
"""


def tolerant(
    unit: Callable[[Work, str, int], None],
) -> Callable[[Work, str, int], None]:
    """Return how a unit is made, again without each item that cannot be read.

    The new call raises UnitFailed if too few items are left.
    """

    def made(work: Work, region: str, year: int) -> None:
        while True:
            try:
                unit(work, region, year)
            except ItemFailed as error:
                if not _leave_out(work, region, year, error):
                    work.left.pop((region, year), None)
                    raise
            else:
                return

    return made


def _leave_out(work: Work, region: str, year: int, error: ItemFailed) -> bool:
    """Note that a unit lacks an item; return whether it may."""
    if not work.options.allow_incomplete:
        return False
    gone = {*work.left.get((region, year), {}), error.item}
    for sensor in work.context.sensors:
        items = {item.id for item in work.context.items(region, sensor.name, year)}
        if error.item in items:
            count = len(items & gone)
            if count > max(1, int(SHARE * len(items))) or count == len(items):
                return False
            work.left.setdefault((region, year), {})[error.item] = f"{error.asked}: {error.found}"
            return True
    return False
