"""CIA, LGC and AHB from the layouts they come in, made small: dates, formats, scales, refusals."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from build_fixtures import write_raster

from rsbench.build.importers.api import ImportOptions
from rsbench.build.importers.pixels import read_part
from rsbench.build.importers.published_fusion import LGC, PUBLISHED, date_of, sensor_of
from rsbench.build.importers.raster import Known, Raster, describe
from rsbench.build.importers.registry import import_dataset
from rsbench.core.errors import InputError, PixelError
from rsbench.core.grid import Window
from rsbench.store.read import Store, open_store

SIZE = (24, 32)
SCALED = ImportOptions(scale=1e-4)


def image(seed: int, dtype: str = "int16") -> npt.NDArray[Any]:
    """Six bands of reflectance × 10000; a pixel out of range, and one of nothing."""
    values = np.random.default_rng(seed).integers(300, 4000, (6, *SIZE)).astype(dtype)
    values[2, 0, 0] = -50 if dtype == "int16" else 20_000
    values[:, 0, 1] = 0
    return values


def envi(
    path: Path,
    values: npt.NDArray[Any],
    *,
    interleave: str = "bsq",
    order: int = 0,
    extra: str = "",
) -> None:
    """Write a flat binary and its header, which is called as the file with .hdr added."""
    axes = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}[interleave]
    dtype = values.dtype.newbyteorder("<" if order == 0 else ">")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.ascontiguousarray(values.transpose(axes)).astype(dtype).tobytes())
    code = {"int16": 2, "float32": 4, "uint8": 1}[values.dtype.name]
    path.with_name(path.name + ".hdr").write_text(
        f"ENVI\ndescription = {{a\n  note}}\nsamples = {values.shape[2]}\n"
        f"lines   = {values.shape[1]}\nbands = {values.shape[0]}\nheader offset = 0\n"
        f"data type = {code}\ninterleave = {interleave}\nbyte order = {order}\n{extra}"
    )


def per_date(root: Path) -> Path:
    """SwinSTFM's layout of LGC: a folder per date, arrays with bands last or first."""
    for seed, (folder, fine, low) in enumerate([
        ("2004_107_Apr16", "20040416_TM", "MOD09GA_A2004107.sur_refl"),
        ("2004_123_May02", "20040502_TM", "MOD09GA_A2004123.sur_refl"),
        ("2004_187_Jul05", "20040705_TM", "MOD09GA_A2004187.sur_refl"),
    ]):  # fmt: skip
        (root / folder).mkdir(parents=True)
        np.save(root / folder / f"{fine}.npy", image(seed))
        np.save(root / folder / f"{low}.npy", image(10 + seed).transpose(1, 2, 0))
    return root


def open_flat(path: Path) -> Raster:
    return describe(path, ImportOptions(), known=Known(6, LGC.known.nominal))


def read(store: Store, sensor: str) -> npt.NDArray[Any]:
    return store.read(store.regions[0], sensor)


def test_a_folder_per_date_with_arrays(tmp_path: Path) -> None:
    made = import_dataset("lgc", per_date(tmp_path / "LGC"), tmp_path / "out", SCALED)
    store = open_store(made.path)
    assert store.validate() == []
    entry = store.region(store.regions[0])
    assert entry.times["fine"] == (date(2004, 4, 16), date(2004, 5, 2), date(2004, 7, 5))
    assert entry.times["coarse"] == entry.times["fine"]
    seen = store.read(store.regions[0], "fine", array="valid")
    for t in range(3):
        assert not seen[t, 0, 0]
        assert not seen[t, 0, 1]
        assert seen[t].sum() == 24 * 32 - 2
        assert np.array_equal(read(store, "fine")[t][:, seen[t]], image(t)[:, seen[t]])
        assert np.array_equal(read(store, "coarse")[t][:, seen[t]], image(10 + t)[:, seen[t]])
    fine, coarse = store.sensor("fine"), store.sensor("coarse")
    assert fine.bands == coarse.bands == ("blue", "green", "red", "nir", "swir1", "swir2")
    assert (fine.unit, fine.scale, coarse.gsd) == ("reflectance", 1e-4, 500.0)
    assert round(coarse.gsd / fine.gsd) == 18  # 0.00025° is 27.8 m of latitude


def test_cia_pairs_across_the_date_line_of_utc(tmp_path: Path) -> None:
    """Landsat's names carry the day before; one folder per pair of dates holds images twice."""
    names = {
        date(2001, 10, 8): ("L71093084_08420011007_HRF_modtran", "MOD09GA_A2001281.sur_refl"),
        date(2001, 10, 17): ("L71093084_08420011016_HRF_modtran", "MOD09GA_A2001290.sur_refl"),
        date(2001, 11, 2): ("L71093084_08420011101_HRF_modtran", "MOD09GA_A2001306.sur_refl"),
    }
    days = list(names)
    for first, last in ((days[0], days[1]), (days[1], days[2])):
        folder = tmp_path / "CIA" / "train" / f"{first:%Y_%j_%m%d}-{last:%Y_%j_%m%d}"
        for day in (first, last):
            for sensor, name in enumerate(names[day]):
                values = image(10 * sensor + days.index(day))
                write_raster(folder / f"{name}.tif", values, gsd=25.0, crs="EPSG:32755")
    made = import_dataset("cia", tmp_path / "CIA", tmp_path / "out", SCALED)
    store = open_store(made.path)
    entry = store.region(store.regions[0])
    assert entry.times["fine"] == entry.times["coarse"] == tuple(days)
    seen = store.read(store.regions[0], "fine", array="valid")[1]
    assert np.array_equal(read(store, "fine")[1][:, seen], image(1)[:, seen])
    other = tmp_path / "CIA" / "val" / "L71093084_08420011007_again.tif"
    write_raster(other, image(99), gsd=25.0, crs="EPSG:32755")
    with pytest.raises(InputError, match="both are the fine image of 2001-10-08 and differ"):
        import_dataset("cia", tmp_path / "CIA", tmp_path / "o2", SCALED)


def test_ahb_in_bytes_with_short_dates(tmp_path: Path) -> None:
    """Months and days without zeros; the day before is another date and no UTC."""
    for seed, day in enumerate(("2015-6-21", "2015-7-7", "2015-9-25")):
        for folder, letter in (("Landsat", "L"), ("MODIS", "M")):
            values = np.random.default_rng(seed).integers(20, 90, (6, *SIZE)).astype(np.uint8)
            write_raster(
                tmp_path / "AHB" / folder / f"{letter}_{day}.tif", values, gsd=30.0, crs=None
            )
    with pytest.raises(InputError, match="no scale is stated for the uint8 numbers"):
        import_dataset("ahb", tmp_path / "AHB", tmp_path / "out", ImportOptions())
    made = import_dataset("ahb", tmp_path / "AHB", tmp_path / "out", ImportOptions(scale=1 / 255))
    store = open_store(made.path)
    assert store.region(store.regions[0]).times["fine"] == (
        date(2015, 6, 21), date(2015, 7, 7), date(2015, 9, 25),
    )  # fmt: skip
    write_raster(tmp_path / "AHB/Landsat/L_2015-6-20.tif", image(1), gsd=30.0)
    with pytest.raises(InputError, match="2015-06-20 is none of the 27 dates of ahb; the nearest"):
        import_dataset("ahb", tmp_path / "AHB", tmp_path / "o2", ImportOptions(scale=1 / 255))


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("order", [0, 1])
def test_flat_binaries_of_any_order(interleave: str, order: int, tmp_path: Path) -> None:
    values = image(3)
    path = tmp_path / "20040416_TM.int"
    extra = "data ignore value = -50\nmap info = {UTM, 1, 1, 400000, 6200000, 25, 25, 55, South}\n"
    envi(path, values, interleave=interleave, order=order, extra=extra)
    opened = open_flat(path)
    window = Window(3, 5, 7, 9)
    found, _ = read_part(opened, window)
    assert np.array_equal(found, values[:, 3:10, 5:14])
    assert found.dtype == np.dtype("int16")
    assert opened.nodata == -50
    assert opened.grid.crs == "EPSG:32755"
    assert opened.grid.transform == (25.0, 0.0, 400000.0, 0.0, -25.0, 6200000.0)


def test_flat_binaries_make_the_store_that_arrays_make(tmp_path: Path) -> None:
    arrays = per_date(tmp_path / "a")
    for path in arrays.rglob("*.npy"):
        values = np.load(path)
        values = values if values.shape[0] == 6 else values.transpose(2, 0, 1)
        envi(tmp_path / "b" / path.parent.name / f"{path.stem}.int", values, interleave="bil")
    stores = [
        open_store(import_dataset("lgc", tmp_path / n, tmp_path / f"s{n}", SCALED).path)
        for n in "ab"
    ]
    for sensor in ("fine", "coarse"):
        assert np.array_equal(read(stores[0], sensor), read(stores[1], sensor))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bands = 6": "bands = 5"}, "it has 5 bands, not 6"),
        ({"samples = 32": "samples = 31"}, "its header states 8928"),
        ({"data type = 2": "data type = 6"}, "its header states 36864"),
        ({"ENVI": "NOPE"}, "does not begin with ENVI"),
        ({"lines": "rows"}, "cannot be read from it"),
    ],
)
def test_headers_that_cannot_be_used(change: dict[str, str], says: str, tmp_path: Path) -> None:
    path = tmp_path / "x.int"
    envi(path, image(0))
    header = tmp_path / "x.int.hdr"
    text = header.read_text()
    for old, new in change.items():
        text = text.replace(old, new)
    header.write_text(text)
    with pytest.raises(InputError, match=says):
        open_flat(path)


def test_arrays_that_cannot_be_used(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((5, 8, 8), np.int16))
    with pytest.raises(InputError, match="6 bands stand neither first nor last"):
        open_flat(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(InputError, match="no plain array"):
        open_flat(tmp_path / "b.npy")


@pytest.mark.parametrize(
    ("path", "sensor", "day"),
    [
        ("2004_107_Apr16/20040416_TM.npy", "fine", "2004-04-16"),
        ("2004_107_Apr16/MOD09GA_A2004107.sur_refl.npy", "coarse", "2004-04-16"),
        ("x/L71093084_08420011007_HRF_modtran_surf_ref_agd66.tif", "fine", "2001-10-07"),
        ("Landsat/L_2015-6-21.tif", "fine", "2015-06-21"),
        ("AHB/M_2015-6-21.tif", "coarse", "2015-06-21"),
        ("Daxing/L-2018-12-4.tif", "fine", "2018-12-04"),
        ("MODIS/20150621.tif", "coarse", "2015-06-21"),
        ("2005_013_Jan13/LT5_x.int", "fine", "2005-01-13"),
    ],
)
def test_sensor_and_date_of_a_file(path: str, sensor: str, day: str) -> None:
    assert (sensor_of(Path(path)), date_of(Path(path)).isoformat()) == (sensor, day)


def test_names_that_tell_nothing() -> None:
    with pytest.raises(InputError, match="whether it is Landsat or MODIS"):
        sensor_of(Path("x/20040416.npy"))
    with pytest.raises(InputError, match="holds a date"):
        date_of(Path("x/L_one.tif"))


def test_dates_of_the_sets_are_distinct_and_ascend() -> None:
    assert {name: len(known.dates) for name, known in PUBLISHED.items()} == {
        "cia": 17, "lgc": 14, "ahb": 27,
    }  # fmt: skip
    for known in PUBLISHED.values():
        assert list(known.dates) == sorted(set(known.dates))
    local = PUBLISHED["cia"].dates
    assert min((b - a).days for a, b in pairwise(local)) > 1


def test_scales_that_cannot_be_true(tmp_path: Path) -> None:
    source = per_date(tmp_path / "LGC")
    with pytest.raises(InputError, match=r"import-dataset lgc .*--scale 0\.0001"):
        import_dataset("lgc", source, tmp_path / "out", ImportOptions())
    with pytest.raises((InputError, PixelError)):
        import_dataset("lgc", source, tmp_path / "out", ImportOptions(scale=1.0))
    assert not (tmp_path / "out").exists()


def test_a_folder_without_one_sensor(tmp_path: Path) -> None:
    source = per_date(tmp_path / "LGC")
    for path in source.rglob("MOD*"):
        path.unlink()
    with pytest.raises(InputError, match="no file is a coarse image"):
        import_dataset("lgc", source, tmp_path / "out", SCALED)
