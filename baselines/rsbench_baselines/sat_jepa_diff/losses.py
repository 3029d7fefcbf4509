"""What each stage of training minimises. Images are ``(B, C, H, W)`` in shares of the range."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rsbench import Want
from rsbench_baselines._vit import pick
from rsbench_baselines.sat_jepa_diff import masks
from rsbench_baselines.sat_jepa_diff.adapter import Conditions
from rsbench_baselines.sat_jepa_diff.network import Autoencoder, Generator, Network
from rsbench_baselines.sat_jepa_diff.objective import Weights, hybrid, plain_norm
from rsbench_baselines.sat_jepa_diff.sampling import Sampler, start_of

KL_WEIGHT = 1e-7
VAE_CROP = 64
TIME_SIDE = 8
COARSE_DROPOUT = 0.15
Terms = dict[str, Tensor]
Embed = Callable[[Want, Tensor], Tensor]
"""``(want, coming image) → (B, N, 64)`` embeddings of the coming year."""


@dataclass(frozen=True)
class Pair:
    """Images of a year and the next, and where the next is valid ``(B, 1, H, W)``."""

    now: Tensor
    then: Tensor
    valid: Tensor

    def share(self, side: int) -> Tensor:
        """Return the valid share of cells of ``side`` pixels ``(B, 1, H/side, W/side)``."""
        return F.avg_pool2d(self.valid.float(), side)


def times(want: Want) -> Tensor:
    """Return a uniform time in (0, 1) per sample, from the noise of the template."""
    normal = want.noise.normal("time", want, channels=1, downscale=TIME_SIDE)[:, 0, 0, 0, 0]
    return (0.5 * (1 + torch.erf(normal / math.sqrt(2)))).clamp(1e-4, 1 - 1e-4)


def noise(network: Autoencoder, want: Want, name: str) -> Tensor:
    """Return standard normal latents of the first member ``(B, channels, H/side, W/side)``."""
    shape = network.latents
    return want.noise.normal(name, want, channels=shape.channels, downscale=shape.side)[:, 0]


def flow(
    network: Generator, conditions: Conditions, pair: Pair, want: Want, *, sample: bool = False
) -> Tensor:
    """Return the flow-matching loss: ``x_t = (1 − t) z + t ε`` towards the velocity ``ε − z``.

    ``z`` are the latents of the coming image: the posterior's mean, or drawn from it.
    """
    clean = _latents(network, pair.then, want, sample=sample)
    t, epsilon = times(want), noise(network, want, "train")
    wide = t[:, None, None, None]
    found = network.velocity((1 - wide) * clean + wide * epsilon, t, conditions)
    return _weighted(found - (epsilon - clean), pair.share(network.latents.side))


def bridge(
    network: Generator, conditions: Conditions, pair: Pair, want: Want, chosen: Sampler
) -> Tensor:
    """Return the flow-matching loss from a sampler's start: see :class:`StraightPath`."""
    clean, epsilon = _latents(network, pair.then, want, sample=False), noise(network, want, "train")
    last = _latents(network, pair.now, want, sample=False)
    path = StraightPath(start_of(chosen, last, epsilon), clean, chosen.strength)
    levels = chosen.sigmas()[:-1].to(clean.device)
    at = levels[(times(want) * len(levels)).long()]
    return path.loss(network, conditions, at, pair.share(network.latents.side))


@dataclass(frozen=True)
class StraightPath:
    """The straight path from what a sampler starts from to the coming image.

    Rectified flow couples any two distributions (X. Liu et al., "Flow straight and fast", ICLR
    2023). Here they are ``x_s = (1 − s) z' + s ε``, with latents ``z'`` of the last image, and the
    latents ``z`` of the coming one: ``x_t = z + (t/s)(x_s − z)``, of velocity ``(x_s − z)/s``.

    Args:
        start, clean: ``x_s`` and ``z`` ``(B, c, h, w)``.
        strength: the level s.
    """

    start: Tensor
    clean: Tensor
    strength: float

    def loss(self, network: Generator, conditions: Conditions, t: Tensor, weight: Tensor) -> Tensor:
        """Return the mean squared error at levels ``t (B,)``, counted as it enters the latents.

        ``weight`` is ``(B, 1, h, w)``.
        """
        whole = self.start - self.clean
        x = self.clean + (t / self.strength)[:, None, None, None] * whole
        found = network.velocity(x, t, conditions)
        return _weighted(self.strength * found - whole, weight)


def _weighted(error: Tensor, weight: Tensor) -> Tensor:
    """Return the mean squared error over valid cells, of ``(B, c, h, w)`` and ``(B, 1, h, w)``."""
    square = error.square().mean(dim=1, keepdim=True)
    return (square * weight).sum() / weight.sum().clamp(min=1e-6)


def _latents(network: Autoencoder, image: Tensor, want: Want, *, sample: bool) -> Tensor:
    """Return scaled latents without gradient: drawn from the posterior, or its mean."""
    with torch.no_grad():
        mean, spread = network.latents.posterior(image)
        return mean + spread * noise(network, want, "posterior") if sample else mean


def rebuild(network: Autoencoder, pair: Pair) -> Terms:
    """Return the loss of the VAE on crops of the target image."""
    image, valid = _crop(pair)
    mean, spread = network.latents.posterior(image)
    drawn = mean + spread * torch.randn(mean.shape, device="cpu").to(mean)
    error = (network.latents.decode(drawn) - image).square()
    # Weighted so little: the first weights put latents near unit scale, and a pull would blur.
    kl = 0.5 * (mean.square() + spread.square() - 1 - 2 * spread.clamp(min=1e-6).log()).mean()
    rebuilt = (error * valid).sum() / (valid.sum() * image.shape[1]).clamp(min=1)
    return {"total": rebuilt + KL_WEIGHT * kl, "rebuilt": rebuilt, "kl": kl}


def prior(network: Generator, pair: Pair, want: Want) -> Terms:
    """Return the flow-matching loss of the own transformer, given only the prompt."""
    return {"total": flow(network, network.text(pair.then), pair, want)}


def _crop(pair: Pair) -> tuple[Tensor, Tensor]:
    """Cut the same crop out of all images; the receptive field of the VAE is a few cells."""
    places = []
    for side in pair.then.shape[-2:]:
        kept = min(side, VAE_CROP)
        first = int(torch.randint(0, side - kept + 1, (), device="cpu"))
        places.append(slice(first, first + kept))
    y, x = places
    return pair.then[..., y, x], pair.valid[..., y, x].float()


def jepa(
    network: Network, pair: Pair, want: Want, *, weights: Weights, whole: bool, embed: Embed
) -> tuple[Terms, Tensor]:
    """Return the hybrid loss, and the predicted tokens of the target block ``(B, n, W)``."""
    if network.training or network.encoder.training:
        network.teacher.follow(network.encoder)
    grid = network.grid(pair.now)
    drawn = masks.draw(pair.now.shape[0], grid, whole=whole, device=pair.now.device)
    tokens = network.foresee(pair.now, drawn.context, drawn.target)
    embedded = plain_norm(embed(want, pair.then).to(tokens.device))
    features = plain_norm(network.teacher(pair.then))
    share = pair.share(network.encoder.patch).flatten(1)
    terms = hybrid(
        network.head(tokens),
        pick(embedded, drawn.target),
        tokens,
        pick(features, drawn.target),
        share.gather(1, drawn.target),
        weights,
    )
    return terms, tokens


def joint(network: Network, pair: Pair, want: Want, *, weights: Weights, embed: Embed) -> Terms:
    """Return the published sum: hybrid loss + flow matching under the masked block's tokens.

    The published SSIM of the coming frame's own reconstruction has no gradient and is left out.
    """
    terms, tokens = jepa(network, pair, want, weights=weights, whole=False, embed=embed)
    trains = network.adapter is not None and network.adapter.training
    dropped = trains and float(torch.rand((), device="cpu")) < COARSE_DROPOUT
    conditions = network.condition(tokens, None, None if dropped else pair.now)
    flowing = flow(network, conditions, pair, want, sample=True)
    return {**terms, "flow": flowing, "total": terms["jepa"] + flowing}
