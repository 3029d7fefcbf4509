"""Images of three dates, imported as a series, and the same images in other layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from build_fixtures import write_raster

from rsbench.build.importers.api import ImportOptions
from rsbench.build.importers.registry import import_dataset
from rsbench.store.read import Store, open_store

DAYS = ("2020-01-05", "2020-02-05", "2020-03-05")
BANDS = ("B04", "B08")
STATED: dict[str, Any] = {"unit": "reflectance", "scale": 1e-4}
Numbers = npt.NDArray[np.uint16]


def image(day: int, seed: int = 0) -> Numbers:
    """Two bands of 32 × 160 pixels."""
    rng = np.random.default_rng([day, seed])
    return rng.integers(500, 4000, (2, 32, 160)).astype(np.uint16)


def imported(source: Path, out: Path, **options: Any) -> Store:
    stated = ImportOptions(**{**STATED, **options})
    return open_store(import_dataset("geotiff-series", source, out, stated).path)


def whole(root: Path) -> Store:
    """The same images, one file per date."""
    for at, day in enumerate(DAYS):
        write_raster(root / "plain" / f"{day}.tif", image(at))
    return imported(root / "plain", root / "plain.zarr", bands=BANDS, region_size=32)


def same_pixels(one: Store, other: Store) -> bool:
    return all(
        (one.read(a, "image") == other.read(b, "image")).all()
        for a, b in zip(one.regions, other.regions, strict=True)
    )
