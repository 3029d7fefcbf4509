"""What the cards of the latent diffusion models have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rsbench import Card, PresetInfo
from rsbench_baselines._card import REVISED, SAMPLER_TOLERANCE, preset
from rsbench_baselines._parity import PARITY

CITATION = (
    "Sat-JEPA-Diff. ICLR 2026 workshop ML4RS, arXiv 2603.13943; P. Esser et al. Scaling "
    "rectified flow transformers for high-resolution image synthesis. ICML 2024; M. Assran et "
    "al. Self-supervised learning from images with a joint-embedding predictive architecture. "
    "CVPR 2023"
)
LICENCE = (
    "Apache-2.0 (written from descriptions); reference code MIT with CC BY-NC 4.0 parts; "
    "Stable Diffusion 3.5 weights under the Stability AI Community License"
)
TRANSFORMER, VAE = 2_243_171_520, 83_819_683
"""Parameters of the frozen parts of Stable Diffusion 3.5 Medium."""
UPDATES = 3_637_248
"""Parameters of the rank-8 updates."""
FIXED_ADAPTER, PAPER_ADAPTER = 48_004_608, 48_594_432
TOY = "the same classes at toy size; the prior is trained first; counted at 3 bands"
NOT_SHIPPED = "the frozen weights are not shipped; counted at 3 bands"
_SMALL: Mapping[str, object] = {
    "size": "small",
    "stages": "tiny",
    "sampler": "sjd-euler30-0.35",
    "sampler_steps": 1,
    "gain": 2.0,
    # One step never leaves the path from its start. Trained on the published path from noise, the
    # network takes the noised last frame for the coming one, and returns it.
    "bridged": True,
    **REVISED,
}


_SHIFT = {
    f"vae.{part}.mid_block.attentions.0.to_k.bias": "adds one constant to all scores of a query"
    for part in ("encoder", "decoder")
}


def idle(blocks: int) -> dict[str, str]:
    """Return prefixes of parameters without effect, of a transformer of ``blocks`` blocks."""
    last = f"transformer.transformer_blocks.{blocks - 1}.attn."
    text = "the last block's output for the text tokens is not used"
    return {f"{last}add_q_proj.": text, f"{last}norm_added_q.": text}


def small(
    count: int, note: str, options: Mapping[str, Any], heads: Mapping[str, str] | None = None
) -> PresetInfo:
    """Return a preset at toy size, all of whose parameters are trained.

    Args:
        count: number of parameters.
        note: of the preset.
        options: beside those of all toy presets.
        heads: further prefixes of parameters without effect, with the reason.
    """
    idle_all = {**(heads or {}), **idle(2)}
    return preset(count, f"{note}; {TOY}", {**_SMALL, **options}, None, idle_all)


def large(
    trainable: int, note: str, options: Mapping[str, Any], heads: Mapping[str, str] | None = None
) -> PresetInfo:
    """Return a preset on the frozen prior; arguments as of :func:`small`."""
    return PresetInfo(
        trainable + TRANSFORMER + VAE,
        trainable,
        TRANSFORMER + VAE,
        note,
        {"size": "large", **options},
        {},
        {**(heads or {}), **_SHIFT, **idle(24)},
    )


def latent_card(name: str, build: str, **fields: Any) -> Card:
    """Return the card of a latent diffusion model; ``build`` is below ``rsbench_baselines``."""
    return Card(
        name=name,
        task="forecast",
        build=f"rsbench_baselines.{build}",
        citation=CITATION,
        licence=LICENCE,
        rollout="step",
        multiple_of=16,
        max_context=1,
        trainable=True,
        sampler_tolerance=SAMPLER_TOLERANCE,
        parity=PARITY[name],
        **fields,
    )
