"""Descriptions of images: a table of them, and a copy of a store that holds them.

The text of an image stands in the record of its region, so it is part of the store's digest.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rsbench.core.errors import InputError, read_fault, unknown
from rsbench.core.file_lock import new_directory
from rsbench.core.io import write_atomic
from rsbench.core.progress import Advance, silent
from rsbench.store.export.card import write_card
from rsbench.store.layout import LOCK, SensorArrays
from rsbench.store.read import Store, open_store
from rsbench.store.tree import provenance
from rsbench.store.write import finalise, write_region

COLUMNS = ("region", "date", "text")
Texts = Mapping[str, Mapping[str, str]]
"""Region → ISO date of an image → its text."""


def read_texts(path: Path) -> Texts:
    """Read a CSV file in UTF-8 with the columns region, date (ISO 8601) and text.

    Raises:
        InputError: if it cannot be read, lacks a column or a value, or has two texts of one image.
    """
    asked = f"the texts {path}"
    try:
        text = path.read_text(encoding="utf-8-sig")  # Excel begins a file with a mark
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            asked, f"it cannot be read ({read_fault(error)})",
            f"Give a CSV file in UTF-8 with the columns {','.join(COLUMNS)}",
        ) from error  # fmt: skip
    names = [name.strip().lower() for name in lines[0]] if lines else []
    if sorted(names) != sorted(COLUMNS):
        raise InputError(
            asked, f"its columns are {', '.join(names) or 'none'}",
            f"Write the columns {','.join(COLUMNS)} in the first line",
        )  # fmt: skip
    found: dict[str, dict[str, str]] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not any(value.strip() for value in line):
            continue
        row = {name: " ".join(value.split()) for name, value in zip(names, line, strict=False)}
        _add(found, row, f"{asked}, row {number}", width=len(line))
    if not found:
        raise InputError(asked, "it has no row below the first", "Add a row for each text")
    return found


def _add(found: dict[str, dict[str, str]], row: Mapping[str, str], asked: str, width: int) -> None:
    if width != len(COLUMNS) or not all(row.values()):
        raise InputError(
            asked, f"it has {width} values, {sum(map(bool, row.values()))} of them not empty",
            "Write region, date and text; put a text with a comma in double quotes",
        )  # fmt: skip
    own = found.setdefault(row["region"], {})
    if row["date"] in own:
        image = f"the image of {row['region']} of {row['date']}"
        raise InputError(asked, f"{image} has a text already: {own[row['date']]!r}", "Keep one")
    own[row["date"]] = row["text"]


def add_texts(store: Store, texts: Texts, out: Path, *, advance: Advance = silent) -> Store:
    """Write a copy of a store that holds texts, and return it.

    Texts that the store holds of other images are kept.

    Args:
        texts: region → ISO date of an image of the region → text.
        out: the new store.
        advance: called with a label, the regions done and their number.

    Raises:
        InputError: if a region or a date is not in the store, an image has a text there already,
            or ``out`` holds something.
    """
    for region, own in texts.items():
        _require_images(store, region, own)
    with new_directory(out, f"a store with texts in {out}", "choose another --out") as root:
        for done, region in enumerate(store.regions):
            advance("copying regions", done, len(store.regions))
            _copy(store, region, texts.get(region, {}), root)
        advance("copying regions", len(store.regions), len(store.regions))
        if store.tree.size(LOCK) is not None:
            write_atomic(root / LOCK, store.tree.read(LOCK))
        finalise(root, store.meta, regions=store.regions)
        write_card(root, out.resolve().name)
    return open_store(out)


def _require_images(store: Store, region: str, texts: Mapping[str, str]) -> None:
    """Refuse texts of a region or a date that the store does not have, and second texts."""
    if region not in store.listed:
        raise unknown("region of this store", region, store.listed)
    entry = store.region(region)
    known = {day.isoformat() for times in entry.times.values() for day in times}
    for day in texts:
        if day not in known:
            raise InputError(
                f"a text of {region} of {day}",
                f"its images are of {', '.join(sorted(known))}",
                "Write one of these dates",
            )
        if day in entry.record.texts:
            raise InputError(
                f"a text of {region} of {day}",
                f"the store has one already: {entry.record.texts[day]!r}",
                "Add texts to the store without it",
            )


def _copy(store: Store, region: str, texts: Mapping[str, str], root: Path) -> None:
    """Write a region with texts added."""
    record = store.region(region).record
    sensors = {name: _arrays(store, region, name) for name in store.manifest(region).sensors}
    metas = {name: store.sensor(name) for name in sensors}
    whole = replace(record, texts={**record.texts, **texts})
    write_region(root, whole, sensors, metas, attrs=provenance(store.tree, region))


def _arrays(store: Store, region: str, sensor: str) -> SensorArrays:
    """Return the arrays of a sensor with the attributes of their files."""
    names = store.arrays(region, sensor)
    about = {name: store.attributes(region, sensor, name) for name in names}
    return replace(store.read_region(region, sensor), about=about)
