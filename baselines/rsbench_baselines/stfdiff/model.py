"""STFDiff behind the door: one reference, training on random times, seeded sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from rsbench import Frames, Given, Prediction, Stage, Want
from rsbench_baselines.ddpm.diffusion import Diffusion
from rsbench_baselines.fusion_images import Scene, check, chosen, drawer
from rsbench_baselines.stfdiff.network import STFDiff
from rsbench_baselines.stfdiff.sampling import fuse, loss, process
from rsbench_baselines.stfdiff.sizes import SIZES, Size

# As published: batches of 24, 300 epochs of 315 patches (CIA).
PUBLISHED = Stage("fit", learning_rate=1e-3, steps=4_000, batch_size=24)
STAGES = {"tiny": Stage("fit", learning_rate=4e-3, steps=200, batch_size=2)}


@dataclass(frozen=True)
class Setup:
    """Shape, schedule and sampler, and the one stage of training."""

    size: Size
    stage: Stage

    @cached_property
    def diffusion(self) -> Diffusion:
        """The forward process."""
        return process(self.size.steps)


class STFDiffModel:
    """STFDiff as a model of the benchmark."""

    def __init__(self, network: STFDiff, setup: Setup) -> None:
        self._network = network
        self._setup = setup

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self._network

    def stages(self) -> Sequence[Stage]:
        """One stage: the absolute error of the clean image."""
        return (self._setup.stage,)

    def predict(self, given: Given, want: Want) -> Prediction:
        """Draw each member on its own; the clean branch is computed once for all."""
        self._network.eval()
        size, scene = self._setup.size, self._scene(given, want)
        drawn = fuse(
            self._network, self._setup.diffusion, scene.coarse[0], scene.fine[0], scene.c1,
            drawer(want, "stfdiff"), steps=size.sampling_steps, eta=size.eta, members=want.members,
        )  # fmt: skip
        return scene.answer(drawn, want)

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        """Return the loss at random times."""
        scene, diffusion = self._scene(given, want), self._setup.diffusion
        clean, valid = scene.target(truth, want)
        times = torch.randint(diffusion.steps, (len(clean),)).to(clean.device)
        noise = torch.randn(clean.shape).to(clean)
        references = scene.coarse[0], scene.fine[0], scene.c1
        return {
            "total": loss(
                self._network, diffusion, clean, noise, times, *references, valid=valid
            )
        }  # fmt: skip

    def _scene(self, given: Given, want: Want) -> Scene:
        check("stfdiff", self._setup.size.bands, want)
        return Scene.of(given, want, references=1)


def build(
    preset: str,
    *,
    bands: int | None = None,
    base: int | None = None,
    mult: Sequence[int] | None = None,
    groups: int | None = None,
    sampling_steps: int | None = None,
    eta: float | None = None,
    learning_rate: float | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
) -> STFDiffModel:
    """Build the model; what is not given is the preset's.

    Args:
        preset: a preset of the card.
        bands: number of bands.
        base, mult, groups, sampling_steps, eta: of :class:`Size`.
        learning_rate, steps, batch_size: of the training.
    """
    asked = {name: value for name, value in locals().items() if name != "preset"}
    size, stage = chosen(SIZES[preset], STAGES.get(preset, PUBLISHED), asked)
    return STFDiffModel(STFDiff(size), Setup(size, stage))
