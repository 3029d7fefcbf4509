"""LPIPS with the published weights, against values that another implementation printed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import rsbench as rb
from rsbench.metrics.images import ImageOptions
from rsbench.metrics.rgb import RgbMapping

DATA = os.environ.get("RSBENCH_TEST_DATA")
FOLDER = Path(DATA or "") / "weights"
pytestmark = pytest.mark.skipif(
    not (DATA and FOLDER.is_dir()), reason="RSBENCH_TEST_DATA names no weights"
)


@pytest.fixture(autouse=True)
def _weights(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchmetrics")  # its wheel brings the published heads
    monkeypatch.setenv("RSBENCH_WEIGHTS", str(FOLDER))


def picture(name: str) -> torch.Tensor:
    from matplotlib.image import imread

    pixels = np.round(np.asarray(imread(FOLDER / name))[..., :3] * 255)
    return torch.from_numpy((pixels / 127.5 - 1).astype(np.float32).transpose(2, 0, 1)[None].copy())


def value(net: str, a: torch.Tensor, b: torch.Tensor) -> list[float]:
    # The published packages take images in [−1, 1].
    found = rb.metrics.compute([f"lpips.{net}@1"], a, b, data_range=(-1.0, 1.0), unit="display")
    return found[f"lpips.{net}@1"].tolist()


@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_lpips_equals_the_package_it_is_named_after(net: str) -> None:
    golden = json.loads((FOLDER / "lpips_goldens.json").read_text(encoding="utf-8"))[net]
    reference = picture("lpips_ex_ref.png")
    for other in ("p0", "p1"):
        found = value(net, reference, picture(f"lpips_ex_{other}.png"))
        assert found == pytest.approx([golden[f"ex_ref__ex_{other}"]], abs=1e-5)
    g = np.random.default_rng(0)
    x = g.random((4, 3, 128, 128), dtype=np.float32) * 2 - 1
    y = np.clip(x + 0.2 * g.standard_normal(x.shape).astype(np.float32), -1, 1)
    found = value(net, torch.from_numpy(x), torch.from_numpy(y))
    assert found == pytest.approx(golden["rng0_128"], abs=1e-5)


def test_reflectance_is_seen_through_the_fixed_stretch() -> None:
    g = torch.Generator().manual_seed(0)
    six = 0.3 * torch.rand(2, 6, 64, 64, generator=g)
    other = (six + 0.02 * torch.randn(six.shape, generator=g)).clamp(0, 1)
    rgb = RgbMapping((2, 1, 0), "reflectance")
    seen = rb.metrics.compute(["lpips.alex@1"], other, six, data_range=1.0, display=rgb)
    shown = [((x / 0.6).clamp(0, 1) ** (1 / 2.2))[:, [2, 1, 0]] for x in (other, six)]
    by_hand = rb.metrics.compute(["lpips.alex@1"], *shown, data_range=1.0, unit="display")
    assert seen["lpips.alex@1"].tolist() == pytest.approx(by_hand["lpips.alex@1"].tolist())
    # The near infrared is invisible to it.
    blind = other.clone()
    blind[:, 3:] = 0.0
    again = rb.metrics.compute(["lpips.alex@1"], blind, six, data_range=1.0, display=rgb)
    assert torch.equal(again["lpips.alex@1"], seen["lpips.alex@1"])


def test_what_lies_under_the_mask_changes_nothing() -> None:
    g = torch.Generator().manual_seed(1)
    t = torch.rand(3, 3, 64, 64, generator=g)
    p = (t + 0.1 * torch.randn(t.shape, generator=g)).clamp(0, 1)
    valid = torch.ones(3, 1, 64, 64, dtype=torch.bool)
    valid[0, :, :16] = False  # a quarter: scored
    valid[1, :, :32] = False  # half: no value
    seen = {"valid": valid, "data_range": 1.0, "options": ImageOptions(unit="display")}
    found = rb.metrics.image_metrics(["lpips.squeeze@1"], p, t, **seen)
    result = found["lpips.squeeze@1"]
    assert result.ok.tolist() == [True, False, True]
    assert result.counts["few_valid"] == 1
    p[:, :, :16] = torch.where(valid[:, :, :16], p[:, :, :16], 9e9)
    again = rb.metrics.image_metrics(["lpips.squeeze@1"], p, t, **seen)
    assert torch.equal(again["lpips.squeeze@1"].value[[0, 2]], result.value[[0, 2]])
    same = rb.metrics.compute(["lpips.squeeze@1"], t, t.clone(), data_range=1.0, unit="display")
    assert same["lpips.squeeze@1"].tolist() == [0.0, 0.0, 0.0]
