"""SimVP behind the door: filling, normalising, masking, rollout by single steps or blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rsbench import Frames, Given, Prediction, Stage, Want
from rsbench_baselines.persistence.model import bands_of, fill
from rsbench_baselines.simvp import card
from rsbench_baselines.simvp.network import SimVP

REPAIRED = ("tiny", "tiny_incepu", "fixed")
MAX_SLOTS = 7
PUBLISHED_FRAMES = {"mmnist": 10, "incepu": 10, "kitti": 10}
PUBLISHED_BANDS = {"mmnist": 1, "incepu": 1}
STAGES = {
    "tiny": Stage("fit", learning_rate=4e-3, steps=400, batch_size=8, weight_decay=1e-2),
    "fixed": Stage("fit", learning_rate=1e-3, steps=20_000, batch_size=16, weight_decay=1e-2),
    "paper": Stage("fit", learning_rate=1e-3, steps=20_000, batch_size=16),
}


@dataclass(frozen=True)
class Variant:
    """How the network is used.

    Args:
        bands: number of bands.
        slots: frames the network takes; fewer are right-aligned where ``repaired``.
        outputs: frames of one answer.
        repaired: residual over the last valid frame, with a channel that is 1 where the pixel
            was seen; else frames only, as published.
        stage: how it is trained.
    """

    bands: int
    slots: int
    outputs: int
    repaired: bool
    stage: Stage


class SimVPModel:
    """SimVP as a model of the benchmark."""

    def __init__(self, network: SimVP, variant: Variant) -> None:
        self._network = network
        self._variant = variant

    @property
    def module(self) -> nn.Module:
        """The network; its state dict is the checkpoint."""
        return self._network

    def stages(self) -> Sequence[Stage]:
        """One stage: mean squared error one answer ahead."""
        return (self._variant.stage,)

    def predict(self, given: Given, want: Want) -> Prediction:
        """Answer one block of ``outputs`` leads."""
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
        """Mean squared error over valid pixels, in shares of the value range.

        The repaired presets see a random number of the context frames each time, so that one
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
        if len(want.bands) != self._variant.bands:
            raise ValueError(
                f"simvp was built for {self._variant.bands} bands (C) and is asked for "
                f"{len(want.bands)}: build it with bands={len(want.bands)}"
            )
        if want.times.shape[1] != self._variant.outputs:
            raise ValueError(
                f"simvp answers {self._variant.outputs} leads (T) in one call and is asked for "
                f"{want.times.shape[1]}: the rollout of its card asks block by block"
            )

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
            raise ValueError(f"this preset takes {variant.slots} context frames, not {x.shape[2]}")
        out = self._network(x.flatten(0, 1)).float()[:, : variant.outputs]
        out = out.unflatten(0, (B, M))
        return last + out if variant.repaired else torch.as_tensor(out)


def _right_align(x: Tensor, slots: int) -> Tensor:
    absent = slots - x.shape[2]
    if absent == 0:
        return x
    empty = x.new_zeros(*x.shape[:2], absent, *x.shape[3:])
    return torch.cat([empty, x], dim=2)


def build(
    preset: str, *, bands: int | None = None, context: int | None = None, **sizes: Any
) -> SimVPModel:
    """Build the model.

    Args:
        preset: a preset of the card.
        bands: number of bands; the preset's published number where None.
        context: number of context frames; the repaired presets take up to so many (at most 7).
        sizes: ``hid_S hid_T N_S N_T model_type mlp_ratio drop_path learning_rate steps
            batch_size``, over the preset's.
    """
    options: dict[str, Any] = {**card.presets[preset].options, **sizes}
    repaired = preset in REPAIRED
    bands = bands or PUBLISHED_BANDS.get(preset, 3)
    if repaired:
        slots = min(context or (MAX_SLOTS if preset == "fixed" else 1), MAX_SLOTS)
    else:
        slots = PUBLISHED_FRAMES.get(preset, 1)
    stage, options = _stage(preset, options)
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
    # Its grouped and dilated convolutions are faster so on a CPU (results/bench); no GPU was tried.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    outputs = 1 if repaired or preset == "kitti" else slots
    return SimVPModel(network, Variant(bands, slots, outputs, repaired, stage))


def _stage(preset: str, options: dict[str, Any]) -> tuple[Stage, dict[str, Any]]:
    base = STAGES.get(preset.partition("_")[0], STAGES["paper"])
    known = {"learning_rate", "steps", "batch_size"}
    given = {name: value for name, value in options.items() if name in known}
    stage = Stage(
        base.name,
        learning_rate=given.get("learning_rate", base.learning_rate),
        steps=given.get("steps", base.steps),
        batch_size=given.get("batch_size", base.batch_size),
        weight_decay=base.weight_decay,
        clip=base.clip,
    )
    return stage, {name: value for name, value in options.items() if name not in known}
