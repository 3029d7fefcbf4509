"""One row beside the trivial rows and the controls: from a setting to scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rsbench.core.errors import TrainingError, unknown
from rsbench.core.progress import Advance, silent
from rsbench.evaluation.endpoint import stated_by
from rsbench.evaluation.scores import Absent, RunInfo, Scores
from rsbench.tasks.config import EvaluationConfig, Note, quiet
from rsbench.tasks.registry import task_of
from rsbench.tasks.settings import cases, start_dates

if TYPE_CHECKING:
    import torch

    from rsbench.evaluation.entries import ModelEntry, Placement
    from rsbench.evaluation.reference_models import Rows
    from rsbench.models.api import Card, Model
    from rsbench.models.prediction_cache import PredictionCache
    from rsbench.tasks.base import Case

    Seen = Callable[[ModelEntry, Case, int, torch.Tensor], None]
    Keep = Callable[[str | None], PredictionCache | None]


@dataclass(frozen=True)
class Own:
    """The row that a table is about.

    Args:
        row: how it answers; None where it is one of the trivial rows already.
        weights: digest of what it was made with.
        device: where it was made; where it is made now if None.
        most_context: frames that it takes at most; None for any number.
        controls: rows made of its weights that must stand beside it.
        inputs: what it was made with beside the frames that it is given.
    """

    name: str
    row: ModelEntry | None
    weights: str | None
    citation: str
    device: str | None = None
    most_context: int | None = None
    controls: tuple[ModelEntry, ...] = ()
    inputs: str | None = None


def own_entry(
    config: EvaluationConfig, model: Model, keep: Keep | None = None, *, note: Note = quiet
) -> Own:
    """Return the entry of a model, fitted first where its card says so.

    Args:
        keep: called with the digest of its weights; returns what stores its predictions.

    Raises:
        TrainingError: if it is trainable and has no weights, or cannot be fitted.
    """
    from rsbench.evaluation.entries import model_entry
    from rsbench.evaluation.fit import fit
    from rsbench.models.registry import called, identity
    from rsbench.models.rollout import roll

    own = identity(model)
    row, digest = None, weights_of(model, own.card)
    reference = own.name in task_of(config).reference_models
    if own.card.fitted and not reference:
        note(f"fitting {own.name} on the training split")
        digest = fit(model, config)
    kept = keep(digest) if keep else None
    if not reference:
        row = model_entry(
            own.name, called(model), "model", model, own.card, _placement(config),
            rolled=kept.roll if kept else roll,
        )  # fmt: skip
    return Own(
        own.name, row, digest, own.card.citation,
        device=kept.made_on if kept else None, most_context=own.card.max_context,
        controls=_controls(model, called(model), config), inputs=getattr(model, "inputs", None),
    )  # fmt: skip


def _controls(model: Model, preset: str, config: EvaluationConfig) -> tuple[ModelEntry, ...]:
    from rsbench.evaluation.entries import model_entry
    from rsbench.models.api import Controlled
    from rsbench.models.registry import card

    if not isinstance(model, Controlled):
        return ()
    return tuple(
        model_entry(name, preset, "control", control, card(name), _placement(config))
        for name, control in model.controls().items()
    )  # fmt: skip


def score_table(
    config: EvaluationConfig,
    own: Own,
    *,
    note: Note = quiet,
    advance: Advance = silent,
    seen: Seen | None = None,
    info: Mapping[str, Any] | None = None,
) -> Scores:
    """Score one entry beside reference models, controls and bounds; the one path of every table."""
    from rsbench.evaluation.loop import Beside, score
    from rsbench.evaluation.pixel_strata import pixel_layers, region_strata
    from rsbench.evaluation.reference_models import best_trivial, control_rows, trivial_rows

    for metric, why in config.left_out.items():
        note(f"{metric} is unavailable: {why}")
    rows = trivial_rows(config, note=note)
    own_rows = () if own.row is None else (own.row, *own.controls)
    everyone = [*own_rows, *rows.rows, *control_rows(config)]
    reference = best_trivial(config, rows.rows)
    samples = [s for group in task_of(config).groups(config, config.split) for s in group]
    scored = {sample.region for sample in samples}
    regions = [name for name in config.store.regions if name in scored]
    layers = pixel_layers(config.store, config.sensor, regions)
    tally = score(
        everyone, cases(config), config.metrics, bands=config.bands,
        value_range=config.meta.value_range, rgb=config.rgb,
        beside=Beside(layers, seen, _counter(len(samples), advance)),
    )  # fmt: skip
    strata, no_season = region_strata(config.store, config.sensor, regions, layers)
    run = _with_first_member(_info(config, rows, own, reference, info or {}), own)
    if tally.sets is not None:
        note("comparing sets of images")
    sets, gone = tally.sets.frame() if tally.sets else (None, ())
    sources = {f"pixel {layer.name}": layer.source for layer in layers.layers}
    known = {"sources": sources, "absent": {**layers.absent, **no_season}}
    extra = {"counts": _counts(tally.counts), "strata": known, **_networks(config.metrics)}
    run = replace(run, absent=(*run.absent, *gone), extra={**run.extra, **extra})
    own_sets = {} if sets is None else {"sets": sets}
    return Scores(tally.frame(strata), run, pixels=tally.pixel_frame(), **own_sets)


def _counter(total: int, advance: Advance) -> Callable[[int], None]:
    """Return what reports the images that are scored."""
    done = 0

    def count(images: int) -> None:
        nonlocal done
        done += images
        advance("scoring", done, total)

    return count


def _with_first_member(run: RunInfo, own: Own) -> RunInfo:
    """Return the run with weights and inputs of the first member, where there are several."""
    from rsbench.evaluation.loop import first_member

    if run.members == 1 or own.row is None:
        return run
    alone = first_member(own.name)
    return replace(
        run,
        weights={**run.weights, alone: own.weights},
        inputs={**run.inputs, alone: run.inputs[own.name]},
    )


def _networks(metrics: Sequence[str]) -> dict[str, Any]:
    """Say which weight files metrics were computed with, where any were."""
    from rsbench.metrics.registry import info
    from rsbench.metrics.weights import find

    names = sorted({name for metric in metrics for name in info(metric).needs})
    found = {name: find(name) for name in names}
    files = {name: {"file": path.name, "sha256": digest} for name, (path, digest) in found.items()}
    return {"metric_weights": files} if files else {}


def _counts(counts: Mapping[tuple[str, str, str], int]) -> list[dict[str, Any]]:
    return [
        {"model": model, "metric": metric, "what": what, "count": number}
        for (model, metric, what), number in sorted(counts.items())
        if number
    ]


def weights_of(model: Model, card: Card) -> str | None:
    """Return the digest of a model's weights; a trainable model without any is refused."""
    if not card.trainable:
        return None
    from rsbench.models.checkpoint import loaded_digest

    digest = loaded_digest(model)
    if digest is None:
        raise TrainingError(
            f"scoring {card.name}",
            "its weights were neither trained nor loaded, and untrained weights are never scored",
            f"Type: rsbench train --model {card.name}, or give --checkpoint",
        )
    return digest


def _placement(config: EvaluationConfig) -> Placement:
    import torch

    from rsbench.evaluation.entries import Placement

    known = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    if config.precision not in known:
        raise unknown("precision", config.precision, known)
    return Placement(config.device, known[config.precision])


def _info(
    config: EvaluationConfig, rows: Rows, own: Own, reference: str | None, info: Mapping[str, Any]
) -> RunInfo:
    from rsbench.core.provenance import versions

    store, meta = config.store, config.meta
    gone = [Absent("*", why, metric) for metric, why in config.left_out.items()]
    return RunInfo(
        dataset=store.recipe,
        dataset_digest=store.digest,
        task=config.protocol.task,
        split=config.split,
        protocol=config.protocol.name,
        context=config.context,
        horizon=config.horizon,
        step=store.meta.step,
        sensor=config.sensor,
        bands=config.bands,
        value_range=meta.value_range,
        unit=meta.unit,
        starts=start_dates(config),
        inputs={**rows.inputs, **_inputs(config, own)},
        display=meta.display,
        simulated=store.simulated,
        one_scene=store.one_scene,
        complete=store.complete,
        missing=store.meta.missing,
        seed=config.seed,
        precision=config.precision,
        device=own.device or str(config.device),
        members=config.members,
        versions=versions(),
        weights={
            **rows.weights,
            **{row.model: own.weights for row in own.controls},
            own.name: own.weights or rows.weights.get(own.name),
        },
        licences={config.sensor: {"licence": meta.licence, "attribution": meta.attribution}},
        citations={**rows.citations, own.name: own.citation},
        absent=(*rows.absent, *gone),
        best_trivial=reference,
        primary=stated_by(config.protocol),
        **dict(info),
    )


def _inputs(config: EvaluationConfig, own: Own) -> dict[str, str]:
    """Return what the table's own entry sees; reference models have been listed before."""
    if own.row is None:
        return {}
    each = task_of(config).context == "each"
    alone = own.most_context is not None and own.most_context < config.context
    said = [task_of(config).shown(config)]
    said += ["one at a time, averaged"] if each and alone else []
    said += [own.inputs] if own.inputs is not None else []
    return {own.name: ", ".join(said)}
