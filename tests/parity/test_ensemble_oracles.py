"""Ensemble scores against plain loops and what theory says of exchangeable members."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import rsbench as rb
from rsbench.core.errors import InputError, PixelError
from rsbench.metrics import member_metrics

IDS = ("crps.fair@1", "spread.skill@1", "rank.deviation@1")


def ensemble(m: int = 4, n: int = 2, c: int = 2, side: int = 5, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.rand(n, m, c, side, side, generator=g, dtype=torch.float64)


def test_scores_are_what_plain_loops_give() -> None:
    x = ensemble()
    y = torch.rand(2, 2, 5, 5, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    valid = torch.rand(2, 1, 5, 5, generator=torch.Generator().manual_seed(8)) > 0.3
    found = member_metrics(IDS, x, y, valid=valid, data_range=1.0)
    for image in range(2):
        crps, variance, squared = [], [], []
        ranks = np.zeros(5)
        for c in range(2):
            for row in range(5):
                for column in range(5):
                    if not valid[image, 0, row, column]:
                        continue
                    members = x[image, :, c, row, column].tolist()
                    truth = float(y[image, c, row, column])
                    near = sum(abs(v - truth) for v in members) / 4
                    among = sum(abs(a - b) for a in members for b in members) / (2 * 4 * 3)
                    crps.append(near - among)
                    variance.append(np.var(members, ddof=1))
                    squared.append((np.mean(members) - truth) ** 2)
                    ranks[sum(v < truth for v in members)] += 1
        assert float(found["crps.fair@1"].value[image]) == pytest.approx(np.mean(crps), rel=1e-9)
        ratio = math.log10(math.sqrt(5 / 4 * np.mean(variance) / np.mean(squared)))
        assert float(found["spread.skill@1"].value[image]) == pytest.approx(ratio, rel=1e-9)
        flat = np.abs(ranks / ranks.sum() - 1 / 5).sum()
        assert float(found["rank.deviation@1"].value[image]) == pytest.approx(flat, rel=1e-9)


def test_fair_crps_does_not_reward_size() -> None:
    """Members and truth from one distribution: its mean is σ/√π for any number of members."""
    g = torch.Generator().manual_seed(1)
    y = torch.randn(1, 1, 300, 300, generator=g, dtype=torch.float64)
    for size in (2, 5, 20):
        x = torch.randn(1, size, 1, 300, 300, generator=g, dtype=torch.float64)
        found = member_metrics(IDS, x, y, data_range=1.0)
        assert float(found["crps.fair@1"].value[0]) == pytest.approx(
            1 / math.sqrt(math.pi), rel=0.02
        )
        assert float(found["spread.skill@1"].value[0]) == pytest.approx(0.0, abs=0.01)
        assert float(found["rank.deviation@1"].value[0]) < 0.03
        histogram = [found["rank.deviation@1"].counts[f"rank {r}"] for r in range(size + 1)]
        assert sum(histogram) == pytest.approx(90_000, abs=size)


def test_equal_members_are_one_forecast() -> None:
    y = torch.rand(1, 2, 6, 6, generator=torch.Generator().manual_seed(2))
    x = torch.full_like(y, 0.5)
    found = member_metrics(IDS, x[:, None].expand(-1, 3, -1, -1, -1), y, data_range=1.0)
    mae = rb.metrics.compute(["mae@1"], x, y, data_range=1.0)["mae@1"]
    assert float(found["crps.fair@1"].value[0]) == pytest.approx(float(mae[0]), rel=1e-6)
    assert not found["spread.skill@1"].ok[0]  # no spread: no ratio, and not −∞
    same = member_metrics(IDS, y[:, None].expand(-1, 3, -1, -1, -1), y, data_range=1.0)
    assert float(same["crps.fair@1"].value[0]) == 0.0
    assert float(same["rank.deviation@1"].value[0]) == pytest.approx(0.0, abs=1e-6)  # ties share


def test_order_and_masked_content_change_nothing() -> None:
    x, y = ensemble(5), ensemble(1, seed=3)[:, 0]
    valid = torch.rand(2, 1, 5, 5, generator=torch.Generator().manual_seed(8)) > 0.3
    found = member_metrics(IDS, x, y, valid=valid, data_range=1.0)
    dirty = torch.where(valid[:, None], x, torch.nan)[:, [3, 1, 0, 4, 2]]
    again = member_metrics(IDS, dirty, y, valid=valid, data_range=1.0)
    for metric in IDS:
        assert again[metric].value.tolist() == pytest.approx(found[metric].value.tolist())


def test_bad_ensembles_are_refused() -> None:
    x, y = ensemble(), ensemble(1, seed=3)[:, 0]
    with pytest.raises(InputError, match="two members"):
        member_metrics(IDS, x[:, :1], y, data_range=1.0)
    with pytest.raises(InputError, match=r"rsbench\.metrics\.compute"):
        member_metrics(["mae@1"], x, y, data_range=1.0)
    broken = x.clone()
    broken[1, 2, 0, 0, 0] = torch.nan
    with pytest.raises(PixelError, match="image 1"):
        member_metrics(IDS, broken, y, data_range=1.0)
