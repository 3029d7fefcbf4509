"""What files of a catalogue state of their own numbers: missing pixels, scale and offset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from build_fixtures import EPSG, ORIGIN, random_folder, recipe, write_raster
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rsbench.build.engine.builder import build
from rsbench.build.plan.lock import LockAsset
from rsbench.build.read.classes import read_classes
from rsbench.build.read.engines import make_engine
from rsbench.build.read.raster import Asked, Scene
from rsbench.build.read.warp import warp
from rsbench.core.errors import UnitFailed
from rsbench.core.grid import Grid

SIZE = 32
GRID = Grid(f"EPSG:{EPSG}", (10.0, 0.0, float(ORIGIN[0]), 0.0, -10.0, float(ORIGIN[1])), SIZE, SIZE)
RULE = (1e-4, -0.1)
ENGINES = ("rasterio", "stackstac")
Mask = npt.NDArray[np.bool_]


def numbers(dtype: str = "uint16", bands: int = 1) -> Any:
    top = 200 if dtype == "uint8" else 4000
    return np.random.default_rng(2).integers(100, top, (bands, SIZE, SIZE)).astype(dtype)


def mask_of(path: Path, missing: Mask) -> None:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as data:
        data.write_mask(np.where(missing, 0, 255).astype(np.uint8))


def tagged(path: Path, missing: Mask, **options: Any) -> Any:
    values = numbers(**options)
    values[:, missing] = 7
    write_raster(path, values, nodata=7)
    return values


def masked(path: Path, missing: Mask, **options: Any) -> Any:
    values = numbers(**options)
    write_raster(path, values)
    mask_of(path, missing)
    return values


def filled(engine: str, folder: Path, rule: tuple[float, float] | None = None, **asked: Any) -> Any:
    made = make_engine(engine, str(folder), "none")
    out = np.zeros((1, 1, SIZE, SIZE), np.uint16)
    scene = Scene("an-item", (("B02", LockAsset("a.tif")),), rule)
    try:
        made.fill(out, [scene], Asked(grid=GRID, whole=True, nodata=0, **asked))
    finally:
        made.close()
    return out[0, 0]


@pytest.mark.parametrize("carrier", [tagged, masked])
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 99), share=st.sampled_from([0.0, 0.02, 0.5, 1.0]))
def test_pixels_that_a_file_states_as_missing_are_missing(
    carrier: Callable[..., Any], seed: int, share: float, tmp_path: Path
) -> None:
    missing = np.random.default_rng(seed).random((SIZE, SIZE)) < share
    folder = tmp_path / f"{carrier.__name__}-{seed}-{share}"
    values = carrier(folder / "a.tif", missing)
    wanted = np.where(missing, 0, values[0])
    for engine in ENGINES if seed < 9 else ENGINES[:1]:
        assert np.array_equal(filled(engine, folder), wanted)


def test_quality_layers_keep_their_own_numbers(tmp_path: Path) -> None:
    values = tagged(tmp_path / "a.tif", np.eye(SIZE, dtype=np.bool_))
    assert np.array_equal(filled("rasterio", tmp_path, quality=True), values[0])


def test_a_band_that_is_marked_as_alpha_is_a_band(tmp_path: Path) -> None:
    """The infrared of some photographs is marked so."""
    values = numbers("uint8", bands=4)
    values[3, :9] = 0
    write_raster(tmp_path / "a.tif", values, photometric="RGB", alpha="YES")
    found, valid, _ = warp(str(tmp_path / "a.tif"), [1, 2, 3, 4], GRID)
    assert np.array_equal(found[:, 4:-4, 4:-4], values[:, 4:-4, 4:-4])
    assert valid[4:-4, 4:-4].all()


@pytest.mark.parametrize("carrier", [tagged, masked])
def test_photographs_and_labels_have_missing_pixels_too(
    carrier: Callable[..., Any], tmp_path: Path
) -> None:
    missing = np.zeros((SIZE, SIZE), np.bool_)
    missing[:, :16] = True
    carrier(tmp_path / "a.tif", missing, dtype="uint8", bands=2)
    _, valid, _ = warp(str(tmp_path / "a.tif"), [1, 2], GRID)
    assert not valid[:, :16].any()
    assert valid[4:-4, 20:-4].all()
    classes = read_classes(str(tmp_path / "a.tif"), 1, GRID, 0)
    assert np.array_equal(classes == 0, missing)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("scale", "offset", "tags", "fits"),
    [
        (1.0, 0.0, {}, True), (1e-4, -0.1, {}, True), (float(np.float32(1e-4)), -0.1, {}, True),
        (2e-4, -0.1, {}, False), (1e-4, 0.0, {}, False), (1.0, -0.1, {}, False),
        (1.0, 0.0, {"scale_factor": "0.0001", "add_offset": "-0.1"}, True),
        (1.0, 0.0, {"scale_factor": "0.001", "add_offset": "-0.1"}, False),
        (1e-4, -0.1, {"scale_factor": "0.001"}, False),
    ],
)  # fmt: skip
def test_scale_and_offset_of_a_file_agree_with_the_catalogue(
    engine: str, scale: float, offset: float, tags: dict[str, str], fits: bool, tmp_path: Path
) -> None:
    values = numbers()
    write_raster(tmp_path / "a.tif", values)
    with rasterio.open(tmp_path / "a.tif", "r+") as data:
        data.scales, data.offsets = [scale], [offset]
        data.update_tags(**tags)
    if fits:
        assert np.array_equal(filled(engine, tmp_path, RULE), values[0])
        return
    with pytest.raises(UnitFailed, match=r"its file states scale|its scale is"):
        filled(engine, tmp_path, RULE)


def test_a_build_names_the_item_whose_file_has_another_scale(tmp_path: Path) -> None:
    root = random_folder(tmp_path / "stac", per_year=1)
    asked = recipe(years=(2021, 2021))
    before = build(asked, tmp_path / "before", provider=str(root)).digest
    path = next(root.glob("S2_2021_0*/B02.tif"))
    for scale, offset, works in ((1e-4, 0.0, True), (1e-4, -0.1, False)):
        with rasterio.open(path, "r+") as data:
            data.scales, data.offsets = [scale], [offset]
        if works:
            assert build(asked, tmp_path / "same", provider=str(root)).digest == before
            continue
        with pytest.raises(UnitFailed, match=f"{path.parent.name}: its file states scale 0.0001"):
            build(asked, tmp_path / "other", provider=str(root))
