"""Closed-form fits on the training split.

A fit is cached. The key includes the files that define the class of the model and its base classes,
so that a changed model is fitted again. Changes in other files that it imports are not noticed.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsbench.core.digest import sha256_file, sha256_json
from rsbench.core.errors import InputError, TrainingError
from rsbench.core.paths import cache_dir
from rsbench.core.version import __version__
from rsbench.models.api import Fitted, Frames, Model
from rsbench.models.checkpoint import plain_options
from rsbench.models.checkpoint_files import read_json, tensors_digest, write_json
from rsbench.models.registry import identity
from rsbench.tasks.config import EvaluationConfig
from rsbench.tasks.registry import task_of
from rsbench.tasks.settings import cases

if TYPE_CHECKING:
    from rsbench.models.api import Given, Want

FITTED = "fitted.json"


def fit(model: Model, config: EvaluationConfig) -> str:
    """Fit a model on the training split, or restore a cached fit; return the digest.

    Raises:
        TrainingError: if the model has no ``fit`` and ``restore``, there is nothing to fit on, or
            a parameter is not finite.
    """
    name = identity(model).name
    if not isinstance(model, Fitted):
        raise TrainingError(
            f"fitting {name}", "it has no fit and restore", "Add both, or say fitted=False"
        )
    if "train" not in task_of(config).splits(config):
        raise TrainingError(
            f"fitting {name}",
            "the store has no training split to fit on",
            "Use a store with the split train",
        )
    about = _about(model, config)
    path = cache_dir("fitted", sha256_json(about)[:16]) / FITTED if about else None
    kept = _kept(path, about)
    if kept is not None:
        model.restore(kept)
        return sha256_json(kept)
    parameters = _fitted(model, name, config)
    if path is not None:
        digest = sha256_json(parameters)
        write_json(path, {"about": about, "parameters": parameters, "digest": digest})
    return sha256_json(parameters)


def _fitted(model: Fitted, name: str, config: EvaluationConfig) -> dict[str, float]:
    try:
        found = dict(model.fit(training_pairs(config)))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise TrainingError(
            f"fitting {name}", str(error), "Use a dataset with training pixels"
        ) from error
    wrong = [key for key, value in found.items() if not math.isfinite(value)]
    if wrong or not found:
        raise TrainingError(
            f"fitting {name}",
            f"{wrong[0]} is {found[wrong[0]]}" if wrong else "it returned no parameter",
            "Check that the training split has valid pixels",
        )
    return found


def _about(model: Model, config: EvaluationConfig) -> dict[str, Any]:
    """Return the key of a fit; empty where the code of the model is in no file."""
    own = identity(model)
    kinds = [kind for kind in type(model).__mro__ if kind is not object]
    try:
        files = sorted({inspect.getfile(kind) for kind in kinds})
        code = [sha256_file(Path(file)) for file in files]
    except (TypeError, OSError):
        return {}
    return {
        "version": __version__, "model": own.name, "preset": own.preset, "code": code,
        "options": plain_options(own.options), "dataset": config.store.digest,
        "protocol": config.protocol.model_dump(mode="json"), "sensor": config.sensor,
        "bands": list(config.bands), "context": config.context, "horizon": config.horizon,
        "members": config.members, "seed": config.seed, **_network(model),
    }  # fmt: skip


def _network(model: Model) -> dict[str, str]:
    """Return the digest of the tensors that a model has before its fit, where it has a network."""
    module: Any = getattr(model, "module", None)
    if not hasattr(module, "state_dict"):
        return {}
    return {"tensors": tensors_digest(module.state_dict())}


def _kept(path: Path | None, about: Mapping[str, Any]) -> dict[str, float] | None:
    """Return the parameters of a cached fit; None if there is none or its file is damaged."""
    if path is None or not path.is_file():
        return None
    try:
        value = read_json(path)
    except InputError:
        return None  # damaged: fitted again, and replaced
    parameters = value.get("parameters")
    if value.get("about") != dict(about) or not isinstance(parameters, dict):
        return None
    return parameters if sha256_json(parameters) == value.get("digest") else None


def training_pairs(config: EvaluationConfig) -> TrainingPairs:
    """Return (given, want, truth) of the training split, for closed-form fits."""
    return TrainingPairs(config)


@dataclass(frozen=True)
class TrainingPairs:
    """(given, want, truth) of the training split; each iteration reads it anew."""

    config: EvaluationConfig

    def __iter__(self) -> Iterator[tuple[Given, Want, Frames]]:
        """Yield them in batches."""
        bands, meta = self.config.bands, self.config.meta
        for case in cases(self.config, split="train"):
            truth = Frames(
                values=case.truth[:, None], valid=case.valid[:, None], times=case.want.times,
                bands=bands, unit=meta.unit, predicted=(False,) * case.truth.shape[1],
                value_range=meta.value_range,
            )  # fmt: skip
            yield case.given, case.want, truth
