"""Labels of pairs: the option of build-dataset, and the protocol that a recipe may name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rsbench.build.kinds.pairs.recipe import pairs_recipe
from rsbench.build.plan.lock_recipe import source_of
from rsbench.catalog import load_recipe
from rsbench.catalog.loaders import recipe_of
from rsbench.cli.build import BuildRequest, build_command
from rsbench.cli.build import _recipe as chosen_recipe
from rsbench.core.errors import CatalogError, InputError


def test_pairs_have_labels_and_a_protocol_by_default() -> None:
    naip, demo = (pairs_recipe(load_recipe(name)) for name in ("naip-pairs", "demo-pairs"))
    assert (naip.labels, naip.default_protocol) == ("io-lulc-annual-v02", "segment")
    assert (demo.labels, demo.default_protocol) == ("sim-cover", "segment")


def test_the_option_chooses_a_label_set() -> None:
    chosen = pairs_recipe(chosen_recipe("naip-pairs", None, "usda-cdl"))
    assert (chosen.labels, chosen.default_protocol) == ("usda-cdl", "segment")


def test_the_option_gives_pairs_without_labels_a_protocol(tmp_path: Path) -> None:
    plain = source_of(load_recipe("naip-pairs")) | {"regions": ["Ucayali_Pucallpa_Peru"]}
    del plain["labels"], plain["default_protocol"]
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    assert not load_recipe(tmp_path / "plain.yaml").default_protocol
    chosen = pairs_recipe(chosen_recipe(str(tmp_path / "plain.yaml"), None, "esa-worldcover"))
    assert (chosen.labels, chosen.default_protocol) == ("esa-worldcover", "segment")


@pytest.mark.parametrize("recipe", ["demo-fusion", "landsat-modis"])
def test_the_option_is_refused_for_triplets(recipe: str, tmp_path: Path) -> None:
    asked = BuildRequest(recipe=recipe, out=tmp_path / "out.zarr", labels="esa-worldcover")
    with pytest.raises(InputError, match="labels lie beside pairs and series only"):
        build_command(asked, say=print, note=print)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("recipe", "labels", "said"),
    [
        ("naip-pairs", "nosuch", "no label set of this name"),
        ("naip-pairs", "sim-cover", "provider of the labels sim-cover"),
        ("demo-pairs", "esa-worldcover", "provider of the labels esa-worldcover"),
        ("demo", "esa-worldcover", "provider of the labels esa-worldcover"),
    ],
)
def test_labels_that_the_provider_lacks_are_refused(recipe: str, labels: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        chosen_recipe(recipe, None, labels)


def test_a_protocol_needs_labels_and_the_task_of_segmentation(tmp_path: Path) -> None:
    values = source_of(load_recipe("demo-pairs"))
    with pytest.raises(ValueError, match="no task uses pairs without labels"):
        recipe_of({name: value for name, value in values.items() if name != "labels"})
    path = tmp_path / "demo-pairs.yaml"
    path.write_text(yaml.safe_dump(values | {"default_protocol": "year7"}), encoding="utf-8")
    with pytest.raises(CatalogError, match="it is of the task forecast"):
        load_recipe(path)


def test_simulated_pairs_have_one_ratio() -> None:
    values = source_of(load_recipe("demo-pairs"))
    with pytest.raises(ValueError, match="simulated pairs have 4"):
        recipe_of(values | {"pairs": {**values["pairs"], "ratio": 2}})
