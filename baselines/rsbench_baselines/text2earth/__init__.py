"""Text2Earth: text to image, told the size of a pixel as a level of a map."""

from rsbench import PresetInfo
from rsbench_baselines._card import SAMPLER_TOLERANCE, preset, trained_card

VAE = 83_653_863
UNET = 865_910_724 + 19 * 1280
"""Parameters of the U-Net of Stable Diffusion 2.1 and of the vectors of 19 levels."""
OVERFIT = 0.1
"""Share of the first loss that training on eight images must go below, in place of 5 %.

The network predicts the clean image and sees no map: at the noisiest times it must draw each image
from the words alone. The 500 steps of the preset tiny end at 3 to 5 % of the first loss, by seed.
"""
card = trained_card(
    "text2earth",
    task="generate",
    title="Text2Earth: latent diffusion from a text and the size of a pixel",
    presets={
        "tiny": preset(
            198_976,
            "the same classes at toy size without a VAE, its latents are cells of 4×4 pixels; "
            "predicts the clean image, 4 steps; words have trained vectors; counted at 3 bands",
            {"schedule": "linear", "kind": "sample", "bound": 1.0, "sampling_steps": 4,
             "dropout": 0.0},
            {"multiple_of": 8},
        ),
        "paper": PresetInfo(
            UNET + VAE, UNET, VAE,
            "U-Net of Stable Diffusion 2.1 with a vector for each of 19 levels, an inferred "
            "number; fine-tuned from the released weights; VAE 83.65 M; the text encoder is not "
            "counted; red, green and blue only; sampled by DDIM, in the authors' demo by Euler",
            {"schedule": "scaled", "kind": "epsilon", "sampling_steps": 50, "guidance": 4.0,
             "dropout": 0.1, "at_once": 4},
            {"multiple_of": 64, "tile": 256},
        ),
    },
    default_preset="paper",
    citation="C. Liu, K. Chen, R. Zhao, Z. Zou, Z. Shi. Text2Earth: unlocking text-driven remote "
    "sensing image generation with a global-scale dataset and a foundation model. IEEE GRSM 2025",
    licence="Apache-2.0 (written from descriptions); weights MIT, for academic purposes only",
    multiple_of=8,
    sampler_tolerance=SAMPLER_TOLERANCE,
    overfit_share=OVERFIT,
    published=(("paper", "text2earth-rsicd", "Text2Earth"),),
)  # fmt: skip
