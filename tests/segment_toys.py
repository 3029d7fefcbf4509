"""Small stores with labels: coloured blocks, one class per colour, with noise."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from support.kept_stores import kept

from rsbench.core.grid import Grid
from rsbench.store.layout import RegionRecord, SensorArrays, SensorMeta, StoreMeta
from rsbench.store.read import Store, open_store
from rsbench.store.write import finalise, write_region

MR, HR = "s2", "naip"
BANDS = ("B02", "B03", "B04", "B08")
RATIO = 4
CODES = {1: "water", 2: "trees", 5: "crops"}
COLOURS = {1: (600, 500, 300, 200), 2: (400, 600, 400, 3000), 5: (800, 1000, 1200, 2600)}


def meta(name: str, unit: str, dtype: str, gsd: float) -> SensorMeta:
    scale = 1e-4 if unit == "reflectance" else 1.0
    top = 1.0 if unit == "reflectance" else 255.0
    return SensorMeta(
        name, BANDS, unit, dtype, scale, 0.0, 0, gsd, (0.0, top),
        (BANDS[2], BANDS[1], BANDS[0]),
    )  # fmt: skip


def about(**changes: Any) -> Mapping[str, Any]:
    return {
        "rsbench:labels": "toy-cover", "nodata": 0,
        "rsbench:classes": {str(code): name for code, name in CODES.items()}, **changes,
    }  # fmt: skip


def region(number: int, size: int = 32, **changes: Any) -> dict[str, SensorArrays]:
    """Return arrays of both sensors; labels of 8×8 blocks, one strip without any."""
    draw = np.random.default_rng([7, number])
    blocks = draw.choice(list(CODES), size=(size // 8, size // 8))
    codes = blocks.repeat(8, 0).repeat(8, 1).astype(np.uint8)
    colour = np.zeros((4, size, size))
    for code, values in COLOURS.items():
        colour[:, codes == code] = np.array(values)[:, None]
    values = np.clip(colour + draw.normal(0, 150, colour.shape), 1, None).astype(np.uint16)
    labels = codes.copy()
    labels[:2] = 0
    valid = np.ones((1, size, size), np.bool_)
    valid[0, -1] = False
    day = (date(2020, 7, number % 20 + 1),)
    west, north = 500_000.0 + 20_000 * number, 4_600_000.0
    grid = Grid("EPSG:32615", (10.0, 0.0, west, 0.0, -10.0, north), size, size)
    fine = Grid("EPSG:32615", (10 / RATIO, 0.0, west, 0.0, -10 / RATIO, north),
                size * RATIO, size * RATIO)  # fmt: skip
    photo = (colour / 16).clip(0, 254).repeat(RATIO, 1).repeat(RATIO, 2).astype(np.uint8)
    everywhere = np.ones((1, *photo.shape[1:]), np.bool_)
    return {
        MR: SensorArrays(
            values[None], valid, valid.astype(np.uint16), day, grid, labels=labels[None],
            about={"labels": about(**changes)},
        ),
        HR: SensorArrays(photo[None], everywhere, everywhere.astype(np.uint16), day, fine),
    }  # fmt: skip


@kept
def write_store(
    root: Path, *, regions: int = 20, kind: str = "pairs", finer: bool = True, **changes: Any
) -> Store:
    """Write a store of pairs: half of its regions for training, a fifth for validation."""
    metas = {
        MR: meta(MR, "reflectance", "uint16", 10.0), HR: meta(HR, "display", "uint8", 10 / RATIO)
    }  # fmt: skip
    metas = metas if finer else {MR: metas[MR]}
    for number in range(regions):
        split = ("train", "val", "test", "train", "test")[number % 5]
        arrays = {name: item for name, item in region(number, **changes).items() if name in metas}
        record = RegionRecord(f"place-{number:02d}", split, {}, arrays[MR].times)
        write_region(root, record, arrays, metas)
    about_store = StoreMeta(
        kind, {"name": "toy-pairs"}, None, "pair@1", simulated=True, complete=True, missing=(),
        step="irregular", default_preset="tiny", default_protocol="segment", sensors=metas,
    )  # fmt: skip
    finalise(root, about_store)
    return open_store(root)
