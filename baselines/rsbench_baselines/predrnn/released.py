"""Names of the layers in OpenSTL's checkpoints of PredRNN, which are those of the authors' program.

From OpenSTL (chengtan9907/OpenSTL, ``openstl/modules/predrnn_modules.py``), without the layer norms
that its configurations leave out. No file of weights was tried.
"""

from __future__ import annotations

from rsbench_baselines.released import Layout, below


def layout(layers: int) -> Layout:
    """Return the layout of the released state of a network with so many layers."""
    found: dict[str, str] = {}
    for i in range(layers):
        cell = f"cell_list.{i}"
        found |= below(cell, cell, {f"conv_{x}.0": f"conv_{x}" for x in ("x", "h", "m", "o")})
    return Layout(found, own=("samples_seen",))
