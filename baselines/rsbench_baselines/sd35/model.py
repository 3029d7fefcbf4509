"""Latent diffusion without a predictor: Sat-JEPA-Diff without its predicted embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from rsbench import Model, Stage, Want
from rsbench_baselines.latent_controls.model import (
    RandomAdapter,
    VaeRoundtrip,
    noise_conditions,
)
from rsbench_baselines.sat_jepa_diff.adapter import Conditions
from rsbench_baselines.sat_jepa_diff.latent import (
    GENERATOR,
    PRIOR,
    VAE,
    Diffusion,
    load_prior,
    repeated,
    sizes_of,
    variant_of,
)
from rsbench_baselines.sat_jepa_diff.network import Generator
from rsbench_baselines.sd35 import card

STAGES = {
    "tiny": (VAE, PRIOR, GENERATOR),
    "fixed": (replace(GENERATOR, learning_rate=1e-4, steps=40_000, weight_decay=0.01),),
    "paper": (replace(GENERATOR, learning_rate=1e-4, steps=290_000, weight_decay=0.04),),
}


class Sd35(Diffusion):
    """Latent diffusion conditioned on random tokens, or on the prompt only."""

    name = "sd35"

    def conditions(self, image: Tensor, copies: int, want: Want) -> Conditions:
        """See :meth:`Diffusion.conditions`."""
        if self._network.adapter is None:
            return repeated(self._network.text(image), copies)
        return noise_conditions(self._network, image, copies, want)

    def controls(self) -> Mapping[str, Model]:
        """Return the controls that measure what the prior contributes: see their cards."""
        found: dict[str, Model] = {"vae_roundtrip": VaeRoundtrip(self._network, self._variant)}
        if self._network.adapter is not None:
            found["random_adapter"] = RandomAdapter.beside(self._network, self._variant)
        return found


def build(
    preset: str,
    *,
    bands: int | None = None,
    sampler: str | None = None,
    sampler_steps: int | None = None,
    weights: str | None = None,
    steps: Sequence[int] | None = None,
) -> Sd35:
    """Build the model.

    Args:
        preset: a preset of the card.
        bands: number of bands; 3 where None. A loaded prior takes red, green and blue only.
        sampler: ``sjd-1step-0.35``, ``sjd-euler30-0.35`` or ``sjd-fm``; the preset's where None.
        sampler_steps: number of calls of the transformer; the sampler's where None.
        weights: folder of the frozen prior; searched for and downloaded where None.
        steps: optimiser steps of the stages, in order.
    """
    options = dict(card.presets[preset].options)
    sizes, count = sizes_of(options, bands)
    kind = options["adapter"]
    network = Generator(sizes, count, kind=None if kind is None else str(kind))
    load_prior(network, sizes, weights)
    stages = STAGES[str(options["stages"])]
    if network.adapter is None:
        stages = tuple(replace(s, modules=_without_adapter(s)) for s in stages)
    variant = variant_of(options, stages, count, named=sampler, steps=sampler_steps, budgets=steps)
    return Sd35(network, variant)


def _without_adapter(stage: Stage) -> tuple[str, ...]:
    return tuple(name for name in stage.modules if name != "adapter")
