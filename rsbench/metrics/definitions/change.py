"""Metrics conditioned on where the truth changed since the last context frame."""

from __future__ import annotations

from rsbench.metrics.metric import UNIT, Bounds, Direction, Metric

SHARE: Bounds = (0.0, 1.0)


def _error(metric: str, title: str, function: str) -> Metric:
    return Metric(
        metric, "lower", UNIT, "data", "this project", title,
        f"rsbench.metrics.change:{function}", perfect=0.0, kind="change", ranked=False,
    )  # fmt: skip


def _share(metric: str, direction: Direction, title: str, function: str) -> Metric:
    return Metric(
        metric, direction, SHARE, "1", "this project", title,
        f"rsbench.metrics.change:{function}", perfect=1.0 if direction == "higher" else 0.0,
        kind="change", per_band=False, ranked=False,
    )  # fmt: skip


METRICS: tuple[Metric, ...] = (
    _error("rmse.changed@1",
           "error where the truth changed since the last context frame or first reference",
           "rmse_changed"),
    _error("rmse.unchanged@1", "error where the truth did not change", "rmse_unchanged"),
    _share("change.hit@1", "higher", "share of changed pixels predicted to change", "hit"),
    _share("change.false@1", "lower", "share of unchanged pixels predicted to change",
           "false_change"),
    _share("change.csi@1", "higher", "critical success index of change", "csi"),
)  # fmt: skip
