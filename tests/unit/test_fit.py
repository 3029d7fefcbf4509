"""Closed-form fits: one path for reference models and models of other packages."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import toys

import rsbench as rb
from rsbench import Card, Given, Prediction, PresetInfo, Want
from rsbench.core.errors import TrainingError
from rsbench.evaluation.fit import FITTED, fit
from rsbench.models.registry import adopt
from rsbench.store.read import Store
from rsbench.tasks.config import EvaluationConfig, EvaluationOptions
from rsbench.tasks.settings import evaluation_config

CARD = Card(
    "shifted", "forecast", "-", {"default": PresetInfo(0, 0)}, "m:build", "-", "-", fitted=True
)


class Shifted:
    """The last frame plus the mean change from it, over the training split."""

    def __init__(self, answer: Mapping[str, float] | None = None) -> None:
        self.answer = answer
        self.parameters: dict[str, float] | None = None
        self.fits = 0

    def fit(self, pairs: Any) -> Mapping[str, float]:
        self.fits += 1
        steps = []
        for given, want, truth in pairs:
            last = given.frames[want.sensor].values[:, :, -1:]
            steps.append(float((truth.values - last).mean()))
        own = {"step": sum(steps) / len(steps)} if self.answer is None else self.answer
        self.parameters = dict(own)
        return own

    def restore(self, parameters: Mapping[str, float]) -> None:
        self.parameters = dict(parameters)

    def predict(self, given: Given, want: Want) -> Prediction:
        assert self.parameters is not None, "never fitted"
        last = given.frames[want.sensor].values[:, :, -1:]
        leads = want.times.shape[1]
        return Prediction(
            last.expand(-1, want.members, leads, -1, -1, -1) + self.parameters["step"]
        )


def adopted(answer: Mapping[str, float] | None = None) -> Shifted:
    model = Shifted(answer)
    adopt(model, CARD)
    return model


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    return toys.write_store(
        tmp_path / "s", size=16, years=4, simulated=False, simulation=None, floor=False
    )


def config(store: Store, **options: Any) -> EvaluationConfig:
    return evaluation_config(store, "year7", EvaluationOptions(horizon=2, **options))


def test_a_model_of_another_package_is_fitted_before_it_is_scored(store: Store) -> None:
    model = adopted()
    scores = rb.evaluate(model, store, "year7", horizon=2, suite="mse@1")
    assert model.fits == 1
    assert model.parameters is not None
    assert len(scores.run.weights["shifted"] or "") == 64
    rows = scores.table().query("model == 'shifted' and metric == 'mse@1'")
    assert len(rows)
    assert rows["value"].notna().all()


def test_a_fit_is_kept_and_taken_up(store: Store, tmp_path: Path) -> None:
    first, again, other = adopted({"step": 0.1}), adopted({"step": 9.0}), adopted({"step": 2.0})
    digest = fit(first, config(store))
    assert fit(again, config(store)) == digest
    assert again.parameters == {"step": 0.1}
    assert again.fits == 0
    # Another context, or a changed file, is fitted anew.
    fit(other, config(store, context=2))
    assert other.fits == 1
    for path in (tmp_path / "cache").rglob(FITTED):
        path.write_text(path.read_text().replace("2.0", "2.5"))
    touched = adopted({"step": 3.0})
    fit(touched, config(store, context=2))
    assert touched.parameters == {"step": 3.0}
    for path in (tmp_path / "cache").rglob(FITTED):
        path.write_text(path.read_text()[:20])
    cut = adopted({"step": 4.0})
    fit(cut, config(store, context=2))
    assert cut.parameters == {"step": 4.0}


def test_a_changed_base_class_is_fitted_anew(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    base = tmp_path / "base_of_shifted.py"
    base.write_text("class Base: pass\n")
    kind = type("Own", (Shifted, importlib.import_module("base_of_shifted").Base), {})
    for step, text in ((0.1, ""), (0.2, "# changed\n")):
        base.write_text("class Base: pass\n" + text)
        model = kind({"step": step})
        adopt(model, CARD)
        fit(model, config(store))
        assert model.parameters == {"step": step}


@pytest.mark.parametrize("answer", [{}, {"a": float("nan")}, {"a": float("inf")}])
def test_a_fit_without_a_result_is_an_error(store: Store, answer: dict[str, float]) -> None:
    with pytest.raises(TrainingError, match="fitting shifted"):
        fit(adopted(answer), config(store))


def test_a_card_that_says_fitted_needs_fit_and_restore(store: Store) -> None:
    class Without:
        def predict(self, given: Given, want: Want) -> Prediction:
            raise NotImplementedError

    model = Without()
    adopt(model, CARD)
    with pytest.raises(TrainingError, match="it has no fit and restore"):
        rb.evaluate(model, store, "year7", horizon=1)
