"""Commands that build, download, import, inspect, check and export datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rsbench.cli.app import Json, alert, app, dump, lock_app, note, say
from rsbench.cli.imports import ImportCommand, describe_command, import_command


def build_dataset(
    recipe: Annotated[str | None, typer.Option(help="Name or file of a recipe.")] = None,
    out: Annotated[Path | None, typer.Option(help="Path of the new store.")] = None,
    provider: Annotated[
        str | None,
        typer.Option(help="planetary-computer, earth-search, a STAC API, a folder or a .json."),
    ] = None,
    regions: Annotated[
        str | None, typer.Option(help="A number, names separated by commas, or a .geojson file.")
    ] = None,
    years: Annotated[str | None, typer.Option(help="First and last year, e.g. 2017-2024.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Start a long build without asking.")] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of build processes. Default: two threads."),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Build on a dask cluster, e.g. tcp://host:8786.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    lock: Annotated[
        Path | None,
        typer.Option(help="Build from this lock, no search; with --dry-run, write it here."),
    ] = None,
    parts: Annotated[
        str | None, typer.Option(help="Build one part, e.g. 3/10. Run --finalise after the last.")
    ] = None,
    finalise: Annotated[
        bool, typer.Option("--finalise", help="Write the store from its finished parts.")
    ] = False,
    store: Annotated[
        str, typer.Option(help="zarr, or icechunk (repository of versions, opened as PATH@TAG).")
    ] = "zarr",
    allow_incomplete: Annotated[
        bool, typer.Option("--allow-incomplete", help="Finish without units and items that fail.")
    ] = False,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="ITEM_ID", help="Leave out an item of the catalogue; repeatable."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Label set beside the images of pairs or a series."),
    ] = None,
    release: Annotated[
        Path | None,
        typer.Option(help="Also write a folder for publication in an archive or data hub."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print events as JSON, one per line.")
    ] = False,
) -> None:
    """Build a dataset: search, lock, read, mask, composite, store."""
    from rsbench.cli.build import BuildRequest, build_command

    asked = BuildRequest(
        recipe=recipe, out=out, provider=provider, regions=regions, years=years, yes=yes,
        workers=workers, scheduler=scheduler, store=store, dry_run=dry_run, lock=lock, parts=parts,
        finalise=finalise, allow_incomplete=allow_incomplete, release=release, as_json=as_json,
        exclude=tuple(exclude or ()), labels=labels,
    )  # fmt: skip
    build_command(asked, say=say, note=note)


def download(
    source: Annotated[str, typer.Argument(help="NAME@VERSION, an http(s) URL or a folder.")],
    out: Annotated[Path | None, typer.Option(help="New store, default NAME.zarr.")] = None,
    base: Annotated[
        str | None, typer.Option("--from", help="Address of releases; or RSBENCH_RELEASES.")
    ] = None,
    digest: Annotated[
        str | None, typer.Option(help="Expected digest of the store, or its beginning.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Download a released dataset and verify its digest."""
    from rsbench.cli.build import download_command

    download_command(source, out=out, base=base, digest=digest, as_json=as_json, say=say, note=note)


def import_dataset(
    importer: Annotated[str, typer.Argument(help="An importer, see below.")],
    source: Annotated[Path, typer.Argument(help="The folder to import.")],
    out: Annotated[Path, typer.Option(help="Where the store goes.")],
    unit: Annotated[str | None, typer.Option(help="reflectance, kelvin, display or index.")] = None,
    scale: Annotated[float | None, typer.Option(help="value = stored·scale + offset.")] = None,
    offset: Annotated[float | None, typer.Option(help="value = stored·scale + offset.")] = None,
    nodata: Annotated[float | None, typer.Option(help="The stored value without data.")] = None,
    bands: Annotated[
        str | None,
        typer.Option(help="Band names with commas: the files' own, or new ones in their order."),
    ] = None,
    rgb: Annotated[
        str | None,
        typer.Option(help="Bands shown as red, green, blue: needed if names do not say."),
    ] = None,
    dates: Annotated[str | None, typer.Option(help="A pattern, or a CSV of file,date.")] = None,
    crs: Annotated[str | None, typer.Option(help="EPSG code, where the files have none.")] = None,
    region_size: Annotated[int | None, typer.Option(help="Side of a region in pixels.")] = None,
    value_range: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Lowest and highest value, where neither unit nor files say."),
    ] = None,
    coarse_scale: Annotated[float | None, typer.Option(help="Scale of coarse images.")] = None,
    coarse_offset: Annotated[float | None, typer.Option(help="Offset of coarse images.")] = None,
    coarse_nodata: Annotated[float | None, typer.Option(help="Nodata of coarse images.")] = None,
    coarse_gsd: Annotated[
        float | None, typer.Option(help="Metres that a coarse pixel measures, if resampled.")
    ] = None,
    coarse_resampling: Annotated[
        str | None, typer.Option(help="Bring coarse images onto the fine grid: nearest.")
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="What names say, e.g. '{region}/{date}_{band}.tif'.")
    ] = None,
    gsd: Annotated[
        float | None, typer.Option(help="Metres per pixel, where files have no place.")
    ] = None,
    dates_in_file: Annotated[
        str | None,
        typer.Option(help="Dates of files with several: names (of bands), 1m, or a list."),
    ] = None,
    offset_from: Annotated[
        tuple[str, float] | None,
        typer.Option(help="DATE and offset of files from it on: 2022-01-25 -0.1 (Sentinel-2)."),
    ] = None,
    mask: Annotated[
        str | None, typer.Option(help="How names of mask files end, e.g. _mask.")
    ] = None,
    mask_valid: Annotated[
        str | None, typer.Option(help="Numbers of mask files that mean valid, e.g. 0,4-7.")
    ] = None,
    origin_tolerance: Annotated[
        float | None, typer.Option(help="Most pixels that origins of one grid lie apart, below 1.")
    ] = None,
    step: Annotated[
        str | None, typer.Option(help="Make irregular dates regular: 16d, 1m, 1y.")
    ] = None,
    composite: Annotated[
        str | None, typer.Option(help="With --step: nearest (default) or median.")
    ] = None,
    clear: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least valid share of a fine image (0.9).")
    ] = None,
    coarse_clear: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least valid share of a coarse image (0.5).")
    ] = None,
    correlation: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Least correlation of fine and coarse; -1 for any."),
    ] = None,
    shift: Annotated[
        float | None, typer.Option(min=0, help="Most coarse pixels that fine and coarse lie apart.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="test: test on the whole; of sat-jepa-diff space, time or published."),
    ] = None,
    coarse_unit: Annotated[
        str | None, typer.Option(help="Unit of coarse images, where it is their own (pairs).")
    ] = None,
    coarse_bands: Annotated[
        str | None, typer.Option(help="Band names of coarse images, where these are their own.")
    ] = None,
    coarse_value_range: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="<lo> <hi>", help="Lowest and highest value of coarse images."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Label set of the label rasters: a name, or a .yaml file.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what each file is taken for and stop.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Import dated images as a store; units are stated, never guessed."""
    from rsbench.build.importers.api import ImportOptions

    options = ImportOptions(
        unit=unit, scale=scale, offset=offset, nodata=nodata,
        bands=_names(bands), rgb=_names(rgb), dates=dates, coarse_unit=coarse_unit,
        coarse_bands=_names(coarse_bands), coarse_value_range=coarse_value_range, labels=labels,
        crs=crs, region_size=region_size, value_range=value_range, coarse_scale=coarse_scale,
        coarse_offset=coarse_offset, coarse_nodata=coarse_nodata, coarse_gsd=coarse_gsd,
        coarse_resampling=coarse_resampling, layout=layout, gsd=gsd,
        dates_in_file=dates_in_file, offset_from=offset_from,
        mask=mask, mask_valid=mask_valid, origin_tolerance=origin_tolerance, step=step,
        composite=composite, clear=clear, coarse_clear=coarse_clear, correlation=correlation,
        shift=shift, split=split,
    )  # fmt: skip
    if dry_run:
        describe_command(importer, source, out, options, as_json=as_json, say=say)
    else:
        import_command(importer, source, out, options, as_json=as_json, say=say, note=note)


def _names(text: str | None) -> tuple[str, ...] | None:
    """Return the names in a text, separated by commas; None for no text."""
    return tuple(name.strip() for name in text.split(",")) if text else None


def inspect(
    store: Annotated[Path, typer.Argument(help="Path of a store.")],
    as_json: Json = False,
) -> None:
    """Print a summary of a store."""
    from rsbench.cli.commands import inspect_command

    inspect_command(store, as_json=as_json, say=say)


def validate(
    store: Annotated[Path, typer.Argument(help="Path of a store.")],
    as_json: Json = False,
) -> None:
    """Check all files of a store against its manifests and digests."""
    from rsbench.store.read import open_store

    findings = open_store(store).validate()
    if as_json:
        dump([str(finding) for finding in findings])
    for finding in [] if as_json else findings:
        alert(str(finding))
    if findings:
        raise typer.Exit(1)
    if not as_json:
        say(f"{store}: all files and digests are correct")


def add_texts(
    store: Annotated[Path, typer.Argument(help="Path of a store.")],
    texts: Annotated[Path, typer.Argument(help="CSV file with the columns region,date,text.")],
    out: Annotated[Path, typer.Option(help="Folder of the new store.")],
) -> None:
    """Write a copy of a store that holds descriptions of its images."""
    from rsbench.cli.commands import add_texts_command

    add_texts_command(store, texts, out, say=say)


def export(
    store: Annotated[Path, typer.Argument(help="Path of a store.")],
    out: Annotated[Path, typer.Option(help="Output folder.")],
    region: Annotated[str | None, typer.Option(help="Export this region only.")] = None,
) -> None:
    """Export a store as GeoTIFFs."""
    from rsbench.cli.commands import export_command

    export_command(store, out, region=region, say=say)


def lock_diff(
    a: Annotated[Path, typer.Argument(help="Lock file of a store.")],
    b: Annotated[Path, typer.Argument(help="Second lock file.")],
) -> None:
    """Print the differences between two locks; exit code 1 if there are any."""
    from rsbench.build.plan.plan import Lock, diff

    lines = diff(Lock.load(a), Lock.load(b))
    for line in lines:
        say(str(line))
    if lines:
        raise typer.Exit(1)
    say("the locks are equal")


def register() -> None:
    """Register the commands of this module."""
    app.command("build-dataset")(build_dataset)
    app.command()(download)
    app.command("import-dataset", cls=ImportCommand)(import_dataset)
    for command in (inspect, validate, add_texts, export):
        app.command()(command)
    lock_app.command("diff")(lock_diff)
