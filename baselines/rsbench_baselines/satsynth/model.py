"""Joint diffusion of images and label maps, alone or enlarged by a second one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rsbench import Frames, Given, Prediction, Stage, Want
from rsbench_baselines._checks import check_bands, check_map
from rsbench_baselines._options import TRAINING, accepts, picked, trained
from rsbench_baselines.ddpm.diffusion import Diffusion, Draw, Sampler
from rsbench_baselines.ddpm.network import UNet
from rsbench_baselines.satsynth import card, super_resolved
from rsbench_baselines.satsynth.bits import bits_of, decode, encode
from rsbench_baselines.standardise import frames_of, image_of

STAGES = {
    "tiny": Stage("fit", learning_rate=4e-3, steps=1500, batch_size=16),
    "paper": Stage("fit", learning_rate=1e-4, steps=200_000, batch_size=32),
}
FACTOR = 2
"""Enlargement by the second network."""
SCALE = Stage("scale", learning_rate=0.0, steps=1, batch_size=16, closed_form=True)
"""Sets the range that is drawn to that of the training pixels."""


@dataclass(frozen=True)
class Pair:
    """Images and bit planes in ±1 as channels of one tensor.

    Args:
        values: ``(N, C + bits, H, W)``; 0 where not valid.
        valid: ``(N, C + bits, H, W)`` bool.
    """

    values: Tensor
    valid: Tensor

    def halved(self, bands: int) -> Pair:
        """Return the pair at half the size: means of image blocks, bits of their first pixel.

        A block of which a pixel is not valid is not valid.
        """
        valid = functional.avg_pool2d(self.valid.float(), FACTOR) == 1
        image = functional.avg_pool2d(self.values[:, :bands], FACTOR)
        bits = self.values[:, bands:, ::FACTOR, ::FACTOR]
        return Pair(torch.where(valid, torch.cat([image, bits], dim=1), 0), valid)


class Range(nn.Module):
    """Maps the values of each band to ±1 by the range of the training pixels."""

    low: Tensor
    high: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(bands))
        self.register_buffer("high", torch.ones(bands))

    def scaled(self, image: Tensor) -> Tensor:
        """Return images ``(N, C, H, W)`` in ±1; brighter and darker values are clipped."""
        low, high = self.low[:, None, None], self.high[:, None, None]
        return (2 * (image - low) / (high - low) - 1).clamp(-1, 1)

    def physical(self, image: Tensor) -> Tensor:
        """Return images in the sensor's unit."""
        low, high = self.low[:, None, None], self.high[:, None, None]
        return low + (image + 1) / 2 * (high - low)


class JointNetwork(nn.Module):
    """The network of pairs, where asked a second one that enlarges them, and their range."""

    def __init__(self, pairs: UNet, larger: UNet | None, bands: int) -> None:
        super().__init__()
        self.range = Range(bands)
        self.pairs = pairs
        self.larger = larger


class JointDiffusion:
    """A diffusion of images joined with the bit planes of their labels.

    The networks know no condition. Under a map of classes, the bit planes of pixels with a class
    are set to the noised planes of the map before every step, as in the imputation of Song et al.
    2021, "Score-based generative modeling through stochastic differential equations", ICLR 2021.

    Args:
        bands: number of bands C.
        classes: number of classes K.
    """

    def __init__(
        self, network: JointNetwork, diffusion: Diffusion, sampler: Sampler, *, bands: int,
        classes: int, stage: Stage,
    ) -> None:  # fmt: skip
        self._network = network
        self._diffusion = diffusion
        self._sampler = sampler
        self._bands = bands
        self.classes = classes
        self._stage = stage

    @property
    def module(self) -> nn.Module:
        """The networks and the range; their state dict is the checkpoint."""
        return self._network

    def stages(self) -> Sequence[Stage]:
        """Return the range in closed form, then the diffusions, one stage each."""
        fit = replace(self._stage, modules=("pairs",))
        larger = (replace(fit, name="enlarge", modules=("larger",)),)
        return (replace(SCALE, modules=("range",)), fit, *(larger if self._network.larger else ()))

    def solve(self, stage: Stage, batches: Iterable[tuple[Given, Want, Frames]]) -> None:
        """Set the range of every band to that of the valid training pixels."""
        found = self._network.range
        low, high = torch.full_like(found.low, torch.inf), torch.full_like(found.low, -torch.inf)
        for _, _, truth in batches:
            image, valid = image_of(truth)
            low = torch.minimum(low, torch.where(valid, image, torch.inf).amin((0, 2, 3)))
            high = torch.maximum(high, torch.where(valid, image, -torch.inf).amax((0, 2, 3)))
        if not bool((low < high).all()):
            raise ValueError("a band has one value in all training pixels")
        found.low.copy_(low)
        found.high.copy_(high)

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        """Return the mean ‖ε − ε̂‖² over valid pixels and bits at uniformly drawn times."""
        pair = self._pair(given, truth)
        condition = None
        if stage.modules == ("larger",):
            condition = _enlarged(pair.halved(self._bands).values)
        elif self._network.larger is not None:
            pair = pair.halved(self._bands)
        times = torch.randint(0, self._diffusion.steps, (len(pair.values),))
        noise = torch.randn(pair.values.shape).to(pair.values)
        noisy = self._diffusion.noised(pair.values, noise, times.to(noise.device))
        found = self._noise(noisy, times.to(noise.device), condition)
        error = torch.where(pair.valid, found - noise, 0).square().sum()
        return {"total": error / pair.valid.sum().clamp(min=1)}

    def predict(self, given: Given, want: Want) -> Prediction:
        """Draw images under the map of classes; members differ by their noise."""
        check_bands("satsynth", self._bands, want)
        check_map("satsynth", given, want)
        return Prediction(self._image(self._drawn(want, self._layout(given, want.members)), want))

    def synthesise(self, given: Given, want: Want) -> tuple[Prediction, Tensor, Tensor]:
        """Draw pairs of images and label maps without any condition.

        Returns:
            The images; ``(B, M, H, W)`` class indices; ``(B, M, H, W)`` bool, where the bits were
            no class and the nearest one was taken.
        """
        check_bands("satsynth", self._bands, want)
        drawn = self._drawn(want, None)
        found, illegal = decode(drawn[:, self._bands :], self.classes)
        shape = (len(want.samples), want.members, *want.size)
        return Prediction(self._image(drawn, want)), found.view(shape), illegal.view(shape)

    def _image(self, drawn: Tensor, want: Want) -> Tensor:
        image = self._network.range.physical(drawn[:, : self._bands])
        return image.view(len(want.samples), want.members, 1, self._bands, *want.size)

    def _pair(self, given: Given, truth: Frames) -> Pair:
        """Return the images of the truth and the bit planes of the map given."""
        image, seen = image_of(truth)
        bits, known = self._planes(given)
        shown = torch.where(seen, self._network.range.scaled(image), 0)
        valid = torch.cat([seen.expand_as(image), known.expand_as(bits)], dim=1)
        return Pair(torch.cat([shown, bits], dim=1), valid)

    def _planes(self, given: Given) -> tuple[Tensor, Tensor]:
        """Return ``(B, bits, H, W)`` planes in ±1, 0 without a class, and where there is one."""
        shares, known = image_of(frames_of(given))
        planes = encode(torch.where(known, shares, 0).argmax(1), self.classes)
        return torch.where(known, planes, 0), known

    def _layout(self, given: Given, members: int) -> Pair:
        """Return what is set of the pairs: the bit planes of the map, and nothing of the image."""
        bits, known = self._planes(given)
        image = bits.new_zeros(len(bits), self._bands, *bits.shape[2:])
        valid = torch.cat([image.bool(), known.expand_as(bits)], dim=1)
        values = torch.cat([image, bits], dim=1)
        return Pair(values.repeat_interleave(members, 0), valid.repeat_interleave(members, 0))

    def _drawn(self, want: Want, layout: Pair | None) -> Tensor:
        """Return ``(B·M, C + bits, H, W)`` pairs in ±1."""
        if self._network.larger is None:
            return self._sample(self._draw(want, "pairs"), layout)
        small = layout.halved(self._bands) if layout else None
        low = self._sample(self._draw(want, "pairs", FACTOR), small)
        return self._sample(self._draw(want, "larger"), layout, _enlarged(low))

    def _draw(self, want: Want, name: str, downscale: int = 1) -> Draw:
        channels = self._bands + bits_of(self.classes)

        def draw(what: str) -> Tensor:
            return want.noise.normal(
                f"satsynth/{name}/{what}", want, channels=channels, downscale=downscale
            ).flatten(0, 1)

        return draw

    def _sample(self, draw: Draw, layout: Pair | None, condition: Tensor | None = None) -> Tensor:
        diffusion = self._diffusion
        set_by = draw("layout") if layout else None

        def denoise(x: Tensor, time: int) -> Tensor:
            times = torch.full((len(x),), time, device=x.device)
            if layout is not None and set_by is not None:
                x = torch.where(layout.valid, diffusion.noised(layout.values, set_by, times), x)
            return self._noise(x, times, condition)

        how = self._sampler
        return diffusion.sample(denoise, draw, steps=how.sampling_steps, eta=how.eta)

    def _noise(self, noisy: Tensor, times: Tensor, condition: Tensor | None) -> Tensor:
        if condition is None:
            found: Tensor = self._network.pairs(noisy, times)
        else:
            assert self._network.larger is not None
            found = self._network.larger(torch.cat([noisy, condition], dim=1), times)
        return found.float()


def _enlarged(small: Tensor) -> Tensor:
    return small.repeat_interleave(FACTOR, -2).repeat_interleave(FACTOR, -1)


_FROM = (STAGES, UNet, Diffusion, Sampler)
_OPTIONS = (
    "bands", "classes", "base", "mult", "num_res_blocks", "attention", "diffusion_steps",
    "schedule", "sampling_steps", "eta", *TRAINING,
)  # fmt: skip


def _build(
    preset: str, *, enlarge: bool, bands: int = 4, classes: int = 5, **asked: Any
) -> JointDiffusion:
    known = super_resolved if enlarge else card
    options: dict[str, Any] = {**known.presets[preset].options, **asked}
    channels = bands + bits_of(classes)

    def network(inputs: int) -> UNet:
        return UNet(
            inputs, channels, options["base"], tuple(options["mult"]), options["num_res_blocks"],
            tuple(options["attention"]),
        )  # fmt: skip

    diffusion = Diffusion(options.get("diffusion_steps", 1000), options.get("schedule", "linear"))
    sampler = picked(Sampler, options)
    diffusion.times(sampler.sampling_steps)  # rejects an impossible number of steps
    module = JointNetwork(network(channels), network(2 * channels) if enlarge else None, bands)
    stage = trained(STAGES[preset], options)
    return JointDiffusion(module, diffusion, sampler, bands=bands, classes=classes, stage=stage)


@accepts(*_OPTIONS, of=_FROM, diffusion_steps=1000, schedule="linear")
def satsynth(preset: str, **options: Any) -> JointDiffusion:
    """Build the diffusion of pairs; an option that is not given is the preset's.

    Args:
        preset: a preset of the card.
        options: ``bands``, ``classes``; ``base``, ``mult``, ``num_res_blocks`` and ``attention`` of
            :class:`UNet`; ``diffusion_steps`` and ``schedule`` of :class:`Diffusion`;
            ``sampling_steps`` and ``eta`` of :class:`Sampler`; ``learning_rate``, ``steps`` and
            ``batch_size`` of the training.
    """
    return _build(preset, enlarge=False, **options)


@accepts(*_OPTIONS, of=_FROM, diffusion_steps=1000, schedule="linear")
def satsynth_sr(preset: str, **options: Any) -> JointDiffusion:
    """Build the diffusion of pairs of half the size and the one that enlarges them."""
    return _build(preset, enlarge=True, **options)
