"""SwinSTFM: fusion by windowed attention in two pyramids, one reference date.

IEEE TGRS 2022. Sizes stand in ``sizes``, free of torch.
"""

from rsbench import Card, PresetInfo
from rsbench_baselines.swinstfm.sizes import SIZES, idle

_NOTES = {
    "paper": "256×256 pixels at once; trained for its 60 epochs, without a rate that follows the "
    "test date",
    "tiny": "one level and a bottom of 16 channels, windows of 4, answers added to the reference",
}
_CARDS: dict[str, dict[str, object]] = {
    # Tiles overlap by half and keep their middle, as published.
    "paper": {"fixed_size": 256, "halo": 64, "multiple_of": 64},
    "tiny": {"tile": 64, "halo": 16, "multiple_of": SIZES["tiny"].multiple_of},
}


def _preset(name: str) -> PresetInfo:
    size = SIZES[name]
    note = f"{_NOTES[name]}; counted at {size.bands} bands"
    return PresetInfo(
        size.parameters, size.parameters, 0, note, idle=idle(size), card=_CARDS[name]
    )  # fmt: skip


card = Card(
    name="swinstfm",
    task="fusion",
    title="SwinSTFM: windowed attention carries the coarse change over to fine places",
    presets={name: _preset(name) for name in SIZES},
    default_preset="paper",
    build="rsbench_baselines.swinstfm.model:build",
    citation="G. Chen, P. Jiao, Q. Hu, L. Xiao, Z. Ye. SwinSTFM: Remote sensing spatiotemporal "
    "fusion using Swin transformer. IEEE TGRS 2022",
    licence="Apache-2.0 (written from the paper; the authors' code has no licence file)",
    max_context=1,
    trainable=True,
    published=(),
)
