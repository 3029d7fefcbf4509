"""Laws of super-resolution: windows on whole coarse pixels, and metrics of coarser pixels."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rsbench.catalog import load_protocol
from rsbench.core.grid import Grid
from rsbench.metrics import compute
from rsbench.tasks.superresolve.samples import SensorPair, coarser, fitted
from rsbench.tasks.windows import windows_of

quick = settings(deadline=None, max_examples=40, derandomize=True)


@quick
@given(st.integers(2, 16), st.integers(1, 60), st.integers(16, 300), st.integers(1, 300))
def test_windows_lie_in_the_region_on_whole_coarse_pixels(
    ratio: int, coarse: int, window: int, stride: int
) -> None:
    side = ratio * coarse
    grid = Grid("EPSG:32615", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0), side, side)
    store = SimpleNamespace(regions=("one",), region=lambda _: SimpleNamespace(grids={"f": grid}))
    asked = load_protocol("superresolve").model_copy(update={"window": window, "stride": stride})
    found = fitted(asked, store, SensorPair("f", "c", ratio))  # type: ignore[arg-type]
    assert found.window <= max(window, ratio)
    areas = windows_of("one", grid, window=found.window, stride=found.stride)
    assert areas
    for area in areas:
        small = coarser(area, ratio)
        assert (small.height * ratio, small.y * ratio) == (area.height, area.y)
        assert area.y + area.height <= side


@quick
@given(st.integers(2, 5), st.integers(2, 6), st.integers(0, 2**20))
def test_repeated_means_are_consistent(ratio: int, coarse: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    truth = torch.rand(2, 3, ratio * coarse, ratio * coarse, generator=draw)
    low = torch.nn.functional.avg_pool2d(truth, ratio)
    answer = low.repeat_interleave(ratio, -1).repeat_interleave(ratio, -2)
    ids = ["consistency.rmse@1", "psnr.shift@1", "psnr@1"]
    found = compute(ids, answer, truth, data_range=1.0, ratio=ratio)
    assert float(found["consistency.rmse@1"].max()) < 1e-6
    moved = compute(ids, truth + 0.1, truth, data_range=1.0, ratio=ratio)
    assert float(moved["psnr.shift@1"].min()) > 90 > float(moved["psnr@1"].max())
