"""Questions to the registry of metrics, also about the ids that tables derive from a metric.

Tables derive ``skill.ID``, skill over the best reference model, and ``share.ID``, the share of
regions where that skill is above 0.
"""

from __future__ import annotations

from collections.abc import Iterable

from rsbench.metrics.metric import Axis, Direction, Metric, Placement
from rsbench.metrics.registry import definition, metric_info

SKILL, SHARE = "skill.", "share."
LAST = Placement().order
SELECTION = "mse@1"
"""Metric that selects the best reference model on validation; every table holds it."""


CONFUSION = "rsbench.metrics.pooled:confusion"
"""Statistic of the metrics of class maps."""


def needs_probabilities(metric: str) -> bool:
    """Say whether a metric of classes is computed from probabilities, not from the confusion."""
    return definition(metric).statistic != CONFUSION


OF_CASE = ("nearest-training", "layout", "text-image")
"""Features of sets that need training images or conditions of a store beside the images."""


def needs_case(metric: str) -> str | None:
    """Return the feature of :data:`OF_CASE` that a metric compares; None where it needs none."""
    features = definition(metric).features
    return features if features in OF_CASE else None


def perfect_values() -> dict[str, float]:
    """Return {id: perfect value} of the metrics whose skill tables hold, in report order."""
    found = {m.id: m.perfect for m in metric_info(probe=False) if m.skill}
    return {name: float(found[name] or 0.0) for name in in_report_order(found)}


def headline() -> tuple[str, ...]:
    """Return the ids that the short table on the terminal shows."""
    return tuple(m.id for m in metric_info(probe=False) if m.placement.headline)


def on_axis(axis: Axis) -> tuple[str, ...]:
    """Return the ids that can represent an axis of the perception–distortion plane, best first."""
    found = [m for m in metric_info(probe=False) if m.placement.axis == axis]
    return tuple(m.id for m in sorted(found, key=lambda m: m.placement.axis_order))


def needing(weights: str) -> tuple[str, ...]:
    """Return the ids of the metrics that need some weights."""
    return tuple(m.id for m in metric_info(probe=False) if weights in m.needs)


def in_report_order(names: Iterable[str]) -> list[str]:
    """Return ids with skill first, then by the position that their definitions state."""
    return sorted((str(name) for name in names), key=_position)


def _position(name: str) -> tuple[bool, int, str]:
    order = LAST if name.startswith(SHARE) else base(name).placement.order
    return not name.startswith(SKILL), order, name


def base(metric: str) -> Metric:
    """Return the definition behind an id or a derived id.

    Raises:
        UnknownName: if no installed package defines it.
    """
    return definition(metric.removeprefix(SKILL).removeprefix(SHARE))


def derived(metric: str) -> bool:
    """Say whether an id is derived from a metric."""
    return metric.startswith((SKILL, SHARE))


def direction(metric: str) -> Direction:
    """Say which values of an id or a derived id are better."""
    return "higher" if derived(metric) else definition(metric).direction
