"""The entry that a table is about: a model with its weights, ready to answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsbench.core.errors import TrainingError, unknown
from rsbench.core.phases import Phases
from rsbench.evaluation.costs import Made, made, made_elsewhere
from rsbench.evaluation.trained_labels import require_trained
from rsbench.tasks.config import EvaluationConfig, Note, quiet
from rsbench.tasks.registry import task_of

if TYPE_CHECKING:
    from rsbench.evaluation.entries import ModelEntry, Placement
    from rsbench.models.api import Card, Model
    from rsbench.models.prediction_cache import PredictionCache

    Keep = Callable[[str | None], PredictionCache | None]

MADE_ELSEWHERE = made_elsewhere("its predictions were made elsewhere")


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
        made: how it came about, for its cost.
        bare: how it answers without the store of its predictions.
    """

    name: str
    entry: ModelEntry | None
    weights: str | None
    citation: str
    device: str | None = None
    most_context: int | None = None
    controls: tuple[ModelEntry, ...] = ()
    inputs: str | None = None
    made: Made = MADE_ELSEWHERE
    bare: ModelEntry | None = None

    def part(self, name: str) -> Made:
        """Return how the entry, or a control that is made of its weights, came about."""
        if name.startswith(self.name):
            return self.made
        reason = f"it is made of the weights of {self.name}"
        return Made(why={"parameters": reason, "training_seconds": reason})


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
    entry, bare, digest = None, None, weights_of(model, own.card)
    reference = own.name in task_of(config).reference_models
    if own.card.fitted and not reference:
        note(f"fitting {own.name} on the training split")
        with timed.time("fit"):
            digest = fit(model, config)
    kept = keep(digest) if keep else None
    if not reference:
        entry, bare = (
            model_entry(
                own.name, called(model), "model", model, own.card, _placement(config, timed),
                rolled=rolled,
            )
            for rolled in (kept.roll if kept else roll, roll)
        )  # fmt: skip
    permutes = bool(task_of(config).partners(config))
    shuffled = (permuted_entry(entry),) if entry is not None and permutes else ()
    return OwnEntry(
        own.name, entry, digest, own.card.citation,
        device=kept.made_on if kept else None, most_context=own.card.max_context,
        controls=(*shuffled, *_controls(model, called(model), _placement(config, timed))),
        inputs=getattr(model, "inputs", None), bare=bare,
        made=made_elsewhere("predictions made earlier were read", known=made(model))
        if kept and kept.made_on else made(model),
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
