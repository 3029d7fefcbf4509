"""Searches of many regions at a provider that fails now and then."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from build_fixtures import random_folder, recipe
from support.stac_server import Fault, Request, serve

from rsbench.build.plan.plan import describe, make_plan
from rsbench.build.plan.search import PAGE, ApiCatalogue, Query
from rsbench.core.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_folder(tmp_path_factory.mktemp("stac"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))


def searches(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "searches").rglob("*.json"))


def test_a_search_that_broke_off_goes_on_from_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rsbench.build.plan.plan.SEARCHES", 1)
    count = Counter[str]()
    broken = True

    def fault(request: Request) -> Fault | None:
        if request.path == "/search":
            count["search"] += 1
            if broken and count["search"] > 1:
                return Fault(status=400)
        return None

    with serve(folder, fault=fault) as url:
        with pytest.raises(OSError, match="cannot be searched"):
            make_plan(recipe(), provider=url)
        assert [path.name.partition("-")[0] for path in searches(tmp_path)] == ["west"]
        broken = False
        before = count["search"]
        lock = make_plan(recipe(), provider=url)
        assert count["search"] == before + 1  # only the region that was missing
        assert searches(tmp_path) == []  # a finished search is asked anew the next time
        assert lock.digest == make_plan(recipe(), provider=url).digest


def test_a_kept_answer_that_is_damaged_or_old_is_asked_for_again(
    folder: Path, tmp_path: Path
) -> None:
    import os

    from rsbench.build.plan.search_cache import KeptSearch

    lock = make_plan(recipe(), provider=str(folder))
    place = lock.places["west"]
    kept = KeptSearch(["anything"])
    kept.save(place, lock.regions["west"])
    assert kept.load(place) == (lock.regions["west"], ())
    moved = place.model_copy(update={"origin": (0, 0)})
    assert kept.load(moved) is None
    (path,) = searches(tmp_path)
    os.utime(path, (1, 1))
    assert kept.load(place) is None
    path.write_text(path.read_text()[:-9])
    assert kept.load(place) is None


def test_no_folder_of_kept_answers_grows_with_the_regions(folder: Path, tmp_path: Path) -> None:
    from rsbench.build.plan.search_cache import KeptSearch

    lock = make_plan(recipe(), provider=str(folder))
    kept, place = KeptSearch(["anything"]), lock.places["west"]
    for number in range(200):
        kept.save(place.model_copy(update={"name": f"r-{number}"}), {})
    held = Counter(path.parent for path in searches(tmp_path))
    assert held.total() == 200
    assert max(held.values()) < 20  # a write looks through its whole folder


class Scripted:
    """A client whose one page is given."""

    def __init__(self, page: dict[str, Any]) -> None:
        self.page = page

    def search(self, **_: Any) -> Scripted:
        return self

    def pages_as_dicts(self) -> list[dict[str, Any]]:
        return [self.page]


@pytest.mark.parametrize("known", [True, False])
def test_a_full_page_that_names_no_next_one_is_noticed(known: bool) -> None:
    items = [{"id": f"{n:04}", "properties": {}, "links": []} for n in range(PAGE)]
    page = {"features": items, "links": []} | ({"numberMatched": PAGE} if known else {})
    catalogue = ApiCatalogue("https://stac.example.org")
    catalogue._client = Scripted(page)
    query = Query("c", ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0)), (2020, 2020), {})
    if known:  # the provider's own count says that nothing is missing
        assert len(catalogue.search(query)) == PAGE
        return
    with pytest.raises(InputError, match="names no next one"):
        catalogue.search(query)


def test_the_plan_says_where_scenes_are_few(folder: Path) -> None:
    lock = make_plan(recipe(years=(2021, 2023)), provider=str(folder))
    summary = describe(lock)
    assert summary.by_year == {2021: 6, 2022: 6, 2023: 0}
    assert summary.fewest == (("east", 2023, 0), ("west", 2023, 0), ("east", 2021, 3))
    assert "2023: 0" in summary.explain()
