"""Persistence: the last valid value of every pixel, repeated at every lead."""

from rsbench import Card, PresetInfo
from rsbench_baselines._parity import FORMULA

card = Card(
    name="persistence",
    task="forecast",
    title="Persistence: last valid value per pixel",
    presets={"default": PresetInfo(parameters=0, trainable=0)},
    build="rsbench_baselines.persistence.model:build",
    citation="World Meteorological Organization, Manual on the Global Data-processing and "
    "Forecasting System (WMO-No. 485): persistence as reference forecast",
    licence="Apache-2.0",
    parity=FORMULA,
)
