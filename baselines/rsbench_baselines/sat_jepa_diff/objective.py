"""The hybrid loss of the predictor, and its five weights.

Tokens are ``(B, n, W)``; ``weight (B, n)`` is the share of a token's pixels that are valid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

TINY = 1e-6
TEMPERATURE = 0.1


@dataclass(frozen=True)
class Weights:
    """Weights of the five terms."""

    l1: float = 20.0
    cosine: float = 2.0
    spatial: float = 2.0
    contrastive: float = 0.5
    feature: float = 5.0


ABLATIONS = {
    "a": Weights(20, 0, 0, 0, 0),
    "b": Weights(20, 2, 0, 0, 0),
    "c": Weights(20, 2, 2, 0, 0),
    "d": Weights(20, 2, 0, 0.5, 0),
    "e": Weights(20, 2, 2, 0.5, 5),
}


def plain_norm(x: Tensor) -> Tensor:
    """Return the layer norm over the last axis, without scale and shift."""
    return F.layer_norm(x, x.shape[-1:])


def variance(x: Tensor) -> Tensor:
    """Return the variance over tokens, averaged over channels and batch."""
    return x.float().var(dim=1).mean()


def hybrid(
    predicted: Tensor, target: Tensor, tokens: Tensor, features: Tensor, weight: Tensor,
    weights: Weights,
) -> dict[str, Tensor]:  # fmt: skip
    """Return the terms, their weighted sum ``jepa``, and what shows a collapse.

    The contrastive term is taken above what the targets themselves reach, which moves no gradient
    and makes 0 the value of a perfect prediction.

    Args:
        predicted: projected tokens ``(B, n, E)``.
        target: normalised embeddings of the next frame at the same positions ``(B, n, E)``.
        tokens: the normalised prediction ``(B, n, W)``.
        features: the teacher's normalised tokens of the next frame ``(B, n, W)``.
        weight: ``(B, n)`` from 0 to 1.
    """
    predicted, target = predicted.float(), target.float()
    cosine = F.cosine_similarity(predicted, target, dim=-1, eps=TINY)
    terms = {
        "l1": _mean((predicted - target).abs().mean(-1), weight),
        "cosine": _mean(1 - cosine, weight),
        "spatial": (_spread(predicted) - _spread(target)).square() * weight.mean().ceil(),
        "contrastive": (_contrastive(predicted, target) - _contrastive(target, target))
        * weight.mean().ceil(),
        "feature": _mean((tokens.float() - features.float()).abs().mean(-1), weight),
    }
    total = sum(
        (getattr(weights, name) * term for name, term in terms.items()), predicted.new_zeros(())
    )
    with torch.no_grad():
        spread, wanted = variance(predicted), variance(target)
        shown = {
            "variance.predicted": spread,
            "variance.target": wanted,
            "variance.ratio": spread / wanted.clamp(min=TINY),
            "cosine.similarity": _mean(cosine, weight),
        }
    return {**terms, **shown, "jepa": cast(Tensor, total)}


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=TINY)


def _spread(x: Tensor) -> Tensor:
    return (x.var(dim=1) + TINY).sqrt().mean()


def _contrastive(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the contrastive loss of a prediction against the batch's other targets (InfoNCE)."""
    B = predicted.shape[0]
    if B < 2:
        return predicted.new_zeros(())
    ours = F.normalize(predicted.mean(dim=1), dim=-1)
    theirs = F.normalize(target.mean(dim=1), dim=-1)
    return F.cross_entropy(ours @ theirs.T / TEMPERATURE, torch.arange(B, device=predicted.device))
