"""Write regions from their finished units, and the index over them, for every dataset kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rsbench.build.engine.journal import Journal, full_disk_is_named
from rsbench.build.engine.options import BuildOptions
from rsbench.build.engine.previous import FailedUnit
from rsbench.build.engine.workers import Workers
from rsbench.build.kinds.base import Assembled, BuildContext, DatasetKind, Refused, UnitData
from rsbench.build.plan.lock import left_json
from rsbench.build.plan.plan import SIMULATED
from rsbench.build.plan.scenes import sensor_grid
from rsbench.core.errors import InputError
from rsbench.core.phases import Phases
from rsbench.store.layout import MANIFEST, ROOT_KEY, RegionRecord, StoreMeta
from rsbench.store.manifest import load_json
from rsbench.store.write import finalise, write_region

DEFAULT_CODEC = "zstd"


@dataclass
class Work:
    """One build in progress.

    ``address``: where the catalogue is read, empty if nothing is read. ``workers``: do the units
    elsewhere; None if this process does them. ``failed``: (region, year) → reason. ``left``:
    (region, year) → item → reason, for units made without items that could not be read.
    ``phases``: seconds of the thread that writes, which waits for units.
    """

    kind: DatasetKind
    context: BuildContext
    out: Path
    journal: Journal
    options: BuildOptions
    address: str = ""
    workers: Workers | None = None
    failed: dict[tuple[str, int], str] = field(default_factory=dict)
    left: dict[tuple[str, int], dict[str, str]] = field(default_factory=dict)
    phases: Phases = field(default_factory=Phases)

    def has_failed(self, region: str) -> bool:
        """Return whether a unit of the region could not be read."""
        return any(name == region for name, _ in self.failed)

    def is_whole(self, region: str) -> bool:
        """Return whether every unit of the region is made of all its items."""
        return not any(name == region for name, _ in (*self.failed, *self.left))

    def context_of(self, region: str, year: int) -> BuildContext:
        """Return what a unit depends on, without the items that could not be read."""
        left = self.left.get((region, year))
        if not left:
            return self.context
        return replace(self.context, lock=self.context.lock.without(left, [region], year))

    def missing(self) -> tuple[FailedUnit, ...]:
        """Return the units that failed and the items that units are made without, in order."""
        units = [FailedUnit(r, y, reason) for (r, y), reason in self.failed.items()]
        items = [
            FailedUnit(r, y, f"made without item {item}: {reason}", item)
            for (r, y), left in self.left.items()
            for item, reason in left.items()
        ]
        return tuple(sorted((*units, *items), key=lambda one: (one.region, one.year, one.item)))

    def is_written(self, region: str) -> bool:
        """Return whether the region is in the store."""
        return (self.out / region / MANIFEST).exists()


@dataclass(frozen=True, slots=True)
class KeptUnits:
    """The units of one region in the journal; one that is absent or damaged is made again."""

    work: Work
    region: str

    def load(self, year: int) -> UnitData | None:
        """Return a unit; None if it could not be read."""
        journal = self.work.journal
        if (self.region, year) in self.work.failed:
            return None
        held = journal.load(self.region, year)
        if held is None:
            make_unit(self.work, self.region, year)
            held = journal.load(self.region, year)
        return None if held is None else UnitData(*held)


def make_unit(work: Work, region: str, year: int) -> None:
    """Make one unit and keep it in the journal, unless it is there."""
    if work.journal.has(region, year):
        return
    made = work.kind.unit(work.context_of(region, year), region, year)
    keep(work, region, year, made)


def keep(work: Work, region: str, year: int, made: UnitData) -> None:
    """Save a unit in the journal, with the items that it is made without."""
    left = work.left.get((region, year), {})
    work.journal.save(region, year, made.arrays, made.note, left)


def write(work: Work, region: str) -> None:
    """Write a region from its units, unless its kind refuses it."""
    made = work.kind.assemble(work.context, region, KeptUnits(work, region))
    if isinstance(made, Refused):
        return
    _require_lattice(work, region, made)
    whole = work.is_whole(region)
    if not whole:
        # If the build stops before the index names the missing years, they are tried again.
        work.journal.mark_incomplete(region)
    context, place = work.context, work.context.lock.places[region]
    strata = {key: value for key, value in place.strata().items() if value}
    with full_disk_is_named(work.out):
        write_region(
            work.out,
            RegionRecord(region, place.split, strata, made.times),
            made.sensors,
            work.kind.sensors(context.recipe, context.sensors),
            codec=work.options.codec or DEFAULT_CODEC,
            attrs={"lock": context.lock.digest, **made.provenance},
        )
    if whole:
        work.journal.drop(region)


def _require_lattice(work: Work, region: str, made: Assembled) -> None:
    """Refuse a region whose lattice sensor does not fill its square exactly.

    Raises:
        InputError: if so; the fault is in the dataset kind.
    """
    recipe, place = work.context.recipe, work.context.lock.places[region]
    name = work.kind.lattice(recipe)
    wanted = sensor_grid(place, work.context.sensor(name))
    found = made.sensors[name].grid if name in made.sensors else None
    if found != wanted:
        raise InputError(
            f"region {region} of dataset kind {work.kind.name}",
            f"sensor {name} lies on {found}, not on the region's own grid {wanted}",
            "Report this to the package that offers the kind",
        )


def finish(work: Work) -> str:
    """Write the index over the regions that are not refused and return the store's digest.

    Raises:
        InputError: if every region is refused.
        StoreError: if a region is absent without being refused.
    """
    named: list[str] = []
    refused: dict[str, Mapping[str, str]] = {}
    said: Refused | None = None
    for region in sorted(work.context.lock.regions):
        why = _refused_dates(work, region)
        if isinstance(why, Refused):
            said = said or why
            refused[region] = dict(sorted(why.reasons.items()))
        else:
            named.append(region)
            refused |= {region: why} if why else {}
    if said is not None and not named:
        raise _empty(work, said, refused)
    with full_disk_is_named(work.out):
        return finalise(work.out, _store_meta(work, refused), regions=named)


def _refused_dates(work: Work, region: str) -> Mapping[str, str] | Refused:
    """Return why dates of a written region were refused, or why the region is not written."""
    if work.is_written(region):
        attributes = load_json(work.out / region / "zarr.json")["attributes"]
        return dict(attributes[ROOT_KEY]["provenance"].get("refused", {}))
    made = work.kind.assemble(work.context, region, KeptUnits(work, region))
    return made if isinstance(made, Refused) else {}


def _empty(work: Work, said: Refused, refused: Mapping[str, Mapping[str, str]]) -> InputError:
    region, why = next(iter(refused.items()))
    last = max(why)
    return InputError(
        f"building {work.context.recipe.name}",
        f"{said.nothing}; {region} {last}: {why[last]}",
        said.remedy,
    )


def _store_meta(work: Work, refused: Mapping[str, Mapping[str, str]]) -> StoreMeta:
    """Return the metadata of the whole store."""
    recipe, lock = work.context.recipe, work.context.lock
    facts = work.kind.index(recipe, refused)
    spec = recipe.simulated if lock.provider == SIMULATED else None
    missing: list[dict[str, Any]] = [
        {"region": one.region, "time": f"{one.year}-07-01", "reason": one.reason}
        | ({"item": one.item} if one.item else {})
        for one in work.missing()
    ]
    left = {"left": left_json(lock.left)} if lock.left else {}
    return StoreMeta(
        kind=recipe.kind,
        recipe={**lock.recipe, **facts.extras, **left},
        lock_digest=lock.digest,
        compositor=facts.compositor,
        simulated=spec is not None,
        complete=not missing,
        missing=tuple(missing),
        step=facts.step,
        default_preset=recipe.default_preset,
        default_protocol=recipe.default_protocol,
        sensors=work.kind.sensors(recipe, work.context.sensors),
        simulation=None if spec is None else spec.model_dump(mode="json"),
    )
