from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from build_fixtures import (
    BANDS,
    expected,
    random_folder,
    recipe,
    shared_cache,
    simulated_recipe,
    write_raster,
    write_scene,
)
from support.stac_server import serve

from rsbench.build.engine import builder
from rsbench.build.engine.builder import build
from rsbench.build.plan.plan import Lock, make_plan
from rsbench.core.errors import InputError
from rsbench.store.read import open_store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_folder(tmp_path_factory.mktemp("stac"), per_year=5)


def test_pixels_equal_numpy_by_another_route(folder: Path, tmp_path: Path) -> None:
    result = build(recipe(), tmp_path / "out", provider=str(folder))
    store = open_store(result.path)
    assert store.validate() == []
    assert store.digest == result.digest
    for place in recipe().regions:
        values = store.read(place.name, "s2")
        number = store.read(place.name, "s2", array="n_valid")
        valid = store.read(place.name, "s2", array="valid")
        for t, year in enumerate((2021, 2022)):
            median, count = expected(folder, place, year)
            assert (values[t] == median).all()
            assert (number[t] == count).all()
            assert (valid[t] == (count > 0)).all()
    entry = store.region("west")
    assert entry.record.times == (date(2021, 7, 1), date(2022, 7, 1))
    assert store.meta.step == "P1Y"
    assert not (result.path / ".rsbench-journal").exists()


def test_halves_are_kept_for_test_regions_only(folder: Path, tmp_path: Path) -> None:
    store = open_store(build(recipe(), tmp_path / "out", provider=str(folder)).path)
    odd, even = (store.read("west", "s2", array=name) for name in ("odd", "even"))
    assert odd.shape == even.shape == (2, 2, 48, 48)
    assert (odd != even).any()
    with pytest.raises(Exception, match="odd"):
        store.read("east", "s2", array="odd")


def test_one_lock_gives_one_digest(folder: Path, tmp_path: Path) -> None:
    lock = make_plan(recipe(), provider=str(folder))
    made = [
        build(recipe(), tmp_path / str(i), lock=lock, codec=codec, workers=workers, engine=engine)
        for i, (codec, workers, engine) in enumerate(
            [("zstd", 1, "rasterio"), ("lz4", 3, "rasterio"), ("none", 2, "stackstac")]
        )
    ]
    assert len({result.digest for result in made}) == 1


def test_strips_change_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rsbench.build.engine import builder
    from rsbench.build.engine import unit as builder_unit

    lock = make_plan(recipe(), provider=str(folder))
    whole = build(recipe(), tmp_path / "a", lock=lock)
    monkeypatch.setattr(builder, "_MEMORY", 1)
    monkeypatch.setattr(builder_unit, "_STRIP_ROWS", 13)
    assert build(recipe(), tmp_path / "b", lock=lock).digest == whole.digest


def test_a_lock_holds_at_another_address(folder: Path, tmp_path: Path) -> None:
    with serve(folder) as url:
        lock = make_plan(recipe(), provider=url)
    # That server is gone; the same files are served elsewhere.
    with serve(folder) as url:
        served = build(recipe(), tmp_path / "a", lock=lock, provider=url)
    local = build(recipe(), tmp_path / "b", provider=str(folder))
    assert served.digest == local.digest


def test_the_same_build_again_does_nothing(folder: Path, tmp_path: Path) -> None:
    lock = make_plan(recipe(), provider=str(folder))
    first = build(recipe(), tmp_path / "out", lock=lock)
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    assert build(recipe(), tmp_path / "out", lock=lock, provider=str(folder)) == first
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")} == stamps


def test_a_store_keeps_its_lock_and_the_same_build_does_not_search_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = make_plan(recipe(), provider=str(folder))
    made = build(recipe(), tmp_path / "a", lock=lock)
    kept = Lock.load(made.path / "lock.json.gz")
    assert kept == lock
    assert open_store(made.path).meta.lock_digest == kept.digest
    assert build(recipe(), tmp_path / "b", lock=kept).digest == made.digest
    (made.path / "index.json").unlink()  # as if it had been killed before the end
    monkeypatch.setattr(builder, "make_plan", lambda *_, **__: pytest.fail("searched again"))
    (made.path / ".rsbench-journal").mkdir()
    assert build(recipe(), made.path).digest == made.digest
    with pytest.raises(InputError, match="other regions lies there"):
        build(recipe(), made.path, regions=["west"])
    with pytest.raises(InputError, match="other years lies there"):
        build(recipe(), made.path, years=(2021, 2021))


def test_another_catalogue_is_searched_though_a_lock_is_kept(folder: Path, tmp_path: Path) -> None:
    made = build(recipe(), tmp_path / "a", provider=str(folder))
    other = random_folder(tmp_path / "other", per_year=3)
    with pytest.raises(InputError, match="from another search"):
        build(recipe(), made.path, provider=str(other))


def test_a_damaged_lock_is_found(folder: Path, tmp_path: Path) -> None:
    made = build(recipe(), tmp_path / "a", provider=str(folder))
    file = made.path / "lock.json.gz"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert [finding.where for finding in open_store(made.path).validate()] == ["lock.json.gz"]


def test_another_build_in_the_same_place_is_refused(folder: Path, tmp_path: Path) -> None:
    build(recipe(), tmp_path / "out", provider=str(folder))
    before = sorted(p.name for p in (tmp_path / "out").iterdir())
    with pytest.raises(InputError, match="other years lies there"):
        build(recipe(years=(2021, 2021)), tmp_path / "out", provider=str(folder))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == before


def test_a_folder_with_other_things_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        build(recipe(), tmp_path, provider=str(folder))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_lock_of_another_recipe_is_refused(folder: Path, tmp_path: Path) -> None:
    lock = make_plan(recipe(), provider=str(folder))
    with pytest.raises(InputError, match="made for other bands, sensors"):
        build(recipe(bands={"s2": ("B02",)}), tmp_path / "out", lock=lock)


def test_some_regions_and_years_of_a_lock(folder: Path, tmp_path: Path) -> None:
    lock = make_plan(recipe(), provider=str(folder))
    made = build(recipe(), tmp_path / "out", lock=lock, regions=["west"], years=(2022, 2022))
    store = open_store(made.path)
    assert store.regions == ("west",)
    assert (store.read("west", "s2")[0] == expected(folder, recipe().regions[0], 2022)[0]).all()


def test_copies_of_a_datatake_count_once_and_complete_each_other(tmp_path: Path) -> None:
    half = np.full((48, 48), 4, np.uint8)
    left, right = half.copy(), half.copy()
    left[:, 12:], right[:, :10] = 0, 0  # the newest has data in the left part only
    take = "GS2A_20210601T100000_000001"
    for name, level, scl, when in (
        ("new", 700, left, "2023-01-01T00:00:00Z"),
        ("old", 500, right, "2021-01-01T00:00:00Z"),
    ):
        bands = {b: np.full((96, 96), level, np.uint16) for b in BANDS}
        write_scene(
            tmp_path / "c", name, "2021-06-01T10:00:00Z", bands, scl,
            datatake=f"{take}_N02.14", generated=when,
        )  # fmt: skip
    one = recipe(years=(2021, 2021), regions=(recipe().regions[0],))
    store = open_store(build(one, tmp_path / "out", provider=str(tmp_path / "c")).path)
    values = store.read("west", "s2")[0, 0]
    assert (store.read("west", "s2", array="n_valid") == 1).all()
    assert (values[:, :24] == 700).all()
    assert (values[:, 24:] == 500).all()


def test_scenes_that_are_nearly_all_cloud_are_not_read(tmp_path: Path) -> None:
    cloudy = np.full((48, 48), 9, np.uint8)
    cloudy[0, 0] = 4  # 4 of 48² pixels of the region: 0.2 %
    for name, scl, level in (("a", np.full_like(cloudy, 4), 300), ("b", cloudy, 900)):
        bands = {b: np.full((96, 96), level, np.uint16) for b in BANDS}
        write_scene(tmp_path / "c", name, f"2021-06-1{level // 300}T10:00:00Z", bands, scl)
    one = recipe(years=(2021, 2021), regions=(recipe().regions[0],))
    store = open_store(build(one, tmp_path / "out", provider=str(tmp_path / "c")).path)
    assert (store.read("west", "s2") == 300).all()
    assert (store.read("west", "s2", array="n_valid") == 1).all()


def test_a_year_without_scenes_is_nodata(folder: Path, tmp_path: Path) -> None:
    store = open_store(build(recipe(years=(2020, 2021)), tmp_path / "o", provider=str(folder)).path)
    assert not store.read("west", "s2", array="valid")[0].any()
    assert store.read("west", "s2", array="valid")[1].any()


def test_bands_of_coarser_pixels_are_repeated(tmp_path: Path) -> None:
    fine = np.full((96, 96), 500, np.uint16)
    scl = np.full((48, 48), 4, np.uint8)
    folder = write_scene(
        tmp_path / "c", "a", "2021-06-01T10:00:00Z", {"B02": fine, "B11": fine}, scl
    )
    coarse = np.arange(48 * 48, dtype=np.uint16).reshape(48, 48) + 1
    write_raster(folder / "B11.tif", coarse, gsd=20.0)
    x, y = recipe().regions[0].origin
    odd = recipe().regions[0].model_copy(update={"origin": (x + 10, y - 10)})
    one = recipe(years=(2021, 2021), bands={"s2": ("B02", "B11")}, regions=(odd,))
    for engine in ("rasterio", "stackstac"):
        out = tmp_path / engine
        store = open_store(build(one, out, provider=str(tmp_path / "c"), engine=engine).path)
        wanted = np.kron(coarse, np.ones((2, 2), np.uint16))[1:49, 1:49]
        assert (store.read("west", "s2")[0, 1] == wanted).all()


def test_simulated_catalogue_is_built_through_the_same_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", shared_cache())
    chosen = simulated_recipe()
    told: list[tuple[str, int, int]] = []
    lock = make_plan(chosen)
    first = build(chosen, tmp_path / "a", lock=lock, progress=lambda *a: told.append(a))
    second = build(chosen, tmp_path / "b", codec="lz4", engine="stackstac")
    assert first.digest == second.digest
    store = open_store(first.path)
    assert store.simulated
    assert store.meta.simulation is not None
    assert told[-1] == ("region-years", 9, 9)
    # The offset of January 2022 is gone: the years before and after are alike.
    medians = [np.median(store.read(r, "s2"), axis=(1, 2, 3)) for r in store.regions]
    assert (np.abs(np.diff(medians, axis=1)) < 500).all()
