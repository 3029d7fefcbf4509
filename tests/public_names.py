"""Names that other programs give the tensors of our networks; fusion networks have two levels.

Written from the authors' programs apart from the shipped tables, as replacements that are applied
to our name one after the other.
"""

from __future__ import annotations

import re

Rules = tuple[tuple[str, str], ...]

_SWIN: Rules = (
    (r"bias\.table$", "attn.relative_position_bias_table"),
    (r"\.(qkv|proj)\.", r".attn.\1."),
    (r"\.query_fine\.", ".attn.q."), (r"\.key_fine\.", ".attn.k."),
    (r"\.query_coarse\.", ".attn.q2."), (r"\.key_coarse\.", ".attn.k2."),
    (r"\.value\.", ".attn.v."),
    (r"^(bottom|ups\.\d\.fusion)\.(blocks\.\d)\.norm2", r"\1.\2.norm3"),
    (r"norm_c0", "norm1"), (r"norm_f0", "norm2"), (r"norm_c1", "norm3"),
    (r"^(coarse|fine)\.embed", r"\1_down.inc.proj"), (r"^(coarse|fine)\.norm", r"\1_down.inc.norm"),
    (r"^(coarse|fine)\.levels\.0", r"\1_down.down1.layer.blocks"),
    (r"^(coarse|fine)\.levels\.1", r"\1_down.down2.layer.blocks"),
    (r"^(coarse|fine)\.merging\.0", r"\1_down.down1.downsample"),
    (r"^(coarse|fine)\.merging\.1", r"\1_down.down2.downsample"),
    (r"^bottom", "fine_up.layer"), (r"^enlarge\.conv", "fine_up.up1.up.0"),
    (r"^ups\.0\.enlarge\.conv", "fine_up.up2.up.0"),
    (r"^ups\.0", "fine_up.up1"), (r"^ups\.1", "fine_up.up2"),
    (r"^(fine_up\.up\d)\.fusion", r"\1.layer"), (r"^(fine_up\.up\d)\.join", r"\1.proj1"),
    (r"^(fine_up\.up\d)\.blocks", r"\1.layer2.blocks"),
    (r"^head\.conv", "fine_up.outc.0"), (r"^out\.", "fine_up.outc.2."),
)  # fmt: skip
_GENERATOR: Rules = (
    (r"\.conv1\.", ".residual.1."), (r"\.conv2\.", ".residual.5."),
    (r"^mixers\.(\d)\.first", r"SignE_List.\1.conv1.0"),
    (r"^mixers\.(\d)\.norm1", r"SignE_List.\1.conv1.1"),
    (r"^mixers\.(\d)\.second", r"SignE_List.\1.conv2.0"),
    (r"^mixers\.(\d)\.norm2", r"SignE_List.\1.conv2.1"),
    (r"^mixers\.(\d)\.last", r"SignE_List.\1.conv.0"),
    (r"^mixers\.(\d)\.norm3", r"SignE_List.\1.conv.1"),
    (r"^coarse\.", "LSNet."), (r"^fine\.", "HSNet."),
    (r"(SNet)\.downs\.0", r"\1.conv1.0"), (r"(SNet)\.downs\.1", r"\1.conv2.0"),
    (r"(SNet)\.blocks\.0", r"\1.conv1.1"), (r"(SNet)\.blocks\.1", r"\1.conv2.1"),
    (r"^ups\.0", "conv1.0.deconv"), (r"^blocks\.0", "conv1.1"), (r"^head\.", "conv2."),
)  # fmt: skip
_DISCRIMINATOR: Rules = tuple(
    (rf"^layers\.{ours}\.", f"model{theirs}.")
    for ours, theirs in ((0, "0.0"), (2, "1.0"), (3, "1.1"), (5, "2.0"), (6, "2.1"), (8, "3.0"),
                         (9, "3.1"), (11, "4.0"))
)  # fmt: skip
_MAMBA: Rules = (
    (r"\.(positions|columns)\.norm1", r".\1.norm"), (r"\.fc([12])", r".mlp.fc\1"),
    (r"scan\.enter", "op.in_proj"), (r"scan\.conv", "op.conv2d"), (r"scan\.norm", "op.out_norm"),
    (r"scan\.select", "op.x_proj_weight"), (r"scan\.step", "op.dt_projs_weight"),
    (r"scan\.shift", "op.dt_projs_bias"), (r"scan\.log_rates", "op.A_logs"),
    (r"scan\.pass_on", "op.Ds"), (r"scan\.leave", "op.out_proj"),
    (r"^sharpen\.(blocks\.\d\.\d)\.columns", r"sharpen.\1.0"),
    (r"^sharpen\.(blocks\.\d\.\d)\.positions", r"sharpen.\1.2"),
    (r"^sharpen\.blocks\.2", "sharpen.sr_block"), (r"^sharpen\.blocks", "sharpen.sr_block_list"),
    (r"^sharpen\.down", "sharpen.conv_first"), (r"^sharpen\.up", "sharpen.conv_final"),
    (r"^sharpen\.", "model_SR.SR."),
    (r"^encoder\.embed", "encoder.patch_emb.proj"),
    (r"^encoder\.merging\.0", "encoder.downsample_1"),
    (r"^encoder\.stages\.0\.0\.positions", "encoder.st_block_1.1"),
    (r"^encoder\.stages\.0\.0\.columns", "encoder.st_block_1.4"),
    (r"^encoder\.stages\.1\.0\.positions", "encoder.st_block_2.1"),
    (r"^encoder\.stages\.1\.0\.columns", "encoder.st_block_2.4"),
    (r"^encoder\.stages\.1\.1\.positions", "encoder.st_block_2.7"),
    (r"^encoder\.stages\.1\.1\.columns", "encoder.st_block_2.10"),
    (r"^from_fine", "decoder_1"), (r"^from_coarse", "decoder"),
    (r"mixes\.0\.blend", "fuse_layer_2"), (r"mixes\.1\.blend", "fuse_layer_1"),
    (r"mixes\.0\.stacked", "st_block_21"), (r"mixes\.1\.stacked", "st_block_11"),
    (r"mixes\.0\.woven", "st_block_22"), (r"mixes\.1\.woven", "st_block_12"),
    (r"mixes\.0\.beside", "st_block_23"), (r"mixes\.1\.beside", "st_block_13"),
    (r"residuals\.0", "smooth_layer_1"), (r"middle\.2", "smooth_layer_0"),
    (r"middle\.0", "st_block_1"), (r"middle\.1", "fuse_layer_0"),
    (r"(st_block_\d+)\.enter", r"\1.0"), (r"(st_block_\d+)\.pair\.positions", r"\1.2"),
    (r"(st_block_\d+)\.pair\.columns", r"\1.5"),
    (r"(fuse_layer_\d)\.conv", r"\1.0"), (r"(fuse_layer_\d)\.norm", r"\1.1"),
    (r"(smooth_layer_\d)\.norm", r"\1.bn"),
    (r"\.expand\.", ".pachexp."), (r"\.last\.", ".pachexp_2."), (r"\.linear\.", ".expand."),
    (r"^(decoder\w*)\.out\.", r"\1.down_layer.conv1."),
    (r"^(decoder\w*)\.spare", r"\1.subpixel_conv"),
    (r"^(encoder|decoder)", r"model_fusion.\1"),
    (r"^join\.one", "join.embedding"), (r"^join\.both", "join.embedding_2"),
    (r"^join\.query", "join.Wq"), (r"^join\.key", "join.Wk"), (r"^join\.value", "join.Wv"),
    (r"^join\.out", "join.proj_out"), (r"^join\.spare\.0", "join.down_conv"),
    (r"^join\.spare\.1", "join.deconv_layer"), (r"^join\.", "cross_fusion."),
)  # fmt: skip
# OpenSTL: a convolution with its norm is one module in an outer one of the same name.
_SIMVP: Rules = (
    (r"^((?:enc\.enc|dec\.dec)\.\d+)\.(conv|norm)\.", r"\1.conv.\2."),
    (r"^(dec\.dec\.[02468])\.conv\.conv\.", r"\1.conv.conv.0."),  # of an even number of layers
    (r"\.gate\.", ".spatial_gating_unit."), (r"\.dwconv\.", ".dwconv.dwconv."),
)  # fmt: skip
_PREDRNN: Rules = ((r"^(cell_list\.\d+\.conv_[xhmo])\.", r"\1.0."),)
RULES = {
    "simvp": _SIMVP, "predrnn": _PREDRNN,
    "swinstfm": _SWIN, "mlff_gan": _GENERATOR, "mlff_gan critic": _DISCRIMINATOR,
    "stfmamba": _MAMBA,
}  # fmt: skip


def public_name(network: str, name: str) -> str:
    """Return the authors' name of a tensor."""
    for pattern, new in RULES[network]:
        name = re.sub(pattern, new, name)
    return name
