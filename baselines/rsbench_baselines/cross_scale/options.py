"""What a pretraining does, and the sizes of its networks; importable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from rsbench import InputError
from rsbench_baselines._options import require_choices

Base = Literal["ijepa", "latentmim"]
Affinity = Literal["none", "gram", "mse"]
Teach = Literal["hr", "interp", "none"]
See = Literal["mr", "hr"]
Tokens = Literal["visible", "block"]
Positions = Literal["index", "ground"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "mr": {},
    "hr": {"see": "hr"},
    "sa": {"affinity": "gram", "teach": "hr"},
    "sa_interp": {"affinity": "gram", "teach": "interp"},
    "sa_mse": {"affinity": "mse", "teach": "hr"},
    "sa_block": {"affinity": "gram", "teach": "hr", "tokens": "block"},
    "mr_fine": {},
}
"""Fields of :class:`Pretraining` by name of the variant; ``mr_fine`` takes ``Sizes.finer()``."""


@dataclass(frozen=True)
class Pretraining:
    """What the loss of a pretraining is made of.

    Args:
        base: method of the base loss.
        affinity: ``gram`` compares cosines between tokens with those of the teacher, ``mse`` the
            tokens themselves.
        teach: image of the affinity's teacher: high resolution, or the mid-resolution image
            enlarged to the same size.
        see: image that the base method reads.
        tokens: the affinity's tokens: those that the base method shows its encoder, or a
            rectangle of their own.
        pos: codes of the teacher's finer tokens: by index, as published, or by place on the
            ground, in mid-resolution tokens.
        weight: λ of the affinity.
        ratio: fine tokens along one side of a mid-resolution token.

    Raises:
        InputError: for an unknown choice, or choices that contradict each other.
    """

    base: Base = "ijepa"
    affinity: Affinity = "none"
    teach: Teach = "none"
    see: See = "mr"
    tokens: Tokens = "visible"
    pos: Positions = "index"
    weight: float = 1.0
    ratio: int = 2

    def __post_init__(self) -> None:
        require_choices(self)
        if (self.affinity == "none") != (self.teach == "none"):
            raise InputError(
                f"affinity={self.affinity} with teach={self.teach}",
                "the affinity and its teacher need each other",
                "Set both to none, or neither",
            )
        if self.affinity != "none" and self.see == "hr":
            raise InputError(
                f"affinity={self.affinity} with see=hr",
                "the affinity compares tokens at mid resolution",
                "Use see=mr",
            )
        if self.ratio < 1 or self.weight < 0:
            raise InputError(
                f"ratio={self.ratio}, weight={self.weight:g}",
                "ratio starts at 1 and weight at 0", "Use ratio=2, weight=1",
            )  # fmt: skip

    @property
    def needs_hr(self) -> bool:
        """Whether the loss reads the high-resolution image."""
        return self.teach == "hr" or self.see == "hr"

    def check(self, sizes: Sizes) -> None:
        """Refuse images of different bands where one encoder reads both.

        Raises:
            InputError: when it does.
        """
        if self.needs_hr and sizes.bands != sizes.hr_bands:
            raise InputError(
                f"{sizes.bands} bands at mid and {sizes.hr_bands} at high resolution",
                "one encoder reads both images and needs the same bands of both",
                "Choose bands that both sensors have",
            )


@dataclass(frozen=True)
class Sizes:
    """Sizes of the networks of one base.

    Args:
        bands, hr_bands: of the two images; equal where one encoder reads both.
        width, depth, heads, patch: of the encoder; patch in pixels of its input.
        gap: pixels left out between patches in pretraining.
        grid: tokens along a side of a training crop of ``crop`` mid-resolution pixels.
        inner, inner_depth, inner_heads: of predictor or decoder.
        hidden: width of the projector of LatentMIM.
        visible: tokens that LatentMIM shows its encoder.
        momentum: of the teacher at the first step.
        spread, enter: standard deviations of the first weights of I-JEPA, and of the layer that
            takes in patches.
    """

    bands: int = 4
    hr_bands: int = 4
    width: int = 384
    depth: int = 12
    heads: int = 6
    patch: int = 14
    gap: int = 0
    grid: int = 16
    crop: int = 128
    inner: int = 384
    inner_depth: int = 12
    inner_heads: int = 6
    hidden: int = 4096
    visible: int = 20
    momentum: float = 0.996
    spread: float = 0.02
    enter: float = 0.02

    def __post_init__(self) -> None:
        if self.visible >= self.grid**2:
            raise InputError(
                f"{self.visible} visible tokens",
                f"a grid of {self.grid}×{self.grid} tokens has no others to predict",
                f"Use at most {self.grid**2 - 1}",
            )

    @property
    def cell(self) -> int:
        """Pixels of the input from one token to the next in pretraining."""
        return self.patch + self.gap

    def finer(self) -> Self:
        """Return the sizes on a grid of twice as many tokens a side; twice as many visible."""
        return replace(self, grid=2 * self.grid, visible=2 * self.visible)


_TINY: Mapping[str, Any] = {"width": 64, "depth": 4, "heads": 4, "patch": 4, "grid": 8, "crop": 32}
SIZES: Mapping[tuple[Base, str], Sizes] = {
    ("ijepa", "paper"): Sizes(),
    ("ijepa", "tiny"): Sizes(
        **_TINY, inner=48, inner_depth=2, inner_heads=4,
        # Narrow layers with the published spread pass on a sixth of a signal, and positions are
        # ten times as wide as patches: a short training would hardly read the image.
        spread=0.125, enter=0.5,
    ),
    ("latentmim", "paper"): Sizes(
        patch=16, gap=4, grid=14, inner=512, inner_depth=3, inner_heads=16, momentum=0.99
    ),
    ("latentmim", "tiny"): Sizes(
        **_TINY, gap=1, inner=64, inner_depth=2, inner_heads=4, hidden=256, visible=13,
        momentum=0.99,
    ),
}  # fmt: skip
"""By base and ``paper`` or ``tiny``."""
