"""Names of the layers in the state of STFDiff's released network.

From the copy of the authors' program in JiazhenZhao02091/GPSTFDiff
(``src/model/stfdiff/model6_GN_SiLU/pred_resnet.py``). No file of weights was tried.
"""

from __future__ import annotations

from rsbench_baselines.released import Layout, below
from rsbench_baselines.stfdiff.sizes import Size

_BLOCK = {
    "mlp.1": "time", "conv_1": "conv1", "norm_1": "norm1", "conv_2": "conv2", "norm_2": "norm2",
    "res_conv": "skip",
}  # fmt: skip


def layout(size: Size) -> Layout:
    """Return the layout of the released state of a network of this size."""
    levels = len(size.mult)
    found = {
        "init_conv": "spare", "fine_init_conv": "fine", "coarse_init_conv": "coarse",
        "noisy_init_conv": "noisy", "clean_init_conv": "join", "final_conv": "out",
    }  # fmt: skip
    found |= below("time_mlp", "time", {"1": "first", "3": "second"})
    found |= below("final_res_block", "final", _BLOCK)
    for branch in ("clean", "noisy"):
        found |= below(f"{branch}_mid_block", f"{branch}_branch.bottom", _BLOCK)
        for i in range(levels):
            found |= below(f"{branch}_downs.{i}.0", f"{branch}_branch.blocks.{i}", _BLOCK)
            found[f"{branch}_downs.{i}.1"] = f"{branch}_branch.downs.{i}"
    for i in range(levels):
        found |= below(f"noise_ups.{i}.0", f"ups.{i}", _BLOCK)
        # The larger map comes from a sequence, whose second part has weights; the last does not.
        found[f"noise_ups.{i}.1{'.1' if i < levels - 1 else ''}"] = f"grows.{i}.conv"
    return Layout(found)
