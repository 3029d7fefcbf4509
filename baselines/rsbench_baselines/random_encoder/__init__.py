"""A random encoder with a discriminant of its tokens: what an architecture gives untrained."""

from rsbench import Card, PresetInfo
from rsbench_baselines._parity import PARITY

_PARAMETERS = 204_224

card = Card(
    name="random_encoder",
    task="segment",
    title="Linear discriminant analysis of the tokens of a vision transformer that is not trained",
    presets={
        "default": PresetInfo(
            parameters=_PARAMETERS, trainable=0, frozen=_PARAMETERS,
            note="the encoder of cross_scale at toy size, weights drawn by option seed",
        )
    },
    build="rsbench_baselines.random_encoder.model:build",
    citation="None: random weights",
    licence="Apache-2.0",
    multiple_of=4,
    fitted=True,
    parity=PARITY["random_encoder"],
)  # fmt: skip
