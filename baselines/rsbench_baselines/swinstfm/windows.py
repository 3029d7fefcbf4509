"""Attention inside shifted windows: within one map, and among the maps of two dates.

Z. Liu and others, "Swin Transformer", ICCV 2021; the fusion block after the released code of
SwinSTFM (LouisChen0104/swinstfm, ``models/swin_transformer.py``). Maps are ``(N, H, W, C)``, sides
multiples of the window.

That code has two faults, reproduced where ``released`` is set. A leading axis of length 1 makes it
exchange heads with windows instead of heads with positions after the attention, so that a window
receives values of other windows. In blocks without shift the same axis makes it normalise the
product of both attentions over queries instead of keys. In batches the first fault also mixes the
samples; here each sample is treated as a batch of one, as in the released test program.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FLOOR = 1e-6
HIDDEN = -100.0


def split(x: Tensor, window: int) -> Tensor:
    """Cut ``(N, H, W, C)`` into windows ``(N·windows, window², C)``, row by row."""
    N, H, W, C = x.shape
    x = x.reshape(N, H // window, window, W // window, window, C)
    return x.transpose(2, 3).reshape(-1, window * window, C)


def join(x: Tensor, window: int, H: int, W: int) -> Tensor:
    """Undo `split`."""
    C = x.shape[-1]
    x = x.reshape(-1, H // window, W // window, window, window, C)
    return x.transpose(2, 3).reshape(-1, H, W, C)


def bias_index(window: int) -> Tensor:
    """Return ``(window², window²)``: the row of the table for each pair of positions."""
    place = torch.arange(window)
    at = torch.stack(torch.meshgrid(place, place, indexing="ij")).flatten(1)
    apart = at[:, :, None] - at[:, None, :] + window - 1
    return apart[0] * (2 * window - 1) + apart[1]


def hidden_pairs(H: int, W: int, window: int, shift: int, like: Tensor) -> Tensor | None:
    """Return ``(windows, 1, window², window²)``: −100 between positions that the shift joined."""
    if shift == 0:
        return None
    region = torch.zeros(1, H, W, 1, device=like.device)
    cuts = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    for i, rows in enumerate(cuts):
        for j, columns in enumerate(cuts):
            region[:, rows, columns] = 3 * i + j
    marks = split(region, window)[..., 0]
    apart = marks[:, None, :, None] != marks[:, None, None, :]
    return apart.to(like.dtype) * HIDDEN


class Bias(nn.Module):
    """A learned bias per head for each relative position within a window."""

    def __init__(self, window: int, heads: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.table, std=0.02)
        self.register_buffer("index", bias_index(window), persistent=False)
        self.index: Tensor

    def forward(self, hidden: Tensor | None, copies: int) -> Tensor:
        """Return ``(1|copies·windows, heads, window², window²)``, hidden pairs lowered."""
        bias = self.table[self.index].permute(2, 0, 1)[None]
        return bias if hidden is None else bias + hidden.repeat(copies, 1, 1, 1)


def gathered(weights: Tensor, values: Tensor) -> Tensor:
    """Return ``(windows, positions, C)``: weighted sums of values, heads side by side."""
    return (weights @ values).transpose(1, 2).flatten(2)


def gathered_released(weights: Tensor, values: Tensor, samples: int) -> Tensor:
    """Return `gathered` with heads exchanged with the windows of a sample, as released."""
    windows, heads, positions, width = values.shape
    found = (weights @ values).view(samples, -1, heads, positions, width).transpose(1, 2)
    return found.reshape(windows, positions, heads * width)


def heads_of(x: Tensor, heads: int) -> Tensor:
    """Turn ``(windows, positions, C)`` to ``(windows, heads, positions, C/heads)``."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


class Mlp(nn.Module):
    """Two linear layers of the same width with GELU between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class _Windowed(nn.Module):
    """Windows, shift and position bias, which both kinds of block have."""

    def __init__(self, width: int, head: int, window: int, *, shifted: bool) -> None:
        super().__init__()
        self.heads, self.window, self.shifted = width // head, window, shifted
        self.bias = Bias(window, self.heads)

    def shift_for(self, H: int, W: int) -> int:
        """Return half a window, or none where one window covers the map."""
        return self.window // 2 if self.shifted and min(H, W) > self.window else 0

    def cut(self, x: Tensor, shift: int) -> Tensor:
        """Shift and cut a map into windows."""
        return split(torch.roll(x, (-shift, -shift), (1, 2)) if shift else x, self.window)

    def paste(self, x: Tensor, shift: int, H: int, W: int) -> Tensor:
        """Undo `cut`."""
        x = join(x, self.window, H, W)
        return torch.roll(x, (shift, shift), (1, 2)) if shift else x


class WindowBlock(_Windowed):
    """Attention within windows, then an MLP of ratio 1, each with a norm before and a shortcut."""

    def __init__(self, width: int, head: int, window: int, *, shifted: bool) -> None:
        super().__init__(width, head, window, shifted=shifted)
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, H, W, C)``."""
        N, H, W, _ = x.shape
        shift = self.shift_for(H, W)
        parts = self.qkv(self.cut(self.norm1(x), shift)).chunk(3, dim=-1)
        q, k, v = (heads_of(part, self.heads) for part in parts)
        bias = self.bias(hidden_pairs(H, W, self.window, shift, x), N)
        weights = torch.softmax(q @ k.transpose(2, 3) * q.shape[-1] ** -0.5 + bias, dim=-1)
        x = x + self.paste(self.proj(gathered(weights, v)), shift, H, W)
        return x + torch.as_tensor(self.mlp(self.norm2(x)))


class FusionBlock(_Windowed):
    """The coarse change, transferred to similar fine positions that have not changed.

    Both attentions take queries from the coarse reference map: one compares them with the fine
    reference, one with the coarse target. Their product, normalised over keys, gathers the change;
    an MLP follows. The three maps come normalised, the change does not.
    """

    def __init__(
        self, width: int, head: int, window: int, *, shifted: bool, released: bool = False
    ) -> None:
        super().__init__(width, head, window, shifted=shifted)
        self.released = released
        self.norm1 = nn.LayerNorm(width)
        self.query_fine = nn.Linear(width, width)
        self.key_fine = nn.Linear(width, width)
        self.query_coarse = nn.Linear(width, width)
        self.key_coarse = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)

    def forward(self, change: Tensor, c0: Tensor, f0: Tensor, c1: Tensor) -> Tensor:
        """Return the change ``(N, H, W, C)`` with what attention gathered added."""
        N, H, W, _ = change.shape
        shift = self.shift_for(H, W)
        bias = self.bias(hidden_pairs(H, W, self.window, shift, change), N)
        old, fine, new = (self.cut(x, shift) for x in (c0, f0, c1))
        alike = self._scores(self.query_fine(old), self.key_fine(fine), bias)
        kept = self._scores(self.query_coarse(old), self.key_coarse(new), bias)
        weights = alike * kept + FLOOR
        over = -2 if self.released and not shift else -1
        weights = weights / weights.sum(dim=over, keepdim=True)
        value = heads_of(self.value(self.cut(self.norm1(change), shift)), self.heads)
        found = gathered_released(weights, value, N) if self.released else gathered(weights, value)
        change = change + self.paste(self.proj(found), shift, H, W)
        return change + torch.as_tensor(self.mlp(self.norm2(change)))

    def _scores(self, query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
        q, k = heads_of(query, self.heads), heads_of(key, self.heads)
        return torch.softmax(q @ k.transpose(2, 3) * q.shape[-1] ** -0.5 + bias, dim=-1)


def stack(width: int, depth: int, head: int, window: int) -> nn.Sequential:
    """Return window blocks, every second one shifted."""
    return nn.Sequential(
        *(WindowBlock(width, head, window, shifted=i % 2 == 1) for i in range(depth))
    )
