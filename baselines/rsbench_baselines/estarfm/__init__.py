"""ESTARFM: two pairs, conversion coefficients, and similar pixels in both pairs."""

from rsbench import Card, PresetInfo
from rsbench_baselines._parity import PARITY

card = Card(
    name="estarfm",
    task="fusion",
    title="ESTARFM: enhanced spatial and temporal adaptive reflectance fusion, two pairs",
    presets={
        "default": PresetInfo(
            parameters=0,
            trainable=0,
            note="window 51, 4 classes, all similar pixels, conversion coefficient by regression "
            "over the similar pixels of both dates, without a significance test",
        ),
        "similar20": PresetInfo(
            parameters=0,
            trainable=0,
            note="only the 20 most similar pixels of a window, without a significance test",
            options={"similar": 20},
        ),
        "compiled": PresetInfo(
            parameters=0,
            trainable=0,
            note="default, as a loop over pixels that numba compiles, on CPUs; needs "
            "rsbench[compiled]",
            options={"engine": "compiled"},
        ),
        "authors": PresetInfo(
            parameters=0,
            trainable=0,
            note="as the authors' fast version: the 20 most similar pixels, and a conversion "
            "coefficient only where the F-test of its regression has p ≤ 0.05",
            options={"similar": 20, "significant": 0.05},
        ),
    },
    build="rsbench_baselines.estarfm.model:build",
    citation="Zhu, Chen, Gao, Chen and Masek 2010, An enhanced spatial and temporal adaptive "
    "reflectance fusion model for complex heterogeneous regions, Remote Sensing of Environment "
    "114(11), doi 10.1016/j.rse.2010.05.032",
    licence="Apache-2.0",
    parity=PARITY["estarfm"],
    min_context=2,
    max_context=2,
    published=(("default", "sa-stf-cia", "ESTARFM"),),
)
