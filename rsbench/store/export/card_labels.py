"""The section of the data card about label layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rsbench.store.layout import SPLITS
from rsbench.store.read import Store

MOST = 12
"""Number of classes that are listed, the most frequent first."""


def label_lines(store: Store) -> Iterator[str]:
    """Yield source, years and class shares of the label layer of each sensor that has one."""
    for sensor in sorted(store.meta.sensors):
        regions = [r for r in store.regions if "labels" in store.arrays(r, sensor)]
        if regions:
            yield from _section(store, sensor, regions)


def label_shares(store: Store) -> dict[str, dict[str, Any]]:
    """Return sensor → label set, share of all pixels by class, and share without a class.

    ``splits``: split → share of its labelled pixels by class.
    """
    found: dict[str, dict[str, Any]] = {}
    for sensor in sorted(store.meta.sensors):
        regions = [r for r in store.regions if "labels" in store.arrays(r, sensor)]
        if not regions:
            continue
        stated = [store.attributes(region, sensor, "labels") for region in regions]
        pixels = _pixels(store, sensor, regions)
        whole = sum(pixels.values())
        none = pixels.pop(stated[0]["nodata"], 0)
        known = stated[0]["rsbench:classes"]
        shares = {known.get(str(c), f"code {c}"): n / whole for c, n in pixels.most_common()}
        absent = {name: 0.0 for name in known.values() if name not in shares}
        found[sensor] = {
            "labels": sorted({one["rsbench:labels"] for one in stated}),
            "classes": {**shares, **absent}, "without class": none / whole,
            "splits": _by_split(store, sensor, regions, stated[0]),
        }  # fmt: skip
    return found


def _by_split(
    store: Store, sensor: str, regions: Sequence[str], stated: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """Return split → class → share of the labelled pixels; empty for a split without any."""
    found = {}
    for split in SPLITS:
        pixels = _pixels(store, sensor, [r for r in regions if store.listed[r]["split"] == split])
        pixels.pop(stated["nodata"], 0)
        whole, known = sum(pixels.values()), stated["rsbench:classes"]
        if whole:
            found[split] = {n: pixels.get(int(code), 0) / whole for code, n in known.items()}
    return found


def _section(store: Store, sensor: str, regions: Sequence[str]) -> Iterator[str]:
    attributes = [store.attributes(region, sensor, "labels") for region in regions]
    stated = attributes[0]
    years = Counter(year for a in attributes for year in a["rsbench:years"])
    yield f"## Labels beside {sensor}"
    yield ""
    yield f"{stated['long_name']} ({stated['rsbench:labels']}). {stated['comment']}"
    imported = stated.get("rsbench:resampling") == "none"
    source = "were imported from files" if imported else "are a published map, not ground truth"
    yield (
        f"The labels {source}: scores against them measure agreement with "
        f"{stated['rsbench:labels']}."
    )
    yield ""
    yield f"- licence: {stated['licence']}; attribution: {stated['attribution']}"
    yield f"- citation: {stated['citation']}"
    counted = ", ".join(
        f"{'none' if year is None else year} ({count} images)"
        for year, count in sorted(years.items(), key=lambda i: (i[0] is None, i[0]))
    )
    if imported:
        yield f"- files on the sensor's own pixels, one per place; year in their names: {counted}"
    else:
        yield (
            "- each image has the map of its own year or, without one, of the latest earlier year: "
            + counted
        )
        yield "- resampled to the sensor's pixels by nearest neighbour"
    yield from _shares(_pixels(store, sensor, regions), stated)


def _pixels(store: Store, sensor: str, regions: Sequence[str]) -> Counter[int]:
    """Return the number of pixels of each class code."""
    pixels: Counter[int] = Counter()
    for region in regions:
        codes, counts = np.unique(store.read(region, sensor, array="labels"), return_counts=True)
        pixels.update(dict(zip(codes.tolist(), counts.tolist(), strict=True)))
    return pixels


def _shares(pixels: Counter[int], stated: Mapping[str, Any]) -> Iterator[str]:
    whole = sum(pixels.values())
    none = pixels.pop(stated["nodata"], 0)
    yield f"- without class: {none / whole:.2%}"
    yield ""
    yield "| class | name | share |"
    yield "|---|---|---|"
    for code, count in pixels.most_common(MOST):
        name = stated["rsbench:classes"].get(str(code), "no name in the catalogue")
        yield f"| {code} | {name} | {count / whole:.2%} |"
    yield ""
