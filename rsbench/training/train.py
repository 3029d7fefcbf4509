"""Train a model on a store's training split.

Weights are chosen on the validation split by an image metric, never by the loss. An interrupted
training resumes where it stopped and ends with the same weights, bit for bit on one CPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsbench.catalog import Protocol, load_protocol
from rsbench.core.errors import InputError, TrainingError, unknown
from rsbench.core.phases import Phases
from rsbench.core.progress import Advance, silent
from rsbench.core.provenance import provenance
from rsbench.models.api import Card, Model, Trainable
from rsbench.models.checkpoint import (
    NOTE,
    WEIGHTS,
    Checkpoint,
    Footprint,
    TrainedFor,
    checkpoint_dir,
    load_into,
    mark_trained,
    plain_options,
    trainable,
)
from rsbench.models.checkpoint_files import tensors_digest, write_json, write_tensors
from rsbench.models.registry import adopt, create_model, identity
from rsbench.tasks.registry import require_protocol, task
from rsbench.tasks.settings import evaluation_config
from rsbench.training.also import JoinedCrops, require_lineage
from rsbench.training.callbacks import Callbacks, HistoryFile, TrainingCallback, TrainingStart
from rsbench.training.data import Crops, Source, TrainingData, Validation, require_splits
from rsbench.training.launch import Launch
from rsbench.training.loop import Listeners, Loop, Sources
from rsbench.training.optimisers import optimizer, schedule
from rsbench.training.options import Options, faster
from rsbench.training.plan import PRECISIONS, Budget, Plan, leads_of, shortest_context, window_of
from rsbench.training.shared import SharedStages
from rsbench.training.signals import Interrupted, derive, deterministic, seeded
from rsbench.training.state import Position, StateFolder, locked

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from rsbench.models.api import Stage
    from rsbench.store.read import Store

__all__ = ["Interrupted", "TrainRequest", "TrainResult", "fresh_model", "train"]

SHORT = 8


@dataclass(frozen=True)
class TrainResult:
    """A finished training.

    Args:
        checkpoint: the checkpoint's folder.
        history: points of the learning curve.
        steps, seconds: spent in all sittings.
        best_val: mean squared error on validation of the weights kept, in the unit squared.
        steps_now: steps taken in this sitting; 0 where a finished checkpoint was found.
    """

    checkpoint: Path
    history: tuple[Mapping[str, Any], ...]
    steps: int
    seconds: float
    best_val: float
    steps_now: int


def fresh_model(name: str, preset: str | None = None, *, seed: int, **options: Any) -> Model:
    """Build a model whose first weights depend on the seed alone; the global state stays."""
    with seeded(derive(seed, "init", name)):
        return create_model(name, preset, **options)


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """Request of a training.

    Args:
        protocol: window, stride and split scheme.
        context: largest number of context frames; shorter ones are drawn too, down to the card's.
        budget: ``2000steps`` or ``10min``; the steps of the model's stages where None.
        devices: number of devices; a step's batch is divided among them. Under ``torchrun`` the
            processes it started, on all of its nodes, which then share the cache's folder.
        batch_size: most samples at once on a device; the gradient of a larger batch is gathered
            in parts, so the plan of training stays the same apart from rounding.
        options: augmentation, averaged weights, optimiser, and what makes it faster.
        also: a synthetic store from which crops are drawn as well; ``options.also`` has its digest.
        out_dir: the checkpoint's folder; a folder of the plan under the cache where None.
        resume: go on where an interrupted training stopped, and keep a finished one.
        callbacks: told every step and every point of the learning curve, in the first process.
    """

    preset: str
    protocol: Protocol | str | Path
    sensor: str
    bands: tuple[str, ...]
    context: int
    budget: str | None = None
    seed: int = 0
    device: str = "auto"
    devices: int = 1
    precision: str = "32-true"
    batch_size: int | None = None
    options: Options = field(default_factory=Options)
    also: Store | None = None
    out_dir: Path | None = None
    resume: bool = True
    callbacks: tuple[TrainingCallback, ...] = ()

    @property
    def rules(self) -> Protocol:
        """The protocol."""
        return load_protocol(self.protocol)


def train(
    model: Model, card: Card, store: Store, request: TrainRequest, *,
    progress: Advance | None = None,
) -> TrainResult:  # fmt: skip
    """Train a model from the weights it has; it ends with the weights that were kept.

    Args:
        model: a trainable model.
        card: its card, as it reads for the preset.
        progress: called as ``progress(label, done, total)``.

    Raises:
        TrainingError: if the store has no split to train or to validate on, a loss is not finite,
            memory runs out (names the batch size that fits), or another process trains there.
        Interrupted: after Ctrl-C or SIGTERM; the same call goes on.
    """
    rules = request.rules
    launch = Launch.of(request.devices)
    able = trainable(model)
    _require(card, store, rules, request)
    _known(model, card, request.preset)
    plan = _plan(able, card, store, rules, request, launch.size)
    folder = request.out_dir or _home(plan, store) / plan.digest[:SHORT]
    if request.resume and (folder / NOTE).is_file():
        return _found(model, folder, store, plan)
    fabric = _fabric(request.device, launch, request.precision)
    sitting = Sitting(store, rules, plan, folder, fabric, request)
    with locked(folder) if fabric.is_global_zero else nullcontext():
        return _trained(able, card, sitting, progress or silent)


@dataclass(frozen=True, eq=False)
class Sitting:
    """One run of a training: its data, plan, folder and devices."""

    store: Store
    protocol: Protocol
    plan: Plan
    folder: Path
    fabric: Fabric
    request: TrainRequest


def _trained(model: Trainable, card: Card, sitting: Sitting, advance: Advance) -> TrainResult:
    plan, fabric = sitting.plan, sitting.fabric
    states = StateFolder(sitting.folder, plan.digest)
    if not sitting.request.resume and fabric.is_global_zero:
        states.clear()
    begun = states.load()
    shared = SharedStages.of(plan, card, model.module)
    if begun is None and shared is not None and sitting.request.resume:
        begun = shared.load(model.module)
    before = begun[0].steps if begun else 0
    phases = Phases()
    with phases.time("read"):
        sources = _sources(sitting, card, advance)
    heard = Callbacks((HistoryFile(), *sitting.request.callbacks) if fabric.is_global_zero else ())
    listeners = Listeners(advance, heard, phases)
    loop = Loop(fabric, model, plan, sources, states=states, listeners=listeners, shared=shared)
    extras = Options.of(plan.extras)
    with (
        heard.during(_start(sitting, begun[0] if begun else Position())),
        seeded(plan.seed), deterministic(fabric.device), faster(model.module, extras),
    ):  # fmt: skip
        position = loop.run(begun)
    mark_trained(model, TrainedFor(plan.bands, _inputs(sitting), plan.labels))
    if fabric.is_global_zero:
        _write(model, sitting, position, sources.crops.regions, phases)
        states.clear()
    return _result(sitting.folder, position, before)


def _start(sitting: Sitting, position: Position) -> TrainingStart:
    plan = sitting.plan
    return TrainingStart(
        plan.model, plan.preset, sitting.folder, plan.settings, tuple(position.history),
        position.steps,
    )  # fmt: skip


def _sources(sitting: Sitting, card: Card, advance: Advance) -> Sources:
    """Return training crops, validation set and the samples of watched terms."""
    data = TrainingData.open(
        sitting.store, sitting.plan, sitting.protocol, advance, taught=card.taught
    )
    watches = any(stage.watched for stage in sitting.plan.stages)
    watched = Crops(data, "val") if watches else None
    return Sources(_crops(data, sitting, card, advance), Validation(data, card, advance), watched)


def _crops(data: TrainingData, sitting: Sitting, card: Card, advance: Advance) -> Source:
    """Return the training crops of the store, joined with those of a synthetic one if asked."""
    also = sitting.request.also
    if also is None:
        return Crops(data)
    rules = sitting.protocol.model_copy(update={"labels": None})  # all of its labels are drawn
    synthetic = TrainingData.open(also, sitting.plan, rules, advance, taught=card.taught)
    share = Options.of(sitting.plan.extras).also_share
    return JoinedCrops(Crops(data), Crops(synthetic), share or None)


def _result(folder: Path, position: Position, before: int) -> TrainResult:
    best = position.best or {}
    return TrainResult(
        checkpoint=folder,
        history=tuple(position.history),
        steps=position.steps,
        seconds=position.seconds_before + position.seconds,
        best_val=float(best["value"]),
        steps_now=position.steps - before,
    )


def _found(model: Model, folder: Path, store: Store, plan: Plan) -> TrainResult:
    note = Checkpoint.load(folder)
    if note.plan != plan.digest:
        raise TrainingError(
            f"training into {folder}",
            "the checkpoint of another training lies there (model, data, budget or seed differ)",
            "Name another folder, or remove that one",
        )
    load_into(model, folder, store, split=None)
    return TrainResult(
        folder, note.history, note.steps, note.seconds, float(note.selection["value"]), 0
    )


def _require(card: Card, store: Store, protocol: Protocol, request: TrainRequest) -> None:
    if card.task != protocol.task:
        raise InputError(
            f"training {card.name}, whose task is {card.task}",
            f"protocol {protocol.name} asks for {protocol.task}",
            f"Take a protocol whose task is {card.task}",
        )
    require_protocol(protocol)
    if protocol.labels is not None:
        evaluation_config(store, protocol)  # refuses too few labels
    store.sensor(request.sensor)
    require_splits(store)
    if request.options.also != ("" if request.also is None else request.also.digest):
        raise InputError(
            f"training {card.name}", "the options name another synthetic store than is given",
            "Set Options.also to the digest of TrainRequest.also",
        )  # fmt: skip
    if request.also is not None:
        if card.taught:
            raise InputError(
                f"training {card.name}, preset {request.preset}, with a synthetic store",
                "its training has finer images, which synthetic stores do not have",
                "Take a preset without finer images, or leave --also out",
            )
        require_lineage(request.also, store, protocol, request.sensor)
    if protocol.scheme == "time":
        raise InputError(
            f"training under the protocol {protocol.name}",
            "its split scheme is time: the regions that are trained on are scored as well, and "
            "checkpoints are refused for regions that they were trained on",
            "Take a protocol whose scheme is space or space-time",
        )
    if request.precision not in PRECISIONS:
        raise unknown("precision", request.precision, PRECISIONS)
    if request.devices < 1 or (request.batch_size is not None and request.batch_size < 1):
        found = f"devices {request.devices}, batch size {request.batch_size}"
        raise InputError("training", found, "Both are at least 1")


def _known(model: Model, card: Card, preset: str) -> None:
    try:
        own = identity(model)
    except InputError:
        adopt(model, card, preset)
        return
    if (own.name, own.preset) != (card.name, preset):
        raise InputError(
            f"training {card.name}, preset {preset}",
            f"the model is {own.name}, preset {own.preset}",
            "Give the card and preset that the model was built with",
        )


def _stages(model: Trainable, card: Card, request: TrainRequest, devices: int) -> tuple[Stage, ...]:
    """Return the stages of a model, after checking that they can be trained as asked."""
    try:
        stages = tuple(request.options.applied(stage) for stage in model.stages())
    except ValueError as error:
        asked = f"training {card.name}, preset {request.preset}"
        raise TrainingError(asked, str(error), "Or choose another preset") from error
    if not stages:
        raise TrainingError(
            f"training {card.name}", "it names no stage", "A trainable model has at least one"
        )
    small = [s.name for s in stages if s.batch_size < devices or s.steps < 1]
    if small:
        raise InputError(
            f"training {card.name} on {devices} devices",
            f"stage {small[0]} has too few samples or steps",
            "Use fewer devices, or a preset with larger batches",
        )
    for stage in stages:  # a name that is not known is refused before training
        optimizer(stage.optimizer), schedule(stage.schedule)
    if request.options.augment and getattr(model, "reads_places", False):
        raise InputError(
            f"training {card.name} with {', '.join(request.options.augment)}",
            "it reads rasters of its own at the samples' places, which would not be moved",
            "Leave --augment out",
        )
    return stages


def _room(store: Store, sensor: str, window: int) -> int:
    """Return a window, or the side of the smallest region if that is less."""
    grids = [store.region(name).grids[sensor] for name in store.regions]
    return min(window, *(min(grid.height, grid.width) for grid in grids))


def _plan(
    model: Trainable, card: Card, store: Store, protocol: Protocol, request: TrainRequest,
    devices: int,
) -> Plan:  # fmt: skip
    stages = _stages(model, card, request, devices)
    task(card.task).target(store).band_index(request.bands)
    return Plan(
        model=card.name, preset=request.preset,
        options=plain_options(identity(model).options),
        preset_options=plain_options(card.presets[request.preset].options),
        dataset_digest=store.digest, scheme=protocol.trained_for,
        sensor=request.sensor, bands=request.bands,
        window=window_of(card, _room(store, request.sensor, protocol.window)),
        grid=(protocol.window, protocol.stride),
        shortest=shortest_context(card, request.context), context=request.context,
        longest=min(request.context, card.max_context or request.context),
        leads=tuple(leads_of(card, stage) for stage in stages), stages=stages,
        budget=str(Budget.parse(request.budget, stages)), seed=request.seed, devices=devices,
        precision=request.precision, batch_size=request.batch_size,
        initial=tensors_digest(model.module.state_dict()),
        resampling=task(card.task).resampled(protocol), extras=request.options.chosen(),
        labels=protocol.label_share,
    )  # fmt: skip


def _home(plan: Plan, store: Store) -> Path:
    return checkpoint_dir(
        model=plan.model, preset=plan.preset, digest=store.digest, split=plan.scheme,
        seed=plan.seed, context=plan.context,
    )  # fmt: skip


def _fabric(device: str, launch: Launch, precision: str) -> Fabric:
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise InputError(
            "training", f"{error.name} is not installed", "Type: pip install 'rsbench[models]'"
        ) from error
    kind, _, number = device.partition(":")
    options: Any = {"precision": precision}
    chosen: Any = [int(number)] if number.isdigit() and launch.size == 1 else launch.devices
    try:
        fabric = Fabric(
            accelerator=kind,
            devices=chosen,
            num_nodes=launch.nodes,
            **options,
            # A model may leave some parameters out of a step, e.g. under random contexts.
            strategy="ddp_find_unused_parameters_true" if launch.size > 1 else "auto",
        )
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"training on {launch.size} × {device} with {precision}",
            str(error).splitlines()[0],
            "Give --device cpu or cuda and as many --devices as there are",
        ) from error
    if launch.size > 1:
        fabric.launch()
    return fabric


def _write(
    model: Trainable, sitting: Sitting, position: Position, regions: Sequence[str], phases: Phases
) -> None:
    store, plan, folder = sitting.store, sitting.plan, sitting.folder
    tensors = model.module.state_dict()
    made = provenance(device=str(sitting.fabric.device), precision=plan.precision, seed=plan.seed)
    note = Checkpoint(
        model=plan.model, preset=plan.preset, options=plan.options,
        preset_options=plan.preset_options, dataset=store.recipe, dataset_digest=store.digest,
        scheme=plan.scheme, sensor=plan.sensor, bands=plan.bands, context=plan.context,
        window=plan.window, regions=_footprints(store, plan, regions),
        selected_on=store.split("val"), seed=plan.seed, steps=position.steps,
        stages=tuple(stage.stated() for stage in plan.stages), precision=plan.precision,
        inputs=_inputs(sitting), budget=sitting.request.budget, training=plan.extras,
        labels=plan.labels,
        selection=dict(position.best or {}), weights_digest=tensors_digest(tensors),
        plan=plan.digest, simulated=store.simulated,
        seconds=position.seconds_before + position.seconds, history=tuple(position.history),
        provenance={**made.to_json(), "phases": phases.seconds()},
        finished=datetime.now(UTC).isoformat(timespec="microseconds"),
    )  # fmt: skip
    write_tensors(folder / WEIGHTS, tensors)
    write_json(folder / NOTE, note.to_json())


def _inputs(sitting: Sitting) -> tuple[str, ...]:
    """Return the bands of the images that the model is given."""
    plan = sitting.plan
    return task(sitting.protocol.task).bands_given(sitting.store, plan.sensor, plan.bands)


def _footprints(store: Store, plan: Plan, regions: Sequence[str]) -> tuple[Footprint, ...]:
    entries = {name: store.region(name) for name in regions}
    return tuple(
        Footprint.of(name, e.grids[plan.sensor], e.times[plan.sensor][-1].isoformat())
        for name, e in entries.items()
    )
