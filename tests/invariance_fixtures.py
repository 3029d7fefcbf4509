"""Images and their unit rows, light enough for a second process to import."""

from __future__ import annotations

import pandas as pd
import torch

from rsbench.metrics import image_metrics, suite

SIDE = 32


def images(seed: int, n: int = 6, c: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Truth, the frame before it, and a prediction; some blocks change."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, c, SIDE // 8, SIDE // 8, generator=g)
    before = torch.nn.functional.interpolate(coarse, scale_factor=8) * 0.5 + 0.2
    block = (torch.rand(n, 1, SIDE // 8, SIDE // 8, generator=g) < 0.2).float()
    jump = 0.3 * torch.nn.functional.interpolate(block, scale_factor=8)
    truth = before + jump + 0.01 * torch.randn(before.shape, generator=g)
    return truth, before, truth + 0.05 * torch.randn(truth.shape, generator=g)


def units_of(p: torch.Tensor, t: torch.Tensor, places: list[int]) -> pd.DataFrame:
    """Unit rows of some images; the region is the image's place among all."""
    rows = []
    found = image_metrics(suite("standard"), p, t, data_range=1.0)
    for metric, values in found.items():
        for place, value in zip(places, values.value.tolist(), strict=True):
            rows.append({"metric": metric, "region": place, "value_sum": value, "weight": 1.0})
    return pd.DataFrame(rows)
