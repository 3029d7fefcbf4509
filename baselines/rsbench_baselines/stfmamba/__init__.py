"""STFMamba: fusion by selective scans along rows, columns and channels, one reference date.

M. Zhao, X. Jiang, B. Huang, ISPRS Journal of Photogrammetry and Remote Sensing 2025. Sizes stand
in ``sizes``, free of torch.
"""

from rsbench import Card, PresetInfo
from rsbench_baselines.stfmamba.sizes import SIZES, idle

_NOTES = {
    "paper": "128×128 pixels at once; trained without the distance of VGG-19's features, whose "
    "weight is 1e-3; an extra block that nothing reads is kept, as published",
    "tiny": "one stage of 8 channels on 16×16 pixels, one block that sharpens; scans start with "
    "steps and weights that suit a map of 16 places",
}
_HALO = {"paper": 32, "tiny": 4}


def _preset(name: str) -> PresetInfo:
    size = SIZES[name]
    note = f"{_NOTES[name]}; counted at {size.bands} bands"
    return PresetInfo(
        size.parameters, size.parameters, 0, note, idle=idle(size),
        card={"fixed_size": size.side, "halo": _HALO[name], "multiple_of": _HALO[name]},
    )  # fmt: skip


card = Card(
    name="stfmamba",
    task="fusion",
    title="STFMamba: selective scans over places and over channels",
    presets={name: _preset(name) for name in SIZES},
    default_preset="paper",
    build="rsbench_baselines.stfmamba.model:build",
    citation="M. Zhao, X. Jiang, B. Huang. STFMamba: Spatiotemporal satellite image fusion network "
    "based on visual state space model. ISPRS Journal of Photogrammetry and Remote Sensing 2025",
    licence="Apache-2.0 (written from the paper; the authors' code has no licence file)",
    max_context=1,
    trainable=True,
    published=(("paper", "sa-stf-lgc", "STFMamba"),),
)
