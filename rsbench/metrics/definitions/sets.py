"""Metrics of two sets of images."""

from __future__ import annotations

from typing import Any

from rsbench.metrics.metric import ANY, UNIT, Bounds, Metric, Placement

HEUSEL17 = "Heusel et al. 2017, arXiv 1706.08500"
GRETTON12 = "Gretton et al. 2012, Journal of Machine Learning Research 13"
BINKOWSKI18 = "Bińkowski et al. 2018, arXiv 1801.01401"
KYNKAANNIEMI19 = "Kynkäänniemi et al. 2019, arXiv 1904.06991"
SHARE: Bounds = (0.0, 1.0)
TEXTURE = "spectral and texture features of every band, standardised by the truth"


def _frechet(tap: int) -> Metric:
    axis = Placement(axis="perception", axis_order=3) if tap == 2048 else Placement()
    return Metric(
        f"fid.inception{tap}@1", "lower", UNIT, "1", HEUSEL17,
        f"Fréchet distance of {tap} Inception features of display@1 pictures",
        "rsbench.metrics.frechet:frechet", perfect=0.0, kind="set", per_band=False, min_bands=3,
        needs=("inception",), rgb=True, clips="display", features=f"inception{tap}", placement=axis,
    )  # fmt: skip


def _manifold(name: str, title: str) -> Metric:
    return Metric(
        f"{name}.k3@1", "higher", SHARE, "1", KYNKAANNIEMI19, f"{title}, of {TEXTURE}",
        f"rsbench.metrics.manifold:{name}", perfect=1.0, kind="set", per_band=False, min_side=4,
        features="texture", options={"k": 3},
    )  # fmt: skip


def _of_case(metric: str, title: str, function: str, features: str, **fields: Any) -> Metric:
    """Return a metric whose features need the store or the conditions beside the images."""
    defaults = {"direction": "higher", "range": SHARE, "source": "this project", "perfect": None}
    return Metric(
        metric, unit="1", title=title, function=f"rsbench.metrics.copies:{function}", kind="set",
        per_band=False, features=features, **{**defaults, **fields},
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
    _manifold("precision", "share of predictions inside the manifold of 3 nearest truths"),
    _manifold("recall", "share of truths inside the manifold of 3 nearest predictions"),
    _of_case("memorised@1", "share of images nearer to one training region than 99 % of truths",
             "memorised", "nearest-training", direction="lower", perfect=0.0,
             source="after Gu et al. 2023, arXiv 2310.02664"),
    _of_case("layout.miou@1", "mean IoU of the map given and the classes that a probe reads",
             "layout", "layout"),
    _of_case("text.image@1", "cosine of CLIP embeddings of image and text", "mean", "text-image",
             range=(-1.0, 1.0), rgb=True, min_bands=3, ready="rsbench.metrics.clip:absence",
             source="Hessel et al. 2021, arXiv 2104.08718, without its factor of 2.5"),
)  # fmt: skip
