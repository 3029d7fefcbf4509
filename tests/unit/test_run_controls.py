"""A model's own controls stand beside it in every table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import toys

import rsbench
from rsbench.core.errors import InputError
from rsbench.evaluation.run import RunRequest, run_model
from rsbench.models.api import Card, Given, Model, Prediction, PresetInfo, Want
from rsbench.models.registry import adopt, extra

CONTROL = Card(
    "half", "forecast", "half of it", {"default": PresetInfo(0, 0)}, "none:none", "none", "none",
    rollout="step",
)  # fmt: skip
CARD = Card(
    "whole", "forecast", "all of it", {"default": PresetInfo(0, 0)}, "none:none", "none", "none",
    rollout="step",
)  # fmt: skip


class Scaled:
    """The last frame times a factor."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def predict(self, given: Given, want: Want) -> Prediction:
        last = given.frames[want.sensor].values[:, :, -1:]
        shape = (len(want.samples), want.members, want.times.shape[1], *last.shape[3:])
        return Prediction((self.factor * last).expand(shape))


class Watched(Scaled):
    """The last frame, with half of it as its control."""

    def controls(self) -> Mapping[str, Model]:
        return {"half": Scaled(0.5 * self.factor)}


def test_controls_are_rows_of_their_own(tmp_path: Path) -> None:
    store = toys.write_store(
        tmp_path / "toy", size=32, years=4, simulated=False, simulation=None, invalid=0.0
    )
    model = Watched(1.0)
    with extra(CONTROL), extra(CARD):
        adopt(model, CARD)
        scores = rsbench.evaluate(model, store, horizon=1, context=1, suite="mse@1")
    units = scores.units
    roles = dict(zip(units["model"], units["role"], strict=True))
    assert roles["whole"] == "model"
    assert roles["half"] == "control"
    table = scores.table()
    pick = table[
        (table["stratum"] == "all") & (table["band"] == "all") & (table["metric"] == "mse@1")
    ]
    values = dict(zip(pick["model"], pick["value"], strict=True))
    assert values["whole"] == values["persistence"]
    assert values["half"] > values["whole"]
    assert scores.run.best_trivial != "half"


@pytest.mark.parametrize(("name", "needed"), [("climatology", 2), ("linear_trend", 3)])
def test_a_model_that_needs_more_years_says_so_and_writes_nothing(
    name: str, needed: int, tmp_path: Path
) -> None:
    store = toys.write_store(tmp_path / "toy", size=32, years=4)
    asked = RunRequest(name, data=store.path, context="1", horizon=1, out=tmp_path / "run")
    with pytest.raises(
        InputError, match=f"at least {needed} context frames. Give --context {needed}"
    ):
        run_model(asked)
    assert not (tmp_path / "run").exists()
