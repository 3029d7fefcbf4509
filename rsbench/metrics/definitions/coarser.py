"""Metrics of super-resolution, which need the ratio of pixel sizes."""

from __future__ import annotations

from rsbench.metrics.metric import UNIT, Metric

MAERTENS19 = "after Märtens et al. 2019, doi 10.1007/s42064-019-0059-8"

METRICS: tuple[Metric, ...] = (
    Metric("consistency.rmse@1", "lower", UNIT, "data", "arithmetic",
           "root mean squared error of area means on the pixels given",
           "rsbench.metrics.coarser:consistency_rmse", perfect=0.0, min_side=4, coarser=True),
    Metric("psnr.shift@1", "higher", (None, 100.0), "dB", MAERTENS19,
           "best PSNR over shifts of up to half a pixel given, less the mean error of each band",
           "rsbench.metrics.coarser:psnr_shift", perfect=100.0, min_side=4, coarser=True),
)  # fmt: skip
