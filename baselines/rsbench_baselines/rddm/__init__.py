"""RDDM: residual denoising diffusion with one network for the residual and one for the noise.

J. Liu, Q. Wang, H. Fan, Y. Wang, Y. Tang, L. Qu, CVPR 2024. Sizes are in ``sizes``, which imports
no torch.
"""

from rsbench import PresetInfo
from rsbench_baselines._card import REVISED, SAMPLER_TOLERANCE, fusion_card, preset, tiled
from rsbench_baselines.rddm.sizes import SIZES

_NOTES = {
    "paper": "two U-Nets of width 64 that take the noisy image and all five given images; our "
    "reading of the SA-STF paper's ablation; 100 times, 50 steps, trained as long as sa_stf; "
    "clipping as released for the objectives pred_res_noise and pred_res",
    "tiny": "only the network of the residual, two levels of 8 and 16 channels, 2 sampling steps, "
    "output added to the residual of the mean of the references",
}


def _preset(name: str) -> PresetInfo:
    size = SIZES[name]
    note = f"{_NOTES[name]}; counted at {size.bands} bands"
    tile, halo = (64, 8) if name == "tiny" else (256, 64)
    tiles = tiled(tile, halo, size.multiple_of)
    return preset(size.parameters, note, REVISED, card=tiles)


card = fusion_card(
    "rddm",
    title="RDDM: residual denoising diffusion, for fusion",
    presets={name: _preset(name) for name in SIZES},
    citation="J. Liu, Q. Wang, H. Fan, Y. Wang, Y. Tang, L. Qu. Residual denoising diffusion "
    "models. CVPR 2024",
    tile=256,
    halo=64,
    multiple_of=8,
    references=2,
    sampler_tolerance=SAMPLER_TOLERANCE,
    published=(("paper", "sa-stf-lgc-ablation", "RDDM"),),
)
