"""What a protocol says of the strain that fusion is put under."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from rsbench.catalog.models_base import Entry, Name


class Condition(Entry):
    """One way to strain the triplet of a test region.

    ``dates``: places, from 0, among the region's ascending dates of both sensors: first reference,
    target and, with two references, the last. ``cloud``: share of the coarse image of the target
    that is hidden, in patches; of two shares of one place the larger hides what the smaller does.
    """

    name: Name
    dates: tuple[int, ...] = Field(min_length=2, max_length=3)
    cloud: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if min(self.dates) < 0 or list(self.dates) != sorted(set(self.dates)):
            raise ValueError(f"the dates of condition {self.name} do not ascend from 0 on")
        return self
