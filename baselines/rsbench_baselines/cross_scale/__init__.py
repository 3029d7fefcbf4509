"""Cross-scale pretraining: I-JEPA or LatentMIM with the spatial-affinity loss."""

from collections.abc import Iterator
from typing import Any

from rsbench import PresetInfo
from rsbench_baselines._card import trained_card
from rsbench_baselines.cross_scale.options import VARIANTS, Pretraining

_PARAMETERS = {
    ("ijepa", "tiny"): 267_168, ("ijepa", "paper"): 43_186_176,
    ("latentmim", "tiny"): 446_080, ("latentmim", "paper"): 54_639_744,
}  # fmt: skip
_IDLE = {
    "ijepa": {"base.predictor.": "predicts tokens, for the loss of pretraining only"},
    "latentmim": {
        "base.projector.": "maps tokens for the loss of pretraining only",
        "base.decoder.": "predicts tokens, for the loss of pretraining only",
    },
}  # fmt: skip
_TILES = {"tiny": {"tile": 32, "multiple_of": 4}, "paper": {"tile": 128, "multiple_of": 8}}
_NOTES = {
    "mr": "without finer images",
    "hr": "pretrained on the finer images alone, resized to the input of the others",
    "sa": "with the affinity to a teacher that reads the finer images",
    "sa_interp": "as sa, the teacher reading the enlarged image itself: a control",
    "sa_mse": "as sa, with the mean squared difference of tokens in place of their Gram matrices",
    "sa_block": "as sa, on a rectangle of tokens of its own",
    "mr_fine": "without finer images, on twice as many tokens a side: a control",
    "random": "the encoder as it is drawn, without pretraining: a control",
}  # fmt: skip


def _presets() -> Iterator[tuple[str, PresetInfo]]:
    for (base, scale), count in _PARAMETERS.items():
        for name, choices in VARIANTS.items():
            yield f"{scale}_{base}_{name}", _preset(base, scale, name, choices, count)
    for scale in ("tiny", "paper"):
        count = _PARAMETERS["ijepa", scale]
        yield f"{scale}_random", _preset("ijepa", scale, "random", {}, count)


def _preset(base: str, scale: str, name: str, choices: Any, count: int) -> PresetInfo:
    stages = "random" if name == "random" else f"{scale}_{base}"
    options = {"scale": scale, "base": base, "stages": stages, **choices}
    options |= {"finer": True} if name == "mr_fine" else {}
    taught = Pretraining(**{"base": base, **choices}).needs_hr
    size = "as published" if scale == "paper" else "toy size"
    return PresetInfo(
        count, count, note=f"{base}, {size}: {_NOTES[name]}", options=options,
        card={"taught": taught, **_TILES[scale]}, idle=_IDLE[base],
    )  # fmt: skip


card = trained_card(
    "cross_scale",
    task="segment",
    title="Cross-scale pretraining: I-JEPA or LatentMIM with spatial affinity to finer images",
    presets=dict(_presets()),
    citation=(
        "J. G. Waithaka et al., arXiv 2601.12964 (2026); M. Assran et al., CVPR 2023, arXiv "
        "2301.08243; Y. Wei et al., ECCV 2024, arXiv 2407.15837"
    ),
    licence="Apache-2.0 (written from the papers and from descriptions of the programs)",
    default_preset="tiny_ijepa_sa",
    shared=("head", "freeze", "classes", "probe_steps"),
)
