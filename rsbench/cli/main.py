"""The command line. Heavy libraries are imported inside the command that needs them."""

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
from rsbench.core.errors import InputError


def main() -> None:
    """Run the command line."""
    sys.exit(run_app())


# ------------------------------------------------------------------------------- building


@app.command("build-dataset")
def build_dataset(
    recipe: Annotated[str | None, typer.Option(help="Recipe name or file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the store goes.")] = None,
    provider: Annotated[
        str | None, typer.Option(help="planetary-computer, earth-search, a STAC URL or a folder.")
    ] = None,
    regions: Annotated[
        str | None, typer.Option(help="How many, names with commas, or a .geojson.")
    ] = None,
    years: Annotated[str | None, typer.Option(help="First and last year, as 2017-2024.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a long build.")] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Build in so many processes; else in two threads."),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Build with a dask cluster, as tcp://host:8786.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be read.")] = False,
    lock: Annotated[
        Path | None,
        typer.Option(help="Rebuild from this lock, no search; with --dry-run, write it there."),
    ] = None,
    parts: Annotated[
        str | None, typer.Option(help="Build one part, as 3/10; then --finalise.")
    ] = None,
    finalise: Annotated[
        bool, typer.Option("--finalise", help="End a build whose parts are done.")
    ] = False,
    store: Annotated[
        str, typer.Option(help="zarr, or icechunk: a repository of versions, read as PATH@TAG.")
    ] = "zarr",
    allow_incomplete: Annotated[
        bool, typer.Option("--allow-incomplete", help="Finish though units failed, and say so.")
    ] = False,
    release: Annotated[
        Path | None,
        typer.Option(help="Also write a folder ready for an archive or a data hub."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print events, one JSON per line.")
    ] = False,
) -> None:
    """Search, lock, read, mask, compose and store a dataset."""
    from rsbench.cli.build import build_command

    build_command(
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
        say=say,
        note=note,
    )


@app.command()
def download(
    source: Annotated[str, typer.Argument(help="NAME@VERSION, an http(s) address or a folder.")],
    out: Annotated[Path | None, typer.Option(help="Where the store goes; NAME.zarr.")] = None,
    base: Annotated[
        str | None, typer.Option("--from", help="Where releases lie; or RSBENCH_RELEASES.")
    ] = None,
    digest: Annotated[
        str | None, typer.Option(help="The digest, or its beginning, that must come out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch a released dataset and verify its digest."""
    from rsbench.cli.build import download_command

    download_command(source, out=out, base=base, digest=digest, as_json=as_json, say=say)


@app.command("import-dataset")
def import_dataset(
    kind: Annotated[
        str,
        typer.Argument(help="geotiff-series, geotiff-triplets, sat-jepa-diff, cia, lgc or ahb."),
    ],
    source: Annotated[Path, typer.Argument(help="The folder to bring in.")],
    out: Annotated[Path, typer.Option(help="Where the store goes.")],
    unit: Annotated[str | None, typer.Option(help="reflectance, kelvin or display.")] = None,
    scale: Annotated[float | None, typer.Option(help="value = stored·scale + offset.")] = None,
    offset: Annotated[float | None, typer.Option(help="value = stored·scale + offset.")] = None,
    nodata: Annotated[float | None, typer.Option(help="The stored value without data.")] = None,
    bands: Annotated[str | None, typer.Option(help="Band names with commas, in order.")] = None,
    dates: Annotated[str | None, typer.Option(help="A pattern, or a CSV of file,date.")] = None,
    crs: Annotated[str | None, typer.Option(help="EPSG code, where the files have none.")] = None,
    region_size: Annotated[int | None, typer.Option(help="Side of a region in pixels.")] = None,
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
    """Bring a folder of dated images in as a store; units are stated, never guessed."""
    from rsbench.build.importers.geotiff_triplets import CoarseStated
    from rsbench.cli.commands import import_command

    import_command(
        kind=kind,
        source=source,
        out=out,
        unit=unit,
        scale=scale,
        offset=offset,
        nodata=nodata,
        bands=bands,
        dates=dates,
        crs=crs,
        region_size=region_size,
        coarse=CoarseStated(coarse_scale, coarse_offset, coarse_nodata, coarse_gsd),
        split=split,
        say=say,
    )


@app.command()
def inspect(
    store: Annotated[Path, typer.Argument(help="A store.")],
    as_json: Json = False,
) -> None:
    """Say what a store holds."""
    from rsbench.cli.commands import inspect_command

    inspect_command(store, as_json=as_json, say=say)


@app.command()
def validate(
    store: Annotated[Path, typer.Argument(help="A store.")],
    as_json: Json = False,
) -> None:
    """Check every byte of a store against its manifest and digests."""
    from rsbench.store.read import open_store

    findings = open_store(store).validate()
    if as_json:
        dump([str(finding) for finding in findings])
    for finding in [] if as_json else findings:
        note(str(finding))
    if findings:
        raise typer.Exit(1)
    if not as_json:
        say(f"{store}: every file and digest is as written")


@app.command()
def export(
    store: Annotated[Path, typer.Argument(help="A store.")],
    out: Annotated[Path, typer.Option(help="A folder for the GeoTIFFs.")],
    region: Annotated[str | None, typer.Option(help="One region only.")] = None,
) -> None:
    """Write a store as GeoTIFFs."""
    from rsbench.cli.commands import export_command

    export_command(store, out, region=region, say=say)


@lock_app.command("diff")
def lock_diff(
    a: Annotated[Path, typer.Argument(help="A lock, as build-dataset leaves it.")],
    b: Annotated[Path, typer.Argument(help="Another.")],
) -> None:
    """Say how two locks differ; exits 1 if they do."""
    from rsbench.build.plan.plan import Lock, diff

    lines = diff(Lock.load(a), Lock.load(b))
    for line in lines:
        say(str(line))
    if lines:
        raise typer.Exit(1)
    say("the locks are equal")


# -------------------------------------------------------------------------------- running

ModelName = Annotated[str, typer.Option("--model", help="A model of `rsbench models`.")]
Preset = Annotated[str | None, typer.Option(help="A preset of the model.")]
Data = Annotated[Path | None, typer.Option("--data", help="A store.")]
ProtocolName = Annotated[str | None, typer.Option("--protocol", help="A protocol.")]
Context = Annotated[str | None, typer.Option(help="Context frames k, or `all`.")]
Seed = Annotated[int, typer.Option(help="The only seed.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda …")]
Precision = Annotated[str, typer.Option(help="32-true, bf16-mixed …")]
Option = Annotated[
    list[str] | None,
    typer.Option("--option", help="NAME=VALUE of the model, e.g. sampler=sjd-fm; repeatable."),
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
    devices: Annotated[int, typer.Option(min=1, help="Devices that share a step.")] = 1,
    precision: Precision = "32-true",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Most samples at once; larger steps go in parts.")
    ] = None,
    augment: Annotated[
        str | None, typer.Option(help="Of flips,rotations,mixup,cutmix; off without.")
    ] = None,
    ema: Annotated[float, typer.Option(help="Rate of averaged weights, as 0.999.")] = 0.0,
    channels_last: Annotated[
        bool, typer.Option("--channels-last", help="Channels last in memory.")
    ] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="torch.compile the network.")] = False,
    tf32: Annotated[
        bool, typer.Option("--tf32", help="Let a GPU round products of float32.")
    ] = False,
) -> None:
    """Train a model on a store's training split; the checkpoint is found again by `run`."""
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
    horizon: Annotated[int | None, typer.Option(help="Leads to predict.")] = None,
    members: Annotated[int, typer.Option(min=1, help="Ensemble members.")] = 1,
    split: Annotated[str, typer.Option(help="test, val or train.")] = "test",
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "32-true",
    checkpoint: Annotated[Path | None, typer.Option(help="A checkpoint folder.")] = None,
    suite: Suite = None,
    metrics: Metrics = None,
    budget: Annotated[str | None, typer.Option(help="If it must train: 2000steps, 10min.")] = None,
    keep_predictions: Annotated[str, typer.Option(help="none, viewer or all.")] = "viewer",
    out: Annotated[Path | None, typer.Option(help="Where the run goes.")] = None,
) -> None:
    """Run a model beside the trivial rows and write table, scores and report."""
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
    out: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("demo"),
    seed: Seed = 0,
) -> None:
    """Build a simulated dataset, train a small model, run it, and write a report."""
    from rsbench.cli.demo import run_demo
    from rsbench.core.progress import progress

    with progress() as advance:
        report_path = run_demo(out, seed=seed, note=note, advance=advance)
    say(f"report: {report_path}")


@app.command()
def contract(
    model: Annotated[str, typer.Argument(help="A model of `rsbench models`.")],
    preset: Preset = None,
) -> None:
    """Put a model through the contract that any model must pass."""
    from rsbench.models.registry import card

    card(model)  # an unknown name is told before anything heavy is loaded
    from rsbench.models.contract import run_contract

    results = run_contract(model, preset)
    for result in results:
        say(str(result))
    if not all(result.passed for result in results):
        raise typer.Exit(1)


# -------------------------------------------------------------------------------- results


@app.command()
def check(
    result: Annotated[Path, typer.Argument(help="A run folder or a table.")],
    against: Annotated[Path, typer.Option(help="A run, a table or expected.toml.")],
    write: Annotated[
        bool, typer.Option("--write", help="Write the run's values to --against instead.")
    ] = False,
    repeat: Annotated[
        list[Path] | None,
        typer.Option(help="With --write: the run with another seed; it says what training varies."),
    ] = None,
) -> None:
    """Gate: 0 pass, 1 regressed, 2 bad input, 3 incomparable, 70 internal error."""
    from rsbench.evaluation.gate import check as check_result

    if write:
        from rsbench.evaluation.gate.expected import write_expected
        from rsbench.evaluation.scores import Scores

        others = [Scores.load(path) for path in repeat or ()]
        rows = write_expected(Scores.load(result), against, repeats=others)
        say(f"{against}: {rows} rows expected from now on; read them before you commit them")
        return
    outcome = check_result(result, against)
    for line in outcome.lines:
        say(line)
    raise typer.Exit(outcome.exit_code)


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(help="A run folder or a table.")],
    run_b: Annotated[Path, typer.Argument(help="Another of the same keys.")],
) -> None:
    """Compare two runs row by row, with paired intervals over regions."""
    from rsbench.evaluation.gate import compare as compare_runs

    for line in compare_runs(run_a, run_b):
        say(line)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out: Annotated[Path, typer.Option(help="The HTML file.")] = Path("report.html"),
    published: Annotated[
        list[str] | None,
        typer.Option(help="A paper's table to set beside the runs, e.g. sat-jepa-diff."),
    ] = None,
    force: Force = False,
) -> None:
    """Write the page people look at."""
    from rsbench.evaluation.report import write_report

    write_report(runs, out, force=force, published=published or ())
    say(str(out))


@app.command()
def table(
    runs: Annotated[list[Path], typer.Argument(help="Run folders or tables.")],
    latex: Annotated[bool, typer.Option("--latex", help="A LaTeX table.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Markdown, the default.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV, every column.")] = False,
    bibtex: Annotated[bool, typer.Option("--bibtex", help="What to cite, of run folders.")] = False,
    methods: Annotated[
        bool, typer.Option("--methods", help="A paragraph for a paper, of run folders.")
    ] = False,
) -> None:
    """Print the tidy table of one or more runs, or what a paper says about it."""
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
