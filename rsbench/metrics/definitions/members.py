"""Metrics of ensembles."""

from __future__ import annotations

from rsbench.metrics.metric import ANY, Metric

METRICS: tuple[Metric, ...] = (
    Metric("crps.fair@1", "lower", ANY, "data", "Ferro 2014, doi 10.1002/qj.2270",
           "fair continuous ranked probability score of all members",
           "rsbench.metrics.ensemble:crps", perfect=0.0, kind="members"),
    Metric("spread.skill@1", "zero", ANY, "log10",
           "Fortin et al. 2014, doi 10.1175/JHM-D-14-0008.1",
           "log10 of ensemble spread over error of the mean",
           "rsbench.metrics.ensemble:spread_skill", perfect=None, kind="members"),
    Metric("rank.deviation@1", "lower", (0.0, 2.0), "1",
           "Delle Monache et al. 2006, doi 10.1029/2005JD006917",
           "deviation of the rank histogram from a flat one",
           "rsbench.metrics.ensemble:rank_deviation", perfect=None, kind="members",
           per_band=False),
)  # fmt: skip
