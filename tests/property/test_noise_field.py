"""Noise is a normal field that any window, batch and order cuts from the same whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rsbench.core.grid import Window
from rsbench.models.api import SampleRef, Want
from rsbench.models.contract_data import Shape, make_samples
from rsbench.models.noise import Noise

TEMPLATE = make_samples(Shape(samples=1, context=1, leads=1, bands=1, side=8)).want


def want_at(windows: list[Window], keys: list[str] | None = None) -> Want:
    names = keys or ["a:2020"] * len(windows)
    refs = tuple(SampleRef("a", key, w) for key, w in zip(names, windows, strict=True))
    return replace(TEMPLATE, samples=refs, grids=TEMPLATE.grids * len(windows), members=2)


@settings(max_examples=40, deadline=None)
@given(
    y=st.integers(-4, 8),
    x=st.integers(-4, 8),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    downscale=st.sampled_from([1, 2, 4]),
    channels=st.integers(1, 6),
)
def test_any_window_is_a_cut_of_the_whole(
    y: int, x: int, height: int, width: int, downscale: int, channels: int
) -> None:
    d = downscale
    whole = Noise(3).numpy(
        "z", want_at([Window(-4 * d, -4 * d, 18 * d, 18 * d)]), channels=channels, downscale=d
    )
    part = Noise(3).numpy(
        "z", want_at([Window(y * d, x * d, height * d, width * d)]), channels=channels, downscale=d
    )
    assert np.array_equal(part, whole[..., y + 4 : y + 4 + height, x + 4 : x + 4 + width])


@settings(max_examples=20, deadline=None)
@given(order=st.permutations([0, 1, 2, 3]))
def test_order_and_neighbours_in_the_batch_change_nothing(order: list[int]) -> None:
    windows = [Window(8 * i, 0, 8, 8) for i in range(4)]
    keys = [f"r{i}:2020" for i in range(4)]
    whole = Noise(0).numpy("z", want_at(windows, keys), channels=2)
    mixed = Noise(0).numpy(
        "z", want_at([windows[i] for i in order], [keys[i] for i in order]), channels=2
    )
    assert np.array_equal(mixed, whole[list(order)])


def test_the_field_is_standard_normal() -> None:
    field = Noise(0).numpy("z", want_at([Window(1000, 2000, 256, 256)]), channels=5)
    values = field.ravel().astype(np.float64)
    n = values.size
    assert abs(values.mean()) < 4 / np.sqrt(n)
    assert abs(values.var() - 1) < 4 * np.sqrt(2 / n)
    assert abs(stats.skew(values)) < 4 * np.sqrt(6 / n)
    assert abs(stats.kurtosis(values)) < 4 * np.sqrt(24 / n)
    assert stats.kstest(values[::7], "norm").pvalue > 1e-3
    assert np.abs(values).max() > 4  # tails are there


def test_neighbours_channels_and_members_are_uncorrelated() -> None:
    field = Noise(0).numpy("z", want_at([Window(0, 0, 256, 256)]), channels=8)[0]
    flat = field.reshape(16, -1).astype(np.float64)
    bound = 4.5 / np.sqrt(flat.shape[1])
    corr = np.corrcoef(flat)
    assert np.abs(corr[~np.eye(16, dtype=bool)]).max() < bound
    # Dependence without correlation, e.g. of the two values of one Box–Muller pair.
    squares = np.corrcoef(flat**2)
    assert np.abs(squares[~np.eye(16, dtype=bool)]).max() < bound
    for axis in (1, 2):
        here = field[0].take(range(255), axis=axis).ravel()
        there = field[0].take(range(1, 256), axis=axis).ravel()
        assert abs(np.corrcoef(here, there)[0, 1]) < bound
