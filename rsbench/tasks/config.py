"""What every entry of one table shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rsbench.catalog import Protocol
from rsbench.tasks.base import REFERENCES

if TYPE_CHECKING:
    import torch

    from rsbench.metrics.rgb import RgbMapping
    from rsbench.store.layout import SensorMeta
    from rsbench.store.read import Store

SPLITS = ("test", "val", "train")
Note = Callable[[str], None]


def quiet(text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class FusionPart:
    """What fusion needs beside a forecast's configuration: coarse sensor and its footprint."""

    coarse: str
    footprint: int


@dataclass(frozen=True)
class EvaluationConfig:
    """What every row of one table shares: data, protocol, split, context, horizon, metrics."""

    store: Store
    protocol: Protocol
    split: str
    context: int
    horizon: int
    sensor: str
    bands: tuple[str, ...]
    metrics: tuple[str, ...]
    members: int
    seed: int
    device: torch.device
    precision: str
    left_out: Mapping[str, str] = field(default_factory=dict)
    fusion: FusionPart | None = None

    @property
    def shown(self) -> str:
        """What every model sees, as the table writes it."""
        if self.fusion is None:
            return f"{self.sensor} k={self.context}"
        return f"{self.sensor}+{self.fusion.coarse} {REFERENCES}{self.context}"

    @property
    def meta(self) -> SensorMeta:
        """The sensor's metadata."""
        return self.store.sensor(self.sensor)

    @property
    def rgb(self) -> RgbMapping | None:
        """How metrics see red, green and blue; None where the bands are not all there."""
        from rsbench.metrics.rgb import RgbMapping

        return RgbMapping.of(self.meta.display, self.bands, self.meta.unit, self.device)
