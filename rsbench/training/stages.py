"""The module, the optimiser and the trained parts of one stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rsbench.core.errors import TrainingError
from rsbench.models.api import ClosedForm
from rsbench.training.data import TrainingBatch
from rsbench.training.optimisers import optimizer

if TYPE_CHECKING:
    from rsbench.models.api import Stage, Trainable
    from rsbench.training.plan import Plan


class LossModule(nn.Module):
    """The model's loss as the forward pass of a module, so that Fabric can wrap it."""

    def __init__(self, model: Trainable, stage: Stage) -> None:
        super().__init__()
        self.network = model.module
        self._call = model.loss
        self._stage = stage

    def forward(self, batch: TrainingBatch) -> dict[str, Tensor]:
        """Return the loss terms."""
        return dict(self._call(self._stage, batch.given, batch.want, batch.truth))


def closed_form(model: Trainable, stage: Stage) -> ClosedForm:
    """Return the model, typed as one whose stage is solved in closed form.

    Raises:
        TrainingError: if it has no method ``solve``.
    """
    if isinstance(model, ClosedForm):
        return model
    raise TrainingError(
        f"training a {type(model).__name__}, stage {stage.name}, which says closed_form",
        "it has no method solve",
        "Implement rsbench.models.api.ClosedForm, or leave closed_form out",
    )


def optimizer_of(module: nn.Module, stage: Stage, plan: Plan) -> torch.optim.Optimizer:
    """Return the optimiser of a stage, over the parameters that take a gradient.

    Raises:
        TrainingError: if there are none.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    if not trained:
        raise TrainingError(
            f"training {plan.model}, stage {stage.name}",
            "none of its parameters takes a gradient",
            "Name modules with trainable parameters in the stage",
        )
    # Weight decay is not applied to biases and norms.
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": stage.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    # Fused, a step over all tensors is one call; under float16 the scaler must come between.
    return optimizer(stage.optimizer)(groups, stage.learning_rate, plan.precision != "16-mixed")


def set_mode(module: nn.Module, stage: Stage) -> None:
    """Put the stage's modules in training mode, and all others in evaluation mode."""
    module.train(not stage.modules)
    for name in stage.modules:
        module.get_submodule(name).train()


@contextmanager
def focused(module: nn.Module, stage: Stage, model: str) -> Iterator[None]:
    """Inside a ``with`` block only the parameters of the stage's modules take gradients.

    Raises:
        TrainingError: if the model has no such module.
    """
    known = dict(module.named_modules())
    absent = [name for name in stage.modules if name not in known]
    if absent:
        raise TrainingError(
            f"training {model}, stage {stage.name}",
            f"the model has no module {', '.join(absent)}",
            f"It has {', '.join(n for n in known if n and '.' not in n)}",
        )
    inside = {id(p) for name in stage.modules for p in known[name].parameters()}
    closed = [p for p in module.parameters() if p.requires_grad and id(p) not in inside]
    if not stage.modules:
        closed = []
    for parameter in closed:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in closed:
            parameter.requires_grad_(True)
