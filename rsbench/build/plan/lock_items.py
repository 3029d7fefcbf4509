"""The scenes of a lock as they will be read, and their JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rsbench.build.plan.checksum import comparable
from rsbench.build.plan.href import require_kept

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
            id=text_of(value["id"]),
            datetime=_instant(value["datetime"]),
            datatake=text_of(value["datatake"]),
            offset=whole_of(value["offset"]),
            assets=_assets(value["assets"]),
            masks=_assets(value.get("masks", {})),
            **{name: text_of(value.get(name, "")) for name in _TEXTS},
        )


def _assets(value: Mapping[str, Any]) -> dict[str, LockAsset]:
    return {band: _asset(*held) for band, held in value.items()}


def _asset(href: Any, index: Any = 1, size: Any = 0, checksum: Any = "") -> LockAsset:
    require_kept(text_of(href))
    if text_of(checksum) and comparable(checksum) != checksum:
        raise ValueError(f"{checksum[:40]!r} is no checksum")
    return LockAsset(href, whole_of(index), whole_of(size), checksum)


def text_of(value: Any) -> str:
    """Return a value that is text; TypeError or ValueError for any other."""
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:40]!r} is no text")
    value.encode()  # half of a surrogate pair is no character
    return value


def whole_of(value: Any) -> int:
    """Return a value that is a whole number; TypeError for any other."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{str(value)[:40]!r} is no whole number")
    return value


def _instant(value: Any) -> str:
    datetime.fromisoformat(text_of(value))
    return str(value)


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
