"""The simulated Earth on disk and through its server, read as a provider is."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from pystac_client import Client
from support.stac_server import serve

from rsbench.catalog import SimulatedSpec
from rsbench.catalog.tiles import lattice_problem
from rsbench.core.errors import InputError
from rsbench.simulate import write as simulate_write
from rsbench.simulate.api import sensor_grid, simulated_regions, write_catalogue
from rsbench.simulate.regions import params
from rsbench.simulate.scene import YearView, calendar, simulated

SPEC = SimulatedSpec(
    seed=3, regions=3, train=1, val=1, test=1, size=64, years=(2020, 2022), scenes_per_year=4,
    sensors=("s2", "landsat"),
)  # fmt: skip


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_catalogue(SPEC, tmp_path_factory.mktemp("earth") / "sim")


@pytest.fixture(scope="module")
def url(catalogue: Path) -> Iterator[str]:
    with serve(catalogue) as base:
        yield base


def _pixels(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.tif")):
        with rasterio.open(path) as image:
            digest.update(str(path.relative_to(root)).encode() + image.read().tobytes())
    return digest.hexdigest()


def test_the_same_spec_gives_the_same_pixels(catalogue: Path, tmp_path: Path) -> None:
    again = write_catalogue(SPEC, tmp_path / "again", workers=1)
    assert _pixels(again) == _pixels(catalogue)
    small = SPEC.model_copy(update={"years": (2020, 2020), "sensors": ("s2",)})
    first, other = (
        write_catalogue(small.model_copy(update={"seed": seed}), tmp_path / str(seed))
        for seed in (3, 4)
    )
    assert _pixels(other) != _pixels(first)


def test_finished_is_left_alone_and_another_spec_is_refused(catalogue: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in catalogue.rglob("*")}
    write_catalogue(SPEC, catalogue)
    assert before == {p: p.stat().st_mtime_ns for p in catalogue.rglob("*")}
    with pytest.raises(InputError, match="another specification"):
        write_catalogue(SPEC.model_copy(update={"seed": 9}), catalogue)


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="something else"):
        write_catalogue(SPEC, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_an_interrupted_one_is_gone_on_with(
    catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls, lock = simulate_write._write_cog, [0], threading.Lock()

    def failing(*args: object, **kwargs: object) -> None:
        with lock:
            calls[0] += 1
            if calls[0] > 40:
                raise OSError("stopped")
        real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(simulate_write, "_write_cog", failing)
    with pytest.raises(OSError, match="stopped"):
        write_catalogue(SPEC, tmp_path / "sim")
    assert not list((tmp_path / "sim").rglob(".tmp-*"))
    assert not (tmp_path / "sim" / "catalog.json").exists()
    monkeypatch.setattr(simulate_write, "_write_cog", real)
    assert _pixels(write_catalogue(SPEC, tmp_path / "sim")) == _pixels(catalogue)


def test_progress_counts_every_scene(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    small = SPEC.model_copy(update={"years": (2020, 2020), "sensors": ("s2",)})
    write_catalogue(
        small, tmp_path / "sim", progress=lambda done, total: seen.append((done, total))
    )
    assert seen[0] == (0, 12)
    assert seen[-1] == (12, 12)


def test_regions_lie_on_real_grids_and_splits_differ() -> None:
    spec = SimulatedSpec(seed=20170328)
    regions = simulated_regions(spec)
    assert [r.name for r in regions] == [f"sim-{i:02d}" for i in range(1, 25)]
    assert [r.split for r in regions] == ["train"] * 12 + ["val"] * 3 + ["test"] * 9
    assert len({r.tile for r in regions}) == 24
    for region in regions:
        assert lattice_problem(region.tile, region.epsg, region.origin, region.size * 10) is None
    drawn = {
        split: [params(spec, r) for r in regions if r.split == split] for split in ("train", "test")
    }
    assert min(p.clear_speed for p in drawn["test"]) > 3.1
    assert max(p.clear_speed for p in drawn["train"]) < 3.5
    assert max(p.rotation for p in drawn["test"]) < min(p.rotation for p in drawn["train"])
    assert min(abs(p.season) for p in drawn["test"]) > max(abs(p.season) for p in drawn["train"])


def test_the_real_client_finds_what_is_there(url: str) -> None:
    region = simulated_regions(SPEC)[0]
    client = Client.open(url)
    found = list(
        client.search(
            collections=["sentinel-2-l2a"],
            datetime="2021-01-01/2021-12-31",
            query={"s2:mgrs_tile": {"eq": region.tile}},
            sortby="+properties.datetime",
        ).items()
    )
    wanted = calendar(SPEC, region.name, "s2", 2021)
    assert len(found) == len(wanted) + sum(bool(scene.older) for scene in wanted)
    item = found[0]
    assert item.properties["s2:processing_baseline"] in ("02.14", "03.01", "05.00")
    assert item.properties["rsbench:simulated"] == "simulated-earth@1"
    assert item.properties["proj:code"] == f"EPSG:{region.epsg}"
    assert set(item.assets) == {"B02", "B03", "B04", "B08", "SCL"}
    assert item.properties["eo:cloud_cover"] <= 100


def test_pixels_over_http_are_the_rendered_pixels(url: str) -> None:
    region = simulated_regions(SPEC)[0]
    scene = calendar(SPEC, region.name, "s2", 2022)[2]
    frame = YearView(simulated(SPEC, region.name), "s2", 2022).render(scene)
    moment = scene.when.isoformat().replace("+00:00", "Z")
    item = next(
        iter(Client.open(url).search(collections=["sentinel-2-l2a"], datetime=moment).items())
    )
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        for band, values in zip(("B02", "B03", "B04", "B08"), frame.values, strict=True):
            with rasterio.open(item.assets[band].href) as image:
                assert image.profile["tiled"]
                assert image.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
                assert image.crs.to_epsg() == region.epsg
                assert tuple(image.transform)[:6] == region.grid().transform
                np.testing.assert_array_equal(image.read(1), values)
        with rasterio.open(item.assets["SCL"].href) as image:
            assert image.res == (20.0, 20.0)
            np.testing.assert_array_equal(image.read(1), frame.mask)


def test_numbers_jump_by_a_thousand_at_baseline_0400() -> None:
    spec = SimulatedSpec(seed=20170328, size=64)
    sim = simulated(spec, "sim-08")  # a desert: what changes is not the ground
    level = {}
    for year in (2021, 2022, 2023):
        view = YearView(sim, "s2", year)
        for scene in calendar(spec, "sim-08", "s2", year):
            frame = view.render(scene)
            clear = np.isin(frame.mask, (4, 5)).repeat(2, axis=0).repeat(2, axis=1)
            if clear.mean() > 0.3:
                late = float(scene.baseline) >= 4
                level.setdefault(late, []).append(float(np.median(frame.values[0][clear])))
    assert 800 < np.median(level[True]) - np.median(level[False]) < 1200


def test_an_older_processing_gives_other_pixels() -> None:
    spec = SimulatedSpec(seed=20170328, size=64)
    for region in simulated_regions(spec):
        for year in range(2017, 2022):
            for scene in calendar(spec, region.name, "s2", year):
                if scene.older:
                    view = YearView(simulated(spec, region.name), "s2", year)
                    new, old = view.render(scene), view.render(scene, older=True)
                    assert float(scene.baseline) >= 4 > float(scene.older)
                    valid = (new.values > 0) & (old.values > 0)
                    assert np.median(new.values[valid].astype(int) - old.values[valid]) > 700
                    np.testing.assert_array_equal(new.mask, old.mask)
                    return
    pytest.fail("there is no reprocessed scene")


def test_landsat_is_on_its_own_grid_with_its_own_words(catalogue: Path) -> None:
    region = simulated_regions(SPEC)[0]
    grid = sensor_grid(region, "landsat")
    assert grid.transform[2] % 30 == 15
    assert grid.transform[5] % 30 == 15
    west, north = grid.transform[2], grid.transform[5]
    assert west <= region.origin[0] < west + 30
    assert north - 30 < region.origin[1] <= north
    assert west + 30 * grid.width >= region.origin[0] + 640
    path = next((catalogue / "landsat-c2-l2" / region.name).glob("*/red.tif"))
    with rasterio.open(path) as image, rasterio.open(path.with_name("qa_pixel.tif")) as mask:
        assert image.shape == mask.shape == (grid.height, grid.width)
        values, words = image.read(1), mask.read(1)
    clear = (words & 0b11111) == 0
    if clear.any():
        reflectance = values[clear] * 2.75e-5 - 0.2
        assert reflectance.min() > -0.05
        assert reflectance.max() < 0.9


def test_it_is_also_a_static_catalogue(catalogue: Path) -> None:
    root = pystac.Catalog.from_file(str(catalogue / "catalog.json"))
    items = list(root.get_items(recursive=True))
    assert len(items) == len(list(catalogue.rglob("SCL.tif"))) + len(
        list(catalogue.rglob("qa_pixel.tif"))
    )
    asset = items[0].assets["SCL" if "SCL" in items[0].assets else "qa_pixel"]
    assert Path(asset.get_absolute_href() or "").is_file()
    assert json.loads((catalogue / ".simulated.json").read_text())["complete"]
