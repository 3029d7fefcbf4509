"""The diffusion transformer and the VAE, through diffusers; latents are scaled as published."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, cast

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from torch import Tensor, nn

STEPS = 1000
SHIFT = 3.0
LOG_VARIANCE = -6.0


def transformer(config: Mapping[str, Any]) -> nn.Module:
    """Build the transformer of a configuration."""
    return cast(nn.Module, _quiet(SD3Transformer2DModel, config))


def vae(config: Mapping[str, Any], bands: int) -> nn.Module:
    """Build the VAE of a configuration for images of so many bands."""
    return cast(
        nn.Module, _quiet(AutoencoderKL, {**config, "in_channels": bands, "out_channels": bands})
    )


@torch.no_grad()
def start_linear(autoencoder: nn.Module) -> None:
    """Let a VAE of a few channels start all but linear, its convolutions keeping lengths.

    Residual convolutions add nothing at first, and those between them are orthogonal at their
    middle (L. Xiao et al., "Dynamical isometry and a mean field theory of CNNs", ICML 2018).
    Drawn as usual it takes several times as long to rebuild more than brightness. Spreads of
    latents start small, or nothing would come through their noise.
    """
    network: Any = autoencoder
    for name, layer in network.named_modules():
        if not isinstance(layer, nn.Conv2d) or name.endswith(".conv1"):
            continue
        nn.init.zeros_(cast(Tensor, layer.bias))
        if name.endswith(".conv2"):
            nn.init.zeros_(layer.weight)
        elif layer.stride == (1, 1) and layer.kernel_size == (3, 3):
            middle = torch.empty(layer.out_channels, layer.in_channels)
            layer.weight.zero_()[:, :, 1, 1] = nn.init.orthogonal_(middle)
        else:
            nn.init.orthogonal_(layer.weight)
    spreads = network.config.latent_channels
    network.encoder.conv_out.weight[spreads:] *= 0.1
    network.encoder.conv_out.bias[spreads:] = LOG_VARIANCE


def _quiet(kind: Any, config: Mapping[str, Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(**config).eval()


def shifted_sigmas(count: int) -> Tensor:
    """Return ``count + 1`` noise levels from 1 to 0 as the published scheduler spaces them."""
    kind: Any = FlowMatchEulerDiscreteScheduler
    scheduler = kind(num_train_timesteps=STEPS, shift=SHIFT)
    scheduler.set_timesteps(count)
    return cast(Tensor, scheduler.sigmas).to("cpu", torch.float32)


class Latents:
    """Images in [0, 1] to scaled latents and back; a view of a VAE, without weights of its own."""

    def __init__(self, autoencoder: nn.Module) -> None:
        self._vae: Any = autoencoder
        self.encoded = 0
        self.decoded = 0

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the VAE's weights."""
        return cast(Tensor, next(self._vae.parameters())).dtype

    def posterior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation ``(B, 16, H/8, W/8)`` of scaled latents."""
        self.encoded += 1
        found = self._vae.encode((2 * image - 1).to(self.dtype)).latent_dist
        config = self._vae.config
        mean = (found.mean.float() - config.shift_factor) * config.scaling_factor
        return mean, found.std.float() * config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """Return images ``(B, C, H, W)``; not clamped."""
        self.decoded += 1
        config = self._vae.config
        raw = latents / config.scaling_factor + config.shift_factor
        return cast(Tensor, self._vae.decode(raw.to(self.dtype)).sample.float() + 1) / 2


class Prompt(nn.Module):
    """Text embeddings of the one fixed prompt, computed once and stored with the weights.

    Not part of a checkpoint: they belong to the frozen network. The own prior has no text
    encoder, and takes seeded normal vectors for its one prompt.
    """

    tokens: Tensor
    pooled: Tensor

    def __init__(self, joint: int, pooled: int, *, text: int) -> None:
        super().__init__()
        generator = torch.Generator("cpu").manual_seed(35)
        tokens = torch.randn(text, joint, generator=generator, device="cpu")
        vector = torch.randn(pooled, generator=generator, device="cpu")
        self.register_buffer("tokens", tokens, persistent=False)
        self.register_buffer("pooled", vector, persistent=False)

    def forward(self, batch: int) -> tuple[Tensor, Tensor]:
        """Return ``(B, text, D)`` and ``(B, P)``."""
        return self.tokens.expand(batch, -1, -1), self.pooled.expand(batch, -1)


def velocity(
    network: nn.Module, latents: Tensor, sigma: Tensor, hidden: Tensor, pooled: Tensor
) -> Tensor:
    """Return the predicted velocity ``ε − z`` of noised latents.

    Args:
        latents: ``(B, 16, h, w)``.
        sigma: noise levels ``(B,)`` from 0 to 1.
        hidden: ``(B, n, D)``; ``pooled``: ``(B, P)``.
    """
    dtype = next(network.parameters()).dtype
    answer = network(
        hidden_states=latents.to(dtype),
        timestep=STEPS * sigma,
        encoder_hidden_states=hidden.to(dtype),
        pooled_projections=pooled.to(dtype),
        return_dict=False,
    )[0]
    return cast(Tensor, answer.float())
