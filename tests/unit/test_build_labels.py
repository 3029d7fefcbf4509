"""Maps of classes beside pairs: the right year, the class of each pixel's own place."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from build_fixtures import write_collection, write_raster
from support.stac_server import Fault, serve
from test_build_pairs import EPSG, ORIGIN, PLACE, photo, recipe, scene, write_item

from rsbench.build.engine.builder import build
from rsbench.build.plan.plan import describe, make_plan
from rsbench.build.read.classes import read_classes
from rsbench.build.read.grids import GridMismatchError
from rsbench.catalog import load_recipe, names, recipe_of
from rsbench.catalog.loaders import load_labels
from rsbench.core.errors import InputError, UnitFailed
from rsbench.core.grid import Grid
from rsbench.store.read import open_store

CODES = {
    "io-lulc-annual-v02": (1, 2, 4, 5, 7, 8, 9, 11),
    "esa-worldcover": (10, 20, 30, 40, 50, 60, 80, 90),
    "usda-cdl": (1, 5, 24, 36, 61, 111, 121, 176),
}
SIDE = 48
AT = Grid(f"EPSG:{EPSG}", (10.0, 0.0, float(PLACE[0]), 0.0, -10.0, float(PLACE[1])), SIDE, SIDE)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))


def classes(height: int, width: int, codes: tuple[int, ...], seed: int) -> npt.NDArray[Any]:
    return np.random.default_rng(seed).choice(np.array(codes, np.uint8), (height, width))


def label_item(
    root: Path, name: str, kind: str, year: int, values: npt.NDArray[Any], crs: str,
    transform: tuple[float, float, float], **properties: Any,
) -> None:  # fmt: skip
    """One map: its upper left corner and pixel size, in its own system; begins in ``year``."""
    asset = {"io-lulc-annual-v02": "data", "esa-worldcover": "map", "usda-cdl": "cropland"}[kind]
    gsd, x, y = transform
    write_raster(root / name / "map.tif", values, gsd=gsd, origin=(x, y), crs=crs, nodata=0)
    west, north = ORIGIN
    write_item(
        root, name, kind, None,  # type: ignore[arg-type]
        (west, north - 960, west + 960, north),
        properties={
            "start_datetime": f"{year}-01-01T00:00:00Z", "end_datetime": f"{year}-12-31T23:59:59Z",
            "proj:code": crs, **properties,
        },
        assets={asset: {"href": "./map.tif"}},
    )  # fmt: skip


def utm_map(root: Path, name: str, year: int, seed: int, **options: Any) -> npt.NDArray[Any]:
    values = classes(96, 96, CODES["io-lulc-annual-v02"], seed)
    label_item(
        root, name, "io-lulc-annual-v02", year, values, f"EPSG:{EPSG}", (10.0, *ORIGIN), **options
    )
    return values


def images(root: Path, *years: int) -> None:
    for year in years:
        photo(root, f"n{year}", f"{year}-07-10T16:00:00Z")
        scene(root, f"s{year}", f"{year}-07-10T17:00:00Z")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("labels")
    images(root, 2019, 2020, 2021)
    return root


def made(root: Path, tmp_path: Path, labels: str | None, **changes: Any) -> Any:
    write_collection(root)
    options = {"labels": labels} if labels else {}
    return build(recipe(**options, **changes), tmp_path / "out", provider=str(root))


def test_the_map_of_the_year_or_the_latest_before_lies_on_the_pixels(
    folder: Path, tmp_path: Path
) -> None:
    import xarray as xr

    kind = "io-lulc-annual-v02"
    old, new = utm_map(folder, "m2020", 2020, 1), utm_map(folder, "m2022", 2022, 2)
    assert not np.array_equal(old, new)
    result = made(folder, tmp_path, kind)
    store = open_store(result.path)
    assert (store.validate(), store.region("Fields").times["s2"][0]) == ([], date(2019, 7, 10))
    layer = store.read("Fields", "s2", array="labels")
    assert (layer.shape, layer.dtype) == ((3, SIDE, SIDE), np.uint8)
    cut = old[20:68, 20:68]  # the place lies 200 m into the map
    assert (layer[0] == 0).all()  # no map of 2019 or before: never one of later
    np.testing.assert_array_equal(layer[1], cut)
    np.testing.assert_array_equal(layer[2], cut)  # 2021 has the map of 2020, not that of 2022
    with xr.open_zarr(result.path, group="Fields/s2", consolidated=False) as cube:
        found = cube["labels"]
        assert found.dims == ("time", "y", "x")
        assert found.attrs["rsbench:years"] == [None, 2020, 2020]
        assert found.attrs["flag_values"][:3] == [1, 2, 4]
        assert found.attrs["flag_meanings"].split()[2] == "flooded_vegetation"
        assert found.attrs["licence"] == "CC BY 4.0"
    attributes = json.loads((result.path / "Fields" / "zarr.json").read_text())["attributes"]
    notes = [pair["labels"] for pair in attributes["rsbench"]["provenance"]["pairs"]]
    assert [note["items"] for note in notes] == [[], ["m2020"], ["m2020"]]
    assert notes[1]["pixels"] == {
        str(code): int((cut == code).sum()) for code in np.unique(cut).tolist()
    }
    card = (result.path / "README.md").read_text()
    assert "## Labels beside s2" in card
    assert "2020 (2 images), none (1 images)" in card
    assert "without class: 33.33%" in card
    assert "agreement with io-lulc-annual-v02" in card
    assert "Impact Observatory" in card


def test_labels_leave_all_else_as_it_was(folder: Path, tmp_path: Path) -> None:
    utm_map(folder, "m2020", 2020, 1)
    without = open_store(made(folder, tmp_path / "without", None).path)
    beside = open_store(made(folder, tmp_path / "beside", "io-lulc-annual-v02").path)
    assert without.digest != beside.digest
    for sensor in ("naip", "s2"):
        for array in without.arrays("Fields", sensor):
            one, other = (s.read("Fields", sensor, array=array) for s in (without, beside))
            np.testing.assert_array_equal(one, other)
    assert "labels" not in without.arrays("Fields", "s2")
    plan = make_plan(recipe(), provider=str(folder))
    assert "labels" not in plan.recipe  # locks made before this option existed stay as good
    assert set(plan.regions["Fields"]) == {"naip", "s2"}
    labelled = make_plan(recipe(labels="io-lulc-annual-v02"), provider=str(folder))
    assert [i.id for i in labelled.items("Fields", "io-lulc-annual-v02", 2021)] == ["m2020"]
    assert describe(labelled).requests > describe(plan).requests


def nearest(values: npt.NDArray[Any], crs: str, at: tuple[float, float, float]) -> Any:
    """The class under each pixel's centre, pixel by pixel."""
    from pyproj import Transformer

    to = Transformer.from_crs(EPSG, crs, always_xy=True)
    gsd, left, top = at
    out = np.zeros((SIDE, SIDE), np.uint8)
    for i in range(SIDE):
        for j in range(SIDE):
            x, y = to.transform(PLACE[0] + 10 * j + 5, PLACE[1] - 10 * i - 5)
            col, row = int((x - left) // gsd), int((top - y) // gsd)
            if 0 <= row < values.shape[0] and 0 <= col < values.shape[1]:
                out[i, j] = values[row, col]
    return out


@pytest.mark.parametrize(
    ("kind", "crs", "gsd", "properties"),
    [
        ("esa-worldcover", "EPSG:4326", 1 / 12000, {}),
        ("usda-cdl", "EPSG:5070", 30.0, {"usda_cdl:type": "cropland"}),
    ],
)
def test_classes_of_another_system_are_those_under_each_centre(
    kind: str, crs: str, gsd: float, properties: Any, tmp_path: Path
) -> None:
    from pyproj import Transformer

    root = tmp_path / "stac"
    images(root, 2021)
    x, y = Transformer.from_crs(EPSG, crs, always_xy=True).transform(PLACE[0], PLACE[1])
    at = (gsd, x - 12.3 * gsd, y + 9.6 * gsd)  # the map ends within the place, where none is
    values = classes(50, 50, CODES[kind], 3)
    values[10:12] = 0
    label_item(root, "map", kind, 2021, values, crs, at, **properties)
    if kind == "usda-cdl":
        wrong = np.full_like(values, 9)
        label_item(
            root, "cultivated", kind, 2021, wrong, crs, at, **{"usda_cdl:type": "cultivated"}
        )
    store = open_store(made(root, tmp_path, kind).path)
    layer = store.read("Fields", "s2", array="labels")
    wanted = nearest(values, crs, at)
    np.testing.assert_array_equal(layer[0], wanted)
    assert 0 < (wanted == 0).mean() < 0.7
    assert set(np.unique(wanted)) <= {0, *CODES[kind]}


def test_tiles_of_one_year_are_laid_together_own_zone_first(tmp_path: Path) -> None:
    root = tmp_path / "stac"
    images(root, 2021)
    kind, codes = "io-lulc-annual-v02", CODES["io-lulc-annual-v02"]
    left = classes(96, 50, codes, 4)
    label_item(root, "b-left", kind, 2021, left, f"EPSG:{EPSG}", (10.0, *ORIGIN))
    # The neighbouring zone's tile has an earlier name, and covers the whole place.
    whole = np.full((200, 200), 5, np.uint8)
    from pyproj import Transformer

    x, y = Transformer.from_crs(EPSG, 32613, always_xy=True).transform(*PLACE)
    label_item(root, "a-whole", kind, 2021, whole, "EPSG:32613", (10.0, x - 600, y + 600))
    result = made(root, tmp_path, kind)
    layer = open_store(result.path).read("Fields", "s2", array="labels")[0]
    np.testing.assert_array_equal(layer[:, :30], left[20:68, 20:50])
    assert (layer[:, 30:] == 5).all()


def test_a_code_that_the_label_set_does_not_name_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "stac"
    images(root, 2021)
    kind = "io-lulc-annual-v02"
    values = classes(96, 96, CODES[kind], 5)
    values[30, 30] = 77
    label_item(root, "map", kind, 2021, values, f"EPSG:{EPSG}", (10.0, *ORIGIN))
    with pytest.raises(InputError, match="of item map: they hold the codes 77, which the label"):
        made(root, tmp_path, kind)


def test_a_map_that_cannot_be_read_fails_the_unit_and_is_no_nodata(
    folder: Path, tmp_path: Path
) -> None:
    utm_map(folder, "m2020", 2020, 1)
    write_collection(folder)

    def fault(request: Any) -> Fault | None:
        return Fault(status=404) if request.path.endswith("m2020/map.tif") else None

    with (
        serve(folder, fault=fault) as url,
        pytest.raises(UnitFailed, match="labels io-lulc-annual-v02 of item m2020"),
    ):
        build(
            recipe(labels="io-lulc-annual-v02", years=(2020, 2020)), tmp_path / "out", provider=url
        )


def test_a_map_of_other_numbers_or_without_system_is_refused(tmp_path: Path) -> None:
    values = np.full((10, 10), 300, np.uint16)
    write_raster(tmp_path / "wide.tif", values, origin=PLACE, crs=f"EPSG:{EPSG}")
    write_raster(tmp_path / "lost.tif", values.astype(np.uint8), origin=PLACE, crs=None)
    with pytest.raises(GridMismatchError, match="numbers are uint16"):
        read_classes(str(tmp_path / "wide.tif"), 1, AT, 0)
    with pytest.raises(GridMismatchError, match="no CRS"):
        read_classes(str(tmp_path / "lost.tif"), 1, AT, 0)
    write_raster(tmp_path / "far.tif", values.astype(np.uint8), origin=(0, 9e6), crs=f"EPSG:{EPSG}")
    assert (read_classes(str(tmp_path / "far.tif"), 1, AT, 7) == 7).all()


def test_label_sets_of_the_catalogue_are_whole(tmp_path: Path) -> None:
    assert names("labels") == tuple(sorted({*CODES, "sim-cover"}))
    for name in CODES:
        labels = load_labels(name)
        assert labels.name == name
        assert labels.nodata not in labels.classes
        assert set(CODES[name]) <= set(labels.classes)
        assert len(set(labels.classes.values())) == len(labels.classes)
    with pytest.raises(InputError, match="Did you mean esa-worldcover"):
        load_labels("esa-worldcovers")
    value = recipe().model_dump(mode="json", exclude_none=True)
    (tmp_path / "pairs.yaml").write_text(json.dumps({**value, "labels": "lulc"}))
    with pytest.raises(InputError, match="io-lulc-annual-v02"):
        load_recipe(tmp_path / "pairs.yaml")


def series(**changes: Any) -> Any:
    value = recipe().model_dump(mode="json", exclude_none=True)
    values = {key: value[key] for key in value.keys() - {"pairs"}}
    changed = {"kind": "series", "sensors": ["s2"], "default_protocol": "year7", **changes}
    return recipe_of({**values, **changed})


def test_a_series_has_the_map_of_each_year_or_the_latest_before(
    folder: Path, tmp_path: Path
) -> None:
    kind = "io-lulc-annual-v02"
    old, new = utm_map(folder, "m2020", 2020, 1), utm_map(folder, "m2021", 2021, 2)
    utm_map(folder, "m2022", 2022, 3)
    write_collection(folder)
    built = build(series(labels=kind), tmp_path / "out", provider=str(folder))
    store = open_store(built.path)
    layer = store.read("Fields", "s2", array="labels")
    assert layer.shape == store.read("Fields", "s2", array="valid").shape
    assert (layer[0] == 0).all()
    np.testing.assert_array_equal(layer[1], old[20:68, 20:68])
    np.testing.assert_array_equal(layer[2], new[20:68, 20:68])
    assert store.attributes("Fields", "s2", "labels")["rsbench:years"] == [None, 2020, 2021]
    assert store.validate() == []
    plain = make_plan(series(), provider=str(folder))
    assert "labels" not in plain.recipe
    assert set(plain.regions["Fields"]) == {"s2"}
