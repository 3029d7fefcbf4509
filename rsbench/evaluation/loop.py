"""The scoring loop: sums per unit from every entry of a table on every sample.

An entry is anything that answers a case lead by lead: a model, the conditional mean of a
simulation, or the data's noise floor. Predictions and truth meet only here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, runtime_checkable

import pandas as pd
import torch

from rsbench.core.dates import day_number
from rsbench.core.phases import Phases
from rsbench.evaluation.entries import Answer, ModelEntry
from rsbench.evaluation.pooled_metrics import PooledMetricAccumulator
from rsbench.evaluation.set_metrics import OfCase, SetMetricAccumulator
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


UNIT_COLUMNS = [*KEYS, *ADDED, *SUMS, INPUT_VALID]


@dataclass
class Tally:
    """Sums per unit (entry, region, start, lead, metric, band); grows with units, not samples.

    ``pixels`` holds the parts of classes of pixels, by unit and class.
    """

    bands: tuple[str, ...]
    sums: dict[tuple[Any, ...], list[float]] = field(default_factory=dict)
    pixels: dict[tuple[Any, ...], list[float]] = field(default_factory=dict)
    counts: dict[tuple[str, str, str], int] = field(default_factory=dict)
    sets: SetMetricAccumulator | None = None
    pooled: PooledMetricAccumulator | None = None

    def add(
        self,
        entry: ModelEntry,
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
                key = (entry.model, metric, what)
                self.counts[key] = self.counts.get(key, 0) + int(number)
            of = (entry, case, lead, metric, zone)
            self._add(of, "all", values.value.tolist(), values.ok.tolist())
            if values.per_band is not None and values.band_ok is not None:
                for c, band in enumerate(self.bands):
                    value = values.per_band[:, c].tolist()
                    self._add(of, band, value, values.band_ok[:, c].tolist())

    def _add(
        self, of: tuple[ModelEntry, Case, int, str, str], band: str, values: Sequence[float],
        ok: Sequence[bool],
    ) -> None:  # fmt: skip
        entry, case, lead, metric, zone = of
        for b, share in enumerate(case.input_valid):
            added = (case.conditions[b] if case.conditions else "", zone)
            key = (*_unit(entry, case, lead, b), metric, band, *added)
            unit = self.sums.setdefault(key, [0.0, 0.0, 0, 0, 0.0])
            if ok[b]:
                unit[0] += values[b]
                unit[1] += 1.0
            unit[2] += 1
            unit[3] += 0 if ok[b] else 1
            unit[4] += share

    def add_classes(
        self, entry: ModelEntry, case: Case, lead: int, found: ClassSums, labels: Sequence[str]
    ) -> None:
        """Add the parts that classes of pixels have in one lead of one batch."""
        weights = found.weight.tolist()
        for metric, values in found.value.items():
            for b, parts in enumerate(values.tolist()):
                unit_key = (*_unit(entry, case, lead, b), metric, "all")
                for label, value, weight in zip(labels, parts, weights[b], strict=True):
                    unit = self.pixels.setdefault((*unit_key, label), [0.0, 0.0, 0, 0])
                    unit[0] += value
                    unit[1] += weight
                    unit[2] += 1
                    unit[3] += 0 if weight > 0 else 1

    def frame(self, strata: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
        """Return one row per unit, with the regions' strata joined."""
        names = UNIT_COLUMNS
        frame = pd.DataFrame([(*key, *unit) for key, unit in self.sums.items()], columns=names)
        frame = frame.drop(columns=[name for name in ADDED if not (frame[name] != "").any()])
        for stratum in sorted({name for values in strata.values() for name in values}):
            column = f"region_{stratum}" if stratum in names else stratum
            frame[column] = frame["region"].map({r: v.get(stratum, "") for r, v in strata.items()})
        return frame.astype({"lead": "int64", "n_images": "int64", "n_missing": "int64"})

    def pixel_frame(self) -> pd.DataFrame:
        """Return one row per unit and class of pixels, without classes that never occur."""
        frame = pd.DataFrame(
            [(*key, *unit) for key, unit in self.pixels.items()], columns=PIXEL_COLUMNS
        )
        frame = frame[frame.groupby(PIXEL_CLASS)["weight"].transform("sum") > 0]
        return frame.astype({"lead": "int64", "n_images": "int64", "n_missing": "int64"})


def _unit(entry: ModelEntry, case: Case, lead: int, b: int) -> tuple[Any, ...]:
    """Return the ``KEYS`` of sample ``b`` of a batch at one lead, without metric and band."""
    return (
        entry.model, entry.preset, entry.role, case.samples[b].region, case.starts[b].isoformat(),
        lead, case.targets[b][lead - 1].isoformat(), case.curves[b][lead - 1],
    )  # fmt: skip


@runtime_checkable
class Selective(Protocol):
    """An ``on_answer`` that needs the answers of some cases only."""

    def wants(self, case: Case) -> bool:
        """Return whether it needs the answers of other entries to a case.

        Called after the answers of the entry that the table is about.
        """
        ...


class Layers(Protocol):
    """Classes of pixels, fixed from inputs or an earlier catalogue, never from the truth."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the K classes of all layers."""
        ...

    def of(self, case: Case) -> Tensor:
        """Return ``(B, H, W, K)`` float32, 1 where a pixel is of a class and 0 elsewhere."""
        ...


def _own_answer(entry: ModelEntry, case: Case) -> Answer:
    return entry.answer(case)


@dataclass(frozen=True)
class ScoringHooks:
    """What else is computed or called while the cases are scored.

    Args:
        layers: classes of pixels, whose parts of the errors are summed too.
        on_answer: called with entry, case, lead and ``(B, C, H, W)`` values of each answer; of an
            ensemble with its mean and its first ``MOST_MEMBERS`` members.
        on_case: called with the number of images of each finished case.
        of_case: functions of features of sets that need the store or the conditions.
        answer: called for the answers of an entry to a case, in place of ``entry.answer``.
        heard: entries whose sums are known: ``on_answer`` is called, and nothing is summed.
        phases: to which the time of reading, predicting and scoring is added.
    """

    layers: Layers | None = None
    on_answer: Callable[[ModelEntry, Case, int, Tensor], None] | None = None
    on_case: Callable[[int], None] | None = None
    of_case: Mapping[str, OfCase] = field(default_factory=dict)
    answer: Callable[[ModelEntry, Case], Answer] = _own_answer
    heard: Sequence[ModelEntry] = ()
    phases: Phases = field(default_factory=Phases)


def score(
    entries: Sequence[ModelEntry],
    cases: Iterable[Case],
    metrics: Sequence[str],
    *,
    bands: tuple[str, ...],
    value_range: tuple[float, float],
    rgb: RgbMapping | None = None,
    hooks: ScoringHooks | None = None,
) -> Tally:
    """Score every entry on every case and sum every metric at every lead.

    Args:
        entries: what answers the cases.
        cases: batches; read once.
        metrics: metric ids.
        bands: names along C.
        value_range: the dataset's range in the unit.
        rgb: which bands are red, green and blue, for metrics of display images.
        hooks: what else is computed or called.
    """
    called = hooks or ScoringHooks()
    phases = called.phases
    scorer = _Scorer.of(metrics, bands, value_range, rgb, called)
    for case in phases.each("read", cases):
        with phases.time("read"):
            classes = scorer.classes(case)
        for entry in entries:
            for lead, values in _asked(entry, case, called):
                with phases.time("metrics"):
                    scorer.add(entry, case, lead, values, classes)
        for entry in called.heard if _listens(called.on_answer, case) else ():
            for lead, values in _asked(entry, case, called):
                for scored, answer in _answers(entry, values):
                    scorer.hear(scored, case, lead, answer)
        if called.on_case is not None:
            called.on_case(len(case.samples))
    return scorer.tally


def _listens(on_answer: object, case: Case) -> bool:
    """Return whether answers to a case are needed beside their scores."""
    return on_answer.wants(case) if isinstance(on_answer, Selective) else on_answer is not None


def _asked(entry: ModelEntry, case: Case, called: ScoringHooks) -> Answer:
    """Yield the answers of an entry at the leads that are scored."""
    for lead, values in called.phases.each("forward", called.answer(entry, case)):
        if any(curve[lead - 1] != "none" for curve in case.curves):
            yield lead, values


@dataclass(frozen=True)
class _Scorer:
    """Metrics by what they are computed from, and the sums that they are added to."""

    images: tuple[str, ...]
    additive: tuple[str, ...]
    pixelwise: tuple[str, ...]
    ensembles: tuple[str, ...]
    needs_start: bool
    value_range: tuple[float, float]
    rgb: RgbMapping | None
    hooks: ScoringHooks
    tally: Tally

    @classmethod
    def of(
        cls, metrics: Sequence[str], bands: tuple[str, ...], value_range: tuple[float, float],
        rgb: RgbMapping | None, hooks: ScoringHooks,
    ) -> Self:  # fmt: skip
        known = {metric: info(metric) for metric in metrics}

        def of_kind(*kinds: str) -> tuple[str, ...]:
            return tuple(metric for metric, one in known.items() if one.kind in kinds)

        images = of_kind("image", "change")
        return cls(
            images, tuple(metric for metric in images if known[metric].additive),
            tuple(metric for metric in images if known[metric].pixelwise),
            of_kind("members"), bool(of_kind("change")), value_range, rgb, hooks,
            empty_tally(metrics, bands, value_range, rgb, hooks.of_case),
        )  # fmt: skip

    def classes(self, case: Case) -> Tensor | None:
        """Return the classes of pixels of a case, None where no metric is summed over them."""
        layers = self.hooks.layers
        return layers.of(case) if layers is not None and layers.labels and self.additive else None

    def add(
        self, entry: ModelEntry, case: Case, lead: int, values: Tensor, classes: Tensor | None
    ) -> None:
        """Add one lead of one batch: ``(B, C, H, W)`` values, or ``(B, M, C, H, W)``."""
        truth, valid = _reference(entry, case, lead)
        for scored, answer in _answers(entry, values):
            self._add_image(scored, case, lead, _Images(answer, truth, valid), classes)
        if entry.role != "model" or values.ndim != 5:
            return
        if self.hooks.on_answer is not None:
            for m in range(1, min(values.shape[1], MOST_MEMBERS)):  # member 0 is an entry
                named = replace(entry, model=member(entry.model, m))
                self.hear(named, case, lead, values[:, m])
        if self.ensembles:
            found = member_metrics(
                self.ensembles, values, truth, valid=valid, data_range=self.value_range
            )
            self.tally.add(entry, case, lead, found)

    def _add_image(
        self, entry: ModelEntry, case: Case, lead: int, triple: _Images, classes: Tensor | None
    ) -> None:
        before, before_valid = _before(case) if self.needs_start else (None, None)
        options = ImageOptions(
            display=self.rgb, before=before, before_valid=before_valid, ratio=case.ratio
        )
        answer, truth, valid = triple
        found = image_metrics(
            self.images, answer, truth, valid=valid, data_range=self.value_range, options=options
        )
        if entry.class_map:
            found = {metric: values.undefined() for metric, values in found.items()}
            classes = None
        self.tally.add(entry, case, lead, found)
        if self.hooks.layers is not None and classes is not None:
            with exact():
                parts = class_sums(self.additive, answer, truth, valid, classes)
            self.tally.add_classes(entry, case, lead, parts, self.hooks.layers.labels)
        for zone, where in case.zones.items():
            part = image_metrics(
                self.pixelwise, answer, truth, valid=valid & where[:, None],
                data_range=self.value_range,
            )  # fmt: skip
            self.tally.add(entry, case, lead, part, zone=zone)
        if self.tally.sets is not None:
            self.tally.sets.add(entry, case, lead, answer, truth, valid)
        if self.tally.pooled is not None:
            self.tally.pooled.add(entry, case, lead, answer, truth, valid)
        self.hear(entry, case, lead, answer)

    def hear(self, entry: ModelEntry, case: Case, lead: int, answer: Tensor) -> None:
        """Pass an answer ``(B, C, H, W)`` on to what listens."""
        if self.hooks.on_answer is not None:
            with self.hooks.phases.time("write"):
                self.hooks.on_answer(entry, case, lead, answer)


def empty_tally(
    metrics: Sequence[str], bands: tuple[str, ...], value_range: tuple[float, float],
    rgb: RgbMapping | None, of_case: Mapping[str, OfCase] | None = None,
) -> Tally:  # fmt: skip
    """Return a tally to which nothing was added."""
    kinds = {metric: info(metric).kind for metric in metrics}
    sets = tuple(metric for metric, kind in kinds.items() if kind == "set")
    pooled = tuple(metric for metric, kind in kinds.items() if kind == "pooled")
    return Tally(
        bands,
        sets=SetMetricAccumulator(sets, value_range, rgb, of_case or {}) if sets else None,
        pooled=PooledMetricAccumulator(pooled, value_range) if pooled else None,
    )


class _Images(NamedTuple):
    """An answer, its truth and the mask of the truth."""

    answer: Tensor
    truth: Tensor
    valid: Tensor


MOST_MEMBERS = 8
"""Most members of an ensemble with which ``on_answer`` is called."""


def first_member(model: str) -> str:
    """Return the name of the entry of an ensemble's first member."""
    return member(model, 0)


def member(model: str, number: int) -> str:
    """Return the name of a member of an ensemble."""
    return f"{model} · member {number}"


def _answers(entry: ModelEntry, values: Tensor) -> Iterator[tuple[ModelEntry, Tensor]]:
    """Yield what is scored as an image: an ensemble has its mean and, of a model, member 0."""
    if values.ndim == 4:
        yield entry, values
        return
    yield entry, values.mean(dim=1)
    if entry.role == "model":
        yield replace(entry, model=first_member(entry.model)), values[:, 0]


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


def _reference(entry: ModelEntry, case: Case, lead: int) -> tuple[Tensor, Tensor]:
    """Return truth and mask of a lead, or those of an entry that is no forecast."""
    if entry.reference is not None:
        return entry.reference(case, lead)
    return case.truth[:, lead - 1], case.valid[:, lead - 1]
