"""The task: it turns a batch into what a model is given, what it is asked for, and the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, final

import torch

from rsbench.core.dates import date_of
from rsbench.core.errors import InputError, PixelError, unknown
from rsbench.models.api import Frames, Given, Noise, SampleRef, Want
from rsbench.store.layout import SensorMeta

if TYPE_CHECKING:
    from torch import Tensor

    from rsbench.catalog import Protocol
    from rsbench.tasks.forecast_batches import Batch

DIRECTIONS = ("future", "past")


@final
@dataclass(frozen=True)
class ForecastTask:
    """Forecast the frames after the context. The only place where truth leaves the batch.

    Args:
        meta: the sensor that is forecast.
        noise: where all randomness of a model comes from.
        bands: bands to forecast; those of the batch where None.
        members: ensemble members asked for.
        direction: ``future``, or ``past``: from later frames to earlier ones, the latest of the
            earlier first; samples come from :func:`rsbench.tasks.forecast_samples.backward`. The
            protocol's where None.
    """

    protocol: Protocol
    meta: SensorMeta
    noise: Noise
    bands: tuple[str, ...] | None = None
    members: int = 1
    direction: Literal["future", "past"] | None = None

    def __post_init__(self) -> None:
        if self.direction not in (None, *DIRECTIONS):
            raise unknown("direction", str(self.direction), DIRECTIONS)
        if self.members < 1:
            raise InputError("members", str(self.members), "Give 1 or more")
        if self.protocol.task != "forecast":
            raise InputError(
                f"protocol {self.protocol.name}",
                f"its task is {self.protocol.task}",
                "Take a protocol whose task is forecast",
            )

    def split(self, batch: Batch) -> tuple[Given, Want, Frames]:
        """Return (given, want, truth); neither given nor want holds any of truth's memory.

        Raises:
            PixelError: if a NaN lies under a valid pixel; names region, lead and band.
        """
        if self.bands is not None and batch.bands != self.bands:
            raise InputError(
                f"a forecast of {', '.join(self.bands)}",
                f"the batch holds {', '.join(batch.bands)}",
                "Load the batch with the task's bands",
            )
        self._require_order(batch)
        self._require_finite(batch)
        references = tuple(
            SampleRef(s.region, f"{s.region}:{date_of(day)}", s.window)
            for s, day in zip(batch.samples, batch.context_times[:, -1].tolist(), strict=True)
        )
        context = self._frames(batch, batch.context, batch.valid, batch.context_times)
        if _memory(batch.context) & _memory(batch.truth) or (
            _memory(batch.valid) & _memory(batch.truth_valid)
        ):
            # A view can reach all of the memory it was cut from.
            context = context.clone()
        given = Given({batch.sensor: context}, {batch.sensor: batch.grids}, references)
        want = Want(
            sensor=batch.sensor,
            bands=batch.bands,
            times=batch.target_times.clone(),
            grids=batch.grids,
            samples=references,
            members=self.members,
            noise=self.noise,
        )
        truth = self._frames(batch, batch.truth, batch.truth_valid, batch.target_times)
        return given, want, truth

    def _frames(self, batch: Batch, values: Tensor, valid: Tensor, times: Tensor) -> Frames:
        return Frames(
            values=values.unsqueeze(1),
            valid=valid.unsqueeze(1),
            times=times,
            bands=batch.bands,
            unit=self.meta.unit,
            predicted=(False,) * values.shape[1],
            value_range=self.meta.value_range,
        )

    def _require_order(self, batch: Batch) -> None:
        """Refuse dates that run against the direction, before anything is scored."""
        dates = torch.cat([batch.context_times, batch.target_times], dim=1)
        steps = dates.diff(dim=1)
        direction = self.direction or self.protocol.direction
        if not bool((steps < 0 if direction == "past" else steps > 0).all()):
            raise InputError(
                f"a forecast of the {direction}",
                f"the dates of {batch.samples[0].region} run "
                + ", ".join(str(date_of(day)) for day in dates[0].tolist()),
                "Take samples of forecast_samples.index for the future, backward(…) for the past",
            )

    def _require_finite(self, batch: Batch) -> None:
        parts = (
            (batch.context, batch.valid, 1 - batch.context.shape[1]),
            (batch.truth, batch.truth_valid, 1),
        )
        for values, valid, first in parts:
            # A sum is finite only if every term is; a look at the terms follows if it is not.
            if values.sum(dtype=values.dtype).isfinite():
                continue
            bad = ~values.isfinite() & valid
            if bad.any():
                row, frame, band = (int(i) for i in bad.flatten(-2).any(-1).nonzero()[0])
                lead = first + frame
                raise PixelError(
                    f"region {batch.samples[row].region}, "
                    + (f"lead {lead}" if lead > 0 else f"context frame {lead}")
                    + f", band {batch.bands[band]}",
                    f"{int(bad[row, frame, band].sum())} NaN or infinite pixels are called valid",
                    "State the nodata value of the source and build the store again",
                )


def _memory(tensor: Tensor) -> set[int]:
    return {tensor.untyped_storage().data_ptr()}
