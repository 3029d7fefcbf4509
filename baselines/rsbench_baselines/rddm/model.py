"""RDDM as a model: all images as condition, training on random times, seeded sampling."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from rsbench import InputError, Stage, Want
from rsbench_baselines._card import REVISION
from rsbench_baselines._fusion_model import FusionModel
from rsbench_baselines._options import TRAINING, accepts, sized, trained
from rsbench_baselines.ddpm.diffusion import Sampling, drawer
from rsbench_baselines.fusion_images import Scene
from rsbench_baselines.rddm.network import RDDM, Outputs
from rsbench_baselines.rddm.released import layout
from rsbench_baselines.rddm.sampling import fuse, loss
from rsbench_baselines.rddm.schedule import ResidualSchedule, native
from rsbench_baselines.rddm.sizes import OBJECTIVES, SIZES, Size
from rsbench_baselines.released import Layout

STAGES = {
    "paper": Stage("fit", learning_rate=8e-5, steps=15_800, batch_size=4),
    "tiny": Stage("fit", learning_rate=4e-3, steps=200, batch_size=4),
}


class RDDMModel(FusionModel[RDDM, Size]):
    """RDDM as a model of the benchmark; trained on the absolute errors of its estimates."""

    name = "rddm"
    revision = REVISION
    references = 2

    @cached_property
    def _schedule(self) -> ResidualSchedule:
        return native(self._size.steps, self._size.sum_scale)

    def estimate(self, scene: Scene, want: Want) -> Tensor:
        """Draw each member separately."""
        size = self._size
        return fuse(
            self._network, size.objective, self._schedule,
            _condition(scene).repeat_interleave(want.members, dim=0),
            scene.c1.repeat_interleave(want.members, dim=0), drawer(want, self.name),
            Sampling(size.sampling_steps, size.eta),
        )  # fmt: skip

    def released(self) -> tuple[nn.Module, Layout]:
        """Return the network that predicts, and the layout of its released state."""
        return self._network, layout(self._size)

    def losses(self, scene: Scene, clean: Tensor, valid: Tensor) -> Mapping[str, Tensor]:
        """Return the losses at random times."""
        plan = self._schedule
        times = torch.randint(plan.steps, (len(clean),)).to(clean.device)
        noise = torch.randn(clean.shape).to(clean)
        noisy = plan.noised(clean, scene.c1, noise, times)
        found = self._network(noisy, _condition(scene), *plan.levels(times))
        both = (None if t is None else t.float() for t in (found.residual, found.noise))
        return loss(self._size.objective, Outputs(*both), clean, scene.c1, noise, valid)


def _condition(scene: Scene) -> Tensor:
    """Return C1, F0, C0, F2, C2 as channels."""
    pairs = zip(scene.fine, scene.coarse, strict=True)
    return torch.cat([scene.c1, *(image for pair in pairs for image in pair)], dim=1)


@accepts(
    *("bands", "base", "mult", "groups", "objective", "sum_scale", "sampling_steps", "eta"),
    *TRAINING,
    of=(STAGES, SIZES),
)
def build(preset: str, **options: Any) -> RDDMModel:
    """Build the model; an option that is not given is the preset's.

    Args:
        preset: a preset of the card.
        options: ``bands``, ``base``, ``mult``, ``groups``, ``objective``, ``sum_scale``,
            ``sampling_steps`` and ``eta`` of :class:`Size`; ``learning_rate``, ``steps`` and
            ``batch_size`` of the training.

    Raises:
        InputError: if the objective is unknown.
    """
    size = sized(SIZES[preset], options)
    if size.objective not in OBJECTIVES:
        raise InputError(
            f"objective={size.objective}", "it is unknown", f"Choose {' or '.join(OBJECTIVES)}"
        )
    return RDDMModel(RDDM(size), size, trained(STAGES[preset], options))
