"""From a lock to a store: units in parallel, regions written whole, the index last."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy.typing as npt

from rsbench.build.engine.build_lock import kept_lock, matching, moved, require_place
from rsbench.build.engine.journal import Basket, full_disk_is_named, open_journal
from rsbench.build.engine.previous import BuildResult, FailedUnit, finished, reopen, tidy
from rsbench.build.engine.region import (
    Steps,
    Unit,
    UnitEvent,
    Watch,
    Work,
    finish,
    has_failed,
    rule_of,
    sensor_meta,
    write,
)
from rsbench.build.engine.unit import UnitResult, compose_unit
from rsbench.build.engine.workers import Answer, Order, carry_out, open_workers
from rsbench.build.plan.plan import SIMULATED, Lock, make_plan, open_catalogue, regions_of
from rsbench.build.plan.scenes import sensor_grid
from rsbench.build.read.engines import make_engine
from rsbench.build.read.raster import Engine, NoEngine
from rsbench.catalog import Recipe, Region, Sensor, load_recipe, recipe_sensors
from rsbench.core.errors import InputError, StoreError, UnitFailed
from rsbench.store.export.card import write_card
from rsbench.store.layout import CARD, LOCK, MANIFEST

__all__ = [
    "BuildResult",
    "FailedUnit",
    "build",
    "build_part",
    "finalise_parts",
    "kept_lock",
    "regions_of",
    "sensor_meta",
]

Advance = Callable[[str, int, int], None]
Pixels = npt.NDArray[Any]

DEFAULT_CODEC = "zstd"
_MEMORY = 1200 << 20


def build(
    recipe: Recipe | str,
    out: Path | str,
    *,
    lock: Lock | None = None,
    provider: str | None = None,
    regions: Sequence[Region | str] | None = None,
    years: tuple[int, int] | None = None,
    workers: int = 2,
    processes: bool = False,
    scheduler: str | None = None,
    codec: str | None = None,
    engine: str = "rasterio",
    allow_incomplete: bool = False,
    progress: Advance | None = None,
    watch: Watch | None = None,
) -> BuildResult:
    """Build a store, or go on with one that was interrupted.

    The same call again does only what is missing; on a finished store it does nothing.

    Args:
        recipe: recipe or its name.
        out: folder of the store.
        lock: frozen search; without it the one kept in ``out`` by an earlier call, or a new search.
        provider: see :func:`rsbench.build.plan.plan.make_plan`; with a lock, where its files
            lie now.
        regions: some of the regions.
        years: some of the years.
        workers: units at a time, in threads of this process.
        processes: in as many processes instead. They are spawned, so a script that calls this
            needs ``if __name__ == "__main__":``. One that dies costs only its unit.
        scheduler: address of a dask cluster that does the units instead; its workers must reach
            the catalogue, and need no access to ``out``.
        codec: how chunks are packed; it never moves the digest.
        engine: ``rasterio`` or ``stackstac``; the pixels are the same.
        allow_incomplete: finish although units failed; the store then says what is missing.
        progress: told as ``(label, done, total)``.
        watch: told what happens to every unit, from the threads that do them.

    Raises:
        UnitFailed: if units could not be read; what was finished is kept for the next run.
        DiskFull: if there is no room left; likewise.
        InputError: if the output is in use or holds something else, or the cluster is gone.
    """
    chosen = load_recipe(recipe) if isinstance(recipe, str) else recipe
    lock = lock or kept_lock(out, chosen, provider, regions, years)
    if lock is None:
        frozen = make_plan(chosen, regions, provider, years, progress=progress)
        address = frozen.catalogue
    else:
        frozen = matching(lock, chosen, regions, years)
        address = moved(frozen, provider)
    target = Path(out)
    require_place(target)
    early = finished(target, frozen)
    if early is not None and (early.complete or allow_incomplete):
        tidy(target)
        if not (target / CARD).exists():
            with contextlib.suppress(StoreError):  # a finished store may be read-only
                write_card(target)
        return early
    with _open_work(
        chosen,
        target,
        frozen,
        address,
        codec=codec,
        engine=engine,
        workers=workers,
        processes=processes,
        scheduler=scheduler,
        progress=progress,
        watch=watch,
    ) as work:
        _run(work, max(1, workers), sorted(frozen.regions), allow_incomplete=allow_incomplete)
        if work.failed and not allow_incomplete:
            raise _incomplete(work)
        return _finish(work)


def build_part(
    recipe: Recipe,
    out: Path | str,
    part: tuple[int, int],
    *,
    lock: Lock | None = None,
    provider: str | None = None,
    workers: int = 2,
    processes: bool = False,
    codec: str | None = None,
    engine: str = "rasterio",
    progress: Advance | None = None,
    watch: Watch | None = None,
) -> tuple[str, ...]:
    """Build every ``n``-th region from the ``i``-th on, and no index: one of ``n`` parts.

    Parts may run at the same time on machines that share the folder, in any order and again after
    a kill; :func:`finalise_parts` ends the build.

    Args:
        part: ``(i, n)``, from ``(1, n)`` to ``(n, n)``.
        lock: the frozen search; without it the one that lies in ``out``. Parts never search,
            since two searches may differ.

    Returns:
        the regions of this part, all written.
    """
    number, parts = part
    frozen, address = _given(recipe, out, lock, provider)
    names = sorted(frozen.regions)[number - 1 :: parts]
    with _open_work(
        recipe,
        Path(out),
        frozen,
        address,
        codec=codec,
        engine=engine,
        workers=workers,
        processes=processes,
        progress=progress,
        watch=watch,
        part=part,
        names=names,
    ) as work:
        _run(work, max(1, workers), names, allow_incomplete=False)
        if work.failed:
            raise _incomplete(work)
    return tuple(names)


def finalise_parts(
    recipe: Recipe,
    out: Path | str,
    *,
    lock: Lock | None = None,
    codec: str | None = None,
    allow_incomplete: bool = False,
    progress: Advance | None = None,
) -> BuildResult:
    """Write the index over parts that are done; nothing is read from the catalogue.

    Raises:
        UnitFailed: if a unit is missing and ``allow_incomplete`` is False.
    """
    frozen, _ = _given(recipe, out, lock, None)
    target = Path(out)
    early = finished(target, frozen)
    if early is not None:
        tidy(target)
        return early
    with _open_work(
        recipe, target, frozen, None, codec=codec, engine="none", workers=1, progress=progress
    ) as work:
        absent = [
            unit
            for unit in frozen.units()
            if not _is_written(work, unit[0]) and not work.journal.has(*unit)
        ]
        work.failed |= dict.fromkeys(absent, "it was not built")
        if absent and not allow_incomplete:
            raise _incomplete(work)
        for region in sorted(frozen.regions):
            if not _is_written(work, region):
                _steps(recipe).write(work, region)
        return _finish(work)


def _given(
    recipe: Recipe, out: Path | str, lock: Lock | None, provider: str | None
) -> tuple[Lock, str]:
    held = lock or kept_lock(out, recipe, provider)
    if held is None:
        raise InputError(
            f"building a part of {recipe.name} into {out}",
            "no lock is given and none lies there",
            "Freeze the search first: build-dataset --dry-run --lock FILE, "
            "then give --lock FILE to every part",
        )
    require_place(Path(out))
    frozen = matching(held, recipe, None, None)
    return frozen, moved(frozen, provider)


@contextlib.contextmanager
def _open_work(
    recipe: Recipe,
    target: Path,
    frozen: Lock,
    address: str | None,
    *,
    codec: str | None,
    engine: str,
    workers: int,
    processes: bool = False,
    scheduler: str | None = None,
    progress: Advance | None,
    watch: Watch | None = None,
    part: tuple[int, int] | None = None,
    names: Sequence[str] | None = None,
) -> Iterator[Work]:
    """Hold the output, keep the lock in it, and open catalogue and reader (none: no address)."""
    made_by = rule_of(recipe).name if recipe.kind == "series" else recipe.kind
    identity = {"lock": frozen.digest, "compositor": made_by, "floor": recipe.floor}
    with open_journal(target, identity, part) as journal:
        reopen(target, journal, names)
        with full_disk_is_named(target):
            frozen.save(target / LOCK)
        simulated = recipe.simulated if frozen.provider == SIMULATED and not address else None
        sensors = recipe_sensors(recipe)
        signing = sensors[0].provider(frozen.provider).signing
        with contextlib.ExitStack() as stack:
            reader: Engine = NoEngine()
            catalogue = ""
            if address is not None:
                catalogue = open_catalogue(address, simulated, progress)
                reader = make_engine(engine, catalogue, signing)
                stack.callback(reader.close)
            elsewhere = open_workers(_in_worker, workers, processes=processes, scheduler=scheduler)
            yield Work(
                recipe=recipe,
                sensors=sensors,
                lock=frozen,
                out=target,
                codec=codec or DEFAULT_CODEC,
                journal=journal,
                engine=reader,
                memory=_MEMORY // max(1, workers),
                progress=progress,
                watch=watch,
                address=catalogue,
                reading=engine,
                workers=stack.enter_context(elsewhere),
            )


def _finish(work: Work) -> BuildResult:
    digest = _steps(work.recipe).finish(work)
    work.journal.remove()
    write_card(work.out)
    failed = tuple(FailedUnit(r, y, reason) for (r, y), reason in sorted(work.failed.items()))
    return BuildResult(work.out, digest, not failed, failed)


# Units ----------------------------------------------------------------------------------


def _run(work: Work, workers: int, names: Sequence[str], *, allow_incomplete: bool) -> None:
    """Do the units that are missing and write each region when its last unit is done."""
    steps = _steps(work.recipe)
    mine = [unit for unit in work.lock.units() if unit[0] in set(names)]
    units = [unit for unit in mine if not _is_written(work, unit[0])]
    left = {region: 0 for region, _ in units}
    for region, _ in units:
        left[region] += 1
    total = len(mine)
    done = total - len(units)
    others = work.workers
    pool = ThreadPoolExecutor(others.size if others else workers, thread_name_prefix="rsbench-unit")
    do = _elsewhere if others else steps.unit
    pending: dict[Future[None], tuple[str, int]] = {
        pool.submit(_watched, work, do, *unit): unit for unit in units
    }
    try:
        while pending:
            ended, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in ended:
                region, year = pending.pop(future)
                try:
                    future.result()
                except UnitFailed as error:
                    work.failed[region, year] = f"{error.asked}: {error.found}"
                done += 1
                left[region] -= 1
                if work.progress:
                    work.progress("region-years", done, total)
                if left[region] == 0 and (allow_incomplete or not has_failed(work, region)):
                    steps.write(work, region)
    finally:
        if others and pending:
            others.stop()
        pool.shutdown(wait=True, cancel_futures=True)


def _elsewhere(work: Work, region: str, year: int) -> None:
    """Have a worker do one unit unless the journal holds it, and save the result."""
    if work.workers is None or work.journal.has(region, year):
        return
    lock = work.lock.subset([region], None)
    order = Order(work.recipe, lock, region, year, work.address, work.reading, work.memory)
    answer = work.workers.do(order)
    work.engine.bytes += answer.bytes_read
    answer.require()
    work.journal.save(region, year, answer.arrays, answer.note)


def _in_worker(order: Order) -> Answer:
    """Do a unit in a worker: nothing is written there."""
    return carry_out(order, _made)


def _made(order: Order) -> Answer:
    sensors, basket = recipe_sensors(order.recipe), Basket()
    signing = sensors[0].provider(order.lock.provider).signing
    engine = make_engine(order.engine, order.address, signing)
    work = Work(
        recipe=order.recipe,
        sensors=sensors,
        lock=order.lock,
        out=Path(),
        codec=DEFAULT_CODEC,
        journal=basket,
        engine=engine,
        memory=order.memory,
        progress=None,
    )
    with contextlib.closing(engine):
        _steps(order.recipe).unit(work, order.region, order.year)
    return Answer(basket.arrays, basket.note, engine.bytes)


def _steps(recipe: Recipe) -> Steps:
    if recipe.kind == "pairs":
        from rsbench.build.kinds.pairs import STEPS

        return STEPS
    if recipe.kind == "triplets":
        from rsbench.build.kinds.triplets_write import STEPS as TRIPLETS

        return TRIPLETS
    return Steps(_unit, lambda work, region: write(work, region, _unit), lambda work: finish(work))


def _is_written(work: Work, region: str) -> bool:
    return (work.out / region / MANIFEST).exists()


def _watched(work: Work, unit: Unit, region: str, year: int) -> None:
    """Do one unit and tell who watches."""
    watch, begun = work.watch, time.monotonic()
    if watch is None:
        unit(work, region, year)
        return
    worker = threading.current_thread().name.rpartition("_")[2]
    watch(UnitEvent(region, year, "begun", worker, bytes_read=work.engine.bytes))
    state, reason = "failed", "the build was stopped"
    try:
        unit(work, region, year)
        state, reason = "done", ""
    except UnitFailed as error:
        reason = f"{error.asked}: {error.found}"
        raise
    finally:
        seconds = round(time.monotonic() - begun, 3)
        watch(UnitEvent(region, year, state, worker, seconds, work.engine.bytes, reason))


def _unit(work: Work, region: str, year: int) -> None:
    """Do one unit unless the journal holds it: a pure function of lock and pixels."""
    if work.journal.has(region, year):
        return
    arrays: dict[str, Pixels] = {}
    note: dict[str, Any] = {}
    for sensor in work.sensors:
        result = _compose(work, sensor, region, year)
        arrays |= {f"{sensor.name}.{name}": a for name, a in result.arrays().items()}
        note[sensor.name] = result.note()
    work.journal.save(region, year, arrays, note)


def _compose(work: Work, sensor: Sensor, region: str, year: int) -> UnitResult:
    place = work.lock.places[region]
    return compose_unit(
        work.engine,
        sensor,
        sensor_grid(place, sensor),
        work.lock.items(region, sensor.name, year),
        whole=sensor.provider(work.lock.provider).tile_property is not None,
        halves=work.halves(region),
        memory=work.memory,
        rule=work.rule(region),
    )


def _incomplete(work: Work) -> UnitFailed:
    (region, year), reason = min(work.failed.items())
    count = len(work.failed)
    return UnitFailed(
        f"building {work.out}",
        f"{count} of {len(list(work.lock.units()))} region-years failed, first {region} {year}: "
        f"{reason}",
        "Run the same command again, it does only what is missing; "
        "or add --allow-incomplete, and the store says what it lacks",
    )
