"""SwinSTFM as a model: one reference date, structural loss, one pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from rsbench import Stage, Want
from rsbench_baselines._card import REVISION
from rsbench_baselines._fusion_model import FusionModel
from rsbench_baselines._options import TRAINING, accepts, sized, trained
from rsbench_baselines.fusion_images import Scene, any_way
from rsbench_baselines.image_losses import hidden, structural
from rsbench_baselines.released import Layout
from rsbench_baselines.swinstfm.network import SwinSTFM
from rsbench_baselines.swinstfm.released import layout
from rsbench_baselines.swinstfm.sizes import SIZES, Size

# 60 epochs of 720 patches (LGC) in batches of 8.
_PUBLISHED = Stage("fit", learning_rate=1e-4, steps=5_400, batch_size=8, clip=0.0)
STAGES = {
    "paper": _PUBLISHED,
    "released": _PUBLISHED,
    "tiny": Stage("fit", learning_rate=2e-3, steps=200, batch_size=4),
}


class SwinSTFMModel(FusionModel[SwinSTFM, Size]):
    """SwinSTFM as a model of the benchmark; trained on Charbonnier's loss and MS-SSIM."""

    name = "swinstfm"
    revision = REVISION
    turn = any_way

    def estimate(self, scene: Scene, want: Want) -> Tensor:
        """Predict in one pass; all members are equal."""
        out: Tensor = self._network(scene.coarse[0], scene.fine[0], scene.c1)
        return out

    def released(self) -> tuple[nn.Module, Layout]:
        """Return the network that predicts, and the layout of its released state."""
        return self._network, layout(self._size)

    def losses(self, scene: Scene, clean: Tensor, valid: Tensor) -> Mapping[str, Tensor]:
        """Return the loss of images that are 0 where the truth is invalid, as published."""
        estimate = self._network(scene.coarse[0], scene.fine[0], scene.c1).float()
        return {"total": structural(hidden(estimate, valid), hidden(clean, valid))}


@accepts("bands", "widths", "depths", "up_depths", "window", "head", *TRAINING, of=(STAGES, SIZES))
def build(preset: str, **options: Any) -> SwinSTFMModel:
    """Build the model; an option that is not given is the preset's.

    Args:
        preset: a preset of the card.
        options: ``bands``, ``widths``, ``depths``, ``up_depths``, ``window`` and ``head`` of
            :class:`Size`; ``learning_rate``, ``steps`` and ``batch_size`` of the training.
    """
    size = sized(SIZES[preset], options)
    return SwinSTFMModel(SwinSTFM(size), size, trained(STAGES[preset], options))
