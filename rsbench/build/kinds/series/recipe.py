"""Recipes of series: yearly composites, with a label set if one is named."""

from __future__ import annotations

from rsbench.build.kinds.labels_recipe import LabelledRecipe


class SeriesRecipe(LabelledRecipe):
    """A recipe of a series; ``labels`` lie on the pixels of its first sensor."""
