"""From predicted tokens and a coarse picture of the last frame to a transformer's conditions.

``paper`` adds positions by order in the sequence and shortens the flattened sequence by linear
interpolation; ``grid`` keeps rows and columns apart and averages 2×2 tokens, so that a token and
the coarse patch that it is gated against show the same ground.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

COARSE = 4  # the coarse picture has a quarter of the sides, and patches of as many pixels
ORDER_SLOTS = 1024
SIDE = 16  # tokens along a side at 128 px
LAGS = 4
DROPOUT = 0.1
GAIN = 0.1


@dataclass(frozen=True)
class Conditions:
    """``hidden (B, n, D)`` joins the text's tokens, ``pooled (B, P)`` its pooled vector."""

    hidden: Tensor
    pooled: Tensor


class Stream(nn.Sequential):
    """Three linear layers, each followed by a layer norm, with GELU after the first two."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__(
            nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.GELU(),
            nn.Linear(hidden, hidden), nn.LayerNorm(hidden), nn.GELU(),
            nn.Linear(hidden, out), nn.LayerNorm(out),
        )  # fmt: skip


class History(nn.Module):
    """Gated cross-attention to earlier outputs of the adapter; zero without them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_query = nn.LayerNorm(width)
        self.norm_past = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 8, dropout=DROPOUT, batch_first=True)
        self.lags = nn.Parameter(torch.zeros(LAGS, width))
        self.out = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width))
        self.gate = nn.Linear(2 * width, width)
        nn.init.normal_(self.lags, std=0.02)

    def forward(self, hidden: Tensor, past: Sequence[Tensor]) -> Tensor:
        """Return ``(B, n, D)``; ``past`` holds at most four outputs, latest first."""
        if not past:
            return hidden
        known = torch.cat([p + self.lags[i] for i, p in enumerate(past[:LAGS])], dim=1)
        known = self.norm_past(known)
        seen, _ = self.attention(self.norm_query(hidden), known, known, need_weights=False)
        seen = self.out(seen)
        gate = torch.sigmoid(self.gate(torch.cat([hidden, seen], dim=-1)))
        return cast(Tensor, hidden + gate * seen)


class Adapter(nn.Module):
    """The conditioning adapter.

    Args:
        width: of the predicted tokens.
        bands: of the coarse picture.
        hidden: of the streams.
        joint: width D of the transformer's text tokens; ``pooled``: of its pooled vector.
        kind: ``paper`` or ``grid``.
        history: with the attention to earlier outputs.
    """

    def __init__(
        self, width: int, bands: int, *, hidden: int, joint: int, pooled: int, kind: str,
        history: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if kind not in ("paper", "grid"):
            raise ValueError(f"the adapter is paper or grid, not {kind!r}")
        self.kind = kind
        self.arguments: dict[str, Any] = {
            "width": width, "bands": bands, "hidden": hidden, "joint": joint, "pooled": pooled,
            "kind": kind, "history": history,
        }  # fmt: skip
        patch = bands * COARSE * COARSE
        self.norm = nn.LayerNorm(width)
        slots = ORDER_SLOTS if kind == "paper" else SIDE * SIDE
        self.positions = nn.Parameter(torch.empty(slots, width))
        self.tokens = Stream(width, hidden, joint)
        self.pool = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, pooled))
        self.coarse_positions = nn.Parameter(torch.empty((SIDE // 2) ** 2, patch))
        self.coarse = Stream(patch, hidden, joint)
        self.gate = nn.Linear(2 * joint, joint)
        self.history = History(joint) if history else None
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, gain=GAIN)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.positions, std=0.02)
        nn.init.normal_(self.coarse_positions, std=0.02)

    def forward(
        self,
        tokens: Tensor,
        grid: tuple[int, int] | None,
        image: Tensor | None,
        past: Sequence[Tensor] = (),
    ) -> Conditions:
        """Return the conditions.

        Args:
            tokens: ``(B, N, width)``.
            grid: rows and columns of the tokens; None where they are a masked part (``paper``).
            image: the last frame ``(B, C, H, W)`` in shares of the range, None to drop it.
            past: earlier ``hidden``, latest first.
        """
        x = self.norm(tokens) + self._places(tokens.shape[1], grid)
        pooled = self.pool(x.mean(dim=1))
        hidden = self.tokens(x)
        if image is not None:
            coarse = self._coarse(image)
            hidden = self._shorten(hidden, coarse.shape[1], grid)
            gate = torch.sigmoid(self.gate(torch.cat([coarse, hidden], dim=-1)))
            hidden = gate * hidden + (1 - gate) * coarse
        elif self.kind == "grid":
            # The number of tokens stays the same with and without the coarse picture.
            hidden = self._shorten(hidden, hidden.shape[1] // 4, grid)
        if self.history is not None:
            hidden = self.history(hidden, past)
        return Conditions(hidden, pooled)

    def _places(self, count: int, grid: tuple[int, int] | None) -> Tensor:
        if self.kind == "paper":
            return self.positions[:count]
        if grid is None:
            raise ValueError("the grid adapter takes the tokens of a whole grid")
        return _resized(self.positions, (SIDE, SIDE), grid)

    def _shorten(self, hidden: Tensor, count: int, grid: tuple[int, int] | None) -> Tensor:
        if self.kind == "paper" or grid is None:
            short = F.interpolate(hidden.transpose(1, 2), size=count, mode="linear")
            return short.transpose(1, 2)
        square = hidden.transpose(1, 2).reshape(hidden.shape[0], -1, *grid)
        return F.avg_pool2d(square, 2).flatten(2).transpose(1, 2)

    def _coarse(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        small = F.interpolate(
            image, size=(height // COARSE, width // COARSE), mode="bilinear", align_corners=False
        )
        patches = F.unfold(small, COARSE, stride=COARSE).transpose(1, 2)
        side = COARSE * COARSE
        grid = (height // side, width // side)
        places = _resized(self.coarse_positions, (SIDE // 2, SIDE // 2), grid)
        return cast(Tensor, self.coarse(patches + places))


def _resized(table: Tensor, own: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Return a table of positions for another grid, by averaging or interpolating its rows."""
    if own == grid:
        return table
    square = table.reshape(*own, -1).permute(2, 0, 1)[None]
    moved = F.interpolate(square, size=grid, mode="bilinear", align_corners=False, antialias=True)
    return moved[0].permute(1, 2, 0).flatten(0, 1)
