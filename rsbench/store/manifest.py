"""Manifests of regions, and reading the JSON files of a store.

A manifest describes one region and lists every file of it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Self

from rsbench.core.dates import iso_dates
from rsbench.core.errors import InputError, StoreError, other_schema
from rsbench.core.grid import Grid
from rsbench.core.io import read_json
from rsbench.store.layout import INDEX, LOCK, REBUILD, SCHEMA, RegionRecord


@dataclass(frozen=True)
class RegionEntry:
    """One region: its record, digest, and grids and dates by sensor."""

    record: RegionRecord
    grids: Mapping[str, Grid]
    times: Mapping[str, tuple[date, ...]]
    digest: str


@dataclass(frozen=True)
class Manifest:
    """The manifest of a region.

    Args:
        sensors: sensor → ``{"meta", "grid", "times", "arrays"}``.
        files: relative path → ``{"size": bytes, "sha256": hex}``.
    """

    record: RegionRecord
    sensors: Mapping[str, Mapping[str, Any]]
    digest: str
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "schema": SCHEMA,
            "region": self.record.to_json(),
            "sensors": {n: dict(s) for n, s in sorted(self.sensors.items())},
            "digest": self.digest,
            "files": {n: dict(f) for n, f in sorted(self.files.items())},
        }

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a manifest file.

        Raises:
            StoreError: if it is absent, truncated or incomplete.
            SchemaError: if it has another schema.
        """
        return cls.parse(path, load_json(path))

    @classmethod
    def parse(cls, path: Path, value: Mapping[str, Any]) -> Self:
        """Read the JSON form of the manifest file ``path``; errors as of :meth:`load`."""
        require_schema(path, value)
        try:
            record = RegionRecord.from_json(value["region"])
            return cls(record, value["sensors"], str(value["digest"]), value["files"])
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"reading {path}", f"a part is missing: {error}", REBUILD) from error

    def entry(self) -> RegionEntry:
        """Return record, grids, dates and digest."""
        return RegionEntry(
            self.record,
            {n: Grid.from_json(s["grid"]) for n, s in self.sensors.items()},
            {n: iso_dates(s["times"]) for n, s in self.sensors.items()},
            self.digest,
        )


def load_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file of a store.

    Raises:
        StoreError: if the file is absent, truncated or not a JSON object.
    """
    with as_store_error():
        return read_json(path, remedy=REBUILD)


@contextmanager
def as_store_error() -> Iterator[None]:
    """Convert an :class:`InputError` in the block to a :class:`StoreError`."""
    try:
        yield
    except StoreError:
        raise
    except InputError as error:
        raise StoreError(error.asked, error.found, error.remedy) from error


def require_schema(path: Path, value: Mapping[str, Any]) -> None:
    """Raise if a file has another schema; the message has the command that builds the store again.

    Raises:
        SchemaError: if ``value["schema"]`` is not ``SCHEMA``.
    """
    if value.get("schema") != SCHEMA:
        root = path.parent if path.name == INDEX else path.parent.parent
        raise other_schema(f"reading {path}", value.get("schema"), SCHEMA, build_again(root))


def build_again(root: Path) -> str:
    """Return the command that builds a store again with this schema, beside the old one.

    It uses the lock in the store, which gives the same pixels and digest. Without a lock it uses
    the name of the recipe, or the options of the import.
    """
    from rsbench.catalog import names

    recipe = _recipe(root / INDEX)
    out = shlex.quote(str(root.with_name(f"{root.stem}-again{root.suffix}")))
    if "importer" in recipe:
        told = {f"--{key}": recipe.get(key) for key in ("unit", "scale", "offset", "nodata")}
        options = "".join(f" {key} {value}" for key, value in told.items() if value is not None)
        if ends := recipe.get("value_range"):
            options += f" --value-range {ends[0]} {ends[1]}"
        return f"rsbench import-dataset {recipe['importer']} SOURCE{options} --out {out}"
    name = str(recipe.get("name", "NAME"))
    if (root / LOCK).is_file():
        own = "" if name in names("recipes") else f" --recipe {name}.yaml"
        lock = shlex.quote(str(root / LOCK))
        return f"rsbench build-dataset{own} --lock {lock} --out {out}"
    return f"rsbench build-dataset --recipe {name} --out {out}"


def _recipe(index: Path) -> Mapping[str, Any]:
    """Return the recipe in an index of any schema; empty if there is none."""
    try:
        found = read_json(index).get("recipe")
    except InputError:
        return {}
    return found if isinstance(found, dict) else {}
