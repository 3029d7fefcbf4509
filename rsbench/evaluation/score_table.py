"""Scores of one entry, of the reference models, controls and bounds of its task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rsbench.core.errors import InputError, TrainingError, unknown
from rsbench.core.phases import Phases
from rsbench.core.progress import Advance, silent
from rsbench.evaluation.endpoint import stated_by
from rsbench.evaluation.equal_answers import ANSWERS, AnswerDigests, require_distinct
from rsbench.evaluation.run_info import CLASS_PIXELS, IMPLAUSIBLE, LABELS, REUSED, Absent, RunInfo
from rsbench.evaluation.scores import Scores
from rsbench.evaluation.submission_maps import NO_PROBABILITIES
from rsbench.evaluation.trained_labels import require_trained
from rsbench.metrics.queries import needs_case, needs_probabilities
from rsbench.store.plausible import implausible_images
from rsbench.tasks.config import EvaluationConfig, Note, quiet
from rsbench.tasks.registry import task_of
from rsbench.tasks.settings import cases, start_dates

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from rsbench.evaluation.entries import ModelEntry, Placement
    from rsbench.evaluation.loop import ScoringHooks, Tally
    from rsbench.evaluation.reference_cache import KeptReferences, ReferenceCache
    from rsbench.evaluation.reference_models import ReferenceEntries, Selection
    from rsbench.models.api import Card, Model
    from rsbench.models.prediction_cache import PredictionCache
    from rsbench.tasks.base import Case

    OnAnswer = Callable[[ModelEntry, Case, int, torch.Tensor], None]
    Keep = Callable[[str | None], PredictionCache | None]


@dataclass(frozen=True)
class OwnEntry:
    """The entry that a table is about.

    Args:
        entry: how it answers; None if it is one of the reference models.
        weights: digest of its weights, or of its answers.
        device: where it was made; None: where it is made now.
        most_context: most context frames it takes; None for any number.
        controls: entries made of its weights, scored with it.
        inputs: what it was made with in addition to the frames that it is given.
    """

    name: str
    entry: ModelEntry | None
    weights: str | None
    citation: str
    device: str | None = None
    most_context: int | None = None
    controls: tuple[ModelEntry, ...] = ()
    inputs: str | None = None


@dataclass(frozen=True)
class Working:
    """How a table is made; no value depends on it.

    Args:
        reuse: whether scores of reference models are taken from the cache, and kept in it.
        phases: to which the time of each phase is added.
    """

    reuse: bool = False
    phases: Phases = field(default_factory=Phases)


def own_entry(
    config: EvaluationConfig, model: Model, keep: Keep | None = None, *, note: Note = quiet,
    phases: Phases | None = None,
) -> OwnEntry:  # fmt: skip
    """Return the entry of a model, fitted first if its card says so.

    Args:
        keep: called with the digest of its weights; returns what stores its predictions.
        phases: to which the time of the fit and of transfers is added.

    Raises:
        TrainingError: if it is trainable and has no weights, or cannot be fitted.
        InputError: if it was trained for other bands or classes than the store's, or with other
            labels than the protocol allows.
    """
    from rsbench.evaluation.entries import model_entry, permuted_entry
    from rsbench.evaluation.fit import fit
    from rsbench.models.checkpoint import trained_for
    from rsbench.models.registry import called, identity
    from rsbench.models.rollout import roll

    own, timed = identity(model), phases or Phases()
    require_trained(config, f"scoring {own.name}", trained_for(model))
    entry, digest = None, weights_of(model, own.card)
    reference = own.name in task_of(config).reference_models
    if own.card.fitted and not reference:
        note(f"fitting {own.name} on the training split")
        with timed.time("fit"):
            digest = fit(model, config)
    kept = keep(digest) if keep else None
    if not reference:
        entry = model_entry(
            own.name, called(model), "model", model, own.card, _placement(config, timed),
            rolled=kept.roll if kept else roll,
        )  # fmt: skip
    permutes = bool(task_of(config).partners(config))
    shuffled = (permuted_entry(entry),) if entry is not None and permutes else ()
    return OwnEntry(
        own.name, entry, digest, own.card.citation,
        device=kept.made_on if kept else None, most_context=own.card.max_context,
        controls=(*shuffled, *_controls(model, called(model), _placement(config, timed))),
        inputs=getattr(model, "inputs", None),
    )  # fmt: skip


def _controls(model: Model, preset: str, placed: Placement) -> tuple[ModelEntry, ...]:
    from rsbench.evaluation.entries import model_entry
    from rsbench.models.api import OF_ITSELF, Controlled
    from rsbench.models.registry import card, identity

    if not isinstance(model, Controlled):
        return ()
    own, found = identity(model), []
    for name, control in model.controls().items():
        itself = name.startswith(OF_ITSELF)
        whose, called = (own.card, own.name + name) if itself else (card(name), name)
        found.append(model_entry(called, preset, "control", control, whose, placed))
    return tuple(found)


def score_table(
    config: EvaluationConfig,
    own: OwnEntry,
    *,
    note: Note = quiet,
    advance: Advance = silent,
    on_answer: OnAnswer | None = None,
    info: Mapping[str, Any] | None = None,
    working: Working | None = None,
) -> Scores:
    """Score one entry with reference models, controls and bounds.

    Args:
        on_answer: called with entry, case, lead and values of each answer.
        info: further fields of :class:`RunInfo`.
        working: whether scores of reference models are reused, and where the time is added.
    """
    from rsbench.evaluation.case_features import case_features
    from rsbench.evaluation.clipped import outside
    from rsbench.evaluation.loop import ScoringHooks
    from rsbench.evaluation.pixel_strata import pixel_layers, region_strata
    from rsbench.evaluation.reference_models import reference_entries

    how = working or Working()
    phases = how.phases
    _say_left_out(config, note)
    references = reference_entries(config, note=note, phases=phases)
    if own.entry is None:
        _require_present(own.name, references)
    networks = _networks(config.metrics)
    entries = _entries(config, own, references, networks, how, note)
    run = _run_info(config, references, own, entries.selected, info or {})
    samples = [s for group in task_of(config).groups(config, config.split) for s in group]
    scored = {sample.region for sample in samples}
    regions = [name for name in config.store.regions if name in scored]
    layers = pixel_layers(
        config.store, config.sensor, regions, labels=not task_of(config).predicts_labels
    )
    answers = AnswerDigests() if task_of(config).predicts_labels else None
    heard = _heard(on_answer, answers)
    counter = _counter(len(samples), advance)
    hooks = ScoringHooks(layers, heard, counter, case_features(config), phases=phases)
    tally = _tally(config, entries, hooks, note)
    strata, no_season = region_strata(config.store, config.sensor, regions, layers)
    sources = {f"pixel {layer.name}": layer.source for layer in layers.layers}
    known = {"sources": sources, "absent": {**layers.absent, **no_season}}
    counts = _counts(tally.counts)
    run = replace(run, absent=(*run.absent, *_said(outside(counts), note)))
    extra = {"counts": counts, "strata": known, **networks, **entries.reused}
    extra |= _of_truth(config, tally) | _of_answers(own.name, answers)
    if tally.sets is not None:
        note("comparing sets of images")
    with phases.time("metrics"):
        return _scores(tally, strata, replace(run, extra={**run.extra, **extra}))


def _say_left_out(config: EvaluationConfig, note: Note) -> None:
    """Note which metrics and samples are left out, and why."""
    for metric, why in config.left_out.items():
        note(f"{metric} is unavailable: {why}")
    for why in task_of(config).left_out(config, config.split):
        note(why)


def _of_truth(config: EvaluationConfig, tally: Tally) -> dict[str, Any]:
    """Return what ``run.json`` states of implausible images, training labels and classes."""
    found, labels = _implausible(config, tally.frame({})), task_of(config).training_labels(config)
    if labels is not None:
        found |= {LABELS: labels.to_json(), CLASS_PIXELS: task_of(config).class_pixels(config)}
    return found


def _of_answers(name: str, answers: AnswerDigests | None) -> dict[str, Any]:
    """Return the digests of the answers; InputError if two entries gave the same ones."""
    if answers is None:
        return {}
    digests = answers.digests()
    require_distinct(name, digests)
    return {ANSWERS: digests}


@dataclass(frozen=True)
class _Entries:
    """The entries of a table, the reference of skill, and what is cached of the reference models.

    Args:
        own: the entry that the table is about, and its controls.
        always: reference models and bounds.
    """

    own: tuple[ModelEntry, ...]
    always: tuple[ModelEntry, ...]
    selected: Selection
    cache: ReferenceCache | None = None
    kept: KeptReferences | None = None

    @property
    def reused(self) -> dict[str, Any]:
        """What ``run.json`` states of reused scores."""
        if self.cache is None or self.kept is None:
            return {}
        models = [entry.model for entry in self.always]
        return {REUSED: {"models": models, "from": self.cache.name}}


def _entries(
    config: EvaluationConfig, own: OwnEntry, references: ReferenceEntries,
    networks: Mapping[str, Any], how: Working, note: Note,
) -> _Entries:  # fmt: skip
    """Return what is scored. The scores of a table of a reference model are made, not reused."""
    from rsbench.evaluation.reference_cache import ReferenceCache
    from rsbench.evaluation.reference_models import bound_entries, select_reference

    chosen = () if own.entry is None else (own.entry, *own.controls)
    cache = ReferenceCache.of(config, references, networks) if how.reuse else None
    kept = cache.read(note) if cache is not None and chosen else None
    with how.phases.time("metrics"):
        selected = kept.selection if kept else select_reference(config, references.entries)
    return _Entries(chosen, (*references.entries, *bound_entries(config)), selected, cache, kept)


def _tally(config: EvaluationConfig, entries: _Entries, hooks: ScoringHooks, note: Note) -> Tally:
    """Return the sums of all entries; those of reference models from the cache where it has them.

    The answers of reference models are made in any case where a picture or a digest needs them.
    """
    from rsbench.evaluation.loop import score

    cache, kept = entries.cache, entries.kept
    tally = score(
        entries.own if kept else (*entries.own, *entries.always), cases(config), config.metrics,
        bands=config.bands, value_range=config.meta.value_range, rgb=config.rgb,
        hooks=replace(hooks, heard=entries.always if kept else ()),
    )  # fmt: skip
    models = [entry.model for entry in entries.always]
    if cache is not None and kept is not None:
        kept.add_to(tally)
        note(f"scores of {', '.join(models)} are reused from {cache.folder}; "
             "--fresh-references computes them again")  # fmt: skip
    elif cache is not None:
        cache.write(tally, models, entries.selected, note)
    return tally


def _heard(on_answer: OnAnswer | None, answers: AnswerDigests | None) -> OnAnswer | None:
    """Return a function that passes answers on and adds them to the digests."""
    if answers is None:
        return on_answer

    def heard(entry: ModelEntry, case: Case, lead: int, values: torch.Tensor) -> None:
        answers.add(entry, values)
        if on_answer is not None:
            on_answer(entry, case, lead, values)

    return heard


def _said(absent: tuple[Absent, ...], note: Note) -> tuple[Absent, ...]:
    for one in absent:
        note(f"{one.model}: {one.metric}: {one.reason}")
    return absent


def _scores(tally: Tally, strata: Mapping[str, Mapping[str, str]], run: RunInfo) -> Scores:
    """Return the scores of a pass over the cases; ``strata``: region → stratum → label."""
    parts: dict[str, Any] = {"pixels": tally.pixel_frame()}
    if tally.pooled is not None:
        parts["counts"] = tally.pooled.frame()
        run = replace(run, pooled=tally.pooled.metrics)
    if tally.sets is not None:
        parts["sets"], absent = tally.sets.frame()
        run = replace(run, absent=(*run.absent, *absent))
    return Scores(tally.frame(strata), run, **parts)


def _implausible(config: EvaluationConfig, units: pd.DataFrame) -> dict[str, Any]:
    """Return which images of the truth have numbers outside the plausible range, if any have."""
    truths = set(units[["region", "target"]].itertuples(index=False, name=None))
    regions = sorted({region for region, _ in truths})
    tree, metas = config.store.tree, config.store.meta.sensors
    found = [
        {"region": one.region, "day": one.day, "says": one.says, **one.seen.to_json()}
        for one in implausible_images(tree, regions, metas)
        if one.sensor == config.sensor and (one.region, one.day) in truths
    ]
    return {IMPLAUSIBLE: {"images": len(truths), "found": found}} if found else {}


def _counter(total: int, advance: Advance) -> Callable[[int], None]:
    """Return a function that adds up scored images and reports progress."""
    done = 0

    def count(images: int) -> None:
        nonlocal done
        done += images
        advance("scoring", done, total)

    return count


def _networks(metrics: Sequence[str]) -> dict[str, Any]:
    """Return the weight files that metrics were computed with."""
    from rsbench.metrics import clip
    from rsbench.metrics.registry import info
    from rsbench.metrics.weights import find

    names = sorted({name for metric in metrics for name in info(metric).needs})
    found = {name: find(name) for name in names}
    files = {name: {"file": path.name, "sha256": digest} for name, (path, digest) in found.items()}
    if any(needs_case(metric) == clip.FEATURES for metric in metrics):
        files[clip.FOLDER] = clip.weights()
    return {"metric_weights": files} if files else {}


def _counts(counts: Mapping[tuple[str, str, str], int]) -> list[dict[str, Any]]:
    return [
        {"model": model, "metric": metric, "what": what, "count": number}
        for (model, metric, what), number in sorted(counts.items())
        if number
    ]


def weights_of(model: Model, card: Card) -> str | None:
    """Return the digest of a model's weights.

    Raises:
        TrainingError: if it is trainable and has none.
    """
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


def _placement(config: EvaluationConfig, phases: Phases) -> Placement:
    import torch

    from rsbench.evaluation.entries import Placement

    known = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    if config.precision not in known:
        raise unknown("precision", config.precision, known)
    return Placement(config.device, known[config.precision], phases)


def _require_present(name: str, references: ReferenceEntries) -> None:
    """Refuse a table of a reference model that has no place in it."""
    for absent in references.absent:
        if absent.model == name:
            remedy = "Choose another model, or a store and a protocol that it can be scored on"
            raise InputError(f"scoring {name}", absent.reason, remedy)


def _run_info(
    config: EvaluationConfig,
    references: ReferenceEntries,
    own: OwnEntry,
    selected: Selection,
    info: Mapping[str, Any],
) -> RunInfo:
    from rsbench.core.provenance import versions

    store, meta = config.store, config.meta
    absent = [Absent("*", why, metric) for metric, why in config.left_out.items()]
    if own.entry is not None and own.entry.class_map:
        lacking = [metric for metric in config.metrics if needs_probabilities(metric)]
        absent += [Absent(own.name, NO_PROBABILITIES, metric) for metric in lacking]
    absent += [Absent("*", why) for why in task_of(config).left_out(config, config.split)]
    return RunInfo(
        dataset=store.recipe, dataset_digest=store.digest, task=config.protocol.task,
        split=config.split, protocol=config.protocol.name, context=config.context,
        horizon=config.horizon, step=store.meta.step, sensor=config.sensor, bands=config.bands,
        value_range=meta.value_range, unit=meta.unit, display=meta.display,
        starts=start_dates(config), simulated=store.simulated, one_scene=store.one_scene,
        complete=store.complete, missing=store.meta.missing, seed=config.seed,
        precision=config.precision, device=own.device or str(config.device),
        members=config.members, versions=versions(),
        inputs={**references.inputs, **_inputs(config, own)},
        weights={**references.weights, **_weights(config, references, own)},
        licences={config.sensor: {"licence": meta.licence, "attribution": meta.attribution}},
        citations={**references.citations, own.name: own.citation},
        absent=(*references.absent, *absent),
        best_trivial=selected.model,
        selection={n: v for n, v in asdict(selected).items() if n != "model"},
        primary=stated_by(config.protocol),
        **dict(info),
    )  # fmt: skip


def _weights(
    config: EvaluationConfig, references: ReferenceEntries, own: OwnEntry
) -> dict[str, str | None]:
    """Return name → digest of the weights of the own entry, its first member and its controls."""
    digest = own.weights or references.weights.get(own.name)
    controls = {entry.model: own.weights for entry in own.controls}
    return {**controls, **dict.fromkeys(_names(config, own), digest)}


def _names(config: EvaluationConfig, own: OwnEntry) -> list[str]:
    """Return the names of the own entry: of an ensemble, also that of its first member."""
    from rsbench.evaluation.loop import first_member

    several = config.members > 1 and own.entry is not None
    return [own.name, *([first_member(own.name)] if several else [])]


def _inputs(config: EvaluationConfig, own: OwnEntry) -> dict[str, str]:
    """Return name → inputs of the own entry; those of reference models are known."""
    if own.entry is None:
        return {}
    each = task_of(config).context == "each"
    alone = own.most_context is not None and own.most_context < config.context
    said = [task_of(config).shown(config)]
    said += ["one at a time, averaged"] if each and alone else []
    said += [own.inputs] if own.inputs is not None else []
    return dict.fromkeys(_names(config, own), ", ".join(said))
