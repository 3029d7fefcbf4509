"""Both engines on real files of every pixel size, bit by bit against a third way to the pixels.

The third way reads a whole file without rasterio's windows or warps (tifffile, where it reads the
file) and cuts it with numpy. Skipped without RSBENCH_TEST_DATA.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio

from rsbench.build.plan.lock import LockAsset
from rsbench.build.read.engines import make_engine
from rsbench.build.read.raster import Asked, Scene
from rsbench.core.errors import UnitFailed
from rsbench.core.grid import Grid

DATA = os.environ.get("RSBENCH_TEST_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="RSBENCH_TEST_DATA is not set")
DEV = Path(DATA or ".") / "dev"
ENGINES = ("rasterio", "stackstac")
NAIP = "high_res/naip_060cm_chips_2020"
SCENE = "landsat/stac_scene_LC08_008059_20191201/LC08_L2SP_008059_20191201_20200825_02_T1"
FILES = [
    "high_res/aerial_20cm_with_s2_s1_2020/Abies_alba_1_1005_WEFL_NLF.tif",  # 0.2 m
    f"{NAIP}/m_3211605_ne_11_060_20200415.tif",  # 0.6 m, pixels not square
    f"{NAIP}/m_4208701_ne_16_060_20200902.tif",
    "high_res/naip_utm_seam_2016/m_3607717_sw_18_1_20160620_subset.tif",  # 1 m
    "high_res/naip_utm_seam_2016/m_3607824_se_17_1_20160620_subset.tif",
    "high_res/naip_prairie_2010-2016/m_4709963_se_14_1_20140720.tif",  # 5 m, odd size, nodata 0
    "high_res/naip_prairie_2010-2016/m_4709963_se_14_1_20160816.tif",  # a fraction beside it
    "s2_timeseries/stac_geotiff_2023-06/openEO_2023-06-01Z.tif",  # 10 m, int16, 58×73
    "landsat/pucallpa_1985-2020/2000.tif",  # degrees
    f"{SCENE}_SR_B4.TIF",  # 445 m × 454 m
    f"{SCENE}_QA_PIXEL.TIF",
]
MODIS = ("MODIS_Grid_500m_2D_sur_refl_b02_1.tif", "MODIS_Grid_1km_2D_state_1km_1.tif")


@pytest.fixture(scope="module")
def modis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("modis")
    archive = DEV / "coarse_fine" / "pamplona_mod09ga_2021" / "2021222.zip"
    with zipfile.ZipFile(archive) as packed:
        for name in MODIS:
            packed.extract(name, root)
    return root


def whole(path: Path) -> tuple[npt.NDArray[Any], Grid, str]:
    """All pixels of a file, (C, H, W), its grid and its type."""
    with rasterio.open(path) as data:
        code = data.crs.to_epsg()
        grid = Grid(
            f"EPSG:{code}" if code else data.crs.to_wkt(),
            tuple(data.transform)[:6],
            data.height,
            data.width,
        )
        count, pixels = data.count, data.read()
    tifffile = pytest.importorskip("tifffile")
    try:
        other = tifffile.imread(path)
    except ValueError:  # a compression that it reads only with another package
        return pixels, grid, str(pixels.dtype)
    if other.ndim == 3 and other.shape[-1] == count:
        other = np.moveaxis(other, -1, 0)
    other = other.reshape(count, grid.height, grid.width)
    assert (other == pixels).all()
    return other, grid, str(other.dtype)


def cuts(height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Row, column, height, width: the whole, odd inner windows, one pixel, and over the edges."""
    return [
        (0, 0, height, width),
        (3, 5, 17, 13),
        (height - 1, width - 1, 1, 1),
        (1, 0, height - 1, width // 3),
        (-2, -3, 11, 9),
        (height - 5, width - 4, 9, 9),
    ]


def cut(grid: Grid, row: int, col: int, height: int, width: int) -> Grid:
    a, b, c, d, e, f = grid.transform
    return Grid(grid.crs, (a, b, c + a * col, d, e, f + e * row), height, width)


def wanted(
    pixels: npt.NDArray[Any], row: int, col: int, height: int, width: int, nodata: int
) -> npt.NDArray[Any]:
    out = np.full((pixels.shape[0], height, width), nodata, pixels.dtype)
    for y in range(max(row, 0), min(row + height, pixels.shape[1])):
        left, right = max(col, 0), min(col + width, pixels.shape[2])
        out[:, y - row, left - col : right - col] = pixels[:, y, left:right]
    return out


def check(path: Path, root: Path) -> None:
    pixels, grid, dtype = whole(path)
    with rasterio.open(path) as data:
        tag = data.nodata
    pixels = np.where(pixels == (7 if tag is None else tag), 7, pixels).astype(dtype)
    bands = range(1, min(len(pixels), 4) + 1)
    href = path.relative_to(root).as_posix()
    scene = Scene(path.stem, tuple((f"b{i}", LockAsset(href, i)) for i in bands))
    engines = [make_engine(name, str(root), "none") for name in ENGINES]
    try:
        for row, col, height, width in cuts(grid.height, grid.width):
            part = cut(grid, row, col, height, width)
            right = wanted(pixels[: len(bands)], row, col, height, width, 7)
            for engine in engines:
                out = np.empty((1, len(bands), height, width), dtype)
                engine.fill(out, [scene], Asked(grid=part, whole=False, nodata=7))
                assert (out[0] == right).all(), (engine, row, col, height, width)
                inside = row >= 0 and row + height <= grid.height and col >= 0
                if not (inside and col + width <= grid.width):
                    with pytest.raises(UnitFailed, match="covers only a part"):
                        engine.fill(out, [scene], Asked(grid=part, whole=True, nodata=7))
    finally:
        for engine in engines:
            engine.close()


@pytest.mark.parametrize("name", FILES)
def test_both_engines_read_what_is_in_the_file(name: str) -> None:
    check(DEV / name, DEV)


@pytest.mark.parametrize("name", MODIS)
def test_modis_in_its_own_projection_without_a_code(name: str, modis: Path) -> None:
    with rasterio.open(modis / name) as data:
        assert data.crs.to_epsg() is None
    check(modis / name, modis)


@pytest.mark.parametrize("engine", ENGINES)
def test_coarse_quality_words_are_repeated_on_a_finer_grid(engine: str, modis: Path) -> None:
    pixels, grid, _ = whole(modis / MODIS[1])
    a, b, c, d, e, f = grid.transform
    fine = Grid(grid.crs, (a / 2, b, c + a / 2, d, e / 2, f + e / 2), 25, 31)
    out = np.empty((1, 1, 25, 31), np.uint16)
    made = make_engine(engine, str(modis), "none")
    made.fill(
        out,
        [Scene("m", (("mask", LockAsset(MODIS[1], 1)),))],
        Asked(grid=fine, whole=True, nodata=0, quality=True),
    )
    made.close()
    assert (out[0] == np.kron(pixels, np.ones((2, 2), np.uint16))[:, 1:26, 1:32]).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"crs": "EPSG:26913"}, "its CRS is EPSG:26914"),
        ({"shift": 0.6}, "shifted by a fraction"),
        ({"gsd": 3.0}, "its pixels are 5"),
        ({"index": 5}, "band 5 is asked of a raster with 4"),
        ({"dtype": "int16"}, "its numbers are uint8"),
        ({"far": 1e5}, "outside|covers nothing"),
    ],
)
def test_both_engines_refuse_another_grid_or_type(
    engine: str, change: dict[str, Any], cause: str
) -> None:
    path = DEV / FILES[5]
    _, grid, dtype = whole(path)
    a, _, c, _, _, f = grid.transform
    gsd = change.get("gsd", a)
    x = c + change.get("shift", 0.0) + change.get("far", 0.0)
    asked = Grid(change.get("crs", grid.crs), (gsd, 0.0, x, 0.0, -gsd, f), 20, 20)
    out = np.empty((1, 1, 20, 20), change.get("dtype", dtype))
    asset = LockAsset(FILES[5], change.get("index", 1))
    made = make_engine(engine, str(DEV), "none")
    with pytest.raises(UnitFailed, match=cause):
        made.fill(out, [Scene("naip", (("red", asset),))], Asked(grid=asked, whole=False, nodata=0))
    made.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_rasters_without_a_crs_are_refused(engine: str, tmp_path: Path) -> None:
    import tarfile

    archive = next((DEV / "landsat" / "brumadinho_2019").glob("*.tar.gz"))
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    path = min(tmp_path.rglob("*SR_B4.TIF"))
    made = make_engine(engine, str(tmp_path), "none")
    grid = Grid("EPSG:32623", (30.0, 0.0, 0.0, 0.0, -30.0, 0.0), 16, 16)
    asset = LockAsset(path.relative_to(tmp_path).as_posix(), 1)
    out = np.empty((1, 1, 16, 16), np.uint16)
    with pytest.raises(UnitFailed, match="has no CRS"):
        made.fill(out, [Scene("l8", (("red", asset),))], Asked(grid=grid, whole=False, nodata=0))
    made.close()
