"""LatentMIM with the spatial-affinity loss.

Y. Wei, A. Gupta, P. Morgado, "Towards latent masked image modeling for self-supervised visual
representation learning", ECCV 2024, arXiv 2407.15837; J. G. Waithaka et al., arXiv 2601.12964.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from rsbench_baselines._teacher import Teacher
from rsbench_baselines._vit import Encoder
from rsbench_baselines.cross_scale import masking, views
from rsbench_baselines.cross_scale.base import BaseMethod, Predicted
from rsbench_baselines.cross_scale.decoder import CrossDecoder
from rsbench_baselines.cross_scale.options import Pretraining, Sizes

TEMPERATURE = 0.2
STEADY = 1e-4
"""Added to the deviation of predictions."""


class LatentMim(BaseMethod):
    """Predicts an average teacher's tokens of masked patches from a few visible ones.

    The teacher's momentum rises along a cosine.

    Args:
        sizes: of the networks.
        options: what the loss is made of.
        steps: optimiser steps, after which the teacher's momentum is 1.
    """

    inclusive = True

    def __init__(self, sizes: Sizes, options: Pretraining, *, steps: int) -> None:
        super().__init__(sizes, options)
        self.encoder = Encoder(
            sizes.bands, patch=sizes.patch, width=sizes.width, depth=sizes.depth,
            heads=sizes.heads, cls=True,
        )  # fmt: skip
        self.projector = projector(sizes.width, sizes.hidden)
        self.decoder = CrossDecoder(
            sizes.width, inner=sizes.inner, depth=sizes.inner_depth, heads=sizes.inner_heads
        )
        self.apply(_init)
        self.teacher = Teacher(
            self.student, momentum=sizes.momentum, steps=steps, schedule="cosine"
        )

    @property
    def student(self) -> Projected:
        """Encoder and projector."""
        return Projected(self.encoder, self.projector)

    def read(self, image: Tensor, draw: Generator) -> Tensor:
        """Return the image without the gaps between its patches."""
        return gapped(image, self.sizes.patch, self.sizes.gap, draw)

    def predict(self, image: Tensor, draw: Generator) -> Predicted:
        """Return tokens of visible patches, and the others predicted from them."""
        sizes = self.sizes
        visible, masked = (
            index.to(image.device)
            for index in masking.visible_subset(len(image), sizes.grid**2, sizes.visible, draw)
        )
        tokens = self.encoder(image, visible, self.codes())
        projected = self.projector(tokens)
        target = self.teacher(image, masked, self.codes())[:, 1:]
        places = views.places(
            sizes.inner, sizes.grid, sizes.grid, inclusive=True, base=self.encoder.base
        )
        predicted = self.decoder(projected, visible, masked, places)
        return Predicted(visible, tokens[:, 1:], projected[:, 1:], masked, predicted, target)

    def compare(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Return :func:`patch_infonce`."""
        return patch_infonce(predicted, target)


class Projected(nn.Module):
    """An encoder and its projector, as one network."""

    def __init__(self, encoder: Encoder, projector: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector

    @property
    def norm(self) -> nn.LayerNorm:
        """The encoder's last norm."""
        return self.encoder.norm

    def forward(self, image: Tensor, kept: Tensor, places: Tensor) -> Tensor:
        """Return the projected tokens, that without a position first: ``(B, 1 + n, W)``."""
        return cast(Tensor, self.projector(self.encoder(image, kept, places)))


def projector(width: int, hidden: int) -> nn.Sequential:
    """Return three linear layers without bias, each with a norm, GELU between them."""
    return nn.Sequential(
        nn.Linear(width, hidden, bias=False), nn.LayerNorm(hidden), nn.GELU(),
        nn.Linear(hidden, hidden, bias=False), nn.LayerNorm(hidden), nn.GELU(),
        nn.Linear(hidden, width, bias=False), nn.LayerNorm(width),
    )  # fmt: skip


def gapped(image: Tensor, patch: int, gap: int, draw: Generator) -> Tensor:
    """Return the image without what lies between its patches.

    A patch is at a random place of its cell of ``patch + gap`` pixels a side: 0 to ``gap − 1``
    pixels from the first row and column, as published, so that it never reaches the last.

    Args:
        image: ``(B, C, H, W)`` of whole cells.
        patch, gap: pixels.
        draw: generator on the CPU.

    Returns:
        ``(B, C, h·patch, w·patch)`` of h × w cells.
    """
    if gap == 0:
        return image
    B, _, H, W = image.shape
    h, w = H // (patch + gap), W // (patch + gap)
    places = []
    for axis, count in ((1, h), (2, w)):
        start = torch.arange(count) * (patch + gap)
        start = start[:, None] if axis == 1 else start
        start = start + torch.randint(0, gap, (B, h, w), generator=draw)
        places.append((start[..., None] + torch.arange(patch)).to(image.device))
    rows, columns = places[0][..., :, None], places[1][..., None, :]
    batch = torch.arange(B, device=image.device)[:, None, None, None, None]
    found = image.movedim(1, -1)[batch, rows, columns]  # (B, h, w, patch, patch, C)
    return found.permute(0, 5, 1, 3, 2, 4).reshape(B, -1, h * patch, w * patch)


def patch_infonce(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the contrastive loss between the tokens of an image, times twice the temperature.

    Predictions are standardised over the tokens; a token's own target is to be the most alike of
    its image. Chance is ``2τ ln N``, τ = 0.2. Computed in float32.

    Args:
        predicted, target: ``(B, N, W)``.
    """
    with torch.autocast(predicted.device.type, enabled=False):
        predicted, target = predicted.float(), target.detach().float()
        centred = predicted - predicted.mean(dim=1, keepdim=True)
        unit = F.normalize(centred / (predicted.std(dim=1, keepdim=True) + STEADY), dim=-1)
        scores = unit @ F.normalize(target, dim=-1).mT / TEMPERATURE
        own = torch.arange(scores.shape[1], device=scores.device).expand(len(scores), -1)
        return F.cross_entropy(scores.flatten(0, 1), own.flatten()) * (2 * TEMPERATURE)


def _init(module: nn.Module) -> None:
    """Draw weights uniformly by the sum of inputs and outputs (Glorot), those of patches too."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.xavier_uniform_(module.weight.detach().flatten(1))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
