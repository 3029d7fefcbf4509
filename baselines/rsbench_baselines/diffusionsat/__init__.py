"""DiffusionSat: a diffusion model told of place, date and resolution, with a control branch."""

from rsbench import PresetInfo
from rsbench_baselines._card import SAMPLER_TOLERANCE, trained_card

UNET, CONTROL, VAE = 880_264_644, 433_183_100, 83_653_863
"""Parameters of the U-Net with its seven embedders, of the control branch, and of the VAE."""
_LAYERS = "a skip without a temporal layer has no use for its share"
_FIXED = (1, 2, 4, 5, 7, 8, 10, 11)
"""Skips of the published U-Net without a temporal layer."""
PUBLISHED: dict[str, object] = {
    "schedule": "scaled",
    "kind": "v",
    "sampling_steps": 50,
    "guidance": 7.5,
    "snr_limit": 5.0,
    "dropout": 0.1,
    "at_once": 4,
}
"""Options of the presets of published size."""


def _idle(places: tuple[int, ...]) -> dict[str, str]:
    return {f"control.mixing_attns.{i}": _LAYERS for i in places}


def _large(trainable: int, note: str) -> PresetInfo:
    total = UNET + CONTROL + VAE
    return PresetInfo(
        total, trainable, total - trainable,
        f"{note}; U-Net 880.26 M, 3-D control branch 433.18 M, VAE 83.65 M; the text encoder is "
        "not counted; weights are not shipped; red, green and blue only",
        PUBLISHED, {"multiple_of": 64, "tile": 256, "halo": 32}, _idle(_FIXED),
    )  # fmt: skip


_TINY = 402_588
card = trained_card(
    "diffusionsat",
    task="forecast",
    title="DiffusionSat: latent diffusion told of place and date, with a 3-D control branch",
    presets={
        "tiny": PresetInfo(
            _TINY, _TINY - 2, 2,
            "the same classes at toy size without a VAE, its latents are cells of 4×4 pixels; "
            "predicts the clean change since the last frame, 3 steps; masks join the frames; "
            "words have trained vectors; counted at 3 bands",
            {"schedule": "linear", "kind": "sample", "bound": 1.0, "sampling_steps": 3,
             "gain": 8.0, "dropout": 0.0},
            {"multiple_of": 8}, _idle((1, 3)),
        ),
        "paper": _large(
            UNET + CONTROL - len(_FIXED),
            "from Stable Diffusion 2.1: U-Net with new metadata embedders first, then the branch",
        ),
        "released": _large(
            CONTROL - len(_FIXED), "the branch on a released U-Net of DiffusionSat, which is frozen"
        ),
    },
    default_preset="paper",
    citation="S. Khanna, P. Liu, L. Zhou, C. Meng, R. Rombach, M. Burke, D. Lobell, S. Ermon. "
    "DiffusionSat: a generative foundation model for satellite imagery. ICLR 2024; L. Zhang, "
    "A. Rao, M. Agrawala. Adding conditional control to text-to-image diffusion models. ICCV 2023",
    licence="Apache-2.0 (written from descriptions); Stable Diffusion 2.1 weights under the "
    "CreativeML Open RAIL++-M licence",
    rollout="step",
    multiple_of=8,
    max_context=3,
    sampler_tolerance=SAMPLER_TOLERANCE,
    published=(
        ("paper", "diffusionsat-past", "DiffusionSat, 3D ControlNet"),
        ("paper", "diffusionsat-future", "DiffusionSat, 3D ControlNet"),
    ),
)  # fmt: skip
