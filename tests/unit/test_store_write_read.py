"""Stores: what is written is read back, in our own reader and in others'."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rsbench.core.errors import InputError, PixelError, StoreError, UnknownName
from rsbench.core.grid import Grid, Window
from rsbench.store.layout import RegionRecord, SensorMeta, StoreMeta, region_digest
from rsbench.store.manifest import Manifest
from rsbench.store.pixels import physical
from rsbench.store.read import Store, open_store
from rsbench.store.write import finalise, read_manifests, write_region
from rsbench.store.zarr_write import CODECS
from tests import toys


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return toys.write_store(tmp_path_factory.mktemp("store") / "s", regions=3)


def one(path: Path, index: int = 0, **options: object) -> str:
    meta = toys.sensor_meta()
    made = toys.arrays(index, size=32, years=3, **options)  # type: ignore[arg-type]
    return write_region(path, toys.record(index, years=3), {"s2": made}, {"s2": meta})


def test_arrays_come_back_as_written(store: Store) -> None:
    made = toys.arrays(1)
    found = store.read_region("toy-02", "s2")
    assert np.array_equal(found.values[:, 2][made.valid], made.values[:, 2][made.valid])
    assert (found.values[~np.broadcast_to(made.valid[:, None], found.values.shape)] == 0).all()
    for name in ("valid", "n_valid", "odd", "even"):
        assert np.array_equal(getattr(found, name), getattr(made, name)), name
        assert getattr(found, name).dtype == getattr(made, name).dtype
    assert (found.times, found.grid) == (made.times, made.grid)


def test_a_store_tells_what_it_holds(store: Store) -> None:
    assert store.regions == ("toy-01", "toy-02", "toy-03")
    assert store.split("train") == ("toy-01",)
    assert store.split("val") == ("toy-02",)
    assert (store.recipe, store.simulated, store.complete) == ("toy", True, True)
    entry = store.region("toy-03")
    assert entry.record.strata["biome"] == "forest"
    assert entry.times["s2"][-1].year == 2024
    assert entry.grids["s2"] == toys.grid(2)
    assert len(store.digest) == 64


def test_names_that_are_not_there_are_named(store: Store) -> None:
    with pytest.raises(UnknownName, match=r"Did you mean .*toy-01"):
        store.region("toy-0l")
    with pytest.raises(UnknownName, match="s2"):
        store.sensor("s3")
    with pytest.raises(UnknownName, match="test"):
        store.split("tset")
    with pytest.raises(UnknownName, match="values"):
        store.read("toy-01", "s2", array="valeus")


def test_a_window_and_dates_are_cut_and_never_clipped(store: Store) -> None:
    whole = store.read("toy-01", "s2")
    part = store.read("toy-01", "s2", window=Window(5, 40, 10, 24), times=slice(2, 5))
    assert np.array_equal(part, whole[2:5, :, 5:15, 40:64])
    mask = store.read("toy-01", "s2", array="valid", window=Window(5, 40, 10, 24))
    assert mask.shape == (8, 10, 24)
    for window in (Window(60, 0, 8, 8), Window(-1, 0, 8, 8), Window(0, 57, 8, 8)):
        with pytest.raises(InputError, match="64×64 pixels"):
            store.read("toy-01", "s2", window=window)


def test_physical_values_are_scaled_and_zero_where_invalid(store: Store) -> None:
    values, valid = store.read_physical("toy-01", "s2")
    raw = store.read("toy-01", "s2")
    seen = np.broadcast_to(valid[:, None], raw.shape)
    assert values.dtype == np.float32
    assert np.allclose(values[seen], raw[seen] * 1e-4, rtol=1e-6)
    assert (values[~seen] == 0).all()
    assert (~seen).any()


def test_an_offset_does_not_show_under_a_mask() -> None:
    meta = toys.sensor_meta(scale=0.00341802, offset=149.0, unit="kelvin", value_range=(250, 330))
    raw = np.full((1, 4, 2, 2), 44000, np.uint16)
    valid = np.array([[[True, False], [True, True]]])
    values = physical(raw, meta, valid)
    assert values[0, 0, 0, 0] == pytest.approx(44000 * 0.00341802 + 149, abs=1e-3)
    assert (values[0, :, 0, 1] == 0).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_every_stored_type(tmp_path: Path, dtype: str) -> None:
    nodata = -9999 if dtype in {"int16", "float32"} else 0
    meta = toys.sensor_meta(dtype=dtype, nodata=nodata)
    made = toys.write_store(tmp_path / "s", regions=1, size=16, years=2, meta=meta, invalid=0.3)
    raw = made.read("toy-01", "s2")
    valid = np.broadcast_to(made.read("toy-01", "s2", array="valid")[:, None], raw.shape)
    assert raw.dtype == np.dtype(dtype)
    assert (raw[~valid] == nodata).all()
    assert made.validate() == []


@pytest.mark.parametrize("size", [(16, 48), (130, 70), (256, 128)])
def test_sizes_that_are_no_multiple_of_the_chunk(tmp_path: Path, size: tuple[int, int]) -> None:
    height, width = size
    rng = np.random.default_rng(0)
    made = replace(
        toys.arrays(0, size=8, years=2),
        values=rng.integers(1, 9000, (2, 4, height, width)).astype(np.uint16),
        valid=np.ones((2, height, width), bool),
        n_valid=np.ones((2, height, width), np.uint16),
        grid=Grid("EPSG:32633", (10.0, 0.0, 0.0, 0.0, -10.0, 0.0), height, width),
        odd=None,
        even=None,
    )
    meta = toys.sensor_meta()
    write_region(tmp_path, toys.record(years=2), {"s2": made}, {"s2": meta})
    finalise(tmp_path, toys.store_meta({"s2": meta}))
    assert np.array_equal(Store_open(tmp_path).read("toy-01", "s2"), made.values)


def Store_open(path: Path) -> Store:  # noqa: N802
    from rsbench import open_store

    return open_store(path)


def test_xarray_and_rioxarray_read_it_without_a_warning(store: Store) -> None:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("rioxarray")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = xarray.open_zarr(store.path, group="toy-02/s2", mask_and_scale=False)
        values = data["image"].load()
    assert [str(w.message) for w in caught if "zarr" in str(w.filename)] == []
    assert values.dtype == np.uint16
    assert list(data.band.values) == list(toys.BANDS)
    assert str(data.time.values[0])[:10] == "2017-07-01"
    assert data.rio.crs.to_epsg() == values.rio.crs.to_epsg() == 32633
    assert tuple(values.rio.transform())[:6] == toys.grid(1).transform
    assert values.x.values[0] == toys.grid(1).transform[2] + 5.0
    assert values.attrs["scale_factor"] == 1e-4
    assert np.array_equal(values.values, store.read("toy-02", "s2"))


@pytest.mark.parametrize("unit", ["reflectance", "kelvin"])
def test_xarray_gives_physical_values_and_nan(unit: str, tmp_path: Path) -> None:
    """Also of the folder of a sensor alone, and in one file of metadata each."""
    xarray = pytest.importorskip("xarray")
    stated = {"scale": 2.75e-5, "offset": -0.2} if unit == "reflectance" else {"dtype": "float32"}
    meta = toys.sensor_meta(unit=unit, nodata=7, **stated)
    made = toys.arrays(0, size=32, years=3, meta=meta)
    made = replace(made, spread=made.n_valid[:, None].repeat(4, axis=1))
    write_region(tmp_path, toys.record(years=3), {"s2": made}, {"s2": meta})
    finalise(tmp_path, toys.store_meta({"s2": meta}))
    store = open_store(tmp_path)
    values, valid = store.read_physical("toy-01", "s2")
    for where in ({"group": "toy-01/s2", "filename_or_obj": tmp_path},
                  {"filename_or_obj": tmp_path / "toy-01/s2"}):  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            data = xarray.open_dataset(**where, engine="zarr", chunks=None).load()
        found = data.image.transpose("time", "band", "y", "x").values
        wide = np.broadcast_to(valid[:, None], found.shape)
        assert (~wide).any()
        assert np.isnan(found[~wide]).all()
        np.testing.assert_allclose(found[wide], values[wide], rtol=1e-6)
        assert data.image.attrs["units"] == {"reflectance": "1", "kelvin": "K"}[unit]
        assert data.image.attrs["long_name"] == unit
        np.testing.assert_allclose(data.odd, made.odd * meta.scale + meta.offset, rtol=1e-6)
        np.testing.assert_allclose(data.spread, made.spread * meta.scale, rtol=1e-6)
        assert "values" not in data.data_vars
    text = (tmp_path / "zarr.json").read_text()
    assert "toy-01/s2/image" in json.loads(text)["consolidated_metadata"]["metadata"]
    assert "\n" not in text  # Python writes line breaks ten times slower


def test_a_valid_black_pixel_is_no_fill_value(tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray")
    meta = toys.sensor_meta(dtype="uint8", unit="display", scale=1.0, value_range=(0, 255))
    made = toys.arrays(0, size=32, years=3, meta=meta, floor=False)
    values = np.where(made.valid[:, None], made.values, 0)
    values[1, 2, 4, 5], made.valid[1, 4, 5] = 0, True
    write_region(tmp_path, toys.record(years=3), {"s2": replace(made, values=values)}, {"s2": meta})
    data = xarray.open_zarr(tmp_path / "toy-01/s2", chunks=None)
    assert (data.image.dtype, int(data.image[1, 2, 4, 5])) == (np.dtype("uint8"), 0)
    assert "valid" in data.image.attrs["comment"]


def test_an_older_store_with_an_array_called_values_opens(tmp_path: Path) -> None:
    store = open_store(Path(__file__).parents[1] / "golden/store_schema1")
    region, sensor = store.regions[0], next(iter(store.meta.sensors))
    assert any(f.startswith(f"{sensor}/values/") for f in store.manifest(region).files)
    assert store.read(region, sensor).ndim == 4
    assert store.attributes(region, sensor)["rsbench:scale"] == store.sensor(sensor).scale


def test_odc_geo_finds_the_grid(store: Store) -> None:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("odc.geo.xr")
    data = xarray.open_zarr(store.path, group="toy-02/s2", consolidated=False)
    for found in (data.odc.geobox, data["image"].odc.geobox):
        assert found.crs.epsg == 32633
        assert tuple(found.affine)[:6] == toys.grid(1).transform
        assert found.shape == (toys.grid(1).height, toys.grid(1).width)


def test_the_whole_array_is_one_file(store: Store) -> None:
    files = [f for f in store.manifest("toy-01").files if f.startswith("s2/image/c")]
    assert files == ["s2/image/c/0/0/0/0"]


def test_a_chunk_of_fill_is_written_too(tmp_path: Path) -> None:
    made = toys.arrays(0, size=32, years=3)
    empty = replace(made, valid=np.zeros_like(made.valid), n_valid=np.zeros_like(made.n_valid))
    meta = toys.sensor_meta()
    write_region(tmp_path, toys.record(years=3), {"s2": empty}, {"s2": meta})
    assert (tmp_path / "toy-01/s2/image/c/0/0/0/0").is_file()
    assert (tmp_path / "toy-01/s2/valid/c/0/0/0").is_file()


def test_writing_again_leaves_the_region_alone(tmp_path: Path) -> None:
    first = one(tmp_path)
    stamp = (tmp_path / "toy-01/manifest.json").stat().st_mtime_ns
    assert one(tmp_path) == first
    assert (tmp_path / "toy-01/manifest.json").stat().st_mtime_ns == stamp


def test_other_content_is_never_replaced_silently(tmp_path: Path) -> None:
    first = one(tmp_path)
    with pytest.raises(StoreError, match="Nothing is replaced silently"):
        one(tmp_path, seed=1)
    assert read_manifests(tmp_path)[0].digest == first
    meta = toys.sensor_meta()
    made = toys.arrays(0, size=32, years=3, seed=1)
    digest = write_region(tmp_path, toys.record(years=3), {"s2": made}, {"s2": meta}, replace=True)
    assert read_manifests(tmp_path)[0].digest == digest != first
    assert [p.name for p in tmp_path.iterdir()] == ["toy-01"]


def test_replacing_a_region_of_a_finished_store_unfinishes_it(tmp_path: Path) -> None:
    made = toys.write_store(tmp_path / "s", regions=1, size=32, years=3)
    meta = toys.sensor_meta()
    other = toys.arrays(0, size=32, years=3, seed=5)
    write_region(made.path, toys.record(years=3), {"s2": other}, {"s2": meta}, replace=True)
    with pytest.raises(StoreError, match="unfinished"):
        Store_open(made.path)


def test_finalise_refuses_what_is_not_there(tmp_path: Path) -> None:
    meta = toys.store_meta({"s2": toys.sensor_meta()})
    with pytest.raises(StoreError, match="no region"):
        finalise(tmp_path, meta)
    one(tmp_path)
    with pytest.raises(StoreError, match="1 of 2 regions are absent: toy-02"):
        finalise(tmp_path, meta, regions=["toy-01", "toy-02"])
    with pytest.raises(StoreError, match="other metadata"):
        finalise(tmp_path, toys.store_meta({"s2": toys.sensor_meta(scale=2e-4)}))
    with pytest.raises(StoreError, match="marked as complete"):
        finalise(tmp_path, replace(meta, missing=({"region": "a", "time": "2017", "reason": "x"},)))
    assert not (tmp_path / "index.json").exists()


def test_finalise_clears_what_killed_writers_left(tmp_path: Path) -> None:
    one(tmp_path)
    (tmp_path / ".tmp-toy-09-abc/s2").mkdir(parents=True)
    finalise(tmp_path, toys.store_meta({"s2": toys.sensor_meta()}))
    assert not list(tmp_path.glob(".tmp-*"))
    assert Store_open(tmp_path).validate() == []


def test_missing_units_make_a_store_say_that_it_is_incomplete(tmp_path: Path) -> None:
    one(tmp_path)
    meta = toys.store_meta({"s2": toys.sensor_meta()})
    gone = ({"region": "toy-02", "time": "2019", "reason": "503"},)
    finalise(tmp_path, replace(meta, complete=False, missing=gone))
    opened = Store_open(tmp_path)
    assert not opened.complete
    assert opened.meta.missing == gone


def test_the_root_group_and_the_index_say_the_same(store: Store) -> None:
    group = json.loads((store.path / "zarr.json").read_text())
    assert group["attributes"]["rsbench"] == json.loads((store.path / "index.json").read_text())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"valid": np.ones((3, 32, 31), bool)}, "bool"),
        ({"n_valid": np.ones((3, 32, 32), np.int64)}, "uint16"),
        ({"times": toys.dates(3)[::-1]}, "ascending"),
        ({"times": toys.dates(4)}, "Dates, bands and grid"),
    ],
)
def test_arrays_that_do_not_fit_together(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    made = replace(toys.arrays(0, size=32, years=3), **change)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=words):
        write_region(tmp_path, toys.record(), {"s2": made}, {"s2": toys.sensor_meta()})
    assert list(tmp_path.iterdir()) == []


def test_a_nan_under_a_valid_pixel_is_refused_with_its_place(tmp_path: Path) -> None:
    meta = toys.sensor_meta(dtype="float32", nodata=-9999, scale=1.0)
    made = toys.arrays(0, size=32, years=3, meta=meta, invalid=0, floor=False)
    made.values[1, 2, 5, 5] = np.nan
    with pytest.raises(PixelError, match=r"toy-01.*2018-07-01, band B04"):
        write_region(tmp_path, toys.record(years=3), {"s2": made}, {"s2": meta})
    made.valid[1, 5, 5] = False
    write_region(tmp_path, toys.record(years=3), {"s2": made}, {"s2": meta})


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("sensor", {"dtype": "int64"}, "dtype"),
        ("sensor", {"unit": "dn"}, "reflectance, kelvin, display"),
        ("sensor", {"nodata": -1}, "cannot be stored"),
        ("sensor", {"nodata": float("nan"), "dtype": "float32"}, "cannot be stored"),
        ("sensor", {"value_range": (1.0, 0.0)}, "ascend"),
        ("sensor", {"bands": ("a", "a")}, "each once"),
        ("region", {"split": "dev"}, "train, val, test"),
        ("region", {"name": "../up"}, "folder name"),
        ("region", {"name": ".hidden"}, "folder name"),
    ],
)
def test_bad_descriptions(kind: str, change: dict[str, object], words: str) -> None:
    good: SensorMeta | RegionRecord = toys.sensor_meta() if kind == "sensor" else toys.record()
    with pytest.raises(InputError, match=words):
        replace(good, **change)  # type: ignore[arg-type]


def test_an_unknown_codec_and_a_rotated_grid(tmp_path: Path) -> None:
    meta = toys.sensor_meta()
    made = toys.arrays(0, size=32, years=3)
    with pytest.raises(UnknownName, match="zstd"):
        write_region(tmp_path, toys.record(), {"s2": made}, {"s2": meta}, codec="zst")
    turned = replace(made, grid=replace(made.grid, transform=(10.0, 1.0, 0.0, 1.0, -10.0, 0.0)))
    with pytest.raises(InputError, match="rotated"):
        write_region(tmp_path, toys.record(), {"s2": turned}, {"s2": meta})
    nowhere = replace(made, grid=replace(made.grid, crs="EPSG:999999"))
    with pytest.raises(InputError, match="CRS"):
        write_region(tmp_path, toys.record(), {"s2": nowhere}, {"s2": meta})
    assert list(tmp_path.iterdir()) == []


def test_a_crs_may_be_given_as_wkt(tmp_path: Path) -> None:
    from pyproj import CRS

    made = toys.arrays(0, size=32, years=3)
    made = replace(made, grid=replace(made.grid, crs=CRS.from_epsg(32718).to_wkt()))
    meta = toys.sensor_meta()
    write_region(tmp_path, toys.record(years=3), {"s2": made}, {"s2": meta})
    finalise(tmp_path, toys.store_meta({"s2": meta}))
    assert Store_open(tmp_path).validate() == []


def test_a_grid_of_whole_numbers_is_a_grid_of_floats(tmp_path: Path) -> None:
    """The JSON form of a store's grid does not depend on how its numbers were typed."""
    whole = Grid("EPSG:32633", (10, 0, 300000, 0, -10, 5100000), 16, 16)
    assert whole == Grid.from_json(whole.to_json())
    assert all(isinstance(number, float) for number in whole.transform)
    meta, made = toys.sensor_meta(), replace(toys.arrays(size=16, years=2), grid=whole)
    write_region(tmp_path, toys.record(years=2), {"s2": made}, {"s2": meta})
    finalise(tmp_path, toys.store_meta({"s2": meta}))
    assert open_store(tmp_path).validate() == []


def test_descriptions_survive_json() -> None:
    sensor = toys.sensor_meta(display=None)
    assert SensorMeta.from_json(json.loads(json.dumps(sensor.to_json()))) == sensor
    record = toys.record(1)
    assert RegionRecord.from_json(json.loads(json.dumps(record.to_json()))) == record
    meta = toys.store_meta({"s2": toys.sensor_meta()})
    assert StoreMeta.from_json(json.loads(json.dumps(meta.to_json()))) == meta


def test_a_store_of_two_sensors_with_grids_of_their_own(tmp_path: Path) -> None:
    fine, coarse = toys.sensor_meta(), toys.sensor_meta("coarse", ("red",), gsd=40.0)
    arrays = {
        "s2": toys.arrays(0, size=64, years=3),
        "coarse": toys.arrays(0, size=16, years=3, meta=coarse, gsd=40.0),
    }
    metas = {"s2": fine, "coarse": coarse}
    write_region(tmp_path, toys.record(years=3), arrays, metas)
    finalise(tmp_path, toys.store_meta(metas))
    opened = Store_open(tmp_path)
    assert opened.region("toy-01").grids["coarse"].width == 16
    assert opened.read("toy-01", "coarse").shape == (3, 1, 16, 16)
    assert opened.validate() == []


def test_the_manifest_covers_every_file(store: Store) -> None:
    manifest = Manifest.load(store.path / "toy-01/manifest.json")
    folder = store.path / "toy-01"
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert set(manifest.files) == there - {"manifest.json"}
    assert manifest.digest == region_digest(
        manifest.record,
        {"s2": store.read_region("toy-01", "s2")},
        {"s2": toys.sensor_meta()},
    )


def test_all_codecs_are_tried_elsewhere() -> None:
    assert set(CODECS) == {"zstd", "lz4", "zstd-shuffle", "none"}
