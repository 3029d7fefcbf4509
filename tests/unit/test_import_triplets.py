"""Two folders of GeoTIFFs become a store of triplets, or one sentence says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from build_fixtures import write_raster
from import_fixtures import importing, typed

from rsbench.core.errors import InputError, PixelError
from rsbench.store.read import open_store

import_geotiff_triplets = importing("geotiff-triplets")
DATES = ("2020-01-05", "2020-02-06", "2020-03-09")
SCALES: dict[str, Any] = {"unit": "reflectance", "scale": 1e-4, "coarse_scale": 1e-4}


def folder(
    root: Path,
    *,
    fine: dict[str, Any] | None = None,
    coarse: dict[str, Any] | None = None,
    names: tuple[str, str] = ("fine", "coarse"),
    dates: tuple[str, ...] = DATES,
    coarse_dates: tuple[str, ...] | None = None,
    ratio: int = 4,
    size: tuple[int, int] = (24, 32),
) -> Path:
    """Write files of 10 m and of ``ratio`` times as much; options go to the raster writer."""
    rng = np.random.default_rng(1)
    shapes = (size, (size[0] // ratio, size[1] // ratio))
    gsds = (10.0, 10.0 * ratio)
    for name, when, shape, gsd, options in zip(
        names, (dates, coarse_dates or dates), shapes, gsds, (fine or {}, coarse or {}),
        strict=True,
    ):  # fmt: skip
        bands, dtype = options.get("bands", 2), options.get("dtype", np.uint16)
        top, low = options.get("top", 4000), options.get("low", 500)
        rest = {k: v for k, v in options.items() if k not in ("bands", "dtype", "top", "low")}
        for day in when:
            values = rng.uniform(low, top, (bands, *shape)).astype(dtype)
            if "nodata" in rest:
                values[:, 0, :2] = rest["nodata"]
            write_raster(root / name / f"x_{day}.tif", values, **{"gsd": gsd, **rest})
    return root


def test_the_store_holds_the_files_pixels(tmp_path: Path) -> None:
    import rasterio

    source = folder(tmp_path / "my area", fine={"nodata": 0})
    made = import_geotiff_triplets(source, tmp_path / "out", bands=("red", "nir"), **SCALES)
    store = open_store(made.path)
    assert store.validate() == []
    assert (store.digest, store.recipe, store.meta.kind) == (made.digest, "my-area", "triplets")
    assert store.meta.default_protocol == "fusion2"
    assert store.split("test") == ("my-area-r00c00",)
    fine, coarse = store.sensor("fine"), store.sensor("coarse")
    assert (fine.bands, fine.unit, fine.scale, fine.gsd) == (
        ("red", "nir"),
        "reflectance",
        1e-4,
        10,
    )
    assert (coarse.bands, coarse.gsd) == (("red", "nir"), 40.0)
    for sensor in ("fine", "coarse"):
        for t, day in enumerate(DATES):
            with rasterio.open(source / sensor / f"x_{day}.tif") as file:
                raw = file.read()
            valid = store.read("my-area-r00c00", sensor, array="valid")[t]
            assert np.array_equal(valid, (raw != 0).all(axis=0))
            assert np.array_equal(store.read("my-area-r00c00", sensor)[t][:, valid], raw[:, valid])
    assert (made.path / "README.md").is_file() or any(made.path.glob("*.md"))


def test_one_folder_gives_one_digest(tmp_path: Path) -> None:
    source = folder(tmp_path / "a", names=("Landsat", "MODIS"))
    first = import_geotiff_triplets(source, tmp_path / "1", **SCALES)
    assert import_geotiff_triplets(source, tmp_path / "2", **SCALES).digest == first.digest


def test_two_dates_make_a_store_of_one_reference(tmp_path: Path) -> None:
    source = folder(tmp_path / "a", dates=DATES[:2])
    made = import_geotiff_triplets(source, tmp_path / "out", **SCALES)
    assert open_store(made.path).meta.default_protocol == "fusion1"


def test_blocks_are_cut_on_whole_coarse_pixels(tmp_path: Path) -> None:
    source = folder(tmp_path / "a", size=(96, 192))
    made = import_geotiff_triplets(source, tmp_path / "out", region_size=32, **SCALES)
    store = open_store(made.path)
    entry = store.region(store.regions[-1])
    assert (entry.grids["coarse"].height, entry.grids["coarse"].width) == (8, 8)
    assert entry.grids["coarse"].transform[2::3] == entry.grids["fine"].transform[2::3]
    with pytest.raises(InputError, match=r"--region-size 30.*a coarse pixel spans 4 fine pixels"):
        import_geotiff_triplets(source, tmp_path / "o", region_size=30, **SCALES)


def test_units_are_stated_or_refused_with_the_command(tmp_path: Path) -> None:
    source = folder(tmp_path / "a")
    with pytest.raises(InputError, match=r"no unit is stated.*geotiff-triplets .*--unit reflectan"):
        import_geotiff_triplets(source, tmp_path / "out", unit=None)
    with pytest.raises(InputError, match=r"no scale is stated.*--scale 0\.0001"):
        import_geotiff_triplets(source, tmp_path / "out", unit="reflectance")
    with pytest.raises(InputError, match=r"no scale is stated.*--coarse-scale 0\.0001"):
        import_geotiff_triplets(source, tmp_path / "out", unit="reflectance", scale=1e-4)
    assert not (tmp_path / "out").exists()


def test_byte_scaled_data_beside_reflectance_is_refused(tmp_path: Path) -> None:
    """Fine images as bytes of 255, coarse ones as reflectance × 10000, one scale for both."""
    source = folder(tmp_path / "a", fine={"dtype": np.uint8, "top": 250, "low": 20})
    with pytest.raises(InputError, match="no scale is stated for the uint8 numbers"):
        import_geotiff_triplets(source, tmp_path / "out", unit="reflectance", coarse_scale=1e-4)
    with pytest.raises(InputError, match=r"a median of 0\.0\d+, the coarse images 0\.2"):
        import_geotiff_triplets(source, tmp_path / "out", **SCALES)
    made = import_geotiff_triplets(source, tmp_path / "out", **{**SCALES, "scale": 1 / 255})
    assert open_store(made.path).sensor("fine").scale == 1 / 255


@pytest.mark.parametrize(
    ("fine", "coarse", "says"),
    [
        ({}, {"bands": 3}, "the fine images have 2 bands, the coarse ones 3"),
        ({}, {"origin": (500_013, 5_000_020)}, r"pixel edges lie up to 1\.3 fine pixels apart"),
        ({}, {"gsd": 35.0}, "pixel edges lie up to"),
        ({}, {"crs": "EPSG:32634"}, "their CRSs are EPSG:32633 and EPSG:32634"),
        ({}, {"low": 5.0e4, "top": 6.0e4}, "its median is 5"),
    ],
)
def test_folders_that_do_not_fit(
    fine: dict[str, Any], coarse: dict[str, Any], says: str, tmp_path: Path
) -> None:
    source = folder(tmp_path / "a", fine=fine, coarse=coarse)
    with pytest.raises(InputError, match=says):
        import_geotiff_triplets(source, tmp_path / "out", **SCALES)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_grids_that_are_no_whole_blocks(tmp_path: Path) -> None:
    source = folder(tmp_path / "a", size=(24, 34))
    with pytest.raises(InputError, match="24×34 fine pixels are no whole blocks of 6×8"):
        import_geotiff_triplets(source, tmp_path / "out", **SCALES)


def test_band_names_in_another_order(tmp_path: Path) -> None:
    import rasterio

    source = folder(tmp_path / "a")
    for path in source.rglob("*.tif"):
        with rasterio.open(path, "r+") as file:
            file.descriptions = ("red", "nir") if path.parent.name == "fine" else ("nir", "red")
    with pytest.raises(InputError, match="name their bands red, nir and nir, red"):
        import_geotiff_triplets(source, tmp_path / "out", **SCALES)


def test_coarse_images_on_the_fine_grid_need_their_pixel_size(tmp_path: Path) -> None:
    source = folder(tmp_path / "a", ratio=1, size=(23, 31))
    with pytest.raises(InputError, match=r"lies on the fine grid.*--coarse-gsd 500"):
        import_geotiff_triplets(source, tmp_path / "out", **SCALES)
    small = {**SCALES, "coarse_gsd": 12.0}
    with pytest.raises(InputError, match="a coarse pixel measures 12 m, a fine one 10 m"):
        import_geotiff_triplets(source, tmp_path / "out", **small)
    stated = {**SCALES, "coarse_gsd": 160.0}
    made = import_geotiff_triplets(source, tmp_path / "out", **stated)
    assert open_store(made.path).sensor("coarse").gsd == 160.0
    nested = folder(tmp_path / "b")
    with pytest.raises(InputError, match="--coarse-gsd 160: the coarse grid has 40 m"):
        import_geotiff_triplets(nested, tmp_path / "o", **stated)


def test_a_coarse_image_without_a_valid_pixel_is_named(tmp_path: Path) -> None:
    source = folder(tmp_path / "a", coarse={"nodata": 0})
    write_raster(
        source / "coarse" / f"x_{DATES[1]}.tif", np.zeros((2, 6, 8), np.uint16), gsd=40.0, nodata=0
    )
    with pytest.raises(PixelError, match=rf"x_{DATES[1]}\.tif: none of its pixels is valid"):
        import_geotiff_triplets(source, tmp_path / "out", **SCALES)
    assert not (tmp_path / "out").exists()


def test_a_block_that_a_coarse_image_does_not_show_is_left_out(tmp_path: Path) -> None:
    """The third block of the last date is all cloud; with no other block nothing is left."""
    source = folder(tmp_path / "a", coarse={"nodata": 0}, size=(32, 192))
    cloudy = np.full((2, 8, 48), 1000, np.uint16)
    cloudy[:, :, 16:24] = 0
    write_raster(source / "coarse" / f"x_{DATES[2]}.tif", cloudy, gsd=40.0, nodata=0)
    made = import_geotiff_triplets(source, tmp_path / "out", region_size=32, **SCALES)
    whole = import_geotiff_triplets(
        folder(tmp_path / "b", size=(32, 192)), tmp_path / "w", region_size=32, **SCALES
    )
    kept = [name[1:] for name in open_store(whole.path).regions]
    assert "-r00c02" in kept
    assert [n[1:] for n in open_store(made.path).regions] == [n for n in kept if n != "-r00c02"]
    for day, columns in zip(DATES, (slice(0, 24), slice(24, 48), slice(0, 0)), strict=True):
        half = np.full((2, 8, 48), 1000, np.uint16)
        half[:, :, columns] = 0
        write_raster(source / "coarse" / f"x_{day}.tif", half, gsd=40.0, nodata=0)
    with pytest.raises(PixelError, match="in every block some coarse image has no valid pixel"):
        import_geotiff_triplets(source, tmp_path / "no", region_size=32, **SCALES)


def test_missing_folders_are_told_with_what_is_there(tmp_path: Path) -> None:
    source = folder(tmp_path / "a", names=("fine", "low"))
    with pytest.raises(InputError, match=r"0 folders named coarse/ or modis/.*there are fine, low"):
        import_geotiff_triplets(source, tmp_path / "out", **SCALES)
    with pytest.raises(InputError, match="there is no such folder"):
        import_geotiff_triplets(tmp_path / "no", tmp_path / "out", **SCALES)


def test_dates_that_the_sensors_do_not_share(tmp_path: Path) -> None:
    source = folder(tmp_path / "a", coarse_dates=("2021-01-05", "2021-02-06"))
    with pytest.raises(InputError, match="have no date in common"):
        import_geotiff_triplets(source, tmp_path / "out", **SCALES)
    assert not (tmp_path / "out").exists()


def off_lattice(root: Path, *, crs: str = "EPSG:32633", gsd: float = 46.33) -> Path:
    """Fine images of 10 m, and coarse ones of another lattice that reach beyond them."""
    rng = np.random.default_rng(4)
    for at, day in enumerate(DATES):
        write_raster(root / "fine" / f"{day}.tif", rng.integers(900, 1100, (2, 96, 96), np.uint16))
        low = (1000 + 10 * np.arange(36 * 36).reshape(36, 36) % 97 + at).astype(np.uint16)
        origin = (500_000 - 200.0, 5_000_020 + 150.0)
        write_raster(root / "coarse" / f"{day}.tif", np.stack([low, low]), gsd=gsd, crs=crs,
                     origin=origin)  # fmt: skip
    return root


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:3045"])
def test_coarse_grids_off_the_fine_lattice_come_onto_it(crs: str, tmp_path: Path) -> None:
    """EPSG:3045 is the same zone on another datum: equal to less than a metre."""
    source = off_lattice(tmp_path / "a", crs=crs)
    with pytest.raises(InputError, match=r"type: .*--coarse-resampling nearest") as refused:
        import_geotiff_triplets(source, tmp_path / "out", **SCALES)
    typed(refused.value)
    store = open_store(tmp_path / "out")
    name = store.regions[0]
    assert store.sensor("coarse").gsd == pytest.approx(46.33)
    assert store.region(name).grids["coarse"] == store.region(name).grids["fine"]
    values = store.read(name, "coarse")[1, 0]
    for row, column in ((0, 0), (17, 60), (95, 95)):
        cell = int((150 + 10 * row + 5) // 46.33), int((200 + 10 * column + 5) // 46.33)
        assert values[row, column] == 1000 + (10 * (36 * cell[0] + cell[1])) % 97 + 1
    with pytest.raises(InputError, match="resampling of coarse images 'cubic'"):
        import_geotiff_triplets(source, tmp_path / "no", coarse_resampling="cubic", **SCALES)


def test_fine_pixels_beyond_the_coarse_images_are_invalid(tmp_path: Path) -> None:
    source = off_lattice(tmp_path / "a", gsd=26.0)
    stated = {**SCALES, "coarse_resampling": "nearest"}
    store = open_store(import_geotiff_triplets(source, tmp_path / "out", **stated).path)
    valid = store.read(store.regions[0], "coarse", array="valid")[0]
    assert valid[:78, :73].all()
    assert not valid[79:].any()
    assert not valid[:, 74:].any()


def test_a_ratio_of_seven_is_imported_and_scored(tmp_path: Path) -> None:
    from rsbench.evaluation.run import evaluate
    from rsbench.models.registry import create_model

    source = folder(tmp_path / "a", ratio=7, size=(70, 84))
    store = open_store(import_geotiff_triplets(source, tmp_path / "out", **SCALES).path)
    assert store.meta.recipe["ratio"] == 7
    found = evaluate(create_model("copy_f0"), store, protocol="fusion2").table()
    assert found["n_regions"].max() == 1
