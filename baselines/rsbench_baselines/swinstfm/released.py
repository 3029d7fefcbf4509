"""Names of the layers in the state that SwinSTFM's released training program saves.

From the authors' program (LouisChen0104/swinstfm, ``models/``). No file of weights was tried.
"""

from __future__ import annotations

from rsbench_baselines.released import Layout, below
from rsbench_baselines.swinstfm.sizes import Size

_BLOCK = {
    "norm1": "norm1", "norm2": "norm2", "mlp": "mlp", "attn.qkv": "qkv", "attn.proj": "proj",
    "attn.relative_position_bias_table": "bias.table",
}  # fmt: skip
_FUSION = {
    "norm1": "norm1", "norm3": "norm2", "mlp": "mlp", "attn.proj": "proj", "attn.v": "value",
    "attn.q": "query_fine", "attn.k": "key_fine", "attn.q2": "query_coarse",
    "attn.k2": "key_coarse", "attn.relative_position_bias_table": "bias.table",
}  # fmt: skip
_NORMS = {"norm1": "norm_c0", "norm2": "norm_f0", "norm3": "norm_c1"}


def layout(size: Size) -> Layout:
    """Return the layout of the released state of a network of this size."""
    found = {"fine_up.outc.0": "head.conv", "fine_up.outc.2": "out"}
    for encoder in ("coarse", "fine"):
        found |= below(f"{encoder}_down.inc", encoder, {"proj": "embed", "norm": "norm"})
        for i, depth in enumerate(size.depths):
            at = f"{encoder}_down.down{i + 1}"
            found[f"{at}.downsample"] = f"{encoder}.merging.{i}"
            found |= _blocks(f"{at}.layer", f"{encoder}.levels.{i}", depth, _BLOCK)
    found |= _fusion("fine_up.layer", "bottom", 1)
    for i, depth in enumerate(size.up_depths):
        at = f"fine_up.up{i + 1}"
        # What enlarges the map from below belongs to the level above in their state.
        found[f"{at}.up.0"] = "enlarge.conv" if i == 0 else f"ups.{i - 1}.enlarge.conv"
        found[f"{at}.proj1"] = f"ups.{i}.join"
        found |= _fusion(f"{at}.layer", f"ups.{i}.fusion", 2)
        found |= _blocks(f"{at}.layer2", f"ups.{i}.blocks", depth, _BLOCK)
    return Layout(found, computed=("relative_position_index", "attn_mask"))


def _blocks(theirs: str, ours: str, depth: int, parts: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for i in range(depth):
        found |= below(f"{theirs}.blocks.{i}", f"{ours}.{i}", parts)
    return found


def _fusion(theirs: str, ours: str, depth: int) -> dict[str, str]:
    return below(theirs, ours, _NORMS) | _blocks(theirs, f"{ours}.blocks", depth, _FUSION)
