"""What build-dataset tells: events, a table, a release; and one's own places as regions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from build_fixtures import random_folder, recipe

from rsbench.build.kinds.series import kind as series
from rsbench.build.plan.plan import Lock, make_plan
from rsbench.catalog import Recipe, load_sensor
from rsbench.cli.build import BuildRequest, build_command, download_command
from rsbench.core.errors import InputError, UnitFailed
from rsbench.store.read import open_store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_folder(tmp_path_factory.mktemp("stac"))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))


def command(place: Path, folder: Path, **options: Any) -> tuple[list[str], list[str]]:
    file = place / "handmade.yaml"
    chosen: Recipe = options.pop("given", recipe())
    file.write_text(json.dumps(chosen.model_dump(mode="json", exclude_none=True)))
    said: list[str] = []
    noted: list[str] = []
    values: dict[str, Any] = {
        "recipe": str(file),
        "out": place / "out",
        "provider": str(folder),
        "regions": None,
        "years": None,
        "yes": True,
        "workers": None,
        "dry_run": False,
        "lock": None,
        "allow_incomplete": False,
        "as_json": False,
    }
    build_command(BuildRequest(**{**values, **options}), say=said.append, note=noted.append)
    return said, noted


def last(printed: tuple[list[str], list[str]]) -> dict[str, Any]:
    """Return the last event of a command with ``as_json``."""
    event: dict[str, Any] = json.loads(printed[0][-1])
    return event


def test_every_line_for_machines_is_one_event(folder: Path, tmp_path: Path) -> None:
    said, _ = command(tmp_path, folder, as_json=True, release=tmp_path / "release")
    events = [json.loads(line) for line in said]
    kinds = [event["event"] for event in events]
    assert kinds[-1] == "done"
    assert kinds.count("plan") == 1
    units = [event for event in events if event["event"] == "unit"]
    done = {(u["region"], u["year"]) for u in units if u["state"] == "done"}
    assert done == {(r, y) for r in ("west", "east") for y in (2021, 2022)}
    assert len(units) == 8  # each began and was done
    read = [u["bytes_read"] for u in units]
    assert read == sorted(read)
    assert read[-1] > 0
    ends = [e for e in events if e.get("label") == "region-years" and e["done"] == e["total"]]
    assert [e["total"] for e in ends] == [4]
    last = events[-1]
    assert (last["complete"], last["failed"]) == (True, [])
    assert list(last["phases"]) == ["plan", "units", "write", "index"]
    assert all(seconds > 0 for seconds in last["phases"].values())
    assert (tmp_path / "release" / "release.json").is_file()
    said = []
    download_command(
        last["release"],
        out=tmp_path / "fetched",
        base=None,
        digest=last["digest"],
        as_json=True,
        say=said.append,
    )
    assert json.loads(said[-1])["digest"] == last["digest"]


def test_a_unit_that_fails_is_an_event_with_its_reason(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compose = series.compose

    def failing(work: Any, sensor: Any, region: str, year: int) -> Any:
        if (region, year) == ("west", 2022):
            raise UnitFailed("reading B02 of item X", "it is gone", "Wait")
        return compose(work, sensor, region, year)

    monkeypatch.setattr(series, "compose", failing)
    said, _ = command(tmp_path, folder, as_json=True, allow_incomplete=True)
    events = [json.loads(line) for line in said]
    failed = [e for e in events if e.get("state") == "failed"]
    assert [(e["region"], e["year"], e["reason"]) for e in failed] == [
        ("west", 2022, "reading B02 of item X: it is gone")
    ]
    assert events[-1]["complete"] is False
    assert events[-1]["failed"][0]["region"] == "west"
    _, noted = command(tmp_path / "..", folder, out=tmp_path / "again", allow_incomplete=True)
    rows = {line.split()[0]: line.split() for line in noted if line[:5] in ("train", "test ")}
    assert rows["test"][1:4] == ["1", "2", "1"]
    assert rows["train"][1:4] == ["1", "2", "0"]
    assert any(line.startswith("failed: west 2022") for line in noted)


def test_a_release_needs_a_store(folder: Path, tmp_path: Path) -> None:
    for options in ({"dry_run": True}, {"parts": "1/2"}):
        with pytest.raises(InputError, match="end without a store"):
            command(tmp_path, folder, release=tmp_path / "release", **options)


def test_a_lock_stands_alone_for_a_recipe_file(folder: Path, tmp_path: Path) -> None:
    own = recipe(sensors=(load_sensor("s2").model_copy(update={"title": "My own"}),))
    first = last(command(tmp_path, folder, given=own, as_json=True))
    kept = tmp_path / "out" / "lock.json.gz"
    again = {"recipe": None, "lock": kept, "as_json": True}
    second = last(command(tmp_path, folder, **again, out=tmp_path / "again"))
    assert second["digest"] == first["digest"]
    stores = [open_store(tmp_path / name) for name in ("out", "again")]
    assert stores[0].meta == stores[1].meta
    part = {**again, "regions": "west", "years": "2022", "out": tmp_path / "part"}
    assert last(command(tmp_path, folder, **part))["complete"]
    assert open_store(tmp_path / "part").regions == ("west",)


def test_an_older_lock_of_a_recipe_file_asks_for_that_file(folder: Path, tmp_path: Path) -> None:
    command(tmp_path, folder)
    older = tmp_path / "older.json"
    replace(Lock.load(tmp_path / "out" / "lock.json.gz"), source={}).save(older)
    with pytest.raises(InputError, match=r"recipe handmade: .* --recipe FILE"):
        command(tmp_path, folder, recipe=None, lock=older, out=tmp_path / "again")
    command(tmp_path, folder, lock=older, out=tmp_path / "again")
    assert (tmp_path / "again" / "index.json").is_file()


def test_a_damaged_recipe_in_a_lock_is_refused(folder: Path, tmp_path: Path) -> None:
    lock = make_plan(recipe(), provider=str(folder))
    replace(lock, source={**lock.source, "min_dates": 0}).save(tmp_path / "bad.json")
    with pytest.raises(InputError, match="1 of its values are not valid"):
        command(tmp_path, folder, recipe=None, lock=tmp_path / "bad.json")


def test_ones_own_places_become_regions_of_the_plan(folder: Path, tmp_path: Path) -> None:
    """The scenes of the folder lie at 45.15° N 15° E; a place there is planned, one far is told."""

    def places(*points: tuple[str, float, float]) -> str:
        path = tmp_path / "places.geojson"
        features = [
            {
                "type": "Feature",
                "properties": {"name": name},
                "geometry": {"type": "Point", "coordinates": [longitude, latitude]},
            }
            for name, longitude, latitude in points
        ]
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        return str(path)

    kept = tmp_path / "lock.json.gz"
    command(tmp_path, folder, regions=places(("Mine", 15.005, 45.15)), dry_run=True, lock=kept)
    from rsbench.build.plan.plan import Lock

    (place,) = Lock.load(kept).places.values()
    assert (place.name, place.tile[:2], place.size) == ("Mine", "33", 1024)
    with pytest.raises(InputError, match="no scene was found for Mine"):
        command(tmp_path, folder, regions=places(("Mine", 100.0, 10.0)), dry_run=True)
    with pytest.raises(InputError, match="between 80° S and 84° N"):
        command(tmp_path, folder, regions=places(("Pole", 0.0, 89.0)), dry_run=True)
