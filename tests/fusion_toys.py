"""Tiny stores and samples of fusion: two sensors, hand-made numbers, written by the real writer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import toys
from torch import Tensor

from rsbench.core.grid import Grid, Window
from rsbench.models.api import Frames, Given, SampleRef, Want
from rsbench.models.noise import Noise
from rsbench.store.layout import RegionRecord, SensorArrays, SensorMeta
from rsbench.store.read import Store, open_store
from rsbench.store.write import finalise, write_region

BANDS = ("red", "nir")
FINE, COARSE = "fine", "coarse"


def days(count: int, first: str = "2020-01-01", step: int = 16) -> tuple[date, ...]:
    """Dates 16 days apart."""
    return tuple(date.fromisoformat(first) + timedelta(step * i) for i in range(count))


def metas(
    bands: tuple[str, ...] = BANDS, *, ratio: int = 4, changes: dict[str, Any] | None = None
) -> dict[str, SensorMeta]:
    """A fine sensor of 30 m and a coarse one; ``changes`` are of the coarse one."""
    fine = toys.sensor_meta(FINE, bands, gsd=30.0, display=None)
    coarse = {"gsd": 30.0 * ratio, "display": None, **(changes or {})}
    return {FINE: fine, COARSE: toys.sensor_meta(COARSE, coarse.pop("bands", bands), **coarse)}


def write_triplets(
    path: Path,
    *,
    splits: Sequence[str] = ("test",),
    size: tuple[int, int] = (24, 32),
    ratio: int = 4,
    times: Sequence[date] | None = None,
    coarse_times: Sequence[date] | None = None,
    bands: tuple[str, ...] = BANDS,
    coarse: dict[str, Any] | None = None,
    on_fine_grid: bool = False,
    stored: str = "uint16",
    shift: float = 0.0,
    coarse_invalid: Sequence[int] = (),
    seed: int = 0,
) -> Store:
    """Write a store of triplets and open it.

    Args:
        splits: split of every region.
        size: height and width in fine pixels.
        ratio: fine pixels along a coarse pixel.
        coarse: changes of the coarse sensor's metadata.
        on_fine_grid: store coarse images repeated onto the fine grid, of any size.
        stored: ``uint16`` of reflectance × 10000, or ``float32`` of reflectance.
        shift: eastward error of the coarse grid in metres.
        coarse_invalid: indices of coarse dates without any valid pixel.
    """
    known = metas(bands, ratio=ratio, changes=coarse)
    if stored == "float32":
        known = {
            name: replace(meta, dtype="float32", scale=1.0, nodata=-9999.0)
            for name, meta in known.items()
        }
    when = tuple(times or days(3))
    low_when = tuple(coarse_times or when)
    height, width = size
    for index, split in enumerate(splits):
        rng = np.random.default_rng([seed, index])
        a, b, c, d, e, f = toys.grid(index, gsd=30.0).transform
        grid = Grid("EPSG:32633", (a, b, c, d, e, f), height, width)
        fine = rng.integers(500, 4000, (len(when), len(bands), height, width)).astype(np.uint16)
        wide = (height // ratio, width // ratio)
        if on_fine_grid:
            wide = (-(-height // ratio), -(-width // ratio))
        low = rng.integers(500, 4000, (len(low_when), len(bands), *wide)).astype(np.uint16)
        low_grid = Grid("EPSG:32633", (a * ratio, b, c + shift, d, e * ratio, f), *wide)
        if on_fine_grid:
            low = low.repeat(ratio, axis=2).repeat(ratio, axis=3)[..., :height, :width]
            low_grid = grid
        if stored == "float32":
            fine, low = (np.float32(1e-4) * image for image in (fine, low))
        low_valid = np.ones((len(low_when), *low.shape[2:]), np.bool_)
        low_valid[list(coarse_invalid)] = False
        seen = rng.random((len(when), height, width)) > 0.05
        arrays = {
            FINE: SensorArrays(fine, seen, seen.astype(np.uint16), when, grid),
            COARSE: SensorArrays(low, low_valid, low_valid.astype(np.uint16), low_when, low_grid),
        }
        record = RegionRecord(f"place-{index + 1}", split, {"stratum": "calm"}, when)
        write_region(path, record, arrays, known)
    finalise(
        path,
        toys.store_meta(
            known, kind="triplets", step="irregular", default_protocol="fusion2",
            default_preset="default", compositor="toy@1",
        ),
    )  # fmt: skip
    return open_store(path)


def sample(
    fine: Tensor,
    coarse: Tensor,
    *,
    target: int = 1,
    fine_valid: Tensor | None = None,
    coarse_valid: Tensor | None = None,
    footprint: int = 1,
    members: int = 1,
    value_range: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
) -> tuple[Given, Want]:
    """Make one batch from ``(B, K, C, H, W)`` fine and ``(B, K + 1, C, H, W)`` coarse images.

    Coarse images stand in order of time; ``target`` is the place of the target date among them.
    """
    B, K, C, H, W = fine.shape
    bands = tuple(f"b{i + 1}" for i in range(C))
    times = (18_000 + 16 * torch.arange(K + 1)).expand(B, -1).clone()
    refs = [k for k in range(K + 1) if k != target]

    def frames(values: Tensor, valid: Tensor | None, at: list[int], span: int) -> Frames:
        shown = torch.ones(values[:, :, :1].shape, dtype=torch.bool) if valid is None else valid
        return Frames(
            values[:, None].float(), shown[:, None], times[:, at], bands, "reflectance",
            (False,) * len(at), value_range, span,
        )  # fmt: skip

    windows = tuple(SampleRef("place", f"place:{b}", Window(0, 0, H, W)) for b in range(B))
    grid = Grid("EPSG:32633", (30.0, 0.0, 300000.0, 0.0, -30.0, 5100000.0), H, W)
    given = Given(
        {
            FINE: frames(fine, fine_valid, refs, 1),
            COARSE: frames(coarse, coarse_valid, list(range(K + 1)), footprint),
        },
        dict.fromkeys((FINE, COARSE), (grid,) * B),
        windows,
    )
    want = Want(
        FINE, bands, times[:, target : target + 1].clone(), (grid,) * B, windows, members,
        Noise(seed), "each",
    )  # fmt: skip
    return given, want
