"""Checkpoints: weights as safetensors, and a JSON file that describes their training.

A checkpoint is a folder with ``weights.safetensors`` and ``checkpoint.json``. It loads only into
the same model and preset with equal tensor shapes. Regions that it was trained on are not scored.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rsbench.core.digest import SEAL, is_intact, sealed, sha256_json
from rsbench.core.errors import InputError, SchemaError, TrainingError, first_line
from rsbench.core.paths import cache_dir
from rsbench.core.typed import typed
from rsbench.models.api import Model, Stage, Trainable
from rsbench.models.checkpoint_files import REMEDY, read_json, read_tensors, tensors_digest

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from rsbench.core.grid import Grid
    from rsbench.store.read import Store

SCHEMA = 2
"""Under schema 1, ``checkpoint.json`` had no digest of its own; it is still read."""
WEIGHTS = "weights.safetensors"
NOTE = "checkpoint.json"
SHOWN = 3
IMPORTED = "imported"
"""Entry of the provenance: file name and SHA-256 of weights that another program trained."""


@dataclass(frozen=True)
class Footprint:
    """The area of a region: name, CRS and ``(left, bottom, right, top)`` in CRS units.

    ``last``: last date of its frames (ISO 8601), empty if unknown.
    """

    region: str
    crs: str
    bounds: tuple[float, float, float, float]
    last: str = ""

    @classmethod
    def of(cls, region: str, grid: Grid, last: str = "") -> Self:
        """Return the footprint of a region's grid."""
        a, _, c, _, e, f = grid.transform
        xs, ys = sorted((c, c + a * grid.width)), sorted((f, f + e * grid.height))
        return cls(region, grid.crs, (xs[0], ys[0], xs[1], ys[1]), last)

    def overlaps(self, other: Footprint) -> bool:
        """Return whether both have one CRS and overlap."""
        if self.crs != other.crs:
            return False
        ax0, ay0, ax1, ay1 = self.bounds
        bx0, by0, bx1, by1 = other.bounds
        return ax0 < bx1 and bx0 < ax1 and ay0 < by1 and by0 < ay1


@dataclass(frozen=True)
class Checkpoint:
    """The description of a checkpoint, the content of ``checkpoint.json``.

    Args:
        options: constructor options of the model.
        preset_options: options of the preset when it was trained, None if not recorded.
        scheme: split scheme of the protocol.
        context: largest number of context frames in training.
        window: side of the training crops in pixels.
        regions: areas of the training regions.
        selected_on: validation regions, on which the best weights were selected.
        steps: optimiser steps, summed over all stages.
        budget: training budget as requested, None for the preset's own.
        selection: ``{"metric", "value", "step"}`` of the selected weights.
        weights_digest: SHA-256 of the tensors (see ``tensors_digest``).
        history: points of the learning curve.
        plan: digest of everything that determines the weights.
        provenance: of the last sitting: versions, machine, and phase → seconds under ``phases``.
        training: training options that differ from their defaults.
        labels: fraction and seed of the labels of training; None for all, or none.
        inputs: bands of the images given; empty in checkpoints that do not state them.
        finished: UTC time at the end of training.
    """

    model: str
    preset: str
    options: Mapping[str, Any]
    dataset: str
    dataset_digest: str
    scheme: str
    sensor: str
    bands: tuple[str, ...]
    context: int
    window: int
    regions: tuple[Footprint, ...]
    selected_on: tuple[str, ...]
    seed: int
    steps: int
    stages: tuple[Mapping[str, Any], ...]
    precision: str
    budget: str | None
    selection: Mapping[str, Any]
    weights_digest: str
    plan: str
    simulated: bool = False
    seconds: float = 0.0
    history: tuple[Mapping[str, Any], ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, Any] | None = None
    inputs: tuple[str, ...] = ()
    preset_options: Mapping[str, Any] | None = None
    finished: str = ""
    schema: int = SCHEMA

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, with its own digest."""
        return sealed(asdict(self))

    @property
    def imported(self) -> str | None:
        """Return the name of the file that the weights were imported from."""
        return (self.provenance.get(IMPORTED) or {}).get("file")

    def trained_by(self, stages: Sequence[Stage]) -> bool:
        """Return whether it was trained with these stages."""
        return sha256_json(list(self.stages)) == sha256_json([s.stated() for s in stages])

    def built_by(self, preset_options: Mapping[str, Any]) -> bool:
        """Return whether the preset had these options.

        Where they were not recorded, True unless the preset has a later network ``revision``.
        """
        if self.preset_options is None:
            return "revision" not in preset_options
        return self.preset_options == plain_options(preset_options)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the description in a checkpoint folder.

        Raises:
            InputError: if there is no whole checkpoint.
            SchemaError: if it was written under another schema.
        """
        value, asked = read_json(folder / NOTE), f"reading {folder / NOTE}"
        if value.get("schema") not in (1, SCHEMA):
            raise SchemaError(
                asked,
                f"it has schema {value.get('schema')!r}, this version reads {SCHEMA}",
                "Train again, or load it with the version of rsbench that wrote it",
            )
        if (value["schema"] == SCHEMA or SEAL in value) and not is_intact(value):
            raise InputError(asked, "it is damaged: it was changed after it was written", REMEDY)
        try:
            return typed(cls, {**value, "schema": SCHEMA})
        except ValueError as error:
            raise InputError(asked, f"it is damaged ({first_line(error)})", REMEDY) from error


def folder_of(path: Path) -> Path:
    """Return the checkpoint folder of a path: the folder itself, or the parent of a file.

    Raises:
        InputError: if the folder holds no checkpoint.
    """
    folder = path.parent if path.is_file() else path
    if (folder / NOTE).is_file():
        return folder
    unfinished = (folder / "state.json").is_file()
    raise InputError(
        f"the checkpoint {path}",
        "its training is unfinished" if unfinished else f"there is no {NOTE}",
        "Run the same `rsbench train` command again; it resumes where it stopped"
        if unfinished
        else "Give a folder that `rsbench train` wrote",
    )


def checkpoint_dir(
    *, model: str, preset: str, digest: str, split: str, seed: int, context: int
) -> Path:
    """Return the folder of the checkpoints of one configuration; it has a subfolder per plan."""
    name = f"{model}-{preset}-{digest[:12]}-{split}-s{seed}-k{context}"
    return cache_dir("checkpoints") / re.sub(r"[^A-Za-z0-9_.-]", "_", name)


def load_into(
    model: Model,
    path: Path,
    store: Store,
    *,
    split: str | None,
    device: torch.device | str | None = None,
    any_dataset: bool = False,
) -> Checkpoint:
    """Load a checkpoint into a model with the same name, preset and options.

    Args:
        model: built by ``create_model``.
        path: the checkpoint folder, or a file in it.
        split: the split that will be scored; None if nothing will be scored.
        device: device to which the model is moved.
        any_dataset: accept weights of another dataset; overlapping areas are still rejected.

    Raises:
        InputError: if model, preset, options, tensor shapes or dataset differ, if the checkpoint
            is damaged, or if it was trained on regions of ``split``.
    """
    folder = folder_of(path)
    note = Checkpoint.load(folder)
    _require_same_model(model, note, folder)
    if not any_dataset and not note.imported:
        _require_same_dataset(note, store, folder)
    if split is not None:
        require_unseen(note, store, split)
    tensors = _tensors(note, folder)
    load_tensors(trainable(model), tensors, f"the checkpoint {folder}")
    if device is not None:
        trainable(model).module.to(device)
    if note.imported:
        model.weights_loaded = True  # type: ignore[attr-defined]
    mark_trained(model, TrainedFor(note.bands, note.inputs, note.labels, bool(note.imported)))
    return note


def _tensors(note: Checkpoint, folder: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint and check their digest."""
    tensors = read_tensors(folder / WEIGHTS)
    if tensors_digest(tensors) != note.weights_digest:
        raise InputError(
            f"the checkpoint {folder}",
            f"{WEIGHTS} is not the file that {NOTE} describes",
            "Train again, or copy the checkpoint again",
        )
    return tensors


def _require_same_dataset(note: Checkpoint, store: Store, folder: Path) -> None:
    if note.dataset_digest != store.digest:
        raise InputError(
            f"the checkpoint {folder} for the dataset {store.recipe} ({store.digest[:12]})",
            f"it was trained on {note.dataset} ({note.dataset_digest[:12]})",
            "Train on this dataset, or omit --checkpoint",
        )


def require_unseen(note: Checkpoint, store: Store, split: str) -> None:
    """Raise if the weights were trained on regions of a split, by name or by overlapping area.

    In a store whose ``scheme`` is ``time``, an area counts as trained on only where some target
    date is not later than all training dates.

    Raises:
        InputError: names the first few of these regions.
    """
    names = {f.region for f in note.regions}
    forward = store.meta.recipe.get("scheme") == "time"
    seen = []
    for region in store.split(split):
        entry = store.region(region)
        ground = [Footprint.of(region, grid) for grid in entry.grids.values()]
        asked = min((t[1].isoformat() for t in entry.times.values() if len(t) > 1), default="")
        trained = [f for f in note.regions if not (forward and f.last and f.last < asked)]
        inside = any(mine.overlaps(theirs) for mine in ground for theirs in trained)
        if inside or (region in names and note.dataset_digest == store.digest):
            seen.append(region)
    if seen:
        raise InputError(
            f"scoring {note.model} on the split {split}",
            f"its weights were trained on {_some(seen)}",
            "Score a split without training regions",
        )


def _require_same_model(model: Model, note: Checkpoint, folder: Path) -> None:
    from rsbench.models.registry import FACTS, identity

    own = identity(model)
    asked = f"the checkpoint {folder} for {own.name}, preset {own.preset}"
    if (own.name, own.preset) != (note.model, note.preset):
        raise InputError(
            asked,
            f"it is of {note.model}, preset {note.preset}",
            f"Give --model {note.model} --preset {note.preset}, or another --checkpoint",
        )
    mine, theirs = plain_options(own.options), dict(note.options)
    if note.imported:  # facts of a dataset that the file does not state; shapes are compared
        mine = {n: v for n, v in mine.items() if n not in FACTS or n in theirs}
    wrong = sorted(n for n in mine.keys() | theirs.keys() if mine.get(n) != theirs.get(n))
    if wrong:
        raise InputError(
            asked,
            "options differ: "
            + ", ".join(f"{n} {theirs.get(n)!r} there, {mine.get(n)!r} here" for n in wrong),
            "Build the model with the options of the checkpoint, or train again",
        )
    preset = own.card.presets[own.preset].options
    if not note.built_by(preset):
        there, here = ((o or {}).get("revision", 1) for o in (note.preset_options, preset))
        found = "the preset had other options when it was trained"
        found += f" (network revision {there}, now {here})" if there != here else ""
        raise InputError(asked, found, "Train again")


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with the types that they have after a JSON round trip."""
    return {name: _plain(value) for name, value in options.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def load_tensors(model: Trainable, tensors: Mapping[str, Tensor], asked: str) -> None:
    """Copy tensors into a model; names, shapes and dtypes must be equal.

    Raises:
        InputError: names the first few differences.
    """
    own = model.module.state_dict()
    faults = [f"{n} is missing" for n in own if n not in tensors]
    faults += [f"{n} is not of this model" for n in tensors if n not in own]
    for name in own:
        if name not in tensors:
            continue
        there, here = tensors[name], own[name]
        if (there.shape, there.dtype) != (here.shape, here.dtype):
            faults.append(f"{name} is {_shape(there)}, the model's is {_shape(here)}")
    if faults:
        raise InputError(asked, _some(faults), "Build the model as it was trained, or train again")
    model.module.load_state_dict(dict(tensors), strict=True)


def _shape(tensor: Tensor) -> str:
    sides = "×".join(str(n) for n in tensor.shape) or "a number"
    return f"{sides} {str(tensor.dtype).removeprefix('torch.')}"


def _some(items: Sequence[str]) -> str:
    rest = len(items) - SHOWN
    return ", ".join(items[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def trainable(model: Model) -> Trainable:
    """Return the model, typed as trainable.

    Raises:
        TrainingError: if it lacks ``module``, ``stages`` or ``loss``.
    """
    if isinstance(model, Trainable):
        return model
    raise TrainingError(
        f"weights of a {type(model).__name__}",
        "it has no module, stages and loss",
        "Implement rsbench.Trainable to train this model",
    )


@dataclass(frozen=True)
class TrainedFor:
    """What the weights of a model were trained for.

    Args:
        bands: bands or classes that they predict.
        inputs: bands of the images that they were given; empty where they are not known.
        labels: fraction and seed of the labels of training; None for all, or none.
        imported: whether another program trained them, so that labels and inputs are not known.
    """

    bands: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    labels: Mapping[str, Any] | None = None
    imported: bool = False


_TRAINED: dict[int, TrainedFor] = {}


def mark_trained(model: Model, trained: TrainedFor) -> None:
    """Record that the weights of a model were trained or loaded, and for what."""
    if id(model) not in _TRAINED:
        weakref.finalize(model, _TRAINED.pop, id(model), None)
    _TRAINED[id(model)] = trained


def trained_for(model: Model) -> TrainedFor | None:
    """Return what the weights were trained for; None without training here."""
    return _TRAINED.get(id(model))


def loaded_digest(model: Model) -> str | None:
    """Return the digest of the current weights; None if none were trained or loaded.

    A model that loaded weights itself has an attribute ``weights_loaded`` that is True.
    """
    ready = id(model) in _TRAINED or getattr(model, "weights_loaded", False) is True
    if not ready or not isinstance(model, Trainable):
        return None
    return tensors_digest(model.module.state_dict())
