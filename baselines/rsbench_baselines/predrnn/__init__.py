"""PredRNN V1 and V2: recurrent cells with a memory shared in a zigzag."""

from collections.abc import Mapping
from typing import Any

from rsbench import Card, PresetInfo

_REPAIRED = (
    "residual over the latest frame; mask channel; contexts of one to seven frames; "
    "the state lasts through a rollout; counted at 3 bands; "
)
_PAPER = (
    "3×128×128 p4, one frame in, one out; the state restarts at every lead, since one step "
    "trains no weight that reads it"
)
_SECOND = {"adapter": "the decoupling loss alone reads through it"}
_UNREAD = {
    **{f"cell_list.{i}.conv_h": "reads H, which is zero at the only step" for i in range(4)},
    "cell_list.0.conv_m": "reads M, which is zero at the only step",
}
_LARGE: dict[str, object] = {"num_hidden": (128, 128, 128, 128), "filter_size": 5}
_SMALL: dict[str, object] = {"num_hidden": (24, 24), "filter_size": 3, "patch_size": 4}
_UP_TO_SEVEN = {"max_context": 7}
_ONE = {"min_context": 1, "max_context": 1}
_TEN = {"min_context": 10, "max_context": 10}


def _preset(
    count: int,
    note: str,
    options: Mapping[str, object],
    card: Mapping[str, object],
    *,
    patch_size: int = 4,
    beta: float | None = None,
    idle: Mapping[str, str] | None = None,
) -> PresetInfo:
    version = {} if beta is None else {"decouple_beta": beta}
    return PresetInfo(
        count,
        count,
        0,
        note,
        {"patch_size": patch_size, **options, **version},
        {**card, "multiple_of": patch_size},
        {**(idle or {}), **(_SECOND if version else {})},
    )


def _row(
    preset: str, dataset: str, values: Mapping[str, float], source: str
) -> tuple[Mapping[str, Any], ...]:
    return tuple(
        {"preset": preset, "dataset": dataset, "metric": metric, "value": value, "source": source}
        for metric, value in values.items()
    )


_OPENSTL = "C. Tan et al., OpenSTL, NeurIPS 2023 Datasets and Benchmarks, arXiv 2306.11249"
_SJD = "Sat-JEPA-Diff, arXiv 2603.13943, Table 1"
# Names without a version are of definitions that have no id here: PSNR and LPIPS by frame, an
# LPIPS and an FID whose networks the paper does not name; no row is comparable.
_PUBLISHED = (
    *_row("mmnist", "Moving MNIST 10→10, 200 epochs",
          {"mse.openstl@1": 23.97, "mae.openstl@1": 72.82, "ssim.openstl@1": 0.9462,
           "psnr-frame": 23.28}, _OPENSTL),
    *_row("mmnist_v2", "Moving MNIST 10→10, 200 epochs",
          {"mse.openstl@1": 24.13, "mae.openstl@1": 73.73, "ssim.openstl@1": 0.9453,
           "psnr-frame": 23.21}, _OPENSTL),
    *_row("kitti", "KittiCaltech 10→1, 100 epochs",
          {"mse.openstl@1": 130.4, "ssim.openstl@1": 0.9374, "psnr-frame": 27.81,
           "lpips.alex-frame": 0.0740}, _OPENSTL),
    *_row("kitti_v2", "KittiCaltech 10→1, 100 epochs",
          {"mse.openstl@1": 147.8, "ssim.openstl@1": 0.9330, "psnr-frame": 27.12,
           "lpips.alex-frame": 0.0892}, _OPENSTL),
    *_row("kth", "KTH 10→20, 100 epochs",
          {"mse.openstl@1": 41.07, "ssim.openstl@1": 0.9097, "psnr-frame": 27.95}, _OPENSTL),
    *_row("kth_v2", "KTH 10→20, 100 epochs",
          {"mse.openstl@1": 39.57, "ssim.openstl@1": 0.9099, "psnr-frame": 28.01}, _OPENSTL),
    *_row("paper", "Sentinel-2 annual RGB, published split (leaks), one year ahead",
          {"mae.clip@1": 0.0117, "mse.clip@1": 0.0005, "psnr.clip@1": 38.38, "ssim.zero@1": 0.9476,
           "gssim.sobel3-zero@1": 0.7836, "lpips": 0.0726, "fid": 9.9720}, _SJD),
)  # fmt: skip

card = Card(
    name="predrnn",
    task="forecast",
    title="PredRNN: spatiotemporal LSTMs with a shared memory, V1 and V2",
    presets={
        "tiny": _preset(229_824, _REPAIRED + "V1, 24/24, k3 p4", _SMALL, _UP_TO_SEVEN),
        "tiny_v2": _preset(
            230_400, _REPAIRED + "V2, 24/24, k3 p4", _SMALL, _UP_TO_SEVEN, beta=0.01
        ),
        "fixed": _preset(
            24_934_400, _REPAIRED + "V2, 4×128, k5 p4", _LARGE, _UP_TO_SEVEN, beta=0.01
        ),
        "fixed_v1": _preset(24_918_016, _REPAIRED + "V1, 4×128, k5 p4", _LARGE, _UP_TO_SEVEN),
        "paper": _preset(24_559_616, _PAPER + "; V1", _LARGE, _ONE, idle=_UNREAD),
        "paper_v2": _preset(
            24_576_000, _PAPER + "; V2", _LARGE, _ONE, beta=0.1, idle=_UNREAD
        ),
        "mmnist": _preset(
            23_838_720, "Moving MNIST 1×64×64 p4, ten in, ten out; V1", _LARGE, _TEN
        ),
        "mmnist_v2": _preset(
            23_855_104, "Moving MNIST 1×64×64 p4, ten in, ten out; V2", _LARGE, _TEN, beta=0.1
        ),
        "kitti": _preset(
            23_748_608, "KittiCaltech 3×128×160 p2, ten in, one out; V1", _LARGE, _TEN,
            patch_size=2,
        ),
        "kitti_v2": _preset(
            23_764_992, "KittiCaltech 3×128×160 p2, ten in, one out; V2", _LARGE, _TEN,
            patch_size=2, beta=0.1,
        ),
        "kth": _preset(
            23_568_384, "KTH 1×128×128 p2, ten in, twenty out; V1", _LARGE, _TEN, patch_size=2
        ),
        "kth_v2": _preset(
            23_584_768, "KTH 1×128×128 p2, ten in, twenty out; V2", _LARGE, _TEN,
            patch_size=2, beta=0.01,
        ),
    },
    default_preset="fixed",
    build="rsbench_baselines.predrnn.model:build",
    citation="Y. Wang, M. Long, J. Wang, Z. Gao, P. S. Yu. PredRNN: Recurrent neural networks for "
    "predictive learning using spatiotemporal LSTMs. NeurIPS 2017; Y. Wang et al. PredRNN: A "
    "recurrent neural network for spatiotemporal predictive learning. IEEE TPAMI 2022",
    licence="Apache-2.0 (the authors' code states no licence)",
    rollout="step",
    multiple_of=4,
    trainable=True,
    published=_PUBLISHED,
)  # fmt: skip
