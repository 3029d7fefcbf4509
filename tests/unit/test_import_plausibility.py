"""Numbers that cannot be what is stated are refused with their share, or shown below it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from build_fixtures import write_raster

from rsbench.build.importers.api import ImportOptions
from rsbench.build.importers.registry import import_dataset
from rsbench.core.errors import InputError
from rsbench.store.read import open_store

TOLD = ImportOptions(unit="reflectance", scale=1e-4, region_size=32)


def folder(root: Path, fill: int, rows: int, dtype: str = "uint16", pixels: int = 0) -> Path:
    for year in (2019, 2020):
        values = np.random.default_rng(year).integers(100, 4000, (2, 32, 160)).astype(dtype)
        if year == 2020:
            values[:, :rows, :32] = values[:, 0, :pixels] = fill
        write_raster(root / f"{year}.tif", values)
    return root


@pytest.mark.parametrize(("fill", "dtype"), [(65535, "uint16"), (-9999, "int16")])
def test_a_fill_that_no_tag_states_is_refused_with_its_share(
    fill: int, dtype: str, tmp_path: Path
) -> None:
    source = folder(tmp_path / "in", fill, 24, dtype)
    says = rf"2020\.tif as reflectance: 25\.0% of its numbers .* most often {fill} \("
    with pytest.raises(InputError, match=says) as caught:
        import_dataset("geotiff-series", source, tmp_path / "out", TOLD)
    assert f"If {fill} stands for missing pixels, state it with --nodata" in caught.value.remedy
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_zeros_in_every_band_are_refused_where_nothing_says_what_is_missing(
    dtype: str, tmp_path: Path
) -> None:
    """Zero lies inside the plausible range of reflectance."""
    source = folder(tmp_path / "in", 0, 24, dtype)
    says = r"2020\.tif as reflectance: 25\.0% of its pixels are 0 in every band, and neither"
    with pytest.raises(InputError, match=says) as caught:
        import_dataset("geotiff-series", source, tmp_path / "out", TOLD)
    missing, measured = map(float, re.findall(r"--nodata (-?[\d.]+)", caught.value.remedy))
    assert (missing, measured) == (0.0, {"uint16": 65535, "int16": 32767}.get(dtype, -9999))
    shown: list[str] = []
    valid = []
    for number in (missing, measured):
        told, out = replace(TOLD, nodata=number), tmp_path / f"{number:g}"
        made = import_dataset("geotiff-series", source, out, told, note=shown.append)
        store = open_store(made.path)
        seen = [store.read_physical(name, "image")[1][1] for name in store.regions]
        valid.append(min(float(mask.mean()) for mask in seen))
    assert valid == [0.25, 1.0]
    assert len([line for line in shown if "of its pixels are 0 in every band" in line]) == 1


def test_zeros_in_one_band_or_few_pixels_are_measured(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", 0, 0, pixels=20)
    values = np.random.default_rng(1).integers(100, 4000, (2, 32, 160)).astype(np.uint16)
    values[1, :24] = 0
    write_raster(source / "2019.tif", values)
    shown: list[str] = []
    import_dataset("geotiff-series", source, tmp_path / "out", TOLD, note=shown.append)
    assert shown == []


def test_black_pixels_of_display_images_are_told(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", 0, 24)
    told = ImportOptions(unit="display", value_range=(0.0, 4095.0), region_size=32)
    shown: list[str] = []
    import_dataset("geotiff-series", source, tmp_path / "out", told, note=shown.append)
    assert shown == [
        "2020.tif: 25.0% of its pixels are 0 in every band. If 0 stands for missing pixels, state "
        "it with --nodata 0"
    ]


def test_a_few_numbers_outside_are_shown(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", 65535, rows=0, pixels=20)
    shown: list[str] = []
    made = import_dataset("geotiff-series", source, tmp_path / "out", TOLD, note=shown.append)
    assert open_store(made.path).validate() == []
    assert len(shown) == 1
    assert shown[0].startswith("2020.tif: 0.65% of its numbers lie outside -0.2 … 2 reflectance")
    assert "65535 (6.5535; 40 times)" in shown[0]


def test_display_values_beyond_the_stated_range_are_refused(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", 4095, 0)
    told = ImportOptions(unit="display", value_range=(0.0, 3000.0), region_size=32)
    with pytest.raises(InputError, match=r"of its numbers lie outside 0 … 3000 display"):
        import_dataset("geotiff-series", source, tmp_path / "out", told)


def test_a_stated_range_is_kept_with_the_import(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", 4095, 0)
    stated = ImportOptions(unit="display", value_range=(0.0, 4095.0), region_size=32)
    made = [
        import_dataset("geotiff-series", source, tmp_path / str(number), told)
        for number, told in enumerate((stated, TOLD))
    ]
    kept = [open_store(result.path).meta.recipe.get("value_range") for result in made]
    assert kept == [[0.0, 4095.0], None]


def test_blocks_without_a_valid_pixel_are_counted_by_split(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", 0, 32)
    values = np.full((2, 32, 160), 500, np.uint16)
    values[:, :, :32] = 0
    write_raster(source / "2019.tif", values)
    shown: list[str] = []
    told = replace(TOLD, nodata=0.0)
    made = import_dataset("geotiff-series", source, tmp_path / "out", told, note=shown.append)
    assert shown == [
        "1 of 1 blocks for train have no valid pixel and are left out; of the whole area 66.7% is "
        "valid"
    ]
    card = (made.path / "README.md").read_text()
    assert "1 more blocks without a valid pixel are not in the store; with them it is 66.7%" in card
    store = open_store(made.path)
    assert {store.region(name).record.split for name in store.regions} == {"val", "test"}
