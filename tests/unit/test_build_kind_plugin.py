"""A dataset kind of another package, and no branch on kinds outside their folders."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from build_fixtures import random_folder, recipe

from rsbench.build.engine.builder import build, build_part, finalise_parts
from rsbench.build.kinds.base import DatasetKind, kind_of
from rsbench.build.plan.plan import make_plan
from rsbench.catalog import load_recipe, recipe_of
from rsbench.catalog.kinds import KINDS, load_kind
from rsbench.core.errors import CatalogError, InputError, UnknownName
from rsbench.store.export.card import card
from rsbench.store.export.coverage import coverage
from rsbench.store.read import open_store

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "dataset-kinds.md"
OURS = {"pairs", "series", "triplets"}
BRANCH = re.compile(
    r"\.kind\s*(==|!=|\bin\b|not in)\s*[({\[]?\s*[\"'](series|pairs|triplets)[\"']"
    r"|(recipe|chosen)\.(pairs|fusion|triplets|labels)\b"
    r"|isinstance\([^)]*(PairsRecipe|TripletsRecipe|PairsKind|TripletsKind|SeriesKind)"
)
LEFT = {"tasks/settings.py"}
"""Modules outside build that still ask for the kind of a store."""


def install(folder: Path, name: str, points: dict[str, str], code: str) -> None:
    """Lay out an installed package as an installer does: a module and its metadata."""
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = "\n".join(f"{key} = {value}" for key, value in points.items())
    (info / "entry_points.txt").write_text(f"[rsbench.kinds]\n{lines}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if (folder / f"{name}.py").exists():
            del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def first_scene(site: Path) -> str:
    """The kind that docs/dataset-kinds.md shows, installed as a package."""
    if not PAGE.is_file():
        pytest.skip("not run from a checkout")
    marked = re.search(
        r"test_build_kind_plugin.py -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL
    )
    assert marked is not None
    assert sum(bool(line.strip()) for line in marked[1].splitlines()) <= 30
    install(site, "first_scene", {"first-scene": "first_scene:KIND"}, marked[1])
    return "first-scene"


def test_the_kinds_of_this_package_are_registered_like_any_other() -> None:
    assert set(KINDS.names()) >= OURS
    for name in OURS:
        assert isinstance(load_kind(name), DatasetKind)
        assert load_kind(name).name == name


def test_a_kind_of_another_package_builds_a_store(first_scene: str, tmp_path: Path) -> None:
    folder = random_folder(tmp_path / "stac")
    mine = recipe_of({**recipe().model_dump(), "kind": first_scene, "after": 4, "name": "mine"})
    lock = make_plan(mine, provider=str(folder))
    assert lock.recipe["after"] == 4
    assert [item.id for item in lock.items("west", "s2", 2021)] == ["S2_2021_1"]
    made = build(mine, tmp_path / "out", lock=lock)
    store = open_store(made.path)
    assert (made.complete, store.validate()) == (True, [])
    assert (store.meta.kind, store.meta.compositor) == (first_scene, "first-scene@1")
    assert store.read("west", "s2", array="n_valid").max() == 1
    assert f"| kind | {first_scene}" in (made.path / "README.md").read_text()
    build_part(mine, tmp_path / "parts", (1, 1), lock=lock)
    assert finalise_parts(mine, tmp_path / "parts").digest == made.digest
    elsewhere = build(mine, tmp_path / "processes", lock=lock, workers=1, processes=True)
    assert elsewhere.digest == made.digest


def test_what_a_kind_refuses_is_told(first_scene: str, tmp_path: Path) -> None:
    folder = random_folder(tmp_path / "stac")
    mine = recipe_of({**recipe().model_dump(), "kind": first_scene, "years": (2021, 2022)})
    lock = make_plan(mine, provider=str(folder))
    none = {"s2": dict.fromkeys(lock.years, ())}
    bare = type(lock)(**{**_fields(lock), "regions": {**lock.regions, "east": none}})
    made = build(mine, tmp_path / "out", lock=bare)
    store = open_store(made.path)
    assert list(store.regions) == ["west"]
    assert store.meta.recipe["refused"] == {"east": {"all": "no scene is clear"}}
    empty = type(lock)(**{**_fields(lock), "regions": {"east": none, "west": none}})
    with pytest.raises(InputError, match=r"no region has a scene; east all: no scene is clear"):
        build(mine, tmp_path / "none", lock=empty)


def _fields(lock: object) -> dict[str, object]:
    names = ("recipe", "provider", "catalogue", "query", "places", "regions")
    return {name: getattr(lock, name) for name in names}


def test_a_recipe_file_is_checked_by_the_kind_it_names(first_scene: str, tmp_path: Path) -> None:
    value = recipe().model_dump(mode="json", exclude_none=True)
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({**value, "kind": first_scene, "after": 6}))
    assert load_recipe(path).model_dump()["after"] == 6
    path.write_text(json.dumps({**value, "kind": first_scene, "afterwards": 6}))
    with pytest.raises(CatalogError, match="there is no key 'afterwards'"):
        load_recipe(path)
    path.write_text(json.dumps({**value, "kind": "first-scenes"}))
    with pytest.raises(CatalogError, match="first-scenes") as caught:
        load_recipe(path)
    assert "Did you mean first-scene" in str(caught.value)
    with pytest.raises(UnknownName, match="dataset kind"):
        kind_of(recipe().model_copy(update={"kind": "seris"}))


def test_packages_that_offer_no_kind_are_told_and_replace_none(site: Path) -> None:
    points = {"series": "odd:OTHER", "broken": "odd:ABSENT", "empty": "odd:OTHER"}
    code = "class Other:\n    name = 'other'\n    recipe = int\n\nOTHER = Other()\n"
    install(site, "odd", points, code)
    assert isinstance(load_kind("series"), DatasetKind)
    with pytest.raises(InputError, match=r"odd:ABSENT raises AttributeError"):
        load_kind("broken")
    with pytest.raises(InputError, match=r"is called 'other'"):
        load_kind("empty")


def test_the_card_of_a_kind_that_is_not_installed_says_so(tmp_path: Path) -> None:
    made = build(recipe(), tmp_path / "out", provider=str(random_folder(tmp_path / "stac")))
    store = open_store(made.path)
    object.__setattr__(store.meta, "kind", "gone")
    assert "dataset kind `gone` is not installed" in card(store, coverage(store), "out")


def test_no_module_outside_the_kinds_asks_for_a_kind() -> None:
    package = ROOT / "rsbench"
    found = [
        f"{name}:{number}"
        for path in sorted(package.rglob("*.py"))
        if not (name := path.relative_to(package).as_posix()).startswith("build/kinds/")
        and name not in LEFT
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if BRANCH.search(line)
    ]
    assert found == []
    for line in ('if store.meta.kind != "series":', "if recipe.pairs is not None:"):
        assert BRANCH.search(line)
