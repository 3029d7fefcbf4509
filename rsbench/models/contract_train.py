"""Short training for the contract, and a context manager for global random states."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rsbench.models.api import ClosedForm, Stage, Trainable
from rsbench.models.contract_data import Samples

DRAWS = 8
WARM_STEPS = 60
"""Steps of the last stage before most checks: zeros of initial weights hide faults, and weights
that are fitted closely hide small effects."""


@dataclass(frozen=True)
class Trained:
    """The result of training one stage.

    Args:
        end: mean loss after training.
        steps: number of steps.
        warm: weights after ``WARM_STEPS`` steps, or after all if there are fewer.
    """

    end: float
    steps: int
    warm: dict[str, Tensor]


def train_briefly(model: Trainable, data: Samples, stage: Stage, *, stop: float = 0.0) -> Trained:
    """Train one stage for its steps, or until the mean loss is less than ``stop``.

    Args:
        stop: a mean loss; 0 for none. Training does not stop before ``WARM_STEPS`` steps. The mean
            loss is computed where the loss of one of the last 25 steps is below it.
    """
    module = model.module
    given, want, truth = data.given, data.want, data.truth
    steps = stage.steps
    chosen = [
        p
        for name, p in module.named_parameters()
        if p.requires_grad and (not stage.modules or name.startswith(stage.modules))
    ]
    optimiser = torch.optim.AdamW(chosen, lr=stage.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=stage.learning_rate, total_steps=max(steps, 2)
    )

    done, warm, losses = 0, copy_weights(module), [float("inf")]
    for done in range(1, steps + 1):
        module.train()
        optimiser.zero_grad()
        total = model.loss(stage, given, want, truth)["total"]
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(chosen, stage.clip)
        optimiser.step()
        schedule.step()
        if done <= WARM_STEPS and done in (WARM_STEPS, steps):
            warm = copy_weights(module)
        losses.append(float(total.detach()))
        due = done >= WARM_STEPS and done % 25 == 0 and min(losses[-25:]) < stop
        if due and (end := mean_loss(model, data, stage)) < stop:
            return Trained(end, done, warm)
    return Trained(mean_loss(model, data, stage), done, warm)


def copy_weights(module: torch.nn.Module) -> dict[str, Tensor]:
    """Return a copy of all parameters and buffers."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def solve(model: Trainable, data: Samples, stage: Stage) -> None:
    """Solve one stage in closed form."""
    if not isinstance(model, ClosedForm):
        raise TypeError(f"stage {stage.name} says closed_form, and the model has no method solve")
    model.module.eval()
    with torch.no_grad():
        model.solve(stage, iter([(data.given, data.want, data.truth)]))


def mean_loss(model: Trainable, data: Samples, stage: Stage) -> float:
    """Return the loss of a stage, averaged over ``DRAWS`` random draws with a fixed seed."""
    model.module.eval()
    with torch.no_grad(), seeded(11):
        totals = [
            float(model.loss(stage, data.given, data.want, data.truth)["total"])
            for _ in range(DRAWS)
        ]
    return sum(totals) / DRAWS


class seeded:  # noqa: N801 - a context manager: with seeded(0)
    """Set all global random states inside a ``with`` block."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __enter__(self) -> None:
        self._kept = (torch.get_rng_state(), np.random.get_state(), random.getstate())  # noqa: NPY002
        torch.manual_seed(self._seed)
        np.random.seed(self._seed)  # noqa: NPY002
        random.seed(self._seed)

    def __exit__(self, *_: object) -> None:
        torch.set_rng_state(self._kept[0])
        np.random.set_state(self._kept[1])  # noqa: NPY002
        random.setstate(self._kept[2])
