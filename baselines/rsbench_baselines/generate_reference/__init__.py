"""Reference model of generation: the mean image of every class."""

from rsbench import Card, PresetInfo
from rsbench_baselines._parity import FORMULA

class_mean = Card(
    name="class_mean",
    task="generate",
    title="The mean of each class in the training split, painted on the map of classes",
    presets={"default": PresetInfo(parameters=0, trainable=0)},
    build="rsbench_baselines.generate_reference.model:class_mean",
    citation="None: a mean",
    licence="Apache-2.0",
    parity=FORMULA,
    fitted=True,
)
