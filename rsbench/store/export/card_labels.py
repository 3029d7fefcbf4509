"""What the data card says of a layer of labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from rsbench.store.read import Store

MOST = 12
"""Classes listed, the most frequent first."""


def label_lines(store: Store) -> Iterator[str]:
    """Say whose labels lie beside the images, of which years, and how much of which class."""
    for sensor in sorted(store.meta.sensors):
        named = [r for r in store.regions if "labels" in store.arrays(r, sensor)]
        if not named:
            continue
        attributes = [store.attributes(region, sensor, "labels") for region in named]
        said = attributes[0]
        years = Counter(year for a in attributes for year in a["rsbench:years"])
        pixels: Counter[int] = Counter()
        for region in named:
            codes, counts = np.unique(
                store.read(region, sensor, array="labels"), return_counts=True
            )
            pixels.update(dict(zip(codes.tolist(), counts.tolist(), strict=True)))
        whole = sum(pixels.values())
        none = pixels.pop(said["nodata"], 0)
        yield f"## Labels beside {sensor}"
        yield ""
        yield f"{said['long_name']} ({said['rsbench:labels']}). {said['comment']}"
        yield (
            "They are a map made by others, no truth on the ground: what is scored against them "
            f"is agreement with {said['rsbench:labels']}."
        )
        yield ""
        yield f"- licence: {said['licence']}; attribution: {said['attribution']}"
        yield f"- citation: {said['citation']}"
        yield (
            "- each image has the map of its own year, or the latest before; never a later one: "
            + ", ".join(
                f"{'none' if year is None else year} ({count} images)"
                for year, count in sorted(years.items(), key=lambda i: (i[0] is None, i[0]))
            )
        )
        yield "- nearest neighbour on the sensor's pixels, never interpolated"
        yield f"- without class: {none / whole:.2%}"
        yield ""
        yield "| class | name | share |"
        yield "|---|---|---|"
        for code, count in pixels.most_common(MOST):
            name = said["rsbench:classes"].get(str(code), "no name in the catalogue")
            yield f"| {code} | {name} | {count / whole:.2%} |"
        yield ""
