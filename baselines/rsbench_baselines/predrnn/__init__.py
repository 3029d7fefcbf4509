"""PredRNN V1 and V2: recurrent cells with a memory shared in a zigzag."""

from collections.abc import Mapping

from rsbench import PresetInfo
from rsbench_baselines._card import preset, trained_card

_REPAIRED = (
    "residual over the latest frame; mask channel; contexts of one to seven frames; "
    "the state is kept through a rollout; counted at 3 bands; "
)
_PAPER = (
    "3×128×128 p4, one frame in, one out; the state is reset at every lead time, because one step "
    "trains no weight that depends on it"
)
_SECOND = {"adapter": "used by the decoupling loss only"}
_UNREAD = {
    **{f"cell_list.{i}.conv_h": "its input H is zero at the only step" for i in range(4)},
    "cell_list.0.conv_m": "its input M is zero at the only step",
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
    return preset(
        count,
        note,
        {"patch_size": patch_size, **options, **version},
        {**card, "multiple_of": patch_size},
        {**(idle or {}), **(_SECOND if version else {})},
    )


_PUBLISHED = (
    ("mmnist", "openstl-moving-mnist", "PredRNN, 200 epochs"),
    ("mmnist", "openstl-moving-mnist", "PredRNN, 2000 epochs"),
    ("mmnist_v2", "openstl-moving-mnist", "PredRNN-V2, 200 epochs"),
    ("mmnist_v2", "openstl-moving-mnist", "PredRNN-V2, 2000 epochs"),
    ("kitti", "openstl-kitticaltech", "PredRNN"),
    ("kitti_v2", "openstl-kitticaltech", "PredRNN-V2"),
    ("kth", "openstl-kth", "PredRNN"),
    ("kth_v2", "openstl-kth", "PredRNN-V2"),
    ("paper", "sat-jepa-diff", "PredRNN"),
)

card = trained_card(
    "predrnn",
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
    citation="Y. Wang, M. Long, J. Wang, Z. Gao, P. S. Yu. PredRNN: Recurrent neural networks for "
    "predictive learning using spatiotemporal LSTMs. NeurIPS 2017; Y. Wang et al. PredRNN: A "
    "recurrent neural network for spatiotemporal predictive learning. IEEE TPAMI 2022",
    licence="Apache-2.0 (the authors' code states no licence)",
    rollout="step",
    multiple_of=4,
    published=_PUBLISHED,
)  # fmt: skip
