"""Sizes of the presets; importable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BANDS = 3
EMBEDDING = 64
"""Channels of the embeddings that the predictor is trained towards."""
TEXT_TOKENS = 77
LATENT = 16
"""Latent channels of the published VAE."""

# The published configuration of Stable Diffusion 3.5 Medium.
MEDIUM: Mapping[str, Any] = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": LATENT,
    "out_channels": LATENT,
    "num_layers": 24,
    "attention_head_dim": 64,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 384,
    "dual_attention_layers": tuple(range(13)),
    "qk_norm": "rms_norm",
}
TOY_LATENT = 8
# A token is 4×4 cells of 8 channels: 128 noise values, which a narrower token cannot carry.
TOY: Mapping[str, Any] = {
    "sample_size": 64,
    "patch_size": 4,
    "in_channels": TOY_LATENT,
    "out_channels": TOY_LATENT,
    "num_layers": 2,
    "attention_head_dim": 32,
    "num_attention_heads": 4,
    "joint_attention_dim": 64,
    "caption_projection_dim": 128,
    "pooled_projection_dim": 48,
    "pos_embed_max_size": 16,
    "dual_attention_layers": (0,),
    "qk_norm": "rms_norm",
}


def _vae(latent: int, *widths: int) -> Mapping[str, Any]:
    return {
        "in_channels": BANDS,
        "out_channels": BANDS,
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
        "block_out_channels": widths,
        "latent_channels": latent,
        "scaling_factor": 1.5305,
        "shift_factor": 0.0609,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    }


MEDIUM_VAE: Mapping[str, Any] = {
    **_vae(LATENT, 128, 256, 512, 512),
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "force_upcast": True,
}
# Cells of 2×2 pixels keep what a year changes: the published cells of 8×8 do not at this size.
# One group leaves the brightness of a band relative to the others in every norm.
TOY_VAE: Mapping[str, Any] = {
    **_vae(TOY_LATENT, 16, 16),
    "layers_per_block": 1,
    "norm_num_groups": 1,
    "mid_block_add_attention": False,
}


@dataclass(frozen=True)
class Sizes:
    """Sizes of one preset.

    Args:
        patch, width, depth, heads: of the image encoder.
        spread, enter: standard deviations of the first weights of encoder and predictor, and of
            the encoder's layer that takes in patches.
        base: of the wavelengths of positions.
        inner, inner_depth, inner_heads: of the predictor.
        inner_enter: standard deviation of its layer that takes in tokens.
        match: how many times as wide queries and keys start, alike; 0 draws them apart.
        hidden: of the adapter's streams.
        text: tokens of the prompt.
        rank, alpha: of the low-rank updates.
        transformer, vae: configurations of the diffusion classes.
        own_prior: train transformer and VAE on the training split instead of loading them.
    """

    patch: int = 8
    width: int = 768
    depth: int = 12
    heads: int = 12
    spread: float = 0.02
    enter: float = 0.02
    base: float = 10_000.0
    inner: int = 384
    inner_depth: int = 6
    inner_heads: int = 12
    inner_enter: float = 0.02
    match: float = 0.0
    hidden: int = 1024
    text: int = TEXT_TOKENS
    rank: int = 8
    alpha: float = 16.0
    transformer: Mapping[str, Any] = field(default_factory=lambda: MEDIUM)
    vae: Mapping[str, Any] = field(default_factory=lambda: MEDIUM_VAE)
    own_prior: bool = False


LARGE = Sizes()
SMALL = Sizes(
    width=48,
    depth=2,
    heads=4,
    # Narrow layers with the published spread pass on half of a signal, and patches a tenth of
    # their positions: a short training would never leave the mean of all images.
    spread=0.15,
    enter=2.0,
    # To leave it, asked tokens must find the seen ones of their own place. With sixteen places a
    # side most of the published wavelengths tell none apart, and wide contents hide the rest.
    base=10.0,
    inner=48,
    inner_depth=2,
    inner_heads=4,
    inner_enter=0.06,
    match=2.0,
    hidden=32,
    # Beside 77 tokens of one constant text the few of a small image would drown.
    text=8,
    transformer=TOY,
    vae=TOY_VAE,
    own_prior=True,
)
