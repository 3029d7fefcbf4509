"""CRS-Diff: text, maps, metadata and a content image control a latent diffusion."""

from rsbench import PresetInfo
from rsbench_baselines._card import SAMPLER_TOLERANCE, preset, trained_card

UNET, ADAPTER, CONTENT, METADATA = 859_520_964, 419_462_288, 47_213_568, 2_876_160
"""Parameters of the U-Net of Stable Diffusion 1.5 and of the three adapters."""
VAE = 83_653_863


def _idle(levels: int) -> dict[str, str]:
    """Return the parameters of a map adapter that no output depends on."""
    reason = "adds one constant to all scores of a pixel"
    places = (f"adapter.down_blocks.{i}.resnets.0.norm" for i in range(levels))
    return {f"{place}{k}.key.bias": reason for place in places for k in (1, 2)}


card = trained_card(
    "crs_diff",
    task="generate",
    title="CRS-Diff: latent diffusion under text, maps and metadata",
    presets={
        "tiny": preset(
            358_284,
            "the same classes at toy size without a VAE, its latents are cells of 4×4 pixels; "
            "predicts the clean image, 3 steps; all parts are trained at once; words have trained "
            "vectors; one channel per class and a mask; counted at 3 bands and 5 classes",
            {"schedule": "linear", "kind": "sample", "bound": 1.0, "sampling_steps": 3,
             "dropout": 0.0},
            {"multiple_of": 8}, _idle(2),
        ),
        "paper": PresetInfo(
            UNET + ADAPTER + CONTENT + METADATA + VAE, ADAPTER + CONTENT + METADATA, UNET + VAE,
            "adapters on a frozen Stable Diffusion 1.5; U-Net 859.52 M, map adapter 419.46 M, "
            "content adapter 47.21 M, metadata 2.88 M, VAE 83.65 M; the text encoder is not "
            "counted; red, green and blue only; classes are drawn as colours in the last of six "
            "maps, the others and the content image are zeros",
            {"schedule": "scaled", "kind": "epsilon", "sampling_steps": 50, "eta": 0.2,
             "guidance": 7.5, "dropout": 0.5, "at_once": 4},
            {"multiple_of": 64, "tile": 512}, _idle(4),
        ),
    },
    default_preset="paper",
    citation="D. Tang, X. Cao, X. Hou, Z. Jiang, J. Liu, D. Meng. CRS-Diff: controllable remote "
    "sensing image generation with diffusion model. IEEE TGRS 2024, arXiv 2403.11614",
    licence="Apache-2.0 (written from descriptions); Stable Diffusion 1.5 weights under the "
    "CreativeML Open RAIL-M licence",
    multiple_of=8,
    sampler_tolerance=SAMPLER_TOLERANCE,
    published=(("paper", "text2earth-rsicd", "CRS-Diff"),),
)  # fmt: skip
