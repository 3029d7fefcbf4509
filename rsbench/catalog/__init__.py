"""Catalogues of sensors, regions, recipes and protocols: schemas and loading."""

from rsbench.catalog.loaders import (
    catalog_root,
    choose_regions,
    labelled_protocol,
    load_labels,
    load_protocol,
    load_recipe,
    load_region,
    load_regions,
    load_sensor,
    load_triplet_places,
    names,
    published_root,
    recipe_canonical,
    recipe_of,
    recipe_regions,
    recipe_sensors,
    windowed_protocol,
)
from rsbench.catalog.models import Lattice, Recipe, Region, SimulatedSpec, Split
from rsbench.catalog.models_protocol import LabelShare, Primary, Protocol
from rsbench.catalog.models_sensor import (
    AssetRef,
    Band,
    BitField,
    MaskRule,
    ProviderSpec,
    Sensor,
)
from rsbench.catalog.places import load_regions_geojson
from rsbench.catalog.published import PublishedTable, load_published, published_names
from rsbench.catalog.yamlfile import load_yaml, parse

__all__ = [
    "AssetRef",
    "Band",
    "BitField",
    "LabelShare",
    "Lattice",
    "MaskRule",
    "Primary",
    "Protocol",
    "ProviderSpec",
    "PublishedTable",
    "Recipe",
    "Region",
    "Sensor",
    "SimulatedSpec",
    "Split",
    "catalog_root",
    "choose_regions",
    "labelled_protocol",
    "load_labels",
    "load_protocol",
    "load_published",
    "load_recipe",
    "load_region",
    "load_regions",
    "load_regions_geojson",
    "load_sensor",
    "load_triplet_places",
    "load_yaml",
    "names",
    "parse",
    "published_names",
    "published_root",
    "recipe_canonical",
    "recipe_of",
    "recipe_regions",
    "recipe_sensors",
    "windowed_protocol",
]
