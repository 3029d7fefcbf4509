"""CRS-Diff as a model of the benchmark: an image under a map of classes, a text and metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, cast

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from rsbench import Given, InputError, Stage, Want
from rsbench_baselines._checks import check_map
from rsbench_baselines._latent import Answer, quiet
from rsbench_baselines._options import accepts
from rsbench_baselines._snapshot import Snapshot
from rsbench_baselines.crs_diff import card
from rsbench_baselines.crs_diff.network import (
    SD15,
    Content,
    MapAdapter,
    MapSize,
    Metadata,
    numbers,
)
from rsbench_baselines.diffusionsat.generator import Conditions, Generator, Inputs
from rsbench_baselines.diffusionsat.metadata import EPOCH, place_of
from rsbench_baselines.diffusionsat.model import (
    FROM,
    OPTIONS,
    Shown,
    Steered,
    Variant,
    budgeted,
    process_of,
    rgb_only,
)
from rsbench_baselines.diffusionsat.sizes import TOY, ControlSize, Sizes
from rsbench_baselines.standardise import frames_of

SOURCE = Snapshot(
    "loading Stable Diffusion 1.5 for crs_diff", "stable-diffusion-v1-5/stable-diffusion-v1-5"
)
_NONE = ControlSize(False, 0)
SIZES: Mapping[str, Sizes] = {
    "tiny": Sizes(TOY, _NONE, fold=4),
    "paper": Sizes(SD15, _NONE, frozen=("unet", "vae")),
}
MAPS: Mapping[str, MapSize] = {
    "tiny": MapSize(0, stem=(8, 16), strides=(2,), inject=(16, 24), attend=3.0),
    "paper": MapSize(18),
}
STAGES: Mapping[str, tuple[Stage, ...]] = {
    "tiny": (
        Stage("fit", 4e-3, steps=500, batch_size=8,
              modules=("unet", "words", "adapter", "metadata")),
    ),
    "paper": (
        Stage("fit", 1e-5, steps=50_000, batch_size=16,
              modules=("adapter", "content", "metadata")),
    ),
}  # fmt: skip
COLOURS = 3


@dataclass(frozen=True)
class MapConditions(Conditions):
    """Encoded inputs with the features of the maps, one tensor per level."""

    features: tuple[Tensor, ...] = ()

    def rows(self, index: Tensor) -> MapConditions:
        """Return the conditions of some images."""
        own = super().rows(index)
        return MapConditions(
            own.tokens, own.added, own.stem, own.code, tuple(f[index] for f in self.features)
        )


class Network(Generator):
    """U-Net of Stable Diffusion with the three adapters."""

    def make_unet(self, config: Mapping[str, Any]) -> nn.Module:
        """Build the U-Net; the vector of the metadata enters as that of a class does."""
        return cast(
            nn.Module, quiet(UNet2DConditionModel, {**config, "class_embed_type": "identity"})
        )

    def add_adapters(self, size: MapSize) -> None:
        """Add the adapters, that of the maps as a copy of the encoder."""
        self.adapter = MapAdapter(self.unet, size)
        self.metadata = Metadata(int(self.unet.config.block_out_channels[0]))
        self.content = None if self.sizes.fold else Content(int(SD15["cross_attention_dim"]))
        self.freeze()

    def conditions(self, inputs: Inputs) -> MapConditions:
        """Encode texts, maps and metadata; the content image is zeros, as where none is given."""
        tokens = self._with_content(self.tokens(inputs.texts))
        empty = inputs.metadata[:, :0]
        return MapConditions(
            tokens, self.metadata(inputs.metadata), empty, empty,
            self.adapter.features(inputs.frames[:, 0]),
        )  # fmt: skip

    def free(self, inputs: Inputs, conditions: Conditions) -> Conditions:
        """Return the conditions without text; maps and metadata stay, as released."""
        nothing = ("",) * len(inputs.frames)
        return replace(conditions, tokens=self._with_content(self.tokens(nothing)))

    def answer(self, conditions: Conditions, *, controlled: bool = True) -> Answer:
        """Return the network under conditions, with or without the adapter of the maps."""
        features = cast(MapConditions, conditions).features

        def call(noisy: Tensor, times: Tensor) -> Tensor:
            told: dict[str, Any] = {}
            if controlled:
                added = self.adapter(noisy, times, conditions.tokens, features)
                told = {
                    "down_block_additional_residuals": added.skips,
                    "mid_block_additional_residual": added.middle,
                }
            found: Tensor = self.unet(
                noisy, times, conditions.tokens, class_labels=conditions.added, return_dict=False,
                **told,
            )[0]  # fmt: skip
            return found.float()

        return call

    def _with_content(self, tokens: Tensor) -> Tensor:
        if self.content is None:
            return tokens
        vector = tokens.new_zeros(len(tokens), self.content.width)
        return torch.cat([tokens, self.content(vector)], dim=1)


class CrsDiff(Steered):
    """An image under a map of classes, a text, place and date."""

    name = "crs_diff"
    _network: Network

    def shown(self, given: Given, want: Want) -> Shown:
        """See :meth:`SatDiffusion.shown`.

        Raises:
            InputError: if the task gives no texts, or a map of another grid or other classes.
        """
        if not given.texts:
            raise InputError(
                f"an image of {self.name}", "no text is given", "Take a task that gives texts"
            )
        check_map(self.name, given, want)
        frames = frames_of(given)
        one_hot, seen = frames.values[:, 0, 0], frames.valid[:, 0, 0, :1]
        shown = torch.where(seen, one_hot, 0)
        if self._network.sizes.fold:
            maps = torch.cat([shown, seen.to(shown)], dim=1)
        else:
            maps = coloured(shown, MAPS["paper"].channels)
        takes = self._network.adapter.features.stem[0].in_channels
        if maps.shape[1] != takes:
            raise InputError(
                f"a map of {one_hot.shape[1]} classes given to {self.name}",
                f"the network was built for {takes} channels",
                f"Build it with classes={one_hot.shape[1]}",
            )
        days = want.times[:, 0].tolist()
        told = [
            numbers(*place_of(grid), 0.0, EPOCH + timedelta(days=day))
            for grid, day in zip(want.grids, days, strict=True)
        ]
        metadata = torch.tensor(told, dtype=torch.float32, device=maps.device)
        grey = torch.full((len(maps), self._network.bands, *want.size), 0.5, device=maps.device)
        inputs = Inputs(maps[:, None], metadata[:, None], metadata, given.texts)
        return Shown(inputs, grey)


def coloured(one_hot: Tensor, channels: int) -> Tensor:
    """Return maps ``(N, channels, H, W)`` in 0 … 1: the last three are colours of the classes.

    A colour has the digits of its class in the least base that three digits suffice for; the
    published colours are not known. A pixel without a class is 0.
    """
    K = one_hot.shape[1]
    base = max(2, next(b for b in range(1, K + 2) if b**COLOURS > K))
    codes = torch.arange(1, K + 1, device=one_hot.device)
    digits = torch.stack([codes // base**i % base for i in range(COLOURS)]).float() / (base - 1)
    colours = torch.einsum("ck,nkhw->nchw", digits, one_hot)
    return torch.nn.functional.pad(colours, (0, 0, 0, 0, channels - COLOURS, 0))


@accepts("bands", "classes", *OPTIONS, "dropout", of=FROM)
def build(preset: str, *, bands: int = 3, classes: int = 5, **asked: Any) -> CrsDiff:
    """Build the model; an option that is not given is the preset's.

    Args:
        preset: a preset of the card.
        bands: number of bands; 3 with a VAE.
        classes: of the map.
        asked: as of :func:`rsbench_baselines.diffusionsat.model.build`.
    """
    options: dict[str, Any] = {**card.presets[preset].options, **asked}
    sizes, size = SIZES[preset], MAPS[preset]
    network = Network(sizes, rgb_only(bands, fold=sizes.fold))
    network.load(SOURCE, options.get("weights"))
    network.add_adapters(size if size.channels else replace(size, channels=classes + 1))
    variant = Variant(
        process_of(options), 0.0, options["dropout"],
        budgeted(STAGES[preset], options.get("steps")),
    )  # fmt: skip
    return CrsDiff(network, variant, SOURCE)
