"""Sum of parts equals the whole; the table does not depend on order or partition."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from scores_fixtures import make_run, make_units

from rsbench.evaluation.scores import Scores

UNITS = make_units(regions=9, bands=("all",), metrics=("mse@1", "ssim@1"), images=6)
WHOLE = Scores(UNITS, make_run()).table()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_sum_of_parts_is_the_whole(seed: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    share = rng.dirichlet(np.ones(parts), len(UNITS))
    images = rng.multinomial(6, np.ones(parts) / parts, len(UNITS))
    pieces = []
    for part in range(parts):
        piece = UNITS.sample(frac=1.0, random_state=int(rng.integers(2**31)))
        index = piece.index.to_numpy()
        piece = piece.assign(
            value_sum=piece["value_sum"] * share[index, part],
            weight=piece["weight"] * share[index, part],
            n_images=images[index, part],
        )
        pieces.append(Scores(piece, make_run()))
    table = Scores.sum(pieces).table()
    pd.testing.assert_frame_equal(table, WHOLE, rtol=1e-9, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_order_of_units_does_not_matter(seed: int) -> None:
    shuffled = UNITS.sample(frac=1.0, random_state=seed)
    pd.testing.assert_frame_equal(Scores(shuffled, make_run()).table(), WHOLE)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.booleans(), min_size=9, max_size=9).filter(any))
def test_adding_regions_in_any_split_is_the_whole(mask: list[bool]) -> None:
    names = sorted(UNITS["region"].unique())
    chosen = {name for name, take in zip(names, mask, strict=True) if take}
    a, b = UNITS[UNITS["region"].isin(chosen)], UNITS[~UNITS["region"].isin(chosen)]
    if b.empty:
        return
    table = (Scores(a, make_run()) + Scores(b, make_run())).table()
    pd.testing.assert_frame_equal(table, WHOLE, rtol=1e-12)
