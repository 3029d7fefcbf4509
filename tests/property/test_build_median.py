from __future__ import annotations

import warnings

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rsbench.build.compose.harmonise import harmonise
from rsbench.build.compose.median import BLOCK, masked_median


def by_numpy(values: np.ndarray, clear: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        median = np.nanmedian(np.where(clear, values.astype(np.float64), np.nan), axis=0)
    return np.nan_to_num(np.rint(median)).astype(np.uint16)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(1, 130))
def test_equal_to_nanmedian_for_any_number_of_dates(data: st.DataObject, count: int) -> None:
    seed = data.draw(st.integers(0, 2**32 - 1))
    share = data.draw(st.sampled_from([0.0, 0.1, 0.5, 0.95, 1.0]))
    draw = np.random.default_rng(seed)
    values = draw.integers(0, 65536, (count, 5, 7)).astype(np.uint16)
    # The ends of the range are where a sentinel would show.
    values[draw.random(values.shape) < 0.2] = 65535
    values[draw.random(values.shape) < 0.1] = 0
    clear = draw.random(values.shape) < share
    median, number = masked_median(values, clear)
    assert (number == clear.sum(axis=0)).all()
    assert (median == by_numpy(values, clear)).all()


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.uint16, (6, 3, 3), elements=st.sampled_from([0, 1, 2, 65534, 65535])),
    hnp.arrays(np.bool_, (6, 3, 3)),
)
def test_equal_to_nanmedian_at_the_ends_of_the_range(values: np.ndarray, clear: np.ndarray) -> None:
    assert (masked_median(values, clear)[0] == by_numpy(values, clear)).all()


def test_equal_to_nanmedian_across_blocks_of_pixels() -> None:
    draw = np.random.default_rng(3)
    width = 131
    values = draw.integers(0, 65536, (9, BLOCK // width + 3, width)).astype(np.uint16)
    clear = draw.random(values.shape) < 0.5
    assert (masked_median(values, clear)[0] == by_numpy(values, clear)).all()


@given(hnp.arrays(np.uint16, 40))
def test_harmonising_keeps_nodata_order_and_dark_pixels(values: np.ndarray) -> None:
    made = values.copy()
    harmonise(made, -1000, 0)
    wide = values.astype(np.int64)
    assert (made == np.where(wide == 0, 0, np.maximum(wide - 1000, 1))).all()
