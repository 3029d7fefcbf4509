"""Conditional diffusion forecaster: DDPM training, DDIM sampling, guidance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rsbench import Stage
from rsbench_baselines._diffusion_model import CHANGE, MAX_SLOTS, PixelDiffusion, Variant, change_of
from rsbench_baselines._options import TRAINING, accepts, picked, trained
from rsbench_baselines.ddpm import card
from rsbench_baselines.ddpm.diffusion import Diffusion, Draw, Sampler
from rsbench_baselines.ddpm.network import UNet

STAGES = {
    "tiny": Stage("fit", learning_rate=4e-3, steps=400, batch_size=8),
    "small": Stage("fit", learning_rate=2e-4, steps=20_000, batch_size=16),
    "fixed": Stage("fit", learning_rate=2e-4, steps=20_000, batch_size=16),
}
SLOTS = {"tiny": 1, "small": MAX_SLOTS, "fixed": MAX_SLOTS}


@dataclass(frozen=True)
class Guided(Sampler):
    """How an image is drawn, with guidance.

    Args:
        guidance: weight w of ε_∅ + w·(ε_c − ε_∅); at 1 no call without condition is made.
    """

    guidance: float = 1.0


class DiffusionModel(PixelDiffusion[UNet, Guided]):
    """A conditional diffusion in pixel space as a model of the benchmark."""

    name = "ddpm"

    def answer(self, noisy: Tensor, times: Tensor, condition: Tensor) -> Tensor:
        """See :meth:`PixelDiffusion.answer`."""
        found: Tensor = self._network(torch.cat([noisy, condition], dim=1), times)
        return found.float()

    def drawn(self, condition: Tensor, draw: Draw) -> Tensor:
        """See :meth:`PixelDiffusion.drawn`."""
        how = self._sampler
        return self._diffusion.sample(
            lambda x, time: self._guided(x, time, condition),
            draw,
            steps=how.sampling_steps,
            eta=how.eta,
            bound=self._variant.bound,
        )

    def _guided(self, noisy: Tensor, time: int, condition: Tensor) -> Tensor:
        times = torch.full((noisy.shape[0],), time, device=noisy.device)
        conditional = self.noise(noisy, times, condition)
        weight = self._sampler.guidance
        if weight == 1.0:
            return conditional
        free = self.noise(noisy, times, torch.zeros_like(condition))
        return free + weight * (conditional - free)


@accepts(
    *("bands", "context", "base", "mult", "num_res_blocks", "attention", "diffusion_steps"),
    *("schedule", "sampling_steps", "eta", "guidance", "condition_dropout", *CHANGE, *TRAINING),
    of=(STAGES, UNet, Diffusion, Guided), condition_dropout=0.0, gain=0.0, bound=1.0,
    predicts="noise", diffusion_steps=1000, schedule="linear",
)  # fmt: skip
def build(
    preset: str, *, bands: int = 3, context: int | None = None, **asked: Any
) -> DiffusionModel:
    """Build the model; an option that is not given is the preset's.

    Args:
        preset: a preset of the card.
        bands: number of bands.
        context: number of context frames; the condition has as many slots, at most 7.
        asked: ``base``, ``mult``, ``num_res_blocks`` and ``attention`` of :class:`UNet`;
            ``diffusion_steps`` and ``schedule`` of :class:`Diffusion`; ``sampling_steps``,
            ``eta`` and ``guidance`` of :class:`Guided`; ``condition_dropout``, ``gain``, ``bound``
            and ``predicts`` of :class:`Variant`; ``learning_rate``, ``steps`` and ``batch_size``
            of the training.
    """
    options: dict[str, Any] = {**card.presets[preset].options, **asked}
    slots = min(context or SLOTS[preset], MAX_SLOTS)
    network = UNet(
        bands + slots * (bands + 1),
        bands,
        options["base"],
        tuple(options["mult"]),
        options["num_res_blocks"],
        tuple(options["attention"]),
    )
    diffusion = Diffusion(options.get("diffusion_steps", 1000), options.get("schedule", "linear"))
    sampler = picked(Guided, options)
    diffusion.times(sampler.sampling_steps)  # rejects an impossible number of steps
    variant = Variant(
        bands=bands, frames=1, slots=slots, masked=True,
        dropout=options.get("condition_dropout", 0.0), stage=trained(STAGES[preset], options),
        **change_of(options),
    )  # fmt: skip
    return DiffusionModel(network, diffusion, sampler, variant)
