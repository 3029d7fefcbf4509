"""SwinSTFM: fusion by windowed attention in two pyramids, one reference date.

IEEE TGRS 2022. Sizes are in ``sizes``, which imports no torch.
"""

from rsbench import PresetInfo
from rsbench_baselines._card import fusion_card, preset, tiled
from rsbench_baselines.swinstfm.sizes import SIZES, idle

_NOTES = {
    "paper": "256×256 pixels per call; trained for the published 60 epochs with a learning rate "
    "that does not depend on the test date; not the authors' structure, although the number of "
    "parameters is equal: skip maps and norms are placed otherwise (with the same weights up to "
    "1.98 on a scale of −1 to 1)",
    "tiny": "one level and a bottom of 16 channels, windows of 4, output added to the reference",
}
_CARDS: dict[str, dict[str, object]] = {
    # Tiles overlap by half and keep their middle, as published.
    "paper": {"fixed_size": 256, "halo": 64, "multiple_of": 64},
    "tiny": tiled(64, 16, SIZES["tiny"].multiple_of),
}


def _preset(name: str) -> PresetInfo:
    size = SIZES[name]
    note = f"{_NOTES[name]}; counted at {size.bands} bands"
    return preset(size.parameters, note, card=_CARDS[name], idle=idle(size))


card = fusion_card(
    "swinstfm",
    title="SwinSTFM: windowed attention transfers the coarse change to fine pixels",
    presets={name: _preset(name) for name in SIZES},
    citation="G. Chen, P. Jiao, Q. Hu, L. Xiao, Z. Ye. SwinSTFM: Remote sensing spatiotemporal "
    "fusion using Swin transformer. IEEE TGRS 2022",
)
