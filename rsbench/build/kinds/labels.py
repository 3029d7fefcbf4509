"""The label layer of an image: a map of classes on the satellite image's own pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.build.kinds.labels_plan import BAND
from rsbench.build.plan.lock import LockItem
from rsbench.build.read.classes import read_classes
from rsbench.build.read.raster import RasterioEngine
from rsbench.catalog.labels import LabelSet
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid


def label_layer(
    engine: RasterioEngine, labels: LabelSet, grid: Grid, items: Sequence[LockItem]
) -> tuple[npt.NDArray[np.uint8], dict[str, Any]]:
    """Return ``(H, W)`` classes, the first item that has one winning, and a note about them.

    Without any item all is nodata, and the note has no year.

    Raises:
        UnitFailed: if a file cannot be read; it never becomes nodata.
        InputError: if it holds a code that the label set does not name.
    """
    out = np.full((grid.height, grid.width), labels.nodata, np.uint8)
    used = []
    for item in items:
        asset = item.assets[BAND]
        read = partial(read_classes, index=asset.index, grid=grid, nodata=labels.nodata)
        found = engine.attempt(item.id, f"labels {labels.name}", asset, read)
        engine.bytes += found.nbytes
        without = f"leave the item out: --exclude {item.id} --allow-incomplete"
        require_known(labels, found, f"labels {labels.name} of item {item.id}", without)
        new = (out == labels.nodata) & (found != labels.nodata)
        if new.any():
            out[new] = found[new]
            used.append(item.id)
        if (out != labels.nodata).all():
            break
    codes, counts = np.unique(out, return_counts=True)
    return out, {
        "year": int(items[0].datetime[:4]) if items else None,
        "items": used,
        "pixels": {str(code): int(count) for code, count in zip(codes, counts, strict=True)},
    }


def require_known(labels: LabelSet, codes: npt.NDArray[Any], asked: str, otherwise: str) -> None:
    """Refuse codes that a label set does not name.

    Args:
        labels: the label set.
        codes: of its map.
        asked: what was asked, for the error.
        otherwise: what to do if the codes are not added to the label set.

    Raises:
        InputError: if there is one.
    """
    if odd := labels.unknown(np.unique(codes).tolist()):
        raise InputError(
            asked,
            f"they hold the codes {', '.join(map(str, odd[:8]))}, which the label set "
            f"{labels.name} does not name",
            f"Add the codes to the label set, or {otherwise}",
        )


def label_attributes(labels: LabelSet, years: Sequence[int | None]) -> Mapping[str, Any]:
    """Return what the array says of itself; CF's flags name the classes."""
    codes = sorted(labels.classes)
    return {
        "long_name": labels.title,
        "rsbench:labels": labels.name,
        "nodata": labels.nodata,
        "flag_values": codes,
        "flag_meanings": " ".join(_word(labels.classes[code]) for code in codes),
        "rsbench:classes": {str(code): labels.classes[code] for code in codes},
        "rsbench:ignore": list(labels.ignore),
        "rsbench:merge": {name: list(codes) for name, codes in labels.merge.items()},
        "rsbench:years": list(years),
        "rsbench:resampling": "nearest",
        "licence": labels.licence,
        "attribution": labels.attribution,
        "citation": labels.citation,
        "comment": labels.note,
    }


def _word(name: str) -> str:
    """Return a name as one word: CF separates the meanings by blanks."""
    return name.replace(",", "").replace(" ", "_")
