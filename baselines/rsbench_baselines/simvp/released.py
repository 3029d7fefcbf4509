"""Names of the layers in OpenSTL's checkpoints of SimVP.

From OpenSTL (chengtan9907/OpenSTL, ``openstl/modules/simvp_modules.py``). No file of weights was
tried.
"""

from __future__ import annotations

from rsbench_baselines.released import Layout
from rsbench_baselines.simvp.network import SimVP, strides


def layout(network: SimVP) -> Layout:
    """Return the layout of the released state of a network.

    The translator of IncepU has the names of ours. An enlarging convolution of the decoder is the
    first part of a sequence there.
    """
    found: dict[str, str] = {}
    coders = (("enc.enc", strides(len(network.enc.enc))), ("dec.dec", _up(len(network.dec.dec))))
    for at, steps in coders:
        for i, stride in enumerate(steps):
            enlarges = at == "dec.dec" and stride == 2
            found[f"{at}.{i}.conv.conv{'.0' if enlarges else ''}"] = f"{at}.{i}.conv"
            found[f"{at}.{i}.conv.norm"] = f"{at}.{i}.norm"
    for i in range(network.blocks):
        block = f"hid.enc.{i}.block"
        found[f"{block}.attn.spatial_gating_unit"] = f"{block}.attn.gate"
        found[f"{block}.mlp.dwconv.dwconv"] = f"{block}.mlp.dwconv"
    return Layout(found)


def _up(layers: int) -> list[int]:
    return strides(layers)[::-1]
