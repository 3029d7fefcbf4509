"""What fusion networks share: a sample's images in the network's domain, and answers from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from rsbench import Frames, Given, Prediction, Stage, Want
from rsbench_baselines.fusion_trivial.pairs import pairs_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    S = TypeVar("S", bound=DataclassInstance)

Domain = tuple[float, float]
SIGNED: Domain = (-1.0, 1.0)
UNSIGNED: Domain = (0.0, 1.0)
TRAINING = ("learning_rate", "steps", "batch_size")


@dataclass(frozen=True)
class Scene:
    """Images of a batch ``(N, C, H, W)`` in a network's domain, gaps filled, all finite.

    Args:
        c1: coarse, of the target date.
        coarse, fine: of the reference dates, ascending; one or two of each.
        seen: where each fine reference was given and not filled, bool.
        value_range: lowest and highest value of the unit, which the domain's ends stand for.
        domain: lowest and highest value that the network is shown.
    """

    c1: Tensor
    coarse: tuple[Tensor, ...]
    fine: tuple[Tensor, ...]
    seen: tuple[Tensor, ...]
    value_range: tuple[float, float]
    domain: Domain

    @staticmethod
    def of(given: Given, want: Want, *, references: int, domain: Domain = SIGNED) -> Scene:
        """Read a sample.

        Raises:
            ValueError: if there are not as many reference dates as the network takes.
        """
        pairs = pairs_of(given, want)
        if pairs.fine.shape[1] != 1:
            raise ValueError(
                f"given are {pairs.fine.shape[1]} members of each image: fusion reads one, "
                "shared by all members of the answer"
            )
        have = pairs.fine.shape[2]
        if have != references:
            raise ValueError(f"{have} reference dates are given: this network takes {references}")
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
        """Return the truth in the domain and where it is valid, ``(N, C, H, W)`` each.

        Where it is not valid it shows the coarse target, so that it is finite.
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
        """Return ``(N, C, H, W)`` or ``(N·members, C, H, W)`` in the domain as a prediction."""
        (low, high), (start, end) = self.domain, self.value_range
        values = start + (images.float() - low) * ((end - start) / (high - low))
        B, M = len(want.samples), want.members
        values = values.view(B, -1, 1, *values.shape[1:])
        return Prediction(values.expand(B, M, *values.shape[2:]).contiguous())

    def turned(self, truth: Tensor, valid: Tensor, turn: Turn) -> tuple[Scene, Tensor, Tensor]:
        """Return scene, truth and mask with every image of a sample turned alike."""
        parts = (*self.coarse, *self.fine, *self.seen)
        c1, truth, valid, *rest = turn([self.c1, truth, valid, *parts])
        K = len(self.coarse)
        scene = replace(
            self, c1=c1, coarse=tuple(rest[:K]), fine=tuple(rest[K : 2 * K]),
            seen=tuple(rest[2 * K :]),
        )  # fmt: skip
        return scene, truth, valid


Turn = Callable[[Sequence[Tensor]], list[Tensor]]
"""Takes images ``(N, C, H, W)`` of the same samples and turns those of a sample alike."""


def mirrored(images: Sequence[Tensor]) -> list[Tensor]:
    """Mirror each sample from left to right with probability ½, by the global generator."""
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


def drawer(want: Want, name: str) -> Callable[[str], Tensor]:
    """Return how a sampler draws: standard normal noise ``(N·members, C, H, W)`` by name."""

    def draw(what: str) -> Tensor:
        noise = want.noise.normal(f"{name}/{what}", want, channels=len(want.bands))
        return noise.flatten(0, 1)

    return draw


def chosen(size: S, stage: Stage, asked: Mapping[str, Any]) -> tuple[S, Stage]:
    """Return a size and a stage of training with what was asked for in place of their own.

    Args:
        asked: fields of the size, or ``learning_rate``, ``steps`` and ``batch_size`` of the
            training; None leaves a field as it is, a list is taken as a tuple.
    """
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in asked.items()
        if value is not None
    }
    training: dict[str, Any] = {name: given.pop(name) for name in TRAINING if name in given}
    return replace(size, **given), replace(stage, **training)


def check(name: str, bands: int, want: Want) -> None:
    """Refuse a number of bands or of dates that a network was not built for.

    Raises:
        ValueError: says how to build it.
    """
    if len(want.bands) != bands:
        raise ValueError(
            f"{name} was built for {bands} bands (C) and is asked for {len(want.bands)}: build "
            f"it with bands={len(want.bands)}"
        )
    if want.times.shape[1] != 1:
        raise ValueError(f"{name} answers one date (T) in one call, not {want.times.shape[1]}")
