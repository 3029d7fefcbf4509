"""Names of the layers in the state of STFMamba's released network.

From the authors' program (zhaomin0101/STFMamba, ``model.py`` and ``models_mamba/``) and the scan
block of VMamba that it uses. No file of weights was tried. Some versions of the program have a
second encoder that their forward pass does not call. A state does not show which encoder saw the
fine image in training, so a state with ``encoder_2`` is refused.
"""

from __future__ import annotations

from rsbench_baselines.released import Layout, below
from rsbench_baselines.stfmamba.sizes import Size

_SCAN = {
    "norm": "norm1", "norm2": "norm2", "mlp.fc1": "fc1", "mlp.fc2": "fc2",
    "op.in_proj": "scan.enter", "op.conv2d": "scan.conv", "op.x_proj_weight": "scan.select",
    "op.dt_projs_weight": "scan.step", "op.dt_projs_bias": "scan.shift",
    "op.A_logs": "scan.log_rates", "op.Ds": "scan.pass_on", "op.out_norm": "scan.norm",
    "op.out_proj": "scan.leave",
}  # fmt: skip
_RESIDUAL = {"conv1": "conv1", "bn1": "norm1", "conv2": "conv2", "bn2": "norm2"}
_JOIN = {
    "embedding": "one", "embedding_2": "both", "Wq": "query", "Wk": "key", "Wv": "value",
    "proj_out": "out", "down_conv": "spare.0", "deconv_layer": "spare.1",
}  # fmt: skip


def layout(size: Size) -> Layout:
    """Return the layout of the released state of a network of this size."""
    found = below("cross_fusion", "join", _JOIN)
    found |= _sharpen("model_SR.SR", size) | _encoder("model_fusion.encoder", size)
    for theirs, ours in (("decoder_1", "from_fine"), ("decoder", "from_coarse")):
        found |= _decoder(f"model_fusion.{theirs}", ours, len(size.widths))
    return Layout(found, merged=("log_rates", "pass_on"))


def _sharpen(at: str, size: Size) -> dict[str, str]:
    """Names of the sharpening layers; the template of its blocks, never called, is our last one."""
    found = {f"{at}.conv_first": "sharpen.down", f"{at}.conv_final": "sharpen.up"}
    names = [f"{at}.sr_block_list.{i}" for i in range(size.sharpen_blocks)]
    for i, name in enumerate([*names, f"{at}.sr_block"]):
        for k in range(size.sharpen_pairs):
            found |= below(f"{name}.{k}.0", f"sharpen.blocks.{i}.{k}.columns", _SCAN)
            found |= below(f"{name}.{k}.2", f"sharpen.blocks.{i}.{k}.positions", _SCAN)
    return found


def _encoder(at: str, size: Size) -> dict[str, str]:
    found = {f"{at}.patch_emb.proj": "encoder.embed"}
    for i, pairs in enumerate(size.pairs):
        if i < len(size.pairs) - 1:
            found[f"{at}.downsample_{i + 1}"] = f"encoder.merging.{i}"
        for k in range(pairs):
            ours = f"encoder.stages.{i}.{k}"
            found |= below(f"{at}.st_block_{i + 1}.{6 * k + 1}", f"{ours}.positions", _SCAN)
            found |= below(f"{at}.st_block_{i + 1}.{6 * k + 4}", f"{ours}.columns", _SCAN)
    return found


def _decoder(at: str, ours: str, levels: int) -> dict[str, str]:
    expand = {"expand": "linear", "norm": "norm"}
    found = {f"{at}.down_layer.conv1": f"{ours}.out", f"{at}.subpixel_conv": f"{ours}.spare"}
    found |= below(f"{at}.pachexp", f"{ours}.expand", expand)
    found |= below(f"{at}.pachexp_2", f"{ours}.last", expand)
    for i in range(levels):
        level = levels - i
        for k, name in enumerate(("stacked", "woven", "beside"), start=1):
            found |= _laid(f"{at}.st_block_{level}{k}", f"{ours}.mixes.{i}.{name}")
        found |= _blend(f"{at}.fuse_layer_{level}", f"{ours}.mixes.{i}.blend")
        if i:
            found |= below(f"{at}.smooth_layer_{level}", f"{ours}.residuals.{i - 1}", _RESIDUAL)
    found |= _laid(f"{at}.st_block_1", f"{ours}.middle.0")
    found |= _blend(f"{at}.fuse_layer_0", f"{ours}.middle.1")
    return found | below(f"{at}.smooth_layer_0", f"{ours}.middle.2", _RESIDUAL)


def _laid(theirs: str, ours: str) -> dict[str, str]:
    return {
        f"{theirs}.0": f"{ours}.enter",
        **below(f"{theirs}.2", f"{ours}.pair.positions", _SCAN),
        **below(f"{theirs}.5", f"{ours}.pair.columns", _SCAN),
    }


def _blend(theirs: str, ours: str) -> dict[str, str]:
    return below(theirs, ours, {"0": "conv", "1": "norm"})
