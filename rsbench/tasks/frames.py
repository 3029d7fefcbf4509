"""Reading the frames of samples from the caches of a store's sensors, on the predicted grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from rsbench.core.dates import date_of, day_numbers
from rsbench.core.errors import InputError, PixelError
from rsbench.core.grid import Window, nesting
from rsbench.models.api import Frames, SampleRef
from rsbench.store.pixels import physical
from rsbench.tasks.base import Batch, Reading, S

if TYPE_CHECKING:
    from torch import Tensor

    from rsbench.store.cache import Cache

Mask = npt.NDArray[np.bool_]
Hidden = Callable[[Window], Mask]
"""Takes a window of the sensor's own grid; returns ``(h, w)`` bool, the pixels that are hidden."""


@dataclass(frozen=True)
class Request:
    """Frames of one sensor that a sample takes.

    Args:
        times: indices of the region's dates of that sensor.
        footprint: pixels of the predicted grid along one side of what the sensor measured.
        required: whether every frame must have a valid pixel.
        hidden: place among the frames → what is hidden of that frame.
    """

    sensor: str
    times: tuple[int, ...]
    footprint: int = 1
    required: bool = False
    hidden: Mapping[int, Hidden] = field(default_factory=dict)


@dataclass(frozen=True)
class Requests:
    """All frames that a sample takes, the key of its noise, and its text where texts are given."""

    key: str
    given: tuple[Request, ...]
    truth: Request
    text: str | None = None


@dataclass(frozen=True, eq=False)
class FrameReader(Generic[S]):
    """Reads batches of samples; all frames are brought to the predicted sensor's grid.

    Args:
        caches: open caches by sensor.
        requests: which frames a sample takes.
    """

    reading: Reading
    caches: Mapping[str, Cache]
    requests: Callable[[S], Requests]

    def __post_init__(self) -> None:
        for cache in self.caches.values():
            cache.meta.band_index(self.reading.bands)

    def shape(self, sample: S) -> tuple[Any, ...]:
        """Return the size of the window, and sensor, count and footprint of all frames."""
        asked = self.requests(sample)
        parts = (*asked.given, asked.truth)
        size = (sample.window.height, sample.window.width)
        return (*size, *((part.sensor, len(part.times), part.footprint) for part in parts))

    def assemble(self, samples: Sequence[S]) -> Batch[S]:
        """Return the batch of some samples of one shape.

        Raises:
            PixelError: if a required frame has no valid pixel.
        """
        asked = [self.requests(sample) for sample in samples]
        given = {
            part.sensor: self.frames(samples, [one.given[place] for one in asked])
            for place, part in enumerate(asked[0].given)
        }
        truth = self.frames(samples, [one.truth for one in asked])
        for part in asked[0].given:
            if part.required:
                _require_seen(samples, part.sensor, given[part.sensor], truth)
        wanted = self.reading.sensor
        entries = self.reading.store.region
        grids = tuple(entries(s.region).grids[wanted].window(s.window) for s in samples)
        refs = tuple(
            SampleRef(sample.region, one.key, sample.window)
            for sample, one in zip(samples, asked, strict=True)
        )
        on = dict.fromkeys((wanted, *given), grids)
        texts = tuple(one.text for one in asked if one.text is not None)
        return Batch(tuple(samples), refs, wanted, on, given, truth, texts=texts)

    def usable(self, sample: S) -> bool:
        """Return whether truth, the frames given and every required one have a valid pixel."""
        asked = self.requests(sample)
        if not self._valid(sample, asked.truth).any():
            return False
        seen = [(part, self._valid(sample, part)) for part in asked.given]
        return all(
            bool(valid.any(axis=(1, 2)).all() if part.required else valid.any())
            for part, valid in seen
        )

    def valid_share(self, sample: S) -> float:
        """Return the share of valid pixels in the truth."""
        return float(self._valid(sample, self.requests(sample).truth).mean())

    def _valid(self, sample: S, part: Request) -> Mask:
        window = self._window(sample, part.sensor)
        found: Mask = self.caches[part.sensor].patch(sample.region, window, part.times)[1]
        return found

    def _ratio(self, sample: S, sensor: str) -> int:
        if sensor == self.reading.sensor:
            return 1
        grids = self.reading.store.region(sample.region).grids
        return nesting(grids[self.reading.sensor], grids[sensor], f"region {sample.region}")

    def _window(self, sample: S, sensor: str) -> Window:
        """Return the window in pixels of a sensor's own grid."""
        ratio, part = self._ratio(sample, sensor), sample.window
        numbers = (part.y, part.x, part.height, part.width)
        if any(number % ratio for number in numbers):
            raise InputError(
                f"window {part.height}×{part.width} at row {part.y}, column {part.x}",
                f"a coarse pixel spans {ratio} fine pixels",
                f"Choose a window on multiples of {ratio}",
            )
        return Window(*(number // ratio for number in numbers))

    def frames(self, samples: Sequence[S], parts: Sequence[Request]) -> Frames:
        """Return the frames of one sensor in memory of their own."""
        first, meta = parts[0], self.caches[parts[0].sensor].meta
        values, valid = self._read(samples, parts)
        ratio = self._ratio(samples[0], first.sensor)
        if ratio > 1:
            shape, resampling = values.shape[:2], self.reading.protocol.resampling
            flat = enlarge(values.flatten(0, 1), valid.flatten(0, 1), ratio, resampling)
            values, valid = (t.reshape(*shape, *t.shape[1:]) for t in flat)
        store = self.reading.store
        times = [
            day_numbers(store.region(s.region).times[first.sensor])[list(part.times)]
            for s, part in zip(samples, parts, strict=True)
        ]
        return Frames(
            values=values.unsqueeze(1),
            valid=valid.unsqueeze(1),
            times=torch.from_numpy(np.stack(times).astype(np.int64)),
            bands=self.reading.bands,
            unit=meta.unit,
            predicted=(False,) * len(first.times),
            value_range=store.sensor(self.reading.sensor).value_range,
            footprint=first.footprint,
        )

    def _read(self, samples: Sequence[S], parts: Sequence[Request]) -> tuple[Tensor, Tensor]:
        """Return ``(B, T, C, h, w)`` float32 and ``(B, T, 1, h, w)`` bool on the sensor's grid."""
        sensor, bands = parts[0].sensor, self.reading.bands
        cache = self.caches[sensor]
        picked = None if bands == cache.meta.bands else list(cache.meta.band_index(bands))
        windows = [self._window(sample, sensor) for sample in samples]
        size = (windows[0].height, windows[0].width)
        count = (len(samples), len(parts[0].times))
        values = torch.empty((*count, len(bands), *size), dtype=torch.float32)
        valid = torch.empty((*count, 1, *size), dtype=torch.bool)
        values_out, valid_out = values.numpy(), valid.numpy()
        for row, (sample, part, window) in enumerate(zip(samples, parts, windows, strict=True)):
            raw, seen = cache.patch(sample.region, window, part.times)
            valid_out[row, :, 0] = seen
            for place, hidden in part.hidden.items():
                valid_out[row, place, 0] &= ~hidden(window)
            shown = valid_out[row, :, 0] if part.hidden else seen
            chosen = raw if picked is None else raw[:, picked]
            physical(chosen, cache.meta, shown, out=values_out[row])
        return values, valid


def _require_seen(samples: Sequence[S], sensor: str, given: Frames, truth: Frames) -> None:
    seen = given.valid.flatten(3).any(dim=3)[:, 0]
    if bool(seen.all()):
        return
    row, frame = (int(i) for i in (~seen).nonzero()[0])
    raise PixelError(
        f"region {samples[row].region}, target {date_of(int(truth.times[row, 0]))}",
        f"no pixel of the {sensor} image of {date_of(int(given.times[row, frame]))} is valid",
        "Leave that date out: nothing is known of it",
    )


def enlarge(values: Tensor, valid: Tensor, ratio: int, resampling: str) -> tuple[Tensor, Tensor]:
    """Bring coarse images to a grid ``ratio`` times as fine; invalid pixels have no weight.

    Args:
        values: ``(T, C, h, w)``.
        valid: ``(T, 1, h, w)`` bool.
        resampling: ``nearest`` repeats a coarse pixel over its block; ``bilinear`` interpolates
            between the centres of valid coarse pixels.

    Returns:
        ``(T, C, h · ratio, w · ratio)`` and the mask of the same size: valid where the block is.
    """
    if resampling not in ("nearest", "bilinear"):
        raise InputError("resampling", repr(resampling), "Choose nearest or bilinear")
    if ratio == 1:
        return values, valid
    mask = _repeat(valid, ratio)
    if resampling == "nearest":
        return _repeat(values, ratio), mask
    weight = valid.to(values.dtype)
    upper = functional.interpolate(values * weight, scale_factor=ratio, mode="bilinear")
    lower = functional.interpolate(weight, scale_factor=ratio, mode="bilinear")
    return torch.where(mask, upper / lower.clamp(min=torch.finfo(values.dtype).tiny), 0), mask


def _repeat(image: Tensor, ratio: int) -> Tensor:
    return image.repeat_interleave(ratio, dim=-2).repeat_interleave(ratio, dim=-1)
