"""Checkpoints: weights as safetensors beside a JSON note of what they were trained on.

A checkpoint is a folder with ``weights.safetensors`` and ``checkpoint.json``. It is loaded into
the same model, preset and shapes only, and never scores ground that it was trained on.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rsbench.core.digest import sha256_json
from rsbench.core.errors import InputError, SchemaError, TrainingError
from rsbench.core.paths import cache_dir
from rsbench.models.api import Model, Stage, Trainable
from rsbench.models.checkpoint_files import read_json, read_tensors, tensors_digest

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from rsbench.core.grid import Grid
    from rsbench.store.read import Store

SCHEMA = 1
WEIGHTS = "weights.safetensors"
NOTE = "checkpoint.json"
SHOWN = 3


@dataclass(frozen=True)
class Footprint:
    """The ground of a region: its name, CRS and ``(left, bottom, right, top)`` in CRS units.

    ``last`` is the last date of its frames (ISO), empty where it is not known.
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
        """Say whether both lie in one CRS and share ground."""
        if self.crs != other.crs:
            return False
        ax0, ay0, ax1, ay1 = self.bounds
        bx0, by0, bx1, by1 = other.bounds
        return ax0 < bx1 and bx0 < ax1 and ay0 < by1 and by0 < ay1


@dataclass(frozen=True)
class Checkpoint:
    """What is known of a checkpoint's weights.

    Args:
        options: constructor options of the model.
        preset_options: those of the preset at that time, None where they were not noted.
        scheme: how the split separated train from test.
        context: largest number of context frames in training.
        window: side of the training crops in pixels.
        regions: ground the weights were trained on.
        selected_on: regions of the validation split, which chose among the weights.
        steps: optimiser steps taken, over all stages.
        budget: as asked for, None for the preset's own.
        selection: ``{"metric", "value", "step"}`` of the weights kept.
        weights_digest: SHA-256 of the tensors (see ``tensors_digest``).
        history: points of the learning curve.
        plan: digest of everything that decides the weights.
        training: options of the training that were turned on.
        finished: UTC time, to tell older from newer.
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
    preset_options: Mapping[str, Any] | None = None
    finished: str = ""
    schema: int = SCHEMA

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)

    def trained_by(self, stages: Sequence[Stage]) -> bool:
        """Say whether it was trained by these stages."""
        return sha256_json(list(self.stages)) == sha256_json([asdict(s) for s in stages])

    def built_by(self, preset_options: Mapping[str, Any]) -> bool:
        """Say whether the preset had these options, or it is not known which it had."""
        return self.preset_options in (None, plain_options(preset_options))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the note of a checkpoint folder.

        Raises:
            InputError: if there is no whole checkpoint.
            SchemaError: if it was written under another schema.
        """
        value = read_json(folder / NOTE)
        if value.get("schema") != SCHEMA:
            raise SchemaError(
                f"reading {folder / NOTE}",
                f"it has schema {value.get('schema')!r}, this version reads {SCHEMA}",
                "Train again, or load it with the version of rsbench that wrote it",
            )
        try:
            known: dict[str, Any] = {n: value[n] for n in cls.__dataclass_fields__ if n in value}
            for name in ("bands", "selected_on", "stages", "history"):
                known[name] = tuple(known[name])
            known["regions"] = tuple(
                Footprint(r["region"], r["crs"], (b[0], b[1], b[2], b[3]), r.get("last", ""))
                for r in known["regions"]
                for b in (r["bounds"],)
            )
            return cls(**known)
        except (KeyError, TypeError, IndexError) as error:
            raise InputError(
                f"reading {folder / NOTE}", f"a part is missing ({error})", "Train again"
            ) from error


def folder_of(path: Path) -> Path:
    """Return the checkpoint folder that a path names: the folder itself or a file in it.

    Raises:
        InputError: if no checkpoint is there.
    """
    folder = path.parent if path.is_file() else path
    if (folder / NOTE).is_file():
        return folder
    unfinished = (folder / "state.json").is_file()
    raise InputError(
        f"the checkpoint {path}",
        "its training is unfinished" if unfinished else f"there is no {NOTE}",
        "Type the same `rsbench train` command again; it goes on where it stopped"
        if unfinished
        else "Give a folder that `rsbench train` wrote",
    )


def checkpoint_dir(
    *, model: str, preset: str, digest: str, split: str, seed: int, context: int
) -> Path:
    """Return where checkpoints of a setting lie; below it, one folder per plan of training."""
    name = f"{model}-{preset}-{digest[:12]}-{split}-s{seed}-k{context}"
    return cache_dir("checkpoints") / re.sub(r"[^A-Za-z0-9_.-]", "_", name)


@dataclass(frozen=True)
class Fitting:
    """The finished checkpoints of a setting, newest last.

    Args:
        same: trained as a run of this setting would train: by the same stages, within the same
            budget, with no option of training turned on. The newest of them is taken.
        others: trained otherwise; they count only where `--checkpoint` names them, so that no
            score depends on what happened to be trained before.
    """

    same: tuple[Path, ...]
    others: tuple[tuple[Path, Checkpoint], ...]


def fitting_checkpoints(
    *,
    model: str,
    preset: str,
    digest: str,
    split: str,
    seed: int,
    context: int,
    sensor: str | None = None,
    bands: Sequence[str] | None = None,
    budget: str | None = None,
    options: Mapping[str, Any] | None = None,
    stages: Sequence[Stage] | None = None,
    preset_options: Mapping[str, Any] | None = None,
) -> Fitting:
    """Look for the finished checkpoints of a setting.

    Args:
        digest: of the dataset.
        split: scheme of the split, e.g. ``space``.
        sensor, bands, options: count only where given.
        budget: as asked for; None for the preset's own.
        stages, preset_options: of the preset as it is now; one that has changed is another.
    """
    base = checkpoint_dir(
        model=model, preset=preset, digest=digest, split=split, seed=seed, context=context
    )
    kept = [(Checkpoint.load(note.parent), note.parent) for note in sorted(base.glob(f"*/{NOTE}"))]
    fits = sorted(
        ((note, folder) for note, folder in kept
         if (note.model, note.preset, note.dataset_digest) == (model, preset, digest)
         and (note.scheme, note.seed, note.context) == (split, seed, context)
         and sensor in (None, note.sensor)
         and (bands is None or tuple(bands) == note.bands)
         and (options is None or plain_options(options) == dict(note.options))),
        key=lambda entry: (entry[0].finished, entry[1]),
    )  # fmt: skip
    alike = [
        _within(note, budget)
        and not note.training
        and (stages is None or note.trained_by(stages))
        and (preset_options is None or note.built_by(preset_options))
        for note, _ in fits
    ]
    return Fitting(
        tuple(folder for (_, folder), same in zip(fits, alike, strict=True) if same),
        tuple((folder, n) for (n, folder), same in zip(fits, alike, strict=True) if not same),
    )


def _within(note: Checkpoint, budget: str | None) -> bool:
    """Whether a checkpoint was trained within a budget; the preset's own may be said in steps."""
    own = f"{sum(int(stage['steps']) for stage in note.stages)}steps"
    return (note.budget or own).replace(" ", "") == (budget or own).replace(" ", "")


def load_into(
    model: Model,
    path: Path,
    store: Store,
    *,
    split: str | None,
    device: torch.device | str | None = None,
    any_dataset: bool = False,
) -> Checkpoint:
    """Load a checkpoint into a model of the same kind, to score a split of a store.

    Args:
        model: built by ``create_model``.
        path: the folder, or a file in it.
        split: what is going to be scored; None where nothing is.
        device: where the model is moved to.
        any_dataset: allow weights of another dataset; ground trained on is still refused.

    Raises:
        InputError: if the checkpoint is of another model, preset, options, shape or dataset, is
            damaged, or was trained on ground that is to be scored.
    """
    folder = folder_of(path)
    note = Checkpoint.load(folder)
    _require_same_model(model, note, folder)
    if note.dataset_digest != store.digest and not any_dataset:
        raise InputError(
            f"the checkpoint {folder} for the dataset {store.recipe} ({store.digest[:12]})",
            f"it was trained on {note.dataset} ({note.dataset_digest[:12]})",
            "Train on this dataset, or leave --checkpoint away",
        )
    if split is not None:
        require_unseen(note, store, split)
    tensors = read_tensors(folder / WEIGHTS)
    if tensors_digest(tensors) != note.weights_digest:
        raise InputError(
            f"the checkpoint {folder}",
            f"{WEIGHTS} is not the file that {NOTE} describes",
            "Train again, or copy the checkpoint again",
        )
    load_tensors(trainable(model), tensors, f"the checkpoint {folder}")
    if device is not None:
        trainable(model).module.to(device)
    mark_trained(model)
    return note


def require_unseen(note: Checkpoint, store: Store, split: str) -> None:
    """Refuse to score regions that the weights were trained on, by name or by ground.

    In a store that is split forward in time, ground is trained on only where a date that is asked
    for is not later than all of training's.

    Raises:
        InputError: names the first few of them.
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
            "Score another split: a model is not scored on what it was trained on",
        )


def _require_same_model(model: Model, note: Checkpoint, folder: Path) -> None:
    from rsbench.models.registry import identity

    own = identity(model)
    asked = f"the checkpoint {folder} for {own.name}, preset {own.preset}"
    if (own.name, own.preset) != (note.model, note.preset):
        raise InputError(
            asked,
            f"it is of {note.model}, preset {note.preset}",
            f"Give --model {note.model} --preset {note.preset}, or another --checkpoint",
        )
    mine, theirs = plain_options(own.options), dict(note.options)
    wrong = sorted(n for n in mine.keys() | theirs.keys() if mine.get(n) != theirs.get(n))
    if wrong:
        raise InputError(
            asked,
            "options differ: "
            + ", ".join(f"{n} {theirs.get(n)!r} there, {mine.get(n)!r} here" for n in wrong),
            "Build the model with the options of the checkpoint, or train again",
        )
    if not note.built_by(own.card.presets[own.preset].options):
        raise InputError(asked, "the preset has had other options since then", "Train again")


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as JSON would give them back."""
    return {name: _plain(value) for name, value in options.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def load_tensors(model: Trainable, tensors: Mapping[str, Tensor], asked: str) -> None:
    """Copy tensors into a model; every name, shape and dtype must agree.

    Raises:
        InputError: names the first few that do not.
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
    """Return the model as a trainable one.

    Raises:
        TrainingError: if it has no module, stages and loss.
    """
    if isinstance(model, Trainable):
        return model
    raise TrainingError(
        f"weights of a {type(model).__name__}",
        "it has no module, stages and loss",
        "A trainable model has all three; see rsbench.Trainable",
    )


_TRAINED: set[int] = set()


def mark_trained(model: Model) -> None:
    """Note that a model's weights were trained or loaded."""
    if id(model) not in _TRAINED:
        _TRAINED.add(id(model))
        weakref.finalize(model, _TRAINED.discard, id(model))


def loaded_digest(model: Model) -> str | None:
    """Return the digest of the weights a model has now; None if none were trained or loaded."""
    if id(model) not in _TRAINED or not isinstance(model, Trainable):
        return None
    return tensors_digest(model.module.state_dict())
