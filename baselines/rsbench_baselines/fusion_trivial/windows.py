"""Moving windows without copies: strips of rows with a margin, shifted views, box sums."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import hypot

import torch
from torch import Tensor
from torch.nn.functional import pad

CPU_CELLS = 1 << 17
"""Numbers that a strip may hold on a CPU: what stays in its cache while offsets go by."""

GPU_CELLS = 1 << 26

RANK_CELLS = 1 << 23
"""Numbers held at once to find the most similar pixels: 64 MiB."""


@dataclass(frozen=True)
class Strip:
    """Rows ``start … stop`` of an image, seen with a margin on all four sides."""

    start: int
    stop: int
    margin: int

    @property
    def rows(self) -> slice:
        """The strip's rows in the image."""
        return slice(self.start, self.stop)

    def cut(self, image: Tensor, outside: float = 0.0) -> Tensor:
        """Return ``(…, rows + 2 · margin, W + 2 · margin)``; ``outside`` the image as given."""
        height = image.shape[-2]
        first, last = max(0, self.start - self.margin), min(height, self.stop + self.margin)
        above = self.margin - (self.start - first)
        below = self.margin - (last - self.stop)
        return pad(
            image[..., first:last, :], (self.margin, self.margin, above, below), value=outside
        )

    def inner(self, padded: Tensor) -> Tensor:
        """Return the strip itself of what :meth:`cut` returned."""
        return self.shift(padded, 0, 0)

    def shift(self, padded: Tensor, dy: int, dx: int) -> Tensor:
        """Return the view whose pixel p shows the padded image at p + (dy, dx)."""
        rows, columns = self.stop - self.start, padded.shape[-1] - 2 * self.margin
        y, x = self.margin + dy, self.margin + dx
        return padded[..., y : y + rows, x : x + columns]


def each_strip(
    image: Tensor,
    margin: int,
    planes: int,
    work: Callable[[Strip], None],
    cells: int | None = None,
) -> None:
    """Do some work for every strip of ``(…, H, W)``.

    Strips follow one another: operations on so few pixels spend as long in the interpreter as in
    arithmetic, and threads that take turns there need twice the time. Only compiled work, which
    states its ``cells`` and leaves the interpreter, is done in as many threads as torch has.

    Args:
        margin: pixels seen beyond a strip.
        planes: arrays of height and width that the work has in use at once; strips are as high
            as the device's cache or memory allows for so many.
        work: writes into its own rows of what it answers with, and nowhere else.
        cells: numbers that a strip of compiled work may hold; None for work made of tensors.
    """
    height, width = image.shape[-2:]
    compiled = cells is not None
    cells = cells or (GPU_CELLS if image.is_cuda else CPU_CELLS)
    rows = max(2, min(height, cells // (planes * width)))
    found = [Strip(y, min(height, y + rows), margin) for y in range(0, height, rows)]
    threads = min(torch.get_num_threads(), len(found)) if compiled else 1
    inference = torch.is_inference_mode_enabled()  # every thread has its own

    def run(strip: Strip) -> None:
        with torch.inference_mode(inference):
            work(strip)

    if threads == 1:
        for strip in found:
            work(strip)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(run, found):
            pass


def offsets(half: int) -> Iterator[tuple[int, int, float]]:
    """Yield ``(dy, dx, distance)`` of every pixel of a window, in rows."""
    for dy in range(-half, half + 1):
        for dx in range(-half, half + 1):
            yield dy, dx, hypot(dy, dx)


def distances(half: int) -> Tensor:
    """Return the distance of every pixel of a window from its centre, float64."""
    side = 2 * half + 1
    return torch.tensor([far for *_, far in offsets(half)], dtype=torch.float64).view(side, side)


def worst_kept(
    strip: Strip, like: Tensor, half: int, count: int, rank: Callable[[int, int, slice], Tensor]
) -> Tensor:
    """Return the rank of the last of the best ``count`` pixels of every window, ``(h, w)``.

    Args:
        strip: what ranks are of.
        like: of the ranks' type, on their device.
        half: half of the window.
        count: pixels that are kept.
        rank: returns ``(rows, w)`` of the offset (dy, dx) for some rows of the strip, infinite
            where the pixel there must not be kept.
    """
    rows, columns = strip.stop - strip.start, like.shape[-1] - 2 * strip.margin
    window = (2 * half + 1) ** 2
    step = max(1, RANK_CELLS // (window * columns))
    worst = like.new_empty(rows, columns)
    for first in range(0, rows, step):
        part = slice(first, min(rows, first + step))
        ranks = like.new_empty(window, part.stop - first, columns)
        for place, (dy, dx, _) in enumerate(offsets(half)):
            ranks[place] = rank(dy, dx, part)
        worst[part] = ranks.topk(min(count, window), dim=0, largest=False).values[-1]
    return worst


def box_sum(padded: Tensor, half: int) -> Tensor:
    """Return the sums over windows of ``2 · half + 1`` pixels a side, of the inner part.

    ``padded`` has a margin of ``half`` with zeros where the image ends.
    """
    return _along(_along(padded, half, -1), half, -2)


def _along(values: Tensor, half: int, axis: int) -> Tensor:
    size = 2 * half + 1
    total = values.cumsum(dim=axis)
    length = values.shape[axis]
    upper = total.narrow(axis, size - 1, length - size + 1)
    lower = torch.cat(
        [torch.zeros_like(total.narrow(axis, 0, 1)), total.narrow(axis, 0, length - size)], axis
    )
    return upper - lower
