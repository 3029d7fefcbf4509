"""Images of a fusion sample in a network's value domain, and predictions from its output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rsbench import Frames, Given, InputError, Prediction, Want
from rsbench_baselines.fusion_trivial.pairs import pairs_of

Domain = tuple[float, float]
SIGNED: Domain = (-1.0, 1.0)
UNSIGNED: Domain = (0.0, 1.0)


@dataclass(frozen=True)
class Scene:
    """Images of a batch ``(N, C, H, W)`` in a network's domain, gaps filled, all finite.

    Args:
        c1: coarse image of the target date.
        coarse, fine: images of the reference dates, ascending; one or two of each.
        seen: where each fine reference is valid, bool; elsewhere it was filled.
        value_range: lowest and highest value of the unit; they map to the ends of ``domain``.
        domain: lowest and highest value that the network is given.
    """

    c1: Tensor
    coarse: tuple[Tensor, ...]
    fine: tuple[Tensor, ...]
    seen: tuple[Tensor, ...]
    value_range: tuple[float, float]
    domain: Domain

    @staticmethod
    def of(given: Given, want: Want, *, references: int, domain: Domain = SIGNED) -> Scene:
        """Read a batch; gaps are filled and values scaled to ``domain``.

        Raises:
            InputError: if the number of reference dates or of members is wrong.
        """
        pairs = pairs_of(given, want)
        if pairs.fine.shape[1] != 1:
            raise InputError(
                f"fusion of {pairs.fine.shape[1]} members of each image",
                "fusion networks take one, shared by all members of the prediction",
                "Pass one member of each image",
            )
        have = pairs.fine.shape[2]
        if have != references:
            raise InputError(
                f"{have} reference dates",
                f"this network takes {references}",
                "Choose a protocol with that many reference dates",
            )
        low, high = domain
        start, end = pairs.value_range

        def scaled(x: Tensor) -> Tensor:
            return low + (x - start) * ((high - low) / (end - start))

        return Scene(
            scaled(pairs.target[:, 0]),
            tuple(scaled(pairs.coarse[:, 0, k]) for k in range(have)),
            tuple(scaled(pairs.fine[:, 0, k]) for k in range(have)),
            tuple(pairs.fine_seen[:, 0, k] for k in range(have)),
            pairs.value_range,
            domain,
        )

    def target(self, truth: Frames, want: Want) -> tuple[Tensor, Tensor]:
        """Return the truth in the domain and its validity, ``(N, C, H, W)`` each.

        Invalid pixels hold the coarse target, so that all values are finite.
        """
        values, valid = truth.values[:, 0, 0], truth.valid[:, 0, 0]
        if truth.bands != want.bands:
            index = [truth.bands.index(band) for band in want.bands]
            values = values[:, index]
            valid = valid[:, index] if valid.shape[1] > 1 else valid
        valid = valid.expand_as(values)
        (low, high), (start, end) = self.domain, self.value_range
        scaled = low + (values - start) * ((high - low) / (end - start))
        return torch.where(valid, scaled, self.c1), valid

    def answer(self, images: Tensor, want: Want) -> Prediction:
        """Return ``(N, C, H, W)`` or ``(N·members, C, H, W)`` in the domain as a prediction.

        Values are scaled back to the unit; one image per sample is repeated for all members.
        """
        (low, high), (start, end) = self.domain, self.value_range
        values = start + (images.float() - low) * ((end - start) / (high - low))
        B, M = len(want.samples), want.members
        values = values.view(B, -1, 1, *values.shape[1:])
        return Prediction(values.expand(B, M, *values.shape[2:]).contiguous())

    def turned(self, truth: Tensor, valid: Tensor, turn: Turn) -> tuple[Scene, Tensor, Tensor]:
        """Return scene, truth and mask with the same turn applied to all images of a sample."""
        parts = (*self.coarse, *self.fine, *self.seen)
        c1, truth, valid, *rest = turn([self.c1, truth, valid, *parts])
        K = len(self.coarse)
        scene = replace(
            self, c1=c1, coarse=tuple(rest[:K]), fine=tuple(rest[K : 2 * K]),
            seen=tuple(rest[2 * K :]),
        )  # fmt: skip
        return scene, truth, valid


Turn = Callable[[Sequence[Tensor]], list[Tensor]]
"""Takes images ``(N, C, H, W)`` of the same samples; the turn is drawn for each sample."""


def mirrored(images: Sequence[Tensor]) -> list[Tensor]:
    """Mirror each sample from left to right with probability ½, drawn from the global generator."""
    chosen = (torch.rand(len(images[0]), 1, 1, 1) < 0.5).to(images[0].device)
    return [torch.where(chosen, image.flip(-1), image) for image in images]


def any_way(images: Sequence[Tensor]) -> list[Tensor]:
    """Turn each sample by a random multiple of 90° and mirror it with probability ½."""
    quarters, flips = torch.randint(4, (len(images[0]),)), torch.rand(len(images[0])) < 0.5

    def turned(image: Tensor) -> Tensor:
        rows = []
        for sample, quarter, flip in zip(image, quarters, flips, strict=True):
            way = torch.rot90(sample, int(quarter), (-2, -1))
            rows.append(way.flip(-1) if flip else way)
        return torch.stack(rows)

    return [turned(image) for image in images]
