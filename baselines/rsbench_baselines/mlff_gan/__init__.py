"""MLFF-GAN: multi-level feature fusion with an adversarial loss, one reference date.

IEEE TGRS 2022. Sizes are in ``sizes``, which imports no torch.
"""

from rsbench import PresetInfo
from rsbench_baselines._card import REVISED, fusion_card, preset, tiled
from rsbench_baselines.mlff_gan.sizes import SIZES, idle

_NOTES = {
    "paper": "coarse images are downsampled by 16 and upsampled before use; generator and "
    "discriminator are updated in the same step, the released program updates the discriminator "
    "first",
    "tiny": "two levels of 8 and 16 channels, no dropout",
}


def _preset(name: str) -> PresetInfo:
    size = SIZES[name]
    note = f"{_NOTES[name]}; {size.parameters} parameters in the generator and "
    note += f"{size.discriminator} in the discriminator, counted at {size.bands} bands"
    tile, halo = (128, 16) if name == "tiny" else (256, 32)
    tiles = tiled(tile, halo, size.multiple_of)
    return preset(size.parameters + size.discriminator, note, REVISED, tiles, idle(size))


card = fusion_card(
    "mlff_gan",
    title="MLFF-GAN: features blended level by level, with an adversarial loss",
    presets={name: _preset(name) for name in SIZES},
    citation="B. Song, P. Liu, J. Li, L. Wang, L. Zhang, G. He, L. Chen, J. Liu. MLFF-GAN: A "
    "multilevel feature fusion with GAN for spatiotemporal remote sensing images. IEEE TGRS 2022",
    tile=256,
    halo=32,
    multiple_of=16,
)
