"""Which dates of two sensors are kept: both images are seen, and show one ground in one place.

As in recipes of triplets, a date is left out where too little of an image is valid, where block
means of the fine image do not correlate with the coarse one (clouds that no mask has), and where
both lie apart. What a person states holds for every date. The default correlation and shift are
for sets of which most dates agree: a date is then compared with the others. Where most do not
agree, as in sets of few coarse pixels, nothing is left out for that, and the import says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from rsbench.build.compose.agreement import (
    FLAG,
    Shift,
    best_of,
    correlation,
    means_of,
    noted,
    shift_of,
    uncorrelated,
)
from rsbench.build.importers.api import ImportOptions
from rsbench.build.importers.raster import Mask, Pixels

CLEAR, COARSE_CLEAR, CORRELATION, SHIFT = 0.9, 0.5, 0.5, 1.0
"""Limits where none are stated: least valid shares and correlation, most coarse pixels apart."""
MOVED = 0.8
"""Correlation at the best of all shifts that is too high for chance."""
BANDS = 4
"""How many bands must correlate, or all where there are fewer."""

Images = tuple[Pixels, Mask, Pixels, Mask]
"""Fine values ``(C, H, W)`` and mask ``(H, W)`` of a date, and those of the coarse image."""


@dataclass(frozen=True)
class Look:
    """How both images of a date agree: valid shares, correlation by band, and shift."""

    day: date
    clear: float
    coarse_clear: float
    found: Mapping[str, float | None]
    shift: Shift | None

    @property
    def best(self) -> float | None:
        """The correlation that must be high enough."""
        return best_of(self.found, BANDS)

    @property
    def agrees(self) -> bool:
        """Whether the images show one ground, perhaps in another place."""
        moved = self.shift is not None and self.shift.correlation >= MOVED
        return moved or (self.best is not None and self.best >= CORRELATION)

    def note(self) -> dict[str, Any]:
        """Return what is kept of the date in the store, as recipes of triplets keep it."""
        return {
            "day": self.day.isoformat(),
            "fine_clear": round(self.clear, 4),
            "coarse_clear": round(self.coarse_clear, 4),
            **noted(self.found, self.shift),
        }


@dataclass(frozen=True)
class Gate:
    """The dates that are kept, why others are not, and remarks to print."""

    looks: tuple[Look, ...]
    refused: Mapping[date, str]
    remarks: tuple[str, ...]

    @property
    def kept(self) -> tuple[date, ...]:
        """Dates that are kept, ascending."""
        return tuple(look.day for look in self.looks if look.day not in self.refused)

    def notes(self) -> list[str]:
        """Return what is printed: dates that are left out, and remarks."""
        return [*(f"{day} is left out: {why}" for day, why in self.refused.items()), *self.remarks]


def judge(
    days: Iterable[date],
    images: Callable[[date], Images],
    *,
    span: int,
    bands: Sequence[str],
    options: ImportOptions,
) -> Gate:
    """Return which dates are kept.

    Args:
        days: dates that both sensors have, ascending.
        images: reads both images of a date, whole.
        span: fine pixels along one side of what a coarse pixel measures.
        bands: their names, for reasons.
        options: limits that are stated.
    """
    looks = tuple(_look(day, images(day), span, bands) for day in days)
    refused = {look.day: why for look in looks if (why := _partial(look, options))}
    whole = [look for look in looks if look.day not in refused]
    remarks = _unjudged(whole)
    rules = _Rules.of(whole, options, agreeing=not remarks)
    refused |= {look.day: why for look in whole if (why := rules.against(look))}
    if rules.usual.apart > SHIFT:
        remarks.append(
            f"on most dates the coarse images lie {rules.usual.apart:.1f} coarse pixels from the "
            f"fine ones; --shift {SHIFT:g} leaves such dates out"
        )
    return Gate(looks, dict(sorted(refused.items())), tuple(remarks))


def _look(day: date, images: Images, span: int, bands: Sequence[str]) -> Look:
    fine, clear, low, seen = images
    ratio = clear.shape[0] // seen.shape[0]
    shares = float(clear.mean()), float(seen.mean())
    height, width = (n // span * span for n in clear.shape)
    if not (height and width and shares[0] and shares[1]):
        return Look(day, *shares, dict.fromkeys(bands), None)
    fine, clear = fine[:, :height, :width], clear[:height, :width]
    if ratio == 1:  # the coarse image was resampled to the fine grid
        low, seen = means_of(low[:, :height, :width], seen[:height, :width], span)
    means, there = means_of(fine, clear, span)
    both = there & seen
    found = {name: correlation(a, b, both) for name, a, b in zip(bands, means, low, strict=True)}
    at = max(range(len(bands)), key=lambda i: (found[bands[i]] or -1.0, -i))
    shift = shift_of(fine[at], clear, low[at].astype(np.float64), seen, span)
    return Look(day, *shares, found, shift)


def _partial(look: Look, options: ImportOptions) -> str:
    """Say that too little of an image is valid; empty where enough is."""
    limits = (
        ("fine", look.clear, CLEAR if options.clear is None else options.clear),
        (
            "coarse",
            look.coarse_clear,
            COARSE_CLEAR if options.coarse_clear is None else options.coarse_clear,
        ),
    )
    for name, share, least in limits:
        if share < least or share == 0:
            return f"{share:.1%} of the {name} pixels are valid, {least:.0%} are asked"
    return ""


def _unjudged(looks: Sequence[Look]) -> list[str]:
    """Say why correlation and shift decide on no date; empty where most dates agree."""
    known = [look.best for look in looks if look.best is not None]
    agree = sum(look.agrees for look in looks)
    if 2 * agree > len(looks) or not looks:
        return []
    if not known:
        return [
            "too few coarse pixels are seen to tell whether fine and coarse images show one ground"
        ]
    return [
        f"on {agree} of {len(looks)} dates fine and coarse images correlate by {CORRELATION:g} or "
        f"more, at best by {max(known):.2f}: no date is left out for clouds without a mask or a "
        f"shift, unless --correlation is stated, e.g. {CORRELATION:g}"
    ]


@dataclass(frozen=True)
class _Rules:
    """Which correlation and shift a date needs.

    Args:
        least: correlation of the bands; None where it is not judged.
        most: coarse pixels from the usual shift; None where they are not judged.
        usual: shift of most dates; none if a limit is stated or most dates do not agree.
        sure: correlation from which a date's shift is used.
    """

    least: float | None
    most: float | None
    usual: Shift
    sure: float

    @classmethod
    def of(cls, looks: Sequence[Look], options: ImportOptions, *, agreeing: bool) -> _Rules:
        """Return what is stated, else the defaults if most dates agree."""
        least, most = (CORRELATION, SHIFT) if agreeing else (None, None)
        sure = CORRELATION if options.correlation is None else options.correlation
        usual = Shift(0.0, 0.0, 1.0)
        known = [s for s in (look.shift for look in looks) if s and s.correlation >= sure]
        if known and agreeing and options.shift is None:
            rows, columns = np.median([(s.rows, s.columns) for s in known], axis=0)
            usual = Shift(float(rows), float(columns), 1.0)
        return cls(
            least if options.correlation is None else options.correlation,
            most if options.shift is None else options.shift,
            usual,
            sure,
        )

    def against(self, look: Look) -> str:
        """Say that both images do not show one ground in one place; empty where they do."""
        shift, usual = look.shift, self.usual
        beside = usual.apart > FLAG
        # Where they agree nowhere, the place where they do so best means nothing.
        if shift is not None and shift.correlation >= self.sure:
            apart = float(np.hypot(shift.rows - usual.rows, shift.columns - usual.columns))
            if self.most is not None and apart > self.most:
                place = " from their place on most dates" if beside else ""
                most = f"more than {self.most:g}"
                return f"the images lie {apart:.2f} coarse pixels apart{place}, {most}"
            if beside:
                return ""
        if self.least is None or self.least == -1.0:
            return ""
        return uncorrelated(look.found, BANDS, self.least)


def open_gate(gate: Gate) -> dict[str, float]:
    """Return options with which every date that has a valid pixel in both images is kept."""
    seen = [look for look in gate.looks if look.clear > 0 and look.coarse_clear > 0]
    if not seen:
        return {}
    shares = min(look.clear for look in seen), min(look.coarse_clear for look in seen)
    clear, low = (math.floor(100 * share) / 100 for share in shares)
    return {"clear": clear, "coarse_clear": low, "correlation": -1.0, "shift": 2.0}
