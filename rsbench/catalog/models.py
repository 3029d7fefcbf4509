"""Schemas of regions and recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from rsbench.catalog import tiles
from rsbench.catalog.models_base import Entry, FolderName, Name, Text
from rsbench.catalog.models_sensor import Sensor
from rsbench.core.grid import Grid
from rsbench.core.names import twice

Split = Literal["train", "val", "test"]
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


class Region(Entry):
    """A named square: EPSG code, MGRS tile and upper-left corner in metres.

    ``water``: estimated fraction of permanent water; ``role``: whether change is expected.
    An inline region in a recipe needs only name, epsg, origin and split.
    """

    name: FolderName
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
        """Return the strata by which scores are grouped, by their names."""
        return {
            "biome": self.biome,
            "stratum": self.stratum,
            "country": self.country,
            "continent": self.continent,
            "change": self.role,
        }


class NamedRegion(Region):
    """A region of the world catalogue, with all fields, on the lattice of its tile."""

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
    """Parameters of a simulated Earth; its regions are named ``sim-01`` … in order of splits."""

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
    """The pixel grid of a sensor whose grid is not that of the MGRS tiles.

    A recipe with a lattice reads, around the centre of every region, a square of ``size`` pixels of
    ``gsd`` metres. Its corners are ``phase`` metres past multiples of ``gsd``. ``north``: use the
    northern UTM zones in the southern hemisphere too, as Landsat files do.
    """

    gsd: float = Field(gt=0)
    size: int = Field(ge=16)
    phase: float = Field(default=0.0, ge=0)
    north: bool = False


Season = tuple[int, int]


class Recipe(Entry):
    """A recipe of a dataset: the options that all dataset kinds have.

    A kind with further options has a subclass (see
    :class:`rsbench.build.kinds.base.DatasetKind`).

    ``bands``: sensor → bands in the store's order (a sensor left out: all its bands).
    ``years``: first and last, inclusive. ``months``: months that enter a composite.
    ``max_cloud``: scenes above this cloud cover (percent, as the provider states it) are not
    listed. ``query``: sensor → further search conditions. ``floor``: also store medians of odd and
    even dates. A pixel of a year with fewer than ``min_dates`` clear dates, or in fewer than
    ``min_months`` different months, is not valid. ``spread``: also store the median absolute
    deviation; ``shift``: measure the shift of each year relative to the others. ``season``
    ``by-latitude``: four months a year with high sun or little cloud (see
    ``build.plan.season``), ``seasons``: other first and last months for named regions. With
    ``simulated`` the regions are those of the simulated Earth and ``regions`` stays ``all``.
    """

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

    @field_validator("regions")
    @classmethod
    def _each_once(
        cls, regions: Literal["all"] | tuple[Name | Region, ...]
    ) -> Literal["all"] | tuple[Name | Region, ...]:
        names = [] if regions == "all" else [r if isinstance(r, str) else r.name for r in regions]
        if again := twice(names):
            raise ValueError(f"the region {again} is named twice; keep one, or rename one")
        return regions

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
            raise ValueError("months and season exclude each other; keep one")
        if fault := self.protocol_fault():
            raise ValueError(f"default_protocol: {fault}")
        for name in self.query:
            if name not in self.sensor_names:
                raise ValueError(f"query names {name!r}, which is no sensor of the recipe")
        return self

    @property
    def sensor_names(self) -> tuple[str, ...]:
        """Names of the sensors; the first is forecast by default."""
        return tuple(s if isinstance(s, str) else s.name for s in self.sensors)

    def sensor_changes(self, name: str, sensors: Sequence[Sensor]) -> Mapping[str, Any]:
        """Return the fields of a sensor that this recipe replaces.

        Args:
            name: the sensor.
            sensors: all sensors of the recipe, as in the catalogue.
        """
        return {}

    def protocol_fault(self) -> str | None:
        """Return why ``default_protocol`` does not fit the recipe, None if it does."""
        return None if self.default_protocol else "field required"

    def references(self) -> Mapping[str, Callable[[], object]]:
        """Return key → function that raises if the name under this key of the recipe is unknown."""
        return {}
