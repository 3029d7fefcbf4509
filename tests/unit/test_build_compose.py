from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from rsbench.build.compose.median import composite, from_keys, masked_median, network, to_keys


@pytest.mark.parametrize("count", range(1, 13))
def test_network_sorts_every_row_of_zeros_and_ones(count: int) -> None:
    # A comparator network that sorts all 0-1 inputs sorts everything (Knuth, TAOCP 3, 5.3.4).
    rows = np.array(list(product((0, 1), repeat=count)), np.uint8).T.copy()
    for i, j in network(count):
        assert i < j
        rows[i], rows[j] = np.minimum(rows[i], rows[j]), np.maximum(rows[i], rows[j])
    assert (np.diff(rows.astype(int), axis=0) >= 0).all()


def test_network_has_the_published_number_of_comparators() -> None:
    assert [len(network(n)) for n in (2, 4, 8, 16)] == [1, 5, 19, 63]


@pytest.mark.parametrize(
    ("values", "clear", "median", "number"),
    [
        ([5], [True], 5, 1),
        ([5], [False], 0, 0),
        ([1, 2], [True, True], 2, 2),  # 1.5 → 2, half to even
        ([2, 3], [True, True], 2, 2),  # 2.5 → 2, half to even
        ([9, 1, 5], [True, True, True], 5, 3),
        ([9, 1, 5], [True, False, True], 7, 2),
        ([0, 65535], [True, True], 32768, 2),  # 32767.5 → 32768
        ([65535, 65535, 0], [True, True, True], 65535, 3),
        ([65535, 3, 0], [False, True, False], 3, 1),
    ],
)
def test_median_of_few_values_by_hand(
    values: list[int], clear: list[bool], median: int, number: int
) -> None:
    cube = np.array(values, np.uint16)[:, None, None]
    found, count = masked_median(cube, np.array(clear)[:, None, None])
    assert (found[0, 0], count[0, 0]) == (median, number)


def test_median_of_nothing_is_nodata() -> None:
    empty = composite(np.zeros((0, 2, 3, 4), np.uint16), np.zeros((0, 3, 4), bool), 0)
    assert not empty.valid.any()
    assert (empty.values == 0).all()


def test_signed_numbers_keep_their_order_and_rounding() -> None:
    values = np.array([-32768, -101, -100, -1, 0, 1, 32767], np.int16)
    assert (np.diff(to_keys(values).astype(int)) > 0).all()
    assert (from_keys(to_keys(values), np.dtype(np.int16)) == values).all()
    cube = np.array([-3, -2], np.int16).reshape(2, 1, 1, 1)
    made = composite(cube, np.ones((2, 1, 1), bool), -28672)
    assert made.values[0, 0, 0] == -2  # −2.5 → −2, half to even
    assert made.values.dtype == np.int16


def test_halves_are_the_medians_of_every_second_observation() -> None:
    cube = np.array([10, 20, 30, 40, 50], np.uint16).reshape(5, 1, 1, 1)
    made = composite(cube, np.ones((5, 1, 1), bool), 0, halves=True)
    assert made.odd is not None
    assert made.even is not None
    assert (made.values.item(), made.odd.item(), made.even.item()) == (30, 30, 30)
    cube[1] = 21
    made = composite(cube, np.ones((5, 1, 1), bool), 0, halves=True)
    assert made.even is not None
    assert made.even.item() == 30  # (21 + 40) / 2 = 30.5 → 30


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        masked_median(np.zeros((2, 3, 3), np.uint16), np.zeros((2, 3, 4), bool))


def test_floats_have_no_exact_median() -> None:
    with pytest.raises(TypeError, match="float32"):
        to_keys(np.zeros(3, np.float32))
