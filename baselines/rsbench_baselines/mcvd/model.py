"""MCVD as a model: frames as condition, masking of the past, two samplers, training."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from rsbench import InputError, Stage
from rsbench_baselines._diffusion_model import CHANGE, MAX_SLOTS, PixelDiffusion, Variant, change_of
from rsbench_baselines._options import TRAINING, accepts, picked, trained
from rsbench_baselines.ddpm.diffusion import Diffusion, Draw
from rsbench_baselines.mcvd import card
from rsbench_baselines.mcvd.network import UNet

SLOTS = {"tiny": 1, "fixed": MAX_SLOTS, "fixed_big": MAX_SLOTS, "fixed_spade": MAX_SLOTS}
"""Context frames of the repaired presets, where the number is not given."""
PUBLISHED_BANDS = {"kth": 1}
SIZES = (
    *("ngf", "ch_mult", "num_res_blocks", "attn_resolutions", "image_size", "n_head_channels"),
    *("dropout", "spade_dim"),
)
_FIXED = Stage("fit", learning_rate=2e-4, steps=20_000, batch_size=16)
_PAPER = Stage("fit", learning_rate=1e-4, steps=20_000, batch_size=32)
_CITYSCAPES = Stage("fit", learning_rate=1e-4, steps=300_000, batch_size=32)
STAGES = {
    "tiny": Stage("fit", learning_rate=4e-3, steps=400, batch_size=8),
    "fixed": _FIXED,
    "fixed_big": _FIXED,
    "fixed_spade": _FIXED,
    "paper": _PAPER,
    "paper_big": _PAPER,
    "paper_spade": _PAPER,
    "cityscapes": _CITYSCAPES,
    "cityscapes_big": replace(_CITYSCAPES, batch_size=64),
    "cityscapes_big_spade": _CITYSCAPES,
    "kth": Stage("fit", learning_rate=2e-4, steps=300_000, batch_size=64),
}


@dataclass(frozen=True)
class Sampler:
    """How frames are drawn.

    Args:
        sampler: ``ddpm`` draws each step from the posterior; ``ddim`` follows ``eta``.
        subsample: calls of the network, at equal strides of the process.
        eta: of DDIM; 0 is deterministic after the first noise.
        denoise: subtract the noise of the last step once more, as the published sampler does,
            with the number of calls where the network expects a time.
    """

    sampler: Literal["ddpm", "ddim"] = "ddpm"
    subsample: int = 100
    eta: float = 0.0
    denoise: bool = False

    def __post_init__(self) -> None:
        if self.sampler not in ("ddpm", "ddim"):
            raise InputError(f"sampler={self.sampler}", "it is unknown", "Choose ddpm or ddim")


def strided(steps: int, count: int) -> list[int]:
    """Return ``count`` times of a process of ``steps``, at equal strides from the noisiest."""
    if not 1 <= count <= steps:
        raise InputError(
            f"subsample={count}", f"the process has {steps} steps", f"Choose 1 to {steps}"
        )
    return [steps - 1 - i * steps // count for i in range(count)]


class MCVDModel(PixelDiffusion[UNet, Sampler]):
    """MCVD as a model of the benchmark."""

    name = "mcvd"

    def answer(self, noisy: Tensor, times: Tensor, condition: Tensor) -> Tensor:
        """See :meth:`PixelDiffusion.answer`."""
        found: Tensor = self._network(noisy, condition, times)
        return found.float()

    def drawn(self, condition: Tensor, draw: Draw) -> Tensor:
        """See :meth:`PixelDiffusion.drawn`."""
        how, diffusion = self._sampler, self._diffusion
        times = strided(diffusion.steps, how.subsample)

        def estimate(x: Tensor, time: int) -> Tensor:
            return self.noise(x, torch.full((len(x),), time, device=x.device), condition)

        x = diffusion.sample(
            estimate, draw, steps=how.subsample, eta=how.eta, times=times,
            ancestral=how.sampler == "ddpm", bound=self._variant.bound,
        )  # fmt: skip
        if not how.denoise:
            return x
        # As published: counted from the noisiest time, the last of L calls is labelled L − 1.
        label = diffusion.steps - how.subsample
        return x - math.sqrt(1 - diffusion.alpha_bar(times[-1])) * estimate(x, label)

    def divisor(self, valid: Tensor) -> Tensor | int:
        """Return the number of valid values; in published presets twice that of samples.

        Published presets minimise half the sum over pixels, averaged over samples.
        """
        return super().divisor(valid) if self._variant.masked else 2 * len(valid)


@accepts(
    *("bands", "context", *SIZES, "sampler", "subsample", "eta", "denoise", *CHANGE),
    *("prob_mask_cond", *TRAINING),
    of=(STAGES, UNet, Sampler), gain=0.0, bound=1.0, predicts="noise", prob_mask_cond=0.0,
)  # fmt: skip
def build(
    preset: str, *, bands: int | None = None, context: int | None = None, **asked: Any
) -> MCVDModel:
    """Build the model; an option that is not given is the preset's.

    Args:
        preset: a preset of the card.
        bands: number of bands; the preset's published number where None.
        context: number of context frames; repaired presets take up to as many, at most 7.
        asked: ``ngf``, ``ch_mult``, ``num_res_blocks``, ``attn_resolutions``, ``image_size``,
            ``n_head_channels``, ``dropout`` and ``spade_dim`` of :class:`UNet`; ``sampler``,
            ``subsample``, ``eta`` and ``denoise`` of :class:`Sampler`; ``gain``, ``bound``,
            ``predicts`` and ``prob_mask_cond`` (the dropout) of :class:`Variant`;
            ``learning_rate``, ``steps`` and ``batch_size`` of the training.
    """
    options: dict[str, Any] = {**card.presets[preset].options, **asked}
    repaired = preset in SLOTS
    bands = bands or PUBLISHED_BANDS.get(preset, 3)
    slots = int(options.get("num_frames_cond", 1))
    if repaired:
        slots = min(context or SLOTS[preset], MAX_SLOTS)
    frames = int(options.get("num_frames", 1))
    sizes = {name: options[name] for name in SIZES if name in options}
    network = UNet(bands, frames, slots * (bands + repaired), **sizes)
    how, diffusion = picked(Sampler, options), Diffusion()
    strided(diffusion.steps, how.subsample)  # rejects an impossible number of calls
    variant = Variant(
        bands=bands, frames=frames, slots=slots, masked=repaired,
        dropout=float(options.get("prob_mask_cond", 0.0)),
        stage=replace(trained(STAGES[preset], options), leads=frames), **change_of(options),
    )  # fmt: skip
    if how.denoise and variant.predicts == "v":
        raise InputError(
            "denoise=true with predicts=v",
            "the published last step is of a network that predicts noise",
            "Choose denoise=false or predicts=noise",
        )
    return MCVDModel(network, diffusion, how, variant)
