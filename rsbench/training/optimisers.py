"""Optimisers and schedules of the learning rate, by name or by import path."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from rsbench.core.errors import InputError, first_line, unknown
from rsbench.training.plan import END_SHARE, one_cycle

Groups = list[dict[str, Any]]
Make = Callable[[Groups, float, bool], torch.optim.Optimizer]
"""Called with groups of parameters, the learning rate, and whether a step may be fused."""
Rate = Callable[[float], float]
"""From the share of a stage that is done, 0 to 1, to the share of the peak learning rate."""
MOMENTUM = 0.9


def cosine(share: float) -> float:
    """Return half a cosine from the peak down to 1e-4 of it."""
    return END_SHARE + (1 - END_SHARE) * (1 + math.cos(math.pi * share)) / 2


def linear(share: float) -> float:
    """Return a straight line from the peak down to 1e-4 of it."""
    return 1 - (1 - END_SHARE) * share


def constant(share: float) -> float:
    """Return the peak."""
    return 1.0


SCHEDULES: Mapping[str, Rate] = {
    "one-cycle": one_cycle, "cosine": cosine, "linear": linear, "constant": constant,
}  # fmt: skip
OPTIMIZERS: Mapping[str, Make] = {
    "adamw": lambda groups, rate, fused: torch.optim.AdamW(groups, lr=rate, fused=fused),
    "adam": lambda groups, rate, fused: torch.optim.Adam(groups, lr=rate, fused=fused),
    "sgd": lambda groups, rate, fused: torch.optim.SGD(
        groups, lr=rate, momentum=MOMENTUM, fused=fused
    ),
}


def schedule(name: str) -> Rate:
    """Return a schedule.

    Args:
        name: of `SCHEDULES`, or ``package.module:function``.

    Raises:
        InputError: if there is none of this name, or it cannot be imported.
    """
    return SCHEDULES[name] if name in SCHEDULES else _imported("schedule", name, SCHEDULES)


def optimizer(name: str) -> Make:
    """Return what makes an optimiser.

    Args:
        name: of `OPTIMIZERS`, or ``package.module:Class``, called as ``Class(groups, lr=rate)``.

    Raises:
        InputError: if there is none of this name, or it cannot be imported.
    """
    if name in OPTIMIZERS:
        return OPTIMIZERS[name]
    make = _imported("optimiser", name, OPTIMIZERS)
    return lambda groups, rate, fused: make(groups, lr=rate)


def _imported(kind: str, path: str, known: Mapping[str, Any]) -> Any:
    module, colon, name = path.partition(":")
    if not colon:
        raise unknown(kind, path, known)
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"{kind} {path!r}",
            f"it cannot be imported ({first_line(error)})",
            f"Give package.module:name, or one of {', '.join(known)}",
        ) from error
