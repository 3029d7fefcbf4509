"""Short training for the contract, and a context manager for global random states."""

from __future__ import annotations

import random

import numpy as np
import torch

from rsbench.models.api import ClosedForm, Stage, Trainable
from rsbench.models.contract_data import Samples

DRAWS = 8


def train_briefly(
    model: Trainable, data: Samples, stage: Stage, *, steps: int, stop: float = 0.0
) -> tuple[float, int]:
    """Train one stage until the mean loss is less than ``stop``, for at most ``steps`` steps.

    Returns:
        Mean loss after training, and the number of steps.
    """
    module = model.module
    given, want, truth = data.given, data.want, data.truth
    chosen = [
        p
        for name, p in module.named_parameters()
        if p.requires_grad and (not stage.modules or name.startswith(stage.modules))
    ]
    optimiser = torch.optim.AdamW(chosen, lr=stage.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=stage.learning_rate, total_steps=max(steps, 2)
    )

    end = mean_loss(model, data, stage)
    done = 0
    for done in range(1, steps + 1):
        module.train()
        optimiser.zero_grad()
        model.loss(stage, given, want, truth)["total"].backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(chosen, stage.clip)
        optimiser.step()
        schedule.step()
        if (stop and done % 25 == 0) or done == steps:
            end = mean_loss(model, data, stage)
            if end < stop:
                break
    return end, done


def train_stage(model: Trainable, data: Samples, stage: Stage, *, steps: int) -> None:
    """Train one stage for so many steps, or solve it where it is in closed form."""
    if not stage.closed_form:
        train_briefly(model, data, stage, steps=steps)
        return
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
