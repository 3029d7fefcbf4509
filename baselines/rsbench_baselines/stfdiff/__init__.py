"""STFDiff: spatiotemporal fusion by diffusion on the fine image, one reference date.

Information Fusion 2024. Sizes are in ``sizes``, which imports no torch.
"""

from rsbench import PresetInfo
from rsbench_baselines._card import REVISED, SAMPLER_TOLERANCE, fusion_card, preset, tiled
from rsbench_baselines.stfdiff.sizes import REASONS, SIZES

_NOTES = {
    "paper": "sampled with the released test settings: 10 steps, η 1; without the moving average "
    "of weights, which the authors update once per epoch",
    "paper_50": "sampled with the published training settings: 50 steps, η 0",
    "tiny": "three levels of 8 and 16 channels, 2 sampling steps, output added to the reference",
}


def _preset(name: str) -> PresetInfo:
    size = SIZES[name]
    note = f"{_NOTES[name]}; counted at {size.bands} bands"
    tile, halo = (128, 16) if name == "tiny" else (512, 64)
    tiles = tiled(tile, halo, size.multiple_of)
    idle = {head: REASONS[head] for head in size.idle}
    return preset(size.parameters, note, REVISED, card=tiles, idle=idle)


card = fusion_card(
    "stfdiff",
    title="STFDiff: diffusion on the fine image, noisy and clean branch",
    presets={name: _preset(name) for name in SIZES},
    citation="STFDiff: Remote sensing image spatiotemporal fusion with diffusion models. "
    "Information Fusion 2024",
    tile=512,
    halo=64,
    multiple_of=4,
    sampler_tolerance=SAMPLER_TOLERANCE,
)
