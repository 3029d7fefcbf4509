"""SatSynth: a diffusion model of images joined with the bit planes of their label maps."""

from rsbench import Card, PresetInfo
from rsbench_baselines._card import SAMPLER_TOLERANCE, preset
from rsbench_baselines._parity import PARITY

_TINY: dict[str, object] = {
    "base": 8, "mult": (1, 2, 2), "num_res_blocks": 1, "attention": (), "sampling_steps": 25,
}  # fmt: skip
_PAPER: dict[str, object] = {
    "base": 128, "mult": (1, 1, 2, 3, 4), "num_res_blocks": 2, "attention": (3, 4),
    "sampling_steps": 100,
}  # fmt: skip
OVERFIT = 0.2
"""Share of the first loss that training on eight pairs must go below, in place of 5 %.

5 % is reached, but only in all of the 1500 steps of a stage (10 % takes 700): the check would take
minutes. What is left is a limit of network and steps, not of the noise. With the exact posterior
of eight images of the contract, the mean squared error of the noise is 0.0003, at no time above
0.003. The toy network reaches 0.047 in its 1500 steps: 0.56 at the 20 least noisy of the 1000
times, where the noise is smaller than what the network gets wrong of the images, and 0.017 at the
400 noisiest.
"""
_COUNTED = "counted at 4 bands and 5 classes, thus 7 channels"
_CITATION = (
    "A. Toker, M. Eisenberger, D. Cremers, L. Leal-Taixé. SatSynth: augmenting image-mask pairs "
    "through diffusion models for aerial semantic segmentation. CVPR 2024, arXiv 2403.16605"
)
_LICENCE = "Apache-2.0 (written from a summary of the paper; no code of the authors is public)"


def _card(name: str, title: str, presets: dict[str, PresetInfo]) -> Card:
    return Card(
        name, "generate", title, presets, f"rsbench_baselines.satsynth.model:{name}", _CITATION,
        _LICENCE, trainable=True, sampler_tolerance=SAMPLER_TOLERANCE, parity=PARITY[name],
        default_preset="tiny", overfit_share=OVERFIT,
    )  # fmt: skip


card = _card(
    "satsynth",
    "Diffusion of images joined with bit planes of their label map",
    {
        "tiny": preset(73_543, f"8·(1, 2, 2), 25 steps; {_COUNTED}", _TINY, {"multiple_of": 4}),
        "paper": preset(
            95_001_991, "128·(1, 1, 2, 3, 4), two blocks, attention at the last two sizes, 128 px, "
            f"100 steps: the sizes are ours, as the paper's could not be read; {_COUNTED}",
            _PAPER, {"multiple_of": 16, "tile": 128},
        ),
    },
)  # fmt: skip
super_resolved = _card(
    "satsynth_sr",
    "SatSynth at half the size, enlarged by a second diffusion of the pair",
    {
        "tiny": preset(
            147_590, f"both networks 8·(1, 2, 2), 8 steps each; {_COUNTED}",
            {**_TINY, "sampling_steps": 8}, {"multiple_of": 8},
        ),
        "paper": preset(
            190_012_046, "128 px, enlarged to 256 px; both networks as in satsynth; sizes are "
            f"ours; {_COUNTED}", _PAPER, {"multiple_of": 32, "tile": 256},
        ),
    },
)  # fmt: skip
