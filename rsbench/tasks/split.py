"""The only place where truth leaves a batch: what is given, what is asked for, and the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsbench.core.errors import InputError, PixelError
from rsbench.models.api import Context, Frames, Given, Noise, Want
from rsbench.tasks.base import Batch, S

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Question:
    """Noise, members and context of every request to a model.

    Args:
        noise: the source of all randomness of a model.
        members: ensemble members asked for.
        context: which given frames a model that takes fewer is shown.
    """

    noise: Noise
    members: int = 1
    context: Context = "latest"

    def __post_init__(self) -> None:
        if self.members < 1:
            raise InputError("members", str(self.members), "Give 1 or more")


def split(batch: Batch[S], question: Question) -> tuple[Given, Want, Frames]:
    """Return (given, want, truth); neither given nor want holds any of truth's memory.

    ``given`` has none of the frames that only training has.

    Raises:
        PixelError: if a valid pixel is NaN or infinite; names region, frame and band.
    """
    for name, frames in (*batch.given.items(), *batch.taught.items()):
        _require_finite(batch, name, frames)
    _require_finite(batch, "truth", batch.truth)
    hidden = _memory(batch.truth)
    given = {
        # A view can reach all of the memory it was cut from.
        name: frames.clone() if _memory(frames) & hidden else frames
        for name, frames in batch.given.items()
    }
    want = Want(
        sensor=batch.sensor,
        bands=batch.truth.bands,
        times=batch.truth.times.clone(),
        grids=batch.grids[batch.sensor],
        samples=batch.refs,
        members=question.members,
        noise=question.noise,
        context=question.context,
        unit=batch.truth.unit,
        value_range=batch.truth.value_range,
    )
    grids = {name: batch.grids[name] for name in given}
    return Given(given, grids, batch.refs, texts=batch.texts), want, batch.truth


def _require_finite(batch: Batch[S], name: str, frames: Frames) -> None:
    values: Tensor = frames.values[:, 0]
    # A sum is finite only if every term is; the terms are looked at only where it is not.
    if values.sum(dtype=values.dtype).isfinite():
        return
    bad = ~values.isfinite() & frames.valid[:, 0]
    if bad.any():
        row, frame, band = (int(i) for i in bad.flatten(-2).any(-1).nonzero()[0])
        raise PixelError(
            f"region {batch.samples[row].region}, {name}, frame {frame + 1}, "
            f"band {frames.bands[band]}",
            f"{int(bad[row, frame, band].sum())} NaN or infinite pixels are marked valid",
            "State the nodata value of the source and build the store again",
        )


def _memory(frames: Frames) -> set[int]:
    tensors = (frames.values, frames.valid, frames.times)
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}
