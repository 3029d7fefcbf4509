"""SwinSTFM: fusion by windowed attention in two pyramids, one reference date.

IEEE TGRS 2022. Sizes are in ``sizes``, which imports no torch.
"""

from rsbench import PresetInfo
from rsbench_baselines._card import REVISED, fusion_card, preset, tiled
from rsbench_baselines.swinstfm.sizes import SIZES, idle

_NOTES = {
    "paper": "256×256 pixels per call; trained for the published 60 epochs with a learning rate "
    "that does not depend on the test date; attention as the paper describes it, without the two "
    "faults of the released code",
    "released": "as paper, with the two faults of the released attention: heads exchanged with "
    "windows, and weights normalised over queries in blocks without shift; for released weights",
    "tiny": "one level and a bottom of 16 channels, windows of 4, output added to the reference",
}
# Tiles overlap by half and keep their middle, as published.
_PUBLISHED_TILES: dict[str, object] = {"fixed_size": 256, "halo": 64, "multiple_of": 64}
_CARDS = {
    "paper": _PUBLISHED_TILES,
    "released": _PUBLISHED_TILES,
    "tiny": tiled(64, 16, SIZES["tiny"].multiple_of),
}


def _preset(name: str) -> PresetInfo:
    size = SIZES[name]
    note = f"{_NOTES[name]}; counted at {size.bands} bands"
    return preset(size.parameters, note, REVISED, _CARDS[name], idle(size))


card = fusion_card(
    "swinstfm",
    title="SwinSTFM: windowed attention transfers the coarse change to fine pixels",
    presets={name: _preset(name) for name in SIZES},
    citation="G. Chen, P. Jiao, Q. Hu, L. Xiao, Z. Ye. SwinSTFM: Remote sensing spatiotemporal "
    "fusion using Swin transformer. IEEE TGRS 2022",
)
