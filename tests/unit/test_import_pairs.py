"""Import of pairs: fine and coarse images with labels, one place or many regions."""

from __future__ import annotations

import re
import shlex
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from build_fixtures import ORIGIN, write_raster
from import_fixtures import importing, typed

from rsbench.core.errors import InputError
from rsbench.store.read import Store, open_store

pytest.importorskip("rasterio")
K, SIDE, WIDTH = 4, 12, 60
STATED: dict[str, Any] = {
    "unit": "display", "bands": ("red", "green"), "coarse_unit": "reflectance",
    "coarse_scale": 1e-4, "coarse_bands": ("red", "nir"), "region_size": 12 * K,
}  # fmt: skip
LABELS = {**STATED, "labels": "esa-worldcover"}
DAY = "2020-07-01"
run_import = importing("geotiff-pairs")


def images(seed: int = 0, width: int = WIDTH) -> tuple[npt.NDArray[Any], ...]:
    """Return fine (2, kH, kW), coarse (2, H, W) whose red agrees with it, and codes (H, W)."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(400, 2400, (2, SIDE, width)).astype(np.uint16)
    fine = (coarse // 10).astype(np.uint8).repeat(K, 1).repeat(K, 2)
    return fine, coarse, draw.choice([10, 30, 40], (SIDE, width)).astype(np.uint8)


def write(
    root: Path, region: str = "", day: str = DAY, seed: int = 0, origin: Any = ORIGIN
) -> Path:
    fine, coarse, codes = images(seed)
    write_raster(root / "fine" / region / f"{day}.tif", fine, gsd=10 / K, origin=origin)
    write_raster(root / "coarse" / region / f"{day}.tif", coarse, origin=origin)
    write_raster(root / "labels" / region / f"{day}.tif", codes, origin=origin)
    return root


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "place")


def made(source: Path, out: Path, **options: Any) -> Store:
    return open_store(run_import(source, out, **{**LABELS, **options}).path)


def test_one_place_is_cut_into_blocks_of_whole_coarse_pixels(source: Path, tmp_path: Path) -> None:
    store = made(source, tmp_path / "out")
    fine, coarse, codes = images()
    assert {store.meta.kind, store.meta.default_protocol} == {"pairs", "segment"}
    assert store.one_scene
    splits = [len(store.split(split)) for split in ("train", "val", "test")]
    assert splits == [1, 1, 1]  # five blocks in a row, two of which lie between the parts
    last = store.regions[-1]
    assert last == "place-r00c04"
    window = np.s_[..., 48:60]
    np.testing.assert_array_equal(store.read(last, "coarse")[0], coarse[window])
    np.testing.assert_array_equal(store.read(last, "coarse", array="labels")[0], codes[window])
    np.testing.assert_array_equal(store.read(last, "fine")[0], fine[..., 192:240])
    assert store.region(last).grids["fine"].transform[0] == 2.5
    assert store.sensor("fine").unit == "display"
    assert store.sensor("coarse").bands == ("red", "nir")
    assert store.validate() == []
    card = (store.path / "README.md").read_text()
    assert f"| {last} | {DAY} | +0 | strict | 1.00 | 0.00 |" in card
    assert "The labels were imported from files: scores against them measure agreement" in card
    assert "files on the sensor's own pixels, one per place; year in their names: 2020" in card


def test_a_place_may_be_three_files(source: Path, tmp_path: Path) -> None:
    plain = tmp_path / "flat" / "place"
    plain.mkdir(parents=True)
    for part, name in (("fine", "hr"), ("coarse", "coarse"), ("labels", "labels")):
        (source / part / f"{DAY}.tif").rename(plain / f"{name}_{DAY}.tif")
    store = made(plain, tmp_path / "out")
    assert store.digest == made(write(tmp_path / "b" / "place"), tmp_path / "again").digest


def test_images_without_labels_have_no_default_protocol(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it holds labels, and no label set is stated") as refused:
        made(source, tmp_path / "out", labels=None)
    told = refused.value.remedy.replace("NAME", "esa-worldcover")
    typed(InputError("", "", told))
    (source / "labels" / f"{DAY}.tif").unlink()
    (source / "labels").rmdir()
    store = made(source, tmp_path / "bare", labels=None)
    assert store.meta.default_protocol == ""
    assert "labels" not in store.arrays(store.regions[0], "coarse")


def test_many_regions_are_whole_and_split_in_space(tmp_path: Path) -> None:
    for number in range(5):
        origin = (ORIGIN[0] + 640 * number, ORIGIN[1])
        write(tmp_path / "many", f"place-{number}", seed=number, origin=origin)
        write(tmp_path / "many", f"place-{number}", "2021-07-02", seed=9 + number, origin=origin)
        (tmp_path / "many" / "labels" / f"place-{number}" / "2021-07-02.tif").unlink()
    store = made(tmp_path / "many", tmp_path / "out", region_size=None)
    assert store.regions == ("place-0", "place-2", "place-4")
    assert store.one_scene  # 640 m apart, so intervals hold for this scene only
    assert store.region("place-2").times["fine"] == (date(2020, 7, 1), date(2021, 7, 2))
    labels = store.read("place-4", "coarse", array="labels")
    np.testing.assert_array_equal(labels[0], labels[1])
    np.testing.assert_array_equal(labels[0], images(4)[2])


def test_two_images_of_different_days_are_a_pair_and_said(source: Path, tmp_path: Path) -> None:
    (source / "coarse" / f"{DAY}.tif").rename(source / "coarse" / "2020-07-09.tif")
    store = made(source, tmp_path / "out")
    assert "| 2020-07-01 | +8 | relaxed |" in (store.path / "README.md").read_text()


def test_a_list_states_one_date_for_both_images(source: Path, tmp_path: Path) -> None:
    (source / "fine" / f"{DAY}.tif").rename(source / "fine" / "photo.tif")
    (source / "coarse" / f"{DAY}.tif").rename(source / "coarse" / "scene.tif")
    with pytest.raises(InputError, match="date"):
        made(source, tmp_path / "out")
    (tmp_path / "dates.csv").write_text(f"file,date\nphoto.tif,{DAY}\nscene.tif,{DAY}\n")
    store = made(source, tmp_path / "out", dates=str(tmp_path / "dates.csv"))
    assert store.region(store.regions[0]).times["coarse"] == (date(2020, 7, 1),)


def test_images_of_other_ground_are_remarked_on(source: Path, tmp_path: Path) -> None:
    write_raster(source / "fine" / f"{DAY}.tif", images(5)[0], gsd=10 / K)
    said: list[str] = []
    from rsbench.build.importers.api import ImportOptions
    from rsbench.build.importers.registry import import_dataset

    options = ImportOptions(**LABELS)
    import_dataset("geotiff-pairs", source, tmp_path / "out", options, note=said.append)
    assert said[0].startswith("3 regions; 4 fine pixels lie along a coarse one, and nothing is")
    assert any("3 of 3 pairs agree little" in text for text in said)


def test_own_label_sets_are_files(source: Path, tmp_path: Path) -> None:
    text = 'name: own\ntitle: Own\ngsd: 10\nnodata: 0\nclasses: {"10": a, "30": b, "40": c}\n'
    text += "note: n\nlicence: l\nattribution: a\ncitation: c\nignore: [40]\n"
    (tmp_path / "own.yaml").write_text(text)
    store = made(source, tmp_path / "out", labels=str(tmp_path / "own.yaml"))
    stated = store.attributes(store.regions[0], "coarse", "labels")
    assert (stated["rsbench:labels"], stated["rsbench:ignore"]) == ("own", [40])


def test_missing_label_pixels_become_nodata_of_the_label_set(source: Path, tmp_path: Path) -> None:
    codes = images()[2]
    codes[0, :12] = 255
    write_raster(source / "labels" / f"{DAY}.tif", codes, nodata=255)
    store = made(source, tmp_path / "out")
    labels = store.read("place-r00c00", "coarse", array="labels")[0]
    assert not labels[0].any()
    assert labels[1:].all()


def test_labels_with_a_damaged_block_are_refused(source: Path, tmp_path: Path) -> None:
    import rasterio

    path = source / "labels" / f"{DAY}.tif"
    with rasterio.open(path) as data:
        start, size = (
            int(data.get_tag_item(f"BLOCK_{what}_0_0", "TIFF", bidx=1))
            for what in ("OFFSET", "SIZE")
        )
    raw = bytearray(path.read_bytes())
    raw[start + size - 1] ^= 1  # of the checksum, which GDAL does not compare
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"labels/2020-07-01\.tif: it is damaged"):
        made(source, tmp_path / "out")


def damaged(**options: Any) -> Any:
    def change(source: Path) -> None:
        codes = options.pop("codes", images()[2])
        write_raster(source / "labels" / f"{DAY}.tif", codes, **options)

    return change


def unknown(source: Path) -> None:
    codes = images()[2]
    codes[2, 3] = 77
    damaged(codes=codes)(source)


def off_the_lattice(source: Path) -> None:
    write_raster(source / "fine" / f"{DAY}.tif", images()[0], gsd=10 / K, origin=(
        ORIGIN[0] + 1, ORIGIN[1]))  # fmt: skip


def another_day(source: Path) -> None:
    write_raster(source / "fine" / "2021-07-01.tif", images(3)[0], gsd=10 / K)


def same_size(source: Path) -> None:
    write_raster(source / "fine" / f"{DAY}.tif", images()[0][:, ::K, ::K])


def second_labels(source: Path) -> None:
    write_raster(source / "labels" / "2021-07-01.tif", images()[2])


def no_fine(source: Path) -> None:
    (source / "fine").rename(source / "photos")


def not_the_same_regions(source: Path) -> None:
    (source / "labels" / "north").mkdir()
    (source / "labels" / f"{DAY}.tif").rename(source / "labels" / "north" / f"{DAY}.tif")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (damaged(gsd=5.0), "labels .* another grid than the coarse images|grid than the coarse"),
        (damaged(origin=(ORIGIN[0] + 10, ORIGIN[1])), "another grid"),
        (damaged(crs="EPSG:32634"), "another grid"),
        (damaged(crs=None), "no CRS"),
        (damaged(codes=images()[2].astype(np.float32)), "1 bands of float32"),
        (damaged(codes=images()[0][:, ::K, ::K]), "2 bands of uint8"),
        (damaged(nodata=10), "nodata tag is 10, the class tree cover"),
        (unknown, "codes 77, which the label set esa-worldcover does not name"),
        (second_labels, "are labels of one region"),
        (not_the_same_regions, "lack the region"),
        (off_the_lattice, "no whole blocks|fine pixels apart"),
        (same_size, "are of one size"),
        (another_day, "fine image of 2021-07-01 has no coarse image of that date"),
        (no_fine, "it holds nothing for the fine files"),
    ],
)
def test_what_is_refused(source: Path, tmp_path: Path, change: Any, found: str) -> None:
    change(source)
    with pytest.raises(InputError, match=found) as refused:
        made(source, tmp_path / "out")
    assert refused.value.exit_code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("way", [0, 1])
def test_coarse_zeros_are_refused_until_a_coarse_nodata_is_stated(
    source: Path, tmp_path: Path, way: int
) -> None:
    coarse = images()[1]
    coarse[:, :, :3] = 0
    write_raster(source / "coarse" / f"{DAY}.tif", coarse)
    with pytest.raises(
        InputError, match="0 in every band, and neither a nodata tag nor"
    ) as refused:
        made(source, tmp_path / "out")
    stated = re.findall(r"--coarse-nodata (\d+)", refused.value.remedy)
    store = made(source, tmp_path / "out", coarse_nodata=float(stated[way]))
    valid = store.read("place-r00c00", "coarse", array="valid")
    assert valid.all() == bool(way)


def test_coarse_nan_is_refused_until_a_coarse_nodata_is_stated(
    source: Path, tmp_path: Path
) -> None:
    coarse = images()[1] * np.float32(1e-4)
    coarse[:, 0, 0] = np.nan
    write_raster(source / "coarse" / f"{DAY}.tif", coarse)
    with pytest.raises(InputError, match="--coarse-nodata nan"):
        made(source, tmp_path / "out", coarse_scale=None)
    store = made(source, tmp_path / "out", coarse_scale=None, coarse_nodata=float("nan"))
    assert not store.read("place-r00c00", "coarse", array="valid")[0, 0, 0]


@pytest.mark.parametrize(
    ("options", "found", "remedy"),
    [
        ({"region_size": 30}, "a coarse pixel spans 4", "--region-size 48"),
        ({"region_size": 64}, "blocks of 8 to 12, not 16", "--region-size 48"),
        ({"region_size": None}, "12×60 coarse pixels are too few", "--region-size 48"),
    ],
)
def test_region_sizes(
    source: Path, tmp_path: Path, options: dict[str, Any], found: str, remedy: str
) -> None:
    with pytest.raises(InputError, match=found) as refused:
        made(source, tmp_path / "out", **options)
    assert remedy in refused.value.remedy
    made(source, tmp_path / "out", region_size=48)


def test_the_command_that_a_refusal_tells_is_of_the_coarse_sensor(
    source: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no unit is stated for the uint16 numbers") as refused:
        made(source, tmp_path / "out", coarse_unit=None, coarse_scale=None)
    assert "--coarse-unit reflectance --coarse-scale" in refused.value.remedy.replace(
        "--coarse-scale 0.0001 --coarse-unit reflectance",
        "--coarse-unit reflectance --coarse-scale 0.0001",
    )
    typed(refused.value, 1)


def rio(command: str) -> None:
    from click.testing import CliRunner
    from rasterio.rio.main import main_group

    done = CliRunner().invoke(main_group, shlex.split(command)[1:], catch_exceptions=False)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("part", ["labels", "fine", "coarse"])
def test_commands_that_bring_a_part_onto_its_grid(
    source: Path, tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = source / part / f"{DAY}.tif"
    values = dict(zip(("fine", "coarse", "labels"), images(), strict=True))[part]
    if part == "coarse":  # the fine image covers a part of it
        wide = np.pad(values, ((0, 0), (2, 3), (4, 1)), mode="edge")
        write_raster(path, wide, origin=(ORIGIN[0] - 40, ORIGIN[1] + 20))
    elif part == "fine":  # pixels of 2.4 m do not nest
        write_raster(path, np.pad(values, ((0, 0), (0, 30), (0, 60)), mode="edge"), gsd=2.4)
    else:
        write_raster(path, values.repeat(2, 0).repeat(2, 1), gsd=5.0)
    with pytest.raises(InputError) as refused:
        made(source, tmp_path / "out")
    command = refused.value.remedy[refused.value.remedy.index("rio ") :]
    rio(command)
    (tmp_path / "OUT.tif").replace(path)
    store = made(source, tmp_path / "out")
    if part != "fine":
        last = store.read(
            "place-r00c04", "coarse", array="labels" if part == "labels" else "values"
        )
        np.testing.assert_array_equal(last[0], values[..., 48:60])


@pytest.mark.parametrize("name", ["geotiff-series", "geotiff-triplets"])
def test_other_importers_refuse_the_options_of_pairs(
    source: Path, tmp_path: Path, name: str
) -> None:
    why = "it has no coarse sensor|both sensors have one unit"
    for option, value, found in (
        ("labels", "esa-worldcover", "as geotiff-pairs"), ("coarse_unit", "display", why)
    ):  # fmt: skip
        with pytest.raises(InputError, match=found):
            importing(name)(source, tmp_path / "out", unit="display", **{option: value})
