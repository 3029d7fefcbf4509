"""What `build-dataset` and `download` do; texts go through ``say`` and ``note``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsbench.core.errors import InputError, RsbenchError, unknown
from rsbench.core.progress import Advance, progress_workers

if TYPE_CHECKING:
    from rsbench.build.engine.builder import BuildResult
    from rsbench.build.engine.direct import DirectBuild
    from rsbench.build.engine.options import UnitEvent, Watch
    from rsbench.build.plan.plan import Lock, PlanSummary
    from rsbench.catalog import Recipe, Region

Say = Callable[[str], None]
ASK_ABOVE_HOURS = 0.1
THREADS = 2
STORES = ("zarr", "icechunk")
EVENT_S = 0.5
"""Seconds between two progress events of one piece of work."""


def build_command(
    *,
    recipe: str | None,
    out: Path | None,
    provider: str | None,
    regions: str | None,
    years: str | None,
    yes: bool,
    workers: int | None,
    dry_run: bool,
    lock: Path | None,
    allow_incomplete: bool,
    as_json: bool,
    say: Say,
    note: Say,
    parts: str | None = None,
    finalise: bool = False,
    release: Path | None = None,
    scheduler: str | None = None,
    store: str = "zarr",
) -> None:
    """Plan, ask where the work is long, build, remember the store, and release it if asked."""
    from rsbench.build.engine.builder import build, kept_lock
    from rsbench.build.engine.direct import direct_build
    from rsbench.build.engine.icechunk import build_icechunk, working_place
    from rsbench.build.plan.plan import Lock, describe
    from rsbench.catalog import load_recipe

    part = _part(parts, finalise=finalise)
    if scheduler is not None and (workers or part or finalise):
        raise InputError(
            "--scheduler",
            "it came with --workers, --parts or --finalise",
            "Choose one: processes here, a cluster, or parts",
        )
    if release is not None and (part or dry_run):
        raise InputError(
            "--release",
            "it came with --dry-run or --parts, which end without a store",
            "Add it to the build itself or to --finalise",
        )
    _require_store(store, part=part is not None or finalise, release=release)
    given = Lock.load(lock) if lock and (lock.exists() or not dry_run) else None
    versions = store == "icechunk"
    chosen = load_recipe(recipe or (str(given.recipe["name"]) if given else "s2-yearly"))
    target = out or Path(f"{chosen.name}.zarr")
    if (direct := direct_build(chosen)) is not None:
        asked: dict[str, object] = {"--lock": lock, "--provider": provider, "--years": years}
        asked |= {"--workers": workers, "--scheduler": scheduler}
        asked |= {"--store": None if store == "zarr" else store}
        _build_directly(
            chosen,
            direct,
            target,
            regions,
            asked,
            dry_run=dry_run,
            as_json=as_json,
            release=release,
            say=say,
        )
        return
    chosen = _narrow(chosen, regions, years)
    if given is not None:
        chosen = _as_locked(chosen, given, regions=regions, years=years)
    elif given := kept_lock(working_place(target) if versions else target, chosen, provider):
        note(f"going on with the search that {target} keeps; delete the folder to search again")
    if part or finalise:
        _build_in_parts(
            chosen,
            target,
            given,
            part,
            provider,
            workers,
            allow_incomplete=allow_incomplete,
            as_json=as_json,
            release=release,
            say=say,
            note=note,
        )
        return
    with _watching(as_json=as_json and not dry_run, say=say) as (advance, watch):
        frozen = given or _search(chosen, recipe, provider, advance)
        summary = describe(frozen)
        _tell(summary, as_json=as_json, dry_run=dry_run, say=say, note=note)
        if dry_run:
            if lock is not None and not lock.exists():
                frozen.save(lock)
                note(f"the search is kept in {lock}")
            return
        if summary.hours > ASK_ABOVE_HOURS and not yes:
            _ask(summary)
        result = (build_icechunk if versions else build)(
            chosen,
            target,
            lock=frozen,
            provider=provider,
            workers=workers or THREADS,
            processes=workers is not None,
            scheduler=scheduler,
            allow_incomplete=allow_incomplete,
            progress=advance,
            watch=watch,
        )
    _end(result, as_json=as_json, release=release, say=say, note=note)


def _require_store(store: str, *, part: bool, release: Path | None) -> None:
    if store not in STORES:
        raise unknown("kind of store", store, STORES)
    if store == "icechunk" and (part or release is not None):
        raise InputError(
            "--store icechunk",
            "it came with --parts, --finalise or --release, which need a plain store",
            "Leave one of them out; the digest of both kinds of store is the same",
        )


def _part(text: str | None, *, finalise: bool) -> tuple[int, int] | None:
    if text is None:
        return None
    number, _, count = text.partition("/")
    if finalise or not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise InputError(
            "--parts",
            "it came with --finalise" if finalise else f"{text!r} is no part",
            "Write --parts 1/10 to --parts 10/10 for the parts, then --finalise by itself",
        )
    return int(number), int(count)


def _build_in_parts(
    recipe: Recipe,
    out: Path,
    lock: Lock | None,
    part: tuple[int, int] | None,
    provider: str | None,
    workers: int | None,
    *,
    allow_incomplete: bool,
    as_json: bool,
    release: Path | None,
    say: Say,
    note: Say,
) -> None:
    from rsbench.build.engine.builder import build_part, finalise_parts

    with _watching(as_json=as_json, say=say) as (advance, watch):
        if part is not None:
            names = build_part(
                recipe,
                out,
                part,
                lock=lock,
                provider=provider,
                workers=workers or THREADS,
                processes=workers is not None,
                progress=advance,
                watch=watch,
            )
            if as_json:
                say(_event("part", path=str(out), part=list(part), regions=list(names)))
            else:
                say(f"{out}  part {part[0]} of {part[1]}: {len(names)} regions are there")
            return
        result = finalise_parts(
            recipe, out, lock=lock, allow_incomplete=allow_incomplete, progress=advance
        )
    _end(result, as_json=as_json, release=release, say=say, note=note)


def _build_directly(
    recipe: Recipe,
    direct: DirectBuild,
    target: Path,
    regions: str | None,
    asked: Mapping[str, object],
    *,
    dry_run: bool,
    as_json: bool,
    release: Path | None,
    say: Say,
) -> None:
    """Build a recipe that needs no search."""
    given = [name for name, value in asked.items() if value is not None]
    if given:
        raise InputError(
            f"build-dataset --recipe {recipe.name} with {', '.join(given)}",
            "it is made from the simulated Earth, without a search",
            f"Leave out {', '.join(given)}",
        )
    chosen = _narrow(recipe, regions, None)
    if dry_run:
        count = len(chosen.regions) if chosen.regions != "all" else "all"
        say(f"{recipe.name}: {count} regions, nothing to download")
        return
    with _watching(as_json=as_json, say=say) as (advance, _):
        result = direct(chosen, target, advance)
    _end(result, as_json=as_json, release=release, say=say, note=lambda text: None)


def _as_locked(recipe: Recipe, lock: Lock, *, regions: str | None, years: str | None) -> Recipe:
    """Return the recipe with the lock's regions and years, where none were asked for."""
    changes: dict[str, object] = {}
    if regions is None:
        changes["regions"] = tuple(lock.places[name] for name in sorted(lock.places))
    if years is None:
        changes["years"] = (lock.years[0], lock.years[-1])
    return recipe.model_copy(update=changes)


def _search(recipe: Recipe, asked: str | None, provider: str | None, advance: Advance) -> Lock:
    from rsbench.build.plan.plan import make_plan

    try:
        return make_plan(recipe, provider=provider, progress=advance)
    except RsbenchError:
        raise
    except OSError as error:
        if error.errno is not None:  # of this machine, not of the catalogue
            raise
        said = "build-dataset" + ("" if asked else f" without --recipe, which means {recipe.name}")
        raise InputError(
            said,
            f"{error}",
            "Try again later or name another --provider; offline, type: "
            "rsbench build-dataset --recipe demo",
        ) from error


def _narrow(recipe: Recipe, regions: str | None, years: str | None) -> Recipe:
    changes: dict[str, object] = {}
    if years is not None:
        first, _, last = years.partition("-")
        if not (first.isdigit() and (last or first).isdigit()):
            raise InputError("--years", f"{years!r} is no range", "Write it as 2017-2024")
        changes["years"] = (int(first), int(last or first))
    if regions is not None:
        changes["regions"] = _pick(recipe, regions)
    return recipe.model_copy(update=changes) if changes else recipe


def _pick(recipe: Recipe, regions: str) -> tuple[Region, ...]:
    from rsbench.build.plan.plan import regions_of
    from rsbench.catalog import choose_regions, load_regions_geojson

    if regions.endswith(".geojson"):
        return load_regions_geojson(regions)
    return choose_regions(regions_of(recipe), regions)


def _tell(summary: PlanSummary, *, as_json: bool, dry_run: bool, say: Say, note: Say) -> None:
    if as_json:
        plan = asdict(summary)
        say(json.dumps(plan, indent=2) if dry_run else _event("plan", **plan))
        return
    (say(summary.explain()) if dry_run else note(str(summary)))


def _ask(summary: PlanSummary) -> None:
    if not sys.stdin.isatty():
        raise InputError(
            "build-dataset",
            f"this reads {summary.bytes / 1e9:.1f} GB in about {summary.hours:.1f} hours "
            "and nobody is here to ask",
            "Add --yes to go on, or --dry-run to look first",
        )
    import typer

    typer.confirm("Go on?", abort=True, err=True)


# What is seen meanwhile and at the end ---------------------------------------------------


def _event(kind: str, **values: Any) -> str:
    """Return one event as a line of JSON."""
    return json.dumps({"event": kind, **values}, ensure_ascii=False)


@contextmanager
def _watching(*, as_json: bool, say: Say) -> Iterator[tuple[Advance, Watch]]:
    """Yield who is told of progress: a terminal's bars and lines, or events for a machine."""
    if as_json:
        yield _events(say)
        return
    with progress_workers() as (advance, show):
        yield advance, _Lines(show)


def _events(say: Say) -> tuple[Advance, Watch]:
    last: dict[str, float] = {}

    def advance(label: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - last.get(label, -EVENT_S) < EVENT_S:
            return
        last[label] = now
        say(_event("progress", label=label, done=done, total=total))

    def watch(unit: UnitEvent) -> None:
        say(_event("unit", **asdict(unit)))

    return advance, watch


class _Lines:
    """One line per worker, and one with the rate of reading and the units that failed."""

    def __init__(self, show: Callable[[str, str], None]) -> None:
        self._show = show
        self._begun = time.monotonic()
        self._failed = 0

    def __call__(self, unit: UnitEvent) -> None:
        self._failed += unit.state == "failed"
        busy = unit.state == "begun"
        self._show(unit.worker, f"{unit.region} {unit.year}" if busy else "")
        rate = unit.bytes_read / max(1e-3, time.monotonic() - self._begun)
        self._show("~", f"{rate / 1e6:.0f} MB/s of pixels, {self._failed} region-years failed")


def _end(result: BuildResult, *, as_json: bool, release: Path | None, say: Say, note: Say) -> None:
    """Remember the store, release it if asked, and sum up."""
    from rsbench.core.paths import remember_store
    from rsbench.store.export.release import write_release

    remember_store(result.path)
    if not as_json:
        for line in _table(result):
            note(line)
    if release is not None:
        made = write_release(result.path, release)
        said = f"{release}  release {made.name}@{made.version}, {len(made.files)} files"
        note(f"{said}, {made.bytes / 1e6:.1f} MB")
    if as_json:
        failed = [asdict(unit) for unit in result.failed]
        say(
            _event(
                "done",
                path=str(result.path),
                digest=result.digest,
                complete=result.complete,
                failed=failed,
                release=None if release is None else str(release),
            )
        )
        return
    say(f"{result.path}  digest {result.digest}" + ("" if result.complete else "  INCOMPLETE"))


def _table(result: BuildResult) -> Iterator[str]:
    """Sum up a store by split: regions, region-dates, what failed, the share of valid pixels."""
    from rsbench.store.export.coverage import coverage
    from rsbench.store.layout import SPLITS
    from rsbench.store.read import open_store

    found = coverage(open_store(result.path))
    yield f"{'split':8}{'regions':>9}{'dates':>8}{'failed':>8}{'valid':>9}"
    for split in SPLITS:
        names = [name for name, entry in found.items() if entry.split == split]
        if not names:
            continue
        dates = sum(len(found[name].dates) for name in names)
        failed = sum(unit.region in names for unit in result.failed)
        valid = sum(found[name].mean for name in names) / len(names)
        yield f"{split:8}{len(names):9}{dates:8}{failed:8}{valid:9.1%}"
    for unit in result.failed:
        yield f"failed: {unit.region} {unit.year}: {unit.reason}"


def download_command(
    source: str,
    *,
    out: Path | None,
    base: str | None,
    digest: str | None,
    as_json: bool,
    say: Say,
) -> None:
    """Fetch a release, verify it, and remember its store."""
    from rsbench.build.importers.release import download

    with _watching(as_json=as_json, say=say) as (advance, _):
        result = download(source, out, base=base, digest=digest, progress=advance)
    _end(result, as_json=as_json, release=None, say=say, note=lambda text: None)
