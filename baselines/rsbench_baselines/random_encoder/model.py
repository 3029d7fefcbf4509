"""A vision transformer with random weights that depend on a seed alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rsbench_baselines._vit import Encoder, Start
from rsbench_baselines.cross_scale import views
from rsbench_baselines.cross_scale.options import SIZES, Sizes
from rsbench_baselines.encoder_probe import EncoderProbe


class LastTokens(nn.Module):
    """The last token map of an encoder, on a grid as fine as that of a training crop."""

    def __init__(self, encoder: Encoder, sizes: Sizes) -> None:
        super().__init__()
        self.encoder = encoder
        self.sizes = sizes

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, D, h, w)``."""
        return views.token_maps(self.encoder, self.sizes, image, inclusive=False)[-1]


def build(preset: str, bands: int = 4, classes: int = 2, seed: int = 0) -> EncoderProbe:
    """Build the encoder and its discriminant.

    Args:
        seed: of the weights.
    """
    sizes = SIZES["ijepa", "tiny"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = Encoder(
            bands, patch=sizes.patch, width=sizes.width, depth=sizes.depth, heads=sizes.heads,
            start=Start(sizes.spread, sizes.enter),
        )  # fmt: skip
    return EncoderProbe(LastTokens(encoder, sizes), bands=bands, width=sizes.width, classes=classes)
