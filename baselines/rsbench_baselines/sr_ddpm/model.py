"""Conditional diffusion for super-resolution: DDPM training of the residual, DDIM sampling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rsbench import Frames, Given, InputError, Prediction, Stage, Want
from rsbench_baselines._checks import check_bands, check_leads
from rsbench_baselines._options import TRAINING, accepts, picked, trained
from rsbench_baselines.ddpm.diffusion import Diffusion, Sampler, drawer
from rsbench_baselines.ddpm.network import UNet
from rsbench_baselines.ddpm.pixels import disturbed
from rsbench_baselines.sr_ddpm import card
from rsbench_baselines.sr_ddpm.scale import LIMIT, Scale
from rsbench_baselines.standardise import frames_of
from rsbench_baselines.superresolve_reference.model import line_sums, resampled

SCALE = Stage("scale", 0.0, 1, 8, modules=("scale",), closed_form=True)
STAGES = {
    "tiny": Stage("fit", learning_rate=4e-3, steps=600, batch_size=1, modules=("net",)),
    "small": Stage("fit", learning_rate=2e-4, steps=20_000, batch_size=16, modules=("net",)),
}
SPACING = 2.0
"""Power of the sampling times. Residuals are small beside the noise, so most of the path lies near
the clean image: of a deviation of 1/6, 8 even steps of an exact network keep 0.37, these 0.73."""
AT_ONCE = 8
"""Images that are drawn at once; memory does not grow with their number."""


class Network(nn.Module):
    """The U-Net and the scales around it."""

    def __init__(self, net: UNet, scale: Scale) -> None:
        super().__init__()
        self.net = net
        self.scale = scale


class SuperResolution:
    """Draws what a fitted line of the upsampled coarse image leaves out.

    The network sees the noisy residual, the standardised coarse image by cubic convolution, and a
    mask that is 1 where the coarse pixel is valid in all bands. The line and all scales are solved
    in closed form on the training split, so that sensors may differ in their unit.
    """

    def __init__(
        self, network: Network, diffusion: Diffusion, sampler: Sampler, fit: Stage
    ) -> None:
        self._network = network
        self._diffusion = diffusion
        self._sampler = sampler
        self._fit = fit

    @property
    def module(self) -> nn.Module:
        """U-Net and scales; their state dict is the checkpoint."""
        return self._network

    def stages(self) -> Sequence[Stage]:
        """Return the scales in closed form, then the squared error of the noise."""
        return (SCALE, self._fit)

    def solve(self, stage: Stage, batches: Iterable[tuple[Given, Want, Frames]]) -> None:
        """Set line and scales from the pixels that are valid in both images."""
        lines: Tensor | int = 0
        images: Tensor | int = 0
        for given, want, truth in batches:
            x, seen = self._coarse(given, want)
            fine, shown = truth.values[:, 0, 0], truth.valid[:, 0, 0] & seen
            lines = lines + line_sums(x[:, : fine.shape[1]], fine, shown)
            images = images + line_sums(x, x, seen)
        if not isinstance(lines, Tensor) or not isinstance(images, Tensor):
            raise ValueError("there is no pair of images")
        self._network.scale.set(lines, images)

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        """Return ‖ε − ε̂‖² over valid pixels at uniformly drawn times, a mean."""
        check_bands(card.name, len(self._network.scale.gain), want)
        condition, base = self._condition(given, want)
        fine = truth.values[:, 0, 0]
        valid = truth.valid[:, 0, 0].expand_as(fine)
        clean = self._network.scale.residual(torch.where(valid, fine, base), base)
        shown = disturbed(self._diffusion, clean, condition, dropout=0.0)
        error = self._noise(shown.noisy, shown.times, shown.condition) - shown.noise
        total = torch.where(valid, error, 0).square().sum()
        return {"total": total / valid.sum().clamp(min=1)}

    def predict(self, given: Given, want: Want) -> Prediction:
        """Draw each member on its own, at most `AT_ONCE` images in one call of the network."""
        check_bands(card.name, len(self._network.scale.gain), want)
        check_leads(card.name, 1, want)
        self._network.eval()
        condition, base = self._condition(given, want)
        parts = [self._drawn(condition[rows], base[rows], part) for rows, part in _parts(want)]
        return Prediction(torch.cat(parts).unsqueeze(2))

    def _drawn(self, condition: Tensor, base: Tensor, want: Want) -> Tensor:
        """Return images ``(B, M, C, H, W)``; a call of the network holds some members of each."""
        members, step = want.members, max(1, AT_ONCE // len(want.samples))
        draw = drawer(want, card.name)

        def of(first: int, last: int) -> Tensor:
            shown = condition[:, None].expand(-1, last - first, -1, -1, -1).flatten(0, 1)

            def fresh(what: str) -> Tensor:
                return _by_image(draw(what), members)[:, first:last].flatten(0, 1)

            found = self._diffusion.sample(
                lambda x, time: self._noise(x, _full(x, time), shown), fresh,
                steps=self._sampler.sampling_steps, eta=self._sampler.eta, bound=LIMIT,
                times=self._diffusion.times(self._sampler.sampling_steps, power=SPACING),
            )  # fmt: skip
            return _by_image(found, last - first)

        drawn = torch.cat([of(m, min(m + step, members)) for m in range(0, members, step)], dim=1)
        return self._network.scale.image(drawn, base[:, None])

    def _noise(self, noisy: Tensor, times: Tensor, condition: Tensor) -> Tensor:
        found: Tensor = self._network.net(torch.cat([noisy, condition], dim=1), times)
        return found.float()

    def _condition(self, given: Given, want: Want) -> tuple[Tensor, Tensor]:
        """Return ``(B, inputs + 1, H, W)`` and the line of the coarse image ``(B, C, H, W)``."""
        x, seen = self._coarse(given, want)
        scale = self._network.scale
        return torch.cat([scale.condition(x), seen.to(x.dtype)], dim=1), scale.base(x)

    def _coarse(self, given: Given, want: Want) -> tuple[Tensor, Tensor]:
        frames = frames_of(given)
        if len(frames.bands) != len(self._network.scale.mean):
            raise InputError(
                f"{len(frames.bands)} bands given to {card.name}",
                f"the network was built for {len(self._network.scale.mean)}",
                f"Build it with inputs={len(frames.bands)}",
            )
        return resampled(frames, want.size, "bicubic")


def _by_image(x: Tensor, members: int) -> Tensor:
    """Return ``(B·M, …)`` as ``(B, M, …)``."""
    return x.reshape(-1, members, *x.shape[1:])


def _full(x: Tensor, time: int) -> Tensor:
    return torch.full((x.shape[0],), time, device=x.device)


def _parts(want: Want) -> Iterator[tuple[slice, Want]]:
    """Yield some batch rows at a time, at most `AT_ONCE`."""
    for first in range(0, len(want.samples), AT_ONCE):
        rows = slice(first, first + AT_ONCE)
        yield (
            rows,
            replace(
                want, times=want.times[rows], grids=want.grids[rows], samples=want.samples[rows]
            ),
        )


@accepts(
    *("bands", "inputs", "base", "mult", "num_res_blocks", "attention", "diffusion_steps"),
    *("schedule", "sampling_steps", "eta", *TRAINING),
    of=(STAGES, UNet, Diffusion, Sampler), diffusion_steps=1000, schedule="linear",
)  # fmt: skip
def build(
    preset: str, *, bands: int = 4, inputs: int | None = None, **asked: Any
) -> SuperResolution:
    """Build the model; an option that is not given is the preset's.

    Args:
        preset: a preset of the card.
        bands: number of wanted bands.
        inputs: number of bands given; as many as wanted where None.
        asked: ``base``, ``mult``, ``num_res_blocks`` and ``attention`` of
            :class:`rsbench_baselines.ddpm.network.UNet`; ``diffusion_steps`` and ``schedule`` of
            :class:`rsbench_baselines.ddpm.diffusion.Diffusion`; ``sampling_steps`` and ``eta`` of
            :class:`Sampler`; ``learning_rate``, ``steps`` and ``batch_size`` of the training.
    """
    options: dict[str, Any] = {**card.presets[preset].options, **asked}
    given = bands if inputs is None else inputs
    net = UNet(
        bands + given + 1, bands, options["base"], tuple(options["mult"]),
        options["num_res_blocks"], tuple(options["attention"]),
    )  # fmt: skip
    diffusion = Diffusion(options.get("diffusion_steps", 1000), options.get("schedule", "linear"))
    sampler = picked(Sampler, options)
    diffusion.times(sampler.sampling_steps)  # rejects an impossible number of steps
    network = Network(net, Scale(bands, given))
    return SuperResolution(network, diffusion, sampler, trained(STAGES[preset], options))
