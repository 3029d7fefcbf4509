"""The data card's section on triplets: days, change, what was refused, and splits by date."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import numpy as np

from rsbench.core.date_triplets import Gap, Triplet, date_leaks, gap_of, neighbours, split_by_date
from rsbench.core.grid import Window
from rsbench.store.read import Store
from rsbench.store.tree import provenance


def card_lines(store: Store) -> Iterator[str]:
    """Yield how much changed in every triplet and how well the images of every day agree.

    Imports, whose dates have no gap in common, have the days and what was refused.
    """
    gap = gap_of(store.meta.step)
    kept = {name: provenance(store.tree, name) for name in store.regions}
    if gap is not None:
        yield from _triplets(kept, gap)
    elif any("days" in said for said in kept.values()):
        yield from ("## Dates", "")
    else:
        return
    yield from _days(store, kept)
    if gap is not None:
        yield from _splits_by_date(store, gap)


def _triplets(kept: Mapping[str, Mapping[str, Any]], gap: Gap) -> Iterator[str]:
    yield "## Triplets"
    yield ""
    yield f"Neighbouring dates lie {gap.fewest} to {gap.most} days apart. Change is 1 − the mean"
    yield "correlation of bands, seen in what models are given: the coarse images from the first"
    yield "date to the target and on to the last, and the fine images of both references."
    yield ""
    yield "| region | first | target | last | days | coarse change | between references |"
    yield "|---|---|---|---|---|---|---|"
    for name, said in kept.items():
        for triplet in said["triplets"]:
            gaps = ", ".join(str(n) for n in triplet["gaps"])
            coarse = ", ".join(_number(c) for c in triplet["change"]["coarse"])
            yield (
                f"| {name} | {' | '.join(triplet['dates'])} | {gaps} | {coarse} | "
                f"{_number(triplet['change']['references'])} |"
            )
    yield ""


def _days(store: Store, kept: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield how well the images of every day agree, and what was refused."""
    yield "| region | day | fine clear | coarse clear | median correlation | shift (coarse px) |"
    yield "|---|---|---|---|---|---|"
    for name, said in kept.items():
        for day in said.get("days", ()):
            yield f"| {name} | {_day(day)} |"
    yield ""
    refused = dict(store.meta.recipe.get("refused", {}))
    for name, reasons in refused.items():
        for day, reason in reasons.items():
            yield f"- refused: {name} {day}: {reason}"
    if refused:
        yield ""


def _day(day: Mapping[str, Any]) -> str:
    """Return the cells of one day; agreement that too few pixels tell is a dash."""
    known = [c for c in day["correlation"].values() if c is not None]
    median = f"{float(np.median(known)):.2f}" if known else "–"
    shift = "–" if day["shift"] is None else f"{math.hypot(*day['shift']):.2f}"
    mark = " (flagged)" if day["shifted"] else ""
    clear = f"{day['fine_clear']:.1%} | {day['coarse_clear']:.1%}"
    return f"{day['day']} | {clear} | {median} | {shift}{mark}"


def _splits_by_date(store: Store, gap: Gap) -> Iterator[str]:
    """Yield what a split by target date would take of every region, and that it does not leak."""
    counts: dict[str, int] = {}
    left = leaks = 0
    for name in store.regions:
        entry = store.region(name)
        grid = next(iter(entry.grids.values()))
        whole = Window(0, 0, grid.height, grid.width)
        days: list[date] = sorted(set.intersection(*(set(t) for t in entry.times.values())))
        samples = [Triplet(name, whole, r, t) for r, t in neighbours(days, 2, gap)]
        parts = split_by_date(samples) if samples else {}
        for split, held in parts.items():
            counts[split] = counts.get(split, 0) + len(held)
        left += len(samples) - sum(len(held) for held in parts.values())
        for earlier, later in (("train", "val"), ("train", "test"), ("val", "test")):
            leaks += len(date_leaks(parts.get(earlier, ()), parts.get(later, ())))
    shown = ", ".join(f"{counts.get(s, 0)} {s}" for s in ("train", "val", "test"))
    yield (
        f"By target date (protocol `fusion2-time`): {shown}; {left} left out because they hold a "
        "target date of a later split."
    )
    yield (
        "Training sees no target date of a later split on the same ground."
        if not leaks
        else f"**{leaks} target dates of a later split are seen in an earlier one.**"
    )
    yield ""


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
