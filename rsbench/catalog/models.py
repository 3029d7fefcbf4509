"""What people write in catalogues: sensors, regions and recipes, frozen once read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from rsbench.catalog import tiles
from rsbench.catalog.models_base import Entry, Name, Text
from rsbench.core.grid import Grid

Split = Literal["train", "val", "test"]
Unit = Literal["reflectance", "kelvin", "display"]
Stratum = Literal[
    "irrigated",
    "rainfed",
    "tropical-frontier",
    "forest",
    "savanna",
    "urban-fringe",
    "desert",
    "delta-coast",
]
Continent = Literal["Africa", "Asia", "Europe", "North America", "Oceania", "South America"]


class Band(Entry):
    """One band: its name in the store, common name, centre wavelength (µm), native GSD (m)."""

    name: Name
    common_name: Name
    wavelength_um: float = Field(gt=0.3, lt=15)
    gsd: float = Field(gt=0)


class AssetRef(Entry):
    """Where a band lies: asset key of an item and band number (from 1) in that file."""

    key: Text
    index: int = Field(default=1, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"key": value} if isinstance(value, str) else value


class ProviderSpec(Entry):
    """One catalogue that offers a sensor, and how its pixels are to be understood.

    ``offset_policy``: ``s2-baseline-0400`` subtracts 1000 from every valid DN of an item whose
    processing baseline is 04.00 or later; ``none`` leaves the DN alone.
    ``signing``: how addresses are signed when they are read; ``none``, or a name that a package
    registers in the entry-point group ``rsbench.signers``.
    ``tile_format``: text of ``tile_property`` for a tile, e.g. ``MGRS-{tile}``.
    ``query``: further item-search conditions; ``refused``: collections that look alike, with the
    reason why they are not read.
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
    """Bits ``first``…``last`` of a quality word read as one number; ``bad`` values are masked."""

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
    """Which pixels of a scene do not show the ground.

    ``classes``: bad values of a class band (``scl``, ``quality``); ``bits``: bad fields of a bit
    word (``qa_pixel``, ``state_500m``). ``assets``: provider → asset key; ``band_assets``: band →
    asset key where every band has a quality layer of its own. ``fill``: the word's own nodata.
    ``optional_*``: further classes or fields, by name, that a recipe may add (``mask_also``).
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
        from rsbench.core.errors import unknown

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

    name: Name
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
            raise ValueError("a band stands twice")
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
        from rsbench.core.errors import unknown

        for band in self.bands:
            if band.name == name:
                return band
        raise unknown(f"band of {self.name}", name, self.band_names)

    def provider(self, name: str) -> ProviderSpec:
        """Return how a provider offers this sensor."""
        from rsbench.core.errors import unknown

        if name not in self.providers:
            raise unknown(f"provider of {self.name}", name, self.providers)
        return self.providers[name]


def _require_known(what: str, given: Any, known: Any) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f"{what} names {name!r}, which is not in {', '.join(known)}")


class Region(Entry):
    """A named square of ground: EPSG, MGRS tile and upper-left corner (metres).

    ``water``: estimated fraction of permanent water; ``role``: whether change is expected.
    A region written inline in a recipe needs only name, epsg, origin and split.
    """

    name: Name
    epsg: int = Field(ge=1024, le=32767)
    origin: tuple[int, int]
    split: Split
    tile: str = ""
    size: int = Field(default=1024, ge=16)
    gsd: float = Field(default=10.0, gt=0)
    title: str = ""
    country: str = ""
    continent: str = ""
    biome: str = ""
    stratum: str = ""
    why: str = ""
    change: str = ""
    role: Literal["change-prone", "stable", "mixed"] = "mixed"
    pseudo_invariant: bool = False
    water: float = Field(default=0.0, ge=0, le=1)

    def grid(self) -> Grid:
        """Return the pixel grid: north-up, ``size`` × ``size`` pixels of ``gsd`` metres."""
        x, y = self.origin
        transform = (self.gsd, 0.0, float(x), 0.0, -self.gsd, float(y))
        return Grid(f"EPSG:{self.epsg}", transform, self.size, self.size)

    def strata(self) -> dict[str, str]:
        """Return the groups by which scores are split."""
        return {
            "biome": self.biome,
            "stratum": self.stratum,
            "country": self.country,
            "continent": self.continent,
            "change": self.role,
        }


class NamedRegion(Region):
    """A region of the world catalogue: complete, and on the lattice of its tile."""

    title: Text
    country: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    continent: Continent
    biome: Text
    stratum: Stratum
    why: Text
    change: Text
    role: Literal["change-prone", "stable", "mixed"]
    tile: Annotated[str, Field(pattern=r"^[0-9]{2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V]$")]
    size: Literal[1024] = 1024
    gsd: Annotated[float, Field(ge=10, le=10)] = 10.0
    water: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _on_lattice(self) -> Self:
        problem = tiles.lattice_problem(
            self.tile, self.epsg, self.origin, int(self.size * self.gsd)
        )
        if problem:
            raise ValueError(problem)
        return self


class SimulatedSpec(Entry):
    """The simulated Earth behind a recipe; regions are named ``sim-01`` … in split order."""

    seed: int = Field(ge=0)
    regions: int = Field(default=24, ge=3)
    train: int = Field(default=12, ge=1)
    val: int = Field(default=3, ge=1)
    test: int = Field(default=9, ge=1)
    size: int = Field(default=256, ge=64, multiple_of=16)
    scenes_per_year: int = Field(default=6, ge=1, le=80)
    years: tuple[int, int] = (2017, 2024)
    sensors: tuple[str, ...] = ("s2",)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.train + self.val + self.test != self.regions:
            raise ValueError("train, val and test do not add up to regions")
        _require_ascending(self.years)
        return self


def _require_ascending(years: tuple[int, int]) -> None:
    if years[0] > years[1]:
        raise ValueError("the first year lies after the last")


class Lattice(Entry):
    """Where a sensor's own pixels lie, for sensors whose grid is not that of the MGRS tiles.

    A recipe with a lattice takes, around the centre of every region, the square of ``size`` pixels
    of ``gsd`` metres whose corners are ``phase`` metres past multiples of ``gsd``. With ``north``
    the southern hemisphere too is counted in the northern zones, as Landsat's files are.
    """

    gsd: float = Field(gt=0)
    size: int = Field(ge=16)
    phase: float = Field(default=0.0, ge=0)
    north: bool = False


Season = tuple[int, int]


class Recipe(Entry):
    """What to build: the options of every dataset kind.

    A kind that needs more has a subclass with its own sections (see
    :class:`rsbench.build.kinds.base.DatasetKind`).

    ``bands``: sensor → bands in the store's order (a sensor left out: all its bands).
    ``years``: first and last, inclusive. ``months``: months that enter a composite.
    ``max_cloud``: scenes above this cloud cover (percent, as the provider states it) are not
    listed. ``query``: sensor → further search conditions. ``floor``: also store medians of odd and
    even dates. A pixel of a year with fewer than ``min_dates`` clear dates, or in fewer than
    ``min_months`` different months, is not valid. ``spread``: also store the median absolute
    deviation; ``shift``: measure how far each year lies beside the others. ``season``
    ``by-latitude``: four months a year with high sun or little cloud (see
    ``build.plan.season``), ``seasons``: other first and last months for named regions. With
    ``simulated`` the regions are those of the simulated Earth and ``regions`` stays ``all``.
    """

    has_protocol: ClassVar[bool] = True
    """Whether a task uses stores of this kind, so that a default protocol must be named."""

    name: Name
    title: Text
    description: str = ""
    kind: Name = "series"
    sensors: tuple[Name | Sensor, ...] = Field(min_length=1)
    bands: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    years: tuple[int, int]
    months: tuple[int, ...] = tuple(range(1, 13))
    compositing: Literal["yearly-median", "yearly-medoid", "yearly-best"] = "yearly-median"
    min_dates: int = Field(default=1, ge=1, le=1000)
    min_months: int = Field(default=1, ge=1, le=12)
    spread: bool = False
    shift: bool = False
    season: Literal["by-latitude"] | None = None
    seasons: Mapping[str, Season] = Field(default_factory=dict)
    lattice: Lattice | None = None
    query: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    step: Literal["P1Y"] = "P1Y"
    max_cloud: float = Field(default=100.0, gt=0, le=100)
    mask_also: tuple[str, ...] = ()
    floor: bool = True
    provider: Name
    regions: Literal["all"] | tuple[Name | Region, ...] = "all"
    default_preset: Name
    default_protocol: Name | Literal[""] = ""
    simulated: SimulatedSpec | None = None

    @field_validator("months")
    @classmethod
    def _calendar(cls, months: tuple[int, ...]) -> tuple[int, ...]:
        if not months or any(not 1 <= month <= 12 for month in months):
            raise ValueError("months are 1 to 12, at least one")
        return months

    @field_validator("seasons")
    @classmethod
    def _within_a_year(cls, seasons: Mapping[str, Season]) -> Mapping[str, Season]:
        for name, (first, last) in seasons.items():
            if not 1 <= first <= last <= 12:
                raise ValueError(f"the season of {name} is no ascending pair of months 1 to 12")
        return seasons

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _require_ascending(self.years)
        if self.seasons and self.season is None:
            raise ValueError("seasons of regions need a season for all: season: by-latitude")
        if self.season is not None and len(self.months) < 12:
            raise ValueError("months and season are two answers to one question; keep one")
        if bool(self.default_protocol) != self.has_protocol:
            raise ValueError(
                "default_protocol: field required"
                if self.has_protocol
                else f"default_protocol: no task uses datasets of kind {self.kind}; leave it out"
            )
        for name in self.query:
            if name not in self.sensor_names:
                raise ValueError(f"query names {name!r}, which is no sensor of the recipe")
        return self

    @property
    def sensor_names(self) -> tuple[str, ...]:
        """Names of the sensors, the first being the one forecast by default."""
        return tuple(s if isinstance(s, str) else s.name for s in self.sensors)

    def sensor_changes(self, name: str, sensors: Sequence[Sensor]) -> Mapping[str, Any]:
        """Return fields of a sensor that this recipe replaces.

        Args:
            name: the sensor.
            sensors: all sensors of the recipe, as in the catalogue.
        """
        return {}

    def references(self) -> Mapping[str, Callable[[], object]]:
        """Return for keys of the recipe a function that raises if what the key names is absent."""
        return {}
