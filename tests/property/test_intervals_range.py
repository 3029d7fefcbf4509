"""Intervals stay inside the range of their metric, hold the mean, and have a limited reach."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import toys
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scores_fixtures import make_run

import rsbench as rb
from rsbench.evaluation import intervals as inference
from rsbench.evaluation.intervals import Interval
from rsbench.evaluation.scores import Scores
from rsbench.evaluation.unit_table import KEYS
from rsbench.metrics.registry import metric_info
from rsbench.store.read import Store, open_store
from rsbench.store.write import finalise, write_region

METRICS = [known.id for known in metric_info(probe=False)]
DERIVED = [f"{kind}.{known.id}" for known in metric_info(probe=False) if known.skill
           for kind in ("skill", "share")]  # fmt: skip
NAMES = [f"toy-r{i // 4:02d}c{i % 4:02d}" for i in range(40)]

BLOCKS = NAMES[:12]


@st.composite
def samples(draw: st.DrawFn) -> tuple[str, list[float]]:
    """An id and region means that its metric can have: even, at an end of its range, or skewed."""
    metric = draw(st.sampled_from(METRICS + DERIVED))
    low, high = inference.bounds_of(metric)
    low, high = max(low, -1e4), min(high, 1e4)
    n, power = draw(st.integers(8, 40)), draw(st.sampled_from([0.02, 0.3, 1.0, 4.0, 30.0]))
    shares = np.random.default_rng(draw(st.integers(0, 2**20))).random(n) ** power
    if draw(st.booleans()):
        shares = np.where(shares > 0.5, 1.0, 0.0)
    return metric, (low + (high - low) * shares).tolist()


def check(found: Interval | None, mean: float, bounds: inference.Range, reach: float) -> None:
    assert found is not None
    assert bounds[0] <= found.lo <= found.hi <= bounds[1]
    slack = 1e-9 * max(1.0, abs(mean))
    assert found.lo - slack <= mean <= found.hi + slack
    assert max(mean - found.lo, found.hi - mean) <= reach + slack


@settings(max_examples=300, deadline=None)
@given(samples())
@example(("sam.stfdiff@1", [3.1416] * 14))  # rounding puts the mean beyond the bound
def test_every_interval_of_every_metric(sample: tuple[str, list[float]]) -> None:
    metric, values = sample
    n, mean, deviation = len(values), math.fsum(values) / len(values), float(np.std(values, ddof=1))
    bounds = inference.bounds_of(metric)
    half = inference.half_width(deviation, n)
    own = inference.interval(values, bounds=bounds)
    check(own, mean, bounds, inference.REACH * half)
    blocks = inference.blocks(dict(zip(NAMES, values, strict=False)), bounds=bounds)
    check(blocks, mean, bounds, inference.MOST_DEVIATIONS * deviation)
    leaves = [(mean * n - value) / (n - 1) for value in values]
    check(inference.jackknife(mean, leaves, bounds=bounds), mean, bounds, 1.01 * half)
    seeds = {seed: dict(zip(NAMES, np.roll(values, seed), strict=False)) for seed in range(3)}
    crossed = inference.crossed(seeds, bounds=bounds)
    assert crossed is not None
    table = np.array([list(own.values()) for own in seeds.values()])
    apart = max(table.mean(0).std(ddof=1), table.mean(1).std(ddof=1))
    check(crossed.interval, mean, bounds, inference.MOST_DEVIATIONS * apart)
    ends = inference.difference_bounds(metric)
    pair = inference.paired(seeds[0], dict(zip(NAMES, sorted(values), strict=False)), bounds=ends)
    assert pair is not None
    check(pair.interval, pair.mean, ends, math.inf)


@pytest.mark.parametrize("make", [inference.interval, lambda v: inference.jackknife(v[0], v)])
def test_without_bounds_ends_would_leave_the_range(
    make: Callable[[list[float]], Interval | None],
) -> None:
    found = make([0.0] * 6 + [1.0] * 2)
    assert found is not None
    assert found.lo < 0.0


def unlike_regions(metric: str, seed: int, *, names: list[str]) -> Scores:
    """Scores of two models whose regions lie at both ends of a metric's range."""
    low, high = inference.bounds_of(metric)
    low, high = max(low, -50.0), min(high, 50.0)
    rng = np.random.default_rng(seed)
    rows = []
    for model, role in (("simvp", "model"), ("damped_persistence", "trivial")):
        for region in names:
            share = 0.001 + 0.998 * float(rng.random() < 0.8) * rng.random() ** 0.1
            row = dict.fromkeys(KEYS, "x") | {
                "model": model, "preset": "tiny", "role": role, "region": region, "lead": 1,
                "start": "2017-07-01", "target": "2018-07-01", "curve": "both", "metric": metric,
                "band": "all", "value_sum": low + (high - low) * share, "weight": 1.0,
                "n_images": 1, "n_missing": 0,
            }  # fmt: skip
            rows.append(row)
    return Scores(pd.DataFrame(rows), make_run(horizon=1, one_scene=names is BLOCKS))


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([known.id for known in metric_info(probe=False) if known.kind != "set"]),
    st.integers(0, 2**20), st.sampled_from([BLOCKS, [f"region-{i}" for i in range(9)]]),
)  # fmt: skip
def test_no_end_of_a_table_is_out_of_range(metric: str, seed: int, names: list[str]) -> None:
    in_range(unlike_regions(metric, seed, names=names).table())


def in_range(table: pd.DataFrame) -> None:
    """Assert that every interval of a tidy table lies in its metric's range and holds the value."""
    rows = table[table["interval"] != "none"]
    assert len(rows)
    for metric, part in rows.groupby("metric"):
        low, high = inference.bounds_of(str(metric))
        assert ((part["lo"] >= low) & (part["hi"] <= high)).all(), metric
        assert ((part["lo"] <= part["value"]) & (part["value"] <= part["hi"])).all(), metric


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Eight test regions, in two of which every year is noise."""
    path, meta = tmp_path_factory.mktemp("toy") / "s", toys.sensor_meta()
    for index, split in enumerate(("train", "val", *["test"] * 8)):
        made = toys.arrays(index, size=32, years=3, meta=meta)
        if index > 7:
            noise = np.random.default_rng(index).integers(100, 9000, made.values.shape)
            made = replace(made, values=noise.astype(made.values.dtype))
        write_region(
            path, toys.record(index, split=split, years=3), {meta.name: made}, {meta.name: meta}
        )
    finalise(path, toys.store_meta({meta.name: meta}, simulated=False, simulation=None))
    return open_store(path)


def test_no_end_of_a_small_run_is_out_of_range(
    store: Store, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    table = rb.evaluate(
        rb.create_model("persistence"), store, horizon=1, suite="standard", metrics="fd.texture@1"
    ).table()
    in_range(table)
    ends = table[table["metric"] == "cc@1"]
    assert (ends["hi"] == 1.0).any()  # cut
