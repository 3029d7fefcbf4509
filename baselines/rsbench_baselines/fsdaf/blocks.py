"""Blocks of fine pixels under coarse ones: means over valid pixels, and back to the fine grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class Blocks:
    """Blocks of ``span`` pixels a side from the upper-left corner; the last ones may be cut.

    Args:
        span: fine pixels along a coarse one.
        seen: ``(H, W)`` bool, the pixels that count.
    """

    span: int
    seen: Tensor

    @property
    def count(self) -> Tensor:
        """Valid pixels of every block, ``(h, w)`` float64."""
        return self._sum(self.seen.double())

    def parts(self, least: int) -> Iterator[tuple[slice, slice]]:
        """Yield rows of pixels and the rows of blocks that they are, ``least`` pixels or more."""
        step = -(-least // self.span)
        height = self.seen.shape[0]
        for first in range(0, -(-height // self.span), step):
            rows = slice(first * self.span, min(height, (first + step) * self.span))
            yield rows, slice(first, first + step)

    def mean(self, image: Tensor) -> Tensor:
        """Return the means over valid pixels ``(…, h, w)``; 0 where a block has none."""
        total = self._sum(image.double() * self.seen)
        return total / self.count.clamp(min=1)

    def spread(self, coarse: Tensor) -> Tensor:
        """Return ``(…, H, W)``: every pixel's own block."""
        height, width = self.seen.shape
        wide = coarse.repeat_interleave(self.span, dim=-2).repeat_interleave(self.span, dim=-1)
        return wide[..., :height, :width]

    def _sum(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        h, w = -(-height // self.span), -(-width // self.span)
        whole = pad(image, (0, w * self.span - width, 0, h * self.span - height))
        return whole.view(*image.shape[:-2], h, self.span, w, self.span).sum(dim=(-3, -1))
