"""Sensors, protocols and recipes: what they say, and how a typo in one is told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from rsbench import catalog
from rsbench.catalog import (
    Recipe,
    choose_regions,
    load_protocol,
    load_recipe,
    load_region,
    load_regions,
    load_sensor,
    names,
    recipe_canonical,
    recipe_regions,
    recipe_sensors,
)
from rsbench.core.digest import canonical_json
from rsbench.core.errors import CatalogError, InputError, UnknownName

ROOT = Path(__file__).parents[2]
RECIPE = """\
name: mine
title: A recipe of my own
sensors: [s2]
bands:
  s2: [B02, B03, B04]
years: [2018, 2020]
provider: planetary-computer
regions:
  - Istanbul_Turkey
  - name: here
    epsg: 32631
    origin: [500000, 5600000]
    split: train
    size: 64
default_preset: tiny
default_protocol: year3
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_catalogue_holds_what_is_promised():
    assert set(names("sensors")) == {"s2", "landsat", "mod09a1", "mcd43a4", "naip"}
    assert {"s2-yearly", "demo"} <= set(names("recipes"))
    assert {"year3", "year7"} <= set(names("protocols"))
    assert len(names("regions")) == 100
    for kind, load in (("sensor", load_sensor), ("recipe", load_recipe)):
        for name in names(kind):
            assert load(name).name == name


def test_sentinel_2_is_harmonised_by_baseline_at_both_providers():
    s2 = load_sensor("s2")
    assert (s2.scale, s2.offset, s2.nodata, s2.value_range) == (1e-4, 0.0, 0, (0.0, 1.0))
    assert s2.mask.classes == (0, 1, 3, 8, 9, 10)
    assert s2.mask.also(("snow",)).classes == (0, 1, 3, 8, 9, 10, 11)
    assert {p.offset_policy for p in s2.providers.values()} == {"s2-baseline-0400"}
    search = s2.provider("earth-search")
    assert search.collection == "sentinel-2-c1-l2a"
    assert "sentinel-2-l2a" in search.refused
    assert search.tile_value("32TPS") == "MGRS-32TPS"
    assert search.assets["B08"].key == "nir"


def test_other_sensors_keep_their_published_scales():
    landsat = load_sensor("landsat")
    assert landsat.scale * 7273 + landsat.offset == pytest.approx(0.0, abs=1e-5)
    assert landsat.stored_range == (1, 65455)
    assert [(b.first, b.last) for b in landsat.mask.bits] == [(i, i) for i in range(5)]
    assert load_sensor("mod09a1").nodata == -28672
    assert load_sensor("mcd43a4").mask.band_assets["b03"].endswith("Quality_Band3")
    assert [
        a.index for a in load_sensor("naip").providers["planetary-computer"].assets.values()
    ] == [
        1,
        2,
        3,
        4,
    ]


def test_assets_and_collections_are_those_of_recorded_items():
    root = os.environ.get("RSBENCH_TEST_DATA")
    if root is None:
        pytest.skip("RSBENCH_TEST_DATA is not set")
    recorded: dict[str, set[str]] = {}
    for path in Path(root, "dev/stac/responses").glob("*.json"):
        for item in json.loads(path.read_text()).get("features", []):
            host = "earth-search" if path.name.startswith("earth") else "planetary-computer"
            keys = set(item["assets"])
            recorded.setdefault(f"{host} {item['collection']}", keys).update(keys)
    checked = 0
    for name in names("sensors"):
        sensor = load_sensor(name)
        for provider, spec in sensor.providers.items():
            if provider == "simulated":
                continue
            wanted = {ref.key for ref in spec.assets.values()} | set(
                sensor.mask.band_assets.values()
            )
            if provider in sensor.mask.assets:
                wanted.add(sensor.mask.assets[provider])
            assert wanted <= recorded[f"{provider} {spec.collection}"]
            checked += 1
    assert checked == 6


def test_the_protocols_fix_context_leads_and_endpoint():
    seven, three = load_protocol("year7"), load_protocol("year3")
    assert (seven.context, seven.horizon, seven.primary) == (1, 7, None)
    assert (three.context, three.horizon, three.scheme) == (3, 3, "space")
    assert three.primary is not None
    assert (three.primary.metric, three.primary.score) == ("mse@1", "skill")
    assert three.primary.leads == (1, 3)
    assert seven.suite == three.suite
    colours = load_protocol("year7-rgb")
    assert colours.bands == ("B04", "B03", "B02")
    assert colours.model_copy(update={"name": "year7", "bands": "store"}) == seven
    back = load_protocol("year3-past")
    assert (back.direction, back.context, back.horizon) == ("past", 3, 3)


def test_the_demo_has_enough_test_regions_for_intervals():
    spec = load_recipe("demo").simulated
    assert spec is not None
    assert spec.regions >= 24
    assert spec.test >= 8


def test_a_recipe_of_ones_own_resolves(tmp_path: Path):
    recipe = load_recipe(written(tmp_path, RECIPE))
    (sensor,) = recipe_sensors(recipe)
    assert sensor.band_names == ("B02", "B03", "B04")
    assert sensor.display == ("B04", "B03", "B02")
    assert [(r.name, r.size) for r in recipe_regions(recipe)] == [
        ("Istanbul_Turkey", 1024),
        ("here", 64),
    ]


def test_the_canonical_recipe_knows_pixels_not_words_or_hosts(tmp_path: Path):
    first = load_recipe(written(tmp_path, RECIPE))
    other = RECIPE.replace("A recipe of my own", "Another title").replace("year3", "year7")
    assert recipe_canonical(load_recipe(written(tmp_path, other))) == recipe_canonical(first)
    text = canonical_json(recipe_canonical(first))
    assert "http" not in text
    masked = RECIPE + "mask_also: [snow]\n"
    assert recipe_canonical(load_recipe(written(tmp_path, masked))) != recipe_canonical(first)


TYPOS = [
    ("provider:", "providr:", 7, "Did you mean provider"),
    ("[2018, 2020]", "[2018, '2020']", 6, "whole number without quotes"),
    ("[2018, 2020]", "[2020, 2018]", 1, "first year lies after the last"),
    ("[2018, 2020]", "2018", 6, "list"),
    ("split: train", "split: trian", 13, "Did you mean train"),
    ("size: 64", "size: 8", 14, "greater than or equal to 16"),
    ("size: 64", "sise: 64", 14, "Did you mean size"),
    ("title: A", "name: again\ntitle: A", 2, "is repeated, first in line"),
    ("[s2]", "[s3]", 3, "Did you mean s2"),
    ("[B02, B03, B04]", "[B02, B99]", 5, "band of s2 'B99'"),
    ("Istanbul_Turkey", "Istambul_Turkey", 9, "Did you mean Istanbul_Turkey"),
    ("planetary-computer", "planetary-computr", 7, "Did you mean planetary-computer"),
    ("year3", "year33", 16, "Did you mean year3"),
    ("title: A recipe of my own\n", "", 1, "has no 'title'"),
    ("name: mine", "name: 2024-01-01", 1, "quotes"),
    ("default_preset: tiny", "default_preset: tiny\nmonths: [0]", 16, "months are 1 to 12"),
    ("title: A", "title: B: A", 2, "not YAML"),
]


@pytest.mark.parametrize(("old", "new", "line", "words"), TYPOS, ids=[t[1][:24] for t in TYPOS])
def test_a_typo_is_one_error_with_file_and_line(
    tmp_path: Path, old: str, new: str, line: int, words: str
):
    assert RECIPE.count(old) == 1
    path = written(tmp_path, RECIPE.replace(old, new))
    with pytest.raises(CatalogError) as caught:
        load_recipe(path)
    assert caught.value.path == path
    assert caught.value.line == line, str(caught.value)
    assert words in str(caught.value)
    assert f"{path}:{line}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "empty"), ("&a [*a]", "contains itself"), ("!!python/object:os.x {}", "no 'name'")],
)
def test_odd_yaml_is_refused_and_runs_nothing(tmp_path: Path, text: str, words: str):
    with pytest.raises(CatalogError) as caught:
        load_recipe(written(tmp_path, text))
    assert caught.value.line == 1
    assert words in str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path):
    with pytest.raises(CatalogError, match="cannot be read"):
        load_recipe(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("call", "suggestion"),
    [
        (lambda: load_recipe("s2-yearli"), "s2-yearly"),
        (lambda: load_sensor("landsatt"), "landsat"),
        (lambda: load_protocol("year77"), "year7"),
        (lambda: load_region("Cairo_Nile_Egypt"), "Cairo_Nile_Corridor_Egypt"),
        (lambda: names("recipies"), "recipes"),
        (lambda: choose_regions(load_regions(), "Beauce_Frnace"), "Beauce_France"),
    ],
)
def test_an_unknown_name_meets_its_neighbour(call, suggestion: str):
    with pytest.raises(UnknownName, match=f"Did you mean .*{suggestion}"):
        call()


def test_entries_do_not_change_once_read():
    with pytest.raises(ValidationError, match="frozen"):
        load_sensor("s2").scale = 1.0


def test_few_regions_are_spread_over_splits_and_strata():
    regions = load_regions()
    ten = choose_regions(regions, "10")
    assert [sum(r.split == s for r in ten) for s in ("train", "val", "test")] == [5, 1, 4]
    assert len({r.stratum for r in choose_regions(regions, "8")}) == 8
    assert len({r.continent for r in ten}) >= 5
    with pytest.raises(InputError, match="there are 100"):
        choose_regions(regions, "101")
    two = choose_regions(regions, "Po_Delta_Italy, Beauce_France")
    assert [r.name for r in two] == ["Po_Delta_Italy", "Beauce_France"]


def test_a_region_of_the_world_must_be_on_its_lattice(tmp_path: Path):
    shutil.copytree(ROOT / "catalogs/regions", tmp_path / "regions")
    path = tmp_path / "regions/europe.yaml"
    text = path.read_text()
    line = next(i for i, t in enumerate(text.splitlines(), 1) if "origin: [" in t)
    first = text.split("origin: [")[1].split(",")[0]
    path.write_text(text.replace(f"origin: [{first}", f"origin: [{int(first) + 10}", 1))
    with pytest.raises(CatalogError, match="5120 m lattice") as caught:
        catalog.loaders._regions(tmp_path / "regions")
    # The rule is about the whole entry, so its line is the entry's first.
    assert caught.value.line is not None
    assert line - 15 < caught.value.line <= line


def test_the_packaged_catalogues_are_found_where_the_checkout_is_not(tmp_path: Path):
    """A wheel holds the data inside the package; this lays out the same tree."""
    site = tmp_path / "site"
    package = site / "rsbench"
    shutil.copytree(ROOT / "rsbench", package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "catalogs", package / "_catalogs")
    shutil.copytree(ROOT / "results/published", package / "_published")
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "from rsbench import catalog\n"
        "catalog.load_recipe('demo'); n = len(catalog.load_regions())\n"
        "print(catalog.catalog_root(), catalog.published_root(), n, 'pyproj' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [
        str(package / "_catalogs"),
        str(package / "_published"),
        "100",
        "False",
    ]


def test_mistakes_of_a_model_are_found_by_the_model():
    bad = {
        "name": "x",
        "title": "x",
        "sensors": ["s2"],
        "years": (2020, 2019),
        "provider": "p",
        "default_preset": "tiny",
        "default_protocol": "year7",
    }
    with pytest.raises(ValidationError, match="first year"):
        Recipe.model_validate(bad)
