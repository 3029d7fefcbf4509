"""LPIPS and the features of FID and KID beside their plain form, interleaved, on one thread.

LPIPS needs the published weights: RSBENCH_TEST_DATA names a folder with ``weights``.

    python -m pytest tests/bench/test_bench_features.py --benchmark-json results/bench/features.json
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import plain_features as plain
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from side_by_side import paired

from rsbench.metrics import inception, perceptual
from rsbench.metrics.engine import exact
from rsbench.metrics.frechet import polynomial_mmd
from rsbench.metrics.perceptual import Net
from rsbench.metrics.weights import find


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with exact():
        yield
    torch.set_num_threads(before)


def pair(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    t = torch.rand(n, 3, 128, 128, generator=g)
    return (t + 0.05 * torch.randn(t.shape, generator=g)).clamp(0, 1), t


@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_lpips_beside_its_plain_form(
    benchmark: BenchmarkFixture, net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(os.environ.get("RSBENCH_TEST_DATA", "")) / "weights"
    if not folder.is_dir():
        pytest.skip("RSBENCH_TEST_DATA holds no weights")
    monkeypatch.setenv("RSBENCH_WEIGHTS", str(folder))
    p, t = pair(8)
    device = torch.device("cpu")
    state = perceptual._backbone(net, device, find(perceptual.BACKBONES[net])[1])
    rows = {name: value.contiguous() for name, value in state.items()}
    heads = perceptual._heads(net, device, find(f"lpips-{net}")[1])
    torch.testing.assert_close(
        plain.lpips(net, rows, heads, p, t).double(), perceptual.distance(net, p, t),
        rtol=1e-4, atol=1e-6,
    )  # fmt: skip
    found = paired(
        benchmark,
        lambda: plain.lpips(net, rows, heads, p, t),
        lambda: perceptual.distance(net, p, t),
    )
    benchmark.extra_info.update(found, shape="8×3×128×128", threads=1)


def test_kid_beside_its_plain_form(
    benchmark: BenchmarkFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features of 2048 layers of two sets of 8 images, and the unbiased squared MMD."""
    raw = plain.inception_weights()
    monkeypatch.setattr(inception, "read_weights", lambda name: raw)
    monkeypatch.setattr(inception, "find", lambda name: (None, "random"))
    p, t = pair(8)

    def ours() -> float:
        a, b = (inception.features(x, 2048, rounding="round", antialias=False)[2048]
                for x in (p, t))  # fmt: skip
        return polynomial_mmd(a, b, None).value

    def plainly() -> float:
        found = []
        with monkeypatch.context() as patch:
            patch.setattr(inception, "_conv", plain.inception_conv(raw))
            for x in (p, t):
                shown = inception.resized(inception.to_bytes(x, "round"), antialias=False)
                *_, last = inception._stages({}, ((shown - 128) / 128).contiguous())
                found.append(last.mean((2, 3)).double())
        (xx, yy, xy), n = (
            [(a @ b.T / 2048 + 1) ** 3 for a, b in (found[:1] * 2, found[1:] * 2, found)], len(t),
        )  # fmt: skip
        among = sum(float(k.sum() - k.trace()) for k in (xx, yy)) / (n * (n - 1))
        return among - 2 * float(xy.mean())

    assert ours() == pytest.approx(plainly(), rel=1e-3)
    found = paired(benchmark, plainly, ours, rounds=3)
    inception._state.cache_clear()
    benchmark.extra_info.update(found, shape="2 × 8×3×128×128", threads=1)
