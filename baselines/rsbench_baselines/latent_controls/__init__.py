"""Controls of latent diffusion: scores that the prior reaches without any forecast."""

from rsbench import Card, PresetInfo
from rsbench_baselines._card import REVISED, preset
from rsbench_baselines.sat_jepa_diff._cards import (
    NOT_SHIPPED,
    PAPER_ADAPTER,
    TOY,
    TRANSFORMER,
    VAE,
    idle,
    latent_card,
)

_SMALL = {"size": "small", "gain": 2.0, "sampler": "sjd-1step-0.35", **REVISED}
_LARGE = {"size": "large", "sampler": "sjd-1step-0.35"}
_PUBLISHED = f"as published; {NOT_SHIPPED}"


def _card(name: str, title: str, tiny: PresetInfo, paper: PresetInfo) -> Card:
    return latent_card(
        name,
        f"latent_controls.model:build_{name}",
        title=title,
        presets={"tiny": tiny, "paper": paper},
        default_preset="paper",
    )


def _frozen(count: int, options: dict[str, object]) -> PresetInfo:
    return PresetInfo(count, 0, count, _PUBLISHED, {**_LARGE, **options}, {"trainable": False})


vae_roundtrip = _card(
    "vae_roundtrip",
    "VAE round trip: the last frame encoded and decoded",
    preset(56_115, TOY, _SMALL),
    _frozen(VAE, {}),
)
random_adapter = _card(
    "random_adapter",
    "Random adapter: the last frame and 35 % noise, one step of the unchanged prior",
    PresetInfo(1_328_483, 1_291_635, 36_848, TOY, {**_SMALL, "adapter": "grid"}, {}, idle(2)),
    _frozen(VAE + TRANSFORMER + PAPER_ADAPTER, {"adapter": "paper", "faithful": True}),
)
