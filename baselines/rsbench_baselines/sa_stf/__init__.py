"""SA-STF: spatiotemporal fusion by residual diffusion with aligned, selected references.

J. Zhang, J. Qu and others, CVPR 2026. Sizes stand in ``sizes``, free of torch.
"""

from rsbench import Card, PresetInfo
from rsbench_baselines.sa_stf.sizes import REASONS, SIZES

_NOTES = {
    "official": "as the released program computes and trains: slopes summed over queries, one "
    "offset per map, truncated schedule; its training needs VGG-16",
    "paper": "as the equations read, native schedule to its end; its training needs VGG-16",
    "fixed": "the released network with the native schedule and a start that training has seen; "
    "no perceptual loss",
    "tiny": "three levels of 8 and 16 channels, 2 sampling steps, answers added to the mean of the "
    "references; no perceptual loss",
    "taylor": "ablation of fixed: the deepest maps fused by convolutions, no alignment loss",
    "taylor_tfa": "ablation of fixed: references aligned and joined, no selection",
    "taylor_saf": "ablation of fixed: selection among references taken as aligned",
    "tfa_saf": "ablation of fixed: alignment and selection without diffusion, one pass",
}


def _preset(name: str) -> PresetInfo:
    size = SIZES[name]
    note = f"{_NOTES[name]}; counted at {size.bands} bands"
    idle = {f"network.{head}": REASONS[head] for head in size.idle}
    tile = 128 if name == "tiny" else 256
    halo = 16 if name == "tiny" else 64
    return PresetInfo(
        size.parameters, size.parameters, 0, note, idle=idle,
        card={"multiple_of": size.multiple_of, "tile": tile, "halo": halo},
    )  # fmt: skip


card = Card(
    name="sa_stf",
    task="fusion",
    title="SA-STF: residual diffusion with aligned and selected references",
    presets={name: _preset(name) for name in SIZES},
    default_preset="fixed",
    build="rsbench_baselines.sa_stf.model:build",
    citation="J. Zhang, J. Qu and others. SA-STF. CVPR 2026",
    licence="Apache-2.0 (the authors' code: MIT)",
    tile=256,
    halo=64,
    multiple_of=16,
    min_context=2,
    max_context=2,
    trainable=True,
    # The selection compares features: where two are all but equal, rounding decides.
    sampler_tolerance=1e-3,
    # The ablation's row "with TFA and SAF" can be read in two ways: no preset claims it.
    published=(
        ("paper", "sa-stf-cia", "SA-STF"),
        ("paper", "sa-stf-lgc", "SA-STF"),
        ("paper", "sa-stf-ahb", "SA-STF"),
        ("taylor", "sa-stf-lgc-ablation", "Taylor expansion"),
        ("taylor_tfa", "sa-stf-lgc-ablation", "with TFA"),
        ("tfa_saf", "sa-stf-lgc-ablation", "TFA and SAF only"),
    ),
)
