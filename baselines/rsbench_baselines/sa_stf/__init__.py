"""SA-STF: spatiotemporal fusion by residual diffusion with aligned, selected references.

J. Zhang, J. Qu and others, CVPR 2026. Sizes are in ``sizes``, which imports no torch.
"""

from rsbench import PresetInfo
from rsbench_baselines._card import fusion_card, preset, tiled
from rsbench_baselines.sa_stf.sizes import REASONS, SIZES

_NOTES = {
    "official": "computes and trains as the released program: gradients summed over queries, one "
    "offset per map, truncated schedule; training needs VGG-16",
    "paper": "follows the published equations with the native schedule to its end; training needs "
    "VGG-16",
    "fixed": "the released network with the native schedule and a first image that training has "
    "seen; no perceptual loss",
    "tiny": "three levels of 8 and 16 channels, 2 sampling steps, output added to the mean of the "
    "references; no perceptual loss",
    "taylor": "ablation of fixed: the deepest maps are fused by convolutions, no alignment loss",
    "taylor_tfa": "ablation of fixed: references are aligned and joined, no selection",
    "taylor_saf": "ablation of fixed: selection among references without alignment",
    "tfa_saf": "ablation of fixed: alignment and selection without diffusion, one pass",
}


def _preset(name: str) -> PresetInfo:
    size = SIZES[name]
    note = f"{_NOTES[name]}; counted at {size.bands} bands"
    tile, halo = (128, 16) if name == "tiny" else (256, 64)
    tiles = tiled(tile, halo, size.multiple_of)
    idle = {f"network.{head}": REASONS[head] for head in size.idle}
    return preset(size.parameters, note, card=tiles, idle=idle)


card = fusion_card(
    "sa_stf",
    title="SA-STF: residual diffusion with aligned and selected references",
    presets={name: _preset(name) for name in SIZES},
    default_preset="fixed",
    citation="J. Zhang, J. Qu and others. SA-STF. CVPR 2026",
    licence="Apache-2.0 (the authors' code: MIT)",
    tile=256,
    halo=64,
    multiple_of=16,
    references=2,
    # The selection compares features; where two are nearly equal, rounding decides.
    sampler_tolerance=1e-3,
    # The ablation's row "with TFA and SAF" is ambiguous, so no preset claims it.
    published=(
        ("paper", "sa-stf-cia", "SA-STF"),
        ("paper", "sa-stf-lgc", "SA-STF"),
        ("paper", "sa-stf-ahb", "SA-STF"),
        ("taylor", "sa-stf-lgc-ablation", "Taylor expansion"),
        ("taylor_tfa", "sa-stf-lgc-ablation", "with TFA"),
        ("tfa_saf", "sa-stf-lgc-ablation", "TFA and SAF only"),
    ),
)
