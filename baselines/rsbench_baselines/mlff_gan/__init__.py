"""MLFF-GAN: multi-level feature fusion with an adversarial loss, one reference date.

IEEE TGRS 2022. Sizes stand in ``sizes``, free of torch.
"""

from rsbench import Card, PresetInfo
from rsbench_baselines.mlff_gan.sizes import SIZES, idle

_NOTES = {
    "paper": "coarse images taken down by 16 and up again before use; generator and "
    "discriminator step together",
    "tiny": "two levels of 8 and 16 channels, no dropout",
}


def _preset(name: str) -> PresetInfo:
    size = SIZES[name]
    count = size.parameters + size.discriminator
    note = f"{_NOTES[name]}; {size.parameters} of the generator and {size.discriminator} of the "
    note += f"discriminator, counted at {size.bands} bands"
    tile, halo = (128, 16) if name == "tiny" else (256, 32)
    return PresetInfo(
        count, count, 0, note, idle=idle(size),
        card={"multiple_of": size.multiple_of, "tile": tile, "halo": halo},
    )  # fmt: skip


card = Card(
    name="mlff_gan",
    task="fusion",
    title="MLFF-GAN: features mixed level by level, with an adversarial loss",
    presets={name: _preset(name) for name in SIZES},
    default_preset="paper",
    build="rsbench_baselines.mlff_gan.model:build",
    citation="B. Song, P. Liu, J. Li, L. Wang, L. Zhang, G. He, L. Chen, J. Liu. MLFF-GAN: A "
    "multilevel feature fusion with GAN for spatiotemporal remote sensing images. IEEE TGRS 2022",
    licence="Apache-2.0 (written from the paper; the authors' code has no licence file)",
    tile=256,
    halo=32,
    multiple_of=16,
    max_context=1,
    trainable=True,
    published=(),
)
