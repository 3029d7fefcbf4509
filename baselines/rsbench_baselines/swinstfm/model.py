"""SwinSTFM behind the door: one reference, structural loss, one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from rsbench import Frames, Given, Prediction, Stage, Want
from rsbench_baselines.fusion_images import Scene, any_way, check, chosen
from rsbench_baselines.image_losses import hidden, structural
from rsbench_baselines.swinstfm.network import SwinSTFM
from rsbench_baselines.swinstfm.sizes import SIZES, Size

STAGES = {
    # 60 epochs of 720 patches (LGC) in batches of 8.
    "paper": Stage("fit", learning_rate=1e-4, steps=5_400, batch_size=8, clip=0.0),
    "tiny": Stage("fit", learning_rate=2e-3, steps=200, batch_size=4),
}


class SwinSTFMModel:
    """SwinSTFM as a model of the benchmark."""

    def __init__(self, network: SwinSTFM, size: Size, stage: Stage) -> None:
        self._network = network
        self._size = size
        self._stage = stage

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self._network

    def stages(self) -> Sequence[Stage]:
        """One stage: Charbonnier's loss and multi-scale similarity."""
        return (self._stage,)

    def predict(self, given: Given, want: Want) -> Prediction:
        """Answer in one pass; all members are the same."""
        self._network.eval()
        scene = self._scene(given, want)
        return scene.answer(self._network(scene.coarse[0], scene.fine[0], scene.c1), want)

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        """Return the loss of images that are 0 where the truth is not valid, as published."""
        scene = self._scene(given, want)
        clean, valid = scene.target(truth, want)
        if self._network.training:
            scene, clean, valid = scene.turned(clean, valid, any_way)
        estimate = self._network(scene.coarse[0], scene.fine[0], scene.c1).float()
        return {"total": structural(hidden(estimate, valid), hidden(clean, valid))}

    def _scene(self, given: Given, want: Want) -> Scene:
        check("swinstfm", self._size.bands, want)
        return Scene.of(given, want, references=1)


def build(
    preset: str,
    *,
    bands: int | None = None,
    widths: Sequence[int] | None = None,
    depths: Sequence[int] | None = None,
    up_depths: Sequence[int] | None = None,
    window: int | None = None,
    head: int | None = None,
    learning_rate: float | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
) -> SwinSTFMModel:
    """Build the model; what is not given is the preset's.

    Args:
        preset: a preset of the card.
        bands: number of bands.
        widths, depths, up_depths, window, head: of :class:`Size`.
        learning_rate, steps, batch_size: of the training.
    """
    asked = {name: value for name, value in locals().items() if name != "preset"}
    size, stage = chosen(SIZES[preset], STAGES[preset], asked)
    return SwinSTFMModel(SwinSTFM(size), size, stage)
