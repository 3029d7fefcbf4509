"""Windows of a store as a data set of PyTorch, for training loops of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol, TypedDict, final

import torch
from torch.utils.data import Dataset

from rsbench.core.dates import day_numbers
from rsbench.core.errors import InputError
from rsbench.core.grid import Window
from rsbench.store.cache import Cached, open_cache
from rsbench.store.manifest import RegionEntry
from rsbench.store.pixels import physical


class Splits(Cached, Protocol):
    """A store whose regions are in splits."""

    def split(self, name: str) -> tuple[str, ...]:
        """Return the names of the regions of a split."""

    def region(self, name: str) -> RegionEntry:
        """Return record, grids and dates of a region."""


class Sample(TypedDict):
    """One window: frames given, and those to predict.

    Values are float32 in the sensor's unit, 0 where not valid; times are days since 1970-01-01.
    ``given`` (K, C, H, W), ``given_valid`` (K, H, W) bool, ``given_times`` (K,) int64; ``truth``,
    ``truth_valid`` and ``truth_times`` likewise with L leads. ``y`` and ``x``: first row and column
    in the region.
    """

    given: torch.Tensor
    given_valid: torch.Tensor
    given_times: torch.Tensor
    truth: torch.Tensor
    truth_valid: torch.Tensor
    truth_times: torch.Tensor
    region: str
    y: int
    x: int


@dataclass(frozen=True)
class _Place:
    region: str
    window: Window
    last: int


@final
class StoreWindows(Dataset[Sample]):
    """Every window and start of a split, read from the decoded cache of the store.

    It can be pickled, so that a ``DataLoader`` may have workers.
    """

    def __init__(
        self, store: Splits, places: Sequence[_Place], sensor: str, context: int,
        leads: tuple[int, ...],
    ) -> None:  # fmt: skip
        self._cache = open_cache(store, sensor)
        self._times = {p.region: store.region(p.region).times[sensor] for p in places}
        self._places, self.sensor, self.context, self.leads = places, sensor, context, leads

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._places)

    def __getitem__(self, index: int) -> Sample:
        """Return one sample."""
        place = self._places[index]
        given = range(place.last - self.context + 1, place.last + 1)
        truth = [place.last + lead for lead in self.leads]
        values, valid, times = self._read(place, list(given))
        wanted, known, days = self._read(place, truth)
        return {
            "given": values, "given_valid": valid, "given_times": times, "truth": wanted,
            "truth_valid": known, "truth_times": days, "region": place.region,
            "y": place.window.y, "x": place.window.x,
        }  # fmt: skip

    def _read(self, place: _Place, at: list[int]) -> tuple[torch.Tensor, torch.Tensor, Any]:
        raw, valid = self._cache.patch(place.region, place.window, at)
        days = day_numbers([self._times[place.region][index] for index in at])
        values = torch.from_numpy(physical(raw, self._cache.meta, valid))
        return values, torch.from_numpy(valid.copy()), torch.from_numpy(days)


@dataclass(frozen=True, kw_only=True)
class WindowOptions:
    """Which windows and dates; see :meth:`rsbench.store.read.Store.torch_dataset`."""

    split: str
    window: int
    context: int
    leads: int | Sequence[int]
    stride: int | None = None
    sensor: str | None = None


def store_windows(store: Splits, options: WindowOptions) -> StoreWindows:
    """Return the windows of a split.

    Raises:
        InputError: if a number is not positive, or no region has such a window or so many dates.
        UnknownName: if there is no such split or sensor.
    """
    sensor = options.sensor or next(iter(store.meta.sensors))
    store.sensor(sensor)
    leads = options.leads
    steps = tuple(range(1, leads + 1)) if isinstance(leads, int) else tuple(leads)
    stride = options.window if options.stride is None else options.stride
    if min(options.window, options.context, stride, *(steps or (0,))) < 1:
        raise InputError(
            f"windows of {options.window} px, context {options.context}, leads {steps}",
            "one of them, or the stride, is not positive, or there is no lead",
            "Give numbers from 1 on",
        )
    places: list[_Place] = []
    for region in store.split(options.split):
        entry = store.region(region)
        grid, count = entry.grids[sensor], len(entry.times[sensor])
        starts = range(options.context - 1, count - max(steps))
        places += [
            _Place(region, Window(y, x, options.window, options.window), last)
            for y in _edges(grid.height, options.window, stride)
            for x in _edges(grid.width, options.window, stride)
            for last in starts
        ]
    if not places:
        first = store.region(store.split(options.split)[0])
        grid, days = first.grids[sensor], first.times[sensor]
        raise InputError(
            f"windows of {options.window} px, {options.context} frames and lead {max(steps)}",
            f"no region of {options.split} has them; {first.record.name} has "
            f"{grid.height}×{grid.width} px and {len(days)} dates, {_span(days)}",
            "Give a smaller window, fewer frames or shorter leads",
        )
    return StoreWindows(store, places, sensor, options.context, steps)


def _edges(side: int, window: int, stride: int) -> list[int]:
    """Return the first rows of windows; the last one ends at the edge."""
    found = list(range(0, side - window + 1, stride))
    return found if not found or found[-1] == side - window else [*found, side - window]


def _span(days: Sequence[date]) -> str:
    return f"{days[0]} to {days[-1]}"
