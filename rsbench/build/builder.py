"""From a lock to a store: units in parallel, regions written whole, the index last."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.build.builder_unit import UnitResult, compose_unit, empty_unit
from rsbench.build.journal import Journal, full_disk_is_named, open_journal
from rsbench.build.plan import SIMULATED, Lock, make_plan, open_catalogue, regions_of, sensor_grid
from rsbench.build.source import Engine, make_engine
from rsbench.catalog import (
    Recipe,
    Region,
    Sensor,
    load_recipe,
    recipe_canonical,
    recipe_sensors,
)
from rsbench.digest import canonical_json
from rsbench.errors import InputError, UnitFailed
from rsbench.store.layout import (
    INDEX,
    JOURNAL,
    LOCK,
    MANIFEST,
    RegionRecord,
    SensorArrays,
    SensorMeta,
    StoreMeta,
)
from rsbench.store.read import open_store
from rsbench.store.write import finalise, write_region

__all__ = ["BuildResult", "FailedUnit", "build", "regions_of", "sensor_meta"]

Advance = Callable[[str, int, int], None]
Pixels = npt.NDArray[Any]

COMPOSITOR = "median@1"
DEFAULT_CODEC = "zstd"
_MEMORY = 1200 << 20


@dataclass(frozen=True, slots=True)
class FailedUnit:
    """A region and year that could not be read, and why."""

    region: str
    year: int
    reason: str


@dataclass(frozen=True, slots=True)
class BuildResult:
    """A finished store."""

    path: Path
    digest: str
    complete: bool
    failed: tuple[FailedUnit, ...] = ()


@dataclass
class _Work:
    """What all steps of one build share."""

    recipe: Recipe
    sensors: tuple[Sensor, ...]
    lock: Lock
    out: Path
    codec: str
    journal: Journal
    engine: Engine
    memory: int
    progress: Advance | None
    failed: dict[tuple[str, int], str] = field(default_factory=dict)

    def halves(self, region: str) -> bool:
        """Whether odd- and even-date medians are kept: for the floor, on test regions."""
        return self.recipe.floor and self.lock.places[region].split == "test"


def build(
    recipe: Recipe | str,
    out: Path | str,
    *,
    lock: Lock | None = None,
    provider: str | None = None,
    regions: Sequence[Region | str] | None = None,
    years: tuple[int, int] | None = None,
    workers: int = 2,
    codec: str | None = None,
    engine: str = "rasterio",
    allow_incomplete: bool = False,
    progress: Advance | None = None,
) -> BuildResult:
    """Build a store, or go on with one that was interrupted.

    The same call again does only what is missing; on a finished store it does nothing.

    Args:
        recipe: recipe or its name.
        out: folder of the store.
        lock: frozen search; without it the one kept in ``out`` by an earlier call, or a new search.
        provider: see :func:`rsbench.build.plan.make_plan`; with a lock, where its files lie now.
        regions: some of the regions.
        years: some of the years.
        workers: units at a time.
        codec: how chunks are packed; it never moves the digest.
        engine: ``rasterio`` or ``stackstac``; the pixels are the same.
        allow_incomplete: finish although units failed; the store then says what is missing.
        progress: told as ``(label, done, total)``.

    Raises:
        UnitFailed: if units could not be read; what was finished is kept for the next run.
        DiskFull: if there is no room left; likewise.
        InputError: if the output is in use or holds something else.
    """
    chosen = load_recipe(recipe) if isinstance(recipe, str) else recipe
    lock = lock or kept_lock(out, chosen, provider, regions, years)
    if lock is None:
        frozen = make_plan(chosen, regions, provider, years, progress=progress)
        address = frozen.catalogue
    else:
        frozen = _matching(lock, chosen, regions, years)
        address = _moved(frozen, provider)
    target = Path(out)
    _require_place(target)
    early = _finished(target, frozen)
    if early is not None and (early.complete or allow_incomplete):
        return early
    identity = {"lock": frozen.digest, "compositor": COMPOSITOR, "floor": chosen.floor}
    with open_journal(target, identity) as journal:
        _reopen(target, journal)
        with full_disk_is_named(target):
            frozen.save(target / LOCK)
        simulated = chosen.simulated if frozen.provider == SIMULATED and not address else None
        sensors = recipe_sensors(chosen)
        signing = sensors[0].provider(frozen.provider).signing
        with open_catalogue(address, simulated, progress) as catalogue:
            reader = make_engine(engine, catalogue, signing)
            work = _Work(
                recipe=chosen,
                sensors=sensors,
                lock=frozen,
                out=target,
                codec=codec or DEFAULT_CODEC,
                journal=journal,
                engine=reader,
                memory=_MEMORY // max(1, workers),
                progress=progress,
            )
            try:
                _run(work, max(1, workers), allow_incomplete=allow_incomplete)
            finally:
                reader.close()
        if work.failed and not allow_incomplete:
            raise _incomplete(work)
        digest = _finish(work)
        journal.remove()
    failed = tuple(FailedUnit(r, y, reason) for (r, y), reason in sorted(work.failed.items()))
    return BuildResult(target, digest, not failed, failed)


def kept_lock(
    out: Path | str,
    recipe: Recipe,
    provider: str | None = None,
    regions: Sequence[Region | str] | None = None,
    years: tuple[int, int] | None = None,
) -> Lock | None:
    """Return the lock that the same build left in its store; None where there is none.

    One that was searched at another provider is none either: a new search will tell.

    Raises:
        InputError: if it is of another recipe, or of other regions or years.
    """
    path = Path(out) / LOCK
    if not path.is_file():
        return None
    lock = Lock.load(path)
    if provider is not None and provider not in (lock.provider, lock.catalogue):
        folder = Path(provider)
        if not folder.is_dir() or str(folder.resolve()) != lock.catalogue:
            return None
    asked = regions_of(recipe) if regions is None else regions
    names = {region if isinstance(region, str) else region.name for region in asked}
    differ = _other_keys(lock, recipe)
    differ += ["regions"] if names != set(lock.places) else []
    differ += ["years"] if (years or recipe.years) != (lock.years[0], lock.years[-1]) else []
    if differ:
        raise InputError(
            f"building {recipe.name} into {out}",
            f"a build of {lock.recipe.get('name')} with other {', '.join(differ)} lies there",
            "Choose another --out, or delete that folder",
        )
    return lock


def sensor_meta(sensor: Sensor) -> SensorMeta:
    """Return what a store says of a sensor of the catalogue."""
    return SensorMeta(
        name=sensor.name,
        bands=sensor.band_names,
        unit=sensor.unit,
        dtype=sensor.dtype,
        scale=sensor.scale,
        offset=sensor.offset,
        nodata=sensor.nodata,
        gsd=sensor.gsd,
        value_range=sensor.value_range,
        display=sensor.display,
        attribution=sensor.attribution,
        licence=sensor.licence,
    )


# Recipe, lock and place -----------------------------------------------------------------


def _matching(
    lock: Lock,
    recipe: Recipe,
    regions: Sequence[Region | str] | None,
    years: tuple[int, int] | None,
) -> Lock:
    """Return the part of the lock that is asked for; refuse a lock of another recipe."""
    asked, held = recipe_canonical(recipe), dict(lock.recipe)
    differ = _other_keys(lock, recipe)
    if differ:
        raise InputError(
            f"building {recipe.name} from this lock",
            f"the lock was made for other {', '.join(differ)}",
            "Give the recipe the lock was made for, or search again",
        )
    names = None if regions is None else [r if isinstance(r, str) else r.name for r in regions]
    if names is None and asked["regions"] != held["regions"]:
        names = [region.name for region in regions_of(recipe)]
    span = years or (recipe.years if list(recipe.years) != list(held["years"]) else None)
    return lock if names is None and span is None else lock.subset(names, span)


def _other_keys(lock: Lock, recipe: Recipe) -> list[str]:
    """Return in what a lock's recipe differs, beyond what may differ."""
    free = ("regions", "years", "provider", "max_cloud")
    asked, held = recipe_canonical(recipe), dict(lock.recipe)
    return sorted(
        key
        for key in {*asked, *held} - set(free)
        if canonical_json(asked.get(key)) != canonical_json(held.get(key))
    )


def _moved(lock: Lock, provider: str | None) -> str:
    """Return where the lock's files lie: its catalogue, or the address or folder given now."""
    if provider is None or provider == lock.provider:
        return lock.catalogue
    if provider.startswith(("http://", "https://")):
        return provider
    if Path(provider).is_dir():
        return str(Path(provider).resolve())
    raise InputError(
        f"provider {provider}",
        f"the lock was searched at {lock.provider}",
        "Leave --provider out, or give an address or folder that holds the same files",
    )


def _require_place(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"building into {out}", "it is a file", "Choose another --out")
    if out.is_dir() and any(out.iterdir()):
        ours = (out / INDEX).exists() or (out / JOURNAL).exists()
        if not ours:
            raise InputError(
                f"building into {out}",
                "the folder holds something else",
                "Choose an empty or new folder with --out",
            )


def _finished(out: Path, lock: Lock) -> BuildResult | None:
    if not (out / INDEX).exists():
        return None
    store = open_store(out)
    if store.meta.lock_digest != lock.digest:
        raise InputError(
            f"building into {out}",
            f"a finished store of {store.recipe} from another search is there",
            "Delete it, or choose another --out",
        )
    failed = tuple(
        FailedUnit(str(m["region"]), int(str(m["time"])[:4]), str(m["reason"]))
        for m in store.meta.missing
    )
    return BuildResult(out, store.digest, store.complete, failed)


def _reopen(out: Path, journal: Journal) -> None:
    """Take back the regions that were written with years missing, so that they are tried again."""
    missing: set[str] = set(journal.incomplete())
    if (out / INDEX).exists():
        missing |= {str(unit["region"]) for unit in open_store(out).meta.missing}
    for name in sorted(missing):
        journal.mark_incomplete(name)
    with full_disk_is_named(out):
        (out / INDEX).unlink(missing_ok=True)
        for name in sorted(missing):
            shutil.rmtree(out / name, ignore_errors=True)
            journal.clear_incomplete(name)


# Units ----------------------------------------------------------------------------------


def _run(work: _Work, workers: int, *, allow_incomplete: bool) -> None:
    """Do the units that are missing and write each region when its last unit is done."""
    units = [unit for unit in work.lock.units() if not _is_written(work, unit[0])]
    left = {region: 0 for region, _ in units}
    for region, _ in units:
        left[region] += 1
    total = len(list(work.lock.units()))
    done = total - len(units)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="rsbench-unit")
    pending: dict[Future[None], tuple[str, int]] = {
        pool.submit(_unit, work, *unit): unit for unit in units
    }
    try:
        while pending:
            finished, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                region, year = pending.pop(future)
                try:
                    future.result()
                except UnitFailed as error:
                    work.failed[region, year] = f"{error.asked}: {error.found}"
                done += 1
                left[region] -= 1
                if work.progress:
                    work.progress("region-years", done, total)
                if left[region] == 0 and (allow_incomplete or not _has_failed(work, region)):
                    _write(work, region)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _is_written(work: _Work, region: str) -> bool:
    return (work.out / region / MANIFEST).exists()


def _has_failed(work: _Work, region: str) -> bool:
    return any(name == region for name, _ in work.failed)


def _unit(work: _Work, region: str, year: int) -> None:
    """Do one unit unless the journal holds it: a pure function of lock and pixels."""
    if work.journal.has(region, year):
        return
    arrays: dict[str, Pixels] = {}
    note: dict[str, Any] = {}
    for sensor in work.sensors:
        result = _compose(work, sensor, region, year)
        arrays |= {f"{sensor.name}.{name}": a for name, a in result.arrays().items()}
        note[sensor.name] = {"listed": result.listed, "read": result.read}
    work.journal.save(region, year, arrays, note)


def _compose(work: _Work, sensor: Sensor, region: str, year: int) -> UnitResult:
    place = work.lock.places[region]
    return compose_unit(
        work.engine,
        sensor,
        sensor_grid(place, sensor),
        work.lock.items(region, sensor.name, year),
        whole=sensor.provider(work.lock.provider).tile_property is not None,
        halves=work.halves(region),
        memory=work.memory,
    )


# Regions and store ----------------------------------------------------------------------


def _write(work: _Work, region: str) -> None:
    place = work.lock.places[region]
    times = tuple(date(year, 7, 1) for year in work.lock.years)
    by_year = [_part(work, region, year) for year in work.lock.years]
    notes = {
        str(year): note for year, (_, note) in zip(work.lock.years, by_year, strict=True) if note
    }
    sensors = {}
    for sensor in work.sensors:
        parts = [arrays for arrays, _ in by_year]
        stacked = {
            name: np.stack([part[f"{sensor.name}.{name}"] for part in parts])
            for name in ("values", "n_valid", "odd", "even")
            if f"{sensor.name}.{name}" in parts[0]
        }
        sensors[sensor.name] = SensorArrays(
            values=stacked["values"],
            valid=stacked["n_valid"] > 0,
            n_valid=stacked["n_valid"],
            times=times,
            grid=sensor_grid(place, sensor),
            odd=stacked.get("odd"),
            even=stacked.get("even"),
        )
    whole = not _has_failed(work, region)
    if not whole:
        # Should the build stop before the index names the missing years, they are tried again.
        work.journal.mark_incomplete(region)
    strata = {key: value for key, value in place.strata().items() if value}
    with full_disk_is_named(work.out):
        write_region(
            work.out,
            RegionRecord(region, place.split, strata, times),
            sensors,
            {sensor.name: sensor_meta(sensor) for sensor in work.sensors},
            codec=work.codec,
            attrs={"lock": work.lock.digest, "scenes": notes},
        )
    if whole:
        work.journal.drop(region)


def _part(work: _Work, region: str, year: int) -> tuple[dict[str, Pixels], dict[str, Any]]:
    """Return the arrays of a unit; one that failed is all nodata, and listed as missing."""
    if (region, year) not in work.failed:
        held = work.journal.load(region, year)
        if held is None:
            _unit(work, region, year)
            held = work.journal.load(region, year)
        if held is not None:
            return held
    place = work.lock.places[region]
    arrays: dict[str, Pixels] = {}
    for sensor in work.sensors:
        empty = empty_unit(sensor, sensor_grid(place, sensor), halves=work.halves(region))
        arrays |= {f"{sensor.name}.{name}": a for name, a in empty.arrays().items()}
    return arrays, {}


def _finish(work: _Work) -> str:
    spec = work.recipe.simulated if work.lock.provider == SIMULATED else None
    meta = StoreMeta(
        kind=work.recipe.kind,
        recipe=dict(work.lock.recipe),
        lock_digest=work.lock.digest,
        compositor=COMPOSITOR,
        simulated=spec is not None,
        complete=not work.failed,
        missing=tuple(
            {"region": region, "time": f"{year}-07-01", "reason": reason}
            for (region, year), reason in sorted(work.failed.items())
        ),
        step=work.recipe.step,
        default_preset=work.recipe.default_preset,
        default_protocol=work.recipe.default_protocol,
        sensors={sensor.name: sensor_meta(sensor) for sensor in work.sensors},
        simulation=None if spec is None else spec.model_dump(mode="json"),
    )
    with full_disk_is_named(work.out):
        return finalise(work.out, meta, regions=sorted(work.lock.regions))


def _incomplete(work: _Work) -> UnitFailed:
    (region, year), reason = min(work.failed.items())
    count = len(work.failed)
    return UnitFailed(
        f"building {work.out}",
        f"{count} of {len(list(work.lock.units()))} region-years failed, first {region} {year}: "
        f"{reason}",
        "Run the same command again, it does only what is missing; "
        "or add --allow-incomplete, and the store says what it lacks",
    )
