"""The commands. Heavy libraries are imported inside the command that needs them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rsbench.cli import lists as cli_lists
from rsbench.cli import submissions as cli_outside
from rsbench.cli.app import (
    Force,
    Json,
    Metrics,
    Suite,
    app,
    dump,
    lock_app,
    note,
    quiet,
    say,
)
from rsbench.cli.exit_codes import run_app
from rsbench.cli.imports import ImportCommand, import_command
from rsbench.core.errors import InputError


def main() -> None:
    """Run the command line."""
    sys.exit(run_app())


# ------------------------------------------------------------------------------- building


@app.command("build-dataset")
def build_dataset(
    recipe: Annotated[str | None, typer.Option(help="Name or file of a recipe.")] = None,
    out: Annotated[Path | None, typer.Option(help="Path of the new store.")] = None,
    provider: Annotated[
        str | None, typer.Option(help="planetary-computer, earth-search, a STAC API or a folder.")
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
        bool, typer.Option("--allow-incomplete", help="Finish although units failed.")
    ] = False,
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
        recipe=recipe,
        out=out,
        provider=provider,
        regions=regions,
        years=years,
        yes=yes,
        workers=workers,
        scheduler=scheduler,
        store=store,
        dry_run=dry_run,
        lock=lock,
        parts=parts,
        finalise=finalise,
        allow_incomplete=allow_incomplete,
        release=release,
        as_json=as_json,
    )
    build_command(asked, say=say, note=note)


@app.command()
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

    download_command(source, out=out, base=base, digest=digest, as_json=as_json, say=say)


@app.command("import-dataset", cls=ImportCommand)
def import_dataset(
    importer: Annotated[str, typer.Argument(help="An importer, see below.")],
    source: Annotated[Path, typer.Argument(help="The folder to import.")],
    out: Annotated[Path, typer.Option(help="Where the store goes.")],
    unit: Annotated[str | None, typer.Option(help="reflectance, kelvin or display.")] = None,
    scale: Annotated[float | None, typer.Option(help="value = stored·scale + offset.")] = None,
    offset: Annotated[float | None, typer.Option(help="value = stored·scale + offset.")] = None,
    nodata: Annotated[float | None, typer.Option(help="The stored value without data.")] = None,
    bands: Annotated[str | None, typer.Option(help="Band names with commas, in order.")] = None,
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
    split: Annotated[
        str | None, typer.Option(help="Of sat-jepa-diff: space, time or published.")
    ] = None,
) -> None:
    """Import dated images as a store; units are stated, never guessed."""
    from rsbench.build.importers.api import ImportOptions

    options = ImportOptions(
        unit=unit,
        scale=scale,
        offset=offset,
        nodata=nodata,
        bands=tuple(band.strip() for band in bands.split(",")) if bands else None,
        dates=dates,
        crs=crs,
        region_size=region_size,
        value_range=value_range,
        coarse_scale=coarse_scale,
        coarse_offset=coarse_offset,
        coarse_nodata=coarse_nodata,
        coarse_gsd=coarse_gsd,
        split=split,
    )
    import_command(importer, source, out, options, say=say, note=note)


@app.command()
def inspect(
    store: Annotated[Path, typer.Argument(help="Path of a store.")],
    as_json: Json = False,
) -> None:
    """Print a summary of a store."""
    from rsbench.cli.commands import inspect_command

    inspect_command(store, as_json=as_json, say=say)


@app.command()
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
        note(str(finding))
    if findings:
        raise typer.Exit(1)
    if not as_json:
        say(f"{store}: all files and digests are correct")


@app.command()
def export(
    store: Annotated[Path, typer.Argument(help="Path of a store.")],
    out: Annotated[Path, typer.Option(help="Output folder.")],
    region: Annotated[str | None, typer.Option(help="Export this region only.")] = None,
) -> None:
    """Export a store as GeoTIFFs."""
    from rsbench.cli.commands import export_command

    export_command(store, out, region=region, say=say)


@lock_app.command("diff")
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


# -------------------------------------------------------------------------------- running

ModelName = Annotated[str, typer.Option("--model", help="Name of a model, see `rsbench models`.")]
Preset = Annotated[str | None, typer.Option(help="Preset of the model.")]
Data = Annotated[Path | None, typer.Option("--data", help="Path of a store.")]
ProtocolName = Annotated[str | None, typer.Option("--protocol", help="Name or file of a protocol.")]
Context = Annotated[str | None, typer.Option(help="Number of context frames, or `all`.")]
Seed = Annotated[int, typer.Option(help="Random seed for training and sampling.")]
Device = Annotated[str, typer.Option(help="Device: auto, cpu, cuda …")]
Precision = Annotated[str, typer.Option(help="Precision: 32-true, bf16-mixed …")]
Option = Annotated[
    list[str] | None,
    typer.Option("--option", help="Model option NAME=VALUE, e.g. sampler=sjd-fm; repeatable."),
]


@app.command()
def train(
    model: ModelName,
    preset: Preset = None,
    option: Option = None,
    data: Data = None,
    protocol: ProtocolName = None,
    context: Context = None,
    budget: Annotated[str | None, typer.Option(help="2000steps or 10min.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Number of devices that share a batch.")] = 1,
    precision: Precision = "32-true",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Most samples at once; gradients accumulate.")
    ] = None,
    augment: Annotated[
        str | None, typer.Option(help="Any of flips,rotations,mixup,cutmix. Default: none.")
    ] = None,
    ema: Annotated[float, typer.Option(help="Decay of averaged weights, e.g. 0.999.")] = 0.0,
    channels_last: Annotated[
        bool, typer.Option("--channels-last", help="Use the channels-last memory layout.")
    ] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="Use torch.compile.")] = False,
    tf32: Annotated[
        bool, typer.Option("--tf32", help="Allow TF32 matrix products on a GPU.")
    ] = False,
) -> None:
    """Train a model on the training split of a store. `run` finds the checkpoint."""
    from rsbench.core.progress import progress
    from rsbench.evaluation.run import RunRequest, train_model
    from rsbench.models.registry import parse_option
    from rsbench.training.launch import is_first_rank
    from rsbench.training.options import Options

    options = Options(
        augment=tuple(name.strip() for name in augment.split(",")) if augment else (),
        ema=ema,
        channels_last=channels_last,
        compile="inductor" if compiled else "",
        tf32=tf32,
    )
    request = RunRequest(
        model=model,
        preset=preset,
        data=data,
        protocol=protocol,
        context=context,
        seed=seed,
        device=device,
        precision=precision,
        budget=budget,
        options=dict(map(parse_option, option or ())),
    )
    tell = note if is_first_rank() else quiet
    with progress() as advance:
        result = train_model(
            request, devices=devices, batch_size=batch_size, options=options, note=tell,
            advance=advance,
        )  # fmt: skip
    if is_first_rank():
        say(str(result))


@app.command()
def run(
    model: ModelName,
    preset: Preset = None,
    option: Option = None,
    data: Data = None,
    protocol: ProtocolName = None,
    context: Context = None,
    horizon: Annotated[int | None, typer.Option(help="Number of lead times to predict.")] = None,
    members: Annotated[int, typer.Option(min=1, help="Number of ensemble members.")] = 1,
    split: Annotated[str, typer.Option(help="Split: test, val or train.")] = "test",
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "32-true",
    checkpoint: Annotated[Path | None, typer.Option(help="A checkpoint folder.")] = None,
    suite: Suite = None,
    metrics: Metrics = None,
    budget: Annotated[str | None, typer.Option(help="If it must train: 2000steps, 10min.")] = None,
    keep_predictions: Annotated[str, typer.Option(help="none, viewer or all.")] = "viewer",
    out: Annotated[Path | None, typer.Option(help="Output folder.")] = None,
) -> None:
    """Score a model beside the reference models; write table, scores and report."""
    from rsbench.core.progress import progress
    from rsbench.evaluation.run import RunRequest, run_model
    from rsbench.models.registry import parse_option

    request = RunRequest(
        model=model,
        preset=preset,
        data=data,
        protocol=protocol,
        context=context,
        horizon=horizon,
        members=members,
        split=split,
        seed=seed,
        device=device,
        precision=precision,
        checkpoint=checkpoint,
        suite=suite,
        metrics=metrics,
        budget=budget,
        options=dict(map(parse_option, option or ())),
        keep=keep_predictions,
        out=out,
        command="rsbench " + " ".join(sys.argv[1:]),
    )
    with progress() as advance:
        result = run_model(request, note=note, advance=advance)
    say(result.summary())
    say(f"report: {result.out / 'report.html'}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("demo"),
    seed: Seed = 0,
) -> None:
    """Build a simulated dataset, train a small model, score it, write a report."""
    from rsbench.cli.demo import run_demo
    from rsbench.core.progress import progress

    with progress() as advance:
        report_path = run_demo(out, seed=seed, note=note, advance=advance)
    say(f"report: {report_path}")


@app.command()
def contract(
    model: Annotated[str, typer.Argument(help="Name of a model, see `rsbench models`.")],
    preset: Preset = None,
) -> None:
    """Run the contract tests that every model must pass."""
    from rsbench.models.registry import card

    card(model)  # refuses an unknown name before heavy imports
    from rsbench.models.contract import run_contract

    results = run_contract(model, preset)
    for result in results:
        say(str(result))
    if not all(result.passed for result in results):
        raise typer.Exit(1)


# -------------------------------------------------------------------------------- results


@app.command()
def check(
    result: Annotated[Path, typer.Argument(help="Run folder or table.")],
    against: Annotated[Path, typer.Option(help="Run folder, table or expected.toml.")],
    write: Annotated[
        bool, typer.Option("--write", help="Write the values of the run to --against.")
    ] = False,
    repeat: Annotated[
        list[Path] | None,
        typer.Option(help="With --write: runs with other seeds, for the spread of training."),
    ] = None,
) -> None:
    """Gate: exit code 0 pass, 1 regressed, 2 bad input, 3 incomparable, 70 internal error."""
    from rsbench.evaluation.gate import check as check_result

    if write:
        from rsbench.evaluation.gate.expected import write_expected
        from rsbench.evaluation.scores import Scores

        others = [Scores.load(path) for path in repeat or ()]
        rows = write_expected(Scores.load(result), against, repeats=others)
        say(f"{against}: wrote {rows} expected rows; review them before you commit the file")
        return
    outcome = check_result(result, against)
    for line in outcome.lines:
        say(line)
    raise typer.Exit(outcome.exit_code)


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(help="Run folder or table.")],
    run_b: Annotated[Path, typer.Argument(help="Second run folder or table.")],
) -> None:
    """Compare two runs row by row, with paired intervals over regions."""
    from rsbench.evaluation.gate import compare as compare_runs

    for line in compare_runs(run_a, run_b):
        say(line)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    published: Annotated[
        list[str] | None,
        typer.Option(help="Published table to show beside the runs, e.g. sat-jepa-diff."),
    ] = None,
    force: Force = False,
) -> None:
    """Write the HTML report of one or more runs."""
    from rsbench.evaluation.report import write_report

    write_report(runs, out, force=force, published=published or ())
    say(str(out))


@app.command()
def table(
    runs: Annotated[list[Path], typer.Argument(help="Run folders or tables.")],
    latex: Annotated[bool, typer.Option("--latex", help="LaTeX.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Markdown (default).")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV, all columns.")] = False,
    bibtex: Annotated[bool, typer.Option("--bibtex", help="BibTeX, of run folders only.")] = False,
    methods: Annotated[
        bool, typer.Option("--methods", help="A methods paragraph, of run folders only.")
    ] = False,
) -> None:
    """Print the table of one or more runs, or text for a paper."""
    from rsbench.evaluation.table import (
        load_scores,
        load_tables,
        supported_best,
        to_csv,
        to_latex,
        to_markdown,
    )

    if latex + markdown + csv + bibtex + methods > 1:
        raise InputError("rsbench table", "more than one format", "Give one of them")
    if bibtex or methods:
        from rsbench.evaluation.report import boards, paper

        board = paper.one_board(boards(list(dict.fromkeys(runs))))
        say((paper.bibtex if bibtex else paper.methods)(board))
        return
    frame = load_tables(runs)
    if csv:
        say(to_csv(frame))
        return
    scores = load_scores(runs)
    best = supported_best(scores[0]) if len(runs) == len(scores) == 1 else frozenset()
    say((to_latex if latex else to_markdown)(frame, best=best, scores=scores))


cli_outside.register()
cli_lists.register()

if __name__ == "__main__":
    main()
