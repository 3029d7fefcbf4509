"""The contract catches models that break it, each in one way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rsbench.models import registry
from rsbench.models.api import Card, Frames, Given, Prediction, PresetInfo, Stage, Want
from rsbench.models.contract import CheckResult, run_contract
from rsbench.models.contract_data import SENSOR


def answer(values: Tensor, want: Want) -> Prediction:
    """Repeat ``(B, M, C, H, W)`` at every lead."""
    T = want.times.shape[1]
    return Prediction(values[:, :, None].expand(-1, want.members, T, -1, -1, -1).contiguous())


def last(given: Given) -> Tensor:
    frames = given.frames[SENSOR]
    return torch.where(frames.valid, frames.values, 0.2)[:, :, -1]


class Honest:
    def predict(self, given: Given, want: Want) -> Prediction:
        return answer(last(given) + 0.01 * want.noise.normal("n", want, channels=4), want)


class Gambler(Honest):
    def predict(self, given: Given, want: Want) -> Prediction:
        return answer(last(given) + 0.01 * torch.rand(()), want)


class OldGambler(Honest):
    def predict(self, given: Given, want: Want) -> Prediction:
        return answer(last(given) + float(np.random.rand()), want)  # noqa: NPY002


class Peeper(Honest):
    """Reads past its frames into the memory that holds the truth."""

    def predict(self, given: Given, want: Want) -> Prediction:
        frames = given.frames[SENSOR].values
        whole = torch.empty(0, dtype=frames.dtype).set_(frames.untyped_storage())
        return answer(last(given) + whole.mean() * 0.001, want)


class Herd(Honest):
    """Normalises by the batch."""

    def predict(self, given: Given, want: Want) -> Prediction:
        values = last(given)
        return answer(values - values.mean() + 0.3, want)


class Order(Honest):
    """Gives the first row of the batch something of its own."""

    def predict(self, given: Given, want: Want) -> Prediction:
        values = last(given)
        values[0] += 0.1
        return answer(values, want)


class Blind(Honest):
    """Takes the content under invalid pixels for data."""

    def predict(self, given: Given, want: Want) -> Prediction:
        return answer(given.frames[SENSOR].values[:, :, -1], want)


class Fragile(Honest):
    """Divides by the number of valid pixels."""

    def predict(self, given: Given, want: Want) -> Prediction:
        frames = given.frames[SENSOR]
        count = frames.valid.sum(dim=(-2, -1), keepdim=True)
        mean = torch.where(frames.valid, frames.values, 0).sum(dim=(-2, -1), keepdim=True) / count
        return answer(torch.where(frames.valid, frames.values, mean)[:, :, -1], want)


class Diary(Honest):
    """Remembers how often it was called."""

    def __init__(self) -> None:
        self.calls = 0

    def predict(self, given: Given, want: Want) -> Prediction:
        self.calls += 1
        return answer(last(given) + 0.001 * self.calls, want)


class Vandal(Honest):
    def predict(self, given: Given, want: Want) -> Prediction:
        values = last(given)
        given.frames[SENSOR].values.mul_(0.5)
        return answer(values, want)


class Double(Honest):
    def predict(self, given: Given, want: Want) -> Prediction:
        return Prediction(answer(last(given), want).values.double())


class Short(Honest):
    def predict(self, given: Given, want: Want) -> Prediction:
        return Prediction(answer(last(given), want).values[:, :, :, :1])


class Net(nn.Module):
    """A gain per band; ``spare`` is used by nobody."""

    def __init__(self, *, spare: bool = False, batch: bool = False) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4, 16, 1)
        self.out = nn.Conv2d(16, 4, 1)
        self.norm = nn.BatchNorm2d(16, momentum=0.5) if batch else nn.Identity()
        if spare:
            self.spare = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.add(x, self.out(torch.tanh(self.norm(self.mix(x)))))
        return out

    def over_members(self, x: Tensor) -> Tensor:
        """Map ``(B, M, C, H, W)`` to the same shape."""
        return torch.stack([self(part) for part in x.unbind(1)], dim=1)


class Learner(Honest):
    def __init__(self, net: Net, *, rate: float = 2e-2) -> None:
        self.net = net
        self.rate = rate
        self.leak: Tensor | None = None

    @property
    def module(self) -> nn.Module:
        return self.net

    def stages(self) -> Sequence[Stage]:
        return (Stage("fit", learning_rate=self.rate, steps=300, batch_size=8),)

    def predict(self, given: Given, want: Want) -> Prediction:
        return answer(self.net.over_members(last(given)), want)

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        found = self.net.over_members(last(given))
        return {"total": (found - truth.values[:, :, 0]).square().mean()}


class Thief(Learner):
    """Keeps what the loss showed it."""

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        self.leak = truth.values.mean()
        return super().loss(stage, given, want, truth)

    def predict(self, given: Given, want: Want) -> Prediction:
        found = super().predict(given, want).values
        return Prediction(found if self.leak is None else found + 0.1 * self.leak)


class Forgetful(Learner):
    """Holds a weight outside of its module."""

    def __init__(self, net: Net) -> None:
        super().__init__(net)
        self.outside = nn.Parameter(torch.zeros(()))

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        with torch.no_grad():
            self.outside.add_(0.001)
        return super().loss(stage, given, want, truth)

    def predict(self, given: Given, want: Want) -> Prediction:
        return Prediction(super().predict(given, want).values + self.outside.detach())


def run(
    build: Callable[[], Any], checks: Sequence[str], monkeypatch: pytest.MonkeyPatch, **card: Any
) -> list[CheckResult]:
    """Put a model through checks under a card of its own."""
    module = ModuleType("contract_subject")
    vars(module)["build"] = lambda preset: build()
    monkeypatch.setitem(sys.modules, "contract_subject", module)
    info = card.pop("info", PresetInfo(0, 0))
    entry = Card("subject", "forecast", "s", {"default": info}, "contract_subject:build", "-", "-")
    with registry.extra(replace(entry, **{"rollout": "step", "max_context": 2, **card})):
        return run_contract("subject", checks=checks)


NET = 148  # 4·16 + 16 + 16·4 + 4 parameters
LEARNER = PresetInfo(NET, NET)


@pytest.mark.parametrize(
    ("build", "check", "words"),
    [
        (Gambler, "global_seed_changes_nothing", "global seed"),
        (OldGambler, "global_seed_changes_nothing", "global seed"),
        (Peeper, "truth_changes_nothing", "beside the context"),
        (Herd, "neighbours_change_nothing", "the card allows 1e-05"),
        (Order, "neighbours_change_nothing", "the card allows 1e-05"),
        (Blind, "masks_are_respected", "under invalid pixels"),
        (Fragile, "masks_are_respected", "not finite"),
        (Diary, "calls_leave_no_trace", "in between"),
        (Vandal, "calls_leave_no_trace", "writes into the given"),
        (Double, "answers", "float64"),
        (Short, "answers", "wanted is"),
        (lambda: Learner(Net()), "card_counts", "the card says 0 and 0"),
        (lambda: Learner(Net(spare=True)), "every_tensor_matters", "spare"),
        (lambda: Thief(Net()), "truth_changes_nothing", "earlier loss"),
        (lambda: Learner(Net(), rate=1e-9), "overfits_eight_samples", "in 300 steps"),
        (lambda: Forgetful(Net()), "state_goes_round", "the round trip"),
    ],
)
def test_a_cheat_is_caught(
    build: Callable[[], Any], check: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (result,) = run(build, [check], monkeypatch)
    assert not result.passed
    assert words in result.detail
    assert str(result).startswith("FAIL")


def test_honest_models_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = ["answers", "truth_changes_nothing", "global_seed_changes_nothing",
              "calls_leave_no_trace", "neighbours_change_nothing", "masks_are_respected",
              "card_counts", "every_tensor_matters", "overfits_eight_samples",
              "state_goes_round"]  # fmt: skip
    for result in run(Honest, checks, monkeypatch):
        assert result.passed, str(result)
    for result in run(lambda: Learner(Net()), checks, monkeypatch, info=LEARNER):
        assert result.passed, str(result)
        assert not result.skipped


def test_an_idle_tensor_must_be_named_and_only_if_it_is_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spare = PresetInfo(NET + 3, NET + 3, idle={"spare": "kept for old checkpoints"})
    (result,) = run(
        lambda: Learner(Net(spare=True)), ["every_tensor_matters"], monkeypatch, info=spare
    )
    assert result.passed, str(result)
    wrong = replace(LEARNER, idle={"mix": "nobody knows"})
    (result,) = run(lambda: Learner(Net()), ["every_tensor_matters"], monkeypatch, info=wrong)
    assert not result.passed
    assert "they matter: mix" in result.detail


def test_a_model_that_raises_fails_its_check_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    class Breaks(Honest):
        def predict(self, given: Given, want: Want) -> Prediction:
            raise KeyError("weights")

    results = run(Breaks, ["answers", "card_counts"], monkeypatch)
    assert [r.passed for r in results] == [False, True]
    assert "KeyError" in results[0].detail
