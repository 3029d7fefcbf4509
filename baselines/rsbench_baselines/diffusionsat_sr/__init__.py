"""DiffusionSat for super-resolution: a coarse image of many bands controls a fine one."""

from rsbench import PresetInfo
from rsbench_baselines._card import SAMPLER_TOLERANCE, trained_card
from rsbench_baselines.diffusionsat import PUBLISHED, UNET, VAE

CONTROL = 378_583_168
"""Parameters of the 2-D control branch of ten bands at half size."""
_TINY = 381_720
card = trained_card(
    "diffusionsat_sr",
    task="superresolve",
    title="DiffusionSat: latent diffusion with a 2-D control branch that sees the coarse image",
    presets={
        "tiny": PresetInfo(
            _TINY, _TINY, 0,
            "the same classes at toy size without a VAE, its latents are cells of 4×4 pixels; "
            "predicts the clean image, 3 steps, and all parts are trained at once; the mask joins "
            "the coarse image; counted at 3 bands, 3 of them given",
            {"schedule": "linear", "kind": "sample", "bound": 1.0, "sampling_steps": 3,
             "dropout": 0.0},
            {"multiple_of": 8},
        ),
        "paper": PresetInfo(
            UNET + CONTROL + VAE, CONTROL, UNET + VAE,
            "the branch on a released U-Net of DiffusionSat, which is frozen; U-Net 880.26 M, "
            "branch 378.58 M, VAE 83.65 M; the text encoder is not counted; weights are not "
            "shipped; red, green and blue of ten given bands",
            PUBLISHED, {"multiple_of": 64, "tile": 512, "halo": 64},
        ),
    },
    default_preset="paper",
    citation="S. Khanna, P. Liu, L. Zhou, C. Meng, R. Rombach, M. Burke, D. Lobell, S. Ermon. "
    "DiffusionSat: a generative foundation model for satellite imagery. ICLR 2024",
    licence="Apache-2.0 (written from descriptions); Stable Diffusion 2.1 weights under the "
    "CreativeML Open RAIL++-M licence",
    multiple_of=8,
    max_context=1,
    sampler_tolerance=SAMPLER_TOLERANCE,
)  # fmt: skip
