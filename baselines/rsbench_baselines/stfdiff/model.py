"""STFDiff as a model: one reference date, training on random times, seeded sampling."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from rsbench import Stage, Want
from rsbench_baselines._card import REVISION
from rsbench_baselines._fusion_model import FusionModel
from rsbench_baselines._options import TRAINING, accepts, sized, trained
from rsbench_baselines.ddpm.diffusion import Diffusion, Sampling, drawer
from rsbench_baselines.fusion_images import Scene
from rsbench_baselines.released import Layout
from rsbench_baselines.stfdiff.network import STFDiff
from rsbench_baselines.stfdiff.released import layout
from rsbench_baselines.stfdiff.sampling import fuse, loss, process
from rsbench_baselines.stfdiff.sizes import SIZES, Size

# As published: batches of 24, 300 epochs of 315 patches (CIA).
PUBLISHED = Stage("fit", learning_rate=1e-3, steps=4_000, batch_size=24)
STAGES = {
    "paper": PUBLISHED,
    "paper_50": PUBLISHED,
    "tiny": Stage("fit", learning_rate=4e-3, steps=200, batch_size=2),
}


class STFDiffModel(FusionModel[STFDiff, Size]):
    """STFDiff as a model of the benchmark; trained on the absolute error of the clean image."""

    name = "stfdiff"
    revision = REVISION

    @cached_property
    def _diffusion(self) -> Diffusion:
        return process(self._size.steps)

    def estimate(self, scene: Scene, want: Want) -> Tensor:
        """Draw each member separately; the clean branch is computed once for all members."""
        size = self._size
        return fuse(
            self._network, self._diffusion, scene.coarse[0], scene.fine[0], scene.c1,
            drawer(want, self.name), Sampling(size.sampling_steps, size.eta, want.members),
        )  # fmt: skip

    def released(self) -> tuple[nn.Module, Layout]:
        """Return the network that predicts, and the layout of its released state."""
        return self._network, layout(self._size)

    def losses(self, scene: Scene, clean: Tensor, valid: Tensor) -> Mapping[str, Tensor]:
        """Return the loss at random times."""
        times = torch.randint(self._diffusion.steps, (len(clean),)).to(clean.device)
        noise = torch.randn(clean.shape).to(clean)
        references = scene.coarse[0], scene.fine[0], scene.c1
        total = loss(
            self._network, self._diffusion, clean, noise, times, *references, valid=valid
        )  # fmt: skip
        return {"total": total}


@accepts("bands", "base", "mult", "groups", "sampling_steps", "eta", *TRAINING, of=(STAGES, SIZES))
def build(preset: str, **options: Any) -> STFDiffModel:
    """Build the model; an option that is not given is the preset's.

    Args:
        preset: a preset of the card.
        options: ``bands``, ``base``, ``mult``, ``groups``, ``sampling_steps`` and ``eta`` of
            :class:`Size`; ``learning_rate``, ``steps`` and ``batch_size`` of the training.
    """
    size = sized(SIZES[preset], options)
    return STFDiffModel(STFDiff(size), size, trained(STAGES[preset], options))
