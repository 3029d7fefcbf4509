"""Tiny stores for tests: growth, noise and invalid pixels, written through the real writer."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from rsbench.core.grid import Grid
from rsbench.store.layout import RegionRecord, SensorArrays, SensorMeta, StoreMeta
from rsbench.store.read import Store, open_store
from rsbench.store.write import finalise, write_region

BANDS = ("B02", "B03", "B04", "B08")
BIOMES = ("desert", "savanna", "forest")
COUNTRIES = ("PER", "KEN", "AUS", "ESP")


def sensor_meta(name: str = "s2", bands: tuple[str, ...] = BANDS, **changes: Any) -> SensorMeta:
    """Reflectance of Sentinel-2: uint16, scale 1e-4, nodata 0."""
    rgb = ("B04", "B03", "B02") if {"B04", "B03", "B02"} <= set(bands) else None
    options: dict[str, Any] = {
        "name": name,
        "bands": bands,
        "unit": "reflectance",
        "dtype": "uint16",
        "scale": 1e-4,
        "offset": 0.0,
        "nodata": 0,
        "gsd": 10.0,
        "value_range": (0.0, 1.0),
        "display": rgb,
        "attribution": "toy",
        "licence": "CC0-1.0",
    }
    return SensorMeta(**{**options, **changes})


def grid(index: int = 0, size: int = 64, *, gsd: float = 10.0, crs: str = "EPSG:32633") -> Grid:
    """A grid of its own for every index, 60 km apart."""
    return Grid(crs, (gsd, 0.0, 300000.0 + 60000.0 * index, 0.0, -gsd, 5100000.0), size, size)


def dates(years: int = 8, first: int = 2017) -> tuple[date, ...]:
    """One date a year: 1 July."""
    return tuple(date(first + i, 7, 1) for i in range(years))


def arrays(
    index: int = 0,
    *,
    size: int = 64,
    years: int = 8,
    meta: SensorMeta | None = None,
    seed: int = 0,
    invalid: float = 0.02,
    floor: bool = True,
    first: int = 2017,
    gsd: float = 10.0,
) -> SensorArrays:
    """Smooth fields that grow by year, with noise; ``invalid`` is the share of masked pixels."""
    meta = meta or sensor_meta()
    rng = np.random.default_rng([seed, index])
    y, x = np.mgrid[0:size, 0:size] / size
    waves = np.sin(2 * np.pi * (2 * x + index / 3)) * np.cos(2 * np.pi * (1.5 * y - index / 5))
    base = 2000 + 600 * waves[None] * np.linspace(0.5, 1.5, len(meta.bands))[:, None, None]
    growth = 1 + 0.03 * np.arange(years)[:, None, None, None]
    shape = (years, len(meta.bands), size, size)

    def noisy() -> Any:
        field = base[None] * growth + rng.normal(0, 30, shape)
        dtype = np.dtype(meta.dtype)
        if dtype.kind == "f":
            return field.astype(dtype)
        limits = np.iinfo(dtype)
        if dtype.itemsize == 1:
            field = field / 40
        return np.clip(np.rint(field), 1, limits.max).astype(dtype)

    valid = rng.random((years, size, size)) >= invalid
    n_valid = np.where(valid, rng.integers(2, 12, valid.shape), 0).astype(np.uint16)
    return SensorArrays(
        noisy(),
        valid,
        n_valid,
        dates(years, first),
        grid(index, size, gsd=gsd),
        noisy() if floor else None,
        noisy() if floor else None,
    )


def record(
    index: int = 0, *, split: str = "train", years: int = 8, first: int = 2017
) -> RegionRecord:
    """A named region with strata."""
    strata = {
        "biome": BIOMES[index % 3],
        "stratum": ("irrigated", "desert")[index % 2],
        "country": COUNTRIES[index % 4],
        "continent": "Africa",
        "role": ("change-prone", "stable")[index % 2],
    }
    return RegionRecord(f"toy-{index + 1:02d}", split, strata, dates(years, first))


def splits(regions: int) -> tuple[str, ...]:
    """About half train, a tenth (at least one) val, the rest test."""
    train = max(1, regions // 2)
    val = max(1, regions // 10) if regions > 2 else 0
    return ("train",) * train + ("val",) * val + ("test",) * (regions - train - val)


def store_meta(metas: dict[str, SensorMeta], **changes: Any) -> StoreMeta:
    """Metadata of a simulated, complete yearly store."""
    options: dict[str, Any] = {
        "kind": "series",
        "recipe": {"name": "toy"},
        "lock_digest": None,
        "compositor": "median@1",
        "simulated": True,
        "complete": True,
        "missing": (),
        "step": "P1Y",
        "default_preset": "tiny",
        "default_protocol": "year7",
        "sensors": metas,
        "simulation": {"seed": 0},
    }
    return StoreMeta(**{**options, **changes})


@contextmanager
def little_room(size: int) -> Iterator[None]:
    """No file of this process may grow beyond ``size`` bytes: writes fail as on a full device."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write_store(
    path: Path,
    *,
    regions: int = 6,
    size: int = 64,
    years: int = 8,
    bands: tuple[str, ...] = BANDS,
    sensor: str = "s2",
    seed: int = 0,
    invalid: float = 0.02,
    floor: bool = True,
    codec: str = "zstd",
    first: int = 2017,
    split: tuple[str, ...] | None = None,
    meta: SensorMeta | None = None,
    **changes: Any,
) -> Store:
    """Write a tiny store at ``path`` and open it; ``changes`` go into its ``StoreMeta``."""
    meta = meta or sensor_meta(sensor, bands)
    for index, part in enumerate(split or splits(regions)):
        made = arrays(
            index, size=size, years=years, meta=meta, seed=seed, invalid=invalid, floor=floor,
            first=first, gsd=meta.gsd,
        )  # fmt: skip
        write_region(
            path,
            record(index, split=part, years=years, first=first),
            {meta.name: made},
            {meta.name: meta},
            codec=codec,
        )
    finalise(path, store_meta({meta.name: meta}, **changes))
    return open_store(path)
