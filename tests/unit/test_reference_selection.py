"""The reference of skill is chosen on enough validation samples, or is the task's first one."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist

import pytest
import toys
from scores_fixtures import make_run, make_scores, save_run

from rsbench.evaluation import table
from rsbench.evaluation.reference_models import LEAST_SAMPLES, reference_entries, select_reference
from rsbench.evaluation.report import write_report
from rsbench.evaluation.run import RunResult
from rsbench.evaluation.run_info import RunInfo
from rsbench.evaluation.scores import Scores
from rsbench.tasks.config import EvaluationConfig, EvaluationOptions
from rsbench.tasks.settings import evaluation_config

CHOSEN = {"samples": 12, "regions": 3, "chosen": True}
FEW = {"samples": 3, "regions": 1, "chosen": False}
NO = {"samples": 0, "regions": 0, "chosen": False}


def config_of(path: Path, *split: str, years: int) -> EvaluationConfig:
    store = toys.write_store(
        path / "s", size=32, years=years, split=split, simulated=False, simulation=None, floor=False
    )
    return evaluation_config(store, "year7", EvaluationOptions(horizon=1, suite="mse@1"))


@pytest.mark.parametrize(
    ("val", "years", "found"),
    [
        (2, 3, {"samples": 4, "regions": 2, "chosen": True}),
        (3, 2, {"samples": 3, "regions": 3, "chosen": False}),
        (0, 3, NO),
    ],
)
def test_few_samples_choose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, val: int, years: int, found: dict[str, int]
) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    config = config_of(tmp_path, "train", *["val"] * val, "test", years=years)
    entries = reference_entries(config).entries
    selected = select_reference(config, entries)
    assert {name: getattr(selected, name) for name in NO} == found
    assert found["chosen"] == (found["samples"] >= LEAST_SAMPLES)
    # The toy data grow every year: damped persistence, fitted, is better than the first one.
    assert selected.model == ("damped_persistence" if found["chosen"] else "persistence")
    assert select_reference(config, ()).model is None


def test_the_least_number_keeps_the_chance_of_a_wrong_choice_below_one_in_forty() -> None:
    wrong = {n: NormalDist().cdf(-math.sqrt(n)) for n in (LEAST_SAMPLES - 1, LEAST_SAMPLES)}
    assert wrong[LEAST_SAMPLES] < 0.025 < wrong[LEAST_SAMPLES - 1]


def run(selection: dict[str, int] | None, best: str | None = "persistence") -> RunInfo:
    return make_run(best_trivial=best, selection=selection)


def test_the_reference_in_words() -> None:
    assert run(None).reference == "persistence, the best reference model on the validation split"
    assert run(CHOSEN).reference.endswith("on 12 validation samples of 3 regions")
    assert run(FEW).reference == (
        "persistence, the first reference model of the task (3 validation samples of 1 region are "
        "too few to choose one)"
    )
    assert "there are no validation samples" in run(NO).reference
    assert run(None, None).reference == "none, as no reference model was scored"


@pytest.mark.parametrize("selection", [CHOSEN, FEW, NO])
def test_table_report_and_json_say_on_how_many(tmp_path: Path, selection: dict[str, int]) -> None:
    scores = make_scores({"selection": selection}, regions=8)
    folder = save_run(tmp_path / "run", scores)
    assert Scores.load(folder).run.selection == selection
    said = f"skill is relative to {scores.run.reference}"
    for made in (table.to_markdown, table.to_latex):
        assert said in made(scores.table(), scores=[scores])
    page = write_report([folder], tmp_path / "r.html").read_text(encoding="utf-8")
    assert page.count(f"Reference: {scores.run.reference}.") == 2
    assert f"against {scores.run.reference}" in page
    assert RunResult(folder, scores).summary().endswith(f"\n{said}")


def test_without_a_reference_nothing_equals_none(tmp_path: Path) -> None:
    scores = make_scores({"best_trivial": None}, regions=8)
    page = write_report([save_run(tmp_path / "run", scores)], tmp_path / "r.html").read_text(
        encoding="utf-8"
    )
    for text in (page, table.to_markdown(scores.table(), scores=[scores])):
        assert "relative to None" not in text
        assert "equals None" not in text
        assert "Reference: None" not in text
    assert "Reference: none, as no reference model was scored." in page
