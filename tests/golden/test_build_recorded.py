"""Items recorded at real catalogues, brought into locks; skipped without RSBENCH_TEST_DATA."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rsbench.build.kinds.labels_plan import search_labels
from rsbench.build.plan.omissions import Omissions
from rsbench.build.plan.scenes import lock_item
from rsbench.build.plan.search import item_time
from rsbench.catalog import Sensor, load_sensor
from rsbench.catalog.labels import LabelSource
from rsbench.catalog.loaders import load_labels
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid

DATA = os.environ.get("RSBENCH_TEST_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="RSBENCH_TEST_DATA is not set")
STAC = Path(DATA or ".") / "dev" / "stac"
PC = "https://planetarycomputer.microsoft.com/api/stac/v1"
ES = "https://earth-search.aws.element84.com/v1"


def features(name: str) -> list[dict[str, Any]]:
    value = json.loads((STAC / name).read_text())
    return list(value.get("features", [value]))


def lock(item: dict[str, Any], sensor: Sensor, key: str, url: str) -> Any:
    return lock_item({**item, "_url": url}, sensor, sensor.provider(key), key, url)


def few(name: str, *bands: str) -> Sensor:
    sensor = load_sensor(name)
    return sensor.model_copy(update={"bands": tuple(sensor.band(b) for b in bands)})


@pytest.mark.parametrize(
    ("file", "baseline", "offset"),
    [
        ("responses/pc_items_sentinel-2-l2a.json", "05.11", -1000),
        ("items/pc_sentinel-2-l2a_20220612_baseline0400.json", "04.00", -1000),
        ("responses/pc_item_sentinel-2-l2a_2015.json", "02.12", 0),
    ],
)
def test_sentinel_2_at_planetary_computer(file: str, baseline: str, offset: int) -> None:
    item = features(file)[0]
    held = lock(item, few("s2", "B02", "B08"), "planetary-computer", PC)
    assert (held.baseline, held.offset) == (baseline, offset)
    assert held.tile == item["properties"]["s2:mgrs_tile"]
    assert held.assets["B08"].href.endswith("_B08_10m.tif")
    assert held.masks["*"].href.endswith("_SCL_20m.tif")
    assert "?" not in json.dumps(held.to_json())


def test_a_search_of_33_items_has_one_datatake_per_acquisition() -> None:
    items = features("responses/pc_s2_search_20190101_33_items.json")
    held = [lock(i, few("s2", "B02"), "planetary-computer", PC) for i in items]
    assert all(h.offset == 0 for h in held)
    takes = {(h.tile, h.datatake) for h in held}
    assert len(takes) <= len(held) == 33
    assert all("_N0" not in take for _, take in takes)


def test_earth_search_items_that_contradict_themselves_are_refused() -> None:
    found = [
        i
        for i in features("responses/earth_search_s2_and_landsat_20231008.json")
        if i["collection"] == "sentinel-2-l2a"
    ]
    assert found
    assert found[0]["properties"]["earthsearch:boa_offset_applied"] is True
    with pytest.raises(InputError, match=r"whose pixels|offset in some items"):
        lock(found[0], few("s2", "B02"), "earth-search", ES)


def test_earth_search_collection_1_items_agree_with_their_baseline() -> None:
    found = [
        i
        for name in ("earth_search_cloud_filter_paging_2025.json",
                     "earth_search_cloud_filter_paging_2025_p2.json")
        for i in features(f"responses/{name}")
        if i["collection"] == "sentinel-2-c1-l2a"
    ]  # fmt: skip
    assert found
    for item in found:
        held = lock(item, few("s2", "B02", "B11"), "earth-search", ES)
        assert held.offset == -1000
        assert held.tile.startswith("MGRS-")


def test_landsat_scales_agree_and_rows_of_a_pass_are_one_datatake() -> None:
    item = features("responses/pc_items_landsat-c2-l2.json")[0]
    held = lock(item, few("landsat", "red", "nir08"), "planetary-computer", PC)
    assert held.datatake == "landsat-9_090_20250310"
    assert held.masks["*"].href.endswith("_QA_PIXEL.TIF")
    wrong = json.loads(json.dumps(item))
    wrong["assets"]["red"]["raster:bands"][0]["scale"] = 0.0001
    with pytest.raises(InputError, match=r"states scale 0\.0001"):
        lock(wrong, few("landsat", "red"), "planetary-computer", PC)


@pytest.mark.parametrize(
    ("file", "sensor", "band"),
    [
        ("responses/pc_items_modis-09A1-061.json", "mod09a1", "b01"),
        ("responses/pc_items_modis-43A4-061.json", "mcd43a4", "b01"),
    ],
)
def test_modis_is_dated_by_its_beginning(file: str, sensor: str, band: str) -> None:
    item = features(file)[0]
    held = lock(item, few(sensor, band), "planetary-computer", PC)
    stated = item["properties"]["datetime"] or item["properties"]["start_datetime"]
    assert held.datetime[:19] == stated[:19]
    assert held.offset == 0
    assert item_time(item).tzinfo is not None


def test_naip_bands_share_a_file() -> None:
    item = features("responses/pc_item_naip_2015.json")[0]
    held = lock(item, load_sensor("naip"), "planetary-computer", PC)
    assert len({a.href for a in held.assets.values()}) == 1
    assert [a.index for a in held.assets.values()] == [1, 2, 3, 4]


class Answers:
    """A catalogue that answers every search with some items."""

    url = PC

    def __init__(self, items: list[dict[str, Any]]) -> None:
        self._items = [{**item, "_url": PC} for item in items]

    def search(self, query: Any) -> list[dict[str, Any]]:
        return self._items


@pytest.mark.parametrize(
    ("file", "labels", "collection", "year", "end"),
    [
        ("pc_items_io-lulc-9-class.json", "io-lulc-annual-v02", "io-lulc-9-class", 2022,
         "60W_20220101-20230101.tif"),
        ("pc_items_esa-worldcover.json", "esa-worldcover", "esa-worldcover", 2021, "_Map.tif"),
    ],
)  # fmt: skip
def test_label_items_at_planetary_computer(
    file: str, labels: str, collection: str, year: int, end: str
) -> None:
    (item,) = features(f"responses/{file}")
    held = load_labels(labels)
    asset = held.providers["planetary-computer"].asset
    # The nine classes of io-lulc were published in two collections, with the same codes and asset.
    source = LabelSource(collection=collection, asset=asset)
    held = held.model_copy(update={"providers": {"planetary-computer": source}})
    grid = Grid("EPSG:32660", (10.0, 0.0, 400_000.0, 0.0, -10.0, 7_500_000.0), 64, 64)
    found = search_labels(held, grid, [year - 1, year, year + 1], "planetary-computer",
                          Answers([item]), Omissions())  # type: ignore[arg-type]  # fmt: skip
    assert sorted(found) == [year, year + 1]  # a map of later than the pair is none
    assert found[year] == found[year + 1]
    assert found[year][0].assets["labels"].href.endswith(end)
    assert "?" not in json.dumps(found[year][0].to_json())
    stated = item["assets"][asset].get("file:values")
    if stated is None:
        recorded = features("items/esa-worldcover/ESA_WorldCover_10m_2021_v200_N00E006.json")[0]
        stated = [
            {"values": [c["value"]]} for c in recorded["assets"]["map"]["classification:classes"]
        ]
    codes = {code for entry in stated for code in entry["values"]} - {held.nodata}
    assert codes == set(held.classes)
