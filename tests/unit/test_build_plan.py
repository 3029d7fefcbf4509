from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from build_fixtures import (
    ORIGIN,
    TILE,
    random_folder,
    recipe,
    region,
    simulated_recipe,
    write_scene,
)
from support.stac_server import serve

from rsbench.build.engine.builder import build
from rsbench.build.plan.plan import Lock, describe, diff, make_plan
from rsbench.build.plan.scenes import sensor_grid
from rsbench.catalog import load_sensor
from rsbench.core.digest import sha256_json
from rsbench.core.errors import InputError, SchemaError, UnknownName
from rsbench.simulate.api import write_catalogue


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_folder(tmp_path_factory.mktemp("stac"))


def flat(lock: Lock, name: str = "west", year: int = 2021) -> list[str]:
    return [item.id for item in lock.items(name, "s2", year)]


def scene(root: Path, name: str, **options: object) -> None:
    band = {b: np.full((96, 96), 500, np.uint16) for b in ("B02", "B03")}
    scl = np.full((48, 48), 4, np.uint8)
    when = str(options.pop("when", "2021-06-01T10:00:00Z"))
    write_scene(root, name, when, band, scl, **options)  # type: ignore[arg-type]


def test_folder_and_server_give_the_same_scenes(folder: Path) -> None:
    from_folder = make_plan(recipe(), provider=str(folder))
    with serve(folder) as url:
        served = make_plan(recipe(), provider=url)
    assert flat(from_folder) == flat(served) == ["S2_2021_0", "S2_2021_1", "S2_2021_2"]
    item = served.items("west", "s2", 2022)[0]
    assert (item.offset, item.baseline, item.tile) == (-1000, "04.00", TILE)
    assert item.assets["B02"].href == "S2_2022_0/B02.tif"
    assert from_folder.catalogue != served.catalogue
    assert (from_folder.digest, diff(from_folder, served)) == (served.digest, ())
    assert from_folder.to_json()["regions"] == served.to_json()["regions"]


def test_a_lock_of_the_simulated_earth_does_not_depend_on_how_it_is_read(tmp_path: Path) -> None:
    """From the cache, from a folder of one's own and from a server of that folder."""
    chosen = simulated_recipe()
    assert chosen.simulated is not None
    root = write_catalogue(chosen.simulated, tmp_path / "earth")
    locks = [make_plan(chosen), make_plan(chosen, provider=str(root))]
    with serve(root) as url:
        locks.append(make_plan(chosen, provider=url))
    assert len({lock.catalogue for lock in locks}) == 3
    assert len({lock.digest for lock in locks}) == 1


def test_a_lock_of_an_older_version_keeps_its_digest_and_builds(
    folder: Path, tmp_path: Path
) -> None:
    """Such locks name the files as a server offered them, below ``files/``."""
    lock = make_plan(recipe(), provider=str(folder))
    value = lock.to_json()
    del value["source"]
    for items in (i for s in value["regions"].values() for y in s.values() for i in y.values()):
        for item in items:
            for part in ("assets", "masks"):
                item[part] = {b: [f"files/{h}", n] for b, (h, n) in item[part].items()}
    (tmp_path / "old.json").write_text(json.dumps(value | {"catalogue": "http://127.0.0.1:1"}))
    old = Lock.load(tmp_path / "old.json")
    del value["catalogue"]
    assert old.digest == sha256_json(value) != lock.digest
    with serve(folder) as url:
        built = [
            build(recipe(), tmp_path / name, lock=old, provider=place)
            for name, place in (("a", str(folder)), ("b", url))
        ]
    assert {made.digest for made in built} == {build(recipe(), tmp_path / "c", lock=lock).digest}


def test_digest_knows_no_port(folder: Path) -> None:
    locks = []
    for _ in range(2):
        with serve(folder) as url:
            locks.append(make_plan(recipe(), provider=url))
    assert locks[0].catalogue != locks[1].catalogue
    assert locks[0].digest == locks[1].digest
    assert diff(*locks) == ()


def test_lock_survives_a_file(folder: Path, tmp_path: Path) -> None:
    lock = make_plan(recipe(), provider=str(folder))
    for name in ("a.json", "a.json.gz"):
        lock.save(tmp_path / name)
        read = Lock.load(tmp_path / name)
        assert (read, read.digest) == (lock, lock.digest)
    first = (tmp_path / "a.json.gz").read_bytes()
    lock.save(tmp_path / "a.json.gz")
    assert (tmp_path / "a.json.gz").read_bytes() == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.json.gz"]


def test_digest_follows_what_decides_the_pixels(folder: Path) -> None:
    lock = make_plan(recipe(), provider=str(folder))
    values = json.loads(json.dumps(lock.to_json()))
    digests = {lock.digest}
    for change, odd in (("offset", 7), ("id", "another")):
        other = json.loads(json.dumps(values))
        other["regions"]["west"]["s2"]["2021"][0][change] = odd
        path = folder.parent / f"{change}.json"
        path.write_text(json.dumps(other))
        changed = Lock.load(path)
        digests.add(changed.digest)
        assert diff(lock, changed)
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", InputError),
        ("[]", InputError),
        ('{"schema": 99}', SchemaError),
        ('{"schema":1}', InputError),
    ],
)
def test_a_file_that_is_no_lock_is_refused(
    text: str, error: type[Exception], tmp_path: Path
) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(error):
        Lock.load(path)
    with pytest.raises(InputError, match="cannot be read"):
        Lock.load(tmp_path / "absent.json")


def test_copies_of_one_datatake_stand_together_newest_first(tmp_path: Path) -> None:
    take = "GS2A_20210601T100000_000001"
    scene(tmp_path, "a-old", baseline="02.14", datatake=f"{take}_N02.14")
    scene(tmp_path, "b-new", baseline="05.00", datatake=f"{take}_N05.00")
    scene(
        tmp_path, "c-newest", baseline="05.00", datatake=f"{take}_N05.00",
        generated="2024-01-01T00:00:00Z",
    )  # fmt: skip
    scene(tmp_path, "z-first", when="2021-05-01T10:00:00Z")
    lock = make_plan(recipe(years=(2021, 2021)), provider=str(tmp_path))
    assert flat(lock) == ["z-first", "c-newest", "b-new", "a-old"]
    assert len({i.datatake for i in lock.items("west", "s2", 2021)}) == 2


def test_copies_without_a_datatake_are_one_observation(tmp_path: Path) -> None:
    for name, when in (("a_0", "05-01"), ("a_1", "05-01"), ("b_0", "06-01")):
        scene(tmp_path, name, when=f"2021-{when}T10:00:00Z", **{"s2:datatake_id": None})
    lock = make_plan(recipe(years=(2021, 2021)), provider=str(tmp_path))
    assert flat(lock) == ["a_1", "a_0", "b_0"]
    assert len({i.datatake for i in lock.items("west", "s2", 2021)}) == 2


def test_copies_of_a_sensor_without_datatakes_are_one_observation(tmp_path: Path) -> None:
    """Same platform, time and tile; another platform is another observation."""
    sensor = load_sensor("s2")
    at = sensor.provider("planetary-computer").model_copy(update={"datatake_property": None})
    providers = {**sensor.providers, "planetary-computer": at}
    own = recipe(years=(2021, 2021), sensors=(sensor.model_copy(update={"providers": providers}),))
    for name, platform in (("a_0", "one"), ("a_1", "one"), ("b", "two"), ("c", None)):
        scene(tmp_path, name, platform=platform)
    found = make_plan(own, provider=str(tmp_path)).items("west", "s2", 2021)
    takes = {item.id: item.datatake for item in found}
    assert takes["a_0"] == takes["a_1"] == "one_20210601T100000_33TVL"
    assert takes["b"] == "two_20210601T100000_33TVL"
    assert takes["c"] == "c"


@pytest.mark.parametrize(
    ("west", "east", "found"),
    [(14.0, 16.0, True), (14.0, -170.0, True), (-346.0, -344.0, True), (170.0, -170.0, False)],
)
def test_boxes_may_cross_the_antimeridian(
    west: float, east: float, found: bool, tmp_path: Path
) -> None:
    scene(tmp_path, "a")
    scene(tmp_path, "b", when="2021-07-01T10:00:00Z")
    path = tmp_path / "b" / "item.json"
    item = json.loads(path.read_text())
    path.write_text(json.dumps(item | {"bbox": [west, 45.0, east, 46.0]}))
    lock = make_plan(recipe(years=(2021, 2021)), provider=str(tmp_path))
    assert flat(lock) == ["a", "b"][: 1 + found]


def test_scenes_left_out_for_a_property_they_lack_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scene(tmp_path, "a")
    scene(tmp_path, "b", **{"eo:cloud_cover": None})
    lock = make_plan(recipe(years=(2021, 2021), max_cloud=80), provider=str(tmp_path))
    assert flat(lock) == ["a"]
    assert "1 of 2 items of s2 in west state no eo:cloud_cover and are left out" in caplog.text


def test_one_tile_per_region(tmp_path: Path) -> None:
    scene(tmp_path, "a", tile="33TVL")
    scene(tmp_path, "b", tile="33TVL", when="2021-06-11T10:00:00Z")
    scene(tmp_path, "c", tile="33TVK")
    named = make_plan(recipe(years=(2021, 2021)), provider=str(tmp_path))
    assert flat(named) == ["a", "b"]
    free = (region("west", ORIGIN, "test", tile=""),)
    chosen = make_plan(recipe(years=(2021, 2021), regions=free), provider=str(tmp_path))
    assert flat(chosen) == ["a", "b"]


def test_months_and_clouds_choose(tmp_path: Path) -> None:
    scene(tmp_path, "may", when="2021-05-31T23:59:59Z")
    scene(tmp_path, "june")
    scene(tmp_path, "cloudy", **{"eo:cloud_cover": 95.0})
    both = make_plan(recipe(years=(2021, 2021), max_cloud=80), provider=str(tmp_path))
    assert flat(both) == ["may", "june"]
    one = make_plan(recipe(years=(2021, 2021), months=(6,), max_cloud=80), provider=str(tmp_path))
    assert flat(one) == ["june"]


def test_composites_are_dated_by_their_beginning(tmp_path: Path) -> None:
    scene(tmp_path, "a")
    path = tmp_path / "a" / "item.json"
    item = json.loads(path.read_text())
    item["properties"] |= {"datetime": None, "start_datetime": "2021-02-26T00:00:00Z"}
    path.write_text(json.dumps(item))
    lock = make_plan(recipe(years=(2021, 2021)), provider=str(tmp_path))
    assert lock.items("west", "s2", 2021)[0].datetime == "2021-02-26T00:00:00Z"


def test_a_scene_without_baseline_stops_the_plan(tmp_path: Path) -> None:
    scene(tmp_path, "a", baseline=None)
    with pytest.raises(InputError, match="processing baseline of item a"):
        make_plan(recipe(years=(2021, 2021)), provider=str(tmp_path))


def test_no_scene_for_a_region_is_told(folder: Path) -> None:
    far = (region("nowhere", (ORIGIN[0] + 500_000, ORIGIN[1]), "test"),)
    with pytest.raises(InputError, match="no scene was found for nowhere"):
        make_plan(recipe(regions=far), provider=str(folder))


def test_links_out_of_the_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    scene(tmp_path / "cat", "a")
    path = tmp_path / "cat" / "collection.json"
    document = json.loads(path.read_text())
    document["links"].append({"rel": "item", "href": "../../outside/item.json"})
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="leads to no file inside"):
        make_plan(recipe(), provider=str(tmp_path / "cat"))


@pytest.mark.parametrize("provider", ["planetary-computr", "no/such/folder"])
def test_an_unknown_provider_is_told(provider: str) -> None:
    with pytest.raises(InputError) as caught:
        make_plan(recipe(), provider=provider)
    if "/" not in provider:
        assert isinstance(caught.value, UnknownName)
        assert "planetary-computer" in str(caught.value)


def test_an_unreachable_catalogue_is_an_os_error() -> None:
    with pytest.raises(OSError, match="cannot be searched"):
        make_plan(recipe(), provider="http://127.0.0.1:9/")


def test_subset_and_years(folder: Path) -> None:
    lock = make_plan(recipe(), provider=str(folder))
    part = lock.subset(["west"], (2022, 2022))
    assert list(part.units()) == [("west", 2022)]
    assert part.digest == lock.subset(["west"], (2022, 2022)).digest != lock.digest
    with pytest.raises(UnknownName):
        lock.subset(["wets"], None)
    with pytest.raises(InputError, match="the lock holds 2021 to 2022"):
        lock.subset(None, (2019, 2022))


def test_summary_counts_what_will_be_read(folder: Path) -> None:
    summary = describe(make_plan(recipe(), provider=str(folder)))
    assert (summary.regions, summary.units, summary.scenes, summary.empty_units) == (2, 4, 12, 0)
    # Two bands of 48² pixels at 1.72 bytes, classes of 24² at 0.16, per scene.
    assert summary.bytes == round(12 * (2 * 48**2 * 1.72 + 24**2 * 0.16))
    assert "2 regions, 4 region-years, 12 scenes" in str(summary)


def test_a_region_that_no_whole_number_of_pixels_fills_is_refused() -> None:
    with pytest.raises(InputError, match="no whole number"):
        sensor_grid(region("west", ORIGIN, "test", size=49), load_sensor("landsat"))


def test_a_lock_that_could_not_be_read_again_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rsbench.build.plan import lock as plan_lock

    lock = make_plan(recipe(), provider=str(random_folder(tmp_path / "stac", per_year=1)))
    monkeypatch.setattr(plan_lock, "_MAX_BYTES", 500)
    with pytest.raises(InputError, match="could not be read again"):
        lock.save(tmp_path / "lock.json.gz")
    assert {path.name for path in tmp_path.iterdir()} == {"stac"}
