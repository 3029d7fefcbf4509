"""Scores of one entry, of the reference models, controls and bounds of its task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsbench.core.errors import InputError
from rsbench.core.phases import Phases
from rsbench.core.progress import Advance, silent
from rsbench.evaluation.batch_size import ENTRY
from rsbench.evaluation.costs import COSTS, REUSED_SCORES, Made, Meter
from rsbench.evaluation.endpoint import stated_by
from rsbench.evaluation.equal_answers import ANSWERS, AnswerDigests, require_distinct
from rsbench.evaluation.own_entry import OwnEntry
from rsbench.evaluation.positions import PLACES, positions
from rsbench.evaluation.run_info import CLASS_PIXELS, IMPLAUSIBLE, LABELS, REUSED, Absent, RunInfo
from rsbench.evaluation.scores import Scores
from rsbench.evaluation.submission_maps import NO_PROBABILITIES
from rsbench.metrics.queries import needs_case, needs_probabilities
from rsbench.store.plausible import implausible_images
from rsbench.tasks.config import EvaluationConfig, Note, quiet
from rsbench.tasks.registry import task_of
from rsbench.tasks.settings import start_dates

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from rsbench.evaluation.entries import ModelEntry
    from rsbench.evaluation.loop import Tally
    from rsbench.evaluation.pieces import Collected
    from rsbench.evaluation.pixel_strata import PixelLayers
    from rsbench.evaluation.reference_cache import KeptReferences, ReferenceCache
    from rsbench.evaluation.reference_models import ReferenceEntries, Selection
    from rsbench.evaluation.set_metrics import OfCase
    from rsbench.tasks.base import Case

    OnAnswer = Callable[[ModelEntry, Case, int, torch.Tensor], None]


@dataclass(frozen=True)
class Working:
    """How a table is made; no value depends on it.

    Args:
        reuse: whether scores of reference models are taken from the cache, and kept in it.
        phases: to which the time of each phase is added.
        parts: folder of the parts of a run, which all take these scores from the cache, or none.
    """

    reuse: bool = False
    phases: Phases = field(default_factory=Phases)
    parts: Path | None = None


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
    from rsbench.tasks.blocks import Blocks

    how = working or Working()
    scoring = prepared(config, own, note=note, info=info, working=how)
    entries, blocks = scoring.entries, Blocks.of(config)
    count = _counter(blocks.count(blocks.numbers), advance)
    found = collect(scoring, blocks.cases(blocks.numbers), on_answer=on_answer, on_case=count)
    entries.exchange(found.tally, note)
    run = replace(scoring.run, extra={**scoring.run.extra, **entries.reused, **scoring.costs()})
    with how.phases.time("metrics"):
        return completed(config, own.name, run, found, note=note)


@dataclass(frozen=True)
class Scoring:
    """What the images of a table are scored with.

    Args:
        run: identity and provenance, before anything is scored.
        of_case: functions of features that need the store or the conditions.
        made: name of an entry → how it came about.
        meter: measures the entries while they answer.
    """

    config: EvaluationConfig
    entries: _Entries
    run: RunInfo
    layers: PixelLayers
    of_case: Mapping[str, OfCase]
    phases: Phases
    made: Mapping[str, Made]
    meter: Meter

    def costs(self, unmeasured: str = REUSED_SCORES) -> dict[str, Any]:
        """Return what ``run.json`` states of costs; ``unmeasured``: why an entry has no times."""
        entries = (*self.entries.own, *self.entries.always)
        return {COSTS: self.meter.costs(entries, self.made, unmeasured)}


def prepared(
    config: EvaluationConfig, own: OwnEntry, *, note: Note = quiet,
    info: Mapping[str, Any] | None = None, working: Working | None = None, select: bool = True,
) -> Scoring:  # fmt: skip
    """Return one entry with reference models, controls and bounds, ready to be scored.

    Args:
        info: further fields of :class:`RunInfo`.
        working: whether scores of reference models are reused, and where the time is added.
        select: whether the reference of skill is chosen, which scores the validation split.
    """
    from rsbench.evaluation.case_features import case_features
    from rsbench.evaluation.reference_models import reference_entries

    how = working or Working()
    for metric, why in config.left_out.items():
        note(f"{metric} is unavailable: {why}")
    for why in task_of(config).left_out(config, config.split):
        note(why)
    references = reference_entries(config, note=note, phases=how.phases)
    if own.entry is None:
        _require_present(own.name, references)
    entries = _entries(config, own, references, how, note, select=select)
    extra = {**(info or {}).get("extra", {}), ENTRY: config.batch_samples}
    run = _run_info(config, references, own, entries.selected, {**(info or {}), "extra": extra})
    known = {entry.model: own.part(entry.model) for entry in entries.own} | dict(references.made)
    return Scoring(
        config, entries, run, _layers(config), case_features(config), how.phases, known,
        Meter(config.device),
    )  # fmt: skip


def collect(
    scoring: Scoring, cases: Iterable[Case], *, on_answer: OnAnswer | None = None,
    on_case: Callable[[int], None] | None = None,
) -> Collected:  # fmt: skip
    """Return the sums, counts and features of some cases.

    Of reference models whose scores are reused, only the answers are passed on, where a picture or
    a digest needs them.

    Args:
        on_answer: called with entry, case, lead and values of each answer.
        on_case: called with the number of images of each finished case.
    """
    from rsbench.evaluation.loop import ScoringHooks, score
    from rsbench.evaluation.pieces import Collected

    config, entries = scoring.config, scoring.entries
    answers = _answers(config)
    tally = score(
        entries.own if entries.kept else (*entries.own, *entries.always), cases, config.metrics,
        bands=config.bands, value_range=config.meta.value_range, rgb=config.rgb,
        hooks=ScoringHooks(
            scoring.layers, _heard(on_answer, answers), on_case, scoring.of_case,
            heard=entries.always if entries.kept else (), phases=scoring.phases,
            answer=scoring.meter.answer,
        ),
    )  # fmt: skip
    return Collected(tally, answers)


def nothing(config: EvaluationConfig) -> Collected:
    """Return what is collected before any case is scored."""
    from rsbench.evaluation.loop import empty_tally
    from rsbench.evaluation.pieces import Collected

    tally = empty_tally(config.metrics, config.bands, config.meta.value_range, config.rgb)
    return Collected(tally, _answers(config))


def completed(
    config: EvaluationConfig, own: str, run: RunInfo, found: Collected, *, note: Note = quiet
) -> Scores:
    """Return the scores of all that was collected.

    Args:
        own: name of the entry that the table is about.
        run: as :func:`prepared` returns it, with the reference of skill.
    """
    from rsbench.evaluation.clipped import outside
    from rsbench.evaluation.pixel_strata import region_strata

    layers, tally = _layers(config), found.tally
    strata, no_season = region_strata(config.store, config.sensor, _regions(config), layers)
    sources = {f"pixel {layer.name}": layer.source for layer in layers.layers}
    known = {"sources": sources, "absent": {**layers.absent, **no_season}}
    counts = _counts(tally.counts)
    run = replace(run, absent=(*run.absent, *_said(outside(counts), note)))
    extra = {"counts": counts, "strata": known, **_networks(config.metrics)}
    extra |= {PLACES: positions(config.store, config.sensor, _regions(config))}
    extra |= _implausible(config, tally.frame({}))
    labels = task_of(config).training_labels(config)
    if labels is not None:
        extra |= {LABELS: labels.to_json(), CLASS_PIXELS: task_of(config).class_pixels(config)}
    if found.answers is not None:
        extra |= {ANSWERS: found.answers.digests()}
        require_distinct(own, extra[ANSWERS])
    if tally.sets is not None:
        note("comparing sets of images")
    return _scores(tally, strata, replace(run, extra={**run.extra, **extra}))


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

    def exchange(self, tally: Tally, note: Note) -> None:
        """Add cached sums of the reference models, or keep those that were computed."""
        models = [entry.model for entry in self.always]
        if self.cache is not None and self.kept is not None:
            self.kept.add_to(tally)
            note(f"scores of {', '.join(models)} are reused from {self.cache.folder}; "
                 "--fresh-references computes them again")  # fmt: skip
        elif self.cache is not None:
            self.cache.write(tally, models, self.selected, note)


def _entries(
    config: EvaluationConfig, own: OwnEntry, references: ReferenceEntries, how: Working, note: Note,
    *, select: bool,
) -> _Entries:  # fmt: skip
    """Return what is scored. The scores of a table of a reference model are made, not reused."""
    from rsbench.evaluation.part_references import shared_references
    from rsbench.evaluation.reference_cache import ReferenceCache
    from rsbench.evaluation.reference_models import Selection, bound_entries, select_reference

    chosen = () if own.entry is None else (own.entry, *own.controls)
    networks = _networks(config.metrics)
    cache = ReferenceCache.of(config, references, networks) if how.reuse else None
    always = (*references.entries, *bound_entries(config))
    if how.parts is not None:
        names = [entry.model for entry in always]
        wanted = how.reuse and bool(chosen)
        kept = shared_references(how.parts, cache, names, wanted=wanted, note=note)
    else:
        kept = cache.read(note) if cache is not None and chosen else None
    selected = kept.selection if kept else Selection(None)
    if select and not kept:
        with how.phases.time("metrics"):
            selected = select_reference(config, references.entries)
    return _Entries(chosen, always, selected, cache, kept)


def _regions(config: EvaluationConfig) -> list[str]:
    """Return the regions that are scored, in the order of the store."""
    groups = task_of(config).groups(config, config.split)
    scored = {sample.region for group in groups for sample in group}
    return [name for name in config.store.regions if name in scored]


def _layers(config: EvaluationConfig) -> PixelLayers:
    from rsbench.evaluation.pixel_strata import pixel_layers

    labels = not task_of(config).predicts_labels
    return pixel_layers(config.store, config.sensor, _regions(config), labels=labels)


def _answers(config: EvaluationConfig) -> AnswerDigests | None:
    return AnswerDigests() if task_of(config).predicts_labels else None


def _heard(on_answer: OnAnswer | None, answers: AnswerDigests | None) -> OnAnswer | None:
    """Return a function that passes answers on and adds them to the digests."""
    if answers is None:
        return on_answer

    def heard(entry: ModelEntry, case: Case, lead: int, values: torch.Tensor) -> None:
        answers.add(entry, [sample.region for sample in case.samples], values)
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
