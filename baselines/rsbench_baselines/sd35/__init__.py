"""Latent diffusion without a predictor: conditioned on random tokens, or on the prompt only."""

from rsbench import PresetInfo
from rsbench_baselines.sat_jepa_diff._cards import (
    FIXED_ADAPTER,
    NOT_SHIPPED,
    PAPER_ADAPTER,
    UPDATES,
    large,
    latent_card,
    small,
)

_RANDOM = "the predictor's tokens are replaced by standard normal noise; the coarse image is kept"
_TEXT = "conditioned on the one prompt only: no adapter, no image"


def _large(count: int, note: str, **options: object) -> PresetInfo:
    return large(count + UPDATES, f"{note}; {NOT_SHIPPED}", options)


card = latent_card(
    "sd35",
    "sd35.model:build",
    title="Stable Diffusion 3.5 with low-rank updates, without a predictor",
    presets={
        "tiny": small(1_353_059, _RANDOM, {"adapter": "grid"}),
        "tiny_text": small(1_316_211, _TEXT, {"adapter": None}),
        "fixed": _large(FIXED_ADAPTER, _RANDOM, stages="fixed", adapter="grid", sampler="sjd-fm"),
        "fixed_text": _large(0, _TEXT, stages="fixed", adapter=None, sampler="sjd-fm"),
        "paper": _large(
            PAPER_ADAPTER, f"{_RANDOM}; the published row of plain Stable Diffusion 3.5 was this",
            stages="paper", adapter="paper", sampler="sjd-1step-0.35", faithful=True,
        ),
    },
    default_preset="fixed",
    published=(("paper", "sat-jepa-diff", "Stable Diffusion 3.5"),),
)  # fmt: skip
