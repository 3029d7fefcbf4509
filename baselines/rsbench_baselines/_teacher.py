"""A copy of a network that follows it as an exponential moving average."""

from __future__ import annotations

import copy
import math
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

Schedule = Literal["linear", "cosine"]


class Teacher(nn.Module):
    """A copy of a network that follows it as an exponential moving average.

    Its tensors are buffers: they are part of the checkpoint, and no optimiser sees them.
    ``follow`` is called before each step's loss, so it takes up the step before. The momentum
    rises from its start to 1 over ``steps``.

    Args:
        network: has a layer norm ``norm`` that every optimiser step moves.
        momentum: of the first step.
        steps: after which the copy no longer changes.
        schedule: of the momentum; ``cosine`` is ``1 − (1 − momentum)·(1 + cos(π·share)) / 2``.
    """

    count: Tensor

    def __init__(
        self, network: nn.Module, *, momentum: float, steps: int, schedule: Schedule = "linear"
    ) -> None:
        super().__init__()
        self.momentum = momentum
        self.steps = steps
        self.schedule = schedule
        shape = copy.deepcopy(network).requires_grad_(False)
        self._names = {name: name.replace(".", "_") for name, _ in shape.named_parameters()}
        for name, tensor in shape.named_parameters():
            self.register_buffer(self._names[name], tensor.detach().clone())
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        # A plain attribute, because its tensors are replaced at every call.
        self.__dict__["_shape"] = shape.to("meta")
        self._seen: Tensor | None = None

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        """Move towards the network, once for every step of it.

        In evaluation mode it stays: a loss that is only watched, perhaps with averaged weights,
        is no step.
        """
        # Every step moves the last norm; fused optimisers leave no other trace of one.
        norm = cast(nn.LayerNorm, network.norm)
        if not norm.training:
            return
        mark = torch.cat([norm.weight, norm.bias])
        seen = self._seen
        if seen is not None and seen.device == mark.device and torch.equal(mark, seen):
            return  # another part of the same batch: the network has not moved
        self._seen = mark
        momentum = self._momentum(min(float(self.count) / max(self.steps, 1), 1.0))
        for name, tensor in network.named_parameters():
            getattr(self, self._names[name]).lerp_(tensor, 1 - momentum)
        self.count += 1

    def _momentum(self, share: float) -> float:
        if self.schedule == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        return self.momentum + share * (1 - self.momentum)

    @torch.no_grad()
    def forward(self, *given: Any, **named: Any) -> Tensor:
        """Return what the network returns, with the weights of the copy."""
        tensors = {name: getattr(self, kept) for name, kept in self._names.items()}
        return cast(Tensor, functional_call(self.__dict__["_shape"], tensors, given, named))
