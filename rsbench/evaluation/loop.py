"""From samples to units: every row of a table goes through the same loop.

A row is anything that answers a case lead by lead: a model behind the one door, the conditional
mean of a simulation, or the data's own noise floor. Truth meets predictions only here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd
import torch

from rsbench.core.dates import day_number
from rsbench.evaluation.entries import ModelEntry
from rsbench.evaluation.set_metrics import SetMetricAccumulator
from rsbench.evaluation.strata import ADDED, INPUT_VALID, PIXEL_CLASS
from rsbench.evaluation.unit_table import KEYS, PIXEL_COLUMNS, SUMS
from rsbench.metrics.engine import exact, image_metrics, member_metrics
from rsbench.metrics.images import ImageOptions
from rsbench.metrics.pixel_classes import class_sums
from rsbench.metrics.registry import info
from rsbench.tasks.base import Case

if TYPE_CHECKING:
    from torch import Tensor

    from rsbench.metrics.images import PerImage
    from rsbench.metrics.pixel_classes import ClassSums
    from rsbench.metrics.rgb import RgbMapping


@dataclass
class Tally:
    """Sums per unit (row, region, start, lead, metric, band); grows with units, not samples.

    ``pixels`` holds the parts that classes of pixels have in them, by unit and class.
    """

    bands: tuple[str, ...]
    sums: dict[tuple[Any, ...], list[float]] = field(default_factory=dict)
    pixels: dict[tuple[Any, ...], list[float]] = field(default_factory=dict)
    counts: dict[tuple[str, str, str], int] = field(default_factory=dict)
    sets: SetMetricAccumulator | None = None

    def add(
        self,
        row: ModelEntry,
        case: Case,
        lead: int,
        found: Mapping[str, PerImage],
        *,
        zone: str = "",
    ) -> None:
        """Add one lead of one batch, of whole images or of a zone of them."""
        for metric, values in found.items():
            for name, number in values.counts.items() if not zone else ():
                what = f"{name}, lead {lead}" if name.startswith("rank ") else name
                key = (row.model, metric, what)
                self.counts[key] = self.counts.get(key, 0) + int(number)
            of = (row, case, lead, metric, zone)
            self._add(of, "all", values.value.tolist(), values.ok.tolist())
            if values.per_band is not None and values.band_ok is not None:
                for c, band in enumerate(self.bands):
                    value = values.per_band[:, c].tolist()
                    self._add(of, band, value, values.band_ok[:, c].tolist())

    def _add(
        self, of: tuple[ModelEntry, Case, int, str, str], band: str, values: Sequence[float],
        ok: Sequence[bool],
    ) -> None:  # fmt: skip
        row, case, lead, metric, zone = of
        for b, share in enumerate(case.input_valid):
            added = (case.conditions[b] if case.conditions else "", zone)
            key = (*_unit(row, case, lead, b), metric, band, *added)
            unit = self.sums.setdefault(key, [0.0, 0.0, 0, 0, 0.0])
            if ok[b]:
                unit[0] += values[b]
                unit[1] += 1.0
            unit[2] += 1
            unit[3] += 0 if ok[b] else 1
            unit[4] += share

    def add_classes(
        self, row: ModelEntry, case: Case, lead: int, found: ClassSums, labels: Sequence[str]
    ) -> None:
        """Add the parts that classes of pixels have in one lead of one batch."""
        weights = found.weight.tolist()
        for metric, values in found.value.items():
            for b, parts in enumerate(values.tolist()):
                unit_key = (*_unit(row, case, lead, b), metric, "all")
                for label, value, weight in zip(labels, parts, weights[b], strict=True):
                    unit = self.pixels.setdefault((*unit_key, label), [0.0, 0.0, 0, 0])
                    unit[0] += value
                    unit[1] += weight
                    unit[2] += 1
                    unit[3] += 0 if weight > 0 else 1

    def frame(self, strata: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
        """Return unit rows, with the regions' strata joined."""
        names = [*KEYS, *ADDED, *SUMS, INPUT_VALID]
        frame = pd.DataFrame([(*key, *unit) for key, unit in self.sums.items()], columns=names)
        frame = frame.drop(columns=[name for name in ADDED if not (frame[name] != "").any()])
        for stratum in sorted({name for values in strata.values() for name in values}):
            column = f"region_{stratum}" if stratum in names else stratum
            frame[column] = frame["region"].map({r: v.get(stratum, "") for r, v in strata.items()})
        return frame.astype({"lead": "int64", "n_images": "int64", "n_missing": "int64"})

    def pixel_frame(self) -> pd.DataFrame:
        """Return one row per unit and class of pixels; classes that nowhere occur are left out."""
        frame = pd.DataFrame(
            [(*key, *unit) for key, unit in self.pixels.items()], columns=PIXEL_COLUMNS
        )
        frame = frame[frame.groupby(PIXEL_CLASS)["weight"].transform("sum") > 0]
        return frame.astype({"lead": "int64", "n_images": "int64", "n_missing": "int64"})


def _unit(row: ModelEntry, case: Case, lead: int, b: int) -> tuple[Any, ...]:
    """Name the unit of one batch row at one lead, by its ``KEYS`` but for metric and band."""
    return (
        row.model, row.preset, row.role, case.samples[b].region, case.starts[b].isoformat(), lead,
        case.targets[b][lead - 1].isoformat(), case.curves[b][lead - 1],
    )  # fmt: skip


class Layers(Protocol):
    """Classes of pixels, fixed from inputs or an earlier catalogue, never from the truth."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the K classes of all layers."""
        ...

    def of(self, case: Case) -> Tensor:
        """Return ``(B, H, W, K)`` float32, 1 where a pixel is of a class and 0 elsewhere."""
        ...


@dataclass(frozen=True)
class Beside:
    """What happens beside the tally in the pass over the cases.

    Args:
        layers: classes of pixels, whose parts in the errors are added up beside the wholes.
        seen: called with each answer, e.g. to keep pictures; of an ensemble with its mean and
            its first ``MOST_SEEN`` members.
        on_case: called with the number of images of each finished case.
    """

    layers: Layers | None = None
    seen: Callable[[ModelEntry, Case, int, Tensor], None] | None = None
    on_case: Callable[[int], None] | None = None


def score(
    rows: Sequence[ModelEntry],
    cases: Iterable[Case],
    metrics: Sequence[str],
    *,
    bands: tuple[str, ...],
    value_range: tuple[float, float],
    rgb: RgbMapping | None = None,
    beside: Beside | None = None,
) -> Tally:
    """Put every row through every case and tally every metric at every lead.

    Args:
        rows: what answers.
        cases: batches; read once.
        metrics: metric ids.
        bands: names along C.
        value_range: the dataset's range in the unit; never guessed.
        rgb: which bands are red, green and blue, for metrics that see these only.
        beside: what else happens in the pass over the cases.
    """
    also = beside or Beside()
    layers, seen, on_case = also.layers, also.seen, also.on_case
    known = {metric: info(metric) for metric in metrics}
    kinds = {metric: one.kind for metric, one in known.items()}
    images = [metric for metric, kind in kinds.items() if kind in ("image", "change")]
    whole = tuple(metric for metric, kind in kinds.items() if kind == "set")
    ensembles = [metric for metric, kind in kinds.items() if kind == "members"]
    additive = [metric for metric in images if layers is not None and known[metric].additive]
    pixelwise = [metric for metric in images if known[metric].pixelwise]
    needs_context = "change" in kinds.values()
    tally = Tally(bands, sets=SetMetricAccumulator(whole, value_range, rgb) if whole else None)
    for case in cases:
        classes = layers.of(case) if layers is not None and layers.labels and additive else None
        for row in rows:
            for lead, values in row.answer(case):
                if all(curve[lead - 1] == "none" for curve in case.curves):
                    continue  # rolled through, but on no matched set
                truth, valid = _reference(row, case, lead)
                before = _before(case) if needs_context else (None, None)
                for scored, answer in _answers(row, values):
                    found = image_metrics(
                        images, answer, truth, valid=valid, data_range=value_range,
                        options=ImageOptions(display=rgb, before=before[0], before_valid=before[1]),
                    )  # fmt: skip
                    tally.add(scored, case, lead, found)
                    if layers is not None and classes is not None:
                        with exact():
                            parts = class_sums(additive, answer, truth, valid, classes)
                        tally.add_classes(scored, case, lead, parts, layers.labels)
                    for zone, where in case.zones.items():
                        part = image_metrics(
                            pixelwise, answer, truth, valid=valid & where[:, None],
                            data_range=value_range,
                        )  # fmt: skip
                        tally.add(scored, case, lead, part, zone=zone)
                    if tally.sets is not None:
                        tally.sets.add(scored, case, lead, answer, truth, valid)
                    if seen is not None:
                        seen(scored, case, lead, answer)
                if seen is not None and row.role == "model" and values.ndim == 5:
                    for m in range(1, min(values.shape[1], MOST_SEEN)):  # the first was a row
                        seen(replace(row, model=member(row.model, m)), case, lead, values[:, m])
                if ensembles and row.role == "model" and values.ndim == 5:
                    found = member_metrics(
                        ensembles, values, truth, valid=valid, data_range=value_range
                    )
                    tally.add(row, case, lead, found)
        if on_case is not None:
            on_case(len(case.samples))
    return tally


MOST_SEEN = 8
"""Members of an ensemble that are shown to ``seen``."""


def first_member(model: str) -> str:
    """Name the row of an ensemble's first member."""
    return member(model, 0)


def member(model: str, number: int) -> str:
    """Name a member of an ensemble."""
    return f"{model} · member {number}"


def _answers(row: ModelEntry, values: Tensor) -> Iterator[tuple[ModelEntry, Tensor]]:
    """Yield what is scored as an image: of an ensemble its mean and, of a model, member 0."""
    if values.ndim == 4:
        yield row, values
        return
    yield row, values.mean(dim=1)
    if row.role == "model":
        yield replace(row, model=first_member(row.model)), values[:, 0]


def _before(case: Case) -> tuple[Tensor, Tensor]:
    """Return the frame of the start and its mask, bands in the order asked for.

    The start is the last context frame of a forecast, and the first reference of a fusion.
    """
    frames = case.given.frames[case.want.sensor]
    chosen = [frames.bands.index(band) for band in case.want.bands]
    days = torch.tensor([day_number(start) for start in case.starts])
    at = (frames.times.cpu() == days[:, None]).int().argmax(dim=1)
    row = torch.arange(len(at))
    values, valid = frames.values[row, 0, at], frames.valid[row, 0, at]
    return values[:, chosen], valid if valid.shape[1] == 1 else valid[:, chosen]


def _reference(row: ModelEntry, case: Case, lead: int) -> tuple[Tensor, Tensor]:
    """Return truth and mask of a lead, or what a row that is no forecast has in their place."""
    if row.reference is not None:
        return row.reference(case, lead)
    return case.truth[:, lead - 1], case.valid[:, lead - 1]
