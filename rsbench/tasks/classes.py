"""The classes of a store's label arrays, and label codes as class probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rsbench.core.errors import InputError
from rsbench.store.layout import SHARE

if TYPE_CHECKING:
    from rsbench.store.read import Store

TARGET = "labels"
"""Name of class maps among frames, in place of a sensor."""
UNIT = SHARE
"""Unit of class maps: the probability of each class."""
IGNORED = 255
"""Index of pixels that are not scored: without a label, or of a code that the label set ignores."""
UINT8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Classes:
    """The classes of a label set.

    Args:
        labels: name of the label set.
        names: names of the K classes, in the order of their codes.
        index: code → index of its class; other codes are not scored.
        known: codes that may occur, those not scored included.
    """

    labels: str
    names: tuple[str, ...]
    index: Mapping[int, int]
    known: frozenset[int]

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> Classes:
        """Return the classes that the attributes of a label array state.

        ``rsbench:merge`` maps the name of a class to the codes that it joins; ``rsbench:ignore``
        lists codes that are no class, such as clouds.
        """
        named = {int(code): str(name) for code, name in attributes["rsbench:classes"].items()}
        ignored = {int(code) for code in attributes.get("rsbench:ignore", ())}
        merged = {
            int(code): str(name)
            for name, codes in attributes.get("rsbench:merge", {}).items()
            for code in codes
        }
        whole = {c: merged.get(c, name) for c, name in sorted(named.items()) if c not in ignored}
        names = tuple(dict.fromkeys(whole.values()))
        index = {code: names.index(name) for code, name in whole.items()}
        known = frozenset({*named, *ignored, int(attributes["nodata"])})
        return cls(str(attributes["rsbench:labels"]), names, index, known)

    def indices(self, codes: UINT8, where: str) -> UINT8:
        """Return the class of every pixel, `IGNORED` where it is not scored.

        Raises:
            InputError: for a code that the label set does not name.
        """
        odd = sorted({int(code) for code in np.unique(codes)} - self.known)
        if odd:
            raise InputError(
                f"labels {self.labels} of {where}",
                f"they hold the codes {', '.join(map(str, odd[:8]))}, which the label set does not "
                "name",
                "Add the codes to the label set, or to its ignore list, and build the store again",
            )
        table = np.full(256, IGNORED, np.uint8)
        for code, place in self.index.items():
            table[code] = place
        found: UINT8 = table[codes]
        return found


def labelled_sensor(store: Store) -> str:
    """Return the sensor on whose pixels the labels are.

    Raises:
        InputError: if the store has no labels.
    """
    region = store.regions[0]
    for name in sorted(store.meta.sensors):
        if "labels" in store.arrays(region, name):
            return name
    raise InputError(
        f"class maps of {store.path}",
        "the store has no labels",
        "Build it with labels: NAME in the recipe; `rsbench labels` lists the label sets",
    )


def classes_of(store: Store) -> Classes:
    """Return the classes of a store.

    Raises:
        InputError: if regions state different classes, or there are fewer than two.
    """
    sensor = labelled_sensor(store)
    found = {name: Classes.of(store.attributes(name, sensor, "labels")) for name in store.regions}
    first = found[store.regions[0]]
    for name, own in found.items():
        if own != first:
            raise InputError(
                f"class maps of {store.path}",
                f"regions {store.regions[0]} and {name} have different classes: "
                f"{', '.join(first.names)} and {', '.join(own.names)}",
                "Build all regions with one label set",
            )
    if len(first.names) < 2:
        raise InputError(
            f"class maps of {store.path}",
            f"the labels {first.labels} have the classes {', '.join(first.names) or 'none'}",
            "Take a label set with two classes or more",
        )
    return first
