"""Losses of MLFF-GAN's generator and discriminator."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from rsbench_baselines.image_losses import absolute, ms_ssim

ADVERSARIAL_WEIGHT = 0.01


def generator_loss(
    estimate: Tensor, truth: Tensor, scores: Tensor, valid: Tensor | None = None
) -> Mapping[str, Tensor]:
    """Return ``total`` and its parts before weighting.

    Args:
        estimate, truth: ``(N, C, H, W)`` in [0, 1].
        scores: of the discriminator for the estimate.
        valid: where the truth is known; elsewhere it must show the estimate.
    """
    alike = cosine_similarity(estimate, truth, dim=1)
    whole = torch.ones_like(alike) if valid is None else valid.all(dim=1).to(alike)
    parts = {
        "adversarial": (scores - 1).square().mean(),
        "absolute": absolute(estimate - truth, valid),
        "structure": 1 - ms_ssim(estimate, truth, 1.0, "halved"),
        "spectrum": ((1 - alike) * whole).sum() / whole.sum().clamp(min=1),
    }
    rest = torch.stack([parts[name] for name in ("absolute", "structure", "spectrum")]).sum()
    return {"total": ADVERSARIAL_WEIGHT * parts["adversarial"] + rest, **parts}


def discriminator_loss(real: Tensor, made: Tensor) -> Tensor:
    """Return the least-squares loss of the scores of true and of made images."""
    return 0.5 * ((real - 1).square().mean() + made.square().mean())
