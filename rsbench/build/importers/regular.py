"""A regular series of irregular dates: every image goes to the nearest step, gaps are invalid."""

from __future__ import annotations

import calendar
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from rsbench.build.importers.raster import Mask, Pixels
from rsbench.core.errors import InputError, unknown
from rsbench.store.layout import SensorArrays

COMPOSITES = ("nearest", "median")
MOST_STEPS = 5000


@dataclass(frozen=True)
class Step:
    """So many days, months or years."""

    count: int
    unit: str

    @property
    def iso(self) -> str:
        """The step as ISO 8601, e.g. ``P16D``."""
        return f"P{self.count}{self.unit}"

    def after(self, first: date, times: int) -> date:
        """Return the date so many steps after the first; the last day of a shorter month."""
        if self.unit == "D":
            return first + timedelta(days=self.count * times)
        months = first.month - 1 + self.count * times * (12 if self.unit == "Y" else 1)
        year, month = first.year + months // 12, months % 12 + 1
        return date(year, month, min(first.day, calendar.monthrange(year, month)[1]))


@dataclass(frozen=True)
class Slot:
    """A date of the regular series, and which images lie nearest to it, the nearest first."""

    day: date
    members: tuple[int, ...]


@dataclass(frozen=True)
class Regular:
    """How irregular dates become regular ones."""

    step: Step
    composite: str
    slots: tuple[Slot, ...]

    @property
    def times(self) -> tuple[date, ...]:
        """The regular dates, ascending."""
        return tuple(slot.day for slot in self.slots)

    def notes(self) -> list[str]:
        """Say how many steps have no image."""
        empty = sum(not slot.members for slot in self.slots)
        return (
            [f"{empty} of {len(self.slots)} steps have no image and are wholly invalid"]
            if empty
            else []
        )

    def recipe(self, times: Sequence[date]) -> dict[str, object]:
        """Return how the series was made, as JSON values; ``times``: dates of the images."""
        made = {str(s.day): [str(times[m]) for m in s.members] for s in self.slots}
        return {"step": self.step.iso, "composite": self.composite, "composed": made}

    def applied(self, arrays: SensorArrays, nodata: float) -> SensorArrays:
        """Return one image per step ``(S, C, H, W)``, from valid pixels of those nearest to it.

        ``nearest`` takes each pixel from the image nearest in time that shows it; ``median`` takes
        the median of each band. ``n_valid`` is the number of images that show a pixel.
        """
        shape = (len(self.slots), *arrays.values.shape[1:])
        values = np.full(shape, nodata, arrays.values.dtype)
        count = np.zeros((shape[0], *shape[2:]), np.uint16)
        for at, slot in enumerate(self.slots):
            held, seen = arrays.values[list(slot.members)], arrays.valid[list(slot.members)]
            count[at] = seen.sum(axis=0)
            if not seen.any():
                continue
            chosen = _median(held, seen) if self.composite == "median" else _first(held, seen)
            values[at] = np.where(count[at] > 0, chosen, values[at])
        return SensorArrays(values, count > 0, count, self.times, arrays.grid)


def _first(held: Pixels, seen: Mask) -> Pixels:
    """Return of each pixel the first image that shows it; images are nearest first."""
    found: Pixels = np.take_along_axis(held, seen.argmax(axis=0)[None, None], axis=0)[0]
    return found


def _median(held: Pixels, seen: Mask) -> Pixels:
    """Return the median of the images that show a pixel; of two middle numbers their mean."""
    ranked = np.sort(np.where(seen[:, None], held.astype(np.float64), np.inf), axis=0)
    count = seen.sum(axis=0)[None, None]
    low, high = (
        np.take_along_axis(ranked, np.maximum(n, 0), axis=0)[0]
        for n in ((count - 1) // 2, np.minimum(count // 2, len(held) - 1))
    )
    found: Pixels = np.where(count[0] > 0, (low + high) / 2, 0)
    return found if held.dtype.kind == "f" else np.rint(found)


def regular(times: Sequence[date], step: str | None, composite: str | None) -> Regular | None:
    """Return how dates become regular; None where no step is stated.

    Args:
        times: dates of the images, ascending.
        step: such as ``16d``, ``1m``, ``1y``, or ISO 8601.
        composite: ``nearest`` (the default) or ``median``.

    Raises:
        InputError: if the step is none, a composite is stated without one, or there would be too
            many steps.
    """
    if step is None:
        if composite is not None:
            raise InputError(
                f"--composite {composite}", "no step is stated", "State it, e.g. --step 16d"
            )
        return None
    how = composite or COMPOSITES[0]
    if how not in COMPOSITES:
        raise unknown("composite", how, COMPOSITES)
    every = parse_step(step)
    days = [times[0]]
    while days[-1] < times[-1]:
        days.append(every.after(times[0], len(days)))
        if len(days) > MOST_STEPS:
            raise InputError(
                f"--step {step}",
                f"{times[0]} to {times[-1]} hold more than {MOST_STEPS} such steps",
                "State a longer step",
            )
    nearest = [min(range(len(days)), key=lambda i: (abs(days[i] - t), i)) for t in times]
    slots = [
        Slot(day, tuple(sorted(held, key=lambda m: (abs(times[m] - day), m))))
        for at, day in enumerate(days)
        for held in [[m for m, own in enumerate(nearest) if own == at]]
    ]
    while len(slots) > 1 and not slots[-1].members:
        slots.pop()
    return Regular(every, how, tuple(slots))


def parse_step(text: str) -> Step:
    """Return a step written as ``16d``, ``1m``, ``1y`` or ``P16D``.

    Raises:
        InputError: if it is none.
    """
    found = re.fullmatch(r"[Pp]?([1-9]\d{0,3})([DdMmYy])", text.strip())
    if found is None:
        raise InputError(
            f"--step {text}", "it is no step", "Write so many days, months or years: 16d, 1m, 1y"
        )
    return Step(int(found[1]), found[2].upper())
