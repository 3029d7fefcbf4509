"""What `build-dataset` and `download` do; texts go through ``say`` and ``note``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rsbench.cli.app import confirmed
from rsbench.cli.build_output import Output, Say, end, event, watching
from rsbench.core.errors import InputError, RsbenchError, unknown
from rsbench.core.io import disk_errors
from rsbench.core.progress import Advance

if TYPE_CHECKING:
    from rsbench.build.engine.options import BuildOptions, Watch
    from rsbench.build.plan.plan import Lock, PlanSummary
    from rsbench.catalog import Recipe, Region

ASK_ABOVE_HOURS = 0.1
THREADS = 2
STORES = ("zarr", "icechunk")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """The options of ``rsbench build-dataset``; see its help."""

    recipe: str | None = None
    out: Path | None = None
    provider: str | None = None
    regions: str | None = None
    years: str | None = None
    yes: bool = False
    workers: int | None = None
    dry_run: bool = False
    lock: Path | None = None
    allow_incomplete: bool = False
    as_json: bool = False
    parts: str | None = None
    finalise: bool = False
    release: Path | None = None
    scheduler: str | None = None
    store: str = "zarr"
    exclude: tuple[str, ...] = ()
    labels: str | None = None

    @property
    def part(self) -> tuple[int, int] | None:
        """The part to build; None for all."""
        return part_of(self.parts, finalise=self.finalise)


def build_command(asked: BuildRequest, *, say: Say, note: Say) -> None:
    """Plan, ask if the work is long, build, remember the store, and release it if asked."""
    from rsbench.build.engine.builder import kept_lock
    from rsbench.build.engine.icechunk import working_place
    from rsbench.build.plan.plan import Lock

    _require_consistent(asked)
    to = Output(say, note, asked.as_json, asked.release)
    given = None
    if asked.lock is not None and (asked.lock.exists() or not asked.dry_run):
        given = Lock.load(asked.lock)
    chosen = _recipe(asked.recipe, given, asked.labels)
    target = asked.out or Path(f"{chosen.name}.zarr")
    chosen = _narrow(chosen, asked.regions, asked.years)
    if given is not None:
        chosen = _as_locked(chosen, given, regions=asked.regions, years=asked.years)
    else:
        place = working_place(target) if asked.store == "icechunk" else target
        given = kept_lock(place, chosen, asked.provider)
        if given is not None:
            note(f"resuming from the search in {target}; delete the folder to search again")
    build = _build_in_parts if asked.part or asked.finalise else _build_whole
    build(chosen, target, given, asked, to)


def _recipe(name: str | None, lock: Lock | None, labels: str | None) -> Recipe:
    """Return the recipe: the one that is named, else that of the lock, else the default one.

    With ``labels``, it has this label set.

    Raises:
        InputError: if the lock was made for another recipe, or for one that is not known.
    """
    from rsbench.build.engine.build_lock import require_same
    from rsbench.build.plan.lock_recipe import recipe_in
    from rsbench.catalog import load_recipe

    recipe = recipe_in(lock) if lock and name is None else load_recipe(name or "s2-yearly")
    if labels is not None:
        from rsbench.build.kinds.labels_recipe import with_labels

        recipe = with_labels(recipe, labels)
    if lock and (name or labels):
        require_same(lock, recipe)
    return recipe


def _require_consistent(asked: BuildRequest) -> None:
    """Refuse options that contradict each other.

    Raises:
        InputError: if some do.
    """
    part = asked.part is not None
    if asked.scheduler is not None and (asked.workers or part or asked.finalise):
        raise InputError(
            "--scheduler",
            "it was given together with --workers, --parts or --finalise",
            "Choose one: processes here, a cluster, or parts",
        )
    if asked.release is not None and (part or asked.dry_run):
        raise InputError(
            "--release",
            "it was given together with --dry-run or --parts, which end without a store",
            "Add it to the build itself or to --finalise",
        )
    _require_store(asked.store, part=part or asked.finalise, release=asked.release)


def _build_whole(
    recipe: Recipe, target: Path, given: Lock | None, asked: BuildRequest, to: Output
) -> None:
    from rsbench.build.engine.build_lock import excluding
    from rsbench.build.engine.builder import build
    from rsbench.build.engine.icechunk import build_icechunk
    from rsbench.build.plan.plan import describe

    with watching(as_json=asked.as_json and not asked.dry_run, say=to.say) as (advance, watch):
        options = _options(asked, given, advance, watch)
        frozen = _search(recipe, asked.recipe, options) if given is None else given
        frozen = excluding(frozen, asked.exclude)
        summary = describe(frozen)
        _tell(summary, dry_run=asked.dry_run, to=to)
        if asked.dry_run:
            if asked.lock is not None and not asked.lock.exists():
                with disk_errors(f"writing the lock {asked.lock}", "give another --lock"):
                    frozen.save(asked.lock)
                to.note(f"the search is kept in {asked.lock}")
            return
        if summary.hours > ASK_ABOVE_HOURS and not asked.yes:
            _ask(summary)
        do = build_icechunk if asked.store == "icechunk" else build
        result = do(recipe, target, replace(options, lock=frozen))
    end(result, to)


def _options(
    asked: BuildRequest, lock: Lock | None, advance: Advance, watch: Watch
) -> BuildOptions:
    from rsbench.build.engine.options import BuildOptions

    return BuildOptions(
        lock=lock,
        provider=asked.provider,
        workers=asked.workers or THREADS,
        processes=asked.workers is not None,
        scheduler=asked.scheduler,
        allow_incomplete=asked.allow_incomplete,
        exclude=asked.exclude,
        progress=advance,
        watch=watch,
    )


def _require_store(store: str, *, part: bool, release: Path | None) -> None:
    if store not in STORES:
        raise unknown("kind of store", store, STORES)
    if store == "icechunk" and (part or release is not None):
        raise InputError(
            "--store icechunk",
            "it came with --parts, --finalise or --release, which need a plain store",
            "Leave one of them out; the digest of both kinds of store is the same",
        )


def part_of(text: str | None, *, finalise: bool) -> tuple[int, int] | None:
    """Return number and count of ``--parts i/n``; None where no part is asked for."""
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
    recipe: Recipe, target: Path, given: Lock | None, asked: BuildRequest, to: Output
) -> None:
    from rsbench.build.engine.builder import build_part, finalise_parts

    with watching(as_json=asked.as_json, say=to.say) as (advance, watch):
        options = _options(asked, given, advance, watch)
        if asked.part is not None:
            names = build_part(recipe, target, asked.part, options)
            if asked.as_json:
                to.say(event("part", path=str(target), part=list(asked.part), regions=list(names)))
            else:
                number, count = asked.part
                to.say(f"{target}  part {number} of {count}: {len(names)} regions are there")
            return
        result = finalise_parts(recipe, target, options)
    end(result, to)


def _silent(text: str) -> None:
    """Print nothing."""


def _as_locked(recipe: Recipe, lock: Lock, *, regions: str | None, years: str | None) -> Recipe:
    """Return the recipe with the lock's regions and years, where none were asked for."""
    changes: dict[str, object] = {}
    if regions is None:
        changes["regions"] = tuple(lock.places[name] for name in sorted(lock.places))
    if years is None:
        changes["years"] = (lock.years[0], lock.years[-1])
    return recipe.model_copy(update=changes)


def _search(recipe: Recipe, asked: str | None, options: BuildOptions) -> Lock:
    from rsbench.build.plan.plan import make_plan

    try:
        return make_plan(
            recipe, provider=options.provider, leaving=options.leaving, progress=options.progress
        )
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


def _tell(summary: PlanSummary, *, dry_run: bool, to: Output) -> None:
    if to.as_json:
        plan = asdict(summary)
        to.say(json.dumps(plan, indent=2) if dry_run else event("plan", **plan))
        return
    (to.say(summary.explain()) if dry_run else to.note(str(summary)))


def _ask(summary: PlanSummary) -> None:
    if not (sys.stdin and sys.stdin.isatty()):
        raise InputError(
            "build-dataset",
            f"this reads {summary.bytes / 1e9:.1f} GB in about {summary.hours:.1f} hours "
            "and needs a confirmation, which only a terminal can give",
            "Add --yes to go on, or --dry-run to look first",
        )
    if not confirmed("Go on?"):
        raise InputError("build-dataset", "it was not confirmed", "Answer y, or add --yes")


def download_command(
    source: str, *, out: Path | None, base: str | None, digest: str | None, as_json: bool,
    say: Say, note: Say = _silent,
) -> None:  # fmt: skip
    """Fetch a release, verify it, and remember its store."""
    from rsbench.build.importers.release import download

    with watching(as_json=as_json, say=say) as (advance, _):
        result = download(source, out, base=base, digest=digest, progress=advance)
    end(result, Output(say, note, as_json, table=False))
