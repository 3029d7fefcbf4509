"""Low-rank updates of frozen linear layers (E. J. Hu et al., "LoRA", ICLR 2022).

The updates live in a module of their own and reach the layers by hooks, so the names in the
frozen network's state dict stay as they were published.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")


class LowRank(nn.Module):
    """``x → (alpha / rank) · up(down(x))``; zero at first, since ``up`` is zero."""

    def __init__(self, inputs: int, outputs: int, *, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, outputs, bias=False)
        nn.init.normal_(self.down.weight, std=1 / rank)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the update in the precision of its own weights."""
        return cast(Tensor, self.scale * self.up(self.down(x.to(self.down.weight.dtype))))


class Lora(nn.ModuleDict):
    """Updates of all attention projections of a network's image stream.

    Args:
        base: the network; linear layers whose names end in ``TARGETS`` get an update.
        rank, alpha: rank of the updates, and their scale times the rank.
    """

    def __init__(self, base: nn.Module, *, rank: int, alpha: float) -> None:
        super().__init__()
        self.muted = False
        for name, layer in base.named_modules():
            if isinstance(layer, nn.Linear) and name.endswith(tuple(f".{t}" for t in TARGETS)):
                update = LowRank(layer.in_features, layer.out_features, rank=rank, alpha=alpha)
                self[name.replace(".", "_")] = update
                layer.register_forward_hook(_Adding(self, update))

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Let the network answer as it was published, for a while."""
        before, self.muted = self.muted, True
        try:
            yield
        finally:
            self.muted = before


class _Adding:
    """A forward hook that adds an update; an object, so that a deep copy takes its own along."""

    def __init__(self, all_of_them: Lora, update: LowRank) -> None:
        self.all = all_of_them
        self.update = update

    def __call__(self, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        if self.all.muted:
            return output
        return torch.add(output, self.update(inputs[0]).to(output.dtype))
