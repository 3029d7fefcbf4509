"""Text2Earth as a model of the benchmark: an image from a text and the size of a pixel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from rsbench import Given, InputError, Stage, Want
from rsbench_baselines._latent import Answer, quiet
from rsbench_baselines._options import accepts
from rsbench_baselines._snapshot import Snapshot
from rsbench_baselines.diffusionsat.generator import Conditions, Generator, Inputs
from rsbench_baselines.diffusionsat.metadata import place_of
from rsbench_baselines.diffusionsat.model import (
    FROM,
    OPTIONS,
    SatDiffusion,
    Shown,
    Variant,
    budgeted,
    process_of,
    rgb_only,
)
from rsbench_baselines.diffusionsat.sizes import SD21, TOY, ControlSize, Sizes
from rsbench_baselines.text2earth import card

SOURCE = Snapshot("loading Text2Earth", "lcybuaa/Text2Earth")
LOWEST, HIGHEST, UNKNOWN = 10, 18, 0
"""Levels of the map: 128 m … 0.5 m per pixel; 0 says that the size is not known."""
FINEST = 17
_LEVELS = {"num_class_embeds": HIGHEST + 1}
_NONE = ControlSize(False, 0)
SIZES: Mapping[str, Sizes] = {
    "tiny": Sizes({**TOY, **_LEVELS}, _NONE, fold=4),
    "paper": Sizes({**SD21, **_LEVELS}, _NONE, frozen=("vae",)),
}
STAGES: Mapping[str, tuple[Stage, ...]] = {
    "tiny": (Stage("fit", 4e-3, steps=500, batch_size=8, modules=("unet", "words")),),
    "paper": (Stage("fit", 1e-5, steps=10_000, batch_size=16, modules=("unet",)),),
}


def level_of(gsd: float) -> int:
    """Return the nearest level of metres per pixel, 2^(17 − level); 0 where there is none."""
    level = round(FINEST - math.log2(gsd))
    return level if LOWEST <= level <= HIGHEST else UNKNOWN


class Network(Generator):
    """U-Net with a vector for each level of the map; no metadata, no control branch."""

    def make_unet(self, config: Mapping[str, Any]) -> nn.Module:
        """Build the U-Net of a configuration."""
        return cast(nn.Module, quiet(UNet2DConditionModel, config))

    def conditions(self, inputs: Inputs) -> Conditions:
        """Encode texts; the level of each image stands in its metadata."""
        empty = inputs.metadata[:, :0]
        return Conditions(self.tokens(inputs.texts), inputs.metadata[:, 0].long(), empty, empty)

    def free(self, inputs: Inputs, conditions: Conditions) -> Conditions:
        """Return the conditions without text and level."""
        nothing = torch.full_like(conditions.added, UNKNOWN)
        empty = conditions.stem
        return Conditions(self.tokens(("",) * len(nothing)), nothing, empty, empty)

    def answer(self, conditions: Conditions, *, controlled: bool = True) -> Answer:
        """Return the network under conditions."""

        def call(noisy: Tensor, times: Tensor) -> Tensor:
            found: Tensor = self.unet(
                noisy, times, conditions.tokens, class_labels=conditions.added, return_dict=False
            )[0]
            return found.float()

        return call


class Text2Earth(SatDiffusion):
    """An image from a text and the size of a pixel; maps of classes are not seen."""

    name = "text2earth"

    def shown(self, given: Given, want: Want) -> Shown:
        """See :meth:`SatDiffusion.shown`.

        Raises:
            InputError: if the task gives no texts.
        """
        if not given.texts:
            raise InputError(
                f"an image of {self.name}", "no text is given", "Take a task that gives texts"
            )
        device, N = want.times.device, len(want.samples)
        levels = [[float(level_of(place_of(grid)[2]))] for grid in want.grids]
        empty = torch.zeros(N, 0, device=device)
        inputs = Inputs(empty, empty, torch.tensor(levels, device=device), given.texts)
        grey = torch.full((N, self._network.bands, *want.size), 0.5, device=device)
        return Shown(inputs, grey)


@accepts("bands", *OPTIONS, "dropout", of=FROM)
def build(preset: str, *, bands: int = 3, **asked: Any) -> Text2Earth:
    """Build the model; an option that is not given is the preset's.

    Args:
        preset: a preset of the card.
        bands: number of bands; 3 with a VAE.
        asked: as of :func:`rsbench_baselines.diffusionsat.model.build`.
    """
    options: dict[str, Any] = {**card.presets[preset].options, **asked}
    sizes = SIZES[preset]
    network = Network(sizes, rgb_only(bands, fold=sizes.fold))
    network.load(SOURCE, options.get("weights"))
    variant = Variant(
        process_of(options), 0.0, options["dropout"],
        budgeted(STAGES[preset], options.get("steps")),
    )  # fmt: skip
    network.freeze()
    return Text2Earth(network, variant, SOURCE)
