"""How long scoring takes, beside torchmetrics' separate classes, interleaved in one run.

Every round times the contender and then ours, so a busy machine slows both. Medians and spreads
stand in ``extra_info`` of the JSON that ``--benchmark-json`` writes. Nothing here fails on time.

    python -m pytest tests/bench/test_bench_metrics.py --benchmark-json results/bench/metrics.json
"""

from __future__ import annotations

import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from side_by_side import paired
from torch.nn.functional import conv2d, interpolate
from torchmetrics.image import (
    ErrorRelativeGlobalDimensionlessSynthesis,
    PeakSignalNoiseRatio,
    SpectralAngleMapper,
    StructuralSimilarityIndexMeasure,
)

import rsbench as rb
from rsbench.metrics import metric_info

FOUR = ("ssim@1", "psnr@1", "ergas.r1@1", "sam@1")
OTHERS = tuple(
    m.id
    for m in metric_info(probe=False)
    if m.available
    and m.kind == "image"
    and not m.needs
    and not m.coarser
    and m.id not in FOUR
    and not m.published
)
ROUNDS = 15
THREADS = 2


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def pair(n: int, c: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    t = torch.rand(n, c, side, side, generator=g) * 0.5
    return (t + 0.05 * torch.randn(t.shape, generator=g)).clamp(0, 1), t


def separate_classes(p: torch.Tensor, t: torch.Tensor) -> None:
    """SSIM, PSNR per image, ERGAS and SAM as torchmetrics offers them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for metric in (
            StructuralSimilarityIndexMeasure(data_range=1.0),
            PeakSignalNoiseRatio(data_range=1.0, dim=(1, 2, 3)),
            ErrorRelativeGlobalDimensionlessSynthesis(ratio=1),
            SpectralAngleMapper(),
        ):
            metric.update(p, t)
            metric.compute()


def side_by_side(
    benchmark: BenchmarkFixture, ours: Callable[[], object], theirs: Callable[[], object]
) -> list[tuple[float, float]]:
    """Time both in every round; return (ours, theirs) in milliseconds per round."""
    other: list[float] = []
    mine: list[float] = []

    def timed(into: list[float], call: Callable[[], object]) -> None:
        start = time.perf_counter()
        call()
        into.append(1e3 * (time.perf_counter() - start))

    benchmark.pedantic(
        lambda: timed(mine, ours), setup=lambda: timed(other, theirs), rounds=ROUNDS,
        warmup_rounds=2, iterations=1,
    )  # fmt: skip
    return list(zip(mine, other, strict=True))[2:]


def spread(values: list[float]) -> list[float]:
    """Lower quartile, median, upper quartile."""
    return [round(q, 3) for q in statistics.quantiles(values, n=4)]


@pytest.mark.parametrize(
    ("n", "c", "side"), [(16, 3, 128), (16, 6, 128), (64, 6, 128), (16, 3, 256), (4, 6, 512)]
)
def test_four_metrics_against_separate_classes(
    benchmark: BenchmarkFixture, n: int, c: int, side: int
) -> None:
    p, t = pair(n, c, side)
    rounds = side_by_side(
        benchmark,
        lambda: rb.metrics.compute(FOUR, p, t, data_range=1.0),
        lambda: separate_classes(p, t),
    )
    benchmark.extra_info.update(
        shape=[n, c, side, side], threads=THREADS,
        ours_ms=spread([a for a, _ in rounds]), torchmetrics_ms=spread([b for _, b in rounds]),
        ratio=spread([b / a for a, b in rounds]),
    )  # fmt: skip


def test_four_metrics_on_one_thread(benchmark: BenchmarkFixture) -> None:
    """The same by processor time, which other programs on the machine change least."""
    torch.set_num_threads(1)
    p, t = pair(16, 6, 128)
    found = paired(
        benchmark,
        lambda: separate_classes(p, t),
        lambda: rb.metrics.compute(FOUR, p, t, data_range=1.0),
        rounds=ROUNDS,
    )
    benchmark.extra_info.update(found, shape=[16, 6, 128, 128], threads=1)


FIVE = ("mae@1", "mse@1", "psnr@1", "ssim@1", "gssim.sobel3-zero@1")
PUBLISHED = ("mae.clip@1", "mse.clip@1", "psnr.clip@1", "ssim.zero@1", "gssim.sobel3-zero@1")


def window(channels: int) -> torch.Tensor:
    offsets = torch.arange(11.0) - 5
    taps = torch.exp(-offsets.square() / 4.5)
    taps /= taps.sum()
    return torch.outer(taps, taps).expand(channels, 1, 11, 11)


def plain_ssim(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Zero-padded SSIM of one image pair, as described: five depthwise convolutions."""
    kernel = window(x.shape[1])

    def blur(z: torch.Tensor) -> torch.Tensor:
        return conv2d(z, kernel, padding=5, groups=z.shape[1])

    mx, my = blur(x), blur(y)
    sx, sy, sxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    top = (2 * mx * my + 1e-4) * (2 * sxy + 9e-4)
    return (top / ((mx * mx + my * my + 1e-4) * (sx + sy + 9e-4))).mean()


def plain_gssim(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Three scales of Sobel magnitudes, each stretched to its own range, on three equal bands."""
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]).view(1, 1, 3, 3)
    found = []
    for scale in (1.0, 0.5, 0.25):
        maps = []
        for image in (x, y):
            small = image
            if scale != 1.0:
                small = interpolate(image, scale_factor=scale, mode="bilinear")
            grey = small.mean(1, keepdim=True)
            gx, gy = (conv2d(grey, k, padding=1) for k in (across, across.mT))
            size = (gx * gx + gy * gy + 1e-8).sqrt()
            size = (size - size.min()) / (size.max() - size.min() + 1e-8)
            maps.append(size.repeat(1, 3, 1, 1))
        found.append(plain_ssim(maps[0], maps[1]))
    return torch.stack(found).mean()


def image_by_image(p: torch.Tensor, t: torch.Tensor) -> dict[str, list[float]]:
    """A loop over images as the public evaluation is described, each number by itself."""
    found: dict[str, list[float]] = {metric: [] for metric in PUBLISHED}
    with torch.no_grad():
        for x, y in zip(p.clamp(0, 1).split(1), t.clamp(0, 1).split(1), strict=True):
            mse = (x - y).square().mean().item()
            values = ((x - y).abs().mean().item(), mse, -10 * math.log10(max(mse, 1e-10)),
                      plain_ssim(x, y).item(), plain_gssim(x, y).item())  # fmt: skip
            for metric, value in zip(PUBLISHED, values, strict=True):
                found[metric].append(value)
    return found


@pytest.mark.parametrize(("n", "c", "side"), [(16, 3, 128), (64, 6, 128), (4, 6, 512)])
def test_five_metrics_against_a_loop_over_images(
    benchmark: BenchmarkFixture, n: int, c: int, side: int
) -> None:
    p, t = pair(n, c, side)
    theirs = image_by_image(p, t)  # computes what the script computes
    for metric, values in rb.metrics.compute(PUBLISHED, p, t, data_range=1.0).items():
        assert values.tolist() == pytest.approx(theirs[metric], rel=1e-4), metric
    rounds = side_by_side(
        benchmark,
        lambda: rb.metrics.compute(FIVE, p, t, data_range=1.0),
        lambda: image_by_image(p, t),
    )
    benchmark.extra_info.update(
        shape=[n, c, side, side], threads=THREADS,
        ours_ms=spread([a for a, _ in rounds]), loop_ms=spread([b for _, b in rounds]),
        ratio=spread([b / a for a, b in rounds]),
    )  # fmt: skip


@pytest.mark.parametrize("single", FOUR)
def test_one_metric_against_its_class(benchmark: BenchmarkFixture, single: str) -> None:
    """Where ours loses: a class that does little work has less to check."""
    p, t = pair(16, 3, 128)
    kinds: dict[str, Callable[[], torch.nn.Module]] = {
        "ssim@1": lambda: StructuralSimilarityIndexMeasure(data_range=1.0),
        "psnr@1": lambda: PeakSignalNoiseRatio(data_range=1.0, dim=(1, 2, 3)),
        "ergas.r1@1": lambda: ErrorRelativeGlobalDimensionlessSynthesis(ratio=1),
        "sam@1": SpectralAngleMapper,
    }
    make = kinds[single]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rounds = side_by_side(
            benchmark,
            lambda: rb.metrics.compute([single], p, t, data_range=1.0),
            lambda: make()(p, t),
        )
    benchmark.extra_info.update(
        ours_ms=spread([a for a, _ in rounds]), torchmetrics_ms=spread([b for _, b in rounds]),
        ratio=spread([b / a for a, b in rounds]),
    )  # fmt: skip


@pytest.mark.parametrize("metric", OTHERS)
def test_what_one_more_metric_costs(benchmark: BenchmarkFixture, metric: str) -> None:
    p, t = pair(16, 3, 128)
    rounds = side_by_side(
        benchmark,
        lambda: rb.metrics.compute([*FOUR, metric], p, t, data_range=1.0),
        lambda: rb.metrics.compute(FOUR, p, t, data_range=1.0),
    )
    benchmark.extra_info.update(extra_ms=spread([a - b for a, b in rounds]))


def test_masked_scoring(benchmark: BenchmarkFixture) -> None:
    p, t = pair(16, 3, 128)
    valid = torch.nn.functional.avg_pool2d(torch.rand(16, 1, 128, 128), 15, 1, 7) > 0.47
    rounds = side_by_side(
        benchmark,
        lambda: rb.metrics.image_metrics(FOUR, p, t, valid=valid, data_range=1.0),
        lambda: rb.metrics.compute(FOUR, p, t, data_range=1.0),
    )
    benchmark.extra_info.update(
        masked_ms=spread([a for a, _ in rounds]), clear_ms=spread([b for _, b in rounds])
    )
