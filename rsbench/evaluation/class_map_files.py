"""Predicted class maps and class probabilities of a run as GeoTIFFs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rsbench.core.io import write_atomic
from rsbench.store.export.class_map import CLASSES, ClassMap
from rsbench.store.export.geotiff_file import geotiff, profile_of

if TYPE_CHECKING:
    from torch import Tensor

    from rsbench.evaluation.entries import ModelEntry
    from rsbench.tasks.base import Case
    from rsbench.tasks.config import EvaluationConfig

MAPS = "maps"
"""Folder of a run that holds them."""
NONE = 255
"""Code of pixels without a class in predicted maps; none occurs, as every pixel is predicted."""


@dataclass(frozen=True)
class ClassMapFiles:
    """Writes the answers of every entry.

    ``<folder>/<model>/<region>/<date>_<y>_<x>.tif`` has the index of the most probable class, and
    ``….probabilities.tif`` one float32 band per class, unless the answer is a map of classes.
    ``<folder>/classes.json`` names the classes.

    Args:
        config: store, sensor and classes.
        folder: where the files go.
    """

    config: EvaluationConfig
    folder: Path

    def add(self, entry: ModelEntry, case: Case, lead: int, values: Tensor) -> None:
        """Write the answers ``(B, K, H, W)`` of one batch."""
        import rasterio

        names = self.config.bands
        if not (self.folder / CLASSES).exists():
            stated = {str(index): name for index, name in enumerate(names)}
            write_atomic(self.folder / CLASSES, json.dumps(stated, indent=1) + "\n")
        for b, sample in enumerate(case.samples):
            day, window = case.targets[b][lead - 1].isoformat(), sample.window
            grid = self.config.store.region(sample.region).grids[self.config.sensor].window(window)
            place = self.folder / entry.model / sample.region
            place.mkdir(parents=True, exist_ok=True)
            name, shares = f"{day}_{window.y}_{window.x}", values[b].numpy()
            tags = {"MODEL": entry.model, "REGION": sample.region, "DATE": day}
            ClassMap(dict(enumerate(names)), NONE, tags).write(
                rasterio, place / f"{name}.tif", grid, shares.argmax(0).astype(np.uint8)
            )
            if entry.class_map:
                continue
            profile = profile_of(rasterio, grid, "float32", len(names))
            with geotiff(rasterio, place / f"{name}.probabilities.tif", profile) as file:
                file.write(shares)
                file.descriptions = names
                file.update_tags(**tags)
