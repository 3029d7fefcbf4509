"""The lock: the frozen answer of a search, from which a dataset can be built again."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from rsbench.build.plan.href import identity
from rsbench.build.plan.lock_items import (
    Found,
    LockAsset,
    LockItem,
    found_json,
    found_of,
    text_of,
    whole_of,
)
from rsbench.build.plan.lock_texts import MALFORMED, split, text_in, unreadable
from rsbench.build.plan.omissions import Omission
from rsbench.catalog import Region
from rsbench.core.digest import canonical_json, sha256_json
from rsbench.core.errors import InputError, SchemaError, read_fault, unknown
from rsbench.core.io import atomic_file

SCHEMA = 1
GZIP = 31
"""Window and header of a gzip file, as zlib names them."""
_MAX_BYTES = 2 << 30
EAGER = 64 << 20
"""Bytes of text up to which all scenes are read at once; of a larger lock, when asked for."""
__all__ = [
    "Found", "Lock", "LockAsset", "LockChange", "LockItem", "diff", "found_json", "found_of",
    "left_json", "place_json",
]  # fmt: skip


def left_json(left: Mapping[str, Sequence[Omission]]) -> dict[str, Any]:
    """Return the JSON form of what is left out, by region."""
    return {name: [one.to_json() for one in held] for name, held in sorted(left.items())}


def place_json(region: Region) -> dict[str, Any]:
    """Return the JSON form of a region, without the texts about it."""
    return region.model_dump(mode="json", exclude={"title", "why", "change"})


@dataclass(frozen=True)
class Lock:
    """Which scenes make which region and year.

    ``recipe``: canonical recipe. ``provider``: key of the sensors' provider entry; ``catalogue``:
    where it was searched (API address or folder; empty for the simulated Earth). ``places``:
    the regions themselves. ``regions``: region → sensor → year → items. ``source``: the recipe
    with all its options and sensors; empty in locks of older versions. ``left``: region → items
    that the search left out.
    """

    recipe: Mapping[str, Any]
    provider: str
    catalogue: str
    query: Mapping[str, Any]
    places: Mapping[str, Region]
    regions: Mapping[str, Found]
    source: Mapping[str, Any] = field(default_factory=dict)
    left: Mapping[str, tuple[Omission, ...]] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what decides the pixels: no time, no host, no port."""
        hasher = hashlib.sha256()
        for text in self._texts(_identified, ("catalogue", "source", "left")):
            hasher.update(text)
        return hasher.hexdigest()

    def _texts(
        self, of_region: Callable[[Mapping[str, Found], str], bytes], without: Collection[str] = ()
    ) -> Iterator[bytes]:
        """Yield the canonical JSON in pieces, one per region, without some of its entries."""
        value = replace(self, regions={}).to_json()
        for number, key in enumerate(sorted(value.keys() - set(without))):
            yield f"{',' if number else '{'}{canonical_json(key)}:".encode()
            if key != "regions":
                yield canonical_json(value[key]).encode()
                continue
            yield b"{"
            for at, name in enumerate(sorted(self.regions)):
                yield f"{',' if at else ''}{canonical_json(name)}:".encode()
                yield of_region(self.regions, name)
            yield b"}"
        yield b"}"

    def units(self) -> Iterator[tuple[str, int]]:
        """Yield (region, year) in order."""
        for region in sorted(self.regions):
            for year in self.years:
                yield region, year

    @property
    def years(self) -> tuple[int, ...]:
        """All years of the recipe, with or without scenes."""
        first, last = self.recipe["years"]
        return tuple(range(int(first), int(last) + 1))

    def items(self, region: str, sensor: str, year: int) -> tuple[LockItem, ...]:
        """Return the scenes of one unit, empty where none was found."""
        return self.regions[region].get(sensor, {}).get(year, ())

    def subset(self, regions: Sequence[str] | None, years: tuple[int, int] | None) -> Lock:
        """Return the lock of some regions or years of this one.

        Raises:
            UnknownName, InputError: if the lock does not hold them.
        """
        names = list(self.regions) if regions is None else list(regions)
        for name in names:
            if name not in self.regions:
                raise unknown("region of the lock", name, self.regions)
        first, last = years or (self.years[0], self.years[-1])
        if first < self.years[0] or last > self.years[-1]:
            raise InputError(
                f"the years {first} to {last}",
                f"the lock holds {self.years[0]} to {self.years[-1]}",
                "Search again without --lock",
            )
        kept = {
            name: {
                sensor: {year: items for year, items in by_year.items() if first <= year <= last}
                for sensor, by_year in self.regions[name].items()
            }
            for name in sorted(names)
        }
        recipe = {**self.recipe, "years": [first, last]}
        places = {name: self.places[name] for name in sorted(names)}
        left = {name: held for name, held in self.left.items() if name in places}
        return replace(self, recipe=recipe, places=places, regions=kept, left=left)

    def without(
        self,
        items: Collection[str],
        regions: Collection[str] | None = None,
        year: int | None = None,
    ) -> Lock:
        """Return the lock without some items, by id; of some regions or one year, else of all."""

        def rest(by_year: Mapping[int, tuple[LockItem, ...]]) -> dict[int, tuple[LockItem, ...]]:
            kept = {
                at: tuple(i for i in held if i.id not in items or year not in (None, at))
                for at, held in by_year.items()
            }
            return {at: held for at, held in kept.items() if held}

        kept = {
            name: {sensor: rest(by_year) for sensor, by_year in found.items()}
            for name, found in self.regions.items()
            if regions is None or name in regions
        }
        return replace(self, regions={**self.regions, **kept})

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        value = {
            "schema": SCHEMA,
            "recipe": json.loads(canonical_json(self.recipe)),
            "provider": self.provider,
            "catalogue": self.catalogue,
            "query": json.loads(canonical_json(self.query)),
            "places": {name: place_json(region) for name, region in self.places.items()},
            "regions": {name: found_json(found) for name, found in self.regions.items()},
        }
        if self.source:
            value["source"] = json.loads(canonical_json(self.source))
        if self.left:
            value["left"] = left_json(self.left)
        return value

    def save(self, path: Path | str) -> None:
        """Write canonical JSON atomically, compressed if the name ends in ``.gz``.

        Raises:
            InputError: if it would be larger than what is read.
        """
        target, size = Path(path), 0
        with atomic_file(target) as temporary, temporary.open("wb") as file:
            packs = target.suffix == ".gz"
            packer = zlib.compressobj(9, wbits=GZIP) if packs else None
            for text in chain(self._texts(text_in), (b"\n",)):
                size += len(text)
                if size > _MAX_BYTES:
                    raise InputError(
                        f"keeping the search of {len(self.regions)} regions",
                        f"a lock of more than {_MAX_BYTES / 1e9:.1f} GB could not be read again",
                        "Build several stores of fewer regions, each with --regions",
                    )
                file.write(packer.compress(text) if packer else text)
            file.write(packer.flush() if packer else b"")

    @classmethod
    def load(cls, path: Path | str) -> Lock:
        """Read a lock.

        Raises:
            InputError: if the file is absent or is no lock.
            SchemaError: if another version wrote it.
        """
        data, asked = _read(Path(path)), f"lock {path}"
        found = split(data, asked)
        value = _object(data, path) if found is None else found[0]
        if value.get("schema") != SCHEMA:
            raise SchemaError(
                asked,
                f"it has schema {value.get('schema')!r}, this version reads {SCHEMA}",
                "Search again without --lock",
            )
        try:
            held = value["regions"] if found is None else found[1]
            if found is None or len(data) <= EAGER:  # a malformed scene is told at once
                regions: Mapping[str, Found] = {
                    name: found_of(held[name]) if found is None else held[name]
                    for name in sorted(held)
                }
            else:
                regions = held
            lock = _lock_of(value, regions)
            _require_sound(lock)
        except InputError:
            raise
        except MALFORMED as error:
            raise unreadable(asked, error) from error
        return lock


def _lock_of(value: Mapping[str, Any], regions: Mapping[str, Found]) -> Lock:
    return Lock(
        recipe=value["recipe"],
        provider=text_of(value["provider"]),
        catalogue=text_of(value["catalogue"]),
        query=value["query"],
        places={n: Region.model_validate(r) for n, r in sorted(value["places"].items())},
        regions=regions,
        source=dict(value.get("source", {})),
        left={
            str(name): tuple(map(Omission.from_json, held))
            for name, held in value.get("left", {}).items()
        },
    )


def _identified(regions: Mapping[str, Found], name: str) -> bytes:
    """Return the JSON text of a region with what of each link enters a digest."""
    value = found_json(regions[name])
    for items in (items for by_year in value.values() for items in by_year.values()):
        for item in items:
            for part in ("assets", "masks"):
                for asset in item.get(part, {}).values():
                    asset[:] = [identity(asset[0]), asset[1]]
    return canonical_json(value).encode()


def _require_sound(lock: Lock) -> None:
    """Refuse what is no recipe or query, and regions without a place; any error says so."""
    text_of(lock.recipe["name"])
    first, last = map(whole_of, lock.recipe["years"])
    if not (1 <= first <= last <= 9999 and lock.places.keys() == lock.regions.keys()):
        raise ValueError("years or regions contradict one another")
    if any(name != place.name for name, place in lock.places.items()):
        raise ValueError("a region has two names")
    # Neither infinite numbers nor halves of surrogate pairs can be written.
    canonical_json([dict(lock.recipe), dict(lock.query), list(lock.regions)]).encode()


def _read(path: Path) -> bytes:
    """Return the JSON text of a lock file."""
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                data = file.read(_MAX_BYTES + 1)
        else:
            with path.open("rb") as plain:
                data = plain.read(_MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"lock {path}", f"it cannot be read ({read_fault(error)})", "Give a lock file"
        ) from error
    if len(data) > _MAX_BYTES:
        raise InputError(f"lock {path}", "it is larger than 2 GiB", "Give a lock file")
    return data


def _object(data: bytes, path: Path | str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"lock {path}", "it is no JSON", "Give a lock file") from error
    if not isinstance(value, dict):
        raise InputError(f"lock {path}", "it is no JSON object", "Give a lock file")
    return value


@dataclass(frozen=True, slots=True)
class LockChange:
    """One difference: ``what`` is ``+`` added, ``-`` removed, ``~`` changed, ``!`` of the whole."""

    what: str
    where: str
    detail: str

    def __str__(self) -> str:
        return f"{self.what} {self.where}  {self.detail}".rstrip()


def diff(old: Lock, new: Lock) -> tuple[LockChange, ...]:
    """Return what differs between two locks, in order; hosts and ports never count."""
    changes = [
        LockChange("!", name, f"{_short(getattr(old, name))} → {_short(getattr(new, name))}")
        for name in ("provider", "recipe", "query")
        if canonical_json(getattr(old, name)) != canonical_json(getattr(new, name))
    ]
    for name in sorted(set(old.places) & set(new.places)):
        if old.places[name] != new.places[name]:
            changes.append(LockChange("~", name, "the region itself"))
    before, after = _flat(old), _flat(new)
    for key in sorted(set(before) | set(after)):
        where = "/".join(key)
        if key not in after:
            changes.append(LockChange("-", where, ""))
        elif key not in before:
            changes.append(LockChange("+", where, ""))
        elif before[key] != after[key]:
            fields = sorted(k for k in before[key] if before[key][k] != after[key].get(k))
            changes.append(LockChange("~", where, ", ".join(fields)))
    return tuple(changes)


def _flat(lock: Lock) -> dict[tuple[str, str, str, str], dict[str, Any]]:
    flat = {}
    for region, sensors in lock.regions.items():
        for sensor, by_year in sensors.items():
            for year, items in by_year.items():
                for item in items:
                    value = item.to_json()
                    for part in ("assets", "masks"):
                        value[part] = {
                            b: [identity(h), i] for b, (h, i, *_) in value.get(part, {}).items()
                        }
                    flat[region, sensor, str(year), item.id] = value
    return flat


def _short(value: Any) -> str:
    return value if isinstance(value, str) else sha256_json(value)[:12]
