"""Plain latent diffusion without a predictor: under random tokens, or under the prompt alone."""

from rsbench import Card, PresetInfo
from rsbench_baselines.sat_jepa_diff import card as _whole

_FROZEN = 2_243_171_520 + 83_819_683
_UPDATES = 3_637_248
_FIXED_ADAPTER = 48_004_608
_PAPER_ADAPTER = 48_594_432
_RANDOM = "the predictor's tokens replaced by standard normal noise, coarse picture kept"
_TEXT = "the one prompt alone: no adapter, no picture"
_IDLE = dict(_whole.presets["tiny"].idle)
_IDLE_LARGE = dict(_whole.presets["fixed"].idle)
del _IDLE["head."], _IDLE_LARGE["head."]


def _small(count: int, note: str, **options: object) -> PresetInfo:
    return PresetInfo(
        count,
        count,
        0,
        f"{note}; the same classes at toy size, the prior trained here first; counted at 3 bands",
        {
            "size": "small",
            "stages": "tiny",
            "sampler": "sjd-euler30-0.35",
            "sampler_steps": 4,
            "gain": 2.0,
            **options,
        },
        {},
        _IDLE,
    )


def _large(count: int, note: str, **options: object) -> PresetInfo:
    trainable = count + _UPDATES
    return PresetInfo(
        trainable + _FROZEN,
        trainable,
        _FROZEN,
        f"{note}; the frozen weights are not shipped; counted at 3 bands",
        {"size": "large", **options},
        {},
        _IDLE_LARGE,
    )


card = Card(
    name="sd35",
    task="forecast",
    title="Stable Diffusion 3.5 with low-rank updates, without a predictor",
    presets={
        "tiny": _small(201_995, _RANDOM, adapter="grid"),
        "tiny_text": _small(165_147, _TEXT, adapter=None),
        "fixed": _large(_FIXED_ADAPTER, _RANDOM, stages="fixed", adapter="grid", sampler="sjd-fm"),
        "fixed_text": _large(0, _TEXT, stages="fixed", adapter=None, sampler="sjd-fm"),
        "paper": _large(
            _PAPER_ADAPTER, f"{_RANDOM}; the published row of plain Stable Diffusion 3.5 was this",
            stages="paper", adapter="paper", sampler="sjd-1step-0.35", faithful=True,
        ),
    },
    default_preset="fixed",
    build="rsbench_baselines.sd35.model:build",
    citation=_whole.citation,
    licence=_whole.licence,
    rollout="step",
    multiple_of=16,
    max_context=1,
    trainable=True,
    sampler_tolerance=1e-4,
    published=(("paper", "sat-jepa-diff", "Stable Diffusion 3.5"),),
)  # fmt: skip
