"""MCVD: diffusion over frames, conditioned by joined channels or in every normalisation."""

from collections.abc import Mapping

from rsbench import PresetInfo
from rsbench_baselines._card import REVISED, SAMPLER_TOLERANCE, preset, trained_card

_REPAIRED = (
    "draws the change since the last frame; a channel per frame that is 1 where it is valid; "
    "contexts of one to seven frames; DDIM in 50 steps; counted at 3 bands, 7 context frames; "
)
_TOY = (
    "draws the change since the last frame; mask channel; DDIM in 8 steps; width 8, four levels; "
    "counted at 3 bands, 1 context frame; "
)
_PAPER = (
    "3×128×128, one frame in, one out; DDPM in 100 steps and a last one "
    "at the wrong time label, as published; "
)
_JOINED = "frames joined to the noise"
_SPADE = "frames in every norm (SPADE)"

_SMALL: Mapping[str, object] = {
    "ngf": 32,
    "ch_mult": (1, 2, 2, 2),
    "num_res_blocks": 3,
    "n_head_channels": 64,
}
_BIG: Mapping[str, object] = {
    "ngf": 128,
    "ch_mult": (1, 1, 2, 3, 4),
    "num_res_blocks": 2,
    "n_head_channels": 128,
}
_WIDE: Mapping[str, object] = {**_BIG, "ngf": 192, "n_head_channels": 192, "spade_dim": 256}
_KTH: Mapping[str, object] = {
    "ngf": 96,
    "ch_mult": (1, 2, 3, 4),
    "num_res_blocks": 2,
    "n_head_channels": 96,
    "image_size": 64,
}
_TINY: Mapping[str, object] = {
    "ngf": 8,
    # The middle attends to all positions; with one level less it would take three times as long.
    "ch_mult": (1, 2, 2, 2),
    "num_res_blocks": 1,
    "n_head_channels": 8,
    "attn_resolutions": (),
}
_FEW: Mapping[str, object] = {"sampler": "ddim", "gain": 2.0, "subsample": 50}
_FEWEST: Mapping[str, object] = {"sampler": "ddim", "gain": 8.0, "subsample": 8}
_PUBLISHED: Mapping[str, object] = {"sampler": "ddpm", "subsample": 100, "denoise": True}


def _preset(
    count: int, note: str, options: Mapping[str, object], card: Mapping[str, object]
) -> PresetInfo:
    levels = options["ch_mult"]
    assert isinstance(levels, tuple)
    return preset(
        count, note, {**options, **REVISED}, {"multiple_of": 2 ** (len(levels) - 1), **card}
    )


def _paper(count: int, note: str, options: Mapping[str, object]) -> PresetInfo:
    return _preset(
        count, _PAPER + note, {**_PUBLISHED, **options}, {"min_context": 1, "max_context": 1}
    )


def _video(
    count: int, note: str, options: Mapping[str, object], frames: int, given: int
) -> PresetInfo:
    sizes = {"num_frames": frames, "num_frames_cond": given}
    return _preset(
        count,
        note + "; DDPM in 100 steps and a last one at the wrong time label, as published",
        {**_PUBLISHED, **options, **sizes},
        {"rollout": f"block:{frames}", "min_context": given, "max_context": given},
    )


card = trained_card(
    "mcvd",
    task="forecast",
    title="MCVD: conditional video diffusion, frames joined or in every norm, DDPM or DDIM",
    presets={
        "tiny": _preset(145_203, _TOY + _JOINED, {**_TINY, **_FEWEST}, {}),
        "fixed": _preset(4_259_075, _REPAIRED + _JOINED, {**_SMALL, **_FEW}, {}),
        "fixed_big": _preset(116_549_379, _REPAIRED + _JOINED, {**_BIG, **_FEW}, {}),
        "fixed_spade": _preset(
            18_126_531, _REPAIRED + _SPADE, {**_SMALL, **_FEW, "spade_dim": 128}, {}
        ),
        "paper": _paper(4_251_875, _JOINED, _SMALL),
        "paper_big": _paper(116_520_579, _JOINED, _BIG),
        "paper_spade": _paper(16_024_131, _SPADE, {**_SMALL, "spade_dim": 128}),
        "cityscapes": _video(
            4_254_470, "Cityscapes 3×128×128, two in, two out; " + _JOINED, _SMALL, 2, 2
        ),
        "cityscapes_big": _video(
            116_551_695, "Cityscapes 3×128×128, two in, five out; " + _JOINED, _BIG, 5, 2
        ),
        "cityscapes_big_spade": _video(
            432_180_623, "Cityscapes 3×128×128, two in, five out; " + _SPADE, _WIDE, 5, 2
        ),
        "kth": _video(62_831_141, "KTH 1×64×64, ten in, five out; " + _JOINED, _KTH, 5, 10),
    },
    default_preset="fixed",
    citation="V. Voleti, A. Jolicoeur-Martineau, C. Pal. MCVD: Masked conditional video diffusion "
    "for prediction, generation, and interpolation. NeurIPS 2022",
    licence="Apache-2.0 (the authors' code: MIT)",
    rollout="step",
    max_context=7,
    sampler_tolerance=SAMPLER_TOLERANCE,
    # The paper does not state the size of its network.
    published=(("paper", "sat-jepa-diff", "MCVD"),),
)
