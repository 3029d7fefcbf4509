"""STFDiff: spatiotemporal fusion by diffusion on the fine image, one reference date.

Information Fusion 2024. Sizes stand in ``sizes``, free of torch.
"""

from rsbench import Card, PresetInfo
from rsbench_baselines.stfdiff.sizes import REASONS, SIZES

_NOTES = {
    "paper": "sampled as the released test settings say: 10 steps, η 1; without the moving "
    "average of weights that was updated once per epoch",
    "paper_50": "sampled as the training settings say: 50 steps, η 0",
    "tiny": "three levels of 8 and 16 channels, 2 sampling steps, answers added to the reference",
}


def _preset(name: str) -> PresetInfo:
    size = SIZES[name]
    note = f"{_NOTES[name]}; counted at {size.bands} bands"
    tile, halo = (128, 16) if name == "tiny" else (512, 64)
    return PresetInfo(
        size.parameters, size.parameters, 0, note, idle={head: REASONS[head] for head in size.idle},
        card={"multiple_of": size.multiple_of, "tile": tile, "halo": halo},
    )  # fmt: skip


card = Card(
    name="stfdiff",
    task="fusion",
    title="STFDiff: diffusion on the fine image, noisy and clean branch",
    presets={name: _preset(name) for name in SIZES},
    default_preset="paper",
    build="rsbench_baselines.stfdiff.model:build",
    citation="STFDiff: Remote sensing image spatiotemporal fusion with diffusion models. "
    "Information Fusion 2024",
    licence="Apache-2.0 (written from the paper; the authors' code has no licence file)",
    tile=512,
    halo=64,
    multiple_of=4,
    max_context=1,
    trainable=True,
    # Rounding that differs with the batch is carried through every step of a sample.
    sampler_tolerance=1e-4,
    published=(),
)
