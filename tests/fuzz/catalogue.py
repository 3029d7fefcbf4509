"""Catalogue files: recipes, protocols, sensors, labels, regions."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from fuzz.damage import of_text
from fuzz.driver import Format, Subject
from rsbench.catalog import load_protocol, load_recipe, recipe_canonical, recipe_regions
from rsbench.catalog.labels import LabelSet
from rsbench.catalog.loaders import catalog_root
from rsbench.catalog.models import NamedRegion
from rsbench.catalog.models_sensor import Sensor
from rsbench.catalog.yamlfile import load_yaml, parse


def _recipe(path: Path) -> object:
    recipe = load_recipe(path)
    return recipe, recipe_canonical(recipe), recipe.simulated is None and recipe_regions(recipe)


def _copies(kind: str, names: str, read: Callable[[Path], object]) -> Callable[[Path], Subject]:
    def prepare(folder: Path) -> Subject:
        files = [
            Path(shutil.copy(catalog_root() / kind / f"{name}.yaml", folder))
            for name in names.split()
        ]
        return Subject(files, lambda: [read(path) for path in files], of_text)

    return prepare


def _own(folder: Path) -> Subject:
    """A recipe with a sensor and a region of its own."""
    path = folder / "own.yaml"
    sensor = (catalog_root() / "sensors" / "s2.yaml").read_text().splitlines()
    indented = "\n".join("    " + line for line in sensor if not line.startswith("#"))
    region = "{name: west, epsg: 32633, origin: [500000, 5000020], split: test, size: 48}"
    path.write_text(
        "name: own\ntitle: Own\nyears: [2021, 2022]\nprovider: planetary-computer\n"
        f"default_preset: tiny\ndefault_protocol: year7\nregions: [{region}]\n"
        f"sensors:\n  -\n{indented}\n"
    )
    return Subject([path], lambda: _recipe(path), of_text)


FORMATS = (
    Format("recipe", _copies("recipes", "s2-yearly landsat-modis demo-fusion", _recipe), 300),
    Format("recipe with its own sensor", _own, 1500),
    Format("protocol", _copies("protocols", "year7 fusion2 swinstfm-lgc", load_protocol), 600),
    Format("sensor", _copies("sensors", "s2 landsat", lambda p: parse(load_yaml(p), Sensor)), 800),
    Format(
        "labels", _copies("labels", "esa-worldcover", lambda p: parse(load_yaml(p), LabelSet)), 600
    ),
    Format(
        "regions", _copies("regions", "oceania", lambda p: parse(load_yaml(p), NamedRegion, (0,))),
        300,
    ),
)  # fmt: skip
