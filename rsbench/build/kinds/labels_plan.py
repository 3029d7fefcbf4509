"""Which map of classes lies beside an image: the latest of its year or before, no later one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from rsbench.build.plan.lock import LockItem
from rsbench.build.plan.omissions import Omissions
from rsbench.build.plan.scenes import holds, lock_asset, utc_text, zone_of
from rsbench.build.plan.search import Catalogue, Item, Query, item_time, outline, without_left
from rsbench.catalog.labels import LabelSet
from rsbench.core.grid import Grid

FIRST_YEAR = 2000
BAND = "labels"


def search_labels(
    labels: LabelSet,
    grid: Grid,
    years: Iterable[int],
    key: str,
    catalogue: Catalogue,
    omitted: Omissions,
) -> dict[int, tuple[LockItem, ...]]:
    """Return the items of the map for the images of each year; a year without any is left out.

    Of the maps that begin in the year of an image or before, those of the latest year are taken;
    tiles of one year in the order of their ids, the grid's own zone first. Items that
    the search leaves out are counted in ``omitted``.
    """
    wanted = sorted(years)
    if not wanted:
        return {}
    source = labels.source(key)
    query = Query(source.collection, outline(grid), (FIRST_YEAR, wanted[-1]), labels.query)
    by_year: dict[int, list[Item]] = defaultdict(list)
    for item in without_left(catalogue.search(query), labels.name, omitted):
        if FIRST_YEAR <= item_time(item).year <= wanted[-1] and holds(item, labels.query):
            by_year[item_time(item).year].append(item)
    epsg = grid.crs.removeprefix("EPSG:")
    found = {}
    for year in wanted:
        earlier = [held for held in by_year if held <= year]
        if earlier:
            items = sorted(by_year[max(earlier)], key=lambda i: (zone_of(i) != epsg, str(i["id"])))
            found[year] = tuple(_locked(item, source.asset, catalogue.url) for item in items)
    return found


def _locked(item: Item, asset: str, catalogue: str) -> LockItem:
    name = str(item["id"])
    return LockItem(name, utc_text(item), name, 0, {BAND: lock_asset(item, asset, catalogue)})
