"""The model under test of the contract, and what the checks share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from rsbench.models.api import Card, Fitted, Given, Model, Stage, Trainable, Want
from rsbench.models.contract_data import Samples, Shape, make_samples
from rsbench.models.contract_train import WARM_STEPS, mean_loss, seeded, solve, train_briefly
from rsbench.models.registry import card as find_card
from rsbench.models.registry import create_model
from rsbench.models.rollout import block_length, collect

if TYPE_CHECKING:
    from torch import Tensor

OVERFIT_SAMPLES = 8


class Failed(AssertionError):
    """A check failed; the text gives the reason."""


class Skipped(Exception):
    """A check does not apply; the text gives the reason."""


@dataclass(frozen=True)
class StageFit:
    """The mean loss of a stage before and after training on eight samples."""

    stage: str
    start: float
    end: float
    steps: int

    def __str__(self) -> str:
        share = f"{self.end / self.start:.1%}"
        return f"{self.stage}: {self.start:.2e} → {self.end:.2e} ({share}) in {self.steps} steps"


class Subject:
    """One model and preset under test, with samples of sizes that its card allows."""

    def __init__(self, name: str, preset: str | None) -> None:
        entry = find_card(name)
        self.preset = preset or entry.default_preset
        self.card: Card = entry.of(self.preset)
        self.shape = Shape.of(self.card)
        self.leads = max(1, block_length(self.card))
        self.samples = make_samples(self.shape, members=2)

    @property
    def classes(self) -> dict[str, int]:
        """The number of classes, where models of the task are built for a number of them."""
        count = self.shape.classes
        return {} if count is None else {"classes": count}

    def fresh(self) -> Model:
        """Build the model with seeded initial weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return create_model(
                self.card.name, self.preset, bands=self.shape.bands, context=self.shape.context,
                **self.classes,
            )  # fmt: skip

    @property
    def ready(self) -> Model:
        """The model after fitting, or after a few steps of training on eight samples."""
        return self._trained[0]

    @property
    def fits(self) -> tuple[StageFit, ...]:
        """The losses of the stages that are trained by gradient on the truth."""
        return self._trained[1]

    @cached_property
    def _trained(self) -> tuple[Model, tuple[StageFit, ...]]:
        model = self.fresh()
        fits: tuple[StageFit, ...] = ()
        if isinstance(model, Fitted):
            data = make_samples(replace(self.shape, samples=4), seed=1)
            model.fit([(data.given, data.want, data.truth)])
        if isinstance(model, Trainable):
            fits = self._fit_stages(model)
            model.module.eval()
        return model, fits

    def _fit_stages(self, model: Trainable) -> tuple[StageFit, ...]:
        """Train all stages, and go back to the weights after the first steps of the last one.

        A stage with labels is trained until its loss is a small share of its start. One without
        labels is trained for its steps, or for a few if no stage with labels is trained on it.
        """
        stages = [(stage, self.training(stage, seed=1)) for stage in model.stages()]
        start = {
            stage.name: mean_loss(model, data, stage)
            for stage, data in stages
            if stage.labelled and not stage.closed_form
        }
        fits, warm = [], None
        for stage, data in stages:
            with seeded(0):
                if stage.closed_form:
                    solve(model, data, stage)
                    warm = None
                    continue
                few = stage if start else replace(stage, steps=min(stage.steps, WARM_STEPS))
                first = start.get(stage.name, 0.0)
                trained = train_briefly(model, data, few, stop=self.card.overfit_share * first)
                warm = trained.warm
            if first:
                fits.append(StageFit(stage.name, first, trained.end, trained.steps))
        if warm is not None:
            model.module.load_state_dict(warm)
        return tuple(fits)

    def trainable(self) -> Trainable:
        """Return the ready model.

        Raises:
            Skipped: if it is not trainable.
        """
        if not isinstance(self.ready, Trainable):
            raise Skipped("the model is not trained by gradient")
        return self.ready

    def predict(self, samples: Samples | None = None) -> Tensor:
        """Return the prediction of all leads, ``(B, M, L, C, H, W)``."""
        item = samples or self.samples
        return collect(self.ready, self.card, item.given, item.want).values

    def training(self, stage: Stage, seed: int, samples: int = OVERFIT_SAMPLES) -> Samples:
        """Return fully valid samples with the leads of a stage; without labels if it has none."""
        shape = replace(
            self.shape, samples=samples, leads=max(stage.leads, self.leads), taught=self.card.taught
        )
        made = make_samples(shape, seed=seed, masked=False)
        if stage.labelled or made.want.sensor in made.given.frames:
            return made
        values, valid = (torch.zeros_like(part) for part in (made.truth.values, made.truth.valid))
        return replace(made, truth=replace(made.truth, values=values, valid=valid))

    def extended(self) -> Samples:
        """Return samples with at least as many leads as one call predicts."""
        leads = max(self.leads, self.shape.leads)
        return make_samples(replace(self.shape, leads=leads), members=2)

    @property
    def data_range(self) -> float:
        """Width of the value range of the samples."""
        low, high = self.samples.truth.value_range
        return high - low


def call(model: Model, given: Given, want: Want) -> Tensor:
    """Return a copy of the values of one ``predict`` call."""
    with torch.inference_mode():
        return model.predict(given, want).values.clone()
