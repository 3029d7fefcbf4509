from __future__ import annotations

from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from build_fixtures import write_raster
from import_fixtures import importing

from rsbench.build.importers.blocks import SIZES, cut
from rsbench.build.importers.dates import file_dates, step_between
from rsbench.core.errors import InputError, PixelError, UnknownName
from rsbench.store.read import open_store

import_geotiff_series = importing("geotiff-series")

RNG = np.random.default_rng(5)


def series(root: Path, names: tuple[str, ...] = ("1990", "1995", "2000"), **options: Any) -> Path:
    for number, name in enumerate(names):
        values = RNG.integers(1, 250, (2, 70, 200)).astype(options.get("dtype", np.uint8))
        values[:, :3, :3] = 0
        values[0] += number
        rest = {k: v for k, v in options.items() if k != "dtype"}
        write_raster(root / f"{name}.tif", values, **({"nodata": 0} | rest))
    return root


def test_blocks_hold_the_files_pixels(tmp_path: Path) -> None:
    import rasterio

    source = series(tmp_path / "my place")
    result = import_geotiff_series(
        source, tmp_path / "out", unit="display", bands=("nir", "red"), region_size=32
    )
    store = open_store(result.path)
    assert store.validate() == []
    assert (store.recipe, store.meta.step, store.meta.compositor) == (
        "my-place", "P5Y", "import@1",
    )  # fmt: skip
    meta = store.meta.sensors["image"]
    assert (meta.bands, meta.unit, meta.value_range) == (("nir", "red"), "display", (0.0, 255.0))
    assert "my-place-r01c05" in store.regions
    entry = store.region("my-place-r01c05")
    assert entry.record.times == tuple(date(y, 7, 1) for y in (1990, 1995, 2000))
    values = store.read("my-place-r01c05", "image")
    for t, year in enumerate((1990, 1995, 2000)):
        with rasterio.open(source / f"{year}.tif") as data:
            assert (values[t] == data.read()[:, 32:64, 160:192]).all()
            a, _, c, _, e, f = tuple(data.transform)[:6]
    assert entry.grids["image"].transform == (a, 0.0, c + 160 * a, 0.0, e, f + 32 * e)
    first = store.read("my-place-r00c00", "image", array="valid")
    assert not first[:, :3, :3].any()
    assert first[:, 3:].all()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_splits_are_contiguous_and_one_block_apart() -> None:
    for height, width in ((377, 697), (697, 377), (2000, 2000), (64, 700)):
        blocks = cut(height, width, None)
        size = blocks[0].window.height
        assert size in SIZES
        lines: dict[str, set[int]] = {}
        for block in blocks:
            window = block.window
            assert window.y + size <= height
            assert window.x + size <= width
            line = block.column if width // size >= height // size else block.row
            lines.setdefault(block.split, set()).add(line)
        assert max(lines["train"]) + 2 == min(lines["val"])
        assert max(lines["val"]) + 2 == min(lines["test"])
        for held in lines.values():
            assert held == set(range(min(held), max(held) + 1))


def test_default_blocks_are_the_largest_with_eight_to_test() -> None:
    assert Counter(b.split for b in cut(377, 697, None)) == {"train": 20, "val": 5, "test": 15}
    assert cut(377, 697, None)[0].window.height == 64
    assert cut(4096, 4096, None)[0].window.height == 512


@pytest.mark.parametrize(("size", "text"), [(None, "too few"), (64, "fewer than 5")])
def test_an_image_too_small_for_three_parts_is_refused(size: int | None, text: str) -> None:
    with pytest.raises(InputError, match=text):
        cut(90, 120, size)


def test_without_a_unit_the_command_is_told(tmp_path: Path) -> None:
    source = series(tmp_path / "a b")
    with pytest.raises(InputError) as caught:
        import_geotiff_series(source, tmp_path / "out", unit=None)
    assert caught.value.exit_code == 2
    assert (
        f"rsbench import-dataset geotiff-series '{source}' --out {tmp_path / 'out'} --unit display"
        in caught.value.remedy
    )
    assert not (tmp_path / "out").exists()


def test_integer_reflectance_needs_a_scale(tmp_path: Path) -> None:
    source = series(tmp_path / "a", dtype=np.uint16)
    with pytest.raises(InputError, match="no scale is stated") as caught:
        import_geotiff_series(source, tmp_path / "out", unit="reflectance")
    assert "--unit reflectance --scale 0.0001" in caught.value.remedy
    made = import_geotiff_series(
        source, tmp_path / "out", unit="reflectance", scale=0.001, region_size=32
    )
    assert open_store(made.path).meta.sensors["image"].scale == 0.001


def test_a_scale_that_cannot_be_true_is_refused(tmp_path: Path) -> None:
    source = series(tmp_path / "a", dtype=np.uint16)
    with pytest.raises(InputError, match="its median is 1"):
        import_geotiff_series(
            source, tmp_path / "out", unit="reflectance", scale=1.0, region_size=32
        )
    assert not (tmp_path / "out").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_an_unknown_unit_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="reflectance"):
        import_geotiff_series(series(tmp_path / "a"), tmp_path / "out", unit="reflectence")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"gsd": 20.0}, "grid"),
        ({"origin": (500_010, 5_000_020)}, "grid"),
        ({"crs": "EPSG:32634"}, "grid"),
        ({"nodata": 255}, "nodata"),
        ({"dtype": np.int16}, "dtype"),
    ],
)
def test_files_that_differ_are_named(options: dict[str, Any], what: str, tmp_path: Path) -> None:
    source = series(tmp_path / "a", ("1990", "1995"))
    series(source, ("2000",), **options)
    with pytest.raises(InputError, match=f"1990.tif and 2000.tif differ in {what}"):
        import_geotiff_series(source, tmp_path / "out", unit="display")


def test_mixed_bands_and_units_are_named(tmp_path: Path) -> None:
    source = series(tmp_path / "a", ("1990", "1995"))
    write_raster(source / "2000.tif", np.ones((3, 70, 200), np.uint8), nodata=0)
    with pytest.raises(InputError, match="differ in bands: 2 and 3"):
        import_geotiff_series(source, tmp_path / "out", unit="display")
    one = tmp_path / "b"
    write_raster(one / "1990.tif", RNG.random((1, 70, 200)).astype(np.float32))
    write_raster(one / "1995.tif", 10_000 * RNG.random((1, 70, 200)).astype(np.float32))
    with pytest.raises(InputError, match=r"1995\.tif as reflectance.*unlike in 1990\.tif"):
        import_geotiff_series(one, tmp_path / "out", unit="reflectance", region_size=32)


def test_a_raster_without_crs_needs_one_stated(tmp_path: Path) -> None:
    source = series(tmp_path / "a", crs=None)
    with pytest.raises(InputError, match="has no CRS"):
        import_geotiff_series(source, tmp_path / "out", unit="display", region_size=32)
    made = import_geotiff_series(
        source, tmp_path / "out", unit="display", region_size=32, crs="32633"
    )
    store = open_store(made.path)
    assert store.region(store.regions[0]).grids["image"].crs == "EPSG:32633"
    with pytest.raises(InputError, match="names no coordinate system"):
        import_geotiff_series(source, tmp_path / "o2", unit="display", crs="EPSG:999999")


def test_another_crs_than_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="states EPSG:32633"):
        import_geotiff_series(
            series(tmp_path / "a"), tmp_path / "out", unit="display", crs="EPSG:4326"
        )


def test_an_undeclared_nan_is_refused_and_a_declared_one_masked(tmp_path: Path) -> None:
    source = tmp_path / "a"
    values = RNG.random((1, 70, 200)).astype(np.float32)
    values[0, 10, 10] = np.nan
    for name in ("1990", "1995"):
        write_raster(source / f"{name}.tif", values)
    options: dict[str, Any] = {"unit": "reflectance", "region_size": 32}
    with pytest.raises(PixelError, match=r"1990\.tif.*NaN"):
        import_geotiff_series(source, tmp_path / "out", **options)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    made = import_geotiff_series(source, tmp_path / "out", nodata=float("nan"), **options)
    store = open_store(made.path)
    valid = store.read("a-r00c00", "image", array="valid")
    assert (~valid).sum() == 2
    assert np.isfinite(store.read("a-r00c00", "image")).all()


@pytest.mark.parametrize(
    ("files", "given", "wanted"),
    [
        (("1985.tif",), None, "1985-07-01"),
        (("scene_2020-06-03_v2.tif",), None, "2020-06-03"),
        (("LC08_20200603_B.tif",), None, "2020-06-03"),
        (("a_99_85.tif",), r"_(?P<year>\d\d\d\d)", None),
        (("x-2001-12.tif",), r"(?P<year>\d{4})-(?P<month>\d\d)", "2001-12-01"),
        (("d20010304.tif",), r"d(\d{8})", "2001-03-04"),
        (("1985_to_1990.tif",), None, None),
        (("nodate.tif",), None, None),
        (("x-2001-13.tif",), r"(?P<year>\d{4})-(?P<month>\d\d)", None),
        (("1985.tif",), "(", None),
    ],
)
def test_dates_of_names(files: tuple[str, ...], given: str | None, wanted: str | None) -> None:
    paths = [Path(f) for f in files]
    if wanted is None:
        with pytest.raises(InputError):
            file_dates(paths, given)
    else:
        assert file_dates(paths, given)[paths[0]].isoformat() == wanted


def test_dates_of_a_list(tmp_path: Path) -> None:
    listing = tmp_path / "dates.csv"
    listing.write_text("file,date\na.tif,2001\nb.tif,2002-03-04\n")
    found = file_dates([Path("a.tif"), Path("b.tif")], str(listing))
    assert [d.isoformat() for d in found.values()] == ["2001-07-01", "2002-03-04"]
    with pytest.raises(InputError, match=r"no row for c\.tif"):
        file_dates([Path("c.tif")], str(listing))
    with pytest.raises(InputError, match="cannot be read"):
        file_dates([Path("c.tif")], str(tmp_path / "no.csv"))


def test_two_files_of_one_date_are_named() -> None:
    with pytest.raises(InputError, match=r"a1985.tif and b1985.tif both have 1985-07-01"):
        file_dates([Path("a1985.tif"), Path("b1985.tif")], None)


@pytest.mark.parametrize(
    ("dates", "step"),
    [
        (((1985, 7, 1), (1990, 7, 1), (1995, 7, 1)), "P5Y"),
        (((2017, 7, 1), (2018, 7, 1)), "P1Y"),
        (((2020, 1, 1), (2020, 2, 1), (2020, 3, 1)), "P1M"),
        (((2020, 1, 1), (2020, 1, 9), (2020, 1, 17)), "P8D"),
        (((2020, 1, 1), (2020, 1, 9), (2020, 1, 18)), "irregular"),
        (((1985, 7, 1), (1990, 7, 1), (2000, 7, 1)), "irregular"),
    ],
)
def test_step(dates: tuple[tuple[int, int, int], ...], step: str) -> None:
    assert step_between([date(*d) for d in dates]) == step


def test_an_empty_folder_and_a_taken_place_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no GeoTIFF"):
        import_geotiff_series(tmp_path, tmp_path / "out", unit="display")
    with pytest.raises(InputError, match="there is no such folder"):
        import_geotiff_series(tmp_path / "no", tmp_path / "out", unit="display")
    source = series(tmp_path / "a")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").write_text("mine")
    with pytest.raises(InputError, match="something is there already"):
        import_geotiff_series(source, tmp_path / "out", unit="display", region_size=32)
    assert (tmp_path / "out" / "x").read_text() == "mine"


def test_a_file_that_is_no_raster_is_named(tmp_path: Path) -> None:
    source = series(tmp_path / "a")
    (source / "2005.tif").write_bytes(b"no")
    with pytest.raises(InputError, match=r"2005.tif: it cannot be read"):
        import_geotiff_series(source, tmp_path / "out", unit="display")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("S2_2019.03.04.tif", "2019-03-04"),
        ("S2_2019_3_4.tif", "2019-03-04"),
        ("S2_2019-03.tif", "2019-03-01"),
        ("S2_20190304T101021_20m.tif", "2019-03-04"),
        ("maryland_2019_10m_v2.tif", "2019-07-01"),
        ("site12_2019.tif", "2019-07-01"),
        ("S2_04-03-2019.tif", "the year 2019 beside '03'"),
        ("S2_2019_123.tif", "the year 2019 beside '123'"),
        ("S2_2019-Mar-04.tif", "the year 2019 beside 'Mar'"),
        ("S2_2019Mar04.tif", "the year 2019 beside 'Mar04'"),
        ("04March2019.tif", "beside '04March'|beside 'March'|holds no date"),
        ("S2_2019_03.tif", "the year 2019 beside '03'"),
        ("S2_2019_13_20.tif", "there is no such day"),
        ("A2019123.tif", "its name holds no date"),
        ("201903.tif", "its name holds no date"),
    ],
)
def test_a_date_in_a_name_is_understood_wholly_or_refused(name: str, wanted: str) -> None:
    if wanted[0].isdigit():
        assert file_dates([Path(name)], None)[Path(name)].isoformat() == wanted
        return
    with pytest.raises(InputError, match=wanted) as caught:
        file_dates([Path(name)], None)
    assert "--dates" in caught.value.remedy


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        (r"_(?P<day>\d\d)-\d\d-(?P<year>\d{4})", "finds day '04', year '2019'"),
        (r"-(?P<year>\d\d)\.", "finds year '19'"),
        (r"_(?P<month>\d\d)-", "finds month '04'"),
        (r"_(\d\d-\d\d)-", "'04-03' is no date"),
    ],
)
def test_a_pattern_that_finds_half_a_date_is_refused(pattern: str, says: str) -> None:
    file = Path("S2_04-03-19.tif" if ".19" in says or "'19'" in says else "S2_04-03-2019.tif")
    with pytest.raises(InputError, match=says):
        file_dates([file], pattern)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_lists_of_spreadsheets_are_read(encoding: str, separator: str, tmp_path: Path) -> None:
    listing = tmp_path / "dates.csv"
    rows = (("File", "note", "Date "), ("ä.tif", "x", "2001-06-01"), ("b.tif", "", "2002-3-4"))
    text = "\r\n".join(separator.join(row) for row in rows)
    listing.write_text(text, encoding=encoding, newline="")
    found = file_dates([Path("ä.tif"), Path("b.tif")], str(listing))
    assert [d.isoformat() for d in found.values()] == ["2001-06-01", "2002-03-04"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,when\na.tif,2001\n", "its columns are name, when"),
        ("", "its columns are none"),
        ("file,date\na.tif,04.03.2001\n", "'04.03.2001' is no date"),
        ("file,date\na.tif\n", "it has no row for a.tif"),
        ("file,date\na.tif,2001\na.tif,2002\n", "it has 2001 and 2002 for a.tif"),
        ('file,date\n"a.tif,2001\n', "it cannot be read"),
    ],
)
def test_lists_that_cannot_be_used(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "dates.csv").write_text(text)
    with pytest.raises(InputError, match=says):
        file_dates([Path("a.tif")], str(tmp_path / "dates.csv"))
