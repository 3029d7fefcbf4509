"""Waivers: known regressions that are accepted until a date, with a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from rsbench.evaluation import strata

ROW = ("model", "preset", "inputs", "metric", "band", "lead", "stratum")
"""Columns that identify a value within tables of one dataset, split and protocol."""
Key = tuple[str, str, str, str, str, int, str]
"""Values of ``ROW``."""


def key_of(values: Mapping[str, Any]) -> Key:
    """Return the key of a row of a table; without band and stratum it is of the headline."""
    model, preset, inputs, metric = (str(values[name]) for name in ROW[:4])
    band, stratum = str(values.get("band", "all")), str(values.get("stratum", strata.HEADLINE))
    return model, preset, inputs, metric, band, int(values["lead"]), stratum


@dataclass(frozen=True)
class Waiver:
    """Rows that may be worse than expected.

    Args:
        match: values of ``ROW`` that a row must have; what is not named matches all.
        reason: why, for whoever reads it later.
        until: the last day it holds.
    """

    match: Mapping[str, str | int]
    reason: str
    until: date

    def covers(self, key: Key) -> bool:
        """Return whether the waiver applies to a row."""
        row = dict(zip(ROW, key, strict=True))
        return all(row[name] == value for name, value in self.match.items())

    @property
    def label(self) -> str:
        """The values that the waiver matches."""
        return " ".join(str(self.match[name]) for name in ROW if name in self.match)


def read_waivers(items: Sequence[Mapping[str, Any]]) -> tuple[Waiver, ...]:
    """Read ``[[waiver]]`` entries; ValueError names the missing or invalid field."""
    return tuple(_waiver(item) for item in items)


def _waiver(item: Mapping[str, Any]) -> Waiver:
    odd = sorted(set(item) - {*ROW, "reason", "until"})
    if odd:
        raise ValueError(f"a waiver has no key {odd[0]!r}; it has {', '.join(ROW)}, reason, until")
    match = {name: item[name] for name in ROW if name in item}
    if not match:
        raise ValueError("a waiver needs at least a model or a metric")
    for name, value in match.items():
        if not isinstance(value, int if name == "lead" else str):
            raise ValueError(f"{name} of a waiver is {value!r}")
    reason, until = item.get("reason"), item.get("until")
    if not isinstance(reason, str) or not reason.strip():
        raise ValueError("a waiver needs a reason")
    if isinstance(until, datetime) or not isinstance(until, date):
        raise ValueError("a waiver needs a last day: until = 2027-01-31, without quotes")
    return Waiver(match, reason.strip(), until)


Failed = Sequence[tuple[Key, str]]


def waive(
    failed: Failed, waivers: Sequence[Waiver], today: date
) -> tuple[list[tuple[Key, str]], list[tuple[Key, str]], list[str]]:
    """Split failures into (remaining, waived, notes on waivers)."""
    kept: list[tuple[Key, str]] = []
    waived: list[tuple[Key, str]] = []
    used: set[int] = set()
    for key, text in failed:
        places = [i for i, waiver in enumerate(waivers) if waiver.covers(key)]
        used.update(places)
        holds = [waivers[i] for i in places if today <= waivers[i].until]
        if holds:
            until = f"until {holds[0].until.isoformat()}: {holds[0].reason}"
            waived.append((key, f"{text} ({until})"))
        else:
            kept.append((key, text))
    notes = []
    for i, waiver in enumerate(waivers):
        if today > waiver.until:
            notes.append(f"the waiver of {waiver.label} ended on {waiver.until.isoformat()}")
        elif i not in used:
            notes.append(
                f"the waiver of {waiver.label} is unused: no row that it matches regressed"
            )
    return kept, waived, notes
