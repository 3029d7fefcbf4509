"""STFMamba behind the door: one reference, one pass, a loss on all four images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from rsbench import Frames, Given, Prediction, Stage, Want
from rsbench_baselines.fusion_images import Scene, check, chosen
from rsbench_baselines.image_losses import hidden, structural
from rsbench_baselines.stfmamba.network import STFMamba
from rsbench_baselines.stfmamba.sizes import SIZES, Size

STAGES = {
    # 200 epochs of 12,000 patches in batches of ten.
    "paper": Stage("fit", learning_rate=5e-4, steps=240_000, batch_size=10, clip=0.0),
    "tiny": Stage("fit", learning_rate=3e-2, steps=200, batch_size=8),
}
PARTS = ("joined", "from_fine", "from_coarse", "sharpened")


class STFMambaModel:
    """STFMamba as a model of the benchmark."""

    def __init__(self, network: STFMamba, size: Size, stage: Stage) -> None:
        self._network = network
        self._size = size
        self._stage = stage

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self._network

    def stages(self) -> Sequence[Stage]:
        """One stage: Charbonnier's loss and multi-scale similarity of all four images."""
        return (self._stage,)

    def predict(self, given: Given, want: Want) -> Prediction:
        """Answer in one pass; all members are the same."""
        self._network.eval()
        scene = self._scene(given, want)
        joined, *_ = self._network(scene.coarse[0], scene.fine[0], scene.c1)
        return scene.answer(joined, want)

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        """Return the losses of the joined answer, of both answers and of the sharpened image."""
        scene = self._scene(given, want)
        clean, valid = scene.target(truth, want)
        images = self._network(scene.coarse[0], scene.fine[0], scene.c1)
        parts = {
            name: structural(hidden(image.float(), valid), hidden(clean, valid))
            for name, image in zip(PARTS, images, strict=True)
        }
        return {"total": torch.stack(list(parts.values())).sum(), **parts}

    def _scene(self, given: Given, want: Want) -> Scene:
        check("stfmamba", self._size.bands, want)
        return Scene.of(given, want, references=1)


def build(
    preset: str,
    *,
    bands: int | None = None,
    widths: Sequence[int] | None = None,
    pairs: Sequence[int] | None = None,
    middle: int | None = None,
    state: int | None = None,
    learning_rate: float | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
) -> STFMambaModel:
    """Build the model; what is not given is the preset's.

    Args:
        preset: a preset of the card.
        bands: number of bands.
        widths, pairs, middle, state: of :class:`Size`.
        learning_rate, steps, batch_size: of the training.
    """
    asked = {name: value for name, value in locals().items() if name != "preset"}
    size, stage = chosen(SIZES[preset], STAGES[preset], asked)
    return STFMambaModel(STFMamba(size), size, stage)
