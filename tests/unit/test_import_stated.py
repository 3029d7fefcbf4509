"""What is not stated is told in one refusal; files are described before anything is written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from build_fixtures import ORIGIN, write_raster
from import_fixtures import importing
from series_fixtures import BANDS, DAYS, image, imported
from typer.testing import CliRunner

from rsbench.build.importers.api import ImportOptions
from rsbench.build.importers.registry import describe_import
from rsbench.cli.main import app
from rsbench.core.errors import InputError, RsbenchError
from rsbench.store.read import open_store

LOST = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def named(path: Path, values: Any, names: tuple[str, ...] = (), **options: Any) -> None:
    write_raster(path, values, **options)
    with rasterio.open(path, "r+") as data:
        for number, name in enumerate(names, 1):
            data.set_band_description(number, name)


def unplaced(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"count": len(values), "height": values.shape[1], "width": values.shape[2]}
    with rasterio.open(path, "w", driver="GTiff", dtype=values.dtype, **shape) as data:
        data.write(values)


def refused(*words: str) -> str:
    done = CliRunner().invoke(app, ["import-dataset", *words])
    assert isinstance(done.exception, RsbenchError), done.output
    return str(done.exception)


# One refusal -----------------------------------------------------------------------------


@LOST
def test_all_that_is_not_stated_is_one_refusal_whose_command_works(tmp_path: Path) -> None:
    for at, day in enumerate(DAYS):
        unplaced(tmp_path / "in" / f"{day}.tif", image(at))
    typed = ("geotiff-series", str(tmp_path / "in"), "--out", str(tmp_path / "out"))
    kept = ("--region-size", "32", "--bands", "B04,B08")
    told = refused(*typed, *kept)
    assert "2020-01-05.tif: it has no CRS and no place; also not stated: unit and scale of" in told
    command = re.search(r"rsbench (import-dataset .*?) ; display", told)
    assert command is not None
    assert all(word in command[1] for word in (*kept, "--crs EPSG:3857"))
    done = CliRunner().invoke(app, shlex.split(command[1]))
    assert done.exit_code == 0, done.exception
    card = (tmp_path / "out" / "README.md").read_text()
    assert "**No place**: files state none" in card


@LOST
def test_dates_and_coarse_pixels_are_listed_with_the_rest(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        unplaced(tmp_path / "in/fine" / f"{name}.tif", image(0)[:, :, :64])
        unplaced(tmp_path / "in/coarse" / f"{name}.tif", image(1)[:, :8, :16])
    words = ("geotiff-triplets", str(tmp_path / "in"), "--out", "x", "--clear", "0.8")
    told = refused(*words, "--dry-run")
    for lack in ("the date of one.tif", "what a pixel of one.tif measures", "unit and scale",
                 "the scale of the uint16", "no CRS and no place"):  # fmt: skip
        assert lack in told, lack
    assert "--dates FILE.csv" in told
    for word in ("--clear 0.8", "--coarse-gsd 40.0", "--coarse-scale 0.0001", "--dry-run"):
        assert word in told, word


@LOST
def test_pairs_without_a_place_take_a_pixel_size_of_each_sensor(tmp_path: Path) -> None:
    coarse = np.random.default_rng(0).integers(400, 2400, (2, 12, 60)).astype(np.uint16)
    fine = coarse.repeat(4, 1).repeat(4, 2)
    unplaced(tmp_path / "in/fine/2020-07-01.tif", fine)
    unplaced(tmp_path / "in/coarse/2020-07-01.tif", coarse)
    out = str(tmp_path / "out")
    told = refused("geotiff-pairs", str(tmp_path / "in"), "--out", out, "--region-size", "48")
    assert "also not stated: the pixel size of 2020" in told, told
    command = re.search(r"rsbench (import-dataset .*?) ; display", told)
    assert command is not None
    assert "--coarse-gsd 10.0" in command[1]
    words = shlex.split(command[1].replace("--coarse-gsd 10.0", "--coarse-gsd 40"))
    assert CliRunner().invoke(app, words).exit_code == 0
    assert open_store(out).sensor("coarse").gsd == 40


@pytest.mark.parametrize("importer", ["geotiff-series", "sat-jepa-diff"])
def test_a_remedy_with_an_option_ends_in_the_whole_command(importer: str, tmp_path: Path) -> None:
    """Also one that only pixels show: NaN without nodata."""
    values = image(0).astype(np.float32) * 1e-4
    values[0, 3, 4] = np.nan
    for year in (2019, 2020, 2021, 2022):
        name = f"place/s2_rgb_place_{year}_10km.tif" if "jepa" in importer else f"{year}.tif"
        write_raster(tmp_path / "in" / name, values[[0, 1, 1]])
    split = {"split": "time", "region_size": 32} if "jepa" in importer else {}
    with pytest.raises(
        RsbenchError, match=r"--nodata nan.*the command so far: rsbench import"
    ) as e:
        importing(importer)(
            tmp_path / "in", tmp_path / "out", unit="reflectance", scale=1.0, **split
        )
    assert "--scale 1.0" in e.value.remedy


# Before anything is written --------------------------------------------------------------


def test_a_dry_run_tells_what_each_file_is_taken_for(tmp_path: Path) -> None:
    for at, day in enumerate(DAYS):
        names = BANDS if at else tuple(reversed(BANDS))
        values = image(at) if at else image(at)[::-1]
        named(tmp_path / "in" / f"{day}.tif", values, names, nodata=9)
    words = [str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--unit", "reflectance"]
    stated = ["--scale", "1e-4", "--bands", "B04,B08", "--dry-run"]
    done = CliRunner().invoke(app, ["import-dataset", "geotiff-series", *words, *stated])
    assert done.exit_code == 0, done.exception
    for line in ("image: 3 images", "  unit    reflectance", "  scale   0.0001", "  nodata  9"):
        assert line in done.output, done.output
    assert re.search(r"2020-01-05.tif +2020-01-05 +B04,B08 \(bands 2,1 of the file\)", done.output)
    assert "160×32 px of 10×-10 at" in done.output
    assert not (tmp_path / "out").exists()


def test_a_dry_run_of_pairs_names_both_sensors(tmp_path: Path) -> None:
    write_raster(tmp_path / "in/fine/2020-07-01.tif", image(0), gsd=5.0)
    write_raster(tmp_path / "in/coarse/2020-07-01.tif", image(0)[:, :16, :80])
    rows = describe_import(
        "geotiff-pairs", tmp_path / "in", "x",
        ImportOptions(
            unit="reflectance", scale=1e-4, coarse_unit="kelvin", coarse_scale=0.1, region_size=32
        ),
    )  # fmt: skip
    assert [(r.sensor, r.unit, r.scale) for r in rows] == [
        ("fine", "reflectance", "0.0001"), ("coarse", "kelvin", "0.1"),
    ]  # fmt: skip
    assert rows[0].split.startswith("train")


# Small places ----------------------------------------------------------------------------


def test_a_place_too_small_to_be_split_is_one_to_test_on(tmp_path: Path) -> None:
    small = np.random.default_rng(0).integers(400, 2400, (2, 6, 6)).astype(np.uint16)
    write_raster(tmp_path / "in/coarse/2020-07-01.tif", small)
    write_raster(tmp_path / "in/fine/2020-07-01.tif", small.repeat(5, 1).repeat(5, 2), gsd=2.0)
    stated = ["--unit", "reflectance", "--scale", "1e-4", "--coarse-unit", "reflectance"]
    words = ["geotiff-pairs", str(tmp_path / "in"), "--out", str(tmp_path / "out"), *stated]
    told = refused(*words, "--coarse-scale", "1e-4")
    assert "6×6 coarse pixels are too few for train, val and test" in told
    command = re.search(r"to only test on the whole of it, type: rsbench (.*)", told)
    assert command is not None
    assert CliRunner().invoke(app, shlex.split(command[1])).exit_code == 0
    store = open_store(tmp_path / "out")
    assert store.split("test") == store.regions == ("in-r00c00",)
    assert "--split test with --region-size" in refused(*words, "--coarse-scale", "1e-4", "--split",
                                                        "test", "--region-size", "30")  # fmt: skip
    assert "--split space" in refused(*words, "--coarse-scale", "1e-4", "--split", "space")


def test_a_small_series_and_few_patches_are_tested_on_whole(tmp_path: Path) -> None:
    for at, day in enumerate(DAYS):
        for name in ("a", "b"):
            place = (ORIGIN[0] + 400 * (name == "b"), ORIGIN[1])
            write_raster(tmp_path / f"in/{name}/{day}.tif", image(at)[:, :, :32], origin=place)
    one = imported(tmp_path / "in/a", tmp_path / "one", split="test", dates=None)
    assert one.split("test") == one.regions
    two = imported(tmp_path / "in", tmp_path / "two", split="test")
    assert two.split("test") == ("a", "b")


# Bands and origins -----------------------------------------------------------------------


def test_bands_are_found_by_the_names_that_files_give_them(tmp_path: Path) -> None:
    for at, day in enumerate(DAYS):
        order = [1, 0] if at == 1 else [0, 1]
        named(tmp_path / "in" / f"{day}.tif", image(at)[order], tuple(BANDS[i] for i in order))
    store = imported(tmp_path / "in", tmp_path / "out", region_size=32)
    assert store.sensor("image").bands == BANDS
    assert (store.read(store.regions[0], "image")[1] == image(1)[:, :, :32]).all()
    one = imported(tmp_path / "in", tmp_path / "one", region_size=32, bands=("B08",))
    assert (one.read(one.regions[0], "image")[1, 0] == image(1)[1, :, :32]).all()
    with pytest.raises(InputError, match=r"B08 is its band 2, and it has no B02"):
        imported(tmp_path / "in", tmp_path / "no", bands=("B08", "B02"))


def test_names_that_differ_by_file_need_names_of_ones_own(tmp_path: Path) -> None:
    for at, day in enumerate(DAYS):
        named(
            tmp_path / "in" / f"{day}.tif", image(at), (f"Resize (1:TM{at})", f"Resize (2:TM{at})")
        )
    with pytest.raises(InputError, match=r"If these are the same bands, type.*--bands b1,b2"):
        imported(tmp_path / "in", tmp_path / "out", region_size=32)
    store = imported(tmp_path / "in", tmp_path / "out", region_size=32, bands=("red", "nir"))
    assert store.sensor("image").bands == ("red", "nir")


def test_origins_within_a_stated_part_of_a_pixel_are_one_grid(tmp_path: Path) -> None:
    for at, day in enumerate(DAYS):
        origin = (ORIGIN[0] + 1.2 * (at == 2), ORIGIN[1] - 2.4 * (at == 2))
        write_raster(tmp_path / "in" / f"{day}.tif", image(at), origin=origin)
    with pytest.raises(InputError, match=r"0.24 px apart.*--origin-tolerance 0.24") as caught:
        imported(tmp_path / "in", tmp_path / "out", region_size=32)
    assert "--region-size 32" in caught.value.remedy
    with pytest.raises(InputError, match="not between 0 and 1"):
        imported(tmp_path / "in", tmp_path / "out", origin_tolerance=1.0)
    with pytest.raises(InputError, match="differ in grid"):
        imported(tmp_path / "in", tmp_path / "out", origin_tolerance=0.2)
    store = imported(tmp_path / "in", tmp_path / "out", region_size=32, origin_tolerance=0.24)
    assert store.meta.recipe["origins"] == {f"{DAYS[2]}.tif": [0.12, 0.24]}
    assert "1 files lie up to 0.24 px beside" in (tmp_path / "out/README.md").read_text()
    assert (store.read(store.regions[0], "image")[2] == image(2)[:, :, :32]).all()


def test_pairs_tell_which_folders_and_images_are_not_taken(tmp_path: Path) -> None:
    for part, gsd, values in (("fine", 5.0, image(0)), ("coarse", 10.0, image(0)[:, :16, :80])):
        write_raster(tmp_path / "in" / part / "2020-07-01.tif", values, gsd=gsd)
    write_raster(tmp_path / "in/clouds/2020-07-01.tif", image(0))
    write_raster(tmp_path / "in/fine/more/2021-07-01.tif", image(0))
    words = ["--unit", "display", "--value-range", "0", "4000", "--coarse-unit", "reflectance"]
    command = ["geotiff-pairs", str(tmp_path / "in"), "--out", str(tmp_path / "out"), *words]
    size = ["--region-size", "32", "--coarse-scale", "1e-4"]
    done = CliRunner().invoke(app, ["import-dataset", *command, *size])
    assert done.exit_code == 0, done.exception
    assert "the folder clouds with 1 images is not taken" in done.output
    assert "1 images in folders below" in done.output
