"""Names of the layers in the state of RDDM's released network.

From the authors' program (nachifur/RDDM, ``src/residual_denoising_diffusion_pytorch.py``). Its
networks restore single images: the first layer of a file trained with them has other channels than
fusion needs, and such a file is refused by that shape. No file of weights was tried.
"""

from __future__ import annotations

from rsbench_baselines.rddm.sizes import Size
from rsbench_baselines.released import Layout, below

_BLOCK = {
    "mlp.1": "time", "block1.proj": "conv1", "block1.norm": "norm1", "block2.proj": "conv2",
    "block2.norm": "norm2", "res_conv": "skip",
}  # fmt: skip
_ATTENTION = {"fn.norm.g": "norm.gain", "fn.fn.to_qkv": "qkv"}
_LINEAR = {**_ATTENTION, "fn.fn.to_out.0": "out", "fn.fn.to_out.1.g": "last.gain"}
_NETWORKS = {"pred_noise": ("noise",), "pred_res": ("residual",)}


def layout(size: Size) -> Layout:
    """Return the layout of the released state of the networks of this size and objective."""
    found: dict[str, str] = {}
    for i, network in enumerate(_NETWORKS.get(size.objective, ("residual", "noise"))):
        found |= below(f"unet{i}", network, _unet(len(size.mult)))
    return Layout(found)


def _unet(levels: int) -> dict[str, str]:
    found = {"init_conv": "stem", "final_conv": "out"}
    found |= below("time_mlp", "time", {"1": "first", "3": "second"})
    for theirs, ours in (("mid_block1", "middle1"), ("mid_block2", "middle2"),
                         ("final_res_block", "final")):  # fmt: skip
        found |= below(theirs, ours, _BLOCK)
    found |= below("mid_attn", "attention", {**_ATTENTION, "fn.fn.to_out": "out"})
    for i in range(levels):
        for way in ("downs", "ups"):
            found |= below(f"{way}.{i}.0", f"{way}.{i}.block1", _BLOCK)
            found |= below(f"{way}.{i}.1", f"{way}.{i}.block2", _BLOCK)
            found |= below(f"{way}.{i}.2", f"{way}.{i}.attention", _LINEAR)
        found[f"downs.{i}.3"] = f"downs.{i}.resize"
        # The larger map comes from a sequence, whose second part has weights; the last does not.
        found[f"ups.{i}.3{'.1' if i < levels - 1 else ''}"] = f"ups.{i}.resize.conv"
    return found
