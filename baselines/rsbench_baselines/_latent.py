"""Latent diffusion with U-Nets of Stable Diffusion 1 and 2: latents, answers, loss, sampling.

R. Rombach and others, "High-resolution image synthesis with latent diffusion models", CVPR 2022;
T. Salimans, J. Ho, "Progressive distillation for fast sampling of diffusion models", ICLR 2022
(v-prediction); T. Hang and others, "Efficient diffusion training via min-SNR weighting strategy",
ICCV 2023.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rsbench_baselines.ddpm.diffusion import Diffusion

Kind = Literal["epsilon", "v", "sample"]
"""What a network predicts: the noise ε, v = √ᾱ·ε − √(1 − ᾱ)·x₀, or the clean latents x₀."""
Answer = Callable[[Tensor, Tensor], Tensor]
"""Takes noisy latents ``(N, c, h, w)`` and times ``(N,)``; returns what the network predicts."""
RGB = (("B04", "B03", "B02"), ("red", "green", "blue"))
VAE: Mapping[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "scaling_factor": 0.18215,
}
"""The VAE of Stable Diffusion 1 and 2; 83,653,863 parameters at three bands."""


class Codec(Protocol):
    """Images within ±1 to latents and back."""

    @property
    def side(self) -> int:
        """Pixels along a side of a latent cell."""

    @property
    def channels(self) -> int:
        """Channels of the latents."""

    def encode(self, image: Tensor, *, sample: bool = False) -> Tensor:
        """Return latents ``(N, channels, H/side, W/side)`` of images ``(N, C, H, W)``."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Return images ``(N, C, H, W)``."""
        ...

    def weight(self, valid: Tensor) -> Tensor:
        """Return the weight of each latent value where ``(N, C, H, W)`` is valid."""
        ...


@dataclass(frozen=True)
class Folded:
    """Latents without a VAE: the pixels of each cell as channels; nothing is lost."""

    side: int
    bands: int

    @property
    def channels(self) -> int:
        """Channels of the latents."""
        return self.bands * self.side**2

    def encode(self, image: Tensor, *, sample: bool = False) -> Tensor:
        """See :class:`Codec`."""
        return F.pixel_unshuffle(image, self.side)

    def decode(self, latents: Tensor) -> Tensor:
        """See :class:`Codec`."""
        return F.pixel_shuffle(latents, self.side)

    def weight(self, valid: Tensor) -> Tensor:
        """Return 1 for each valid value."""
        return F.pixel_unshuffle(valid.float(), self.side)


class Vae:
    """Latents of a frozen VAE; a view of it, without weights of its own."""

    side = 8

    def __init__(self, autoencoder: nn.Module) -> None:
        self._vae: Any = autoencoder

    @property
    def channels(self) -> int:
        """Channels of the latents."""
        return int(self._vae.config.latent_channels)

    @torch.no_grad()
    def encode(self, image: Tensor, *, sample: bool = False) -> Tensor:
        """Return the posterior's mean, or a draw from it with the global random state."""
        found = self._vae.encode(image).latent_dist
        latents = found.mean
        if sample:
            latents = latents + found.std * torch.randn(latents.shape).to(latents)
        return cast(Tensor, latents * self._vae.config.scaling_factor)

    def decode(self, latents: Tensor) -> Tensor:
        """See :class:`Codec`."""
        return cast(Tensor, self._vae.decode(latents / self._vae.config.scaling_factor).sample)

    def weight(self, valid: Tensor) -> Tensor:
        """Return the share of pixels of a cell that are valid in all bands."""
        return F.avg_pool2d(valid.all(dim=1, keepdim=True).float(), self.side)


def rgb_order(bands: tuple[str, ...], count: int) -> list[int]:
    """Return the indices of red, green and blue if these are the bands, else all in order."""
    for names in RGB:
        if sorted(bands) == sorted(names):
            return [bands.index(name) for name in names]
    return list(range(count))


def vae(bands: int) -> nn.Module:
    """Build the VAE for images of so many bands."""
    from diffusers import AutoencoderKL

    return cast(
        nn.Module, quiet(AutoencoderKL, {**VAE, "in_channels": bands, "out_channels": bands})
    )


def quiet(kind: Any, config: Mapping[str, Any]) -> Any:
    """Build a class of diffusers without its warnings on configurations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(**config)


@dataclass(frozen=True)
class Process:
    """How latents are noised, what the network predicts, and how latents are drawn.

    Args:
        diffusion: the forward process.
        kind: what the network predicts.
        bound: the estimate of clean latents is clipped to ±bound while sampling; None for none.
        sampling_steps: calls of the network per image, twice as many with guidance.
        eta: 0 is DDIM without noise between steps; 1 adds the noise of DDPM.
        guidance: weight w of ε_∅ + w·(ε_c − ε_∅); 1 makes no call without conditions.
        snr_limit: γ of the weight min(SNR, γ)/SNR of the loss; None for equal weights.
        at_once: most images in one call of the network while sampling.
    """

    diffusion: Diffusion
    kind: Kind = "epsilon"
    bound: float | None = None
    sampling_steps: int = 50
    eta: float = 0.0
    guidance: float = 1.0
    snr_limit: float | None = None
    at_once: int = 8

    def __post_init__(self) -> None:
        self.diffusion.times(self.sampling_steps)  # rejects an impossible number of steps
        if self.at_once < 1:
            raise ValueError(f"at_once={self.at_once}: at least one image is drawn in a call")

    def _kept(self, times: Tensor, like: Tensor) -> Tensor:
        kept = self.diffusion.alpha_bars.to(times.device)[times]
        return kept.view(-1, *(1,) * (like.ndim - 1)).to(like.dtype)

    def target(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Return what the network should predict at times ``(N,)``."""
        if self.kind == "epsilon":
            return noise
        if self.kind == "sample":
            return clean
        kept = self._kept(times, clean)
        return kept.sqrt() * noise - (1 - kept).sqrt() * clean

    def noise_in(self, answer: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        """Return the noise in noisy latents from what the network predicts."""
        if self.kind == "epsilon":
            return answer
        kept = self._kept(times, noisy)
        if self.kind == "sample":
            return (noisy - kept.sqrt() * answer) / (1 - kept).sqrt()
        return kept.sqrt() * answer + (1 - kept).sqrt() * noisy

    def weights(self, times: Tensor) -> Tensor:
        """Return the weight of the loss at times ``(N,)``; for v as published for ε."""
        if self.snr_limit is None:
            return torch.ones(times.shape, device=times.device)
        kept = self.diffusion.alpha_bars.to(times.device)[times]
        ratio = kept / (1 - kept)
        return (ratio.clamp(max=self.snr_limit) / ratio).float()

    def loss(self, answer: Answer, clean: Tensor, weight: Tensor) -> Tensor:
        """Return the weighted mean squared error of the network at uniformly drawn times.

        Args:
            answer: the network under its conditions.
            clean: latents ``(N, c, h, w)``.
            weight: of each value, ``(N, c|1, h, w)``; 0 where the truth is invalid.
        """
        N = clean.shape[0]
        times = torch.randint(0, self.diffusion.steps, (N,)).to(clean.device)
        noise = torch.randn(clean.shape).to(clean)
        noisy = self.diffusion.noised(clean, noise, times)
        error = (answer(noisy, times) - self.target(clean, noise, times)).square()
        weight = (weight * self.weights(times).view(-1, 1, 1, 1)).expand_as(error)
        counted = weight > 0
        return (error * weight).sum() / counted.sum().clamp(min=1)

    def sample(self, answer: Answer, free: Answer | None, draw: Callable[[str], Tensor]) -> Tensor:
        """Return clean latents ``(N, c, h, w)``.

        Args:
            answer: the network under its conditions.
            free: the network without conditions, called where the guidance is not 1.
            draw: takes a name, returns standard normal noise.
        """

        def noise(x: Tensor, time: int) -> Tensor:
            times = torch.full((x.shape[0],), time, device=x.device)
            found = self.noise_in(answer(x, times), x, times)
            if free is None or self.guidance == 1.0:
                return found
            other = self.noise_in(free(x, times), x, times)
            return other + self.guidance * (found - other)

        return self.diffusion.sample(
            noise, draw, steps=self.sampling_steps, eta=self.eta, bound=self.bound
        )

    def chunks(self, count: int) -> list[slice]:
        """Return the images of each call: memory does not grow with their number."""
        return [slice(i, min(i + self.at_once, count)) for i in range(0, count, self.at_once)]
