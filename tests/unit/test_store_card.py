"""The data card and the picture of coverage that a store carries."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from build_fixtures import random_folder, recipe, region, write_raster

from rsbench.build.engine.builder import build
from rsbench.build.importers.api import ImportOptions
from rsbench.build.importers.registry import import_dataset
from rsbench.cli.commands import inspect_command
from rsbench.store.export.card import write_card
from rsbench.store.export.coverage import Coverage, coverage, picture
from rsbench.store.layout import CARD, COVERAGE, INDEX
from rsbench.store.read import Store, open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("card")
    folder = random_folder(root / "stac")
    return open_store(build(recipe(), root / "out", provider=str(folder)).path)


def test_a_store_carries_its_card_and_stays_valid(store: Store) -> None:
    text = (store.path / CARD).read_text()
    assert store.digest in text
    assert str(store.meta.lock_digest) in text
    assert "Contains modified Copernicus Sentinel data" in text
    assert "collection `sentinel-2-l2a` of planetary-computer" in text
    assert "1 train, 1 test" in text
    assert store.validate() == []
    ElementTree.fromstring((store.path / COVERAGE).read_text())


def test_statistics_equal_numpys(store: Store) -> None:
    values, valid = store.read_physical("west", "s2")
    pixels = values[:, 1][valid].astype(np.float64)
    (row,) = [
        line.split("|")
        for line in (store.path / CARD).read_text().splitlines()
        if line.startswith("| s2 | test | B03 |")
    ]
    count, mean, std, low, middle, high = (float(cell) for cell in row[4:10])
    assert count == pixels.size
    assert (mean, std) == pytest.approx((pixels.mean(), pixels.std()), rel=1e-3)
    assert (low, middle, high) == pytest.approx(np.percentile(pixels, (2, 50, 98)), rel=2e-3)


def test_neighbours_of_different_splits_are_named(store: Store) -> None:
    text = (store.path / CARD).read_text()
    assert "The nearest centres of two splits are 1 km apart" in text
    assert "1 pairs of regions of different splits are nearer than 50 km" in text


def test_the_card_says_that_a_store_is_incomplete(tmp_path: Path) -> None:
    folder = random_folder(tmp_path / "stac")
    for number in (0, 1):  # more than a unit may be made without
        (folder / f"S2_2022_{number}" / "B03.tif").unlink()
    made = build(recipe(), tmp_path / "out", provider=str(folder), allow_incomplete=True)
    text = (made.path / CARD).read_text()
    assert "**Incomplete**: 2 region-dates are missing" in text
    assert "missing: west 2022-07-01: reading B03 of item S2_2022_1" in text


def test_a_card_that_is_gone_comes_back_and_moves_no_digest(tmp_path: Path) -> None:
    folder = random_folder(tmp_path / "stac")
    made = build(recipe(), tmp_path / "out", provider=str(folder))
    index, text = (made.path / INDEX).read_bytes(), (made.path / CARD).read_bytes()
    (made.path / CARD).unlink()
    assert build(recipe(), made.path, provider=str(folder)).digest == made.digest
    assert (made.path / CARD).read_bytes() == text
    assert (made.path / INDEX).read_bytes() == index
    write_card(made.path)
    assert (made.path / CARD).read_bytes() == text


def test_coverage_counts_what_is_valid(store: Store) -> None:
    found = coverage(store)["west"]
    valid = store.read("west", "s2", array="valid")
    assert found.valid == tuple(valid.mean(axis=(1, 2)))
    assert found.dates == ("2021-07-01", "2022-07-01")
    assert found.mean == pytest.approx(valid.mean())


def test_the_picture_never_draws_a_gap_as_none() -> None:
    drawn = Coverage("test", ("a",) * 5, (0.0, 0.001, 0.5, 0.9999, 1.0), (0.0, 1, 2, 3, 9), ("a",))
    (line,) = picture({"west": drawn})
    assert "| ▁▄▇█|" in line
    assert "dates 0–9" in line
    assert line.endswith("shifted a")


def test_inspect_shows_the_picture_and_json_has_every_date(store: Store) -> None:
    said: list[str] = []
    inspect_command(store.path, as_json=False, say=said.append)
    assert [line.split()[0] for line in said[-2:]] == ["east", "west"]
    assert "|" in said[-1]
    inspect_command(store.path, as_json=True, say=said.append)
    value = json.loads(said[-1])
    assert set(value["regions"]["west"]["by_date"]) == {"2021-07-01", "2022-07-01"}


def test_a_shifted_year_is_shown(tmp_path: Path) -> None:
    """Scenes of the second year lie one pixel lower; the card and the picture say so."""
    from build_fixtures import write_scene

    draw = np.random.default_rng(5)
    base = draw.normal(0, 1, (96, 96))
    for _ in range(4):
        base = (base + np.roll(base, 1, 0) + np.roll(base, 1, 1)) / 3
    land = np.rint(3000 + 1500 * base).astype(np.uint16)
    scl = np.full((48, 48), 4, np.uint8)
    for year in (2021, 2022, 2023):
        moved = np.roll(land, 1, axis=0) if year == 2022 else land
        when = f"{year}-06-01T10:00:00Z"
        write_scene(tmp_path / "stac", f"S{year}", when, {"B02": moved, "B03": moved}, scl)
    whole = (region("all", (500_000, 5_000_020), "test", size=96),)
    chosen = recipe(regions=whole, years=(2021, 2023), shift=True)
    made = build(chosen, tmp_path / "out", provider=str(tmp_path / "stac"))
    assert coverage(open_store(made.path))["all"].shifted == ("2022",)
    assert "relative to the others: all 2022." in (made.path / CARD).read_text()


def test_the_card_of_an_import_names_the_folder_of_the_store(tmp_path: Path) -> None:
    for year in (2000, 2001):
        values = np.arange(160 * 160, dtype=np.uint16).reshape(1, 160, 160) % 5000 + year
        write_raster(tmp_path / "tifs" / f"{year}.tif", values, crs="EPSG:32633")
    options = ImportOptions(unit="reflectance", scale=0.0001)
    import_dataset("geotiff-series", tmp_path / "tifs", tmp_path / "mine.zarr", options)
    text = (tmp_path / "mine.zarr" / "README.md").read_text()
    assert 'xr.open_zarr("mine.zarr"' in text
    assert ".tmp-" not in text
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
