"""The definition of a metric: its id, how to read its values, and the function that computes it.

A package adds metrics by an entry point in the group ``rsbench.metrics`` that names a
:class:`Metric` or a sequence of them. Functions are named by text and imported on first use, so
that listing metrics does not import torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from rsbench.core.errors import InputError

Direction = Literal["higher", "lower", "zero"]
Kind = Literal["image", "set", "members", "change", "pooled"]
Axis = Literal["distortion", "perception"]
Clips = Literal["range", "display"]
Bounds = tuple[float | None, float | None]

UNIT: Bounds = (0.0, None)
SCORE: Bounds = (-1.0, 1.0)
ANY: Bounds = (None, None)

MARGIN = 0.01
"""Share of the width L of a range; values beyond it by less are clipped but do not count as
outside: SSIM's C1 = (0.01 L)² hides differences of this size."""

MOST_OUTSIDE = 1 / 3
"""Largest share of a band's valid pixels outside, in prediction and truth, with which a metric that
clips has a value. Images of zero mean whose width is given as range lie outside to one half; errors
of models in dark bands stay below."""

MOST_SATURATED = 1 / 2
"""The same for what display@1 shows of reflectance: it shows bright ground as white by design."""

OUTSIDE = "outside_range"
"""Name of the count of images without a value because they lie mostly outside."""


_ID = re.compile(r"[a-z0-9_.-]+@[0-9]+")
_FUNCTION = re.compile(r"[\w.]+:\w+")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where reports show a metric.

    Args:
        order: position in lists of metrics, smallest first; equal positions go by id.
        headline: whether the short table on the terminal shows it.
        axis: axis of the perception–distortion plane that it can represent.
        axis_order: the available metric with the smallest number is drawn on the axis.
    """

    order: int = 100
    headline: bool = False
    axis: Axis | None = None
    axis_order: int = 100


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. A definition never changes under an id; a changed one gets a new version.

    Args:
        id: ``name@version``, lower case.
        direction: which values are better; ``zero`` means nearer to zero.
        range: smallest and largest value, None where there is no bound.
        unit: of the values; ``data`` stands for the unit of the data, ``1`` for none.
        source: publication or code that defines it.
        title: what it measures, in one phrase.
        function: ``package.module:function``. By ``kind``: ``image`` and ``change`` take an
            ``ImageBatch``, ``members`` takes an ``ImageBatch`` and the members (n, M, C, H, W),
            and all three return a ``PerImage``; ``set`` takes features of the predictions and of
            the truths (n, d) and optional groups (n,), and returns a ``SetScore``; ``pooled`` takes
            the counts (n, …) of all images and returns a ``PooledScore``.
        perfect: value of a prediction equal to the truth, None where there is no such value.
        kind: ``image`` for one value per image pair, ``set`` for one value per set of images,
            ``members`` for ensembles, ``change`` where the last context frame is needed as well,
            ``pooled`` for one value from the added counts of all images.
        per_band: whether single bands have a value.
        min_bands: number of bands it needs.
        min_side: rows and columns it needs, in pixels.
        needs: names of weight files without which there is no value.
        rgb: whether it uses the red, green and blue bands only.
        clips: to what it clips both images before it compares them: ``range``, the data range, or
            ``display``, what display@1 shows, for which the unit of the data must be stated. An
            image that lies mostly outside has no value. None where nothing is clipped.
        ranked: False for values conditioned on the truth: shown, never used to order entries.
        pixel_ratio: coarse over fine pixel size that its formula assumes. Fusion keeps, of the
            metrics that state one, those nearest to the ratio of the data.
        coarser: whether it depends on the pixels of a coarser image that is given: the ratio of
            pixel sizes must be stated.
        published: whether it is kept to read published tables, faults included.
        skill: whether tables hold its skill, (s − ref) / (perfect − ref).
        pixelwise: whether it has a value in a part of an image: no pixel depends on neighbours.
        pixel_error: ``package.module:function`` of (prediction, truth) that returns the error of
            every element (n, C, H, W), where the value of an image is its mean over valid
            elements. Tables then hold the metric per class of pixels.
        features: for ``set``, what it compares: a name of `rsbench.metrics.sets`, or
            ``package.module:function`` of (images, side) that returns features (n, d).
        statistic: for ``pooled``, what is counted: ``package.module:function`` of an
            ``ImageBatch`` that returns (n, …) float64.
        ready: ``package.module:function`` that returns why it cannot be computed here, in one
            sentence, or None.
        placement: where reports show it.
        options: keyword arguments of the function.

    Raises:
        InputError: if the definition contradicts itself.
    """

    id: str
    direction: Direction
    range: Bounds
    unit: str
    source: str
    title: str
    function: str
    perfect: float | None
    kind: Kind = "image"
    per_band: bool = True
    min_bands: int = 1
    min_side: int = 1
    needs: tuple[str, ...] = ()
    rgb: bool = False
    clips: Clips | None = None
    ranked: bool = True
    pixel_ratio: int | None = None
    coarser: bool = False
    published: bool = False
    skill: bool = False
    pixelwise: bool = False
    pixel_error: str | None = None
    features: str | None = None
    statistic: str | None = None
    ready: str | None = None
    placement: Placement = Placement()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fault = self._fault()
        if fault is not None:
            raise InputError(f"the definition of metric {self.id!r}", *fault)

    def _fault(self) -> tuple[str, str] | None:
        if not _ID.fullmatch(self.id):
            return "its id is no name@version", "As in bias@1: lower case, digits, . _ -"
        for value, known in ((self.direction, Direction), (self.kind, Kind), (self.clips, Clips)):
            if value is not None and value not in get_args(known):
                return f"{value!r} is not allowed", f"Use {', '.join(get_args(known))}"
        for name in (self.function, self.pixel_error, self.statistic, self.ready):
            if name is not None and not _FUNCTION.fullmatch(name):
                return f"{name!r} names no function", "As in package.module:function"
        if self.skill and self.perfect is None:
            return "it has skill and no perfect value", "State `perfect`"
        if (self.kind == "set") != (self.features is not None):
            return f"kind {self.kind} and features {self.features}", "Sets alone have features"
        if (self.kind == "pooled") != (self.statistic is not None):
            return f"kind {self.kind} and statistic {self.statistic}", "Pooled ones alone count"
        return None

    @property
    def additive(self) -> bool:
        """Whether the values of pixel classes add up to the value of the image."""
        return self.pixel_error is not None


@dataclass(frozen=True, slots=True)
class MetricInfo(Metric):
    """A metric and whether it can be computed here.

    Args:
        available: whether its weight files are here.
        reason: why it is not available, in one sentence.
    """

    available: bool = True
    reason: str | None = None
