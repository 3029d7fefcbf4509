"""The commands that train, run and compare. Heavy libraries are imported inside a command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from rsbench.cli import cache, datasets, lists, paper, submissions
from rsbench.cli.app import (
    Force,
    FreshReferences,
    Json,
    Metrics,
    Suite,
    app,
    dump,
    note,
    quiet,
    say,
    say_phases,
)
from rsbench.cli.exit_codes import leave, run_app


def main() -> NoReturn:
    """Run the command line."""
    leave(run_app())


datasets.register()  # first, as the help lists commands in this order

# -------------------------------------------------------------------------------- running

ModelName = Annotated[str, typer.Option("--model", help="Name of a model, see `rsbench models`.")]
Preset = Annotated[str | None, typer.Option(help="Preset of the model.")]
Data = Annotated[Path | None, typer.Option("--data", help="Path of a store.")]
ProtocolName = Annotated[str | None, typer.Option("--protocol", help="Name or file of a protocol.")]
Window = Annotated[
    int | None, typer.Option(min=16, help="Window and stride in pixels, not the protocol's.")
]
Context = Annotated[str | None, typer.Option(help="Number of context frames, or `all`.")]
Seed = Annotated[int, typer.Option(help="Random seed for training and sampling.")]
Device = Annotated[str, typer.Option(help="Device: auto, cpu, cuda …")]
Precision = Annotated[str, typer.Option(help="Precision: 32-true, bf16-mixed …")]
Option = Annotated[
    list[str] | None,
    typer.Option("--option", help="Model option NAME=VALUE, e.g. sampler=sjd-fm; repeatable."),
]

LabelledFraction = Annotated[
    float | None,
    typer.Option(help="Share of training regions whose labels are used, in segmentation."),
]
LabelSeed = Annotated[int | None, typer.Option(help="Seed that chooses these regions.")]
Also = Annotated[
    Path | None, typer.Option(help="A store of `rsbench synthesize` to train with as well.")
]
AlsoShare = Annotated[
    float | None,
    typer.Option(help="Share of crops from it; 1 for all. Default: its share of the regions."),
]


@app.command()
def train(
    model: ModelName,
    preset: Preset = None,
    option: Option = None,
    data: Data = None,
    protocol: ProtocolName = None,
    context: Context = None,
    window: Window = None,
    budget: Annotated[str | None, typer.Option(help="2000steps or 10min.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate of every stage, e.g. 1e-3.")
    ] = None,
    optimizer: Annotated[
        str, typer.Option(help="adamw, adam, sgd or package.module:Class. Default: the stage's.")
    ] = "",
    schedule: Annotated[
        str,
        typer.Option(
            help="one-cycle, cosine, linear, constant or package.module:function. "
            "Default: the stage's."
        ),
    ] = "",
    patience: Annotated[
        int,
        typer.Option(min=0, help="Stop after so many validations without a better one; 0: never."),
    ] = 8,
    validations: Annotated[
        int | None, typer.Option(min=1, help="Validations per stage. Default: 20, fewer if short.")
    ] = None,
    log: Annotated[
        str | None, typer.Option(help="Any of tensorboard,wandb, or names of installed callbacks.")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Number of devices that share a batch.")] = 1,
    precision: Precision = "32-true",
    labelled_fraction: LabelledFraction = None,
    label_seed: LabelSeed = None,
    also: Also = None,
    also_share: AlsoShare = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Most samples at once; gradients accumulate.")
    ] = None,
    augment: Annotated[
        str | None, typer.Option(help="Any of flips,rotations,mixup,cutmix,cutout. Default: none.")
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
    from rsbench.models.registry import card, parse_option

    card(model)  # refuses an unknown name before heavy imports
    from rsbench.evaluation.run import RunRequest, train_model
    from rsbench.models.checkpoint import Checkpoint
    from rsbench.training.callbacks import named
    from rsbench.training.launch import is_first_rank
    from rsbench.training.options import Options

    options = Options(
        augment=_names(augment), ema=ema,
        channels_last=channels_last, compile="inductor" if compiled else "", tf32=tf32,
        learning_rate=learning_rate, optimizer=optimizer, schedule=schedule, patience=patience,
        validations=validations,
    )  # fmt: skip
    callbacks = named(_names(log))
    request = RunRequest(
        model=model, preset=preset, data=data, protocol=protocol, context=context, seed=seed,
        device=device, precision=precision, budget=budget, labelled_fraction=labelled_fraction,
        label_seed=label_seed, window=window, options=dict(map(parse_option, option or ())),
        also=also, also_share=also_share,
    )  # fmt: skip
    tell = note if is_first_rank() else quiet
    with progress() as advance:
        result = train_model(
            request, devices=devices, batch_size=batch_size, options=options, callbacks=callbacks,
            note=tell, advance=advance,
        )  # fmt: skip
    if is_first_rank():
        say_phases(Checkpoint.load(result).provenance.get("phases") or {})
        say(str(result))


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",")) if text else ()


@app.command()
def run(
    model: ModelName,
    preset: Preset = None,
    option: Option = None,
    data: Data = None,
    protocol: ProtocolName = None,
    context: Context = None,
    window: Window = None,
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
    labelled_fraction: LabelledFraction = None,
    label_seed: LabelSeed = None,
    also: Also = None,
    also_share: AlsoShare = None,
    devices: Annotated[
        int, typer.Option(min=1, help="Processes with a device each; regions are divided.")
    ] = 1,
    parts: Annotated[
        str | None, typer.Option(help="Score one part of the regions, i/n, e.g. 1/10.")
    ] = None,
    finalise: Annotated[
        bool, typer.Option("--finalise", help="Add up the parts that are there.")
    ] = False,
    batch_samples: Annotated[
        str, typer.Option(help="Samples predicted at once: a number, or auto, by free memory.")
    ] = "8",
    keep_predictions: Annotated[str, typer.Option(help="none, viewer or all.")] = "viewer",
    fresh_references: FreshReferences = False,
    out: Annotated[Path | None, typer.Option(help="Output folder.")] = None,
    as_json: Json = False,
) -> None:
    """Score a model beside the reference models; write table, scores and report."""
    from rsbench.core.progress import progress
    from rsbench.models.registry import card, parse_option

    card(model)  # refuses an unknown name before heavy imports
    from rsbench.cli.build import part_of
    from rsbench.evaluation.batch_size import asked_batch
    from rsbench.evaluation.devices import run_as_asked
    from rsbench.evaluation.parts import Part
    from rsbench.evaluation.run import RunRequest, RunResult
    from rsbench.training.launch import is_first_rank

    chosen = part_of(parts, finalise=finalise)
    request = RunRequest(
        model=model, preset=preset, data=data, protocol=protocol, context=context, horizon=horizon,
        members=members, split=split, seed=seed, device=device, precision=precision,
        checkpoint=checkpoint, suite=suite, metrics=metrics, budget=budget,
        labelled_fraction=labelled_fraction, label_seed=label_seed, window=window,
        options=dict(map(parse_option, option or ())), keep=keep_predictions, out=out, also=also,
        also_share=also_share, fresh_references=fresh_references,
        batch_samples=asked_batch(batch_samples), command="rsbench " + " ".join(sys.argv[1:]),
    )  # fmt: skip
    with progress() as advance:
        result = run_as_asked(
            request, devices=devices, part=Part(*chosen) if chosen else None, finalise=finalise,
            note=note if is_first_rank() else quiet, advance=advance,
        )  # fmt: skip
    if result is None:
        return
    if as_json:
        dump(result.to_json())
    elif isinstance(result, RunResult):
        say(result.summary())
        say_phases(result.phases)
        say(f"report: {result.out / 'report.html'}")
    else:
        say(f"{result.out}  {result.part}: {len(result.regions)} regions are scored")


@app.command()
def synthesize(
    model: ModelName,
    out: Annotated[Path, typer.Option(help="Folder of the new store.")],
    preset: Preset = None,
    option: Option = None,
    data: Data = None,
    protocol: ProtocolName = "generate",
    per_image: Annotated[int, typer.Option(min=1, help="Synthetic images per real one.")] = 1,
    seed: Seed = 0,
    device: Device = "auto",
    checkpoint: Annotated[Path | None, typer.Option(help="A checkpoint folder.")] = None,
    budget: Annotated[str | None, typer.Option(help="If it must train: 2000steps, 10min.")] = None,
    labelled_fraction: LabelledFraction = None,
    label_seed: LabelSeed = None,
) -> None:
    """Draw images with labels, to train with: `satsynth`, or `copy` for mirrored copies."""
    from rsbench.core.progress import progress
    from rsbench.evaluation.run import RunRequest
    from rsbench.evaluation.synthesize import synthesize as write
    from rsbench.models.registry import parse_option

    request = RunRequest(
        model=model, preset=preset, data=data, protocol=protocol, seed=seed, device=device,
        checkpoint=checkpoint, budget=budget, labelled_fraction=labelled_fraction,
        label_seed=label_seed, options=dict(map(parse_option, option or ())),
    )  # fmt: skip
    with progress() as advance:
        path = write(request, per_image, out, note=note, advance=advance)
    say(f"{path}  train with it: rsbench train --model NAME --data STORE --also {path}")


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
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="With --write: replace whatever is there.")
    ] = False,
    junit: Annotated[
        Path | None, typer.Option(help="Also write JUnit XML here, a test case per row.")
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option(envvar="GITHUB_STEP_SUMMARY", help="Also append Markdown to this file."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Gate: exit code 0 pass, 1 regressed, 2 bad input, 3 incomparable, 70 internal error."""
    from rsbench.cli.check_output import CheckFiles, show

    if write:
        from rsbench.cli.commands import require_free
        from rsbench.evaluation.gate.expected import lost_by_writing, write_expected
        from rsbench.evaluation.scores import Scores

        others, scores = [Scores.load(path) for path in repeat or ()], Scores.load(result)
        require_free(against, None if overwrite else lost_by_writing(against, scores))
        rows = write_expected(scores, against, repeats=others)
        say(f"{against}: wrote {rows} expected rows; review them before you commit the file")
        return
    raise typer.Exit(show(result, against, CheckFiles(junit, summary), as_json=as_json))


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    published: Annotated[
        list[str] | None,
        typer.Option(help="Published table to show beside the runs, e.g. sat-jepa-diff."),
    ] = None,
    linked: Annotated[
        bool, typer.Option("--linked", help="Write pictures beside the page, for hosting.")
    ] = False,
    force: Force = False,
) -> None:
    """Write the HTML report of one or more runs."""
    from rsbench.evaluation.report import write_report

    write_report(runs, out, force=force, published=published or (), linked=linked)
    say(str(out))


paper.register()
submissions.register()
lists.register()
cache.register()
