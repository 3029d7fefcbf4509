"""Tiles cover every pixel once, see what the card asks for, and stitch to the untiled answer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from rsbench.core.errors import InputError
from rsbench.core.grid import Grid, Window
from rsbench.models.api import Card, Given, Prediction, PresetInfo, Want
from rsbench.models.contract_data import SENSOR, Samples, Shape, make_samples
from rsbench.models.rollout import collect
from rsbench.models.tiling import mirror, predict_tiled, spans, tiles

CARD = Card("m", "forecast", "m", {"default": PresetInfo(0, 0)}, "m:build", "-", "-")


def samples(side: int = 50, members: int = 1) -> Samples:
    shape = Shape(samples=2, context=2, leads=2, bands=2, side=side)
    return make_samples(shape, masked=False, members=members)


class Noisy:
    """Returns its noise, at full size or at a quarter of the sides."""

    def __init__(self, downscale: int = 1) -> None:
        self.downscale = downscale

    def predict(self, given: Given, want: Want) -> Prediction:
        channels = want.times.shape[1] * len(want.bands)
        noise = want.noise.normal("n", want, channels=channels, downscale=self.downscale)
        noise = noise.repeat_interleave(self.downscale, -1).repeat_interleave(self.downscale, -2)
        return Prediction(noise.unflatten(2, (want.times.shape[1], len(want.bands))))


class Blur:
    """A 5×5 mean of the last frame: needs two pixels on each side."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def predict(self, given: Given, want: Want) -> Prediction:
        last = given.frames[SENSOR].values[:, 0, -1]
        self.seen.append(tuple(last.shape[-2:]))
        blurred = functional.avg_pool2d(last, 5, 1, 2, count_include_pad=False)
        return Prediction(blurred[:, None, None].expand(-1, want.members, 2, -1, -1, -1))


@settings(max_examples=80, deadline=None)
@given(
    length=st.integers(1, 90),
    tile=st.one_of(st.none(), st.integers(16, 64)),
    halo=st.integers(0, 3),
    unit=st.sampled_from([1, 2, 4]),
    fixed=st.booleans(),
)
def test_kept_parts_cover_every_pixel_once_with_their_halo(
    length: int, tile: int | None, halo: int, unit: int, fixed: bool
) -> None:
    size = tile // unit * unit if tile else None
    card = replace(
        CARD,
        tile=None if fixed else tile,
        fixed_size=size if fixed else None,
        halo=halo,
        multiple_of=unit,
    )
    found = spans(length, card)
    covered = [p for span in found for p in range(span.start, span.stop)]
    assert covered == list(range(length))
    for span in found:
        seen = span.seen_stop - span.seen_start
        assert span.seen_start % unit == 0
        assert seen % unit == 0
        assert span.seen_start >= 0
        if fixed and size:
            assert seen == size
        elif tile:
            assert seen <= max(tile, unit)
        assert span.seen_start == 0 or span.start - span.seen_start >= halo
        assert span.stop == length or span.seen_stop - span.stop >= halo


def test_mirrored_indices() -> None:
    assert mirror(-2, 6, 4) == [2, 1, 0, 1, 2, 3, 2, 1]
    assert mirror(0, 9, 3) == [0, 1, 2, 1, 0, 1, 2, 1, 0]
    assert mirror(0, 3, 1) == [0, 0, 0]


@pytest.mark.parametrize("downscale", [1, 4])
@pytest.mark.parametrize("fields", [{"tile": 24}, {"fixed_size": 32, "halo": 4}, {"tile": 20}])
def test_a_model_that_returns_its_noise_stitches_exactly(
    downscale: int, fields: dict[str, int]
) -> None:
    data = samples(side=48, members=2)
    card = replace(CARD, multiple_of=4, **fields)  # type: ignore[arg-type]
    model = Noisy(downscale)
    assert len(tiles(48, 48, card)) > 1
    whole = collect(model, replace(CARD, multiple_of=4), data.given, data.want)
    tiled = collect(model, card, data.given, data.want)
    assert torch.equal(whole.values, tiled.values)


def test_a_halo_makes_tiles_of_a_filter_equal_the_whole() -> None:
    data = samples()
    whole = collect(Blur(), CARD, data.given, data.want).values
    model = Blur()
    tiled = collect(model, replace(CARD, tile=20, halo=2), data.given, data.want).values
    assert set(model.seen) == {(20, 20)}
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-7)
    # Without the halo the seams show: the card's word matters.
    torn = collect(Blur(), replace(CARD, tile=20), data.given, data.want).values
    assert (torn - whole).abs().max() > 1e-4


def test_pixels_beyond_the_window_are_mirrored_and_marked() -> None:
    data = samples(side=50)
    seen: list[Given] = []

    def call(given: Given, want: Want) -> Prediction:
        seen.append(given)
        assert want.size == (52, 52)
        assert want.samples[0].window.height == 52
        return Prediction(torch.zeros(2, 1, 2, 2, 52, 52))

    answer = predict_tiled(call, replace(CARD, multiple_of=4), data.given, data.want)
    assert answer.values.shape[-2:] == (50, 50)
    frames = seen[0].frames[SENSOR]
    original = data.given.frames[SENSOR].values
    assert torch.equal(frames.values[..., :50, 50], original[..., 48])
    assert not frames.valid[..., 50:, :].any()
    assert not frames.valid[..., 50:].any()
    assert frames.valid[..., :50, :50].all()


def test_grids_of_tiles_lie_where_their_pixels_lie() -> None:
    data = samples()
    corners = []

    def call(given: Given, want: Want) -> Prediction:
        window, grid = want.samples[1].window, want.grids[1]
        whole = data.want.samples[1].window
        a, _, c, _, e, f = data.want.grids[1].transform
        assert grid.transform[2] == c + a * (window.x - whole.x)
        assert grid.transform[5] == f + e * (window.y - whole.y)
        assert given.grids[SENSOR] == want.grids
        corners.append((window.y, window.x))
        return Prediction(torch.zeros(2, 1, 2, 2, *want.size))

    predict_tiled(call, replace(CARD, tile=32), data.given, data.want)
    assert len(set(corners)) == 4


def test_a_coarser_sensor_is_cut_on_the_same_ground() -> None:
    data = samples(side=48)
    fine = data.given.frames[SENSOR]
    coarse = replace(
        fine, values=fine.values[..., ::8, ::8].clone(), valid=fine.valid[..., ::8, ::8].clone()
    )
    grid = Grid("EPSG:32633", (80.0, 0.0, 0.0, 0.0, -80.0, 0.0), 6, 6)
    both = Given(
        {**data.given.frames, "coarse": coarse},
        {**data.given.grids, "coarse": (grid, grid)},
        data.given.samples,
    )
    shapes = []

    def call(given: Given, want: Want) -> Prediction:
        part = given.frames["coarse"]
        shapes.append(part.values.shape[-2:])
        assert given.grids["coarse"][0].width == part.values.shape[-1]
        return Prediction(torch.zeros(2, 1, 2, 2, *want.size))

    predict_tiled(call, replace(CARD, tile=16, multiple_of=8), both, data.want)
    assert set(shapes) == {(2, 2)}
    with pytest.raises(InputError, match="have no common pixel edge"):
        predict_tiled(call, replace(CARD, tile=20), both, data.want)


def test_a_halo_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="leaves no pixel"):
        spans(100, replace(CARD, tile=16, halo=8))
    with pytest.raises(InputError, match="not a multiple"):
        spans(100, replace(CARD, fixed_size=30, multiple_of=4))


def test_windows_of_tiles_are_absolute() -> None:
    data = samples(side=40)
    windows: list[Window] = []

    def call(given: Given, want: Want) -> Prediction:
        windows.append(want.samples[1].window)
        return Prediction(torch.zeros(2, 1, 2, 2, *want.size))

    predict_tiled(call, replace(CARD, tile=20), data.given, data.want)
    base = data.want.samples[1].window
    assert windows[0] == Window(base.y, base.x, 20, 20)
    assert windows[-1] == Window(base.y + 20, base.x + 20, 20, 20)
