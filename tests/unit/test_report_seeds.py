"""Seeds crossed with regions: worked by hand, counted, and told on the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scores_fixtures import make_run, make_units, save_run

from rsbench.evaluation import intervals as inference
from rsbench.evaluation.report import write_report
from rsbench.evaluation.report.board import Board, boards
from rsbench.evaluation.report.seeds import note, several
from rsbench.evaluation.scores import Scores


def folders(tmp_path: Path, seeds: int = 3, **units: object) -> list[Path]:
    """Runs of one model whose weights and errors differ by seed, beside reference models."""
    standing = make_units(metrics=("mse@1",), bands=("all",), **units)  # type: ignore[arg-type]
    standing = standing[standing["model"] != "simvp"]
    found = []
    for seed in range(seeds):
        trained = make_units(
            models={"simvp": ("model", "tiny", 0.7 + 0.05 * seed)}, metrics=("mse@1",),
            bands=("all",), noise=0.05 * (1 + seed), **units,  # type: ignore[arg-type]
        )  # fmt: skip
        weights = {**make_run().weights, "simvp": f"{seed:02d}" * 32}
        made = Scores(pd.concat([standing, trained]), make_run(seed=seed, weights=weights))
        found.append(save_run(tmp_path / f"seed{seed}", made))
    return found


def board(tmp_path: Path, seeds: int = 3) -> Board:
    (found,) = boards(folders(tmp_path, seeds))
    return found


def test_a_table_by_hand() -> None:
    # Seeds 1, 2 and regions a, b, c: values 1 2 3 and 3 4 8; mean 3.5.
    values = {1: {"a": 1.0, "b": 2.0, "c": 3.0}, 2: {"a": 3.0, "b": 4.0, "c": 8.0, "d": 0.0}}
    found = inference.crossed(values)
    assert found is not None
    assert (found.mean, found.n_seeds, found.n_regions) == (3.5, 2, 3)
    # Sums of squares: seeds 13.5 (1 df), regions 13 (2 df), all 29.5, so the rest is 3 (2 df).
    assert found.between_seeds == pytest.approx(((13.5 - 1.5) / 3) ** 0.5)
    assert found.between_regions == pytest.approx(((6.5 - 1.5) / 2) ** 0.5)
    assert found.interval is None
    assert inference.crossed({1: {"a": 1.0}}) is None
    assert inference.crossed({1: {"a": 1.0}, 2: {"b": 1.0}}) is None


def test_the_interval_holds_for_other_seeds_and_regions() -> None:
    rng = np.random.default_rng(5)
    rounds, hits = 600, 0
    for _ in range(rounds):
        x = (0.3 * rng.normal(size=(4, 1)) + rng.normal(size=(1, 12))
             + 0.3 * rng.normal(size=(4, 12)))  # fmt: skip
        values = {s: {f"r{r}": float(v) for r, v in enumerate(row)} for s, row in enumerate(x)}
        found = inference.crossed(values)
        assert found is not None
        assert found.interval is not None
        hits += found.interval.lo <= 0 <= found.interval.hi
    error = 4 * (0.95 * 0.05 / rounds) ** 0.5
    assert hits / rounds > 0.95 - error
    assert hits / rounds < 0.99


def test_rows_of_one_model_with_several_seeds_are_found(tmp_path: Path) -> None:
    made = board(tmp_path)
    assert several(made) == {
        ("simvp", "tiny"): {0: "simvp", 1: "simvp (seed 1)", 2: "simvp (seed 2)"}
    }
    said = note(made)
    assert [one["lead"] for one in said] == ["year +1", "year +3"]
    assert (said[0]["seeds"], said[0]["regions"]) == ("3", "12")
    table = made.scores.table()
    rows = table[
        (table["metric"] == "skill.mse@1") & (table["lead"] == 1) & (table["stratum"] == "all")
        & table["model"].str.startswith("simvp")
    ]  # fmt: skip
    assert float(said[0]["value"].replace("−", "-")) == pytest.approx(
        rows["value"].mean(), rel=1e-3
    )


def test_seeds_of_runs_with_other_inputs_are_not_averaged(tmp_path: Path) -> None:
    paths = folders(tmp_path)
    for path, inputs in zip(paths, ("s2", "s2, network revision 2", "s2, network revision 2"),
                            strict=True):  # fmt: skip
        scores = Scores.load(path)
        replace(scores, run=replace(scores.run, inputs={"simvp": inputs})).save(path)
    (made,) = boards(paths)
    assert several(made) == {
        ("simvp (s2, network revision 2)", "tiny"): {1: "simvp (seed 1)", 2: "simvp (seed 2)"}
    }


def test_one_seed_says_nothing_and_two_give_no_interval(tmp_path: Path) -> None:
    assert note(board(tmp_path / "one", 1)) == []
    (first, _) = note(board(tmp_path / "two", 2))
    assert first["span"] == "needs 3 seeds and 8 regions"


def test_the_page_tells_it(tmp_path: Path) -> None:
    text = write_report(folders(tmp_path), tmp_path / "r.html").read_text()
    assert "Seeds crossed with regions" in text
    assert "3 × 12" in text
    assert (
        "Seeds crossed"
        not in write_report(folders(tmp_path / "b", 1), tmp_path / "b.html").read_text()
    )
