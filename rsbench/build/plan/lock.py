"""The lock: the frozen answer of a search, from which a dataset can be built again."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from rsbench.build.plan.checksum import comparable
from rsbench.build.plan.href import identity, require_kept
from rsbench.build.plan.omissions import Omission
from rsbench.catalog import Region
from rsbench.core.digest import canonical_json, sha256_json
from rsbench.core.errors import InputError, SchemaError, first_line, unknown
from rsbench.core.io import write_atomic

SCHEMA = 1
_MAX_BYTES = 2 << 30
_TEXTS = ("tile", "baseline", "generated")


@dataclass(frozen=True, slots=True)
class LockAsset:
    """One raster: unsigned link (relative inside its catalogue) and band number from 1.

    ``size`` and ``checksum``: bytes of the file and its multihash in hex, as the catalogue states
    them; 0 and empty if it does not. They enter no digest.
    """

    href: str
    index: int = 1
    size: int = 0
    checksum: str = ""

    def to_json(self) -> list[str | int]:
        """Return the JSON form; what is not known at its end is left out."""
        known = [self.size, self.checksum] if self.checksum else [self.size] if self.size else []
        return [self.href, self.index, *known]


@dataclass(frozen=True, slots=True)
class LockItem:
    """One scene as it will be read.

    ``datatake`` groups items of one acquisition; ``offset`` is added to every valid number (see
    ``harmonise``). ``masks``: band → quality layer, ``*`` for the layer of all bands.
    """

    id: str
    datetime: str
    datatake: str
    offset: int
    assets: Mapping[str, LockAsset]
    masks: Mapping[str, LockAsset] = field(default_factory=dict)
    tile: str = ""
    baseline: str = ""
    generated: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; empty fields are left out."""
        value: dict[str, Any] = {
            name: getattr(self, name) for name in ("id", "datetime", "datatake", "offset")
        }
        for name, assets in (("assets", self.assets), ("masks", self.masks)):
            if assets or name == "assets":
                value[name] = {band: a.to_json() for band, a in assets.items()}
        return value | {n: getattr(self, n) for n in _TEXTS if getattr(self, n)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LockItem:
        """Read the JSON form."""
        return cls(
            id=_text(value["id"]),
            datetime=_instant(value["datetime"]),
            datatake=_text(value["datatake"]),
            offset=_whole(value["offset"]),
            assets=_assets(value["assets"]),
            masks=_assets(value.get("masks", {})),
            **{name: _text(value.get(name, "")) for name in _TEXTS},
        )


def _assets(value: Mapping[str, Any]) -> dict[str, LockAsset]:
    return {band: _asset(*held) for band, held in value.items()}


def _asset(href: Any, index: Any = 1, size: Any = 0, checksum: Any = "") -> LockAsset:
    require_kept(_text(href))
    if comparable(_text(checksum)) != checksum:
        raise ValueError(f"{checksum[:40]!r} is no checksum")
    return LockAsset(href, _whole(index), _whole(size), checksum)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:40]!r} is no text")
    value.encode()  # half of a surrogate pair is no character
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{str(value)[:40]!r} is no whole number")
    return value


def _instant(value: Any) -> str:
    datetime.fromisoformat(_text(value))
    return str(value)


def left_json(left: Mapping[str, Sequence[Omission]]) -> dict[str, Any]:
    """Return the JSON form of what is left out, by region."""
    return {name: [one.to_json() for one in held] for name, held in sorted(left.items())}


def place_json(region: Region) -> dict[str, Any]:
    """Return the JSON form of a region, without the texts about it."""
    return region.model_dump(mode="json", exclude={"title", "why", "change"})


Found = Mapping[str, Mapping[int, tuple[LockItem, ...]]]
"""Sensor → year → scenes of one region."""


def found_json(found: Found) -> dict[str, Any]:
    """Return the JSON form of the scenes of one region."""
    return {
        sensor: {str(year): [i.to_json() for i in items] for year, items in by.items()}
        for sensor, by in found.items()
    }


def found_of(value: Mapping[str, Any]) -> Found:
    """Read the JSON form of the scenes of one region."""
    return {
        sensor: {int(year): tuple(map(LockItem.from_json, items)) for year, items in by.items()}
        for sensor, by in value.items()
    }


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
        value = self.to_json()
        for about in ("catalogue", "source", "left"):
            value.pop(about, None)
        for items in _item_lists(value["regions"]):
            for item in items:
                for part in ("assets", "masks"):
                    for asset in item.get(part, {}).values():
                        asset[:] = [identity(asset[0]), asset[1]]
        return sha256_json(value)

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
        target = Path(path)
        data = (canonical_json(self.to_json()) + "\n").encode()
        if len(data) > _MAX_BYTES:
            raise InputError(
                f"keeping the search of {len(self.regions)} regions",
                f"a lock of {len(data) / 1e9:.1f} GB could not be read again",
                "Build several stores of fewer regions, each with --regions",
            )
        if target.suffix == ".gz":
            data = gzip.compress(data, mtime=0)
        write_atomic(target, data)

    @classmethod
    def load(cls, path: Path | str) -> Lock:
        """Read a lock.

        Raises:
            InputError: if the file is absent or is no lock.
            SchemaError: if another version wrote it.
        """
        value = _read(Path(path))
        if value.get("schema") != SCHEMA:
            raise SchemaError(
                f"lock {path}",
                f"it has schema {value.get('schema')!r}, this version reads {SCHEMA}",
                "Search again without --lock",
            )
        try:
            lock = cls(
                recipe=value["recipe"],
                provider=_text(value["provider"]),
                catalogue=_text(value["catalogue"]),
                query=value["query"],
                places={n: Region.model_validate(r) for n, r in sorted(value["places"].items())},
                regions={n: found_of(found) for n, found in sorted(value["regions"].items())},
                source=dict(value.get("source", {})),
                left={
                    str(name): tuple(map(Omission.from_json, held))
                    for name, held in value.get("left", {}).items()
                },
            )
            _require_sound(lock)
        except InputError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise InputError(
                f"lock {path}",
                f"its content cannot be read ({type(error).__name__}: {first_line(error)[:80]})",
                "Search again without --lock",
            ) from error
        return lock


def _require_sound(lock: Lock) -> None:
    """Refuse what is no recipe or query, and regions without a place; any error says so."""
    _text(lock.recipe["name"])
    first, last = map(_whole, lock.recipe["years"])
    if not (1 <= first <= last <= 9999 and lock.places.keys() == lock.regions.keys()):
        raise ValueError("years or regions contradict one another")
    if any(name != place.name for name, place in lock.places.items()):
        raise ValueError("a region has two names")
    # Neither infinite numbers nor halves of surrogate pairs can be written.
    canonical_json([dict(lock.recipe), dict(lock.query), list(lock.regions)]).encode()


def _item_lists(regions: Mapping[str, Any]) -> Iterator[list[dict[str, Any]]]:
    for sensors in regions.values():
        for by_year in sensors.values():
            yield from by_year.values()


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                data = file.read(_MAX_BYTES + 1)
        else:
            with path.open("rb") as plain:
                data = plain.read(_MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"lock {path}", f"it cannot be read ({type(error).__name__})", "Give a lock file"
        ) from error
    if len(data) > _MAX_BYTES:
        raise InputError(f"lock {path}", "it is larger than 2 GiB", "Give a lock file")
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
