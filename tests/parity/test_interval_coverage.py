"""A small coverage study: the shipped intervals, counted on distributions that are known."""

from __future__ import annotations

import json
import math
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rsbench.evaluation import intervals as inference

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "interval_coverage.py"
pytestmark = pytest.mark.skipif(not TOOL.is_file(), reason="not run from a checkout")
ROUNDS = 4000
ERROR = 4 * (0.95 * 0.05 / ROUNDS) ** 0.5


@pytest.fixture(scope="module")
def tool() -> dict[str, Any]:
    return runpy.run_path(str(TOOL))


def covered(tool: dict[str, Any], law: str, n: int) -> dict[str, float]:
    chosen = next(one for one in tool["LAWS"] if one.name == law)
    cells = tool["measure"](chosen, n, ("t", "bounded-skew-t"), ROUNDS)
    return {cell.method: cell.coverage for cell in cells}


def test_the_study_measures_the_intervals_that_are_shipped(tool: dict[str, Any]) -> None:
    x = np.random.default_rng(3).lognormal(0, 0.8, (20, 12))
    bounds, rng = (0.6, 3.0), np.random.default_rng(0)
    x = x.clip(*bounds)
    for name, paired in (("t", True), ("bounded-skew-t", False)):
        low, high = tool["METHODS"][name](x, bounds, rng)
        for values, lo, hi in zip(x, low, high, strict=True):
            found = inference.interval(
                values.tolist(), paired=paired, bounds=inference.ANYWHERE if paired else bounds
            )
            assert found is not None
            assert (found.lo, found.hi) == pytest.approx((lo, hi), rel=1e-9)
    names = [f"toy-r{i // 4:02d}c{i % 4:02d}" for i in range(12)]
    low, high = tool["METHODS"]["block-t"](x, inference.ANYWHERE, rng)
    for values, lo, hi in zip(x, low, high, strict=True):
        found = inference.blocks(dict(zip(names, values.tolist(), strict=True)))
        assert found is not None
        assert (found.lo, found.hi) == pytest.approx((lo, hi), rel=1e-9)


@pytest.mark.parametrize("n", [8, 15])
def test_few_regions_without_skew_are_covered_as_claimed(tool: dict[str, Any], n: int) -> None:
    found = covered(tool, "normal", n)
    assert abs(found["t"] - 0.95) < ERROR
    assert found["bounded-skew-t"] > 0.95 - ERROR - 0.015


@pytest.mark.parametrize("n", [8, 15])
def test_differences_are_covered_by_t_and_means_by_its_correction(
    tool: dict[str, Any], n: int
) -> None:
    assert covered(tool, "difference", n)["t"] > 0.95 - ERROR
    hard = covered(tool, "lognormal 1", n)
    assert hard["bounded-skew-t"] > hard["t"] + 0.02  # what the correction is for
    assert hard["bounded-skew-t"] < 0.95 - ERROR  # and what it does not reach


def test_the_laws_have_the_means_and_bounds_they_say(tool: dict[str, Any]) -> None:
    for chosen in tool["LAWS"]:
        if chosen.name == "one scene":
            continue  # correlated: its mean says little
        x = chosen.draw(np.random.default_rng(1), (200, 2000))
        assert x.mean() == pytest.approx(chosen.mean, abs=4 * x.std() / x.size**0.5), chosen.name
        assert chosen.bounds[0] <= x.min() <= x.max() <= chosen.bounds[1]


def test_the_transforms_of_the_study_are_monotone_inverses(tool: dict[str, Any]) -> None:
    x, step = np.linspace(0.05, 0.95, 19), 1e-6
    for bounds in ((0.0, 1.0), (-1.0, 1.0), (0.0, math.inf), (-math.inf, 1.0), inference.ANYWHERE):
        forward, back, slope, bend = tool["_transform"](bounds)
        assert back(forward(x)) == pytest.approx(x)
        assert slope(x) == pytest.approx((forward(x + step) - forward(x)) / step, rel=1e-4)
        assert (slope(x) > 0).all()
        second = (slope(x + step) - slope(x)) / step
        assert bend(x) == pytest.approx(-second / slope(x), rel=1e-3, abs=1e-3)


def test_the_published_study_shows_what_was_chosen(tool: dict[str, Any]) -> None:
    value = json.loads((ROOT / "results" / "coverage.json").read_text(encoding="utf-8"))
    cells = {(c["law"], c["n"], c["method"]): c for c in value["cells"]}
    error = 1.96 * (0.05 * 0.95 / value["replications"]) ** 0.5
    limit = {n: inference.REACH * inference.half_width(1.0, n) for n in tool["REGIONS"]}
    for (law, n, name), cell in cells.items():
        if name != "bounded-skew-t":
            continue
        assert cell["outside"] == 0.0
        assert cell["reach"] <= limit[n] + 1e-9
        if law in ("one scene", "rare") or law.startswith("difference"):
            continue
        for other in ("t", "transformed t", "transformed skew-t", "bca", "percentile"):
            best = min(cells[law, n, other]["coverage"], 0.95)
            assert cell["coverage"] > best - error - 0.005, (law, n, other)
    for n in tool["REGIONS"]:
        assert abs(cells["difference 0.5", n, "t"]["coverage"] - 0.95) < 0.015 + error
        assert cells["difference", n, "t"]["coverage"] > 0.95 - error


def test_the_published_study_says_the_same(tool: dict[str, Any]) -> None:
    value = json.loads((ROOT / "results" / "coverage.json").read_text(encoding="utf-8"))
    cells = [tool["Cell"](**cell) for cell in value["cells"]]
    assert {(c.law, c.n, c.method) for c in cells} == {
        (law.name, n, method)
        for law in tool["LAWS"]
        for n in tool["REGIONS"]
        for method in tool["METHODS"]
    }
    page = (ROOT / "results" / "coverage.md").read_text(encoding="utf-8")
    effects = {int(n): effect for n, effect in value["detectable"].items()}
    assert tool["tables"](cells, effects, value["replications"]) == page
    published = {(c.law, c.n): c.coverage for c in cells if c.method == "bounded-skew-t"}
    for n in (8, 15):
        again = covered(tool, "lognormal 0.5", n)["bounded-skew-t"]
        assert abs(published["lognormal 0.5", n] - again) < 1.5 * ERROR
    # Hand check of the power table: two-sided t test, 80 %, n = 15 (Cohen 1988: 0.78).
    assert effects[15] == pytest.approx(0.78, abs=0.02)


@pytest.mark.parametrize("deviations", [(1.0, 1.0, 1.0), (1.0, 0.3, 0.7), (0.3, 1.0, 0.3)])
def test_seeds_and_regions_are_covered_and_the_limit_costs_little(
    deviations: tuple[float, float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds, counts = 800, []
    for limit in (inference.MOST_DEVIATIONS, math.inf):
        monkeypatch.setattr(inference, "MOST_DEVIATIONS", limit)
        rng, hits = np.random.default_rng(1), 0
        for _ in range(rounds):
            of_regions, of_seeds, rest = (
                s * rng.normal(size=shape)
                for s, shape in zip(deviations, ((1, 9), (3, 1), (3, 9)), strict=True)
            )
            table = (of_regions + of_seeds + rest).tolist()
            found = inference.crossed(
                {seed: dict(zip("abcdefghi", row, strict=True)) for seed, row in enumerate(table)}
            )
            assert found is not None
            assert found.interval is not None
            hits += found.interval.lo <= 0.0 <= found.interval.hi
        counts.append(hits / rounds)
    assert counts[0] > 0.95 - 4 * (0.95 * 0.05 / rounds) ** 0.5
    assert counts[1] - counts[0] < 0.01
