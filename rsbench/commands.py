"""What the longer commands of the command line do; texts go through ``say`` and ``note``."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsbench.console import Advance, progress
from rsbench.errors import InputError, RsbenchError, unknown

if TYPE_CHECKING:
    from rsbench.build.importers_triplets import CoarseStated
    from rsbench.build.plan import Lock, PlanSummary
    from rsbench.catalog import Recipe, Region
    from rsbench.store.read import Store

Say = Callable[[str], None]
IMPORTERS = ("geotiff-series", "geotiff-triplets")
LATER = ("sat-jepa-diff", "cia", "lgc", "ahb")
ASK_ABOVE_HOURS = 0.1


def build_command(
    *,
    recipe: str | None,
    out: Path | None,
    provider: str | None,
    regions: str | None,
    years: str | None,
    yes: bool,
    workers: int,
    dry_run: bool,
    lock: Path | None,
    allow_incomplete: bool,
    as_json: bool,
    say: Say,
    note: Say,
    parts: str | None = None,
    finalise: bool = False,
) -> None:
    """Plan, ask where the work is long, build, and remember the store."""
    from rsbench.build.builder import build, kept_lock
    from rsbench.build.plan import Lock, describe
    from rsbench.catalog import load_recipe
    from rsbench.home import remember_store

    part = _part(parts, finalise=finalise)
    given = Lock.load(lock) if lock and (lock.exists() or not dry_run) else None
    chosen = load_recipe(recipe or (str(given.recipe["name"]) if given else "s2-yearly"))
    target = out or Path(f"{chosen.name}.zarr")
    if chosen.kind == "triplets":
        asked = {"--lock": lock, "--provider": provider, "--years": years}
        _build_triplets(chosen, target, regions, asked, dry_run=dry_run, say=say)
        return
    chosen = _narrow(chosen, regions, years)
    if given is not None:
        chosen = _as_locked(chosen, given, regions=regions, years=years)
    elif (given := kept_lock(target, chosen, provider)) is not None:
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
            say=say,
        )
        return
    with progress() as advance:
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
        result = build(
            chosen,
            target,
            lock=frozen,
            provider=provider,
            workers=workers,
            allow_incomplete=allow_incomplete,
            progress=advance,
        )
    remember_store(result.path)
    say(f"{result.path}  digest {result.digest}" + ("" if result.complete else "  INCOMPLETE"))


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
    workers: int,
    *,
    allow_incomplete: bool,
    say: Say,
) -> None:
    from rsbench.build.builder import build_part, finalise_parts
    from rsbench.home import remember_store

    with progress() as advance:
        if part is not None:
            names = build_part(
                recipe, out, part, lock=lock, provider=provider, workers=workers, progress=advance
            )
            say(f"{out}  part {part[0]} of {part[1]}: {len(names)} regions are there")
            return
        result = finalise_parts(
            recipe, out, lock=lock, allow_incomplete=allow_incomplete, progress=advance
        )
    remember_store(result.path)
    say(f"{result.path}  digest {result.digest}" + ("" if result.complete else "  INCOMPLETE"))


def _build_triplets(
    recipe: Recipe,
    target: Path,
    regions: str | None,
    asked: Mapping[str, object],
    *,
    dry_run: bool,
    say: Say,
) -> None:
    """Build a recipe of triplets; it is made from the simulated Earth without a search."""
    from rsbench.build.builder_triplets import build_triplets
    from rsbench.home import remember_store

    given = [name for name, value in asked.items() if value is not None]
    if given:
        raise InputError(
            f"build-dataset --recipe {recipe.name} with {', '.join(given)}",
            "triplets are made from the simulated Earth, without a search",
            f"Leave out {', '.join(given)}",
        )
    chosen = _narrow(recipe, regions, None)
    if dry_run:
        count = len(chosen.regions) if chosen.regions != "all" else "all"
        say(f"{recipe.name}: {count} regions, nothing to download")
        return
    with progress() as advance:
        result = build_triplets(chosen, target, progress=advance)
    remember_store(result.path)
    say(f"{result.path}  digest {result.digest}")


def _as_locked(recipe: Recipe, lock: Lock, *, regions: str | None, years: str | None) -> Recipe:
    """Return the recipe with the lock's regions and years, where none were asked for."""
    changes: dict[str, object] = {}
    if regions is None:
        changes["regions"] = tuple(lock.places[name] for name in sorted(lock.places))
    if years is None:
        changes["years"] = (lock.years[0], lock.years[-1])
    return recipe.model_copy(update=changes)


def _search(recipe: Recipe, asked: str | None, provider: str | None, advance: Advance) -> Lock:
    from rsbench.build.plan import make_plan

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
    from rsbench.build.plan import regions_of
    from rsbench.catalog import choose_regions, load_regions_geojson

    if regions.endswith(".geojson"):
        return load_regions_geojson(regions)
    return choose_regions(regions_of(recipe), regions)


def _tell(summary: PlanSummary, *, as_json: bool, dry_run: bool, say: Say, note: Say) -> None:
    from dataclasses import asdict

    if as_json:
        say(json.dumps(asdict(summary), indent=2))
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


def import_command(
    *,
    kind: str,
    source: Path,
    out: Path,
    unit: str | None,
    scale: float | None,
    offset: float | None,
    nodata: float | None,
    bands: str | None,
    dates: str | None,
    crs: str | None,
    region_size: int | None,
    coarse: CoarseStated,
    say: Say,
) -> None:
    """Import one kind of folder and remember the store."""
    if kind in LATER:
        raise InputError(
            f"import-dataset {kind}",
            "this version does not read that layout yet",
            f"It reads: {', '.join(IMPORTERS)}",
        )
    if kind not in IMPORTERS:
        raise unknown("import", kind, (*IMPORTERS, *LATER))
    from rsbench.build.importers import import_geotiff_series
    from rsbench.build.importers_triplets import import_geotiff_triplets
    from rsbench.home import remember_store

    names = tuple(b.strip() for b in bands.split(",")) if bands else None
    if kind == "geotiff-triplets":
        result = import_geotiff_triplets(
            source, out, unit=unit, scale=scale, offset=offset, nodata=nodata, bands=names,
            dates=dates, crs=crs, region_size=region_size, coarse=coarse,
        )  # fmt: skip
    else:
        _require_no_coarse(kind, coarse)
        result = import_geotiff_series(
            source, out, unit=unit, scale=scale, offset=offset, nodata=nodata, bands=names,
            dates=dates, crs=crs, region_size=region_size,
        )  # fmt: skip
    remember_store(result.path)
    say(f"{result.path}  digest {result.digest}")


def _require_no_coarse(kind: str, coarse: CoarseStated) -> None:
    from dataclasses import asdict

    given = [f"--coarse-{name}" for name, value in asdict(coarse).items() if value is not None]
    if given:
        raise InputError(
            f"import-dataset {kind} with {', '.join(given)}",
            "it has no coarse sensor",
            "Leave them out, or type geotiff-triplets",
        )


def inspect_command(path: Path, *, as_json: bool, say: Say) -> None:
    """Say what a store holds: identity, sensors, regions, splits, coverage."""
    from rsbench.store.export_coverage import coverage, picture
    from rsbench.store.read import open_store

    store = open_store(path)
    head = store_identity(store)
    if as_json:
        say(json.dumps({**head, "regions": store_coverage(store)}, indent=2))
        return
    for key, item in head.items():
        say(f"{key:10} {_plain(item)}")
    for line in picture(coverage(store)):
        say(line)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_plain(item)}" for name, item in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def export_command(path: Path, out: Path, *, region: str | None, say: Say) -> None:
    """Write GeoTIFFs into a new folder, or again into that of the same store."""
    from rsbench.store.export import export_geotiff
    from rsbench.store.read import open_store

    store = open_store(path)
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not _exported(store, out))):
        raise InputError(
            f"exporting into {out}", "something else is there already", "Choose another --out"
        )
    if out.exists():
        files = export_geotiff(store, out, region=region)
    else:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=out.absolute().parent) as aside:
            files = export_geotiff(store, Path(aside) / out.name, region=region)
            (Path(aside) / out.name).rename(out)
    say(f"{out}  {len(files)} files")


def _exported(store: Store, out: Path) -> bool:
    """Say whether a folder holds an export of this very store, whole or not."""
    note = out / "dataset.json"
    if not note.is_file():
        return all(path.name in store.regions for path in out.iterdir())
    try:
        return bool(json.loads(note.read_text(encoding="utf-8"))["digest"] == store.digest)
    except (ValueError, KeyError, TypeError):
        return False


def store_identity(store: Store) -> dict[str, Any]:
    """Return what a store is: digest, recipe, sensors, dates."""
    first = store.region(store.regions[0]).record
    return {
        "path": str(store.path),
        "digest": store.digest,
        "recipe": store.recipe,
        "simulated": store.simulated,
        "complete": store.complete,
        "sensors": {n: list(m.bands) for n, m in store.meta.sensors.items()},
        "times": [str(t) for t in first.times],
        "step": store.meta.step,
    }


def store_coverage(store: Store) -> dict[str, dict[str, Any]]:
    """Return split, valid share and dates of every region, of the first sensor."""
    from rsbench.store.export_coverage import coverage

    return {name: found.to_json() for name, found in coverage(store).items()}


def doctor_lines() -> list[str]:
    """Say versions, extras, caches and which metrics can run, one line each."""
    import importlib.metadata
    import platform

    from rsbench import __version__
    from rsbench.home import cache_dir
    from rsbench.metrics.base import metric_info

    lines = [f"rsbench {__version__}, Python {platform.python_version()}", f"cache {cache_dir()}"]
    for extra, packages in {
        "build": ("rasterio", "pystac-client", "planetary-computer", "stackstac", "xarray"),
        "models": ("torch", "lightning-fabric", "safetensors"),
        "generative": ("diffusers", "transformers", "peft", "torchvision"),
        "distributed": ("distributed",),
    }.items():
        states = []
        for package in packages:
            try:
                states.append(f"{package} {importlib.metadata.version(package)}")
            except importlib.metadata.PackageNotFoundError:
                states.append(f"{package} absent")
        lines.append(f"[{extra}] " + ", ".join(states))
    lines += [f"metric {m.id}: unavailable: {m.reason}" for m in metric_info() if not m.available]
    return lines
