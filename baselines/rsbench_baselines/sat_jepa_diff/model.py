"""Sat-JEPA-Diff as a model: predicted embeddings as conditions, and the stages of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from rsbench import Model, Stage, Want
from rsbench_baselines.latent_controls.model import RandomAdapter, VaeRoundtrip
from rsbench_baselines.sat_jepa_diff import card, losses, targets
from rsbench_baselines.sat_jepa_diff.adapter import Conditions
from rsbench_baselines.sat_jepa_diff.latent import (
    GENERATOR,
    PRIOR,
    VAE,
    Diffusion,
    Variant,
    load_prior,
    repeated,
    sizes_of,
    variant_of,
)
from rsbench_baselines.sat_jepa_diff.network import Network
from rsbench_baselines.sat_jepa_diff.objective import ABLATIONS, Weights

WATCHED = ("variance.predicted", "variance.target", "variance.ratio", "cosine.similarity")
JEPA = Stage(
    "jepa", learning_rate=5e-3, steps=1800, batch_size=8,
    modules=("encoder", "predictor", "head"), watched=WATCHED,
)  # fmt: skip
JOINT = Stage(
    "joint", learning_rate=1e-4, steps=290_000, batch_size=8, weight_decay=0.04,
    modules=("encoder", "predictor", "head", "adapter", "lora"), watched=WATCHED,
)  # fmt: skip
STAGES = {
    "tiny": (VAE, PRIOR, JEPA, GENERATOR),
    "fixed": (
        replace(JEPA, learning_rate=1e-4, steps=20_000, weight_decay=0.04),
        replace(GENERATOR, learning_rate=1e-4, steps=20_000, weight_decay=0.01),
    ),
    "paper": (JOINT,),
}


class SatJepaDiff(Diffusion):
    """Sat-JEPA-Diff as a model of the benchmark.

    Args:
        weights: of the hybrid loss.
        embeddings: target of the predictor; the substitute where None.
    """

    name = "sat_jepa_diff"
    _network: Network

    def __init__(
        self, network: Network, variant: Variant, weights: Weights,
        embeddings: targets.AlphaEarth | None = None,
    ) -> None:  # fmt: skip
        super().__init__(network, variant)
        self._weights = weights
        self._embeddings = embeddings

    @property
    def inputs(self) -> str:
        """The target that the predictor was trained on, and the network's revision."""
        target = targets.ALPHA_EARTH if self._embeddings else targets.SUBSTITUTE
        return ", ".join(part for part in (target, self._variant.revision) if part)

    @property
    def reads_places(self) -> bool:
        """Whether the loss reads rasters by position, which augmentation must then keep."""
        return self._embeddings is not None

    def conditions(self, image: Tensor, copies: int, want: Want) -> Conditions:
        """Return the prompt, and the adapter's output for predicted tokens of the whole grid."""
        network = self._network
        found = network.condition(network.foresee(image), network.grid(image), image)
        return repeated(found, copies)

    def controls(self) -> Mapping[str, Model]:
        """Return the controls that measure what the prior contributes: see their cards."""
        return {
            "vae_roundtrip": VaeRoundtrip(self._network, self._variant),
            "random_adapter": RandomAdapter.beside(self._network, self._variant),
        }

    def terms(self, stage: Stage, pair: losses.Pair, want: Want) -> Mapping[str, Tensor]:
        """Return the terms of a stage's loss; ``total`` is minimised."""
        network, weights = self._network, self._weights
        if stage.name == "jepa":
            terms, _ = losses.jepa(
                network, pair, want, weights=weights, whole=True, embed=self._embed
            )
            return {**terms, "total": terms["jepa"]}
        if stage.name == "joint":
            return losses.joint(network, pair, want, weights=weights, embed=self._embed)
        return super().terms(stage, pair, want)

    def _embed(self, want: Want, image: Tensor) -> Tensor:
        patch = self._network.patch
        if self._embeddings is not None:
            return self._embeddings.read(want, patch)
        return targets.substitute(image / self._variant.gain, patch)


def build(
    preset: str,
    *,
    bands: int | None = None,
    sampler: str | None = None,
    sampler_steps: int | None = None,
    weights: str | None = None,
    embeddings: str | None = None,
    steps: Sequence[int] | None = None,
) -> SatJepaDiff:
    """Build the model.

    Args:
        preset: a preset of the card.
        bands: number of bands; 3 where None. A loaded prior takes red, green and blue only.
        sampler: ``sjd-1step-0.35``, ``sjd-euler30-0.35`` or ``sjd-fm``; the preset's where None.
        sampler_steps: number of calls of the transformer; the sampler's where None.
        weights: folder of the frozen prior; searched for and downloaded where None.
        embeddings: folder of annual AlphaEarth rasters; the substitute where None.
        steps: optimiser steps of the stages, in order.
    """
    options = dict(card.presets[preset].options)
    sizes, count = sizes_of(options, bands)
    variant = variant_of(
        options, STAGES[str(options["stages"])], count,
        named=sampler, steps=sampler_steps, budgets=steps,
    )  # fmt: skip
    network = Network(
        sizes,
        count,
        kind=str(options["adapter"]),
        history=bool(options.get("history", False)),
        momentum=float(options.get("momentum", 0.999)),
        steps=next(s.steps for s in variant.stages if s.name in ("jepa", "joint")),
    )
    load_prior(network, sizes, weights)
    reader = targets.AlphaEarth(Path(embeddings)) if embeddings else None
    return SatJepaDiff(network, variant, ABLATIONS[str(options.get("ablation", "e"))], reader)
