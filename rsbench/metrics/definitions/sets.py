"""Metrics of two sets of images."""

from __future__ import annotations

from rsbench.metrics.metric import ANY, UNIT, Metric, Placement

HEUSEL17 = "Heusel et al. 2017, arXiv 1706.08500"
GRETTON12 = "Gretton et al. 2012, Journal of Machine Learning Research 13"
BINKOWSKI18 = "Bińkowski et al. 2018, arXiv 1801.01401"
TEXTURE = "spectral and texture features of every band, standardised by the truth"


def _frechet(tap: int) -> Metric:
    axis = Placement(axis="perception", axis_order=3) if tap == 2048 else Placement()
    return Metric(
        f"fid.inception{tap}@1", "lower", UNIT, "1", HEUSEL17,
        f"Fréchet distance of {tap} Inception features of display@1 pictures",
        "rsbench.metrics.frechet:frechet", perfect=0.0, kind="set", per_band=False, min_bands=3,
        needs=("inception",), rgb=True, clips="display", features=f"inception{tap}", placement=axis,
    )  # fmt: skip


METRICS: tuple[Metric, ...] = (
    *(_frechet(tap) for tap in (64, 192, 768, 2048)),
    Metric("kid.inception2048@1", "lower", ANY, "1", BINKOWSKI18,
           "unbiased polynomial MMD² of Inception features, all pairs",
           "rsbench.metrics.frechet:polynomial_mmd", perfect=0.0, kind="set", per_band=False,
           min_bands=3, needs=("inception",), rgb=True, clips="display", features="inception2048"),
    Metric("mmd.rbf@1", "lower", ANY, "1", GRETTON12,
           f"unbiased MMD² with a Gaussian kernel of {TEXTURE}",
           "rsbench.metrics.frechet:rbf_mmd", perfect=0.0, kind="set", per_band=False, min_side=4,
           features="texture", placement=Placement(axis="perception", axis_order=5)),
    Metric("fd.texture@1", "lower", UNIT, "1", "this project", f"Fréchet distance of {TEXTURE}",
           "rsbench.metrics.frechet:texture_frechet", perfect=0.0, kind="set", per_band=False,
           min_side=4, features="texture", placement=Placement(axis="perception", axis_order=4)),
)  # fmt: skip
