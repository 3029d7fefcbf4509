"""Selective scans in plain torch, and the block that scans a map in four directions.

A. Gu, T. Dao, "Mamba: Linear-time sequence modeling with selective state spaces", 2023; Y. Liu
and others, "VMamba: Visual state space model", NeurIPS 2024. The recurrence is solved in chunks:
by doubling inside each, one after the other between them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHUNK = 64
EXPANSION = 2
DIRECTIONS = 4


def selective_scan(
    x: Tensor, step: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, chunk: int = CHUNK
) -> Tensor:
    """Solve h_l = exp(Δ_l·A)·h_{l−1} + Δ_l·B_l·x_l and return y_l = C_l·h_l + D·x_l.

    Args:
        x, step: x and Δ ``(N, K, E, L)``: K directions, E features, L places.
        a: A ``(K, E, S)``, negative; S states per feature.
        b, c: B and C ``(N, K, S, L)``.
        d: D ``(K, E)``.
        chunk: places solved at once; changes rounding alone.
    """
    decay = torch.exp(step[:, :, :, None] * a[None, ..., None])
    drive = (step * x)[:, :, :, None] * b[:, :, None]
    length = x.shape[-1]
    absent = -length % min(chunk, length)
    size = min(chunk, length)
    decay, drive = (F.pad(t, (0, absent)).unfold(-1, size, size) for t in (decay, drive))
    reach = 1
    while reach < size:
        # Each place takes up what the one `reach` before it has gathered.
        drive = drive + decay * F.pad(drive[..., :-reach], (reach, 0))
        decay = decay * F.pad(decay[..., :-reach], (reach, 0), value=1.0)
        reach *= 2
    state = torch.zeros_like(drive[..., 0, 0])
    found = []
    for part in range(drive.shape[-2]):
        now = drive[..., part, :] + decay[..., part, :] * state[..., None]
        state = now[..., -1]
        found.append(now)
    states = torch.cat(found, dim=-1)[..., :length]
    return (states * c[:, :, None]).sum(dim=3) + d[None, ..., None] * x


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
