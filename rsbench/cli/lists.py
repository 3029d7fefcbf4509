"""Commands that list models, metrics and the entries of the catalogue, and `doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rsbench.cli.app import Json, app, dump, say, weights_app


def models(
    name: Annotated[
        str | None, typer.Argument(help="A model, to print its presets and options.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="With a model: the preset whose options are printed.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the models and their presets, or print one model with its options."""
    from rsbench.models.registry import models_json

    if name is not None:
        _model(name, preset, as_json=as_json)
        return
    rows = models_json()
    if as_json:
        dump(rows)
        return
    for row in rows:
        presets = ", ".join(
            f"{name} ({_count(info['parameters'])})" if info["parameters"] is not None else name
            for name, info in row["presets"].items()
        )
        say(f"{row['name']:20} {row['task']:9} {presets}")


def _model(name: str, preset: str | None, *, as_json: bool) -> None:
    """Print the card of a model, and the options of a preset."""
    from dataclasses import asdict

    from rsbench.models.registry import FACTS, card, card_json, model_options

    entry = card(name)
    chosen = preset or entry.default_preset
    options, row = model_options(entry, chosen), card_json(entry)
    if as_json:
        dump({**row, "preset": chosen, "options": [asdict(one) for one in options]})
        return
    say(f"{name}: {entry.title}")
    say(f"task {entry.task}; rollout {entry.of(chosen).rollout}; licence {entry.licence}")
    say(entry.citation)
    say(f"\npresets, {entry.default_preset} by default:")
    for label, info in entry.presets.items():
        say(f"  {label:16} {_count(info.parameters):>9}  {info.note}")
    say(f"\noptions of preset {chosen}, as --option NAME=VALUE:" if options else "\nno options")
    for one in options:
        if one.name in ("bands", "context") or (one.name in FACTS and one.default is None):
            value = "as the dataset has"
        else:
            value = "the preset's own" if one.default is None else _value(one.default)
        say(f"  {one.name:18} {one.kind:14} {value}")


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) + ("," if len(value) < 2 else "")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _count(parameters: int | None) -> str:
    if parameters is None:
        return ""
    return f"{parameters / 1e6:.2f} M" if parameters >= 1e5 else str(parameters)


def metrics(as_json: Json = False) -> None:
    """List the metrics with direction, unit and source."""
    from dataclasses import asdict

    from rsbench.metrics.registry import metric_info

    rows = [asdict(info) for info in metric_info()]
    if as_json:
        dump(rows)
        return
    for row in rows:
        state = "  (published convention)" if row["published"] else ""
        state += "" if row["available"] else f"  unavailable: {row['reason']}"
        say(f"{row['id']:24} {row['direction']:7} {row['unit'] or '-':8} {row['source']}{state}")


def recipes(as_json: Json = False) -> None:
    """List the recipes."""
    from rsbench.catalog import load_recipe, names

    rows = [load_recipe(name) for name in names("recipes")]
    if as_json:
        dump([row.model_dump(mode="json") for row in rows])
        return
    for row in rows:
        say(f"{row.name:20} {row.kind:9} {row.title}")


def protocols(as_json: Json = False) -> None:
    """List the protocols: task, context, horizon and window."""
    from rsbench.catalog import load_protocol, names

    rows = [load_protocol(name) for name in names("protocols")]
    if as_json:
        dump([row.model_dump(mode="json") for row in rows])
        return
    for row in rows:
        size = f"k={row.context} horizon={row.horizon} window={row.window}"
        say(f"{row.name:20} {row.task:9} {size}")


def labels(as_json: Json = False) -> None:
    """List the label sets and their classes."""
    from rsbench.catalog import names
    from rsbench.catalog.loaders import load_labels

    rows = [load_labels(name) for name in names("labels")]
    if as_json:
        dump([row.model_dump(mode="json") for row in rows])
        return
    for row in rows:
        say(f"{row.name:20} {row.gsd:g} m, {len(row.scored)} classes  {row.title}")


def regions(
    recipe: Annotated[str | None, typer.Option(help="List the regions of this recipe.")] = None,
    as_json: Json = False,
) -> None:
    """List the 100 regions of the catalogue, or the regions of a recipe."""
    from rsbench.catalog import load_recipe, load_regions, recipe_regions

    if recipe is None:
        rows = load_regions()
    elif (chosen := load_recipe(recipe)).simulated is not None:
        from rsbench.simulate.api import simulated_regions

        rows = simulated_regions(chosen.simulated)
    else:
        rows = recipe_regions(chosen)
    if as_json:
        dump([row.model_dump(mode="json") for row in rows])
        return
    for row in rows:
        say(f"{row.name:44} {row.tile:6} {row.split:5} {row.stratum:17} {row.country}")


def weights_check(as_json: Json = False) -> None:
    """List the weight files; exit code 1 if one differs from the published file."""
    from dataclasses import asdict

    from rsbench.metrics.queries import needing
    from rsbench.metrics.weights import absence, status

    rows = [asdict(row) | {"metrics": " ".join(needing(row.name))} for row in status()]
    code = int(any(row["state"] not in ("ok", "absent") for row in rows))
    if as_json:
        dump(rows)
        raise typer.Exit(code)
    for row in rows:
        say(f"{row['name']:12} {row['state']:8} needed by {row['metrics']}")
    for row in rows:
        if row["state"] == "altered":
            say(
                f"{row['path']}: {absence(row['name'])}. Remove it, or put the published file there"
            )
    if any(row["state"] != "ok" for row in rows):
        say("Type `rsbench weights fetch`, or set RSBENCH_WEIGHTS to a folder that holds them.")
    raise typer.Exit(code)


def weights_fetch(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names as `weights check` lists them. Default: all.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Folder, default RSBENCH_WEIGHTS.")] = None,
) -> None:
    """Download the weight files of perceptual metrics and verify their digests."""
    from rsbench.core.progress import progress
    from rsbench.metrics.weights import fetch

    with progress() as advance:
        paths = fetch(to, names=names or None, progress=advance)
    for path in paths:
        say(str(path))


def weights_import(
    file: Annotated[Path, typer.Argument(help="Safetensors, or a file of torch.save.")],
    model: Annotated[str, typer.Option(help="Model whose weights the file holds.")],
    out: Annotated[Path, typer.Option(help="Folder of the checkpoint.")],
    preset: Annotated[str | None, typer.Option(help="Preset; default: the model's.")] = None,
    bands: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="Bands of every image; default: the preset's."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Entry of the file that holds the tensors, if it has more.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="Model option NAME=VALUE; repeatable.")
    ] = None,
) -> None:
    """Write a checkpoint with weights that the authors of a model published.

    Tensors are found by name. Score it with `rsbench run --checkpoint OUT`.
    """
    from rsbench.models.registry import parse_option
    from rsbench.models.weights_import import import_weights

    options = dict(map(parse_option, option or ()))
    say(str(import_weights(file, model, preset, out, bands=bands, key=key, options=options)))


def doctor(as_json: Json = False) -> None:
    """Print versions, GPUs, disk, optional packages, settings, and what cannot be used."""
    from rsbench.cli.doctor import doctor as found
    from rsbench.cli.doctor import doctor_lines

    if as_json:
        dump(found())
        return
    for line in doctor_lines():
        say(line)


def register() -> None:
    """Register the commands of this module."""
    for command in (models, metrics, recipes, protocols, labels, regions, doctor):
        app.command()(command)
    weights_app.command("check")(weights_check)
    weights_app.command("fetch")(weights_fetch)
    weights_app.command("import")(weights_import)
