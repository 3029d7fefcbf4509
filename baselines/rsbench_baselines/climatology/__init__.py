"""Context median: the per-pixel median of the valid context, repeated at every lead."""

from rsbench import Card, PresetInfo
from rsbench_baselines._parity import FORMULA

card = Card(
    name="climatology",
    task="forecast",
    title="Context median: per-pixel median of the valid context",
    presets={"default": PresetInfo(parameters=0, trainable=0)},
    build="rsbench_baselines.climatology.model:build",
    citation="A. H. Murphy. Climatology, persistence, and their linear combination as standards "
    "of reference in skill scores. Weather and Forecasting 7, 1992",
    licence="Apache-2.0",
    parity=FORMULA,
    min_context=2,
)
