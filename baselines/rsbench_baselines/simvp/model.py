"""SimVP as a model: filling, normalising, masking, rollout by single steps or blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rsbench import Frames, Given, InputError, Prediction, Stage, Want
from rsbench_baselines._checks import check_bands, check_leads
from rsbench_baselines._options import TRAINING, accepts, trained
from rsbench_baselines.persistence.model import bands_of, fill
from rsbench_baselines.released import Layout, LoadsReleased
from rsbench_baselines.simvp import card
from rsbench_baselines.simvp.network import SimVP
from rsbench_baselines.simvp.released import layout

SIZES = ("hid_S", "hid_T", "N_S", "N_T", "model_type", "mlp_ratio", "drop_path")
REPAIRED = ("tiny", "tiny_incepu", "fixed")
MAX_SLOTS = 7
PUBLISHED_FRAMES = {"mmnist": 10, "incepu": 10, "kitti": 10}
PUBLISHED_BANDS = {"mmnist": 1, "incepu": 1}
_TINY = Stage("fit", learning_rate=4e-3, steps=400, batch_size=8, weight_decay=1e-2)
_PUBLISHED = Stage("fit", learning_rate=1e-3, steps=20_000, batch_size=16)
STAGES = {
    "tiny": _TINY,
    "tiny_incepu": _TINY,
    "fixed": Stage("fit", learning_rate=1e-3, steps=20_000, batch_size=16, weight_decay=1e-2),
    **dict.fromkeys(("paper", "paper_256", "paper_256_6", "mmnist", "incepu", "kitti"), _PUBLISHED),
}
"""Training setup of each preset; a preset's own options take precedence."""


@dataclass(frozen=True)
class Variant:
    """How the network is used and trained.

    Args:
        bands: number of bands.
        slots: frames the network takes; fewer are right-aligned if ``repaired``.
        outputs: frames per prediction.
        repaired: residual over the last valid frame, with a channel that is 1 where all bands are
            valid; otherwise frames only, as published.
        stage: the stage of training.
    """

    bands: int
    slots: int
    outputs: int
    repaired: bool
    stage: Stage


class SimVPModel(LoadsReleased):
    """SimVP as a model of the benchmark."""

    def __init__(self, network: SimVP, variant: Variant) -> None:
        self._network = network
        self._variant = variant

    @property
    def module(self) -> nn.Module:
        """The network; its state dict is the checkpoint."""
        return self._network

    def stages(self) -> Sequence[Stage]:
        """Return the one stage: mean squared error of one prediction."""
        return (self._variant.stage,)

    def released(self) -> tuple[nn.Module, Layout]:
        """Return the network, and the layout of OpenSTL's checkpoints."""
        return self._network, layout(self._network)

    def predict(self, given: Given, want: Want) -> Prediction:
        """Predict one block of ``outputs`` lead times."""
        self._network.eval()
        frames = given.frames[want.sensor]
        self._check(want)
        scaled = self._forward(frames, want.bands)
        low, high = frames.value_range
        values = low + scaled * (high - low)
        if values.shape[1] != want.members:
            values = values.expand(-1, want.members, -1, -1, -1, -1)
        return Prediction(values.contiguous())

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        """Return the mean squared error over valid pixels, in shares of the value range.

        Repaired presets are given a random number of context frames each time, so that one
        network serves every context length up to its own.
        """
        self._check(want)
        frames = given.frames[want.sensor]
        if self._variant.repaired:
            longest = min(self._variant.slots, len(frames.predicted))
            frames = frames.last(int(torch.randint(1, longest + 1, ())))
        scaled = self._forward(frames, want.bands)
        low, high = truth.value_range
        values, valid = bands_of(truth, want.bands)
        target = (values - low) / (high - low)
        error = torch.where(valid, scaled - target, 0).square()
        return {"total": error.sum() / valid.sum().clamp(min=1)}

    def _check(self, want: Want) -> None:
        check_bands("simvp", self._variant.bands, want)
        check_leads("simvp", self._variant.outputs, want)

    def _forward(self, frames: Frames, bands: tuple[str, ...]) -> Tensor:
        """Return ``(B, M|1, outputs, C, H, W)`` in shares of the value range."""
        variant = self._variant
        values, valid = bands_of(frames, bands)
        low, high = frames.value_range
        filled = (fill(values, valid, frames.value_range) - low) / (high - low)
        B, M = filled.shape[:2]
        last = filled[:, :, -1:]
        x, seen = filled[:, :, -variant.slots :], valid[:, :, -variant.slots :]
        if variant.repaired:
            x = torch.cat([x, seen.all(dim=3, keepdim=True).to(x.dtype)], dim=3)
            x = _right_align(x, variant.slots)
        elif x.shape[2] != variant.slots:
            raise InputError(
                f"{x.shape[2]} context frames of simvp",
                f"this preset takes {variant.slots}",
                "Choose a protocol with that many, or a repaired preset",
            )
        out = self._network(x.flatten(0, 1)).float()[:, : variant.outputs]
        out = out.unflatten(0, (B, M))
        return last + out if variant.repaired else torch.as_tensor(out)


def _right_align(x: Tensor, slots: int) -> Tensor:
    absent = slots - x.shape[2]
    if absent == 0:
        return x
    empty = x.new_zeros(*x.shape[:2], absent, *x.shape[3:])
    return torch.cat([empty, x], dim=2)


@accepts("bands", "context", *SIZES, *TRAINING, of=(STAGES, SimVP))
def build(
    preset: str, *, bands: int | None = None, context: int | None = None, **sizes: Any
) -> SimVPModel:
    """Build the model; an option that is not given is the preset's.

    Args:
        preset: a preset of the card.
        bands: number of bands; the preset's published number where None.
        context: number of context frames; repaired presets take up to as many, at most 7.
        sizes: ``hid_S``, ``hid_T``, ``N_S``, ``N_T``, ``model_type``, ``mlp_ratio`` and
            ``drop_path`` of :class:`SimVP`; ``learning_rate``, ``steps`` and ``batch_size`` of
            the training. They replace the preset's.
    """
    options: dict[str, Any] = {**card.presets[preset].options, **sizes}
    repaired = preset in REPAIRED
    bands = bands or PUBLISHED_BANDS.get(preset, 3)
    if repaired:
        slots = min(context or (MAX_SLOTS if preset == "fixed" else 1), MAX_SLOTS)
    else:
        slots = PUBLISHED_FRAMES.get(preset, 1)
    stage = trained(STAGES[preset], options)
    options = {name: value for name, value in options.items() if name not in TRAINING}
    # Sides do not shape the parameters; 128 is the published patch.
    shape = (slots, bands + repaired, 128, 128)
    if repaired:
        options |= {"out_frames": 1, "out_channels": bands}
    network = SimVP(shape, **options)
    if repaired:
        # Training starts from persistence.
        nn.init.zeros_(network.dec.readout.weight)
        if network.dec.readout.bias is not None:
            nn.init.zeros_(network.dec.readout.bias)
    # Grouped and dilated convolutions are faster in this layout on a CPU (results/bench).
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    outputs = 1 if repaired or preset == "kitti" else slots
    return SimVPModel(network, Variant(bands, slots, outputs, repaired, stage))
