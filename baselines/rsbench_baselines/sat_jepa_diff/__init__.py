"""Sat-JEPA-Diff: a predicted embedding of the coming year conditions a latent diffusion model."""

from rsbench import Card, PresetInfo

_LOSS_ONLY = {"head.": "projects predicted tokens onto the target's channels, for the loss alone"}
_SHIFT = "moves all scores of a softmax alike"
_LAST = "the last block answers for the image's tokens alone: nobody asks for the text's"


def _idle(blocks: int) -> dict[str, str]:
    last = f"transformer.transformer_blocks.{blocks - 1}.attn."
    return {
        **_LOSS_ONLY,
        "vae.encoder.mid_block.attentions.0.to_k.bias": _SHIFT,
        "vae.decoder.mid_block.attentions.0.to_k.bias": _SHIFT,
        f"{last}add_q_proj.": _LAST,
        f"{last}norm_added_q.": _LAST,
    }


_TEXT = (
    "encoder 85.20 M, predictor 11.24 M, Stable Diffusion 3.5 Medium with rank-8 updates; "
    "the frozen weights are not shipped; counted at 3 bands"
)
_FROZEN = 2_243_171_520 + 83_819_683
_SHARED = 85_204_224 + 11_238_912 + 49_216 + 3_637_248


def _large(count: int, note: str, **options: object) -> PresetInfo:
    trainable = _SHARED + count
    return PresetInfo(
        trainable + _FROZEN,
        trainable,
        _FROZEN,
        f"{note}; {_TEXT}",
        {"size": "large", **options},
        {},
        _idle(blocks=24),
    )


def _small(note: str, **options: object) -> PresetInfo:
    return PresetInfo(
        _TINY,
        _TINY,
        0,
        f"{note}; the same classes at toy size, the prior trained here first; counted at 3 bands",
        {
            "size": "small",
            "stages": "tiny",
            "adapter": "grid",
            "sampler": "sjd-euler30-0.35",
            "sampler_steps": 4,
            "gain": 2.0,
            "momentum": 0.98,
            **options,
        },
        {},
        _idle(blocks=2),
    )


_TINY = 332_427
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

card = Card(
    name="sat_jepa_diff",
    task="forecast",
    title="Sat-JEPA-Diff: I-JEPA forecast of embeddings, decoded by latent diffusion with LoRA",
    presets={
        "tiny": _small("all five terms (ablation E)"),
        **{
            f"tiny_{letter}": _small(f"ablation {letter.upper()}: {terms}", ablation=letter)
            for letter, terms in _LETTERS.items()
        },
        "fixed": _large(
            48_004_608,
            "2-D pooling and grid positions, full-grid training in stages, posterior mean, "
            "shifted noise levels from pure noise",
            stages="fixed",
            adapter="grid",
            sampler="sjd-fm",
        ),
        "paper": _large(
            48_594_432,
            "as in the published code: joint training on masked tokens, one Euler step from the "
            "last frame at strength 0.35; without the attention to earlier outputs, which gets "
            "none when it predicts",
            **_PAPER,
        ),
        "paper_history": _large(
            166_100_480,
            "the same with the published attention to earlier outputs, which gets none here either",
            **_PAPER,
            history=True,
        ),
    },
    default_preset="fixed",
    build="rsbench_baselines.sat_jepa_diff.model:build",
    citation="Sat-JEPA-Diff. ICLR 2026 workshop ML4RS, arXiv 2603.13943; P. Esser et al. Scaling "
    "rectified flow transformers for high-resolution image synthesis. ICML 2024; M. Assran et "
    "al. Self-supervised learning from images with a joint-embedding predictive architecture. "
    "CVPR 2023",
    licence="Apache-2.0 (written from descriptions); reference code MIT with CC BY-NC 4.0 parts; "
    "Stable Diffusion 3.5 weights under the Stability AI Community License",
    rollout="step",
    multiple_of=16,
    max_context=1,
    trainable=True,
    # Rounding that differs with the batch is carried through every step of a sample.
    sampler_tolerance=1e-4,
    # Scored on about three regions of which most samples were trained on; no row is comparable.
    published=(("paper", "sat-jepa-diff", "Sat-JEPA-Diff"),),
)
