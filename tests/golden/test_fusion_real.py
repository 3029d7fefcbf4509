"""Fusion of real imagery; skipped without RSBENCH_TEST_DATA.

The numbers of Kranj were worked out by a separate program on the same files: two dates of Landsat,
three of MODIS, 44×45 pixels, six bands. ERGAS is at a ratio of 16, SAM in radians.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from fusion_toys import sample

from rsbench.metrics import compute
from rsbench.models.registry import card, create_model
from rsbench.models.rollout import collect

DATA = os.environ.get("RSBENCH_TEST_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="RSBENCH_TEST_DATA is not set")
PAIRS = Path(DATA or ".") / "dev" / "coarse_fine"
DAYS = ("068", "077", "093")


def read(path: Path, scale: float) -> npt.NDArray[np.float64]:
    import rasterio

    with rasterio.open(path) as file:
        return np.asarray(file.read()).astype(np.float64) * scale


@pytest.fixture(scope="module")
def kranj() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Fine and coarse images ``(3, 6, 44, 45)``, reflectance."""
    folder = PAIRS / "kranj_2020"
    fine = [read(next((folder / "landsat/filled").glob(f"2020{d}*")), 1e-4) for d in DAYS]
    low = [read(next((folder / "modis/filled").glob(f"2020{d}*")), 1.0) for d in DAYS]
    return np.stack(fine), np.stack(low)


@pytest.mark.parametrize(
    ("name", "options", "pairs", "expected"),
    [
        ("copy_f0", {}, 2, (0.02233, 0.9429, 0.0645, 1.3892)),
        ("copy_f2", {}, 2, (0.01276, 0.9598, 0.0590, 0.7718)),
        ("mean_refs", {}, 2, (0.01401, 0.9718, 0.0527, 0.9093)),
        ("add_change", {}, 2, (0.01768, 0.9429, 0.0833, 1.1317)),
        ("copy_c1", {}, 2, (0.03611, 0.5512, 0.1418, 2.0839)),
        ("starfm", {}, 1, (0.01762, 0.9355, 0.0793, 1.1578)),
        ("estarfm", {}, 2, (0.01253, 0.9737, 0.0661, 0.8115)),
        ("estarfm", {"similar": 20}, 2, (0.01253, 0.9736, 0.0657, 0.8129)),
        ("estarfm", {"largest": 0.0}, 2, (0.01241, 0.9739, 0.0655, 0.8092)),
    ],
    ids=lambda value: str(value) if isinstance(value, str | dict) else None,
)
def test_kranj(
    kranj: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    name: str,
    options: dict[str, Any],
    pairs: int,
    expected: tuple[float, float, float, float],
) -> None:
    """Band means of RMSE and CC, SAM, ERGAS, to 1e-4 (RMSE to 1e-5) of the numbers known."""
    fine, low = kranj
    refs, dates = ([0, 2], [0, 1, 2]) if pairs == 2 else ([0], [0, 1])
    given, want = sample(torch.tensor(fine[refs])[None], torch.tensor(low[dates])[None])
    found = collect(create_model(name, **options), card(name), given, want).values[:, 0, 0]
    truth = torch.tensor(fine[1:2]).float()
    rmse = (found.double() - truth.double()).square().mean(dim=(2, 3)).sqrt().mean()
    assert float(rmse) == pytest.approx(expected[0], abs=1e-5)
    ids = ["cc@1", "sam@1", "ergas.r16@1"]
    cc, sam, ergas = (float(v) for v in compute(ids, found, truth, data_range=1.0).values())
    assert (cc, np.deg2rad(sam), ergas) == pytest.approx(expected[1:], abs=1e-4)
