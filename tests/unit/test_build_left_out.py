"""Items that a plan or a build leaves out: counted, named, and never without a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from build_fixtures import BANDS, recipe, region, write_collection, write_scene
from support.stac_server import serve
from test_build_labels import utm_map
from test_build_pairs import photo
from test_build_pairs import recipe as pairs_recipe
from test_build_pairs import scene as pairs_scene

from rsbench.build.engine import left
from rsbench.build.engine.builder import build
from rsbench.build.engine.workers import Answer, Order, carry_out
from rsbench.build.plan.omissions import LeavingOut
from rsbench.build.plan.plan import Lock, describe, make_plan
from rsbench.build.plan.search import ApiCatalogue, Query
from rsbench.cli.build import BuildRequest, build_command
from rsbench.core.errors import InputError, ItemFailed, UnitFailed
from rsbench.store.export.card import write_card
from rsbench.store.read import open_store

YEAR = recipe(years=(2021, 2021), max_cloud=80)
SCENES = [f"S2_2021_{month}" for month in (3, 4, 5, 6, 7)]


def scene(root: Path, name: str, month: int, **options: Any) -> Path:
    """A clear scene of one day of a month; its band values are a hundred times the month."""
    bands = {band: np.full((96, 96), 100 * month, np.uint16) for band in BANDS}
    scl = np.full((48, 48), 4, np.uint8)
    return write_scene(root, name, f"2021-{month:02d}-10T10:00:00Z", bands, scl, **options)


def edit(folder: Path, **changes: Any) -> None:
    """Change keys of the item in a folder."""
    path = folder / "item.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five scenes of one year."""
    for name in SCENES:
        scene(tmp_path / "stac", name, int(name[-1]))
    return tmp_path / "stac"


def told(lock: Lock) -> dict[str, int]:
    """Reason → number of items."""
    return {one["reason"]: one["items"] for one in describe(lock).left}


def ids(lock: Lock) -> list[str]:
    return [item.id for item in lock.items("west", "s2", 2021)]


def test_the_plan_says_how_many_items_are_left_out_and_why(folder: Path, tmp_path: Path) -> None:
    scene(folder, "no-cloud", 8, **{"eo:cloud_cover": None})
    scene(folder, "neighbour", 9, **{"proj:code": "EPSG:32632"})
    lock = make_plan(YEAR, provider=str(folder), leaving=LeavingOut(frozenset(SCENES[:1])))
    assert told(lock) == {
        "excluded by --exclude": 1,
        "the item states EPSG:32632, the region lies in EPSG:32633": 1,
        "the item states no eo:cloud_cover": 1,
    }
    assert ids(lock) == SCENES[1:]
    assert "left out of s2: 1 (no-cloud): the item states no eo:cloud_cover" in str(describe(lock))
    lock.save(tmp_path / "lock.json.gz")
    kept = Lock.load(tmp_path / "lock.json.gz")
    assert (kept.left, kept.digest) == (lock.left, lock.digest)
    assert {one.sensor for one in kept.left["west"]} == {"s2"}


def test_what_is_left_out_does_not_depend_on_how_the_catalogue_is_served(folder: Path) -> None:
    scene(folder, "no-cloud", 8, **{"eo:cloud_cover": None})
    with serve(folder) as url:
        served = make_plan(YEAR, provider=url)
    asked = make_plan(YEAR, provider=str(folder))
    assert served.left == asked.left
    assert served.digest == asked.digest


def test_tiles_beside_the_one_with_most_items_are_counted(folder: Path) -> None:
    scene(folder, "beside", 8, tile="33TVK")
    free = YEAR.model_copy(
        update={"regions": (region("west", (500_000, 5_000_020), "test", tile=""),)}
    )
    lock = make_plan(free, provider=str(folder))
    assert told(lock) == {"the item is of tile 33TVK, 33TVL has most items": 1}


@pytest.mark.parametrize("fault", ["asset", "baseline", "time"])
def test_a_bad_item_stops_the_plan_until_it_is_excluded(fault: str, folder: Path) -> None:
    bad = folder / SCENES[2]
    item = json.loads((bad / "item.json").read_text())
    if fault == "asset":
        edit(bad, assets={k: v for k, v in item["assets"].items() if k != "SCL"})
    elif fault == "baseline":
        edit(bad, properties=item["properties"] | {"s2:processing_baseline": "?"})
    else:
        edit(bad, properties=item["properties"] | {"datetime": "soon"})
    with pytest.raises(InputError, match=f"--exclude {SCENES[2]}"):
        make_plan(YEAR, provider=str(folder))
    lock = make_plan(YEAR, provider=str(folder), leaving=LeavingOut(frozenset({SCENES[2]})))
    assert ids(lock) == [name for name in SCENES if name != SCENES[2]]
    tolerant = make_plan(YEAR, provider=str(folder), leaving=LeavingOut(incomplete=True))
    assert tolerant.digest == lock.digest
    assert [one.items for one in tolerant.left["west"]] == [(SCENES[2],)]


def test_an_item_that_comes_twice_can_be_left_out() -> None:
    def pages(*names: str) -> Any:
        item = {"type": "Feature", "stac_version": "1.0.0", "properties": {}, "assets": {}}
        return {"features": [{**item, "id": name} for name in names]}

    class Client:
        def search(self, **_: Any) -> Client:
            return self

        def pages_as_dicts(self) -> list[Any]:
            return [pages("a", "b"), pages("b", "c")]

    def found(leaving: LeavingOut) -> list[tuple[str, str]]:
        catalogue = ApiCatalogue("https://stac.example.org", leaving)
        catalogue._client = Client()
        query = Query("c", ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0)), (2021, 2021), {})
        return [(item["id"], item.get("_left", "")) for item in catalogue.search(query)]

    with pytest.raises(InputError, match=r"1 items came twice .* --exclude ITEM_ID"):
        found(LeavingOut())
    twice = [("a", ""), ("b", "it came twice in the answer"), ("c", "")]
    assert found(LeavingOut(incomplete=True)) == twice
    assert found(LeavingOut(frozenset("b")))[1] == ("b", "excluded by --exclude")


def test_an_excluded_id_that_no_item_has_is_refused(folder: Path) -> None:
    for leave in ({"leaving": LeavingOut(frozenset({"S2_2021_9"}))},):
        with pytest.raises(InputError, match=r"--exclude S2_2021_9: no item"):
            make_plan(YEAR, provider=str(folder), **leave)
    lock = make_plan(YEAR, provider=str(folder))
    with pytest.raises(InputError, match=r"--exclude S2_2021_9: no item"):
        build(YEAR, folder.parent / "out", lock=lock, exclude=["S2_2021_9"])


def command(folder: Path, out: str, *exclude: str, **options: Any) -> list[str]:
    file = folder.parent / "handmade.yaml"
    file.write_text(json.dumps(YEAR.model_dump(mode="json", exclude_none=True)))
    said: list[str] = []
    values = {"recipe": str(file), "provider": str(folder), "yes": True, "exclude": exclude}
    asked = BuildRequest(**{**values, "out": folder.parent / out, **options})  # type: ignore[arg-type]
    build_command(asked, say=said.append, note=said.append)
    return said


def test_an_item_excluded_from_the_search_or_from_a_lock_gives_one_store(folder: Path) -> None:
    plan = json.loads(command(folder, "x", SCENES[0], dry_run=True, as_json=True)[0])
    assert [(one["items"], one["first"]) for one in plan["left"]] == [(1, [SCENES[0]])]
    command(folder, "searched", SCENES[0])
    command(folder, "searched", SCENES[0])  # again: nothing to do
    whole = folder.parent / "whole.json"
    command(folder, "x", dry_run=True, lock=whole)
    command(folder, "from-lock", SCENES[0], lock=whole, recipe=None)
    stores = [open_store(folder.parent / name) for name in ("searched", "from-lock")]
    assert len({(store.digest, store.meta.lock_digest) for store in stores}) == 1
    for store in stores:
        assert store.complete
        text = (store.path / "README.md").read_text()
        assert f"- west, s2: excluded by --exclude: {SCENES[0]}" in text
        assert np.all(store.read("west", "s2") == 550)


def test_a_unit_without_an_item_that_cannot_be_read_is_named_and_mended(folder: Path) -> None:
    out, lost = folder.parent / "out", folder / SCENES[0] / "B02.tif"
    lost.rename(folder.parent / "kept.tif")
    with pytest.raises(UnitFailed, match=r"add --allow-incomplete, .* --exclude ITEM_ID"):
        build(YEAR, out, provider=str(folder))
    result = build(YEAR, out, allow_incomplete=True)
    assert (result.complete, [one.item for one in result.failed]) == (False, [SCENES[0]] * 2)
    store = open_store(out)
    assert np.all(store.read("west", "s2") == 550)
    assert {unit["item"] for unit in store.meta.missing} == {SCENES[0]}
    text = write_card(out).read_text()
    assert "**Incomplete**: 2 items of other region-dates are missing" in text
    assert f"2021-07-01: made without item {SCENES[0]}: reading B02" in text
    assert build(YEAR, out, allow_incomplete=True).digest == result.digest
    (folder.parent / "kept.tif").rename(lost)
    mended = build(YEAR, out)
    assert (mended.complete, mended.failed) == (True, ())
    assert mended.digest == build(YEAR, folder.parent / "other", provider=str(folder)).digest


def test_where_many_items_fail_the_unit_fails(folder: Path) -> None:
    for name in SCENES[:2]:
        (folder / name / "B02.tif").unlink()
    result = build(YEAR, folder.parent / "out", provider=str(folder), allow_incomplete=True)
    assert [(one.region, one.item) for one in result.failed] == [("east", ""), ("west", "")]
    assert not open_store(result.path).read("west", "s2", array="valid").any()


def test_a_kept_unit_that_lacks_an_item_is_made_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The builder was killed before it wrote the region."""
    from rsbench.build.engine import builder

    out, lost = folder.parent / "out", folder / SCENES[0] / "B02.tif"
    lost.rename(folder.parent / "kept.tif")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(builder, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            build(YEAR, out, provider=str(folder), allow_incomplete=True, workers=1)
    (folder.parent / "kept.tif").rename(lost)
    assert build(YEAR, out).complete
    assert np.all(open_store(out).read("west", "s2") == 500)


def test_a_worker_names_the_item_that_failed(folder: Path) -> None:
    lock = make_plan(YEAR, provider=str(folder))

    def failing(_: Order) -> Answer:
        raise ItemFailed.of("a", "reading B02 of item a", "it is gone", "Wait")

    answer = carry_out(Order(YEAR, lock, "west", 2021, str(folder), "rasterio", 1 << 20), failing)
    with pytest.raises(ItemFailed) as caught:
        answer.require()
    assert (caught.value.item, caught.value.found) == ("a", "it is gone")
    assert left.SHARE < 0.5


def test_photographs_and_maps_without_partner_are_counted(tmp_path: Path) -> None:
    root = tmp_path / "stac"
    for year in (2019, 2020, 2021):
        photo(root, f"n{year}", f"{year}-07-10T16:00:00Z")
    photo(root, "half", "2019-07-12T16:00:00Z", width=350)
    photo(root, "earlier", "2021-06-10T16:00:00Z")
    pairs_scene(root, "s2019", "2019-07-10T17:00:00Z")
    pairs_scene(root, "s2021", "2021-07-10T17:00:00Z")
    pairs_scene(root, "s2021b", "2021-07-12T17:00:00Z")
    utm_map(root, "m2020", 2020, 1)
    write_collection(root)
    chosen = pairs_recipe(labels="io-lulc-annual-v02", pairs={"candidates": 1})
    lock = make_plan(chosen, provider=str(root))
    found = {(one.sensor, one.reason): one.items for one in lock.left["Fields"]}
    assert found == {
        ("io-lulc-annual-v02", "no map of the year of a pair, or of a year before"): ("2019",),
        ("naip", "no scene of s2 is near its day (tier relaxed)"): ("n2020",),
        ("naip", "the photographs of a later day of the year are used"): ("earlier",),
        ("naip", "the photographs of its day do not cover the region"): ("half",),
        ("s2", "1 scenes are nearer to the day"): ("s2021b",),
    }


@pytest.mark.parametrize("served", [False, True])
def test_an_excluded_map_is_counted_for_its_label_set_only(tmp_path: Path, served: bool) -> None:
    root = tmp_path / "stac"
    photo(root, "n2021", "2021-07-10T16:00:00Z")
    pairs_scene(root, "s2021", "2021-07-10T17:00:00Z")
    utm_map(root, "m2020", 2020, 1)
    utm_map(root, "m2021", 2021, 2)
    write_collection(root)
    chosen = pairs_recipe(labels="io-lulc-annual-v02")
    leaving = LeavingOut(frozenset({"m2021"}))
    with serve(root) as url:
        lock = make_plan(chosen, provider=url if served else str(root), leaving=leaving)
    (item,) = lock.items("Fields", "io-lulc-annual-v02", 2021)
    assert item.id == "m2020"
    found = {(one.sensor, one.reason): one.items for one in lock.left["Fields"]}
    maps = {("io-lulc-annual-v02", "excluded by --exclude"): ("m2021",)}
    assert {key: held for key, held in found.items() if "excluded" in key[1]} == maps
