"""Flipped bits and tails of zeros in compressed blocks: an error, not pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from build_fixtures import write_raster
from rasterio.errors import RasterioError
from rasterio.windows import Window

from rsbench.build.importers.api import ImportOptions
from rsbench.build.importers.pixels import read_part
from rsbench.build.importers.raster import describe
from rsbench.build.read.blocks import DamagedBlockError
from rsbench.build.read.opened import GDAL_ENV, open_raster
from rsbench.core.errors import InputError
from rsbench.core.grid import Window as CropWindow
from rsbench.evaluation.submission_files import _GeoTiff

NUMBER = 40
WHOLE = Window(0, 0, 160, 160)
KINDS: dict[str, dict[str, Any]] = {
    "deflate": {"compress": "deflate"},
    "deflate, differences": {"compress": "deflate", "predictor": 2},
    "deflate, one block": {"compress": "deflate", "predictor": 2, "blockxsize": 160,
                           "blockysize": 160},
    "deflate, strips": {"compress": "deflate", "tiled": False, "blockxsize": None,
                        "blockysize": 64},
    "lzw": {"compress": "lzw", "predictor": 2},
    "zstd": {"compress": "zstd", "predictor": 2},
}  # fmt: skip


def scene(count: int = 1) -> Any:
    """Smooth land with noise, as uint16, ``(count, 160, 160)``."""
    rng = np.random.default_rng(3)
    land = rng.normal(0, 1, (count, 160, 160)).cumsum(1).cumsum(2)
    values = 1500 + 900 * land / np.abs(land).max() + rng.normal(0, 20, land.shape)
    return values.clip(1, 10_000).astype(np.uint16)


def stored(path: Path, kind: str, values: Any, **more: Any) -> bytes:
    options = {"blockxsize": 32, "blockysize": 32} | KINDS[kind]
    write_raster(path, values, **{k: v for k, v in options.items() if v is not None}, **more)
    return path.read_bytes()


def places(path: Path) -> list[tuple[int, int]]:
    """First byte and bytes of every block."""
    with rasterio.open(path) as data:
        high, wide = data.block_shapes[0]
        return [
            tuple(int(data.get_tag_item(f"BLOCK_{what}_{x}_{y}", "TIFF", bidx=1))
                  for what in ("OFFSET", "SIZE"))  # type: ignore[misc]
            for y in range(-(-160 // high)) for x in range(-(-160 // wide))
        ]  # fmt: skip


def plain(path: Path) -> Any:
    """The pixels as GDAL returns them; None if it says that they are damaged."""
    try:
        with rasterio.Env(**GDAL_ENV), rasterio.open(path, sharing=False) as data:
            return data.read(window=WHOLE)
    except (RasterioError, OSError):
        return None


def checked(path: Path) -> Any:
    try:
        with open_raster(str(path)) as raster:
            return raster.read([1], WHOLE)
    except (RasterioError, OSError):
        return None


def silent(found: Any, values: Any) -> bool:
    """Whether wrong pixels came without an error."""
    return found is not None and not np.array_equal(found, values)


def damaged(raw: bytes, blocks: list[tuple[int, int]], how: str, rng: Any) -> bytes:
    body = bytearray(raw)
    start, count = blocks[int(rng.integers(len(blocks)))]
    if how == "flip":
        body[start + int(rng.integers(count))] ^= 1 << int(rng.integers(8))
    else:
        zeros = int(rng.integers(4, count - 4))
        body[start + count - zeros : start + count] = bytes(zeros)
    return bytes(body)


@pytest.mark.parametrize("how", ["flip", "zeros"])
@pytest.mark.parametrize("kind", KINDS)
def test_damage_in_a_block_is_an_error(
    kind: str, how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """GDAL alone returns wrong pixels for a part of these."""
    values, path = scene(), tmp_path / "a.tif"
    raw = stored(path, kind, values)
    blocks, rng = places(path), np.random.default_rng(7)
    before = after = 0
    for number in range(NUMBER):
        # A path of its own each time: GDAL keeps blocks of files that it has open.
        broken = tmp_path / f"{number}.tif"
        broken.write_bytes(damaged(raw, blocks, how, rng))
        before += silent(plain(broken), values)
        after += silent(checked(broken), values)
    with capsys.disabled():
        print(f"\n{kind}, {how}: of {NUMBER}, {before} silent in GDAL, {after} here")
    if kind.startswith("deflate") or how == "zeros":
        assert after == 0
    assert after <= before


def test_a_block_is_checked_again_after_its_file_changed(tmp_path: Path) -> None:
    values, path = scene(3), tmp_path / "a.tif"
    raw = stored(path, "deflate", values, interleave="pixel")
    assert np.array_equal(imported(path), values)
    assert np.array_equal(imported(path), values)
    start, count = places(path)[0]
    path.write_bytes(raw[: start + 4] + bytes(count - 4) + raw[start + count :])
    with pytest.raises(InputError, match="it is damaged"):
        imported(path)


@pytest.mark.parametrize("how", ["flip", "zeros"])
@pytest.mark.parametrize(
    ("kind", "interleave"),
    [("deflate, differences", "pixel"), ("deflate, differences", "band"),
     ("deflate, strips", "pixel")],
)  # fmt: skip
def test_damage_in_a_file_that_is_imported_or_scored_is_an_error(
    kind: str, interleave: str, how: str, tmp_path: Path
) -> None:
    values, path = scene(3), tmp_path / "a.tif"
    raw = stored(path, kind, values, interleave=interleave)
    blocks, rng = places(path), np.random.default_rng(8)
    refused = 0
    for number in range(NUMBER):
        broken = tmp_path / f"{number}.tif"
        broken.write_bytes(damaged(raw, blocks, how, rng))
        for read in (imported, answered):
            try:
                found = read(broken)
            except InputError:
                found, refused = values, refused + 1
            assert np.array_equal(found, values)
    assert refused > NUMBER


def test_damage_in_an_alpha_band_of_its_own_is_an_error(tmp_path: Path) -> None:
    path, rng = tmp_path / "a.tif", np.random.default_rng(3)
    values = rng.choice([0, 255], (4, 32, 160)).astype(np.uint8)
    write_raster(path, values, photometric="RGB", alpha="YES", interleave="band")
    with rasterio.open(path) as data:
        start, size = (
            int(data.get_tag_item(f"BLOCK_{what}_0_0", "TIFF", bidx=4))
            for what in ("OFFSET", "SIZE")
        )
    raster, raw, refused = describe(path, ImportOptions()), path.read_bytes(), 0
    for _ in range(NUMBER):
        broken = bytearray(raw)
        broken[start + rng.integers(size)] ^= 1 << rng.integers(8)
        path.write_bytes(broken)
        try:
            present = read_part(raster, CropWindow(0, 0, 32, 160))[1]
        except InputError:
            present, refused = values[3] > 0, refused + 1
        assert np.array_equal(present, values[3] > 0)
    assert refused > NUMBER / 2


def imported(path: Path) -> Any:
    return read_part(describe(path, ImportOptions()), CropWindow(0, 0, 160, 160))[0]


def answered(path: Path) -> Any:
    class Answers(_GeoTiff):
        def _path(self, item: Any, index: int) -> Path:
            return path

    answers: Any = Answers(path.parent, ("a", "b", "c"))
    return answers.read("x", 0, CropWindow(0, 0, 160, 160)).astype(np.uint16)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "window", [WHOLE, Window(32, 32, 64, 64), Window(5, 40, 33, 1), Window(150, 150, 10, 10)]
)
def test_whole_blocks_are_read_as_they_are(kind: str, window: Window, tmp_path: Path) -> None:
    values, path = scene(), tmp_path / "a.tif"
    stored(path, kind, values)
    rows, cols = window.toslices()
    with open_raster(str(path)) as raster:
        assert np.array_equal(raster.read([1], window), values[:, rows, cols])
        out = np.zeros((1, window.height, window.width), np.uint16)
        assert raster.read([1], window, out) is out
    assert np.array_equal(out, values[:, rows, cols])


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("predictor", [1, 2, 3])
@pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
def test_every_way_to_store_bands_is_read(
    interleave: str, dtype: str, predictor: int, endian: str, tmp_path: Path
) -> None:
    if (predictor == 3) != (dtype == "float32"):
        pytest.skip("the predictor is for the other kind of numbers")
    values = (scene(3) // 16).astype(dtype)
    path = tmp_path / "a.tif"
    write_raster(path, values, interleave=interleave, predictor=predictor, endianness=endian)
    with open_raster(str(path)) as raster:
        assert np.array_equal(raster.read([3, 1], WHOLE), values[[2, 0]])


def test_a_block_without_bytes_is_nodata_and_no_damage(tmp_path: Path) -> None:
    values = scene()
    values[:, :64, :64] = 0
    write_raster(tmp_path / "a.tif", values, sparse_ok=True, nodata=0)
    with open_raster(str(tmp_path / "a.tif")) as raster:
        assert np.array_equal(raster.read([1], WHOLE), values)


def test_a_huge_block_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(tmp_path / "a.tif", "deflate, one block", scene())
    monkeypatch.setattr("rsbench.build.read.opened.MOST", 1000)
    with open_raster(str(tmp_path / "a.tif")) as raster, pytest.raises(DamagedBlockError):
        raster.read([1], WHOLE)
