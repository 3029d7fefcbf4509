"""RDDM: residual denoising diffusion with one network for the residual and one for the noise.

J. Liu, Q. Wang, H. Fan, Y. Wang, Y. Tang, L. Qu, CVPR 2024. Sizes stand in ``sizes``.
"""

from rsbench import Card, PresetInfo
from rsbench_baselines.rddm.sizes import SIZES

_NOTES = {
    "paper": "two U-Nets of width 64 on the noisy image beside all five images, as an ablation of "
    "sa_stf is read; 100 times, 50 steps, trained as long as sa_stf",
    "tiny": "the residual's network alone, two levels of 8 and 16 channels, 2 sampling steps, "
    "added to what the mean of the references gives",
}


def _preset(name: str) -> PresetInfo:
    size = SIZES[name]
    note = f"{_NOTES[name]}; counted at {size.bands} bands"
    tile, halo = (64, 8) if name == "tiny" else (256, 64)
    return PresetInfo(
        size.parameters, size.parameters, 0, note,
        card={"multiple_of": size.multiple_of, "tile": tile, "halo": halo},
    )  # fmt: skip


card = Card(
    name="rddm",
    task="fusion",
    title="RDDM: residual denoising diffusion, for fusion",
    presets={name: _preset(name) for name in SIZES},
    default_preset="paper",
    build="rsbench_baselines.rddm.model:build",
    citation="J. Liu, Q. Wang, H. Fan, Y. Wang, Y. Tang, L. Qu. Residual denoising diffusion "
    "models. CVPR 2024",
    licence="Apache-2.0 (written from the paper; the authors' code has no licence file)",
    tile=256,
    halo=64,
    multiple_of=8,
    min_context=2,
    max_context=2,
    trainable=True,
    # Rounding that differs with the batch is carried through every step of a sample.
    sampler_tolerance=1e-4,
    published=(("paper", "sa-stf-lgc-ablation", "RDDM"),),
)
