"""What every entry of one table shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rsbench.catalog import Protocol

if TYPE_CHECKING:
    import torch

    from rsbench.metrics.rgb import RgbMapping
    from rsbench.store.layout import SensorMeta
    from rsbench.store.read import Store

SPLITS = ("test", "val", "train")
BATCH = 8
"""Samples that are read, predicted and scored at once, unless another number is asked for."""
Note = Callable[[str], None]


def quiet(text: str) -> None:
    """Discard a message."""


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """What may be asked of an evaluation beside model, store and protocol.

    Args:
        split: ``test``, ``val`` or ``train``.
        context: context frames, or ``all``; the protocol's where None.
        horizon: leads; the protocol's where None.
        members: ensemble members.
        seed: random seed for training and sampling.
        device: ``auto``, ``cpu``, ``cuda`` …
        precision: as Lightning Fabric names it.
        suite: suites or ids of metrics in place of the protocol's.
        metrics: suites or ids beside these.
    """

    split: str = "test"
    context: str | int | None = None
    horizon: int | None = None
    members: int = 1
    seed: int = 0
    device: str = "auto"
    precision: str = "32-true"
    suite: str | None = None
    metrics: str | None = None


@dataclass(frozen=True)
class EvaluationConfig:
    """What every entry of one table shares: data, protocol, split, context, horizon, metrics.

    Args:
        sensor: whose grid and dates samples have.
        target: metadata of what is predicted; ``bands`` are those asked for.
        batch_samples: samples that are predicted and scored at once.
    """

    store: Store
    protocol: Protocol
    split: str
    context: int
    horizon: int
    sensor: str
    target: SensorMeta
    bands: tuple[str, ...]
    metrics: tuple[str, ...]
    members: int
    seed: int
    device: torch.device
    precision: str
    left_out: Mapping[str, str] = field(default_factory=dict)
    batch_samples: int = BATCH

    @property
    def meta(self) -> SensorMeta:
        """Bands, unit and range of what is predicted."""
        return self.target

    @property
    def rgb(self) -> RgbMapping | None:
        """How metrics see red, green and blue; None where the bands are not all there."""
        from rsbench.metrics.rgb import RgbMapping

        return RgbMapping.of(self.meta.display, self.bands, self.meta.unit, self.device)
