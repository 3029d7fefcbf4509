"""Names of the layers in the states that MLFF-GAN's released training program saves.

From the authors' program (songbingze/MLFF-GAN, ``model.py``), which saves generator and
discriminator in a file each. No file of weights was tried.
"""

from __future__ import annotations

from rsbench_baselines.mlff_gan.sizes import Size
from rsbench_baselines.released import Layout, below

_RESIDUAL = {"residual.1": "conv1", "residual.5": "conv2"}
_MIXER = {
    "conv1.0": "first", "conv1.1": "norm1", "conv2.0": "second", "conv2.1": "norm2",
    "conv.0": "last", "conv.1": "norm3",
}  # fmt: skip


def generator_layout(size: Size) -> Layout:
    """Return the layout of the released state of the generator."""
    levels = len(size.widths)
    found: dict[str, str] = {}
    for theirs, ours in (("LSNet", "coarse"), ("HSNet", "fine")):
        for i in range(levels):
            found[f"{theirs}.conv{i + 1}.0"] = f"{ours}.downs.{i}"
            found |= below(f"{theirs}.conv{i + 1}.1", f"{ours}.blocks.{i}", _RESIDUAL)
    for i in range(levels):
        found |= below(f"SignE_List.{i}", f"mixers.{i}", _MIXER)
    for i in range(levels - 1):
        found[f"conv{i + 1}.0.deconv"] = f"ups.{i}"
        found |= below(f"conv{i + 1}.1", f"blocks.{i}", _RESIDUAL)
    head = f"conv{levels}"
    found |= below(head, "head", {"1": "1", "3": "3"})
    for i in (0, 2):
        found |= below(f"{head}.{i}", f"head.{i}", _RESIDUAL)
    return Layout(found)


def discriminator_layout() -> Layout:
    """Return the layout of the released state of the discriminator."""
    found = {"model0.0": "layers.0", "model4.0": "layers.11"}
    for i in (1, 2, 3):
        found[f"model{i}.0"] = f"layers.{3 * i - 1}"
        found[f"model{i}.1"] = f"layers.{3 * i}"
    return Layout(found)
