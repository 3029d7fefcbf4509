"""The published layout of Sat-JEPA-Diff: files, years, scale, three splits and what they leak."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from build_fixtures import write_raster
from import_fixtures import importing
from support.shell import rsbench

from rsbench.build.importers.api import ImportOptions
from rsbench.build.importers.sat_jepa_layout import find_places
from rsbench.build.importers.splits import (
    Piece,
    as_published,
    by_region,
    by_year,
    kilometres,
    leaks,
)
from rsbench.core.errors import InputError
from rsbench.models.checkpoint import Footprint, require_unseen
from rsbench.store.read import open_store

import_sat_jepa_diff = importing("sat-jepa-diff")

NAMES = ("Cairo_Nile_Corridor_Egypt", "Istanbul_Turkey", "Mekong_Delta_Vietnam", "Sahara_Algeria")
YEARS = (2019, 2020, 2021, 2022)
TOLD = {"unit": "reflectance", "scale": 0.0001}
HEIGHT, WIDTH, PATCH = 40, 70, 16


def picture(name: str, year: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng([NAMES.index(name), year])
    return rng.integers(200, 4000, (3, HEIGHT, WIDTH)).astype(np.uint16)


def layout(
    root: Path, *, names: tuple[str, ...] = NAMES, years: tuple[int, ...] = YEARS,
    embeddings: str = "embedding_", apart: float = 200_000.0, **options: Any,
) -> Path:  # fmt: skip
    """Lay out yearly images, and embeddings where a prefix is given, as they are published."""
    for number, name in enumerate(names):
        origin = (300_000 + apart * number, 5_000_020)
        for year in years:
            tail = f"{name}_{year}_10km.tif"
            write_raster(
                root / name / f"s2_rgb_{tail}", picture(name, year), origin=origin,
                **{"nodata": 0, **options},
            )  # fmt: skip
            if embeddings:
                codes = np.zeros((4, HEIGHT, WIDTH), np.float32)
                write_raster(root / name / f"{embeddings}{tail}", codes, origin=origin)
    return root


def test_a_split_by_region_holds_the_files_pixels_and_leaks_nothing(tmp_path: Path) -> None:
    source = layout(tmp_path / "in")
    made = import_sat_jepa_diff(source, tmp_path / "out", region_size=PATCH, **TOLD)
    store = open_store(made.path)
    assert store.validate() == []
    assert (store.recipe, store.regions, store.meta.step) == ("sat-jepa-diff", NAMES, "P1Y")
    assert [len(store.split(s)) for s in ("train", "val", "test")] == [2, 1, 1]
    assert set(store.meta.recipe["leaks"].values()) == {0.0}
    for name in NAMES:
        assert store.region(name).record.times == tuple(date(y, 7, 1) for y in YEARS)
        kept = store.read(name, "image")
        assert kept.shape == (4, 3, HEIGHT, WIDTH)
        for t, year in enumerate(YEARS):
            assert (kept[t] == picture(name, year)).all()
    meta = store.sensor("image")
    assert (meta.bands, meta.scale, meta.unit) == (("red", "green", "blue"), 1e-4, "reflectance")
    assert "0.0% are trained on themselves" in (made.path / "README.md").read_text()


@pytest.mark.parametrize("prefix", ["embedding_", "gee_embeddings_", ""])
def test_both_prefixes_of_embeddings_are_read_and_none_is_needed(
    prefix: str, tmp_path: Path
) -> None:
    places = find_places(layout(tmp_path, names=NAMES[:1], embeddings=prefix), ImportOptions())
    assert tuple(places[0].embeddings) == (YEARS if prefix else ())
    assert places[0].years == YEARS


def test_a_split_by_year_goes_forward(tmp_path: Path) -> None:
    source = layout(tmp_path / "in", names=NAMES[:2], embeddings="")
    store = open_store(
        import_sat_jepa_diff(source, tmp_path / "out", region_size=PATCH, split="time", **TOLD).path
    )
    assert store.recipe == "sat-jepa-diff-time"
    held = {
        s: {tuple(t.year for t in store.region(r).record.times) for r in store.split(s)}
        for s in ("train", "val", "test")
    }
    assert held == {"train": {(2019, 2020)}, "val": {(2020, 2021)}, "test": {(2021, 2022)}}
    assert store.meta.recipe["leaks"] == {
        "same": 0.0, "target_seen": 0.0, "ground_seen": 1.0, "beside": 1.0,
    }  # fmt: skip


def test_weights_trained_on_earlier_years_may_be_scored_on_later_ones(tmp_path: Path) -> None:
    source = layout(tmp_path / "in", names=NAMES[:2], embeddings="")
    store = open_store(
        import_sat_jepa_diff(source, tmp_path / "out", region_size=PATCH, split="time", **TOLD).path
    )
    trained = []
    for name in store.split("train"):
        entry = store.region(name)
        last = entry.times["image"][-1].isoformat()
        trained.append(Footprint.of(name, entry.grids["image"], last))
    note: Any = SimpleNamespace(model="m", regions=tuple(trained), dataset_digest=store.digest)
    require_unseen(note, store, "test")
    require_unseen(note, store, "val")
    with pytest.raises(InputError, match="trained on"):
        require_unseen(note, store, "train")
    late = tuple(Footprint(f.region, f.crs, f.bounds, "2022-07-01") for f in trained)
    unknown = tuple(Footprint(f.region, f.crs, f.bounds) for f in trained)
    for regions in (late, unknown):
        note.regions = regions
        with pytest.raises(InputError, match="trained on"):
            require_unseen(note, store, "test")


def test_the_published_split_stands_under_its_own_name_with_its_leaks(tmp_path: Path) -> None:
    source = layout(tmp_path / "in", names=NAMES[:2], years=YEARS[1:])
    made = import_sat_jepa_diff(source, tmp_path / "out", region_size=20, split="published", **TOLD)
    store = open_store(made.path)
    assert store.recipe == "sat-jepa-diff-published"
    # 2 regions × 2 pairs of years × 2 × 3 patches; the remainder of each image is dropped.
    count = [len(store.split(s)) for s in ("train", "val", "test")]
    assert count == [19, 5, 5]
    # The last fifth of the list in order lies in the last region's last year.
    name = "Istanbul_Turkey-r01c02-2021-test"
    assert {n.partition("-")[0] for n in store.split("test")} == {"Istanbul_Turkey"}
    assert name in store.split("test")
    kept = store.read(name, "image")
    for t, year in enumerate((2021, 2022)):
        assert (kept[t] == picture("Istanbul_Turkey", year)[:, 20:40, 40:60]).all()
    assert store.meta.recipe["leaks"]["same"] > 0.5
    assert store.meta.recipe["leaks"]["beside"] == 1.0
    text = (made.path / "README.md").read_text()
    assert "The split is `published`" in text
    assert "100.0% lie on such a patch or touch one" in text
    nothing = layout(tmp_path / "bare", names=NAMES[:2], embeddings="")
    with pytest.raises(InputError, match="lists no sample without"):
        import_sat_jepa_diff(nothing, tmp_path / "no", region_size=20, split="published", **TOLD)


# Splits ---------------------------------------------------------------------------------


def test_the_published_list_runs_by_region_year_row_and_column() -> None:
    pieces = [Piece(r, y, i, j) for j in (1, 0) for i in (0, 1) for y in (2, 1) for r in "ba"]
    splits = as_published(reversed(pieces))
    assert splits["test"] == (
        Piece("b", 2, 0, 0), Piece("b", 2, 0, 1), Piece("b", 2, 1, 0), Piece("b", 2, 1, 1),
    )  # fmt: skip
    assert set(splits["train"]) | set(splits["val"]) == set(pieces)
    assert not set(splits["train"]) & set(splits["val"])


def test_leaks_by_hand() -> None:
    train = [Piece("a", 2017, 0, 0), Piece("a", 2019, 5, 5)]
    for piece, expected in (
        (Piece("a", 2017, 0, 0), (1, 1, 1, 1)),  # itself
        (Piece("a", 2016, 0, 0), (0, 1, 1, 1)),  # its target was given
        (Piece("a", 2018, 5, 5), (0, 1, 1, 1)),
        (Piece("a", 2021, 5, 5), (0, 0, 1, 1)),  # other years of the patch
        (Piece("a", 2017, 4, 6), (0, 0, 0, 1)),  # beside one
        (Piece("a", 2017, 0, 2), (0, 0, 0, 0)),
        (Piece("b", 2017, 0, 0), (0, 0, 0, 0)),  # another region
    ):
        found = leaks({"train": train, "test": [piece]})
        assert tuple(found.values()) == expected, piece
    assert leaks({"train": train, "test": [*train, Piece("b", 1, 0, 0)]})["same"] == 0.6667


def test_regions_that_are_near_come_into_one_split() -> None:
    # A degree of longitude on the equator is 111 km; four are within 50 km of the next.
    assert kilometres((0.0, 0.0), (1.0, 0.0)) == pytest.approx(111.19, abs=0.01)
    near = {f"n{i}": (0.3 * i, 0.0) for i in range(4)}
    far = {f"f{i}": (10.0 * i, 40.0) for i in range(1, 17)}
    splits = by_region({**near, **far})
    assert len({splits[n] for n in near}) == 1
    groups = [splits["n0"], *(splits[n] for n in far)]
    assert [groups.count(s) for s in ("train", "val", "test")] == [8, 2, 7]
    assert by_region(dict(reversed({**near, **far}.items()))) == splits
    with pytest.raises(InputError, match="form 2 groups"):
        by_region({**near, "f": (50.0, 0.0)})


def test_years_of_a_forward_split() -> None:
    years = tuple(range(2017, 2025))
    assert by_year(years) == {
        "train": tuple(range(2017, 2023)), "val": (2022, 2023), "test": (2023, 2024),
    }  # fmt: skip
    with pytest.raises(InputError, match="3 years"):
        by_year(years[:3])


# Bad input ------------------------------------------------------------------------------


def _bare(tmp_path: Path, **options: Any) -> Path:
    return layout(tmp_path / "in", names=NAMES[:1], embeddings="", **options)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_scale_is_stated_or_the_command_is_told(dtype: type, tmp_path: Path) -> None:
    source = layout(tmp_path / "in", names=NAMES[:1], embeddings="")
    for path in source.glob("*/*.tif"):
        path.unlink()
    for year in YEARS:
        name = f"s2_rgb_{NAMES[0]}_{year}_10km.tif"
        write_raster(source / NAMES[0] / name, picture(NAMES[0], year).astype(dtype), nodata=0)
    for unit in (None, "reflectance"):
        with pytest.raises(InputError, match="no value scale is stated") as caught:
            import_sat_jepa_diff(source, tmp_path / "out", unit=unit)
        assert f"import-dataset sat-jepa-diff {source} --out" in caught.value.remedy
        assert "--unit reflectance --scale 0.0001" in caught.value.remedy
    with pytest.raises(InputError, match="its median is"):
        import_sat_jepa_diff(
            layout(tmp_path / "far", embeddings=""), tmp_path / "out", region_size=PATCH,
            unit="reflectance", scale=1.0,
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    def refused(text: str, **options: Any) -> None:
        with pytest.raises(InputError, match=text) as caught:
            import_sat_jepa_diff(
                source, tmp_path / "out", **{**TOLD, "region_size": PATCH, **options}
            )
        assert "\n" not in str(caught.value)

    source = _bare(tmp_path)
    folder = source / NAMES[0]
    refused("they form 1 groups")
    refused("patches of 64 px", region_size=64)
    refused("Did you mean published", split="publishd")
    wide = np.zeros((4, HEIGHT, WIDTH + 1), np.float32)
    write_raster(folder / f"embedding_{NAMES[0]}_2020_10km.tif", wide)
    refused("has 70×40 px and embedding_.*_2020_10km.tif has 71×40")
    for prefix, value in (("embedding_", 0), ("gee_embeddings_", 1)):
        codes = np.full((4, HEIGHT, WIDTH), value, np.float32)
        write_raster(folder / f"{prefix}{NAMES[0]}_2020_10km.tif", codes)
    refused("are both of 2020 and differ")
    for path in folder.glob("*embedding*"):
        path.unlink()
    (folder / f"s2_rgb_{NAMES[0]}_2020_10km.tif").rename(folder / "kept")
    refused("it has 2019, 2021, 2022, but not 2020")
    (folder / "kept").rename(folder / "s2_rgb_nameless.tif")
    refused("its name holds no _YYYY_")
    (folder / "s2_rgb_nameless.tif").unlink()
    for year in (2021, 2022):
        (folder / f"s2_rgb_{NAMES[0]}_{year}_10km.tif").unlink()
    refused("it has the year 2019 alone")
    write_raster(
        folder / f"s2_rgb_{NAMES[0]}_2020_10km.tif", np.ones((4, HEIGHT, WIDTH), np.uint16),
        nodata=0, origin=(300_000, 5_000_020),
    )  # fmt: skip
    refused("differ in bands: 3 and 4")
    for path in folder.iterdir():
        path.unlink()
    refused("none of its folders holds a s2_rgb_")


def test_regions_of_two_kinds_or_last_years_are_named(tmp_path: Path) -> None:
    source = layout(tmp_path / "in", names=NAMES[:1], embeddings="")
    layout(source, names=NAMES[1:2], embeddings="", nodata=9)
    with pytest.raises(InputError, match="differ in nodata"):
        import_sat_jepa_diff(source, tmp_path / "out", region_size=PATCH, **TOLD)
    source = layout(tmp_path / "other", names=NAMES[:1], embeddings="")
    layout(source, names=NAMES[1:2], embeddings="", years=(2017, *YEARS[:-1])[1:])
    with pytest.raises(InputError, match=r"ends in 2021, .* in 2022"):
        import_sat_jepa_diff(source, tmp_path / "out", region_size=PATCH, split="time", **TOLD)


# The command ----------------------------------------------------------------------------


def test_from_the_shell(tmp_path: Path) -> None:
    layout(tmp_path / "in", names=NAMES[:1])
    kind = ("import-dataset", "sat-jepa-diff", "in", "--out", "store", "--region-size", "16")
    refused = rsbench(tmp_path, *kind)
    assert refused.returncode == 2
    assert "--unit reflectance --scale 0.0001" in refused.stderr
    told = ("--unit", "reflectance", "--scale", "0.0001")
    wrong = rsbench(tmp_path, *kind, *told, "--dates", "x")
    assert (wrong.returncode, "Leave --dates out" in wrong.stderr) == (2, True)
    assert not (tmp_path / "store").exists()
    done = rsbench(tmp_path, *kind, *told, "--split", "time")
    assert done.returncode == 0, done.stderr
    shown = rsbench(tmp_path, "inspect", "store", "--json")
    assert json.loads(shown.stdout)["recipe"] == "sat-jepa-diff-time"
    other = rsbench(
        tmp_path, "import-dataset", "geotiff-series", "in", "--out", "x", "--split", "time"
    )
    assert (other.returncode, "Leave --split out" in other.stderr) == (2, True)
