"""Controls of latent diffusion: what the prior alone reaches, without any forecast."""

from rsbench import Card, PresetInfo
from rsbench_baselines.sat_jepa_diff import card as _whole

_VAE = 83_819_683
_PRIOR = 2_243_171_520
_CITATION = _whole.citation
_LICENCE = _whole.licence
_TINY_VAE = 72_347


def _card(name: str, title: str, tiny: PresetInfo, paper: PresetInfo) -> Card:
    return Card(
        name=name,
        task="forecast",
        title=title,
        presets={"tiny": tiny, "paper": paper},
        default_preset="paper",
        build=f"rsbench_baselines.latent_controls.model:build_{name}",
        citation=_CITATION,
        licence=_LICENCE,
        rollout="step",
        multiple_of=16,
        max_context=1,
        trainable=True,
        sampler_tolerance=1e-4,
    )


_SMALL = {"size": "small", "gain": 2.0, "sampler": "sjd-1step-0.35"}
_LARGE = {"size": "large", "sampler": "sjd-1step-0.35"}
_FROZEN = {"trainable": False}
_SHIFT = {
    "vae.encoder.mid_block.attentions.0.to_k.bias": "moves all scores of a softmax alike",
    "vae.decoder.mid_block.attentions.0.to_k.bias": "moves all scores of a softmax alike",
}
_LAST = {
    f"transformer.transformer_blocks.1.attn.{part}": "nobody asks for the text's tokens any more"
    for part in ("add_q_proj.", "norm_added_q.")
}
_NOTE = "as published; the frozen weights are not shipped; counted at 3 bands"
_TOY = "the same classes at toy size, the prior trained here first; counted at 3 bands"

vae_roundtrip = _card(
    "vae_roundtrip",
    "VAE round trip: the last frame encoded and decoded",
    PresetInfo(_TINY_VAE, _TINY_VAE, 0, _TOY, _SMALL, {}, _SHIFT),
    PresetInfo(_VAE, 0, _VAE, _NOTE, _LARGE, _FROZEN),
)
random_adapter = _card(
    "random_adapter",
    "Random adapter: the last frame and 35 % noise, one step of an untouched prior",
    PresetInfo(
        195_851, 159_003, 36_848, _TOY, {**_SMALL, "adapter": "grid"}, {}, {**_SHIFT, **_LAST}
    ),
    PresetInfo(
        _VAE + _PRIOR + 48_594_432, 0, _VAE + _PRIOR + 48_594_432, _NOTE,
        {**_LARGE, "adapter": "paper", "faithful": True}, _FROZEN,
    ),
)  # fmt: skip
