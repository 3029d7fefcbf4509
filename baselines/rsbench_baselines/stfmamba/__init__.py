"""STFMamba: fusion by selective scans along rows, columns and channels, one reference date.

M. Zhao, X. Jiang, B. Huang, ISPRS Journal of Photogrammetry and Remote Sensing 2025. Sizes are in
``sizes``, which imports no torch.
"""

from rsbench import PresetInfo
from rsbench_baselines._card import REVISED, fusion_card, preset
from rsbench_baselines.stfmamba.sizes import SIZES, idle

_NOTES = {
    "paper": "128×128 pixels per call; trained without the distance of VGG-19 features, whose "
    "published weight is 1e-3; keeps the unused layers that the published count includes",
    "tiny": "one stage of 8 channels on 16×16 pixels, one block that sharpens, no drop path; "
    "initial steps and weights of the scans fit a map of 16 positions",
}
_HALO = {"paper": 32, "tiny": 4}


def _preset(name: str) -> PresetInfo:
    size, halo = SIZES[name], _HALO[name]
    note = f"{_NOTES[name]}; counted at {size.bands} bands"
    tiles = {"fixed_size": size.side, "halo": halo, "multiple_of": halo}
    return preset(size.parameters, note, REVISED, tiles, idle(size))


card = fusion_card(
    "stfmamba",
    title="STFMamba: selective scans over positions and over channels",
    presets={name: _preset(name) for name in SIZES},
    citation="M. Zhao, X. Jiang, B. Huang. STFMamba: Spatiotemporal satellite image fusion network "
    "based on visual state space model. ISPRS Journal of Photogrammetry and Remote Sensing 2025",
    published=(("paper", "sa-stf-lgc", "STFMamba"),),
)
