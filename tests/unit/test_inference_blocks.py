"""Blocks of one image: windows of neighbours, by hand, counted, and in a table."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scores_fixtures import make_run, make_units

from rsbench.evaluation import intervals as inference
from rsbench.evaluation.block_intervals import places, spread, windows
from rsbench.evaluation.scores import Scores


def lattice(rows: int, columns: int, scene: str = "toy") -> list[str]:
    return [f"{scene}-r{r:02d}c{c:02d}" for r in range(rows) for c in range(columns)]


def test_names_say_where_blocks_lie() -> None:
    assert places(["a-b-r00c03", "a-b-r12c00"]) == ((0, 3), (12, 0))
    assert places(["a-r00c00", "b-r00c01"]) is None  # of two images
    assert places(["a-r00c00", "lowland"]) is None


def test_windows_are_full_squares_of_neighbours() -> None:
    spots = places(lattice(4, 5))
    assert spots is not None
    found = windows(spots)
    assert len(found) == 3 * 4
    assert found[0] == (0, 1, 5, 6)
    missing = windows(spots[1:])  # the first corner is gone, and with it one window
    assert len(missing) == 11
    assert len(windows(tuple((0, c) for c in range(9)))) == 8  # one line: windows of two


def test_the_standard_error_by_hand() -> None:
    # Two lines of four: three windows of four, two of which fit side by side.
    values = [1.0, 1.0, 2.0, 6.0, 3.0, 3.0, 4.0, 4.0]
    means = [2.0, 2.5, 4.0]
    variance = sum((m - 3.0) ** 2 for m in means) / 3
    assert spread(lattice(2, 4), values) == pytest.approx((math.sqrt(variance / (2 - 1)), 1))
    found = inference.blocks(dict(zip(lattice(2, 4), values, strict=True)))
    assert found is not None
    assert found.name == "block-t95"
    # One degree of freedom: t times the error is more than three deviations, which are the limit.
    limit = 3.0 * math.sqrt(20.0 / 7.0)
    assert stats.t.ppf(0.975, 1) * math.sqrt(variance) > limit
    assert (found.lo, found.hi) == pytest.approx((3.0 - limit, 3.0 + limit))
    more = dict(zip(lattice(4, 4), [*values, *values], strict=True))
    error, df = spread(list(more), list(more.values())) or (math.nan, 0)
    found = inference.blocks(more)
    assert found is not None
    half = stats.t.ppf(0.975, df) * error
    assert (found.lo, found.hi) == pytest.approx((3.0 - half, 3.0 + half))


def test_what_is_no_block_keeps_its_interval() -> None:
    values = {f"region-{i}": float(i) for i in range(9)}
    assert inference.blocks(values) is None
    pair = inference.paired(values, dict.fromkeys(values, 0.0))
    assert pair is not None
    assert pair.interval is not None
    assert pair.interval.name == "paired-t95"
    assert inference.blocks(dict.fromkeys(lattice(1, 7), 1.0)) is None  # fewer than eight


@pytest.mark.parametrize(("rows", "columns"), [(2, 4), (4, 4), (10, 4)])
def test_neighbours_are_covered_far_better_than_by_t(rows: int, columns: int) -> None:
    names = lattice(rows, columns)
    at = np.array(places(names), dtype=float)
    apart = np.hypot(*(at[:, None] - at[None]).transpose(2, 0, 1))
    root = np.linalg.cholesky(0.5**apart)
    rounds, block, plain = 500, 0, 0
    for x in np.random.default_rng(rows).normal(size=(rounds, len(names))) @ root.T:
        found = inference.blocks(dict(zip(names, x.tolist(), strict=True)))
        other = inference.interval(x.tolist(), paired=True)
        assert found is not None
        assert other is not None
        block += found.lo <= 0 <= found.hi
        plain += other.lo <= 0 <= other.hi
    assert plain / rounds < 0.7
    assert block / rounds > max(0.78, plain / rounds + 0.2)


def test_a_table_of_one_scene_has_them_and_says_so() -> None:
    units = make_units(metrics=("mse@1",), bands=("all",), regions=12)
    renamed = dict(zip(sorted(units["region"].unique()), lattice(3, 4), strict=True))
    units["region"] = units["region"].map(renamed)
    made = Scores(units, make_run(one_scene=True))
    table = made.table()
    headline = table[(table["stratum"] == "all") & table["value"].notna()]
    own = headline[headline["model"] == "simvp"].set_index(["metric", "lead"])
    assert own.loc[("mse@1", 1), "interval"] == "block-t95-one-scene"
    assert own.loc[("skill.mse@1", 1), "interval"] == "block-t95-one-scene"
    assert own.loc[("share.mse@1", 1), "interval"] == "none"
    means = made.region_means()
    rows = means[
        (means["model"] == "simvp") & (means["metric"] == "mse@1") & (means["lead"] == 1)
        & (means["stratum"] == "all")
    ]  # fmt: skip
    values = dict(zip(rows["region"], rows["value"], strict=True))
    found = inference.blocks(values, bounds=inference.bounds_of("mse@1"))
    assert found is not None
    assert found.lo >= 0.0
    cell = own.loc[("mse@1", 1)]
    assert (cell["lo"], cell["hi"]) == pytest.approx((found.lo, found.hi))
    # Blocks without places keep what they had, and its name says what it is.
    plain = Scores(make_units(metrics=("mse@1",), bands=("all",)), make_run(one_scene=True)).table()
    assert "bounded-skew-t95-one-scene" in set(plain["interval"])
