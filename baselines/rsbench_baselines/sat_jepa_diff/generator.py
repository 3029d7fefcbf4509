"""The diffusion transformer and the VAE, through diffusers; latents are scaled as published."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, cast

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from torch import Tensor, nn
from torch.nn import functional as F

STEPS = 1000
SHIFT = 3.0
LOG_VARIANCE = -8.0
CENTRE = -0.6
"""About the mean of a band in [−1, 1] where a VAE starts as an average."""
PASSED_GAIN = 2.0
CONSTANT, NORM_SHIFT, SIGNAL_GAIN, DETAIL = 2.0, 3.0, 12.0, 0.5
"""With the gain of 12, 35 % of noise hides less than a year changes; at unit spread, more."""


def transformer(config: Mapping[str, Any]) -> nn.Module:
    """Build the transformer of a configuration."""
    return cast(nn.Module, _quiet(SD3Transformer2DModel, config))


def vae(config: Mapping[str, Any], bands: int) -> nn.Module:
    """Build the VAE of a configuration for images of so many bands."""
    return cast(
        nn.Module, _quiet(AutoencoderKL, {**config, "in_channels": bands, "out_channels": bands})
    )


@torch.no_grad()
def start_averaging(autoencoder: nn.Module) -> None:
    """Let a VAE of one width start as the mean of each cell's pixels, and its nearest copy.

    The first channels of the latents carry the bands, further ones the
    differences within a cell, which training learns to decode. Residual convolutions add nothing
    at first. Channels without a band hold constants larger than the bands, and the last norms
    shift what they pass to where SiLU is nearly linear, so most of the brightness and contrast of
    an image comes through the norms. Drawn as usual, it takes several times as long to rebuild
    more than brightness. Spreads of latents start small, or nothing would come through their
    noise. Nothing happens on the meta device, which has shapes only.
    """
    network: Any = autoencoder
    if network.decoder.conv_out.weight.is_meta:
        return
    start = _Averaging(network.config)
    for name, layer in network.named_modules():
        if not isinstance(layer, nn.Conv2d) or name.endswith(".conv1"):
            continue
        nn.init.zeros_(cast(Tensor, layer.bias))
        nn.init.zeros_(layer.weight)
        if name.endswith("upsamplers.0.conv"):
            nn.init.dirac_(layer.weight)
        elif name.endswith("downsamplers.0.conv"):
            start.average(layer)
    encoder, decoder = network.encoder, network.decoder
    start.enter(encoder.conv_in, 1.0, 0.0)
    start.leave(encoder, start.gain, 0.0)
    start.enter(decoder.conv_in, 1 / start.gain, CENTRE)
    start.leave(decoder, 1.0, CENTRE)
    start.details(encoder.conv_out, decoder.conv_in)
    encoder.conv_out.bias[start.latent :] = LOG_VARIANCE


class _Averaging:
    """Weights of :func:`start_averaging` for one configuration of a VAE.

    A band that is ``CENTRE`` leaves a norm as ``at``, and one more by x as ``at + x / spread``.
    """

    def __init__(self, config: Any) -> None:
        width, self.latent = int(config.block_out_channels[0]), int(config.latent_channels)
        self.bands = range(min(int(config.in_channels), self.latent))
        self.signal = [band * width // len(self.bands) for band in self.bands]
        self.rest = [i for i in range(width) if i not in self.signal]
        self.levels = CONSTANT * (1 - 2.0 * (torch.arange(width, device="cpu") % 2 == 0))
        self.levels[self.signal] = CENTRE
        self.gain = SIGNAL_GAIN / float(config.scaling_factor)
        mean, self.spread = float(self.levels.mean()), float(self.levels.std(correction=0))
        self.passed = F.silu(NORM_SHIFT + (self.levels - mean) / self.spread)
        at = torch.tensor(NORM_SHIFT + (CENTRE - mean) / self.spread)
        self.slope = float(F.silu(at + 0.2) - F.silu(at - 0.2)) / 0.4

    def average(self, layer: nn.Conv2d) -> None:
        """Average 2×2 pixels; channels without a band add differences of the bands there."""
        for channel in range(layer.out_channels):
            layer.weight[channel, channel, :2, :2] = 0.25
        within = torch.randn(len(self.rest), len(self.bands), 2, 2)
        within -= within.mean(dim=(2, 3), keepdim=True)
        for row, channel in enumerate(self.rest):
            layer.weight[channel, self.signal, :2, :2] = DETAIL * within[row]

    def enter(self, layer: nn.Conv2d, gain: float, shift: float) -> None:
        """Put each band into its channel, times the gain, and constants into the others."""
        bias = cast(Tensor, layer.bias)
        layer.weight[self.signal, list(self.bands), 1, 1] = gain
        bias[self.signal] = shift
        bias[self.rest] = self.levels[self.rest]

    def leave(self, side: Any, gain: float, shift: float) -> None:
        """Take the bands out behind the last norm: ``shift`` where they are ``CENTRE``."""
        side.conv_norm_out.bias.fill_(NORM_SHIFT)
        weight = gain * self.spread / self.slope
        side.conv_out.weight[list(self.bands), self.signal, 1, 1] = weight
        side.conv_out.bias[list(self.bands)] = shift - weight * self.passed[self.signal]

    def details(self, out: nn.Conv2d, into: nn.Conv2d) -> None:
        """Let further channels of the latents carry channels without a band."""
        further = list(range(len(self.bands), self.latent))
        if not further:
            return
        rows = nn.init.orthogonal_(torch.empty(len(further), len(self.rest))) * self.gain
        columns = nn.init.orthogonal_(torch.empty(len(self.rest), len(further)))
        for i, channel in enumerate(further):
            out.weight[channel, self.rest, 1, 1] = rows[i]
            cast(Tensor, out.bias)[channel] = -(rows[i] * self.passed[self.rest]).sum()
            into.weight[self.rest, channel, 1, 1] = DETAIL * columns[:, i] / self.gain


@torch.no_grad()
def start_passing(network: nn.Module) -> None:
    """Let a transformer of a few channels start by passing noised latents on.

    Tokens enter by an orthogonal map and leave by its transpose (A. Saxe et al., "Exact solutions
    to the nonlinear dynamics of learning in deep linear networks", ICLR 2014). Drawn as usual, the
    noise that a velocity consists of does not come through within a short training. Nothing
    happens on the meta device.
    """
    found: Any = network
    into, out = found.pos_embed.proj, found.proj_out
    if into.weight.is_meta:
        return
    orthogonal = nn.init.orthogonal_(torch.empty(into.out_channels, into.weight[0].numel()))
    cells = orthogonal.reshape(into.weight.shape)
    into.weight.copy_(PASSED_GAIN * cells)
    out.weight.copy_(cells.permute(2, 3, 1, 0).reshape(out.weight.shape))
    nn.init.zeros_(into.bias)
    nn.init.zeros_(out.bias)


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
    def channels(self) -> int:
        """Channels of the latents."""
        return int(self._vae.config.latent_channels)

    @property
    def side(self) -> int:
        """Pixels along a side of a latent cell."""
        return int(2 ** (len(self._vae.config.block_out_channels) - 1))

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the VAE's weights."""
        return cast(Tensor, next(self._vae.parameters())).dtype

    def posterior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation ``(B, c, H/side, W/side)`` of scaled latents."""
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
        latents: ``(B, c, h, w)``.
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
