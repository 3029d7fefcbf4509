"""The schema of a sensor: bands, providers and mask rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rsbench.catalog.models_base import Entry, FolderName, Name, Text
from rsbench.core.errors import unknown

Unit = Literal["reflectance", "kelvin", "display"]


class Band(Entry):
    """One band: its name in the store, common name, centre wavelength (µm), native GSD (m)."""

    name: Name
    common_name: Name
    wavelength_um: float = Field(gt=0.3, lt=15)
    gsd: float = Field(gt=0)


class AssetRef(Entry):
    """The file of a band: asset key of an item, and band number in the file, from 1."""

    key: Text
    index: int = Field(default=1, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"key": value} if isinstance(value, str) else value


class ProviderSpec(Entry):
    """A STAC catalogue with data of a sensor, and the interpretation of its pixels.

    ``offset_policy``: ``s2-baseline-0400`` subtracts 1000 from every valid DN of items with
    processing baseline 04.00 or later; ``none`` does not change the DN.
    ``signing``: how addresses are signed when they are read; ``none``, or a name that a package
    registers in the entry-point group ``rsbench.signers``.
    ``tile_format``: text of ``tile_property`` for a tile, e.g. ``MGRS-{tile}``.
    ``query``: further conditions of the item search; ``refused``: similar collections that are not
    read, with the reason.
    """

    api: str
    collection: Text
    assets: Mapping[str, AssetRef]
    signing: Text = "none"
    offset_policy: Literal["s2-baseline-0400", "none"] = "none"
    tile_property: str | None = None
    tile_format: str = "{tile}"
    baseline_property: str | None = None
    datatake_property: str | None = None
    cloud_property: str | None = None
    query: Mapping[str, Any] = Field(default_factory=dict)
    refused: Mapping[str, Text] = Field(default_factory=dict)

    def tile_value(self, tile: str) -> str:
        """Return the value of ``tile_property`` for an MGRS tile such as ``32TPS``."""
        return self.tile_format.format(tile=tile)


class BitField(Entry):
    """Bits ``first``…``last`` of a quality word as one number; ``bad`` values are masked."""

    first: int = Field(ge=0, le=31)
    last: int = Field(ge=0, le=31)
    bad: tuple[int, ...] = Field(min_length=1)
    meaning: Text

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"the last bit {self.last} lies before the first {self.first}")
        top = 2 ** (self.last - self.first + 1) - 1
        if any(not 0 <= value <= top for value in self.bad):
            raise ValueError(f"bits {self.first}–{self.last} hold only 0 to {top}")
        return self


class MaskRule(Entry):
    """The pixels of a scene that are masked, e.g. clouds.

    ``classes``: bad values of a class band (``scl``, ``quality``); ``bits``: bad fields of a bit
    word (``qa_pixel``, ``state_500m``). ``assets``: provider → asset key; ``band_assets``: band →
    asset key where every band has a quality layer of its own. ``fill``: the word's own nodata.
    ``optional_*``: further classes or fields by name, which a recipe can add (``mask_also``).
    """

    kind: Literal["scl", "qa_pixel", "state_500m", "quality", "none"]
    gsd: float = Field(default=0, ge=0)
    assets: Mapping[str, Text] = Field(default_factory=dict)
    band_assets: Mapping[str, Text] = Field(default_factory=dict)
    fill: int | None = None
    classes: tuple[int, ...] = ()
    bits: tuple[BitField, ...] = ()
    optional_classes: Mapping[str, int] = Field(default_factory=dict)
    optional_bits: Mapping[str, BitField] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "none":
            return self
        if not (self.assets or self.band_assets):
            raise ValueError(f"a mask of kind {self.kind} needs assets")
        if not (self.classes or self.bits):
            raise ValueError(f"a mask of kind {self.kind} needs classes or bits")
        return self

    def also(self, names: tuple[str, ...]) -> MaskRule:
        """Return the rule with optional masks added by name."""
        classes, bits = list(self.classes), list(self.bits)
        for name in names:
            if name in self.optional_classes:
                classes.append(self.optional_classes[name])
            elif name in self.optional_bits:
                bits.append(self.optional_bits[name])
            else:
                raise unknown("optional mask", name, [*self.optional_classes, *self.optional_bits])
        return self.model_copy(update={"classes": tuple(sorted(set(classes))), "bits": tuple(bits)})


class Sensor(Entry):
    """A sensor: ``value = stored · scale + offset`` in ``unit`` for stored integers that are valid.

    ``nodata`` marks missing pixels in provider files and in the store; ``stored_range`` is the
    inclusive range of valid stored integers (outside: masked). ``value_range`` is the data range
    that metrics use, in ``unit``; ``display``: bands shown as red, green, blue.
    """

    name: FolderName
    title: Text
    gsd: float = Field(gt=0)
    unit: Unit
    dtype: Literal["uint8", "uint16", "int16", "float32"]
    scale: float = Field(gt=0)
    offset: float
    nodata: int
    stored_range: tuple[int, int] | None = None
    value_range: tuple[float, float]
    display: tuple[str, str, str] | None = None
    bands: tuple[Band, ...] = Field(min_length=1)
    mask: MaskRule
    providers: Mapping[str, ProviderSpec] = Field(min_length=1)
    licence: Text
    attribution: Text
    citation: Text

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [band.name for band in self.bands]
        if len(set(names)) != len(names):
            raise ValueError("a band is listed twice")
        _require_known("display", self.display or (), names)
        for provider, spec in self.providers.items():
            _require_known(f"providers.{provider}.assets", spec.assets, names)
        _require_known("mask.band_assets", self.mask.band_assets, names)
        _require_known("mask.assets", self.mask.assets, self.providers)
        if not self.value_range[0] < self.value_range[1]:
            raise ValueError("value_range must ascend")
        return self

    @property
    def band_names(self) -> tuple[str, ...]:
        """Names of all bands, in the catalogue's order."""
        return tuple(band.name for band in self.bands)

    def band(self, name: str) -> Band:
        """Return a band by name."""
        for band in self.bands:
            if band.name == name:
                return band
        raise unknown(f"band of {self.name}", name, self.band_names)

    def provider(self, name: str) -> ProviderSpec:
        """Return the entry of a provider."""
        if name not in self.providers:
            raise unknown(f"provider of {self.name}", name, self.providers)
        return self.providers[name]


def _require_known(what: str, given: Any, known: Any) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f"{what} names {name!r}, which is not in {', '.join(known)}")
