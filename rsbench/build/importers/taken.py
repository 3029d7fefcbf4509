"""What each file of an import is taken for, as ``import-dataset --dry-run`` prints it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import date
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, kw_only=True)
class Taken:
    """One image of one sensor.

    Args:
        file: path below the source, of several files the first and how many.
        sensor: its name in the store.
        region: as folders name it; empty for a single place.
        date: of the image.
        bands: names, in the order of the store.
        unit: of the values, where ``value = stored * scale + offset``.
        scale: likewise.
        offset: likewise, with what is added to the numbers of this file.
        dtype: type of the numbers in the file.
        nodata: number of missing pixels; empty where none is stated.
        mask: what else marks missing pixels; empty for nothing.
        grid: size, pixel size, corner and coordinate system.
        split: of its region, or of the blocks that are cut from it, with their number.
    """

    file: str
    sensor: str
    region: str
    date: date
    bands: str
    unit: str
    scale: str
    offset: str
    dtype: str
    nodata: str
    mask: str
    grid: str
    split: str


@runtime_checkable
class Describes(Protocol):
    """A checked import that tells what its files are taken for."""

    def taken(self) -> Iterable[Taken]:
        """Return one entry per image, sensor by sensor in order of time."""


def split_text(splits: Iterable[str]) -> str:
    """Return how many regions each split has, as ``train 4, val 1, test 3``."""
    held = list(splits)
    return ", ".join(
        f"{split} {held.count(split)}" for split in ("train", "val", "test") if split in held
    )


def table(rows: Sequence[Taken]) -> list[str]:
    """Return the lines of a table; what all images of a sensor share stands once above it."""
    lines = []
    for sensor in dict.fromkeys(row.sensor for row in rows):
        of = [row for row in rows if row.sensor == sensor]
        lines += [f"{sensor}: {len(of)} images", *_of_sensor(of), ""]
    return lines[:-1]


def _of_sensor(rows: Sequence[Taken]) -> list[str]:
    names = [f.name for f in fields(Taken) if f.name != "sensor"]
    texts = {name: [str(getattr(row, name)) or "-" for row in rows] for name in names}
    shared = [name for name in names if name not in ("file", "date") and len({*texts[name]}) == 1]
    own = [name for name in names if name not in shared]
    lines = [f"  {name:7} {texts[name][0]}" for name in shared]
    widths = {name: max(len(name), *map(len, texts[name])) for name in own}
    heads = [[name] for name in own]
    columns = [head + texts[name] for head, name in zip(heads, own, strict=True)]
    for row in zip(*columns, strict=True):
        cells = (text.ljust(widths[name]) for text, name in zip(row, own, strict=True))
        lines.append(("  " + "  ".join(cells)).rstrip())
    return lines
