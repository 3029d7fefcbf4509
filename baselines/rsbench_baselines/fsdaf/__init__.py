"""FSDAF: change by class, a spatial prediction, and residuals shared between both."""

from rsbench import Card, PresetInfo
from rsbench_baselines._parity import PARITY

card = Card(
    name="fsdaf",
    task="fusion",
    title="FSDAF: flexible spatiotemporal data fusion, one pair",
    presets={
        "default": PresetInfo(
            parameters=0,
            trainable=0,
            note="window 41, 20 similar pixels, 4 classes by k-means (the publication has "
            "ISODATA), 100 purest coarse pixels per class, thin-plate spline",
        ),
    },
    build="rsbench_baselines.fsdaf.model:build",
    citation="Zhu, Helmer, Gao, Liu, Chen and Lefsky 2016, A flexible spatiotemporal method for "
    "fusing satellite images with different resolutions, Remote Sensing of Environment 172, "
    "doi 10.1016/j.rse.2015.11.016",
    licence="Apache-2.0",
    parity=PARITY["fsdaf"],
    min_context=1,
    max_context=1,
)
