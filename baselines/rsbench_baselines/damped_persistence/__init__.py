"""Damped persistence: the last value, drawn towards the training mean."""

from rsbench import Card, PresetInfo
from rsbench_baselines._parity import FORMULA

card = Card(
    name="damped_persistence",
    task="forecast",
    title="Damped persistence: x̂ = µ + a(lead)·(x_last − µ) per band, fitted on the training split",
    presets={
        "default": PresetInfo(
            parameters=0,
            trainable=0,
            note="fitted in closed form: one mean per band, one coefficient per band and lead",
        )
    },
    build="rsbench_baselines.damped_persistence.model:build",
    citation="A. H. Murphy. Climatology, persistence, and their linear combination as standards "
    "of reference in skill scores. Weather and Forecasting 7, 1992",
    licence="Apache-2.0",
    parity=FORMULA,
    fitted=True,
)
