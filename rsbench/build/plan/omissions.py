"""Items that a search leaves out, and why: named in the plan, the lock and the data card."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

EXCLUDED = "excluded by --exclude"
SHOWN = 5
"""Ids that the plan shows of each reason; the lock has all."""


@dataclass(frozen=True, slots=True)
class LeavingOut:
    """Which items a search may leave out.

    ``exclude``: ids. ``incomplete``: also items that contradict themselves or lack an asset.
    """

    exclude: frozenset[str] = frozenset()
    incomplete: bool = False


NOTHING = LeavingOut()
"""No item may be left out, except for the rules of the recipe."""


@dataclass(frozen=True, slots=True)
class Omission:
    """Items of one sensor or label set that are left out of a region for one reason, by id."""

    sensor: str
    reason: str
    items: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"sensor": self.sensor, "reason": self.reason, "items": list(self.items)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Omission:
        """Read the JSON form."""
        items = tuple(str(item) for item in value["items"])
        return cls(str(value["sensor"]), str(value["reason"]), items)


@dataclass(frozen=True, slots=True)
class Omissions:
    """Collects what the search of one region leaves out."""

    held: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    def add(self, sensor: str, reason: str, items: Iterable[str]) -> None:
        """Add items of one sensor that are left out for one reason."""
        if named := set(items):
            self.held.setdefault((sensor, reason), set()).update(named)

    def found(self) -> tuple[Omission, ...]:
        """Return all, in order of sensor and reason."""
        return tuple(Omission(*key, tuple(sorted(self.held[key]))) for key in sorted(self.held))


def totals(left: Mapping[str, Sequence[Omission]]) -> tuple[dict[str, Any], ...]:
    """Return per sensor and reason the number of items and regions, and the first ids."""
    items: dict[tuple[str, str], set[str]] = defaultdict(set)
    regions: dict[tuple[str, str], set[str]] = defaultdict(set)
    for region, omissions in left.items():
        for one in omissions:
            items[one.sensor, one.reason] |= set(one.items)
            regions[one.sensor, one.reason].add(region)
    return tuple(
        {
            "sensor": key[0],
            "reason": key[1],
            "items": len(items[key]),
            "regions": len(regions[key]),
            "first": sorted(items[key])[:SHOWN],
        }
        for key in sorted(items)
    )


def described(total: Mapping[str, Any]) -> str:
    """Return one entry of :func:`totals` as a line."""
    count, first = total["items"], ", ".join(total["first"])
    more = ", …" if count > len(total["first"]) else ""
    return f"left out of {total['sensor']}: {count} ({first}{more}): {total['reason']}"
