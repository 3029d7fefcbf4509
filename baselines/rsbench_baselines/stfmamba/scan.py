"""Selective scans in plain torch, and the block that scans a map in four directions.

A. Gu, T. Dao, "Mamba: Linear-time sequence modeling with selective state spaces", 2023; Y. Liu
and others, "VMamba: Visual state space model", NeurIPS 2024.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EXPANSION = 2
DIRECTIONS = 4


class Recurrence(torch.autograd.Function):
    """h_l = a_l·h_{l−1} + b_l along the first axis; its gradient is the same from behind.

    Autograd would keep every intermediate step, this keeps a and h alone.
    """

    @staticmethod
    def forward(ctx: Any, decay: Tensor, drive: Tensor, chunk: int | None) -> Tensor:
        """Return h of a and b ``(L, …)``."""
        states = solved(decay, drive, chunk)
        ctx.chunk = chunk
        ctx.save_for_backward(decay, states)
        return states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return the gradients of a and b."""
        decay, states = ctx.saved_tensors
        following = torch.cat([decay[1:], torch.zeros_like(decay[:1])])
        drive = solved(following.flip(0), grads[0].flip(0), ctx.chunk).flip(0)
        before = torch.cat([torch.zeros_like(states[:1]), states[:-1]])
        return drive * before, drive, None


def solved(decay: Tensor, drive: Tensor, chunk: int | None) -> Tensor:
    """Return h with h_l = a_l·h_{l−1} + b_l, h before the first place being 0.

    All chunks are solved at once, place by place, and then joined one after the other.

    Args:
        decay, drive: a and b ``(L, …)``.
        chunk: places of a chunk; √L where None, so that steps are fewest.
    """
    length = len(drive)
    size = min(chunk or math.isqrt(length - 1) + 1, length)
    absent = -length % size
    shape = (-1, size, *drive.shape[1:])
    if absent:
        decay, drive = (torch.cat([t, t.new_zeros(absent, *t.shape[1:])]) for t in (decay, drive))
    kept, found = decay.reshape(shape).clone(), drive.reshape(shape).clone()
    for at in range(1, size):
        found[:, at].addcmul_(kept[:, at], found[:, at - 1])
        kept[:, at].mul_(kept[:, at - 1])
    for part in range(1, len(found)):
        found[part].addcmul_(kept[part], found[part - 1, -1])
    return found.flatten(0, 1)[:length]


def selective_scan(
    x: Tensor,
    step: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    d: Tensor,
    chunk: int | None = None,
) -> Tensor:
    """Solve h_l = exp(Δ_l·A)·h_{l−1} + Δ_l·B_l·x_l and return y_l = C_l·h_l + D·x_l.

    Args:
        x, step: x and Δ ``(N, K, E, L)``: K directions, E features, L places.
        a: A ``(K, E, S)``, negative; S states per feature.
        b, c: B and C ``(N, K, S, L)``.
        d: D ``(K, E)``.
        chunk: of :func:`solved`; changes rounding alone.
    """
    along, steps, b, c = (t.permute(3, 0, 1, 2) for t in (x, step, b, c))
    decay = torch.exp(steps[..., None] * a)
    drive = (steps * along)[..., None] * b[:, :, :, None]
    states: Tensor = Recurrence.apply(decay, drive, chunk)  # type: ignore[no-untyped-call]
    found = (states @ c[..., None])[..., 0] + d * along
    return found.permute(1, 2, 3, 0)


def unrolled(x: Tensor) -> Tensor:
    """Turn ``(N, E, H, W)`` to ``(N, 4, E, H·W)``: by rows, by columns, and both from behind."""
    both = torch.stack([x.flatten(2), x.transpose(2, 3).flatten(2)], dim=1)
    return torch.cat([both, both.flip(-1)], dim=1)


def rolled(y: Tensor, H: int, W: int) -> Tensor:
    """Add up the four directions of ``(N, 4, E, H·W)`` in place: ``(N, E, H, W)``."""
    both = y[:, :2] + y[:, 2:].flip(-1)
    rows, columns = both.unbind(1)
    N, E = rows.shape[:2]
    return rows.reshape(N, E, H, W) + columns.reshape(N, E, W, H).transpose(2, 3)


class Scan(nn.Module):
    """A gated selective scan of a map ``(N, H, W, C)`` in four directions."""

    def __init__(self, width: int, state: int, rank: int) -> None:
        super().__init__()
        inner = EXPANSION * width
        self.state, self.rank = state, rank
        self.enter = nn.Linear(width, 2 * inner, bias=False)
        self.conv = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.select = nn.Parameter(torch.empty(DIRECTIONS, rank + 2 * state, inner))
        self.step = nn.Parameter(torch.empty(DIRECTIONS, inner, rank))
        self.shift = nn.Parameter(torch.empty(DIRECTIONS, inner))
        rates = torch.arange(1, state + 1, dtype=torch.float32).log()
        self.log_rates = nn.Parameter(rates.expand(DIRECTIONS, inner, state).clone())
        self.pass_on = nn.Parameter(torch.ones(DIRECTIONS, inner))
        self.norm = nn.LayerNorm(inner)
        self.leave = nn.Linear(inner, width, bias=False)
        nn.init.uniform_(self.select, -(inner**-0.5), inner**-0.5)
        nn.init.uniform_(self.step, -(rank**-0.5), rank**-0.5)
        # Steps between 0.001 and 0.1 at the start, on a logarithmic scale.
        start = torch.exp(torch.rand(DIRECTIONS, inner) * 4.605170 - 6.907755)
        with torch.no_grad():
            self.shift.copy_(start + torch.log(-torch.expm1(-start)))

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        _, H, W, _ = x.shape
        inside, gate = self.enter(x).chunk(2, dim=-1)
        inside = F.silu(self.conv(inside.permute(0, 3, 1, 2)))
        sequence = unrolled(inside)
        chosen = torch.einsum("nkel,kre->nkrl", sequence, self.select)
        low, b, c = chosen.split([self.rank, self.state, self.state], dim=2)  # type: ignore[no-untyped-call]
        step = torch.einsum("nkrl,ker->nkel", low, self.step) + self.shift[None, ..., None]
        y = selective_scan(
            sequence, F.softplus(step), -torch.exp(self.log_rates), b, c, self.pass_on
        )
        y = self.norm(rolled(y, H, W).permute(0, 2, 3, 1))
        out: Tensor = self.leave(y * F.silu(gate))
        return out


class ScanBlock(nn.Module):
    """A scan and an MLP of ratio 4, each behind a norm and with a shortcut."""

    def __init__(self, width: int, state: int, rank: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.scan = Scan(width, state, rank)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, rows, columns, features)``."""
        x = x + torch.as_tensor(self.scan(self.norm1(x)))
        return x + torch.as_tensor(self.fc2(F.gelu(self.fc1(self.norm2(x)))))
