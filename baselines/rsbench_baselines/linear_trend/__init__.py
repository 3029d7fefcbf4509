"""Linear trend: per-pixel least squares over the valid context, extrapolated."""

from rsbench import Card, PresetInfo
from rsbench_baselines._parity import FORMULA

card = Card(
    name="linear_trend",
    task="forecast",
    title="Linear trend: per-pixel least squares over the valid context",
    presets={"default": PresetInfo(parameters=0, trainable=0)},
    build="rsbench_baselines.linear_trend.model:build",
    citation="A. M. Legendre. Nouvelles méthodes pour la détermination des orbites des comètes, "
    "1805 (least squares)",
    licence="Apache-2.0",
    parity=FORMULA,
    min_context=3,
)
