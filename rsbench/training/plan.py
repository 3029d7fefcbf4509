"""The plan of a training: everything that decides the weights, and its digest."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, Self

from rsbench.core.digest import sha256_json
from rsbench.core.errors import InputError
from rsbench.models.api import Card, Stage
from rsbench.models.rollout import block_length

TRAINER = 2
"""Raised whenever the same plan would give other weights than before."""
WARMUP = 0.3
START_SHARE = 1 / 25
END_SHARE = 1e-4
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
POINTS = 20
"""Validations of one stage."""
STEPS_PER_POINT = 10
"""Steps between the validations of a stage that is shorter than `POINTS` times this."""


@dataclass(frozen=True)
class Budget:
    """How long to train: optimiser steps, or seconds on the clock."""

    steps: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str | None, stages: Sequence[Stage]) -> Self:
        """Read ``2000steps`` or ``10min``; None means the steps of the stages.

        Raises:
            InputError: if it is neither, or zero.
        """
        if text is None:
            return cls(steps=sum(stage.steps for stage in stages))
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(steps?|min)\s*", text)
        number = float(match[1]) if match else 0.0
        if match is None or number <= 0 or (match[2] != "min" and number != int(number)):
            raise InputError(
                f"a budget of {text!r}", "it is no time or number", "Give 2000steps or 10min"
            )
        return cls(seconds=60 * number) if match[2] == "min" else cls(steps=int(number))

    def __str__(self) -> str:
        if self.steps is not None:
            return f"{self.steps}steps"
        return f"{(self.seconds or 0) / 60:g}min"

    def share(self, stages: Sequence[Stage]) -> tuple[Self, ...]:
        """Divide it among stages in proportion to their own steps, each at least one step."""
        total = sum(stage.steps for stage in stages)
        if self.seconds is not None:
            return tuple(type(self)(seconds=self.seconds * s.steps / total) for s in stages)
        steps = self.steps or 0
        if steps < len(stages):
            raise InputError(
                f"a budget of {steps} steps",
                f"there are {len(stages)} stages",
                f"Give at least {len(stages)}steps",
            )
        # Rounded running sums: the parts add up to the whole.
        edges = [round(steps * sum(s.steps for s in stages[:i]) / total) for i in
                 range(len(stages) + 1)]  # fmt: skip
        for i in range(1, len(stages)):
            edges[i] = min(max(edges[i], edges[i - 1] + 1), steps - (len(stages) - i))
        return tuple(type(self)(steps=b - a) for a, b in pairwise(edges))

    def points(self) -> int:
        """Return the number of validations: one in at least `STEPS_PER_POINT` steps."""
        return POINTS if self.steps is None else min(POINTS, max(1, self.steps // STEPS_PER_POINT))

    def done(self, *, steps: int, seconds: float) -> float:
        """Return the share that is used up, from 0 to 1."""
        if self.steps is not None:
            return min(1.0, steps / self.steps)
        return min(1.0, seconds / (self.seconds or 1.0))


def one_cycle(share: float) -> float:
    """Return the learning rate at a share of the training, as a share of the peak.

    Half a cosine up from 1/25 of the peak over the first 30 %, half a cosine down to 1e-4 of it
    over the rest (L. N. Smith, N. Topin, "Super-convergence", arXiv 1708.07120).
    """
    if share < WARMUP:
        low, high, place = START_SHARE, 1.0, share / WARMUP
    else:
        low, high, place = END_SHARE, 1.0, 1 - (share - WARMUP) / (1 - WARMUP)
    return low + (high - low) * (1 - math.cos(math.pi * place)) / 2


@dataclass(frozen=True)
class Plan:
    """Everything that decides the weights.

    Args:
        window: side of the crops in pixels; ``grid``: window and stride of validation.
        context: number of context frames asked for; ``shortest``, ``longest``: drawn in training.
        leads: leads of one training sample, by stage.
        batch_size: most samples at once; a stage's larger batch is gathered in parts.
        preset_options: those of the preset.
        initial: digest of the weights that training starts from.
        resampling: in fusion, how coarse images are brought to the fine grid; None otherwise.
        labels: fraction and seed of the labels of training; None for all, or none.
        extras: what was turned on of :class:`rsbench.training.options.Options`.
    """

    model: str
    preset: str
    options: Mapping[str, Any]
    dataset_digest: str
    scheme: str
    sensor: str
    bands: tuple[str, ...]
    window: int
    grid: tuple[int, int]
    shortest: int
    context: int
    longest: int
    leads: tuple[int, ...]
    stages: tuple[Stage, ...]
    budget: str
    seed: int
    devices: int
    precision: str
    batch_size: int | None
    initial: str
    resampling: str | None = None
    labels: Mapping[str, Any] | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)
    preset_options: Mapping[str, Any] = field(default_factory=dict)
    trainer: int = TRAINER

    @property
    def settings(self) -> dict[str, Any]:
        """The fields, stages as they are stated."""
        return {**asdict(self), "stages": [stage.stated() for stage in self.stages]}

    @property
    def digest(self) -> str:
        """Digest of the plan; what is off, or does not concern a task, leaves no trace in it."""
        whole = self.settings
        for name in ("resampling", "labels", "extras"):
            if not whole[name]:
                del whole[name]
        if set(self.points) != {POINTS} and "validations" not in self.extras:
            whole["points"] = list(self.points)  # a short stage had `POINTS` before
        return sha256_json(whole)

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The budget of each stage."""
        return Budget.parse(self.budget, self.stages).share(self.stages)

    @property
    def points(self) -> tuple[int, ...]:
        """The number of validations of each stage."""
        asked = self.extras.get("validations")
        return tuple(asked or budget.points() for budget in self.budgets)


def leads_of(card: Card, stage: Stage) -> int:
    """Return how many leads a training sample of a stage holds: at least one answer's."""
    return max(stage.leads, block_length(card))


def window_of(card: Card, window: int) -> int:
    """Return the side of training crops: the protocol's window, as far as the card allows it."""
    if card.fixed_size is not None:
        return card.fixed_size
    side = min(window, card.tile or window)
    fitting = side // card.multiple_of * card.multiple_of
    if fitting == 0:
        raise InputError(
            f"training {card.name} on windows of {window} px",
            f"its sides must be multiples of {card.multiple_of} px",
            "Take a protocol with a larger window",
        )
    return fitting


def shortest_context(card: Card, context: int) -> int:
    """Return the shortest context to train with.

    Raises:
        InputError: if the model needs more context than there is.
    """
    if context < card.min_context:
        raise InputError(
            f"training {card.name} with a context of {context}",
            f"it needs at least {card.min_context} frames",
            f"Give --context {card.min_context} or more, or choose another preset",
        )
    return card.min_context
