"""What both base methods share: the terms of the loss, and the affinity beside the base loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, Tensor, nn

from rsbench_baselines._teacher import Teacher
from rsbench_baselines._vit import Encoder
from rsbench_baselines.cross_scale import masking, views
from rsbench_baselines.cross_scale.affinity import children
from rsbench_baselines.cross_scale.options import Pretraining, Sizes


@dataclass(frozen=True)
class Predicted:
    """Tokens of a base method, of B images.

    Args:
        index: tokens that the encoder is shown ``(B, n)``.
        seen: the encoder's ``(B, n, D)``.
        student: those that the affinity compares ``(B, n, D)``.
        wanted: tokens to predict ``(B, k·m)``, k blocks of an image after one another.
        predicted, target: ``(k·B, m, D)``.
    """

    index: Tensor
    seen: Tensor
    student: Tensor
    wanted: Tensor
    predicted: Tensor
    target: Tensor


class BaseMethod(nn.Module, ABC):
    """Predicts an average teacher's tokens from others of the image.

    One teacher gives the targets and, on a finer grid, the tokens of the affinity. It moves
    once after each optimiser step, before the next loss.

    Args:
        sizes: of the networks.
        options: what the loss is made of.
    """

    encoder: Encoder
    teacher: Teacher
    inclusive: ClassVar[bool]
    """Positions, as in :func:`views.places`."""

    def __init__(self, sizes: Sizes, options: Pretraining) -> None:
        super().__init__()
        options.check(sizes)
        self.sizes = sizes
        self.options = options

    @property
    @abstractmethod
    def student(self) -> nn.Module:
        """The network that the teacher follows; it maps image, index and codes to tokens."""

    @abstractmethod
    def predict(self, image: Tensor, draw: Generator) -> Predicted:
        """Return tokens of ``(B, C, H, W)``, shown and predicted."""

    @abstractmethod
    def compare(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Return the base loss of ``(B, N, D)``, a mean over images and tokens."""

    def read(self, image: Tensor, draw: Generator) -> Tensor:
        """Return the pixels that the networks read, of ``(B, C, H, W)``."""
        return image

    def loss(
        self, mr: Tensor, hr: Tensor | None, draw: Generator,
        valid: views.ValidTokens = views.EVERY,
    ) -> dict[str, Tensor]:  # fmt: skip
        """Return the terms of the loss; ``total`` is minimised.

        Args:
            mr: standardised mid-resolution crops ``(B, C, H, W)``.
            hr: standardised high-resolution crops of the same ground, bands in the order of
                ``mr``; None where unused.
            draw: generator of the masks and of the places of patches, on the CPU.
            valid: tokens that count.

        Returns:
            ``base``, ``affinity`` where asked for, ``total``, and what shows a collapse.
        """
        self.teacher.follow(self.student)
        image = self.read(views.base_image(self.options, self.sizes, mr, hr), draw)
        made = self.predict(image, draw)
        kept = views.chosen(valid.base, made.wanted)
        kept = None if kept is None else kept.reshape(made.target.shape[:2])
        terms = {"base": views.over_kept(self.compare, made.predicted, made.target, kept)}
        terms["total"] = terms["base"]
        if self.options.affinity != "none":
            fine = self.read(views.teacher_image(self.options, self.sizes, mr, hr), draw)
            terms["affinity"] = self._affinity((image, fine), made, draw, valid.affinity)
            terms["total"] = terms["base"] + self.options.weight * terms["affinity"]
        return {**terms, **views.watched(made.seen, made.predicted, made.target)}

    def encode(self, image: Tensor) -> list[Tensor]:
        """Return maps of tokens ``(B, D, h, w)`` of mid-resolution images, at four depths.

        Patches are next to each other, and of LatentMIM the projector is left out, as in the
        published probes.
        """
        return views.token_maps(self.encoder, self.sizes, image, inclusive=self.inclusive)

    def codes(self, ratio: int = 1) -> Tensor:
        """Return codes of the grid with so many fine tokens along a side of a token."""
        side = ratio * self.sizes.grid
        return views.places(
            self.encoder.width, side, side, inclusive=self.inclusive, ratio=ratio,
            ground=self.options.pos == "ground", base=self.encoder.base,
        )  # fmt: skip

    def _affinity(
        self, images: tuple[Tensor, Tensor], made: Predicted, draw: Generator, kept: Tensor | None
    ) -> Tensor:
        (image, fine), index, student = images, made.index, made.student
        if self.options.tokens == "block":
            index = masking.rectangle(len(image), self.sizes.grid, draw).to(image.device)
            student = self._positioned(self.student(image, index, self.codes()), index)
        ratio = self.options.ratio
        inside = children(index, self.sizes.grid, ratio)
        found = self._positioned(self.teacher(fine, inside, self.codes(ratio)), inside)
        return views.affinity_loss(self.options, student, found, views.chosen(kept, index))

    @staticmethod
    def _positioned(tokens: Tensor, index: Tensor) -> Tensor:
        """Return the tokens with a position; the one without comes first."""
        return tokens[:, -index.shape[1] :]
