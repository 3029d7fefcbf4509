"""Cut model inputs into tiles of the sizes that a card requires, and merge the predictions.

A tile keeps its absolute window, so its noise and grids equal those of the whole image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from rsbench.core.errors import InputError
from rsbench.core.grid import Grid, Window
from rsbench.models.api import Card, Frames, Given, Prediction, SampleRef, Want

if TYPE_CHECKING:
    from torch import Tensor

Call = Callable[[Given, Want], Prediction]


@dataclass(frozen=True)
class Span:
    """One tile along one axis: pixels kept, and pixels seen, which may extend past the end."""

    start: int
    stop: int
    seen_start: int
    seen_stop: int


@dataclass(frozen=True)
class Tile:
    """One tile: its spans of rows and columns."""

    rows: Span
    columns: Span

    @property
    def seen(self) -> Window:
        """The input window, relative to the wanted window."""
        return Window(
            self.rows.seen_start,
            self.columns.seen_start,
            self.rows.seen_stop - self.rows.seen_start,
            self.columns.seen_stop - self.columns.seen_start,
        )


def spans(length: int, card: Card) -> tuple[Span, ...]:
    """Return the tiles along one axis of ``length`` pixels.

    Input spans have equal sizes and start at multiples of ``multiple_of``. They may extend past the
    end of the axis, not before its start.

    Raises:
        InputError: if the sizes in the card do not fit together.
    """
    unit = card.multiple_of
    halo = _up(card.halo, unit)
    limit = card.fixed_size or card.tile
    if card.fixed_size and card.fixed_size % unit:
        raise InputError(
            f"tiles for {card.name}",
            f"fixed_size {card.fixed_size} is not a multiple of {unit}",
            "Correct the model's card",
        )
    total = _up(length, unit)
    if limit is None or total <= limit:
        return (Span(0, length, 0, card.fixed_size or total),)
    size = limit // unit * unit
    if size <= 2 * halo:
        raise InputError(
            f"tiles for {card.name}",
            f"a halo of {halo} pixels on both sides leaves no pixel of {size}",
            "Correct the model's card: tile must be larger than twice the halo",
        )
    found, start = list[Span](), 0
    while start < length:
        seen = min(max(start - halo, 0), total - size)
        # The first tile has no halo before it and the last none after it, so both keep more.
        stop = length if seen + size >= length else min(seen + size - halo, length)
        found.append(Span(start, stop, seen, seen + size))
        start = stop
    return tuple(found)


def tiles(height: int, width: int, card: Card) -> tuple[Tile, ...]:
    """Return the tiles of a window; their kept parts cover every pixel once."""
    return tuple(Tile(r, c) for r in spans(height, card) for c in spans(width, card))


def cut_want(want: Want, tile: Tile) -> Want:
    """Return the wanted prediction of one tile."""
    return replace(
        want,
        grids=tuple(grid.window(tile.seen) for grid in want.grids),
        samples=_move(want.samples, tile.seen),
    )


def cut_given(given: Given, want: Want, tile: Tile) -> Given:
    """Return the input of one tile; pixels outside the window are mirrored and invalid."""
    height, width = want.size
    frames, grids = {}, {}
    for name, item in given.frames.items():
        window = _on_sensor(item, tile.seen, (height, width), name)
        frames[name] = _crop(item, window)
        grids[name] = _cut_grids(given.grids.get(name, ()), window)
    return Given(frames, grids, _move(given.samples, tile.seen), texts=given.texts)


def predict_tiled(call: Call, card: Card, given: Given, want: Want) -> Prediction:
    """Return the prediction of ``want``, predicted tile by tile.

    Args:
        call: predicts one tile, ``(B, M, T, C, h, w)``.
        card: has the sizes of tiles.
        given: input of the whole window.
        want: wanted prediction of the whole window.
    """
    stitcher = Stitcher(want)
    for tile, part_given, part_want in parts(card, given, want):
        stitcher.put(tile, call(part_given, part_want))
    return stitcher.result()


def parts(card: Card, given: Given, want: Want) -> Iterator[tuple[Tile, Given, Want]]:
    """Yield each tile with its input and its wanted prediction."""
    height, width = want.size
    for tile in tiles(height, width, card):
        whole = tile.seen == Window(0, 0, height, width)
        yield (
            tile,
            given if whole else cut_given(given, want, tile),
            want if whole else cut_want(want, tile),
        )


class Stitcher:
    """Merges the predictions of tiles."""

    def __init__(self, want: Want) -> None:
        self._size = want.size
        self._values: Tensor | None = None

    def put(self, tile: Tile, prediction: Prediction) -> None:
        """Add the kept part of a tile's prediction."""
        rows, columns, seen = tile.rows, tile.columns, tile.seen
        part = prediction.values[
            ...,
            rows.start - seen.y : rows.stop - seen.y,
            columns.start - seen.x : columns.stop - seen.x,
        ]
        if part.shape[-2:] == self._size:
            self._values = part
            return
        if self._values is None:
            self._values = part.new_empty(*part.shape[:-2], *self._size)
        self._values[..., rows.start : rows.stop, columns.start : columns.stop] = part

    def result(self) -> Prediction:
        """Return the merged prediction."""
        if self._values is None:
            raise AssertionError("no tile was put")
        return Prediction(self._values)


def mirror(start: int, stop: int, length: int) -> list[int]:
    """Return source indices for ``start … stop``, reflected at the edges (edge not repeated)."""
    if length == 1:
        return [0] * (stop - start)
    index = np.abs(np.arange(start, stop)) % (2 * length - 2)
    return [int(i) for i in np.minimum(index, 2 * length - 2 - index)]


def _crop(frames: Frames, window: Window) -> Frames:
    height, width = frames.values.shape[-2:]
    inside = (
        window.y >= 0
        and window.x >= 0
        and window.y + window.height <= height
        and window.x + window.width <= width
    )
    if inside:
        at = (..., *window.slices)
        return replace(frames, values=frames.values[at], valid=frames.valid[at])
    device = frames.values.device
    rows = torch.tensor(mirror(window.y, window.y + window.height, height), device=device)
    columns = torch.tensor(mirror(window.x, window.x + window.width, width), device=device)
    real = _real(window.y, window.height, height, device)[:, None]
    real = real & _real(window.x, window.width, width, device)
    return replace(
        frames,
        values=frames.values.index_select(-2, rows).index_select(-1, columns),
        valid=frames.valid.index_select(-2, rows).index_select(-1, columns) & real,
    )


def _real(start: int, count: int, length: int, device: torch.device) -> Tensor:
    index = torch.arange(start, start + count, device=device)
    return (index >= 0) & (index < length)


def _on_sensor(frames: Frames, window: Window, size: tuple[int, int], name: str) -> Window:
    """Return the window of the same area in pixels of another sensor."""
    have = tuple(frames.values.shape[-2:])
    if have == size:
        return window
    numbers = []
    for value, axis in ((window.y, 0), (window.x, 1), (window.height, 0), (window.width, 1)):
        scaled = value * have[axis]
        if scaled % size[axis]:
            raise InputError(
                f"a tile of sensor {name!r}",
                f"its {have[0]}×{have[1]} pixels and the wanted {size[0]}×{size[1]} have no common "
                f"pixel edge at {value}",
                "Set multiple_of in the model's card to a multiple of the ratio of pixel sizes",
            )
        numbers.append(scaled // size[axis])
    return Window(*numbers)


def _cut_grids(grids: tuple[Grid, ...], window: Window) -> tuple[Grid, ...]:
    return tuple(grid.window(window) for grid in grids)


def _move(samples: tuple[SampleRef, ...], seen: Window) -> tuple[SampleRef, ...]:
    return tuple(
        replace(
            sample,
            window=Window(
                sample.window.y + seen.y, sample.window.x + seen.x, seen.height, seen.width
            ),
        )
        for sample in samples
    )


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
