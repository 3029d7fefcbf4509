"""MLFF-GAN as a model: degraded coarse images, generator and discriminator in one loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from rsbench import Stage, Want
from rsbench_baselines._card import REVISION
from rsbench_baselines._fusion_model import FusionModel
from rsbench_baselines._options import TRAINING, accepts, sized, trained
from rsbench_baselines.fusion_images import UNSIGNED, Scene
from rsbench_baselines.mlff_gan.loss import discriminator_loss, generator_loss
from rsbench_baselines.mlff_gan.network import Discriminator, Generator, degraded
from rsbench_baselines.mlff_gan.released import generator_layout
from rsbench_baselines.mlff_gan.sizes import SIZES, Size
from rsbench_baselines.released import Layout

STAGES = {
    # 200 epochs of about 1000 patches in batches of 4.
    "paper": Stage("fit", learning_rate=2e-4, steps=50_000, batch_size=4, clip=0.0),
    "tiny": Stage("fit", learning_rate=4e-3, steps=200, batch_size=4),
}


class Pair(nn.Module):
    """Generator and discriminator."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.generator = Generator(size)
        self.discriminator = Discriminator(size)


@dataclass(frozen=True)
class Sample:
    """References, target and truth in [0, 1] and the truth's validity, ``(N, C, H, W)`` each."""

    c0: Tensor
    f0: Tensor
    c1: Tensor
    f1: Tensor
    valid: Tensor

    def swapped(self, seen: Tensor) -> Sample:
        """Exchange the dates of each sample with probability ½; ``seen`` is the validity of F0."""
        turn = (torch.rand(len(self.c0), 1, 1, 1) < 0.5).to(self.c0.device)

        def one_of(a: Tensor, b: Tensor) -> Tensor:
            return torch.where(turn, b, a)

        return Sample(
            one_of(self.c0, self.c1), one_of(self.f0, self.f1), one_of(self.c1, self.c0),
            one_of(self.f1, self.f0), one_of(self.valid, seen),
        )  # fmt: skip


class MLFFGANModel(FusionModel[Pair, Size]):
    """MLFF-GAN as a model of the benchmark; both networks are updated in every step."""

    name = "mlff_gan"
    revision = REVISION
    domain = UNSIGNED

    def estimate(self, scene: Scene, want: Want) -> Tensor:
        """Predict in one pass of the generator; all members are equal."""
        c0, c1 = (self._coarse(image) for image in (scene.coarse[0], scene.c1))
        out: Tensor = self._network.generator(c0, scene.fine[0].clamp(min=0), c1)
        return out

    def released(self) -> tuple[nn.Module, Layout]:
        """Return the network that predicts, and the layout of its released state."""
        return self._network.generator, generator_layout(self._size)

    def losses(self, scene: Scene, clean: Tensor, valid: Tensor) -> Mapping[str, Tensor]:
        """Return the generator's loss as ``total``, whose gradient is that of both losses.

        The discriminator's loss is added with its gradient and the value 0, because its value
        does not measure image quality. Neither loss has a gradient in the other's network.
        """
        networks = self._network
        sample = Sample(
            self._coarse(scene.coarse[0]), scene.fine[0].clamp(min=0), self._coarse(scene.c1),
            clean.clamp(min=0), valid,
        )  # fmt: skip
        if networks.training:
            sample = sample.swapped(scene.seen[0])
        made = networks.generator(sample.c0, sample.f0, sample.c1).float()
        # Where the truth is invalid, the generated value stands in for it.
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


@accepts("bands", "widths", "critic", "dropout", *TRAINING, of=(STAGES, SIZES))
def build(preset: str, **options: Any) -> MLFFGANModel:
    """Build the model; an option that is not given is the preset's.

    Args:
        preset: a preset of the card.
        options: ``bands``, ``widths``, ``critic`` and ``dropout`` of :class:`Size`;
            ``learning_rate``, ``steps`` and ``batch_size`` of the training.
    """
    size = sized(SIZES[preset], options)
    return MLFFGANModel(Pair(size), size, trained(STAGES[preset], options))
