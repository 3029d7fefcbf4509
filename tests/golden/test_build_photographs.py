"""Real photographs of one day in two zones, brought to one grid; skipped without test data."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from rsbench.build.read.warp import warp
from rsbench.core.grid import Grid

DATA = os.environ.get("RSBENCH_TEST_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="RSBENCH_TEST_DATA is not set")
SEAM = Path(DATA or ".") / "dev" / "high_res" / "naip_utm_seam_2016"
EAST = SEAM / "m_3607717_sw_18_1_20160620_subset.tif"
WEST = SEAM / "m_3607824_se_17_1_20160620_subset.tif"


def test_photographs_of_two_zones_agree_where_they_overlap() -> None:
    grid = Grid("EPSG:32618", (1.0, 0.0, 230_700.0, 0.0, -1.0, 4_057_700.0), 1000, 1200)
    east, in_east, kernel = warp(str(EAST), [1, 2, 3, 4], grid)
    west, in_west, _ = warp(str(WEST), [1, 2, 3, 4], grid)
    assert kernel == "bilinear"
    assert in_east.sum() == pytest.approx(300 * 300, rel=0.02)
    both = in_east & in_west
    assert both.sum() > 5000

    def agreement(down: int, right: int) -> float:
        moved = np.roll(west, (down, right), axis=(1, 2))
        pairs = zip(east.astype(float), moved.astype(float), strict=True)
        return min(float(np.corrcoef(a[both], b[both])[0, 1]) for a, b in pairs)

    assert agreement(0, 0) > 0.99
    # One metre beside, far less of it is the same.
    assert max(agreement(*by) for by in ((0, 1), (1, 0), (0, -1), (-1, 0))) < 0.95


def test_the_same_photograph_on_a_coarser_grid_is_its_area_mean() -> None:
    fine = Grid("EPSG:26918", (1.0, 0.0, 231_431.0, 0.0, -1.0, 4_057_292.0), 300, 300)
    wide = Grid("EPSG:26918", (10.0, 0.0, 231_431.0, 0.0, -10.0, 4_057_292.0), 30, 30)
    pixels, valid, _ = warp(str(EAST), [1, 4], fine)
    low, whole, kernel = warp(str(EAST), [1, 4], wide)
    assert kernel == "average"
    assert valid.all()
    assert whole.all()
    mean = pixels.reshape(2, 30, 10, 30, 10).mean(axis=(2, 4))
    assert np.abs(low - mean).max() <= 1.0
