"""Controls of latent diffusion: models that are not trained to forecast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rsbench import InputError, Stage, Want
from rsbench_baselines.latent_controls import random_adapter, vae_roundtrip
from rsbench_baselines.sat_jepa_diff.adapter import Adapter, Conditions
from rsbench_baselines.sat_jepa_diff.latent import (
    PRIOR,
    VAE,
    Diffusion,
    LatentModel,
    Variant,
    load_prior,
    repeated,
    sizes_of,
    variant_of,
)
from rsbench_baselines.sat_jepa_diff.network import Autoencoder, Generator, Network
from rsbench_baselines.sat_jepa_diff.sampling import sampler

SEED = 35


class VaeRoundtrip(LatentModel):
    """The last frame, encoded and decoded: persistence plus the VAE's reconstruction error."""

    name = "vae_roundtrip"

    def drawn(self, image: Tensor, copies: int, want: Want) -> Tensor:
        """See :meth:`LatentModel.drawn`."""
        mean, _ = self._network.latents.posterior(image)
        return mean.repeat_interleave(copies, dim=0)


class RandomAdapter(Diffusion):
    """The last frame mixed with noise and denoised in one step, conditioned on random numbers.

    As in the published evaluation: a prior without its updates and an adapter with its initial
    weights. Tokens are predicted if the network has a predictor, else standard normal.
    """

    name = "random_adapter"

    def __init__(
        self, network: Generator, variant: Variant, adapter: Adapter | None = None
    ) -> None:
        super().__init__(network, variant)
        self._adapter = adapter

    @classmethod
    def beside(cls, network: Generator, variant: Variant) -> RandomAdapter:
        """Return the control of a trained network: its prior with an untrained adapter."""
        own = network.adapter
        if own is None:
            raise InputError(
                "the control random_adapter",
                "the network has no adapter",
                "Choose a preset with an adapter",
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            fresh = Adapter(**own.arguments).to(own.norm.weight)
        return cls(network, replace(variant, sampler=sampler("sjd-1step-0.35")), fresh.eval())

    def conditions(self, image: Tensor, copies: int, want: Want) -> Conditions:
        """See :meth:`Diffusion.conditions`."""
        network = self._network
        if isinstance(network, Network):
            found = network.condition(
                network.foresee(image), network.grid(image), image, adapter=self._adapter
            )
            return repeated(found, copies)
        return noise_conditions(network, image, copies, want, adapter=self._adapter)

    def drawn(self, image: Tensor, copies: int, want: Want) -> Tensor:
        """See :meth:`LatentModel.drawn`."""
        if self._network.lora is None:
            return super().drawn(image, copies, want)
        with self._network.lora.silent():
            return super().drawn(image, copies, want)


def noise_conditions(
    network: Generator, image: Tensor, copies: int, want: Want, *, adapter: Adapter | None = None
) -> Conditions:
    """Return the prompt, and an adapter's output for tokens of standard normal noise."""
    drawn = want.noise.normal("tokens", want, channels=network.width, downscale=network.patch)
    tokens = drawn.flatten(0, 1).flatten(2).transpose(1, 2)
    shown = image.repeat_interleave(copies, dim=0)
    return network.condition(tokens, network.grid(image), shown, adapter=adapter)


def build_vae_roundtrip(
    preset: str, *, bands: int | None = None, weights: str | None = None
) -> VaeRoundtrip:
    """Build the round trip; ``weights`` is the folder of the frozen prior."""
    options = dict(vae_roundtrip.presets[preset].options)
    sizes, count = sizes_of(options, bands)
    network = Autoencoder(sizes, count)
    load_prior(network, sizes, weights)
    return VaeRoundtrip(network, variant_of(options, _stages(options, VAE), count))


def build_random_adapter(
    preset: str, *, bands: int | None = None, weights: str | None = None
) -> RandomAdapter:
    """Build the control; ``weights`` is the folder of the frozen prior."""
    options = dict(random_adapter.presets[preset].options)
    sizes, count = sizes_of(options, bands)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = Generator(sizes, count, kind=str(options["adapter"]), updates=False)
    if network.adapter is not None:
        network.adapter.requires_grad_(False)
    load_prior(network, sizes, weights)
    return RandomAdapter(network, variant_of(options, _stages(options, VAE, PRIOR), count))


def _stages(options: Mapping[str, Any], *own: Stage) -> tuple[Stage, ...]:
    return own if options["size"] == "small" else ()
