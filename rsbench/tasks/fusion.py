"""The fusion task: references of a fine and a coarse sensor, the coarse target, the fine truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from rsbench.core.errors import InputError, PixelError
from rsbench.models.api import Frames, Given, Noise, SampleRef, Want
from rsbench.store.layout import SensorMeta
from rsbench.tasks.fusion_samples import require_fitting

if TYPE_CHECKING:
    from torch import Tensor

    from rsbench.catalog import Protocol
    from rsbench.tasks.fusion_batches import FusionBatch


@final
@dataclass(frozen=True)
class FusionTask:
    """Predict the fine image of a target date. The only place where truth leaves the batch.

    Given are the fine images of the reference dates, and the coarse images of these dates and of
    the target date, on the fine grid.

    Args:
        fine, coarse: the two sensors; of one unit and one list of bands.
        noise: where all randomness of a model comes from.
        members: ensemble members asked for.
    """

    protocol: Protocol
    fine: SensorMeta
    coarse: SensorMeta
    noise: Noise
    members: int = 1

    def __post_init__(self) -> None:
        if self.members < 1:
            raise InputError("members", str(self.members), "Give 1 or more")
        if self.protocol.task != "fusion":
            raise InputError(
                f"protocol {self.protocol.name}",
                f"its task is {self.protocol.task}",
                "Take a protocol whose task is fusion, as fusion2",
            )
        require_fitting(self.fine, self.coarse)

    def split(self, batch: FusionBatch) -> tuple[Given, Want, Frames]:
        """Return (given, want, truth); neither given nor want holds any of truth's memory.

        Raises:
            PixelError: if a coarse image has no valid pixel, or a NaN lies under a valid one.
        """
        self._require_seen(batch)
        self._require_finite(batch)
        references = tuple(SampleRef(s.region, s.key, s.window) for s in batch.samples)
        fine = self._frames(self.fine, batch, batch.fine, batch.fine_valid, batch.fine_times)
        coarse = self._frames(
            self.coarse, batch, batch.coarse, batch.coarse_valid, batch.coarse_times,
            footprint=batch.footprint,
        )  # fmt: skip
        pair = {self.fine.name: fine, self.coarse.name: coarse}
        given = Given(pair, dict.fromkeys(pair, batch.grids), references)
        want = Want(
            sensor=self.fine.name,
            bands=batch.bands,
            times=batch.target_times.clone(),
            grids=batch.grids,
            samples=references,
            members=self.members,
            noise=self.noise,
        )
        truth = self._frames(self.fine, batch, batch.truth, batch.truth_valid, batch.target_times)
        return given, want, truth

    def _frames(
        self, meta: SensorMeta, batch: FusionBatch, values: Tensor, valid: Tensor, times: Tensor,
        *, footprint: int = 1,
    ) -> Frames:  # fmt: skip
        return Frames(
            values=values.unsqueeze(1),
            valid=valid.unsqueeze(1),
            times=times,
            bands=batch.bands,
            unit=meta.unit,
            predicted=(False,) * values.shape[1],
            value_range=self.fine.value_range,
            footprint=footprint,
        )

    def _require_seen(self, batch: FusionBatch) -> None:
        seen = batch.coarse_valid.flatten(2).any(dim=2)
        if not bool(seen.all()):
            row, frame = (int(i) for i in (~seen).nonzero()[0])
            sample = batch.samples[row]
            raise PixelError(
                f"region {sample.region}, target {sample.target}",
                f"no pixel of the {self.coarse.name} image of {sample.dates[frame]} is valid",
                "Leave that date out: nothing is known of it",
            )

    def _require_finite(self, batch: FusionBatch) -> None:
        parts = (
            (self.fine.name, batch.fine, batch.fine_valid),
            (self.coarse.name, batch.coarse, batch.coarse_valid),
            ("truth", batch.truth, batch.truth_valid),
        )
        for name, values, valid in parts:
            bad = ~values.isfinite() & valid
            if bad.any():
                row, frame, band = (int(i) for i in bad.flatten(-2).any(-1).nonzero()[0])
                raise PixelError(
                    f"region {batch.samples[row].region}, {name}, image {frame + 1}, "
                    f"band {batch.bands[band]}",
                    f"{int(bad[row, frame, band].sum())} NaN or infinite pixels are called valid",
                    "State the nodata value of the source and build the store again",
                )
