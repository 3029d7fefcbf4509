"""Importers by name: ours, a third party's, options that one does not take."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from import_fixtures import importing
from third_party import install, rsbench

from rsbench.build.importers.api import Importer, ImportOptions, ImportRequest
from rsbench.build.importers.registry import IMPORTERS, import_dataset
from rsbench.core.errors import InputError, UnknownName
from rsbench.core.plugins import BrokenPlugIn
from rsbench.store.read import open_store

OURS = ("ahb", "cia", "geotiff-pairs", "geotiff-series", "geotiff-triplets", "lgc",
        "netcdf-series", "sat-jepa-diff")  # fmt: skip
GROUP = "rsbench.importers"

GREY = """
from datetime import date
import numpy as np
from rsbench.build.importers.api import Written, imported_meta
from rsbench.build.importers.blocks import cut
from rsbench.core.grid import Grid
from rsbench.store.layout import RegionRecord, SensorArrays, SensorMeta
from rsbench.store.write import write_region

META = SensorMeta(name="grey", bands=("grey",), unit="display", dtype="uint8", scale=1.0,
                  offset=0.0, nodata=0.0, gsd=10.0, value_range=(0.0, 255.0), display=None)

class GreyArrays:
    title, takes, reasons = "arrays named YYYY.npy", frozenset({"region_size"}), {}

    def prepare(self, request):
        return Prepared(request, {int(p.stem): np.load(p) for p in request.folder().glob("*.npy")})

class Prepared:
    def __init__(self, request, images):
        self.request, self.times = request, tuple(date(year, 7, 1) for year in sorted(images))
        self.images = np.stack([images[t.year] for t in self.times])[:, None]

    def write(self, root):
        _, _, height, width = self.images.shape
        whole, names = Grid("EPSG:32633", (10.0, 0.0, 5e5, 0.0, -10.0, 5e6), height, width), []
        for block in cut(height, width, self.request.options.region_size):
            rows, columns = block.window.slices
            values = self.images[:, :, rows, columns]
            valid = (values != 0).all(axis=1)
            grid = whole.window(block.window)
            arrays = SensorArrays(values, valid, valid.astype(np.uint16), self.times, grid)
            names.append(f"r{block.row}c{block.column}")
            record = RegionRecord(names[-1], block.split, {}, self.times)
            write_region(root, record, {"grey": arrays}, {"grey": META})
        recipe = {"name": self.request.name, "importer": self.request.importer}
        return Written(imported_meta("series", recipe, {"grey": META}, step="P1Y",
                                     preset="fixed", protocol="year1"), names)

grey = GreyArrays()
"""


def test_our_importers_are_registered_and_take_known_options() -> None:
    found = IMPORTERS.all()
    assert set(OURS) <= set(found)
    known = {f.name for f in fields(ImportOptions)}
    for name in OURS:
        importer = found[name]
        assert isinstance(importer, Importer)
        assert importer.takes <= known
        assert set(importer.reasons) == known - importer.takes, name


def test_a_third_party_adds_an_importer(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    install(packages, "greys", GROUP, {"grey-arrays": "greys:grey"}, GREY)
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    images = {year: rng.integers(0, 255, (32, 200)).astype(np.uint8) for year in (2019, 2020)}
    for year, image in images.items():
        np.save(tmp_path / "in" / f"{year}.npy", image)
    listed = rsbench(tmp_path, "import-dataset", "--help", packages=packages)
    assert "arrays named YYYY.npy" in listed.stdout
    assert all(name in listed.stdout for name in OURS)
    wanted = ("import-dataset", "grey-arrays", "in", "--out", "out", "--region-size", "32")
    refused = rsbench(tmp_path, *wanted, "--unit", "display", packages=packages)
    assert (refused.returncode, "Leave --unit out: grey-arrays takes --region-size"
            in refused.stderr) == (2, True)  # fmt: skip
    near = rsbench(tmp_path, wanted[0], "grey-aray", *wanted[2:], packages=packages)
    assert (near.returncode, "Did you mean grey-arrays" in near.stderr) == (2, True)
    done = rsbench(tmp_path, *wanted, packages=packages)
    assert done.returncode == 0, done.stderr
    store = open_store(tmp_path / "out")
    assert store.validate() == []
    assert store.digest in done.stdout
    assert (store.read("r0c0", "grey")[:, 0] == [i[:, :32] for i in images.values()]).all()


def test_packages_that_are_no_importer_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "wrongs", GROUP, {"wrong": "wrongs:x", "cia": "wrongs:x"}, "x = 3\n")
    install(tmp_path, "fails", GROUP, {"fails": "fails:x"}, "raise RuntimeError('no licence')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=r"wrongs:x is a int without title.*uninstall wrongs"):
        IMPORTERS.get("wrong")
    broken = IMPORTERS.all()["fails"]
    assert isinstance(broken, BrokenPlugIn)
    assert broken.reason == "fails:x raises RuntimeError: no licence"
    assert isinstance(IMPORTERS.get("cia"), Importer)  # no package replaces one of ours
    with pytest.raises(UnknownName, match="Did you mean wrong"):
        IMPORTERS.get("wron")


@pytest.mark.parametrize(
    ("importer", "options", "says"),
    [
        ("cia", {"bands": ("red",), "dates": "x"}, "with --bands and --dates: unit, bands, dates"),
        ("cia", {"unit": "kelvin"}, "--unit kelvin: this set is reflectance"),
        ("lgc", {"coarse_scale": 1.0}, "one scale and one nodata hold for both sensors"),
        ("geotiff-series", {"coarse_gsd": 3.0}, "it has no coarse sensor. Leave --coarse-gsd out"),
        ("sat-jepa-diff", {"dates": "x"}, "the year stands in the names of the layout"),
        ("geotiff-triplets", {"split": "time"}, "its split follows from places or dates"),
        ("geotiff-series", {"scale": float("nan")}, "--scale nan: a scale is a finite number"),
        ("geotiff-series", {"scale": float("inf")}, "--scale inf: a scale is a finite number"),
        ("geotiff-series", {"scale": 0.0}, "--scale 0: a scale is a finite number"),
        ("geotiff-series", {"offset": float("nan")}, "--offset nan: an offset is a finite number"),
        ("geotiff-triplets", {"coarse_scale": 0.0}, "--coarse-scale 0: a scale is a finite"),
        ("cia", {"value_range": (0.0, 1.0)}, "reflectance lies in 0 … 1"),
        ("geotiff-triplets", {"coarse_gsd": -1.0}, "--coarse-gsd -1: a pixel has a positive size"),
    ],
)
def test_options_that_are_not_taken_or_cannot_be(
    importer: str, options: dict[str, object], says: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        importing(importer)(tmp_path, tmp_path / "out", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_command_to_type_has_every_option_already_given(tmp_path: Path) -> None:
    options = ImportOptions(unit="display", scale=1 / 255, bands=("a", "b c"), region_size=32)
    request = ImportRequest("geotiff-series", Path("my in"), Path("out"), options)
    assert request.command(unit="reflectance", nodata=0.0) == (
        "rsbench import-dataset geotiff-series 'my in' --out out --unit reflectance "
        f"--scale {1 / 255} --nodata 0.0 --bands 'a,b c' --region-size 32"
    )


def test_a_source_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    for name in OURS:
        with pytest.raises(InputError, match="there is no such folder"):
            import_dataset(name, tmp_path / "no", tmp_path / "out", ImportOptions())
