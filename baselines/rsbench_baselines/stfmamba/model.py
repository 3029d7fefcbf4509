"""STFMamba as a model: one reference date, one pass, a loss on all four images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rsbench import Stage, Want
from rsbench_baselines._card import REVISION
from rsbench_baselines._fusion_model import FusionModel
from rsbench_baselines._options import TRAINING, accepts, sized, trained
from rsbench_baselines.fusion_images import Scene
from rsbench_baselines.image_losses import hidden, structural
from rsbench_baselines.released import Layout
from rsbench_baselines.stfmamba.network import STFMamba
from rsbench_baselines.stfmamba.released import layout
from rsbench_baselines.stfmamba.sizes import SIZES, Size

STAGES = {
    # 200 epochs of 12,000 patches in batches of ten.
    "paper": Stage("fit", learning_rate=5e-4, steps=240_000, batch_size=10, clip=0.0),
    "tiny": Stage("fit", learning_rate=3e-2, steps=160, batch_size=8),
}
PARTS = ("joined", "from_fine", "from_coarse", "sharpened")


class STFMambaModel(FusionModel[STFMamba, Size]):
    """STFMamba as a model of the benchmark; all four images are trained, by SwinSTFM's loss."""

    name = "stfmamba"
    revision = REVISION

    def estimate(self, scene: Scene, want: Want) -> Tensor:
        """Predict in one pass; all members are equal."""
        joined: Tensor = self._network(scene.coarse[0], scene.fine[0], scene.c1)[0]
        return joined

    def released(self) -> tuple[nn.Module, Layout]:
        """Return the network that predicts, and the layout of its released state."""
        return self._network, layout(self._size)

    def losses(self, scene: Scene, clean: Tensor, valid: Tensor) -> Mapping[str, Tensor]:
        """Return the losses of the joined, both separate and the sharpened images."""
        images = self._network(scene.coarse[0], scene.fine[0], scene.c1)
        parts = {
            name: structural(hidden(image.float(), valid), hidden(clean, valid))
            for name, image in zip(PARTS, images, strict=True)
        }
        return {"total": torch.stack(list(parts.values())).sum(), **parts}


@accepts("bands", "widths", "pairs", "middle", "state", *TRAINING, of=(STAGES, SIZES))
def build(preset: str, **options: Any) -> STFMambaModel:
    """Build the model; an option that is not given is the preset's.

    Args:
        preset: a preset of the card.
        options: ``bands``, ``widths``, ``pairs``, ``middle`` and ``state`` of :class:`Size`;
            ``learning_rate``, ``steps`` and ``batch_size`` of the training.
    """
    size = sized(SIZES[preset], options)
    return STFMambaModel(STFMamba(size), size, trained(STAGES[preset], options))
