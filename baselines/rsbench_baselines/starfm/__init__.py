"""STARFM: the weighted mean of coarse changes of similar pixels around."""

from rsbench import Card, PresetInfo
from rsbench_baselines._parity import PARITY

card = Card(
    name="starfm",
    task="fusion",
    title="STARFM: spatial and temporal adaptive reflectance fusion, one or two pairs",
    presets={
        "default": PresetInfo(
            parameters=0,
            trainable=0,
            note="window 31, 4 classes, distance factor 5 pixels, uncertainty 0.005 of the value "
            "range for both sensors, both filters must hold, weights 1/((1e4·S+1)(1e4·T+1)D) "
            "with S and T as shares of the value range",
        ),
        "paper": PresetInfo(
            parameters=0,
            trainable=0,
            note="window 51 and distance factor 25 pixels: 1500 m and 750 m at 30 m",
            options={"half": 25, "reach": 25.0},
        ),
        "compiled": PresetInfo(
            parameters=0,
            trainable=0,
            note="default, as a loop over pixels that numba compiles, on CPUs; needs "
            "rsbench[compiled]",
            options={"engine": "compiled"},
        ),
    },
    build="rsbench_baselines.starfm.model:build",
    citation="Gao, Masek, Schwaller and Hall 2006, On the blending of the Landsat and MODIS "
    "surface reflectance, IEEE TGRS 44(8), doi 10.1109/TGRS.2006.872081",
    licence="Apache-2.0",
    parity=PARITY["starfm"],
    min_context=1,
    max_context=2,
)
