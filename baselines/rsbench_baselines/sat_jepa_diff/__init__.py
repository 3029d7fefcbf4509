"""Sat-JEPA-Diff: a predicted embedding of the next year conditions a latent diffusion model."""

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

_HEAD = {"head.": "projects predicted tokens to the target's channels, for the loss only"}
_TEXT = (
    "encoder 85.20 M, predictor 11.24 M, Stable Diffusion 3.5 Medium with rank-8 updates; "
    + NOT_SHIPPED
)
_ENCODER, _PREDICTOR, _PROJECTION = 85_204_224, 11_238_912, 49_216
_TINY = 1_483_491
_HISTORY_ADAPTER = 166_100_480
_GRID: dict[str, object] = {"adapter": "grid", "momentum": 0.98}
_PAPER: dict[str, object] = {
    "stages": "paper",
    "adapter": "paper",
    "sampler": "sjd-1step-0.35",
    "faithful": True,
}
_LETTERS = {
    "a": "L1",
    "b": "L1 and cosine",
    "c": "L1, cosine and spatial variance",
    "d": "L1, cosine and contrastive",
}


def _large(count: int, note: str, **options: object) -> PresetInfo:
    trainable = _ENCODER + _PREDICTOR + _PROJECTION + UPDATES + count
    return large(trainable, f"{note}; {_TEXT}", options, _HEAD)


card = latent_card(
    "sat_jepa_diff",
    "sat_jepa_diff.model:build",
    title="Sat-JEPA-Diff: I-JEPA forecast of embeddings, decoded by latent diffusion with LoRA",
    presets={
        "tiny": small(_TINY, "all five terms (ablation E)", _GRID, _HEAD),
        **{
            f"tiny_{letter}": small(
                _TINY, f"ablation {letter.upper()}: {terms}", {**_GRID, "ablation": letter}, _HEAD
            )
            for letter, terms in _LETTERS.items()
        },
        "fixed": _large(
            FIXED_ADAPTER,
            "2-D pooling and grid positions, full-grid training in stages, posterior mean, "
            "shifted noise levels from pure noise",
            stages="fixed",
            adapter="grid",
            sampler="sjd-fm",
        ),
        "paper": _large(
            PAPER_ADAPTER,
            "as in the published code: joint training on masked tokens, one Euler step from the "
            "last frame at strength 0.35; without the attention to earlier outputs, which has no "
            "input in prediction",
            **_PAPER,
        ),
        "paper_history": _large(
            _HISTORY_ADAPTER,
            "as paper, with the published attention to earlier outputs, which has no input here "
            "either",
            **_PAPER,
            history=True,
        ),
    },
    default_preset="fixed",
    # Scored on about three regions, of which most samples were trained on; no row is comparable.
    published=(("paper", "sat-jepa-diff", "Sat-JEPA-Diff"),),
)
