from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scores_fixtures import MODELS, make_run, make_units, save_run
from typer.testing import CliRunner

import rsbench as rb
from rsbench.cli.main import app
from rsbench.core.errors import Incomparable, InputError, UnknownName
from rsbench.evaluation.intervals import holm
from rsbench.evaluation.paired_tests import paired_test
from rsbench.evaluation.report.versus import compare_models
from rsbench.evaluation.scores import Scores

METRICS = ("mse@1", "ssim@1")


def scores(name: str, factor: float, *, seed: int = 0, regions: int = 12) -> Scores:
    models = {n: v for n, v in MODELS.items() if n != "simvp"}
    units = make_units(models={name: ("model", "tiny", factor), **models}, metrics=METRICS,
                       bands=("all",), regions=regions, seed=3)  # fmt: skip
    own = units["model"] == name
    jitter = np.random.default_rng(seed).normal(1, 0.01, int(own.sum()))
    units.loc[own, "value_sum"] *= np.where(units.loc[own, "metric"] == "mse@1", jitter, 1.0)
    return Scores(units, make_run(weights={name: f"{name}{seed}"}, seed=seed))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("compare")
    return (save_run(folder / "a", scores("good", 0.7)), save_run(folder / "b", scores("bad", 0.9)))


def by_hand(a: list[float], b: list[float]) -> tuple[float, float]:
    """Paired t test and Cohen's d, from the textbook."""
    d = np.subtract(a, b)
    deviation = d.std(ddof=1)
    t = d.mean() / (deviation / math.sqrt(len(d)))
    df = len(d) - 1
    x = np.linspace(abs(t), abs(t) + 400, 2_000_001)
    density = math.gamma((df + 1) / 2) / (math.sqrt(df * math.pi) * math.gamma(df / 2))
    tail = np.trapezoid(density * (1 + x**2 / df) ** (-(df + 1) / 2), x)
    return 2 * float(tail), float(d.mean() / deviation)


def test_a_difference_has_the_textbook_p_and_effect() -> None:
    a = [0.12, 0.30, 0.25, 0.41, 0.18, 0.33, 0.22, 0.29, 0.15]
    b = [0.15, 0.31, 0.30, 0.40, 0.24, 0.35, 0.25, 0.28, 0.19]
    p, effect = by_hand(a, b)
    names = [f"r{i}" for i in range(9)]
    found = paired_test(
        {0: dict(zip(names, a, strict=True))}, {5: dict(zip(names, b, strict=True))}
    )
    assert found is not None
    assert found.p == pytest.approx(p, rel=1e-4)
    assert found.effect == pytest.approx(effect)
    assert (found.n_regions, found.n_seeds) == (9, 1)
    few = paired_test(
        {0: dict(zip(names[:7], a, strict=False))}, {0: dict(zip(names, b, strict=True))}
    )
    assert few is not None
    assert (few.p, few.interval) == (None, None)


@given(st.lists(st.floats(-1, 1, width=32), min_size=8, max_size=20), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_p_is_below_one_in_twenty_where_the_interval_leaves_zero_out(
    values: list[float], seeds: int
) -> None:
    a = {s: {f"r{i}": v + 0.01 * (s * i % 3) for i, v in enumerate(values)} for s in range(seeds)}
    found = paired_test(a, {0: {f"r{i}": 0.0 for i in range(len(values))}})
    assert found is not None
    if found.interval is not None and found.p is not None and found.effect is not None:
        outside = found.interval.lo > 1e-9 or found.interval.hi < -1e-9
        assert outside or found.p > 0.05 - 1e-6
        back = paired_test({0: {f"r{i}": 0.0 for i in range(len(values))}}, a)
        assert back is not None
        assert back.p == pytest.approx(found.p)
        assert back.mean == pytest.approx(-found.mean)


def test_seeds_are_crossed_with_regions() -> None:
    names = [f"r{i}" for i in range(10)]
    rng = np.random.default_rng(0)
    a = {
        s: {n: float(v) for n, v in zip(names, rng.normal(s, 0.1, 10), strict=True)}
        for s in range(3)
    }
    b = {0: dict.fromkeys(names, 0.0)}
    found = paired_test(a, b)
    assert found is not None
    assert found.interval is not None
    assert found.interval.name.startswith("crossed")
    assert (found.n_seeds, found.p is not None and found.p > 0.05) == (3, True)  # seeds 0, 1, 2
    apart = paired_test({s + 5: own for s, own in a.items()}, a)
    assert apart is not None
    assert (apart.mean, apart.n_seeds) == (pytest.approx(0), 1)


def test_every_metric_and_lead_is_compared_and_corrected(runs: tuple[Path, Path]) -> None:
    found = rb.compare(*runs)
    assert (found.a, found.b) == ("good", "bad")
    assert {(row.metric, row.lead) for row in found.rows} == {
        (metric, lead) for metric in ("skill.mse@1", *METRICS) for lead in (1, 2, 3)
    }
    assert [row.p_holm for row in found.rows] == pytest.approx(
        holm([row.p for row in found.rows if row.p is not None])
    )
    assert found.wins == (9, 0)
    mse = next(row for row in found.rows if row.metric == "mse@1")
    ssim = next(row for row in found.rows if row.metric == "ssim@1")
    assert mse.difference < 0 < ssim.difference
    assert mse.difference == pytest.approx(mse.a - mse.b)
    assert ssim.lo is not None and ssim.hi is not None  # noqa: PT018
    assert ssim.lo < ssim.difference < ssim.hi
    assert mse.effect is not None
    assert mse.effect > 0
    back = rb.compare(*reversed(runs))
    assert back.wins == (0, 9)
    assert len(found.table()) == len(found.rows)


def test_entries_of_one_run_and_scores_in_memory_are_compared(runs: tuple[Path, Path]) -> None:
    found = rb.compare(Scores.load(runs[0]), runs[1], models=("good", "persistence"))
    assert (found.a, found.b) == ("good", "persistence")
    again = compare_models(runs[0], ["good/tiny", "persistence"])
    assert [row.p for row in again.rows] == [row.p for row in found.rows]


def test_two_runs_of_one_model_and_several_seeds(tmp_path: Path, runs: tuple[Path, Path]) -> None:
    seeds = [save_run(tmp_path / f"s{n}", scores("good", 0.7, seed=n)) for n in (1, 2, 3)]
    found = compare_models([runs[0], seeds[0]])
    assert (found.a, found.b) == ("good of a", "good of s1")
    crossed = compare_models([*seeds, runs[1]], ["good", "bad"])
    assert {row.n_seeds for row in crossed.rows} == {3}
    assert crossed.rows[0].interval.startswith("crossed")
    with pytest.raises(InputError, match="the same result"):
        compare_models([runs[0], save_run(tmp_path / "copy", Scores.load(runs[0]))])


def test_what_cannot_be_compared_is_refused(tmp_path: Path, runs: tuple[Path, Path]) -> None:
    with pytest.raises(UnknownName, match="Did you mean good"):
        compare_models(runs, ["god", "bad"])
    with pytest.raises(InputError, match="3 models are named"):
        compare_models(runs, ["good", "bad", "oracle"])
    with pytest.raises(InputError, match="one run is named"):
        compare_models(runs[0], ["good"])
    with pytest.raises(InputError, match="none is given"):
        compare_models([])
    other = make_run(dataset_digest="12" * 32)
    made = scores("bad", 0.9)
    with pytest.raises(Incomparable):
        compare_models([runs[0], save_run(tmp_path / "x", Scores(made.units, other))])


def test_the_command_prints_text_and_json(runs: tuple[Path, Path]) -> None:
    typed = ["compare", *map(str, runs)]
    text = CliRunner().invoke(app, typed).output
    assert "only in" in text  # row by row, as before
    assert "9 tests: A is better in 9, B in 0" in text
    named = CliRunner().invoke(app, [*typed, "--model", "oracle", "--model", "good"]).output
    assert "only in" not in named
    assert named.startswith("A = oracle, B = good (simulated data)\n")
    value = json.loads(CliRunner().invoke(app, [*typed, "--json"]).output)
    assert value["a"] == "good"
    assert {"metric", "lead", "difference", "lo", "hi", "p", "p_holm", "effect", "better"} <= set(
        value["rows"][0]
    )


def test_few_regions_allow_no_test(tmp_path: Path) -> None:
    found = compare_models([scores("good", 0.7, regions=5), scores("bad", 0.9, regions=5)])
    assert {row.p for row in found.rows} == {None}
    assert "fewer than 8 regions allow no test" in "\n".join(found.lines())
