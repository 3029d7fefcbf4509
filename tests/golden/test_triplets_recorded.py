"""Items of MODIS and Landsat as recorded at their catalogue, planned into triplets."""

from __future__ import annotations

import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from rsbench.build.kinds.triplets.search import DAY, nominal_day, solar_day
from rsbench.build.plan.plan import make_plan
from rsbench.build.plan.search import item_time
from rsbench.catalog import Recipe, load_recipe, recipe_of
from rsbench.core.errors import InputError

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
    return recipe_of(values)


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
    assert list(image.assets) == ["b01", "b02", "b03", "b04", "b06", "b07"]  # as in a saved lock
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


def test_a_real_modis_file_is_of_this_system_and_refused_on_other_pixels(tmp_path: Path) -> None:
    """MOD09GA cut out by a client that resampled it: 464.26 m by 466.42 m instead of 463.31 m."""
    import zipfile

    import numpy as np
    import rasterio
    from rasterio.crs import CRS

    from rsbench.build.read.grids import GridMismatchError
    from rsbench.build.read.raster import Asked, read_window
    from rsbench.core.grid import Grid
    from rsbench.core.sinusoidal import CRS as SINUSOIDAL
    from rsbench.core.sinusoidal import native_grid

    packed = Path(DATA or ".") / "dev/coarse_fine/pamplona_mod09ga_2021/2021223.zip"
    name = "MODIS_Grid_500m_2D_sur_refl_b02_1.tif"
    with zipfile.ZipFile(packed) as held:
        held.extract(name, tmp_path)
    with rasterio.open(tmp_path / name) as data:
        assert data.crs.to_epsg() is None
        assert data.crs == CRS.from_user_input(SINUSOIDAL)
        real, transform = data.read(), data.transform
    grid = Grid("EPSG:32630", (480.0, 0.0, 602_415.0, 0.0, -480.0, 4_742_415.0), 10, 10)
    native = native_grid(grid)
    asked = Asked(grid=native, whole=False, nodata=-28672)
    with pytest.raises(GridMismatchError, match="its pixels are 464"):
        read_window(str(tmp_path / name), [1], asked, np.int16)
    # The same numbers on the pixels they came from are read where they lie.
    from affine import Affine

    a, _, c, _, e, f = native.transform
    top, left = round((transform.f - f) / e), round((transform.c - c) / a)
    place = Affine(a, 0, c + left * a, 0, e, f + top * e)
    profile = {"driver": "GTiff", "count": 1, "dtype": "int16", "crs": SINUSOIDAL}
    height, width = real.shape[1:]
    with rasterio.open(
        tmp_path / "native.tif", "w", height=height, width=width, transform=place, **profile
    ) as out:
        out.write(real)
    read = read_window(str(tmp_path / "native.tif"), [1], asked, np.int16)
    rows = slice(max(0, top), min(native.height, top + height))
    columns = slice(max(0, left), min(native.width, left + width))
    assert rows.stop > rows.start
    assert columns.stop > columns.start
    wanted = real[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    assert (read[:, rows, columns] == wanted).all()
    assert 1000 < np.median(read[read != -28672]) < 4000
