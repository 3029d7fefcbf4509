"""Names that become folders, files and cells of tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rsbench.catalog import load_recipe, load_regions_geojson
from rsbench.core import names
from rsbench.core.errors import InputError
from rsbench.models.api import Card, PresetInfo
from rsbench.models.registry import _fault
from rsbench.store import layout

BAD_FOLDERS = (
    "", ".", "..", "../a", "a/b", "a\\b", ".hidden", "-a", "a b", "a:b", "ä", "a\n", "zarr.json",
    "Manifest.JSON", "README.md", "lock", "Lock.json.gz", "lock-of-3", "a.incomplete", "con",
    "NUL.txt", "com1", "a.", "a" * 101,
)  # fmt: skip
BAD_LABELS = (
    "", " a", "a ", ".a", "-a", "a/b", "..\\a", "a|b", "a=b", "a\nb", "a\tb", "a:b", "a*", "a?",
    'a"', "<a>", "nul", "a.", "a" * 101,
)  # fmt: skip


@pytest.mark.parametrize("name", BAD_FOLDERS)
def test_a_region_of_such_a_name_is_refused(name: str) -> None:
    assert names.folder_fault(name)


@pytest.mark.parametrize("name", BAD_LABELS)
def test_a_model_of_such_a_name_is_refused(name: str) -> None:
    assert names.label_fault(name)


@pytest.mark.parametrize("name", ["sim-01", "Delft_Netherlands", "33UVP-r00c00", "a.b", "lockhart"])
def test_common_names_are_taken(name: str) -> None:
    assert names.folder_fault(name) is None
    assert names.label_fault(name) is None
    assert names.label_fault(f"{name} (3 members), v2+") is None


def test_every_file_of_a_store_is_reserved() -> None:
    files = {layout.INDEX, layout.MANIFEST, layout.LOCK, layout.CARD, layout.COVERAGE, "zarr.json"}
    assert {name.casefold() for name in files} <= names.RESERVED


@given(st.text(max_size=20))
def test_a_name_that_is_taken_is_one_plain_path(name: str) -> None:
    for fault in (names.folder_fault, names.label_fault):
        if fault(name) is None:
            assert Path(name).name == name
            assert Path("out", name).parent == Path("out")
            assert not set(name) & set("/\\|=\n")


def recipe(tmp_path: Path, *regions: str | dict[str, object]) -> Path:
    value = {
        "name": "mine", "title": "mine", "sensors": ["s2"], "bands": {"s2": ["B02"]},
        "years": [2017, 2018], "provider": "earth-search", "regions": list(regions),
        "default_preset": "tiny", "default_protocol": "year7",
    }  # fmt: skip
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


def region(name: str) -> dict[str, object]:
    return {"name": name, "epsg": 32633, "origin": [600000, 5000000], "split": "train"}


def test_a_region_named_twice_in_a_recipe_is_refused(tmp_path: Path) -> None:
    assert load_recipe(recipe(tmp_path, region("a"), region("b"))).name == "mine"
    for pair in ((region("a"), region("a")), (region("a"), region("A")), (region("a"), "a")):
        with pytest.raises(InputError, match=r"the region (a|A) is named twice"):
            load_recipe(recipe(tmp_path, *pair))


@pytest.mark.parametrize("name", [n for n in BAD_FOLDERS if n])
def test_a_recipe_with_such_a_region_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mine\.yaml"):
        load_recipe(recipe(tmp_path, region(name)))


@pytest.mark.parametrize("pair", [("a", "a"), ("a", "A"), ("zarr.json", "b"), ("nul", "b")])
def test_places_with_such_names_are_refused(pair: tuple[str, str], tmp_path: Path) -> None:
    features = [
        {"type": "Feature", "properties": {"name": name},
         "geometry": {"type": "Point", "coordinates": [15 + i, 45]}}
        for i, name in enumerate(pair)
    ]  # fmt: skip
    path = tmp_path / "places.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    with pytest.raises(InputError, match=r"used twice|a file of the store|do not allow"):
        load_regions_geojson(path)


def test_a_card_with_such_a_name_is_left_out_of_the_models() -> None:
    for name, preset in (("a/b", "default"), ("a", "x|y"), ("a", "../p")):
        card = Card(name, "forecast", "t", {preset: PresetInfo(0, 0)}, "m:b", "-", "-",
                    default_preset=preset)  # fmt: skip
        assert "is refused" in (_fault(name, card, {}) or "")


def test_public_module_names_stay() -> None:
    from rsbench.check import assert_passes
    from rsbench.errors import InputError as Public
    from rsbench.registry import adopt as public_adopt

    import rsbench
    from rsbench.evaluation.gate import assert_passes as own
    from rsbench.models.registry import adopt

    assert Public is InputError is rsbench.InputError
    assert (assert_passes, public_adopt) == (own, adopt)
