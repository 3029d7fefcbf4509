"""Build a store from a lock: units in parallel, then whole regions, then the index."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

from rsbench.build.engine.build_lock import excluding, kept_lock, matching, moved, require_place
from rsbench.build.engine.journal import full_disk_is_named, open_journal
from rsbench.build.engine.left import tolerant
from rsbench.build.engine.options import BuildOptions, UnitEvent
from rsbench.build.engine.previous import BuildResult, FailedUnit, finished, reopen, tidy
from rsbench.build.engine.region import Work, finish, keep, make_unit, write
from rsbench.build.engine.workers import Answer, Order, carry_out, open_workers
from rsbench.build.kinds.base import BuildContext, UnitData, kind_of, sensor_meta
from rsbench.build.plan.plan import SIMULATED, Lock, make_plan, open_catalogue, regions_of
from rsbench.build.read.engines import make_engine
from rsbench.build.read.raster import Engine, NoEngine
from rsbench.catalog import Recipe, Sensor, load_recipe, recipe_sensors
from rsbench.core.errors import InputError, StoreError, UnitFailed
from rsbench.core.phases import Phases
from rsbench.store.export.card import write_card
from rsbench.store.layout import CARD, LOCK

__all__ = [
    "BuildOptions",
    "BuildResult",
    "FailedUnit",
    "build",
    "build_part",
    "finalise_parts",
    "kept_lock",
    "regions_of",
    "sensor_meta",
]

_MEMORY = 1200 << 20
"""Bytes of pixels that all units at work may hold together."""


def build(
    recipe: Recipe | str, out: Path | str, options: BuildOptions | None = None, **named: Any
) -> BuildResult:
    """Build a store, or resume one that was interrupted.

    The same call again does only what is missing; on a finished store it does nothing.

    Args:
        recipe: recipe or its name.
        out: folder of the store.
        options: how to build.
        named: fields of :class:`BuildOptions` by name; they replace those of ``options``.

    Raises:
        UnitFailed: if units could not be read; what was finished is kept for the next run.
        DiskFull: if there is no room left; likewise.
        InputError: if the output is in use or holds something else, or the cluster is gone.
    """
    chosen = load_recipe(recipe) if isinstance(recipe, str) else recipe
    asked = replace(options or BuildOptions(), **named)
    target, phases = Path(out), Phases()
    with phases.time("plan"):
        frozen, address = planned(chosen, target, asked)
    require_place(target)
    early = finished(target, frozen)
    if early is not None and (early.complete or asked.allow_incomplete):
        tidy(target)
        if not (target / CARD).exists():
            with contextlib.suppress(StoreError):  # a finished store may be read-only
                write_card(target)
        return early
    with _open_work(chosen, target, frozen, address, asked) as work:
        work.phases = phases
        _run(work, sorted(frozen.regions), allow_incomplete=asked.allow_incomplete)
        if work.failed and not asked.allow_incomplete:
            raise _incomplete(work)
        return _finish(work)


def build_part(
    recipe: Recipe,
    out: Path | str,
    part: tuple[int, int],
    options: BuildOptions | None = None,
    **named: Any,
) -> tuple[str, ...]:
    """Build every ``n``-th region from the ``i``-th on, without an index: one of ``n`` parts.

    Parts may run at the same time on machines that share the folder, in any order and again after
    a kill; :func:`finalise_parts` ends the build.

    Args:
        recipe: what to build.
        out: folder of the store.
        part: ``(i, n)``, from ``(1, n)`` to ``(n, n)``.
        options: how to build; without a lock the one in ``out`` is taken. Parts never search,
            since two searches may differ.
        named: fields of :class:`BuildOptions` by name; they replace those of ``options``.

    Returns:
        the regions of this part, all written.
    """
    asked = replace(options or BuildOptions(), **named, scheduler=None, allow_incomplete=False)
    number, parts = part
    frozen, address = _given(recipe, out, asked)
    names = sorted(frozen.regions)[number - 1 :: parts]
    with _open_work(recipe, Path(out), frozen, address, asked, (part, names)) as work:
        _run(work, names, allow_incomplete=False)
        if work.failed:
            raise _incomplete(work)
    return tuple(names)


def finalise_parts(
    recipe: Recipe, out: Path | str, options: BuildOptions | None = None, **named: Any
) -> BuildResult:
    """Write the index over parts that are done; nothing is read from the catalogue.

    Args:
        recipe: what was built.
        out: folder of the store.
        options: how to build; those on reading are not used.
        named: fields of :class:`BuildOptions` by name; they replace those of ``options``.

    Raises:
        UnitFailed: if a unit is missing and ``allow_incomplete`` is False.
    """
    asked = replace(options or BuildOptions(), **named, provider=None, workers=1, processes=False)
    frozen, _ = _given(recipe, out, asked)
    target = Path(out)
    early = finished(target, frozen)
    if early is not None:
        tidy(target)
        return early
    with _open_work(recipe, target, frozen, None, asked) as work:
        absent = [
            unit
            for unit in frozen.units()
            if not work.is_written(unit[0]) and not work.journal.has(*unit)
        ]
        work.failed |= dict.fromkeys(absent, "it was not built")
        if absent and not asked.allow_incomplete:
            raise _incomplete(work)
        for region in sorted(frozen.regions):
            if not work.is_written(region):
                write(work, region)
        return _finish(work)


# Lock and place ---------------------------------------------------------------------------


def planned(recipe: Recipe, out: Path, asked: BuildOptions) -> tuple[Lock, str]:
    """Return the lock to build from, searched if there is none, and where its files are."""
    provider, regions, years = asked.provider, asked.regions, asked.years
    lock = asked.lock or kept_lock(out, recipe, provider, regions, years)
    if lock is None:
        leaving = asked.leaving
        frozen = make_plan(
            recipe, regions, provider, years, leaving=leaving, progress=asked.progress
        )
        return frozen, frozen.catalogue
    frozen = excluding(matching(lock, recipe, regions, years), asked.exclude)
    return frozen, moved(frozen, provider)


def _given(recipe: Recipe, out: Path | str, asked: BuildOptions) -> tuple[Lock, str]:
    """Return the lock of a build in parts, and where its files are."""
    held = asked.lock or kept_lock(out, recipe, asked.provider)
    if held is None:
        raise InputError(
            f"building a part of {recipe.name} into {out}",
            "no lock is given and none lies there",
            "Freeze the search first: build-dataset --dry-run --lock FILE, "
            "then give --lock FILE to every part",
        )
    require_place(Path(out))
    frozen = excluding(matching(held, recipe, None, None), asked.exclude)
    return frozen, moved(frozen, asked.provider)


@contextlib.contextmanager
def _open_work(
    recipe: Recipe,
    target: Path,
    frozen: Lock,
    address: str | None,
    asked: BuildOptions,
    part: tuple[tuple[int, int], Sequence[str]] | None = None,
) -> Iterator[Work]:
    """Lock the output folder, save the lock in it, and open catalogue and reader.

    Args:
        address: where the files are; None to read nothing.
        part: the part and its regions; None for all regions.
    """
    kind = kind_of(recipe)
    compositor = kind.index(recipe, {}).compositor
    identity = {"lock": frozen.digest, "compositor": compositor, "floor": recipe.floor}
    number, names = part or (None, None)
    with open_journal(target, identity, number) as journal, contextlib.ExitStack() as stack:
        reopen(target, journal, names)
        with full_disk_is_named(target):
            frozen.save(target / LOCK)
        engine: Engine = NoEngine()
        catalogue = ""
        if address is not None:
            simulated = recipe.simulated if frozen.provider == SIMULATED and not address else None
            catalogue = open_catalogue(address, simulated, asked.progress)
            engine = _engine(asked.engine, catalogue, recipe_sensors(recipe), frozen)
            stack.callback(engine.close)
        memory = _MEMORY // max(1, asked.workers)
        context = BuildContext(recipe, recipe_sensors(recipe), frozen, engine, memory)
        elsewhere = open_workers(
            _in_worker, asked.workers, processes=asked.processes, scheduler=asked.scheduler
        )
        yield Work(kind, context, target, journal, asked, catalogue, stack.enter_context(elsewhere))


def _engine(name: str, catalogue: str, sensors: Sequence[Sensor], lock: Lock) -> Engine:
    return make_engine(name, catalogue, sensors[0].provider(lock.provider).signing)


def _finish(work: Work) -> BuildResult:
    with work.phases.time("index"):
        digest = finish(work)
        work.journal.remove()
        write_card(work.out)
    missing = work.missing()
    return BuildResult(work.out, digest, not missing, missing, work.phases.seconds())


# Units ----------------------------------------------------------------------------------


def _run(work: Work, names: Sequence[str], *, allow_incomplete: bool) -> None:
    """Do the units that are missing and write each region when its last unit is done."""
    mine = [unit for unit in work.context.lock.units() if unit[0] in set(names)]
    units = [unit for unit in mine if not work.is_written(unit[0])]
    left = {region: 0 for region, _ in units}
    for region, _ in units:
        left[region] += 1
    done, workers = len(mine) - len(units), work.workers
    threads = workers.size if workers else max(1, work.options.workers)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="rsbench-unit")
    do = tolerant(_elsewhere if workers else make_unit)
    pending = {pool.submit(_watched, work, do, *unit): unit for unit in units}
    try:
        for future in work.phases.each("units", _ended(pending)):
            region, year = pending.pop(future)
            try:
                future.result()
            except UnitFailed as error:
                work.failed[region, year] = f"{error.asked}: {error.found}"
            done += 1
            left[region] -= 1
            if work.options.progress:
                work.options.progress("region-years", done, len(mine))
            if left[region] == 0 and (allow_incomplete or not work.has_failed(region)):
                with work.phases.time("write"):
                    write(work, region)
    finally:
        if workers and pending:
            workers.stop()
        pool.shutdown(wait=True, cancel_futures=True)


def _ended(pending: dict[Future[None], tuple[str, int]]) -> Iterator[Future[None]]:
    """Yield futures as they end; the caller takes each out of ``pending``."""
    while pending:
        ended, _ = wait(pending, return_when=FIRST_COMPLETED)
        yield from ended


def _elsewhere(work: Work, region: str, year: int) -> None:
    """Have a worker do one unit unless the journal holds it, and save the result."""
    if work.workers is None or work.journal.has(region, year):
        return
    context = work.context_of(region, year)
    lock = context.lock.subset([region], None)
    order = Order(
        context.recipe, lock, region, year, work.address, work.options.engine, context.memory
    )
    answer = work.workers.do(order)
    context.engine.bytes += answer.bytes_read
    answer.require()
    keep(work, region, year, UnitData(answer.arrays, answer.note))


def _in_worker(order: Order) -> Answer:
    """Do a unit in a worker: nothing is written there."""
    return carry_out(order, _made)


def _made(order: Order) -> Answer:
    sensors = recipe_sensors(order.recipe)
    engine = _engine(order.engine, order.address, sensors, order.lock)
    context = BuildContext(order.recipe, sensors, order.lock, engine, order.memory)
    with contextlib.closing(engine):
        made = kind_of(order.recipe).unit(context, order.region, order.year)
    return Answer(made.arrays, made.note, engine.bytes)


def _watched(work: Work, unit: Callable[[Work, str, int], None], region: str, year: int) -> None:
    """Do one unit and report when it begins and ends."""
    watch, begun, engine = work.options.watch, time.monotonic(), work.context.engine
    if watch is None:
        unit(work, region, year)
        return
    worker = threading.current_thread().name.rpartition("_")[2]
    watch(UnitEvent(region, year, "begun", worker, bytes_read=engine.bytes))
    state, reason = "failed", "the build was stopped"
    try:
        unit(work, region, year)
        state, reason = "done", ""
    except UnitFailed as error:
        reason = f"{error.asked}: {error.found}"
        raise
    finally:
        seconds = round(time.monotonic() - begun, 3)
        watch(UnitEvent(region, year, state, worker, seconds, engine.bytes, reason))


def _incomplete(work: Work) -> UnitFailed:
    (region, year), reason = min(work.failed.items())
    count = len(work.failed)
    return UnitFailed(
        f"building {work.out}",
        f"{count} of {len(list(work.context.lock.units()))} region-years failed, first {region} "
        f"{year}: {reason}",
        "Run the same command again, it does only what is missing; "
        "or add --allow-incomplete, and the store says what it lacks; or leave an item out with "
        "--exclude ITEM_ID and another --out",
    )
