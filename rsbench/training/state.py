"""The state of an unfinished training on disk: weights, optimiser and position, no pickle.

``state.json`` is written last and names the tensor files that belong to it, so a kill at any
moment leaves the state before or the state after. It has the digests of these files and its own;
they are compared when a training goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from rsbench.core.digest import is_intact, sealed, sha256_file
from rsbench.core.errors import InputError, TrainingError
from rsbench.core.paths import cache_errors
from rsbench.models.checkpoint_files import (
    REMEDY,
    read_json,
    read_tensors,
    write_json,
    write_tensors,
)

STATE = "state.json"
LOCK = ".lock"
SCHEMA = 2


@dataclass
class Position:
    """Progress of a training; with the tensors, all that resuming needs.

    Random numbers need no state: each step draws from generators seeded by its number.

    Args:
        stage: index of the current stage.
        step: optimiser steps taken in it.
        before: optimiser steps taken in earlier stages.
        seconds: spent in this stage; ``seconds_before``: in earlier ones.
        points: validations made in this stage.
        waited: validations since the best one.
        best: ``{"metric", "value", "step"}`` of the best weights so far.
        loss: sum and number of training losses since the last point of the history.
        terms: sums of the other numbers that a loss names.
        history: points of the learning curve.
        scaler: state of the loss scaler, where there is one.
    """

    stage: int = 0
    step: int = 0
    before: int = 0
    seconds: float = 0.0
    seconds_before: float = 0.0
    points: int = 0
    waited: int = 0
    best: dict[str, Any] | None = None
    loss: tuple[float, int] = (0.0, 0)
    terms: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    scaler: dict[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Optimiser steps taken in all stages."""
        return self.before + self.step

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read the JSON form."""
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        total, count = known["loss"]
        known["loss"] = (float(total), int(count))
        return cls(**known)


class StateFolder:
    """The files of one unfinished training."""

    def __init__(self, folder: Path, plan: str) -> None:
        self.folder = folder
        self.plan = plan

    def load(self) -> tuple[Position, dict[str, Tensor]] | None:
        """Return position and tensors, None where no training was begun.

        Raises:
            TrainingError: if another training is unfinished here.
            InputError: if the state is damaged, or of another schema.
        """
        value = self._stored()
        if value is None:
            return None
        if value["plan"] != self.plan:
            raise TrainingError(
                f"training into {self.folder}",
                "another training is unfinished there (model, data, budget or seed differ)",
                "Finish it, remove that folder, or name another one",
            )
        return Position.from_json(value["position"]), self._tensors(value, value["tensors"])

    def best(self) -> dict[str, Tensor] | None:
        """Return the best weights so far, if validation chose any."""
        value = self._stored()
        return self._tensors(value, value["best"]) if value and value["best"] else None

    def _stored(self) -> dict[str, Any] | None:
        """Return what the state says, None where there is none.

        Raises:
            InputError: if it is damaged, or of another schema.
        """
        path = self.folder / STATE
        if not path.is_file():
            return None
        value, found = read_json(path), ""
        if value.get("schema") == 1:
            found = "it was written by an earlier version of rsbench, without digests"
        elif value.get("schema") != SCHEMA or not is_intact(value):
            found = "it is damaged"
        if found:
            raise InputError(f"reading {path}", found, REMEDY)
        return value

    def _tensors(self, value: Mapping[str, Any], name: str) -> dict[str, Tensor]:
        """Return the tensors of a file of the state, whose digest is compared first."""
        path = self.folder / name
        if path.is_file() and sha256_file(path) != value["digests"][name]:
            raise InputError(f"reading {path}", "it is damaged", REMEDY)
        return read_tensors(path)

    def save(
        self, position: Position, tensors: Mapping[str, Tensor], best: Mapping[str, Tensor] | None
    ) -> None:
        """Write a state; where ``best`` is None, the best weights written before stay."""
        name = f"state-{position.stage}-{position.step}.safetensors"
        write_tensors(self.folder / name, tensors)
        digests = {name: sha256_file(self.folder / name)}
        before = None if position.best is None else self._stored()
        kept = before["best"] if before else None
        if best is not None and position.best is not None:
            kept = f"best-{position.stage}-{position.best['step']}.safetensors"
            write_tensors(self.folder / kept, best)
            digests[kept] = sha256_file(self.folder / kept)
        elif before and kept:
            digests[kept] = before["digests"][kept]
        value = {
            "schema": SCHEMA, "plan": self.plan, "position": asdict(position), "tensors": name,
            "best": kept, "digests": digests,
        }  # fmt: skip
        write_json(self.folder / STATE, sealed(value))
        self._sweep({name, kept})

    def clear(self) -> None:
        """Remove the state; the finished weights stay."""
        with suppress(FileNotFoundError):
            (self.folder / STATE).unlink()
        self._sweep(set())

    def _sweep(self, keep: set[str | None]) -> None:
        for pattern in ("state-*.safetensors", "best-*.safetensors", ".tmp-*"):
            for path in self.folder.glob(pattern):
                if path.name not in keep:
                    path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for one process; the lock ends with the process, however it ends.

    Raises:
        TrainingError: if another process trains into it.
    """
    try:
        import fcntl
    except ImportError:  # no such lock on this system: two trainings would repeat work, not mix it
        yield
        return
    with cache_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / LOCK).open("w")
    with handle as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(
                f"training into {folder}",
                "another process is training there",
                "Wait for it; what it has done is then found",
            ) from error
        yield


def pack(module: nn.Module, optimizer: torch.optim.Optimizer | None) -> dict[str, Tensor]:
    """Return weights and optimiser state as one flat mapping of tensors."""
    tensors = {f"model/{name}": tensor for name, tensor in module.state_dict().items()}
    if optimizer is None:
        return tensors
    names = {id(p): name for name, p in module.named_parameters()}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if value is None:
                continue
            tensors[f"optimizer/{names[id(parameter)]}/{key}"] = torch.as_tensor(value)
    return tensors


def unpack(
    tensors: Mapping[str, Tensor], module: nn.Module, optimizer: torch.optim.Optimizer | None
) -> None:
    """Put back what :func:`pack` returned, bit for bit."""
    prefix = "model/"
    own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    module.load_state_dict(own, strict=True)
    if optimizer is None:
        return
    parameters = dict(module.named_parameters())
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        if kind != "optimizer":
            continue
        owner, _, key = rest.rpartition("/")
        parameter = parameters[owner]
        if key != "step" and tensor.shape != parameter.shape:
            optimizer.state[parameter][key] = tensor.to(parameter.device, copy=True)
            continue
        if key != "step":
            # A fused optimiser needs the memory layout of the parameter.
            optimizer.state[parameter][key] = torch.empty_like(parameter).copy_(tensor)
            continue
        # The counter is on its parameter's device where the optimiser is fused, else on the CPU.
        fused = optimizer.defaults.get("fused")
        device = parameter.device if fused else torch.device("cpu")
        optimizer.state[parameter][key] = tensor.to(device, copy=True)
