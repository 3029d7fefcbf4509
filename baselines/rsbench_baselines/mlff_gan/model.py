"""MLFF-GAN behind the door: degraded coarse images, generator and discriminator in one loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from rsbench import Frames, Given, Prediction, Stage, Want
from rsbench_baselines.fusion_images import UNSIGNED, Scene, check, chosen
from rsbench_baselines.mlff_gan.loss import discriminator_loss, generator_loss
from rsbench_baselines.mlff_gan.network import Discriminator, Generator, degraded
from rsbench_baselines.mlff_gan.sizes import SIZES, Size

STAGES = {
    # 200 epochs of about 1000 patches in batches of 4.
    "paper": Stage("fit", learning_rate=2e-4, steps=50_000, batch_size=4, clip=0.0),
    "tiny": Stage("fit", learning_rate=4e-3, steps=200, batch_size=4),
}


class Pair(nn.Module):
    """What makes images, and what judges them."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.generator = Generator(size)
        self.discriminator = Discriminator(size)


@dataclass(frozen=True)
class Sample:
    """References, target and truth in [0, 1] ``(N, C, H, W)``, and where the truth is known."""

    c0: Tensor
    f0: Tensor
    c1: Tensor
    f1: Tensor
    valid: Tensor

    def swapped(self, seen: Tensor) -> Sample:
        """Exchange the dates of each sample with probability ½; ``seen`` is where F0 is known."""
        turn = (torch.rand(len(self.c0), 1, 1, 1) < 0.5).to(self.c0.device)

        def one_of(a: Tensor, b: Tensor) -> Tensor:
            return torch.where(turn, b, a)

        return Sample(
            one_of(self.c0, self.c1), one_of(self.f0, self.f1), one_of(self.c1, self.c0),
            one_of(self.f1, self.f0), one_of(self.valid, seen),
        )  # fmt: skip


class MLFFGANModel:
    """MLFF-GAN as a model of the benchmark."""

    def __init__(self, networks: Pair, size: Size, stage: Stage) -> None:
        self._networks = networks
        self._size = size
        self._stage = stage

    @property
    def module(self) -> nn.Module:
        """Generator and discriminator."""
        return self._networks

    def stages(self) -> Sequence[Stage]:
        """One stage, in which both networks step together."""
        return (self._stage,)

    def predict(self, given: Given, want: Want) -> Prediction:
        """Answer in one pass of the generator; all members are the same."""
        self._networks.eval()
        scene = self._scene(given, want)
        c0, c1 = (self._coarse(image) for image in (scene.coarse[0], scene.c1))
        return scene.answer(self._networks.generator(c0, scene.fine[0].clamp(min=0), c1), want)

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        """Return the generator's loss as ``total``, whose gradient is that of both losses.

        The discriminator's own loss joins with its gradient and the value 0: as it falls and
        rises it says nothing of how good images are. Neither loss moves the other's network.
        """
        networks = self._networks
        scene = self._scene(given, want)
        clean, valid = scene.target(truth, want)
        sample = Sample(
            self._coarse(scene.coarse[0]), scene.fine[0].clamp(min=0), self._coarse(scene.c1),
            clean.clamp(min=0), valid,
        )  # fmt: skip
        if networks.training:
            sample = sample.swapped(scene.seen[0])
        made = networks.generator(sample.c0, sample.f0, sample.c1).float()
        # Where nothing is known, what was made counts as true.
        real = torch.where(sample.valid, sample.f1, made.detach())
        fixed = {name: p.detach() for name, p in networks.discriminator.named_parameters()}
        scores = functional_call(networks.discriminator, fixed, (made, sample.c1))
        parts = generator_loss(made, real, scores, sample.valid)
        judged = discriminator_loss(
            networks.discriminator(real, sample.c1),
            networks.discriminator(made.detach(), sample.c1),
        )
        total = parts["total"] + judged - judged.detach()
        return {**parts, "total": total, "discriminator": judged.detach()}

    def _coarse(self, image: Tensor) -> Tensor:
        return degraded(image.clamp(min=0), self._size.ratio)

    def _scene(self, given: Given, want: Want) -> Scene:
        check("mlff_gan", self._size.bands, want)
        return Scene.of(given, want, references=1, domain=UNSIGNED)


def build(
    preset: str,
    *,
    bands: int | None = None,
    widths: Sequence[int] | None = None,
    critic: int | None = None,
    dropout: float | None = None,
    learning_rate: float | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
) -> MLFFGANModel:
    """Build the model; what is not given is the preset's.

    Args:
        preset: a preset of the card.
        bands: number of bands.
        widths, critic, dropout: of :class:`Size`.
        learning_rate, steps, batch_size: of the training.
    """
    asked = {name: value for name, value in locals().items() if name != "preset"}
    size, stage = chosen(SIZES[preset], STAGES[preset], asked)
    return MLFFGANModel(Pair(size), size, stage)
