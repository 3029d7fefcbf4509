"""Splits of regions over years: by region, forward in time, or as published, and their leaks.

A piece is one published sample: one patch of one region, from one year to the next.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from rsbench.core.errors import InputError

SPACE, TIME, PUBLISHED = "space", "time", "published"
SCHEMES = (SPACE, TIME, PUBLISHED)
APART_KM = 50.0
TRAIN, VAL = 0.5, 0.1
PUBLISHED_TRAIN = 0.8
EARTH_KM = 6371.0


@dataclass(frozen=True, order=True)
class Piece:
    """One patch from ``year`` to the next; sorted as the published loader lists its samples."""

    region: str
    year: int
    row: int
    column: int

    @property
    def patch(self) -> tuple[str, int, int]:
        """Region, row and column, without the year."""
        return self.region, self.row, self.column


def by_region(places: Mapping[str, tuple[float, float]]) -> dict[str, str]:
    """Return the split of each region: half to train, a tenth to val, the rest to test.

    Regions whose centres lie within 50 km of one another get the same split. Groups are ordered
    by a hash of their first name.

    Args:
        places: region → longitude and latitude of its centre, in degrees.

    Raises:
        InputError: if there are fewer than three groups to keep apart.
    """
    groups = _groups(places)
    if len(groups) < len(("train", "val", "test")):
        raise InputError(
            f"a split by region of {len(places)} regions",
            f"they form {len(groups)} groups that are {APART_KM:.0f} km apart; train, val and "
            "test need one each",
            "Bring more regions in, or take --split time",
        )
    groups.sort(key=lambda names: hashlib.sha256(names[0].encode()).hexdigest())
    train = min(max(1, round(TRAIN * len(groups))), len(groups) - 2)
    val = min(max(1, round(VAL * len(groups))), len(groups) - train - 1)
    names = ["train"] * train + ["val"] * val + ["test"] * (len(groups) - train - val)
    return {
        region: split
        for group, split in zip(groups, names, strict=True)
        for region in group
    }  # fmt: skip


def _groups(places: Mapping[str, tuple[float, float]]) -> list[list[str]]:
    """Return groups of regions connected by distances below 50 km."""
    head = {name: name for name in places}

    def top(name: str) -> str:
        while head[name] != name:
            name = head[name]
        return name

    for a, b in combinations(sorted(places), 2):
        if kilometres(places[a], places[b]) < APART_KM:
            head[max(top(a), top(b))] = min(top(a), top(b))
    found: dict[str, list[str]] = {}
    for name in sorted(places):
        found.setdefault(top(name), []).append(name)
    return list(found.values())


def kilometres(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Return the distance of two places (longitude, latitude in degrees) on a sphere."""
    (x0, y0), (x1, y1) = (tuple(map(math.radians, place)) for place in (one, other))
    half = math.sin((y1 - y0) / 2) ** 2 + math.cos(y0) * math.cos(y1) * math.sin((x1 - x0) / 2) ** 2
    return 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(half)))


def by_year(years: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return the years of each split: the last pair to test, the pair before to val, else train.

    Raises:
        InputError: if there are fewer than four years, i.e. three pairs.
    """
    if len(years) < 4:
        raise InputError(
            f"a split forward in time over {len(years)} years",
            f"they hold {max(0, len(years) - 1)} pairs of years; train, val and test need one each",
            "Bring more years in, or take --split space",
        )
    return {"train": tuple(years[:-2]), "val": tuple(years[-3:-1]), "test": tuple(years[-2:])}


def as_published(pieces: Iterable[Piece]) -> dict[str, tuple[Piece, ...]]:
    """Return the splits of the published code, which overlap.

    Training takes four fifths of a permutation of all pieces and validation the rest; evaluation
    takes the last fifth of the ordered list. The permutation is not published; here it is drawn by
    numpy's generator with seed 0.
    """
    ordered = sorted(pieces)
    cut = int(PUBLISHED_TRAIN * len(ordered))
    if cut < 1 or len(ordered) - cut < 1:
        raise InputError(
            f"the published split of {len(ordered)} samples",
            "a fifth of them is less than one",
            "Bring more regions or years in",
        )
    drawn = np.random.default_rng(0).permutation(len(ordered))
    return {
        "train": tuple(ordered[i] for i in sorted(drawn[:cut])),
        "val": tuple(ordered[i] for i in sorted(drawn[cut:])),
        "test": tuple(ordered[cut:]),
    }


def leaks(splits: Mapping[str, Iterable[Piece]]) -> dict[str, float]:
    """Return the shares of the test pieces that training has seen.

    Returns:
        ``same``: the piece itself is trained on. ``target_seen``: its target is an input or target
        of training. ``ground_seen``: the patch is trained on in any year. ``beside``: the patch, or
        one that touches it, is trained on.
    """
    train, test = set(splits.get("train", ())), list(splits.get("test", ()))
    images = {(p.patch, year) for p in train for year in (p.year, p.year + 1)}
    patches = {p.patch for p in train}

    def near(piece: Piece) -> bool:
        return any(
            (piece.region, piece.row + i, piece.column + j) in patches
            for i in (-1, 0, 1)
            for j in (-1, 0, 1)
        )

    count = max(1, len(test))
    return {
        "same": round(sum(p in train for p in test) / count, 4),
        "target_seen": round(sum((p.patch, p.year + 1) in images for p in test) / count, 4),
        "ground_seen": round(sum(p.patch in patches for p in test) / count, 4),
        "beside": round(sum(near(p) for p in test) / count, 4),
    }
