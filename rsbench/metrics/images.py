"""Image pairs after checking: shapes, ranges, masks, and sums that several metrics use."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from rsbench.core.errors import PixelError
from rsbench.metrics.windows import Buffers, borrowed_buffers

if TYPE_CHECKING:
    from rsbench.metrics.rgb import RgbMapping

T = TypeVar("T")
# Elements of one map that fit a core's cache; larger temporaries cause page faults.
CPU_ELEMENTS = 200_000
GROUP_ELEMENTS = 100_000
GPU_ELEMENTS = 1 << 24
MOST_IMAGES_CPU = 8


@dataclass(frozen=True)
class PerImage:
    """Values of one metric: one per image, on the CPU.

    Args:
        value: (N,) float64; NaN where ``ok`` is False.
        ok: (N,) bool, where the metric is defined.
        per_band: (N, C) float64, where single bands have a value.
        band_ok: (N, C) bool, where ``per_band`` is defined.
        counts: numbers of elements, bands or images that were capped, clipped or left out.
        clipped: (N, 2, C) float64, share of the valid pixels of prediction and truth that a metric
            clips, per band that it uses; None where it clips nothing.
        outside: (N,) bool, images without a value because they lie mostly outside the range.
    """

    value: Tensor
    ok: Tensor
    per_band: Tensor | None = None
    band_ok: Tensor | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    clipped: Tensor | None = None
    outside: Tensor | None = None

    @classmethod
    def of(
        cls,
        value: Tensor,
        ok: Tensor,
        *,
        per_band: Tensor | None = None,
        band_ok: Tensor | None = None,
        counts: Mapping[str, int] | None = None,
    ) -> PerImage:
        """Return the values on the CPU, NaN where they are undefined."""
        ok = ok.cpu()
        value = value.double().cpu().masked_fill(~ok, math.nan)
        if per_band is None or band_ok is None:
            return cls(value, ok, None, None, dict(counts or {}))
        band_ok = band_ok.cpu()
        per_band = per_band.double().cpu().masked_fill(~band_ok, math.nan)
        return cls(value, ok, per_band, band_ok, dict(counts or {}))

    def undefined(self) -> PerImage:
        """Return as many images without a value."""
        nothing = torch.zeros_like(self.ok)
        if self.per_band is None or self.band_ok is None:
            return PerImage.of(self.value, nothing)
        no_band = torch.zeros_like(self.band_ok)
        return PerImage.of(self.value, nothing, per_band=self.per_band, band_ok=no_band)

    @classmethod
    def mean_of_bands(
        cls, per_band: Tensor, band_ok: Tensor, *, counts: Mapping[str, int] | None = None
    ) -> PerImage:
        """Return the mean of each image's defined bands; count the others as ``skipped_bands``."""
        number = band_ok.sum(1)
        total = per_band.masked_fill(~band_ok, 0.0).sum(1)
        counted = dict(counts or {}) | {"skipped_bands": int((~band_ok).sum())}
        return cls.of(
            total / number, number > 0, per_band=per_band, band_ok=band_ok, counts=counted
        )

    @classmethod
    def of_sums(
        cls, images: ImageBatch, sums: Tensor, change: Callable[[Tensor], Tensor] = torch.clone
    ) -> PerImage:
        """Return means over valid elements, per image and per band, after ``change`` of each.

        Args:
            sums: (n, C) float64, sum of a band's valid elements.
        """
        count = images.count
        everything = count.sum(1)
        return cls.of(
            change(sums.sum(1) / everything), everything > 0,
            per_band=change(sums / count), band_ok=count > 0,
        )  # fmt: skip

    @staticmethod
    def join(parts: Sequence[PerImage]) -> PerImage:
        """Return the values of consecutive batches as one."""
        names = {name for part in parts for name in part.counts}
        return PerImage(
            torch.cat([p.value for p in parts]),
            torch.cat([p.ok for p in parts]),
            _cat([p.per_band for p in parts]),
            _cat([p.band_ok for p in parts]),
            {name: sum(part.counts.get(name, 0) for part in parts) for name in sorted(names)},
            _cat([p.clipped for p in parts]),
            _cat([p.outside for p in parts]),
        )


def _cat(parts: Sequence[Tensor | None]) -> Tensor | None:
    found = [part for part in parts if part is not None]
    return torch.cat(found) if found else None


@dataclass(frozen=True)
class ImageBatch:
    """A batch of checked image pairs.

    Args:
        prediction, truth: (n, C, H, W) float32 or float64 in the data's unit, 0 where invalid.
        valid: (n, 1|C, H, W) bool, or None where every pixel is valid.
        low, high: bounds of the data range.
        first: index of the first pair in the whole set.
        rgb: which bands are red, green and blue, where that is known.
        before, before_valid: last context frame and its mask, for metrics of change.
        ratio: pixels along one side of a pixel of the coarser image given; None without one.
        buffers: memory for temporaries, reused from batch to batch.
    """

    prediction: Tensor
    truth: Tensor
    valid: Tensor | None
    low: float
    high: float
    first: int = 0
    rgb: RgbMapping | None = None
    before: Tensor | None = None
    before_valid: Tensor | None = None
    ratio: int | None = None
    buffers: Buffers = field(default_factory=Buffers, repr=False)
    _shared: dict[str, object] = field(default_factory=dict, repr=False)

    @property
    def span(self) -> float:
        """Width L of the data range."""
        return self.high - self.low

    def share(self, name: str, make: Callable[[], T]) -> T:
        """Return the result of ``make``, computed once for all metrics of a call."""
        if name not in self._shared:
            self._shared[name] = make()
        return self._shared[name]  # type: ignore[return-value]

    def band_groups(self) -> list[slice]:
        """Return groups of bands small enough for temporaries to stay in the cache."""
        n, c, height, width = self.truth.shape
        limit = GROUP_ELEMENTS if self.truth.device.type == "cpu" else GPU_ELEMENTS
        step = max(1, limit // (n * height * width))
        return [slice(start, min(start + step, c)) for start in range(0, c, step)]

    @cached_property
    def weight(self) -> Tensor | None:
        """The mask as 0 and 1, (n, 1|C, H, W); None where every pixel is valid."""
        return None if self.valid is None else self.valid.to(self.truth.dtype)

    @cached_property
    def all_bands(self) -> Tensor | None:
        """Pixels valid in every band, (n, 1, H, W) bool."""
        return None if self.valid is None else self.valid.all(1, keepdim=True)

    @cached_property
    def count(self) -> Tensor:
        """Valid pixels per band, (n, C) float64."""
        n, c, h, w = self.truth.shape
        if self.valid is None:
            return torch.full((n, c), float(h * w), dtype=torch.float64, device=self.truth.device)
        return self.valid.sum((-1, -2)).double().expand(n, c)

    @cached_property
    def squared(self) -> Tensor:
        """Sum of squared differences per band, (n, C) float64."""
        difference = self.buffers.take("difference", self.truth.shape, self.truth)
        torch.sub(self.prediction, self.truth, out=difference)
        return total(difference.square_())

    @cached_property
    def truth_mean(self) -> Tensor:
        """Mean of the truth per band, (n, C) float64; NaN where a band has no valid pixel."""
        return total(self.truth) / self.count

    @cached_property
    def prediction_mean(self) -> Tensor:
        """Mean of the prediction per band, (n, C) float64; NaN where no pixel is valid."""
        return total(self.prediction) / self.count

    @cached_property
    def scaled(self) -> tuple[Tensor, Tensor]:
        """Both images clipped to the range and mapped onto [0, 1]; 0 where invalid.

        Do not write into them: they may be the images themselves.
        """
        return self._scale(self.prediction), self._scale(self.truth)

    @cached_property
    def middle(self) -> tuple[Tensor, Tensor]:
        """Means of the scaled images per band, (n, C) float64; NaN where no pixel is valid."""
        x, y = self.scaled
        return (
            self.prediction_mean if x is self.prediction else total(x) / self.count,
            self.truth_mean if y is self.truth else total(y) / self.count,
        )

    def _scale(self, x: Tensor) -> Tensor:
        if self.low == 0.0 and self.high == 1.0:
            return x.clamp(0.0, 1.0) if self._reaches_out(x) else x
        y = ((x - self.low) / self.span).clamp_(0.0, 1.0)
        return y if self.valid is None else y.masked_fill_(~self.valid, 0.0)

    @cached_property
    def clipped(self) -> dict[str, int]:
        """Number of valid elements, and of those outside the range, per image side."""
        elements = int(self.count.sum())
        return {
            "elements": elements,
            "clipped_prediction": self._outside(self.prediction),
            "clipped_truth": self._outside(self.truth),
        }

    def _reaches_out(self, x: Tensor) -> bool:
        """Return whether any element lies outside the range, zeros at invalid pixels included."""
        name = "prediction reaches out" if x is self.prediction else "truth reaches out"
        return self.share(name, lambda: bool(x.amin() < self.low) or bool(x.amax() > self.high))

    def _outside(self, x: Tensor) -> int:
        if not self._reaches_out(x):
            return 0
        outside = (x < self.low) | (x > self.high)
        if self.valid is not None:
            outside &= self.valid
        return int(outside.sum())


@dataclass(frozen=True)
class ImageOptions:
    """Options of scoring image pairs.

    Args:
        bands: names along C, for error messages.
        chunk: images scored at a time; values do not depend on it.
        display: which bands are red, green and blue, for metrics that use these only.
        unit: of the values, where ``display`` does not state it.
        before: last context frame (N, C, H, W), for metrics of change.
        before_valid: mask of ``before``, (N, 1|C, H, W) bool.
        ratio: pixels along one side of a pixel of the coarser image given, for metrics that
            depend on it.
    """

    bands: Sequence[str] | None = None
    chunk: int | None = None
    display: RgbMapping | None = None
    unit: str | None = None
    before: Tensor | None = None
    before_valid: Tensor | None = None
    ratio: int | None = None


def total(x: Tensor) -> Tensor:
    """Return sums over rows and columns in float64: (…, H, W) → (…).

    Each row is summed pairwise in the input's precision, and rows are added in float64. This is as
    exact as converting every element, and fifty times faster.
    """
    return x.sum(-1).double().sum(-1)


@dataclass(frozen=True)
class ImagePairs:
    """All checked image pairs of a call, in the caller's tensors; fields as in `ImageBatch`."""

    prediction: Tensor
    truth: Tensor
    valid: Tensor | None
    low: float
    high: float
    bands: tuple[str, ...] | None
    rgb: RgbMapping | None = None
    before: Tensor | None = None
    before_valid: Tensor | None = None
    ratio: int | None = None

    def chunks(self, size: int | None = None) -> Iterator[ImageBatch]:
        """Yield batches that fit the cache; values do not depend on the size.

        Batches share buffers: a batch must not be used after the next one is yielded.
        """
        n = self.truth.shape[0]
        step = size or _chunk(self.truth)
        with borrowed_buffers() as buffers:
            for start in range(0, n, step):
                yield self._piece(slice(start, min(start + step, n)), buffers)

    def _piece(self, part: slice, buffers: Buffers) -> ImageBatch:
        dtype = torch.float64 if self.truth.dtype == torch.float64 else torch.float32
        prediction = self.prediction[part].to(dtype)
        truth = self.truth[part].to(dtype)
        valid = None if self.valid is None else self.valid[part]
        if valid is not None and bool(valid.all()):
            valid = None
        if valid is not None:
            # Values at invalid pixels, NaN included, are replaced here.
            prediction = torch.where(valid, prediction, 0.0)
            truth = torch.where(valid, truth, 0.0)
        self._finite("prediction", prediction, part.start)
        self._finite("truth", truth, part.start)
        before, seen = (None if x is None else x[part] for x in (self.before, self.before_valid))
        if before is not None:
            before = before.to(dtype)
            if seen is not None:
                before = torch.where(seen, before, 0.0)
            self._finite("context", before, part.start)
        return ImageBatch(
            prediction, truth, valid, self.low, self.high, part.start, self.rgb, before, seen,
            self.ratio, buffers,
        )  # fmt: skip

    def _finite(self, name: str, x: Tensor, first: int) -> None:
        # A finite sum means finite values; a sum that overflows is checked element by element.
        if bool(torch.isfinite(x.sum())):
            return
        bad = ~torch.isfinite(x)
        if not bool(bad.any()):
            return
        image, band = (int(i) for i in torch.nonzero(bad.any(-1).any(-1))[0])
        label = self.bands[band] if self.bands else str(band)
        raise PixelError(
            f"scoring image {first + image}, band {label}",
            f"{int(bad[image, band].sum())} non-finite {name} values inside the valid area",
            "Mark the pixels as invalid in `valid` if the truth is missing; "
            "a prediction must be finite wherever the truth is valid",
        )


def _chunk(x: Tensor) -> int:
    elements = max(1, x[0].numel())
    if x.device.type == "cpu":
        return max(1, min(MOST_IMAGES_CPU, CPU_ELEMENTS // elements))
    return max(1, GPU_ELEMENTS // elements)
