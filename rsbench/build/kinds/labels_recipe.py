"""The option ``labels`` of recipes, and the search and reading of the label maps it names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from rsbench.build.kinds.base import BuildContext, Found, Pixels, RegionSearch
from rsbench.build.kinds.labels import label_layer
from rsbench.build.kinds.labels_plan import search_labels
from rsbench.build.plan.scenes import sensor_grid
from rsbench.build.read.raster import RasterioEngine
from rsbench.catalog import Recipe, Sensor
from rsbench.catalog.loaders import load_labels
from rsbench.catalog.models_base import Name
from rsbench.core.errors import InputError

PROTOCOL = "segment"
"""Default protocol of a recipe with labels that names none."""


class LabelledRecipe(Recipe):
    """A recipe that may name a label set.

    ``labels``: a label set that lies beside the images, on the pixels of the sensor that the kind
    chooses.
    """

    labels: Name | None = None

    def references(self) -> Mapping[str, Callable[[], object]]:
        """Return the check that the label set exists at the recipe's provider."""
        if self.labels is None:
            return {}
        return {"labels": partial(require_labels, self.labels, self.provider)}


def with_labels(recipe: Recipe, name: str) -> Recipe:
    """Return a recipe with another label set; one without a protocol gets that of segmentation.

    Raises:
        InputError: for a recipe of a kind that has no labels.
        UnknownName: if the label set is unknown, or the recipe's provider does not have it.
    """
    if not isinstance(recipe, LabelledRecipe):
        raise InputError(
            f"--labels {name} with the recipe {recipe.name}",
            f"it is of kind {recipe.kind}; labels lie beside pairs and series only",
            "Leave --labels out, or choose a recipe of pairs, as naip-pairs",
        )
    require_labels(name, recipe.provider)
    protocol = recipe.default_protocol or PROTOCOL
    return recipe.model_copy(update={"labels": name, "default_protocol": protocol})


def labels_of(recipe: Recipe) -> str | None:
    """Return the label set that a recipe names; None if it names none."""
    return recipe.labels if isinstance(recipe, LabelledRecipe) else None


def labels_found(asked: RegionSearch, sensor: Sensor, years: Iterable[int], what: str) -> Found:
    """Return label set → year → locked maps; empty if the recipe names none.

    Of the years, those without a map of theirs or earlier are recorded.

    Args:
        years: those that have images.
        what: what the kind of dataset makes of a year's images, for the record, as ``a pair``.
    """
    name = labels_of(asked.recipe)
    if name is None:
        return {}
    years, catalogue = sorted(years), asked.catalogues[sensor.name]
    grid, labels = sensor_grid(asked.region, sensor), load_labels(name)
    found = search_labels(labels, grid, years, asked.key, catalogue, asked.omitted)
    absent = [str(year) for year in years if year not in found]
    asked.omitted.add(name, f"no map of the year of {what}, or of a year before", absent)
    return {name: found}


def labels_read(
    context: BuildContext, region: str, sensor: Sensor, year: int
) -> tuple[Pixels, dict[str, Any]] | None:
    """Return ``(H, W)`` class codes of a year on a sensor's grid and a note; None without labels.

    Raises:
        InputError: if the engine reads no class maps.
        UnitFailed: if a file cannot be read.
    """
    name = labels_of(context.recipe)
    if name is None:
        return None
    if not isinstance(context.engine, RasterioEngine):
        raise InputError(f"reading labels {name}", "this engine reads none", "Use rasterio")
    grid = sensor_grid(context.lock.places[region], sensor)
    items = context.items(region, name, year)
    return label_layer(context.engine, load_labels(name), grid, items)


def require_labels(name: str, provider: str) -> None:
    """Refuse a label set that is unknown, or that the provider does not have.

    Raises:
        UnknownName: in both cases.
    """
    load_labels(name).source(provider)
