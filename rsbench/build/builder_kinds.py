"""Kinds of simulated triplets: where their dates lie, what changes between, what clouds hide.

``change``: a year of land-cover change between the first date and the target. ``back``: the same,
and the last date shows the ground as it was before. All others lie in one year: ``cloud-P`` hides
P percent of the coarse target, and in ``gap-D`` the references lie D days apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rsbench.build.simulate_random import settle, stream

STABLE, CHANGED, BACK = "no-land-cover-change", "land-cover-change", "change-and-back"
PLAIN = (STABLE, CHANGED)
SEASON = (110, 150, 190, 230)
"""Days of the year between which the first, the target and the last scene are looked for."""
MIDDLES = (170, 175, 165, 180, 160, 185, 155, 190)
"""Days of the year around which triplets of a stated gap may lie, the first being preferred."""
GAPS = {"gap-16": 16, "gap-48": 48, "gap-96": 96}
CLOUDS = {"cloud-00": 0.0, "cloud-10": 0.1, "cloud-30": 0.3}
KINDS = (*PLAIN, BACK, *CLOUDS, *GAPS)


@dataclass(frozen=True)
class Slot:
    """Where one scene of a triplet is looked for.

    Args:
        ground: the year whose scenes are rendered.
        dated: the year of the date that they are given.
        first, last: days of the year; the last is not among them.
    """

    ground: int
    dated: int
    first: int
    last: int


def nearness(kind: str) -> int:
    """Return how many days a scene may lie from its day, so that slots do not overlap."""
    return min(8, GAPS[kind] // 5)


def choices(kind: str, year: int) -> Iterator[tuple[Slot, Slot, Slot]]:
    """Yield the slots that a kind may take, the preferred ones first."""
    for middle in MIDDLES if kind in GAPS else MIDDLES[:1]:
        yield slots(kind, year, middle)


def slots(kind: str, year: int, middle: int = MIDDLES[0]) -> tuple[Slot, Slot, Slot]:
    """Return the slots of first reference, target and last reference.

    ``middle``: day of the target, where a gap is stated.
    """
    if kind in GAPS:
        half = GAPS[kind] // 2
        near = nearness(kind)
        a, b, c = (
            Slot(year, year, day - near, day + near + 1)
            for day in (middle - half, middle, middle + half)
        )
        return a, b, c
    later = year + (1 if kind in (CHANGED, BACK) else 0)
    end = year if kind == BACK else later
    grounds, dated = (year, later, end), (year, later, later)
    a, b, c = (
        Slot(*of, SEASON[i], SEASON[i + 1]) for i, of in enumerate(zip(grounds, dated, strict=True))
    )
    return a, b, c


def hidden(kind: str, seed: int, region: str, shape: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Return which coarse pixels of the target a cloud hides, ``(h, w)``, in patches."""
    count = round(CLOUDS.get(kind, 0.0) * shape[0] * shape[1])
    field = stream(seed, region, "coarse-cloud").standard_normal(tuple(shape))
    for axis in (0, 1):
        padded = np.pad(field, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        field = sum(np.roll(padded, k, axis) for k in (-1, 0, 1))  # type: ignore[assignment]
        field = field[1:-1] if axis == 0 else field[:, 1:-1]
    order = np.argsort(-settle(field).ravel(), kind="stable")
    cloud = np.zeros(shape[0] * shape[1], np.bool_)
    cloud[order[:count]] = True
    return cloud.reshape(tuple(shape))
