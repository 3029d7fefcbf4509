"""Selective scans in plain torch, and the block that scans a map in four directions.

A. Gu, T. Dao, "Mamba: Linear-time sequence modeling with selective state spaces", 2023; Y. Liu
and others, "VMamba: Visual state space model", NeurIPS 2024.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsbench_baselines.stfmamba.sizes import PUBLISHED, Start

EXPANSION = 2
DIRECTIONS = 4


class SelectiveScan(torch.autograd.Function):
    """The scan and its gradient, which is a scan from behind.

    Autograd would keep every intermediate step of ``solved``; this keeps only the states and
    computes decays again.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, step: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor,
        chunk: int | None,
    ) -> Tensor:  # fmt: skip
        """Return y; see :func:`selective_scan`."""
        decay = (step[..., None, :] * a[:, None, None]).exp_()
        states = solved(decay, (step * x)[..., None, :] * b[..., None], chunk)
        ctx.chunk = chunk
        ctx.save_for_backward(x, step, a, b, c, d, states)
        return (states * c[..., None]).sum(dim=-2) + d[:, None, None] * x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, Δ, A, B, C and D."""
        x, step, a, b, c, d, states = ctx.saved_tensors
        y = grads[0]
        by_c = (states * y[..., None, :]).sum(dim=-1)
        decay = (step[..., None, :] * a[:, None, None]).exp_()
        following = torch.cat([decay[:, 1:], decay[:, :1]], dim=1)
        drive = solved(following, y[..., None, :] * c[..., None], ctx.chunk, behind=True)
        by_b = (drive * (step * x)[..., None, :]).sum(dim=-1)
        both = (drive * b[..., None]).sum(dim=-2)
        rate = drive[:, 1:].mul_(states[:, :-1]).mul_(decay[:, 1:])
        by_a = (rate * step[:, 1:, :, None]).sum(dim=(1, 2))
        by_step = both * x
        by_step[:, 1:] += (rate * a[:, None, None]).sum(dim=-2)
        by_d = (y * x).sum(dim=(1, 2))
        return both * step + d[:, None, None] * y, by_step, by_a, by_b, by_c, by_d, None


def solved(decay: Tensor, drive: Tensor, chunk: int | None, *, behind: bool = False) -> Tensor:
    """Return h with h_l = a_l·h_{l−1} + b_l, h before the first position being 0.

    All chunks are solved at once, position by position, and then joined one after the other.

    Args:
        decay, drive: a and b ``(K, L, …)``; both are written over.
        chunk: positions per chunk; near √L where None, which minimises the number of steps.
        behind: h_l = a_l·h_{l+1} + b_l instead, h after the last position being 0.
    """
    length = drive.shape[1]
    size = min(chunk or fewest(length), length)
    if absent := -length % size:
        gap = drive.new_zeros(len(drive), absent, *drive.shape[2:])
        decay, drive = (torch.cat([t, gap], dim=1) for t in (decay, drive))
    kept, found = (t.view(len(t), -1, size, *t.shape[2:]) for t in (decay, drive))
    way, last = (-1, 0) if behind else (1, size - 1)
    places, parts = range(size)[::way], range(found.shape[1])[::way]
    for before, at in pairwise(places):
        found[:, :, at].addcmul_(kept[:, :, at], found[:, :, before])
        kept[:, :, at].mul_(kept[:, :, before])
    for before, part in pairwise(parts):
        found[:, part].addcmul_(kept[:, part], found[:, before, last, None])
    return found.flatten(1, 2)[:, :length]


def fewest(length: int) -> int:
    """Return the size of chunks that takes few steps, one that divides the length where it can."""
    root = math.isqrt(length - 1) + 1
    even = [size for size in range(root // 2 + 1, root + 1) if length % size == 0]
    return even[-1] if even else root


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
        x, step: x and Δ ``(K, L, N, E)``: K directions, L positions, E features.
        a: A ``(K, S, E)``, negative; S states per feature.
        b, c: B and C ``(K, L, N, S)``.
        d: D ``(K, E)``.
        chunk: of :func:`solved`; affects only rounding.
    """
    y: Tensor = SelectiveScan.apply(x, step, a, b, c, d, chunk)  # type: ignore[no-untyped-call]
    return y


def unrolled(x: Tensor) -> Tensor:
    """Turn ``(N, H, W, E)`` to ``(4, H·W, N, E)``: by rows, by columns, and both from behind."""
    N, _, _, E = x.shape
    both = torch.stack([x.permute(p).reshape(-1, N, E) for p in ((1, 2, 0, 3), (2, 1, 0, 3))])
    return torch.cat([both, both.flip(1)])


def rolled(y: Tensor, H: int, W: int) -> Tensor:
    """Add up the four directions of ``(4, H·W, N, E)`` in place: ``(N, H, W, E)``."""
    rows, columns = y[:2] + y[2:].flip(1)
    N, E = y.shape[2:]
    both: Tensor = rows.reshape(H, W, N, E) + columns.reshape(W, H, N, E).transpose(0, 1)
    return both.permute(2, 0, 1, 3)


class Scan(nn.Module):
    """A gated selective scan of a map ``(N, H, W, C)`` in four directions.

    Args:
        width: C.
        state, rank: states of a feature, and rank of Δ.
        start: values before training.
    """

    def __init__(self, width: int, state: int, rank: int, start: Start = PUBLISHED) -> None:
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
        bound = start.gain * inner**-0.5
        nn.init.uniform_(self.select, -bound, bound)
        nn.init.uniform_(self.step, -(rank**-0.5), rank**-0.5)
        low, high = (math.log(end) for end in start.steps)
        first = torch.exp(low + torch.rand(DIRECTIONS, inner) * (high - low))
        with torch.no_grad():
            self.shift.copy_(first + torch.log(-torch.expm1(-first)))

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        N, H, W, _ = x.shape
        inside, gate = self.enter(x).chunk(2, dim=-1)
        inside = F.silu(self.conv(inside.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        sequence = unrolled(inside)
        flat = sequence.flatten(1, 2)
        chosen = flat @ self.select.transpose(1, 2)
        low, b, c = chosen.split([self.rank, self.state, self.state], dim=2)  # type: ignore[no-untyped-call]
        step = F.softplus(torch.baddbmm(self.shift[:, None], low, self.step.transpose(1, 2)))
        b, c, step = (t.unflatten(1, (H * W, N)) for t in (b, c, step))
        rates = -torch.exp(self.log_rates).transpose(1, 2)
        y = selective_scan(sequence, step, rates, b, c, self.pass_on)
        y = self.norm(rolled(y, H, W))
        out: Tensor = self.leave(y * F.silu(gate))
        return out


class DropPath(nn.Module):
    """Leaves a branch out of a sample with a probability, in training; kept ones are scaled up.

    G. Huang and others, "Deep networks with stochastic depth", ECCV 2016.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, …)``; the draw is one per sample."""
        if self.probability == 0 or not self.training:
            return x
        keep = 1 - self.probability
        drawn = x.new_empty(len(x), *[1] * (x.dim() - 1)).bernoulli_(keep)
        return x * drawn / keep


class ScanBlock(nn.Module):
    """A scan and an MLP of ratio 4, each with a norm before it, a drop path and a shortcut.

    Args:
        width: features.
        state, rank: states of a feature, and rank of Δ.
        start: values before training.
        drop_path: probability that a branch is left out of a sample in training.
    """

    def __init__(
        self, width: int, state: int, rank: int, start: Start = PUBLISHED, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.scan = Scan(width, state, rank, start)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.drop = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, rows, columns, features)``."""
        x = x + torch.as_tensor(self.drop(self.scan(self.norm1(x))))
        return x + torch.as_tensor(self.drop(self.fc2(F.gelu(self.fc1(self.norm2(x))))))
