"""One run: a model and its reference models, from a store to scores, table and report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsbench.catalog import Protocol, labelled_protocol, windowed_protocol
from rsbench.core.digest import canonical_json, sha256_json
from rsbench.core.errors import InputError, TrainingError, unknown
from rsbench.core.phases import Phases
from rsbench.core.progress import Advance, shown, silent
from rsbench.evaluation.batch_size import ENTRY as BATCH_ENTRY
from rsbench.evaluation.batch_size import batch_of
from rsbench.evaluation.own_entry import OwnEntry, own_entry
from rsbench.evaluation.publish import kept_answers, publish
from rsbench.evaluation.run_folder import reserved
from rsbench.evaluation.run_info import REUSED
from rsbench.evaluation.score_table import Working, score_table
from rsbench.evaluation.scores import Scores
from rsbench.evaluation.strata import headline as headline_rows
from rsbench.evaluation.table import records
from rsbench.evaluation.trained_labels import require_labels
from rsbench.metrics.queries import SELECTION, SKILL, headline
from rsbench.models.checkpoint import plain_options, require_unseen
from rsbench.tasks.config import BATCH, EvaluationConfig, EvaluationOptions, Note, quiet
from rsbench.tasks.registry import task_of
from rsbench.tasks.settings import default_protocol, evaluation_config

if TYPE_CHECKING:
    from rsbench.models.api import Card, Model, Stage
    from rsbench.models.checkpoint import Checkpoint
    from rsbench.models.prediction_cache import PredictionCache
    from rsbench.store.read import Store
    from rsbench.training.callbacks import TrainingCallback
    from rsbench.training.options import Options
    from rsbench.training.train import TrainRequest

KEEP = ("none", "viewer", "all")


@dataclass(frozen=True)
class RunRequest(EvaluationOptions):
    """Options of a run; None means the value of the recipe or the protocol.

    ``labelled_fraction``, ``label_seed``: the protocol's ``labels``. ``window``: its ``window``
    and ``stride`` in pixels. ``also``: a synthetic store that training draws crops from as well;
    ``also_share``: their share, by regions where None. ``fresh_references``: scores of reference
    models are computed, even where an earlier run of equal configuration kept them.
    ``batch_samples``: samples that are predicted and scored at once; ``auto``: by free memory.
    """

    model: str
    preset: str | None = None
    data: Path | None = None
    protocol: str | None = None
    checkpoint: Path | None = None
    budget: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    keep: str = "viewer"
    out: Path | None = None
    command: str = ""
    labelled_fraction: float | None = None
    label_seed: int | None = None
    window: int | None = None
    also: Path | None = None
    also_share: float | None = None
    fresh_references: bool = False
    batch_samples: int | str = BATCH


@dataclass(frozen=True)
class RunResult:
    """The folder of a run, its scores, and phase → seconds of what was done now."""

    out: Path
    scores: Scores
    phases: Mapping[str, float] = field(default_factory=dict)

    def summary(self) -> str:
        """Return a short table for the terminal: headline metrics at the first and last lead.

        Below it, the reference of skill and what of the truth is outside the plausible range.
        """
        table = self.scores.table()
        leads = sorted({1, self.scores.run.horizon})
        shown = table[
            (table["stratum"] == "all") & (table["band"] == "all") & table["lead"].isin(leads)
        ]
        always = shown["metric"].isin((SELECTION, f"skill.{SELECTION}"))
        known = shown["metric"].isin(headline()) | always
        shown = shown[known] if (known & ~always).any() else shown  # others were asked for by name
        grid = shown.pivot_table(
            index="model", columns=["metric", "lead"], values="value", sort=False
        )
        lines = [str(grid.to_string(float_format="{:.4g}".format, na_rep="-"))]
        if shown["metric"].str.startswith(SKILL).any():
            lines.append(f"skill is relative to {self.scores.run.reference}")
        return "\n".join([*lines, *filter(None, [self.scores.run.implausible])])

    def to_json(self) -> dict[str, Any]:
        """Return what `rsbench run --json` prints: places, identity, and the headline rows.

        ``reused`` says whose scores come from the cache, ``phases`` where the time went.
        """
        run, columns = self.scores.run, ["model", "preset", "metric", "lead", "value", "lo", "hi"]
        return {
            "out": str(self.out),
            "report": str(self.out / "report.html"),
            **run.identity(),
            "protocol": run.protocol,
            "simulated": run.simulated,
            "complete": run.complete,
            "reference": run.best_trivial,
            "reused": run.extra.get(REUSED),
            "phases": dict(self.phases),
            "rows": records(headline_rows(self.scores.table())[columns]),
        }


def evaluate(
    model: Model,
    store: Store,
    protocol: str | Path | Protocol | None = None,
    split: str = "test",
    horizon: int | None = None,
    members: int = 1,
    seed: int = 0,
    device: str = "auto",
    precision: str = "32-true",
    *,
    context: str | int | None = None,
    suite: str | None = None,
    metrics: str | None = None,
    progress: Advance | bool = False,
) -> Scores:
    """Score a model and the reference models of its task on a store.

    Args:
        model: a model of :func:`rsbench.create_model`, or any object with ``predict`` that was
            given a card with :func:`rsbench.models.registry.adopt`.
        store: an open store.
        protocol: name in the catalogue, path of a YAML file, or a protocol; the store's default
            for the task of the model where None.
        split: ``test``, ``val`` or ``train``.
        horizon: leads; the protocol's where None.
        members: ensemble members; their mean is scored.
        seed: random seed for training and sampling.
        device: ``auto``, ``cpu``, ``cuda`` …
        precision: as Lightning Fabric names it; metrics are always float32 with float64 sums.
        context: context frames, or ``all``.
        suite: suites or ids of metrics; the protocol's where None.
        metrics: suites or ids in addition to these.
        progress: True for a bar or lines on stderr, or a function of (label, done, total).

    Returns:
        Sums per unit, with ``table()``; values are in the unit of each metric.

    Raises:
        TrainingError: if the model is trainable and its weights were neither trained nor loaded.
    """
    from rsbench.models.registry import identity

    options = EvaluationOptions(
        split=split, context=context, horizon=horizon, members=members, seed=seed, device=device,
        precision=precision, suite=suite, metrics=metrics,
    )  # fmt: skip
    named = protocol or default_protocol(store, identity(model).card.task)
    config = evaluation_config(store, named, options)
    with shown(progress) as advance:
        return score_table(config, own_entry(config, model), advance=advance)


def run_model(request: RunRequest, *, note: Note = quiet, advance: Advance = silent) -> RunResult:
    """Find data and weights, score, and write all files, as `rsbench run` does."""
    job, phases = job_of(request, note), Phases()
    with reserved(job.out, job.key) as done:
        if done is not None:
            note(f"{job.out} holds this run already; nothing was left to do")
            return RunResult(job.out, done)
        own, info = own_of(job, phases, note=note, advance=advance)
        job = job.batched(batch_of(job.config, own, request.batch_samples, note))
        working = Working(not request.fresh_references, phases)

        def made(folder: Path) -> Scores:
            with kept_answers(job.config, request.keep, folder, phases=phases) as on_answer:
                return score_table(
                    job.config, own, note=note, advance=advance, on_answer=on_answer, info=info,
                    working=working,
                )  # fmt: skip

        scores = publish(job.out, made, phases)
    return RunResult(job.out, scores, phases.seconds())


@dataclass(frozen=True)
class Job:
    """A run as it is resolved.

    Args:
        stated: everything that the scores depend on, except weights and versions of packages.
    """

    request: RunRequest
    config: EvaluationConfig
    preset: str
    out: Path
    stated: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Digest of what is stated."""
        return sha256_json(self.stated)

    def batched(self, number: int) -> Job:
        """Return the job with another number of samples at once."""
        return replace(self, config=replace(self.config, batch_samples=number))


def job_of(request: RunRequest, note: Note) -> Job:
    """Return what a request asks for: store, configuration and folder; say what was chosen."""
    if request.keep not in KEEP:
        raise unknown("choice of --keep-predictions", request.keep, KEEP)
    store, config, preset = resolved(request, note)
    chosen = f"-{sha256_json(plain_options(request.options))[:8]}" if request.options else ""
    chosen += f"-also-{_extras(request).also[:8]}" if request.also else ""
    name = f"{request.model}-{preset}{chosen}-{store.digest[:8]}-s{request.seed}"
    out = request.out or Path("runs") / name
    stated = json.loads(canonical_json(_stated(request, config, preset)))
    if isinstance(request.batch_samples, int):
        config = replace(config, batch_samples=request.batch_samples)
    return Job(request, config, preset, out, stated)


def own_of(
    job: Job, phases: Phases, *, note: Note, advance: Advance, trains: str = ""
) -> tuple[OwnEntry, Mapping[str, Any]]:
    """Return the entry of the model with weights, and further fields of :class:`RunInfo`.

    Args:
        phases: to which the time of training, fits and transfers is added.
        trains: what trains the model if no checkpoint fits, in words; empty: this process does.
    """
    request, config, preset = job.request, job.config, job.preset
    with phases.time("train"):
        model, checkpoint = weighted_model(
            request, config, preset, note=note, advance=advance, trains=trains
        )
    if checkpoint is not None:
        require_unseen(checkpoint, config.store, config.split)
    history = {} if checkpoint is None else {request.model: checkpoint.history}
    own = own_entry(
        config, model, lambda weights: _kept(request, config, preset, weights, note), note=note,
        phases=phases,
    )  # fmt: skip
    info = {"command": request.command, "history": history, "extra": {"key": job.key}}
    own = replace(own, inputs=_inputs(own.inputs, checkpoint), made=own.made.by(checkpoint))
    return own, info


def _kept(
    request: RunRequest, config: EvaluationConfig, preset: str, weights: str | None, note: Note
) -> PredictionCache | None:
    """Return the store of this run's predictions, None where they are not kept."""
    from rsbench.evaluation.kept_predictions import kept_predictions

    if request.keep != "all":
        return None
    options = {**request.options, **_batch(request)}
    return kept_predictions(config, request.model, preset, weights, options, note)


def _batch(request: RunRequest) -> dict[str, Any]:
    """Return the size of batches as it was asked for, where it is another than always."""
    return {} if request.batch_samples == BATCH else {BATCH_ENTRY: request.batch_samples}


def resolved(request: RunRequest, note: Note) -> tuple[Store, EvaluationConfig, str]:
    """Return store, configuration and preset of a request; say what was chosen."""
    from rsbench.core.paths import default_store
    from rsbench.models.registry import card
    from rsbench.store.read import open_store

    entry = card(request.model)
    path, why = (request.data, "") if request.data else default_store()
    store = open_store(path)
    wished = store.meta.default_preset
    preset = request.preset or (wished if wished in entry.presets else entry.default_preset)
    entry.of(preset)
    whose = "" if request.preset else ", the recipe's" if preset == wished else ", its default"
    from_where = f", {why}" if why else ""
    source = f"of {request.checkpoint}" if request.checkpoint else f"trained {_within(request)}"
    weights = f"; weights {source}" if entry.trainable else ""
    note(f"model {request.model}, preset {preset}{whose}{weights}; data {path}{from_where}")
    if store.simulated:
        note("the data are simulated: numbers from them say nothing about real places")
    if not store.complete:
        note(f"the store is incomplete: {len(store.meta.missing)} units are missing")
    rules: str | Protocol = request.protocol or default_protocol(store, entry.task)
    if not request.protocol and rules != store.meta.default_protocol:
        note(f"protocol {rules}, that of the task of {request.model}")
    if rules:
        rules = labelled_protocol(rules, request.labelled_fraction, request.label_seed)
        rules = windowed_protocol(rules, request.window)
    config = evaluation_config(store, rules, request)
    for line in task_of(config).notes(config):
        note(line)
    _require_fitting(request, entry, preset, config)
    return store, config, preset


def _require_fitting(
    request: RunRequest, entry: Card, preset: str, config: EvaluationConfig
) -> None:
    """Raise InputError if the model is of another task or needs a longer context."""
    from rsbench.models.registry import cards

    if entry.task != config.protocol.task:
        fitting = [name for name, one in cards().items() if one.task == config.protocol.task]
        raise InputError(
            f"model {request.model}, whose task is {entry.task}",
            f"protocol {config.protocol.name} asks for {config.protocol.task}",
            f"Choose a model of that task: {', '.join(sorted(fitting))}",
        )
    needed = entry.of(preset).min_context
    if config.context < needed:
        most = task_of(config).most_context(config)
        frames = task_of(config).words.frames
        raise InputError(
            f"{request.model}, preset {preset}, with a context of {config.context}",
            f"it needs at least {needed} {frames}"
            + ("" if needed <= most else f"; the dates of the store allow {most}"),
            f"Give --context {needed} or more, or choose another preset"
            if needed <= most
            else "Choose another model or preset, or a store with more dates",
        )


def _stated(request: RunRequest, config: EvaluationConfig, preset: str) -> dict[str, Any]:
    from rsbench.core.version import __version__
    from rsbench.models.registry import card

    own = card(request.model).presets[preset].options
    return {
        "version": __version__, "dataset": config.store.digest, "model": request.model,
        "preset": preset, "preset_options": plain_options(own),
        "protocol": config.protocol.model_dump(mode="json"),
        "split": config.split, "context": config.context, "horizon": config.horizon,
        "members": config.members, "seed": config.seed, "precision": config.precision,
        "metrics": list(config.metrics), "budget": request.budget, "keep": request.keep,
        "checkpoint": str(request.checkpoint) if request.checkpoint else None,
        **({"options": plain_options(request.options)} if request.options else {}),
        **_batch(request),
        **({"training": _extras(request).chosen()} if request.also else {}),
    }  # fmt: skip


def _inputs(stated: str | None, checkpoint: Checkpoint | None) -> str | None:
    """Return what a model was made with beside its frames: also its synthetic training data."""
    also = checkpoint.training.get("also") if checkpoint else None
    share = f", {checkpoint.training['also_share']:g} of the crops" if checkpoint and (
        "also_share" in checkpoint.training) else ""  # fmt: skip
    parts = [stated, f"trained with synthetic {also[:12]}{share}" if also else None]
    return ", ".join(filter(None, parts)) or None


def weighted_model(
    request: RunRequest, config: EvaluationConfig, preset: str, *, note: Note, advance: Advance,
    trains: str = "",
) -> tuple[Model, Checkpoint | None]:  # fmt: skip
    """Return a model with weights, trained first if no checkpoint fits, and its checkpoint.

    Which regions it was trained on is not checked; see ``require_unseen``.

    Args:
        trains: what else trains the model, in words; empty: this process does.
    """
    from rsbench.models.registry import card, create_model, identity

    entry = card(request.model)
    options = {**task_of(config).model_options(config), **request.options}
    if not entry.trainable:
        return create_model(request.model, preset, **options), None
    from rsbench.models.checkpoint import Checkpoint, folder_of, load_into
    from rsbench.models.checkpoint_search import CheckpointQuery, fitting_checkpoints
    from rsbench.training.train import fresh_model, train

    model = fresh_model(request.model, preset, seed=request.seed, **options)
    path = request.checkpoint
    if path is None:
        stages, own = _stages(model), entry.presets[preset].options
        found = fitting_checkpoints(CheckpointQuery(
            model=request.model, preset=preset, digest=config.store.digest,
            split=config.protocol.trained_for, seed=request.seed, context=config.context,
            sensor=config.sensor, bands=config.bands, budget=request.budget,
            options=identity(model).options, stages=stages,
            preset_options=own, labels=config.protocol.label_share, precision=config.precision,
            training=_extras(request).chosen(),
        ))  # fmt: skip
        for folder, kept in found.others:
            how = "".join(f", {name} {value}" for name, value in kept.training.items())
            how += f", precision {kept.precision}" if kept.precision != config.precision else ""
            if stages is not None and not kept.trained_by(stages):
                how += ", by stages that the preset no longer has"
            what = f"give --checkpoint {folder} to score it"
            if not kept.built_by(own):
                what = f"the preset has changed since {folder}"
            note(f"passed over, trained within {kept.budget or 'its own budget'}{how}: {what}")
        path = found.same[-1] if found.same else None
    if path is None and trains:
        raise TrainingError(f"scoring {request.model}", "no checkpoint fits", trains)
    if path is None:
        note(f"no checkpoint fits: {request.model} is trained first, {_within(request)}")
        asked = _training(request, config, preset)
        path = train(model, entry.of(preset), config.store, asked, progress=advance).checkpoint
    require_labels(config, path, Checkpoint.load(folder_of(path)))
    checkpoint = load_into(model, path, config.store, split=None)
    if checkpoint.imported:
        note(f"weights imported from {checkpoint.imported}: the places and dates of their training "
             "are unknown, so their overlap with the split is not checked")  # fmt: skip
    return model, checkpoint


def _extras(request: RunRequest) -> Options:
    """Return the options of training that a request states: its synthetic store."""
    from rsbench.store.read import open_store
    from rsbench.training.options import Options

    if request.also is None:
        return Options(also_share=request.also_share or 0.0)
    return Options(also=open_store(request.also).digest, also_share=request.also_share or 0.0)


def _stages(model: Model) -> Sequence[Stage] | None:
    """Return the stages of training; None if a package that training needs is not installed."""
    from rsbench.models.checkpoint import trainable

    try:
        return trainable(model).stages()
    except ValueError:
        return None


def _within(request: RunRequest) -> str:
    return f"within {request.budget or 'the budget of the preset'}"


def _training(request: RunRequest, config: EvaluationConfig, preset: str) -> TrainRequest:
    """Return the training that a run asks for."""
    from rsbench.store.read import open_store
    from rsbench.training.train import TrainRequest

    return TrainRequest(
        preset=preset, protocol=config.protocol, sensor=config.sensor, bands=config.bands,
        context=config.context, budget=request.budget, seed=request.seed,
        device=str(config.device), precision=request.precision, options=_extras(request),
        also=None if request.also is None else open_store(request.also),
    )  # fmt: skip


def train_model(
    request: RunRequest, *, devices: int = 1, batch_size: int | None = None,
    options: Options | None = None, callbacks: Sequence[TrainingCallback] = (), note: Note = quiet,
    advance: Advance = silent,
) -> Path:  # fmt: skip
    """Train a model as `rsbench train` does, and return the checkpoint's folder."""
    from rsbench.models.registry import card
    from rsbench.training.options import Options
    from rsbench.training.train import fresh_model, train

    store, config, preset = resolved(replace(request, horizon=request.horizon or 1), note)
    entry = card(request.model)
    if options and options.learning_rate and "learning_rate" in request.options:
        found = "--learning-rate and --option learning_rate are both given"
        raise InputError(f"training {request.model}", found, "Give one of them")
    if not entry.trainable:
        raise InputError(
            f"training {request.model}",
            "it has nothing to train",
            f"Type: rsbench run --model {request.model}",
        )
    model = fresh_model(
        request.model, preset, seed=request.seed,
        **{**task_of(config).model_options(config), **request.options},
    )  # fmt: skip
    asked, extras = _training(request, config, preset), options or Options()
    asked = replace(
        asked, devices=devices, batch_size=batch_size, callbacks=tuple(callbacks),
        options=replace(extras, also=asked.options.also, also_share=asked.options.also_share),
    )  # fmt: skip
    return train(model, entry.of(preset), store, asked, progress=advance).checkpoint
