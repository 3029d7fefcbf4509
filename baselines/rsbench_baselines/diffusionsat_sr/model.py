"""DiffusionSat for super-resolution, as a model of the benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rsbench import Frames, Given, InputError, Stage, Want
from rsbench_baselines._latent import rgb_order
from rsbench_baselines._options import accepts
from rsbench_baselines.diffusionsat.generator import Generator, Inputs
from rsbench_baselines.diffusionsat.metadata import metadata
from rsbench_baselines.diffusionsat.model import (
    CONTROL,
    FROM,
    OPTIONS,
    RELEASED,
    Branched,
    Shown,
    Variant,
    budgeted,
    process_of,
    rgb_only,
)
from rsbench_baselines.diffusionsat.sizes import SD21, TOY, ControlSize, Sizes
from rsbench_baselines.diffusionsat_sr import card
from rsbench_baselines.standardise import Standardise, added, frames_of, image_of, sums_of

SCALE = Stage("scale", 0.0, 1, 8, modules=("scale",), closed_form=True)
STAGES: Mapping[str, tuple[Stage, ...]] = {
    "tiny": (
        SCALE,
        Stage(CONTROL, 4e-3, steps=500, batch_size=8, modules=("unet", "words", "control")),
    ),
    "paper": (SCALE, Stage(CONTROL, 5e-5, steps=50_000, batch_size=16, modules=("control",))),
}
PAPER_BANDS = 10
SIZES: Mapping[str, Sizes] = {
    "tiny": Sizes(TOY, ControlSize(False, 0, (2, 1), (8, 12, 16), heads=None), fold=4, masked=True),
    "paper": Sizes(
        SD21, ControlSize(False, 0, strides=(2, 2, 1), heads=None), frozen=("unet", "vae")
    ),
}
SPREAD = 2.0
"""Deviations from the mean that are scaled to −1 and 1; values beyond are clipped."""


class Scaled(Generator):
    """The generator with the scales of the bands given."""

    def __init__(self, sizes: Sizes, bands: int, inputs: int) -> None:
        super().__init__(sizes, bands)
        self.scale = Standardise(inputs)


class DiffusionSatSR(Branched):
    """A coarse image controls the fine one; scales of its bands come from the training split."""

    name = "diffusionsat_sr"
    _network: Scaled

    def solve(self, stage: Stage, batches: Iterable[tuple[Given, Want, Frames]]) -> None:
        """Set mean and deviation of each band given, over its valid pixels."""
        total = added(sums_of(frames_of(given)) for given, _, _ in batches)
        if not total:
            raise ValueError("there is no coarse image")
        self._network.scale.set(total)

    def shown(self, given: Given, want: Want) -> Shown:
        """See :meth:`SatDiffusion.shown`; the coarse image is resampled to half the wanted size."""
        frames = frames_of(given)
        have, takes = len(frames.bands), len(self._network.scale.mean)
        if have != takes:
            raise InputError(
                f"{have} bands given to {self.name}",
                f"the network was built for {takes}",
                f"Build it with inputs={have}",
            )
        image = (self._network.scale(frames) / SPREAD).clamp(-1, 1)
        seen = image_of(frames)[1].to(image)
        size = (want.size[0] // 2, want.size[1] // 2)
        parts = [image, *([seen] if self._network.sizes.masked else [])]
        half = _resized(torch.cat(parts, dim=1), size)
        cloud = 1 - seen.mean(dim=(1, 2, 3))[:, None]
        (grids,) = given.grids.values()
        dated = metadata(grids, frames.times.to(want.times.device), cloud)
        wanted = metadata(want.grids, want.times, torch.zeros(want.times.shape))[:, 0]
        texts: tuple[str, ...] = given.texts
        base = (_resized(image[:, : len(want.bands)], want.size) + 1) / 2
        order = rgb_order(want.bands, len(want.bands))
        return Shown(Inputs(half[:, None], dated, wanted, texts), base[:, order])


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(image, size=size, mode="bilinear", antialias=True)


@accepts("bands", "inputs", *OPTIONS, "dropout", of=FROM)
def build(
    preset: str, *, bands: int = 3, inputs: int | None = None, **asked: Any
) -> DiffusionSatSR:
    """Build the model; an option that is not given is the preset's.

    Args:
        preset: a preset of the card.
        bands: number of wanted bands; 3 with a VAE.
        inputs: number of bands given; of ``paper`` 10, otherwise as many as wanted where None.
        asked: as of :func:`rsbench_baselines.diffusionsat.model.build`.
    """
    options: dict[str, Any] = {**card.presets[preset].options, **asked}
    sizes = SIZES[preset]
    given = inputs or (bands if sizes.fold else PAPER_BANDS)
    network = Scaled(sizes, rgb_only(bands, fold=sizes.fold), given)
    network.load(RELEASED, options.get("weights"))
    network.add_control(given + sizes.masked)
    variant = Variant(
        process_of(options), 0.0, options["dropout"],
        budgeted(STAGES[preset], options.get("steps")),
    )  # fmt: skip
    return DiffusionSatSR(network, variant, RELEASED)
