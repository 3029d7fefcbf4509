"""SimVP v1 (IncepU) and v2 (gSTA)."""

from rsbench import PresetInfo
from rsbench_baselines._card import preset, trained_card

_REPAIRED = (
    "residual over the last valid frame; mask channel; contexts of one to seven frames, "
    "right-aligned; one output frame from all context frames; "
)
_ONE = {"rollout": "step", "min_context": 1, "max_context": 1, "multiple_of": 4}
_TEN = {"min_context": 10, "max_context": 10}


def _preset(
    count: int, note: str, card: dict[str, object] | None = None, **options: object
) -> PresetInfo:
    return preset(count, note, options, card)


_PUBLISHED = (
    ("mmnist", "openstl-moving-mnist", "SimVP v2 (gSTA), 200 epochs"),
    ("mmnist", "openstl-moving-mnist", "SimVP v2 (gSTA), 2000 epochs"),
    ("incepu", "openstl-moving-mnist", "SimVP v1 (IncepU), 200 epochs"),
    ("incepu", "openstl-moving-mnist", "SimVP v1 (IncepU), 2000 epochs"),
    ("kitti", "openstl-kitticaltech", "SimVP v2"),
    ("paper", "sat-jepa-diff", "SimVP v2"),
)

card = trained_card(
    "simvp",
    task="forecast",
    title="SimVP: convolutional video prediction, v1 (IncepU) and v2 (gSTA)",
    presets={
        "tiny": _preset(
            37_411,
            _REPAIRED + "gSTA 16/32/2/2; counted at 3 bands, 1 context frame",
            {"multiple_of": 2},
            hid_S=16,
            hid_T=32,
            N_S=2,
            N_T=2,
            mlp_ratio=4.0,
        ),
        "tiny_incepu": _preset(
            64_099,
            _REPAIRED + "IncepU 16/32/2/2; counted at 3 bands, 1 context frame",
            {"multiple_of": 2},
            hid_S=16,
            hid_T=32,
            N_S=2,
            N_T=2,
            model_type="incepu",
        ),
        "fixed": _preset(
            14_196_163,
            _REPAIRED + "gSTA 64/256/4/8; counted at 3 bands, 7 context frames",
            {"multiple_of": 4},
            hid_S=64,
            hid_T=256,
            N_S=4,
            N_T=8,
        ),
        "paper": _preset(
            37_969_667,
            "3×128×128, one frame in, one out; gSTA 512/8/4 (hid_T/N_T/N_S)",
            _ONE,
            hid_S=64,
            hid_T=512,
            N_S=4,
            N_T=8,
        ),
        "paper_256": _preset(
            10_097_923, "3×128×128, one in, one out; gSTA 256/8/4", _ONE, hid_T=256, N_S=4, N_T=8
        ),
        "paper_256_6": _preset(
            7_127_875, "3×128×128, one in, one out; gSTA 256/6/2", _ONE, hid_T=256, N_S=2, N_T=6
        ),
        "mmnist": _preset(
            46_769_665,
            "Moving MNIST 1×64×64, ten in, ten out; gSTA 512/8/4",
            {**_TEN, "rollout": "block:10", "multiple_of": 4},
            hid_T=512,
            N_S=4,
            N_T=8,
            learning_rate=1e-3,
        ),
        "incepu": _preset(
            57_946_113,
            "Moving MNIST 1×64×64, ten in, ten out; IncepU 512/8/4",
            {**_TEN, "rollout": "block:10", "multiple_of": 4},
            hid_T=512,
            N_S=4,
            N_T=8,
            model_type="incepu",
        ),
        "kitti": _preset(
            15_634_243,
            "KittiCaltech 3×128×160, ten in, the first of ten outputs; gSTA 256/6/2",
            {**_TEN, "rollout": "step", "multiple_of": 2},
            hid_T=256,
            N_S=2,
            N_T=6,
            drop_path=0.2,
            learning_rate=5e-3,
        ),
    },
    default_preset="fixed",
    citation="Z. Gao, C. Tan, L. Wu, S. Z. Li. SimVP: Simpler yet better video prediction. CVPR "
    "2022; C. Tan, Z. Gao, S. Li, S. Z. Li. SimVP: Towards simple yet powerful spatiotemporal "
    "predictive learning. arXiv 2211.12509",
    licence="Apache-2.0 (the authors' code: Apache-2.0)",
    rollout="step",
    multiple_of=4,
    max_context=7,
    published=_PUBLISHED,
)
