"""Pretraining that several models take from one training.

The stages before the first labelled one read no label. Models that differ in the options that
their card lists as ``shared``, or in the labels of training, have these stages in common.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rsbench.core.digest import is_intact, sealed, sha256_json
from rsbench.core.errors import InputError
from rsbench.core.paths import cache_dir
from rsbench.models.checkpoint_files import (
    read_json,
    read_tensors,
    tensors_digest,
    write_json,
    write_tensors,
)
from rsbench.training.state import Position

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rsbench.models.api import Card
    from rsbench.training.plan import Plan

NOTE = "pretraining.json"
WEIGHTS = "weights.safetensors"
OF_DATA = (
    "model", "preset", "dataset_digest", "scheme", "sensor", "window", "shortest", "context",
    "longest", "seed", "devices", "precision", "batch_size", "resampling", "extras", "trainer",
)  # fmt: skip
"""Fields of a plan that decide the weights of its first stages."""


@dataclass(frozen=True)
class SharedStages:
    """The first stages of a plan that read no label, and the folder of their weights.

    Args:
        count: number of these stages.
        modules: names of the modules that they train.
        digest: of everything that decides their weights.
    """

    count: int
    modules: tuple[str, ...]
    digest: str

    @classmethod
    def of(cls, plan: Plan, card: Card, module: nn.Module) -> Self | None:
        """Return the shared stages of a plan; None if it has none.

        Args:
            module: with the weights that training starts from.
        """
        first = tuple(takewhile(lambda stage: not stage.labelled, plan.stages))
        modules = tuple(sorted({name for stage in first for name in stage.modules}))
        if not first or len(first) == len(plan.stages) or not all(s.modules for s in first):
            return None
        found = cls(len(first), modules, "")
        key = {
            **{name: getattr(plan, name) for name in OF_DATA},
            "options": _kept(plan.options, card),
            "preset_options": _kept(plan.preset_options, card),
            "stages": [stage.stated() for stage in first], "leads": plan.leads[: len(first)],
            "budgets": [str(budget) for budget in plan.budgets[: len(first)]],
            "initial": tensors_digest(found.tensors(module)),
        }  # fmt: skip
        return cls(len(first), modules, sha256_json(key))

    @property
    def folder(self) -> Path:
        """The folder of the weights after these stages."""
        return cache_dir("checkpoints", f"pretraining-{self.digest[:16]}")

    def tensors(self, module: nn.Module) -> dict[str, Tensor]:
        """Return the tensors of the modules that these stages train."""
        heads = tuple(f"{name}." for name in self.modules)
        return {n: t for n, t in module.state_dict().items() if n.startswith(heads)}

    def save(self, position: Position, module: nn.Module) -> None:
        """Write the weights after these stages, and the position."""
        tensors = {n: t.detach().cpu().contiguous() for n, t in self.tensors(module).items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        write_tensors(self.folder / WEIGHTS, tensors)
        note = {
            "digest": self.digest, "weights": tensors_digest(tensors), "steps": position.steps,
            "seconds": position.seconds_before + position.seconds, "history": position.history,
        }  # fmt: skip
        write_json(self.folder / NOTE, sealed(note))

    def load(self, module: nn.Module) -> tuple[Position, dict[str, Tensor]] | None:
        """Return position and tensors after these stages; None if they were not trained yet.

        A damaged file counts as none: the stages are trained again, and it is replaced.
        """
        try:
            note = read_json(self.folder / NOTE)
            tensors = read_tensors(self.folder / WEIGHTS)
        except InputError:
            return None
        whole = is_intact(note) and note.get("digest") == self.digest
        if not whole or tensors_digest(tensors) != note["weights"]:
            return None
        position = Position(
            stage=self.count, before=int(note["steps"]), seconds_before=float(note["seconds"]),
            history=list(note["history"]),
        )  # fmt: skip
        return position, {f"model/{n}": t for n, t in {**module.state_dict(), **tensors}.items()}


def _kept(options: Mapping[str, Any], card: Card) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in card.shared}
