"""Items of MODIS and Landsat as recorded at their catalogue, planned into triplets."""

from __future__ import annotations

import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from rsbench.build.plan import make_plan
from rsbench.build.plan_search import item_time
from rsbench.build.plan_triplets import DAY, nominal_day, solar_day
from rsbench.catalog import Recipe, load_recipe
from rsbench.errors import InputError

DATA = os.environ.get("RSBENCH_TEST_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="RSBENCH_TEST_DATA is not set")
STAC = Path(DATA or ".") / "dev" / "stac"
# A square in the middle of the recorded scene LC09_L2SP_090091_20250310, on Landsat's pixels.
PLACE = {"name": "Tasmania", "epsg": 32655, "origin": (446_415, -4_900_305), "size": 160}


def first(name: str) -> dict[str, Any]:
    value = json.loads((STAC / name).read_text())
    return dict(value.get("features", [value])[0])


@pytest.mark.parametrize(
    ("file", "day"),
    [
        ("responses/pc_items_modis-09A1-061.json", date(2025, 2, 26)),
        ("responses/pc_items_modis-43A4-061.json", date(2025, 3, 2)),
        ("items/modis-43A4-061/MCD43A4.A2022032.h14v10.061.json", date(2022, 2, 1)),
        ("items/modis-09A1-061/MOD09A1.A2022033.h19v10.061.json", date(2022, 2, 2)),
    ],
)
def test_a_modis_item_is_dated_by_its_id_and_never_by_datetime(file: str, day: date) -> None:
    assert nominal_day(first(file)["id"]) == day


def test_the_stated_times_of_one_product_mean_different_days() -> None:
    """Why the id decides: at one catalogue `datetime` is the middle, at another the day."""
    found = first("responses/pc_items_modis-43A4-061.json")
    made = first("items/modis-43A4-061/MCD43A4.A2022032.h14v10.061.json")
    assert (item_time(found).date() - nominal_day(found["id"])).days == 3
    assert (item_time(made).date() - nominal_day(made["id"])).days == 0


def folder(root: Path, **changes: Any) -> Path:
    """The recorded items beside each other; the MODIS tile is moved over the Landsat scene."""
    scene = first("responses/pc_items_landsat-c2-l2.json")
    coarse = first("responses/pc_items_modis-09A1-061.json")
    terra = json.loads(
        json.dumps(coarse).replace("MYD09A1", "MOD09A1").replace("A2025057", "A2025065")
    )
    terra["properties"] |= {
        "start_datetime": "2025-03-06T00:00:00Z",
        "end_datetime": "2025-03-13T23:59:59Z",
    }
    older = json.loads(json.dumps(terra).replace("2025066034638", "2025060000000"))
    older["properties"]["created"] = "2025-03-01T00:00:00Z"
    for item in (scene, coarse, terra, older):
        item["links"] = []
    for item in (coarse, terra, older):
        item |= {"bbox": scene["bbox"], "geometry": scene["geometry"]}
    terra["properties"] |= changes
    for item in (scene, coarse, terra, older):
        (root / f"{item['id']}.json").write_text(json.dumps(item))
    return root


def recipe() -> Recipe:
    values = load_recipe("landsat-modis").model_dump()
    values |= {"regions": ({**PLACE, "gsd": 30.0, "split": "test"},), "years": (2025, 2025)}
    values |= {"max_cloud": 100.0, "lattice": None}
    return Recipe.model_validate(values)


def test_recorded_items_are_planned(tmp_path: Path) -> None:
    lock = make_plan(recipe(), provider=str(folder(tmp_path)))
    (scene,) = lock.items("Tasmania", "landsat", 2025)
    assert scene.id == "LC09_L2SP_090091_20250310_02_T1"
    # Seen at 23:53 UTC of the tenth: in the morning of the eleventh at the place.
    assert (scene.datetime[:10], scene.datatake) == ("2025-03-10", "2025-03-11")
    (image,) = lock.items("Tasmania", "mod09a1", 2025)
    assert image.id == "MOD09A1.A2025065.h35v10.061.2025066034638"  # Terra's, the newer copy
    assert image.datetime == "2025-03-06T00:00:00Z"
    assert image.tile == "h35v10"
    assert list(image.assets) == ["b03", "b04", "b01", "b02", "b06", "b07"]
    assert image.masks["*"].href.endswith("_sur_refl_state_500m.tif")
    assert image.masks[DAY].href.endswith("_sur_refl_day_of_year.tif")
    assert "?" not in json.dumps(lock.to_json()["regions"])
    assert solar_day(item_time(first("responses/pc_items_landsat-c2-l2.json")), 147.0) == date(
        2025, 3, 11
    )


def test_an_id_outside_the_stated_span_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path, start_datetime="2025-03-14T00:00:00Z", end_datetime="2025-03-21")
    with pytest.raises(InputError, match="its id says 2025-03-06, its span 2025-03-14"):
        make_plan(recipe(), provider=str(root))
