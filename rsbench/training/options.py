"""Options of a training; all are off by default."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from rsbench.core.errors import InputError, unknown
from rsbench.metrics.precision import products
from rsbench.models.api import Stage

AUGMENTATIONS = ("flips", "rotations", "mixup", "cutmix", "cutout")
PREFIX = "average/"
WARM = (1.0, 10.0)
"""The average's rate is at most (1 + n) / (10 + n) after n steps, so that it forgets the start."""


@dataclass(frozen=True)
class Options:
    """Options of a training beside its plan.

    Args:
        augment: of :data:`AUGMENTATIONS`, see :mod:`rsbench.training.augment`.
        ema: rate d of the average θ̄ ← d·θ̄ + (1 − d)·θ, taken at every step; validated and kept
            are the averaged weights. 0 keeps none.
        channels_last: lay convolution weights out with the channels last; dropout, which draws
            along memory, then drops other pixels.
        compile: backend of ``torch.compile`` for the network, e.g. ``inductor``; empty for none.
        tf32: let a GPU multiply float32 with ten bits of mantissa.
        learning_rate, optimizer, schedule: in place of those of every stage, see
            :class:`rsbench.Stage`; None and empty for the stage's own.
        patience: validations without a better one before the last stage stops; 0 for never.
        validations: of each stage; None for 20, and fewer in a stage of less than 200 steps.
        also: digest of the synthetic store from which crops are drawn as well; empty for none.
        also_share: share of the crops from it; 0 for its share of the regions, 1 for all.
    """

    augment: tuple[str, ...] = ()
    ema: float = 0.0
    channels_last: bool = False
    compile: str = ""
    tf32: bool = False
    learning_rate: float | None = None
    optimizer: str = ""
    schedule: str = ""
    patience: int = 8
    validations: int | None = None
    also: str = ""
    also_share: float = 0.0

    def __post_init__(self) -> None:
        for name in self.augment:
            if name not in AUGMENTATIONS:
                raise unknown("augmentation", name, AUGMENTATIONS)
        if len(set(self.augment)) != len(self.augment):
            raise InputError(
                f"augmentations {','.join(self.augment)}", "one is listed twice", "Name each once"
            )
        if not 0.0 <= self.also_share <= 1.0 or (self.also_share and not self.also):
            raise InputError(
                f"a share of {self.also_share:g} of the crops from a synthetic store",
                "it is no share above 0 up to 1" if self.also else "no such store is given",
                "Give --also SYNTH, and --also-share above 0 up to 1 or not at all",
            )
        if not 0.0 <= self.ema < 1.0:
            raise InputError(
                f"an average of weights with rate {self.ema:g}",
                "1 and more would never move, and below 0 it would overshoot",
                "Give a rate from 0 to below 1, as 0.999",
            )
        rate = self.learning_rate
        if rate is not None and not 0.0 < rate < math.inf:
            raise InputError(f"a learning rate of {rate:g}", "it is not positive", "Give e.g. 1e-3")
        if self.patience < 0 or (self.validations is not None and self.validations < 1):
            raise InputError(
                f"patience {self.patience}, validations {self.validations}",
                "one of them is too small",
                "Give a patience of at least 0 (never stop early) and at least 1 validation",
            )

    def applied(self, stage: Stage) -> Stage:
        """Return a stage with the learning rate, optimiser and schedule that were asked for."""
        if stage.closed_form:
            return stage
        asked = ("learning_rate", "optimizer", "schedule")
        return replace(stage, **{name: v for name in asked if (v := getattr(self, name))})

    def chosen(self) -> dict[str, Any]:
        """Return what was turned on."""
        default = type(self)()
        return {n: v for n, v in asdict(self).items() if v != getattr(default, n)}

    @classmethod
    def of(cls, chosen: Mapping[str, Any]) -> Self:
        """Return the options that :meth:`chosen` describes."""
        known = dict(chosen)
        if "augment" in known:
            known["augment"] = tuple(known["augment"])
        return cls(**known)


@contextmanager
def faster(module: nn.Module, options: Options) -> Iterator[None]:
    """Apply memory layout, compilation and TF32 inside a ``with`` block."""
    planar: list[nn.Parameter] = []
    if options.channels_last:
        planar = [p for p in module.parameters() if p.ndim == 4 and p.is_contiguous()]
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if options.compile:
        module.compile(backend=options.compile)
    try:
        with products("tf32" if options.tf32 else "ieee"):
            yield
    finally:
        if options.compile:
            module._compiled_call_impl = None
        for parameter in planar:  # only parameters that were changed here
            parameter.data = parameter.data.contiguous()


class Average:
    """The running average of a module's parameters; buffers are not averaged.

    Args:
        rate: d.
    """

    def __init__(self, module: nn.Module, rate: float) -> None:
        self._module = module
        self._rate = rate
        self._kept: dict[str, Tensor] = {}
        if rate > 0:
            self._kept = {n: p.detach().clone() for n, p in module.named_parameters()}

    def update(self, step: int) -> None:
        """Take in the weights after ``step`` steps, counted from 1."""
        rate = min(self._rate, (WARM[0] + step) / (WARM[1] + step))
        with torch.no_grad():
            for name, parameter in self._module.named_parameters():
                if name in self._kept:
                    self._kept[name].lerp_(parameter.to(self._kept[name].device), 1 - rate)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Put the averages into the module inside a ``with`` block."""
        raw = {n: p.detach().clone() for n, p in self._module.named_parameters() if n in self._kept}
        self._put(self._kept)
        try:
            yield
        finally:
            self._put(raw)

    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self._module.named_parameters():
                if name in tensors:
                    parameter.copy_(tensors[name])

    def tensors(self) -> dict[str, Tensor]:
        """Return the averages under names of their own, for the state on disk."""
        return {PREFIX + name: tensor for name, tensor in self._kept.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`tensors` returned."""
        for name, kept in self._kept.items():
            kept.copy_(tensors[PREFIX + name])
