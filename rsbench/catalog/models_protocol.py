"""The schema of a protocol: splits, windows, lead times, metrics and stress scenarios."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from rsbench.catalog.models_base import Entry, MetricId, Name, Text

SMALLEST_WINDOW = 16
DIGEST_MARK = "+"
"""Stands before the digest in the name of a protocol that is not in the catalogue."""


class Condition(Entry):
    """One stress scenario of fusion: which dates a test region uses, and simulated clouds.

    ``dates``: positions, from 0, among the region's ascending dates of both sensors: first
    reference, target and, with two references, the last. ``cloud``: share of the target's coarse
    image that is masked, in patches. A larger share masks what a smaller one does, and more.
    """

    name: Name
    dates: tuple[int, ...] = Field(min_length=2, max_length=3)
    cloud: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if min(self.dates) < 0 or list(self.dates) != sorted(set(self.dates)):
            raise ValueError(f"the dates of condition {self.name} do not ascend from 0 on")
        return self


class Primary(Entry):
    """The primary endpoint, fixed before scoring.

    ``metric``: its id. ``score``: the metric's value, or its skill over the best reference model.
    ``leads``: lead times whose mean orders the entries.
    """

    metric: MetricId
    score: Literal["value", "skill"] = "skill"
    leads: tuple[int, ...] = Field(min_length=1)


class LabelShare(Entry):
    """Which regions of the training split have labels: a share of them, chosen by a seed.

    A larger share of the same seed contains the smaller one.
    """

    fraction: float = Field(gt=0, le=1)
    seed: int = Field(default=0, ge=0)


class Protocol(Entry):
    """One frozen way to score, the same for all entries of a table.

    ``scheme``: how the split separates training from test data. ``window``, ``stride``: side of
    the windows that are scored, and the step between them, in pixels, in super-resolution those of
    the finer sensor; in fusion whole regions are scored, and ``window`` is the side of training
    crops. ``context``: number of frames given; in
    fusion the number of reference dates. ``horizon``: largest lead time; 1 in fusion.
    ``starts``: every start is scored; ``all`` is the only value. ``direction``: ``past`` asks for
    earlier frames from later ones, lead 1 the latest of them. ``bands``: ``store`` for all bands
    of the store, or names. ``suite``: metric ids. ``curves``: matched sets of decay curves.
    ``resampling``: in fusion, how coarse images are brought to the fine grid. ``least_valid``:
    smallest share of valid pixels of the context as a whole, and in fusion of each fine reference;
    a sample with less, or with none at all, is not scored, and the table says how many.

    ``dates``: in fusion, the triplets of every split as a publication lists them, each with its
    target second (``[reference, target]`` or ``[reference, target, reference]``). Every region is
    then in every split, and dates seen in both training and test are reported.

    ``conditions``: in fusion, the stress scenarios; every test region is scored under each of
    them. Training and validation take consecutive dates without a scenario.

    ``primary``: the endpoint that orders the entries of tables and reports.

    ``labels``: in segmentation, the share of training regions whose labels models are fitted and
    trained with. None, and a share of 1, mean all.
    """

    name: Name
    task: Name = "forecast"
    description: Text
    scheme: Literal["space", "time", "space-time"] = "space"
    window: int = Field(default=128, ge=SMALLEST_WINDOW)
    stride: int = Field(default=128, ge=1)
    context: int = Field(ge=1)
    horizon: int = Field(ge=1)
    starts: Literal["all"] = "all"
    direction: Literal["future", "past"] = "future"
    bands: Literal["store"] | tuple[Name, ...] = "store"
    suite: tuple[MetricId, ...] = Field(min_length=1)
    curves: tuple[Literal["starts", "targets"], ...] = ("starts", "targets")
    resampling: Literal["nearest", "bilinear"] = "nearest"
    least_valid: float = Field(default=0.0, ge=0, le=1)
    dates: Mapping[Name, tuple[tuple[date, ...], ...]] | None = None
    conditions: tuple[Condition, ...] = ()
    primary: Primary | None = None
    labels: LabelShare | None = None

    @field_validator("labels")
    @classmethod
    def _all_labels(cls, labels: LabelShare | None) -> LabelShare | None:
        return None if labels is not None and labels.fraction == 1 else labels

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.suite)) != len(self.suite):
            raise ValueError("a metric stands twice in suite")
        if self.direction == "past" and self.scheme != "space":
            raise ValueError("the direction past is for the scheme space")
        if self.dates is not None:
            self._require_dates()
        if self.conditions:
            self._require_conditions()
        if self.primary is not None:
            if self.primary.metric not in self.suite:
                raise ValueError(f"the primary metric {self.primary.metric} is not in suite")
            if max(self.primary.leads) > self.horizon:
                raise ValueError("a primary lead lies beyond the horizon")
        return self

    @property
    def stated_name(self) -> str:
        """The name without the digest that `load_protocol` adds."""
        return self.name.partition(DIGEST_MARK)[0]

    @property
    def content(self) -> dict[str, Any]:
        """What decides the scores, as JSON: values that differ from the defaults, without texts."""
        return self.model_dump(mode="json", exclude={"name", "description"}, exclude_defaults=True)

    @property
    def label_share(self) -> dict[str, Any] | None:
        """Fraction and seed of the labels, as JSON; None for all labels."""
        return None if self.labels is None else self.labels.model_dump(mode="json")

    @property
    def trained_for(self) -> str:
        """The scheme, and the direction where it is the past: what weights of a model fit."""
        return self.scheme if self.direction == "future" else f"{self.scheme}-{self.direction}"

    def _require_dates(self) -> None:
        if self.horizon != 1 or self.scheme != "time":
            raise ValueError("dates of triplets are for a horizon of 1 with the scheme time")
        for split, listed in (self.dates or {}).items():
            if split not in ("train", "val", "test"):
                raise ValueError(f"there is no split {split}: use train, val and test")
            for days in listed:
                if len(days) != self.context + 1 or list(days) != sorted(set(days)):
                    raise ValueError(
                        f"{', '.join(map(str, days))} are not {self.context + 1} ascending dates"
                    )

    def _require_conditions(self) -> None:
        if self.horizon != 1 or self.scheme != "space" or self.dates is not None:
            raise ValueError(
                "conditions are for a horizon of 1 with the scheme space and no list of dates"
            )
        if len({condition.name for condition in self.conditions}) != len(self.conditions):
            raise ValueError("a condition stands twice")
        for condition in self.conditions:
            if len(condition.dates) != self.context + 1:
                raise ValueError(f"condition {condition.name} needs {self.context + 1} dates")
