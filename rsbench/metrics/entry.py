"""What is recorded of a metric, and short ways to record it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Direction = Literal["higher", "lower", "zero"]
Kind = Literal["image", "set", "members", "change"]
Bounds = tuple[float | None, float | None]

UNIT: Bounds = (0.0, None)
SCORE: Bounds = (-1.0, 1.0)
ANY: Bounds = (None, None)


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """One metric: its id, how to read its values, where it comes from, and whether it runs here.

    ``direction`` says which values are better; ``zero`` means nearer to zero.
    ``range`` holds the smallest and largest value, None where there is no bound.
    ``perfect`` is the value of a prediction equal to the truth (used by skill scores).
    ``kind`` is ``image`` for one value per image pair, ``set`` for one value per set of images,
    ``members`` for ensembles, ``change`` where the context is needed as well.
    ``needs`` names the weights without which there is no value; ``rgb`` says that it sees red,
    green and blue only. ``ranked`` is False for what is conditioned on the truth: such values
    are shown, never used to order rows. ``published`` marks definitions kept to read older
    tables, faults included.
    """

    id: str
    direction: Direction
    range: Bounds
    unit: str
    source: str
    available: bool
    reason: str | None
    title: str
    kind: Kind
    perfect: float | None
    per_band: bool
    min_bands: int
    min_side: int
    needs: tuple[str, ...] = ()
    rgb: bool = False
    ranked: bool = True
    published: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A metric's record, the function ``module:function`` below rsbench.metrics, its options."""

    info: MetricInfo
    where: str
    options: dict[str, Any]


def entry(
    metric: str,
    direction: Direction,
    bounds: Bounds,
    unit: str,
    source: str,
    title: str,
    where: str,
    *,
    perfect: float | None,
    kind: Kind = "image",
    per_band: bool = True,
    min_bands: int = 1,
    min_side: int = 1,
    needs: tuple[str, ...] = (),
    rgb: bool = False,
    ranked: bool = True,
    published: bool = False,
    **options: Any,
) -> Entry:
    """Record a metric; ``options`` are passed to its function."""
    info = MetricInfo(
        metric, direction, bounds, unit, source, True, None, title, kind,
        perfect, per_band, min_bands, min_side, needs, rgb, ranked, published,
    )  # fmt: skip
    return Entry(info, where, options)
