"""Names of the layers in the state that SA-STF's authors released.

From the authors' program (ZZZhangjinsong/SA-STF, ``Diffusion/Model.py``), whose training saves the
state of the network alone. Their file itself was not tried.
"""

from __future__ import annotations

from rsbench_baselines.released import Layout, below, load_released
from rsbench_baselines.sa_stf.sizes import Size

__all__ = ["layout", "load_released"]

_BLOCK = {"block.0": "norm", "block.3": "conv"}
_LINEAR = {"1": "mlp.0", "3": "mlp.2"}
_ATTENTION = {"norm": "norm", "qkv": "qkv", "out": "out"}
_ALIGN = {
    "conv_a": "slope", "conv_b": "gap", "conv_b_full": "offset", "cross_atten.norm": "norm",
    "cross_atten.Wq": "query", "cross_atten.Wk": "key", "cross_atten.Wv": "value",
    "cross_atten.proj_out": "project",
}  # fmt: skip


def _image(theirs: str, ours: str, inputs: int, outputs: int) -> dict[str, str]:
    skip = {f"{theirs}.res_conv": f"{ours}.skip"} if inputs != outputs else {}
    return {**below(f"{theirs}.block1", f"{ours}.block", _BLOCK), **skip}


def _coded(theirs: str, ours: str, inputs: int, outputs: int) -> dict[str, str]:
    skip = {f"{theirs}.res_conv": f"{ours}.skip"} if inputs != outputs else {}
    return {
        f"{theirs}.noise_func.noise_func.0": f"{ours}.code",
        **below(f"{theirs}.block1", f"{ours}.first", _BLOCK),
        **below(f"{theirs}.block2", f"{ours}.second", _BLOCK),
        **skip,
    }


def _encoders(widths: list[int]) -> dict[str, str]:
    """Both pyramids: a stem, then a block and a smaller map in turn; one list in their state."""
    found = {"image_downs.0": "images.stem", "noise_downs.0": "noise.stem"}
    for i, (a, b) in enumerate(zip([widths[0], *widths], widths, strict=False)):
        found |= _image(f"image_downs.{2 * i + 1}", f"images.levels.{i}", a, b)
        found |= _coded(f"noise_downs.{2 * i + 1}", f"noise.levels.{i}", a, b)
        if i < len(widths) - 1:
            found[f"image_downs.{2 * i + 2}.conv"] = f"images.downs.{i}"
            found[f"noise_downs.{2 * i + 2}.conv"] = f"noise.downs.{i}"
    return found


def _fusions(levels: int, width: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for i in range(levels - 1):
        found |= below(f"image_fusion.{i}.crose_block", f"shallow.{i}.coarse", _BLOCK)
        found |= below(f"image_fusion.{i}.fine_block", f"shallow.{i}.fine", _BLOCK)
        found[f"image_fusion.{i}.fusion_conv"] = f"shallow.{i}.out"
    at = f"image_fusion.{levels - 1}"
    found |= _image(f"{at}.res_block1", "deep.before", width, width)
    found |= _image(f"{at}.res_block2", "deep.after", width, width)
    found |= below(f"{at}.fusion.attention", "deep.attention", _ATTENTION)
    for theirs, ours in (("time_attention0", "align0"), ("time_attention1", "align2")):
        for a, b in _ALIGN.items():
            ends = (".0", ".2") if b in ("slope", "offset") else ("",)
            found |= {f"{at}.fusion.{theirs}.{a}{end}": f"deep.{ours}.{b}{end}" for end in ends}
    found[f"{at}.fusion.norm"] = "deep.select.norm"
    found[f"{at}.fusion.res_conv"] = "deep.select.skip"
    return found | below(f"{at}.fusion.final_conv", "deep.select.block", _BLOCK)


def _decoder(widths: list[int]) -> dict[str, str]:
    found = below("final_conv", "decoder.out", _BLOCK)
    outputs = widths[::-1]
    for i, (a, b) in enumerate(zip([outputs[0], *outputs], outputs, strict=False)):
        found |= _coded(f"image_ups.{2 * i}", f"decoder.levels.{i}", a + b, b)
        if i < len(outputs) - 1:
            found[f"image_ups.{2 * i + 1}.conv"] = f"decoder.ups.{i}.conv"
    return found


def layout(size: Size) -> Layout:
    """Return the layout of a released state of this size: one name per layer, 153 if published."""
    widths = [size.base * m for m in size.mult]
    deepest = widths[-1]
    return Layout(
        below("res_level_mlp", "alpha", _LINEAR)
        | below("noise_level_mlp", "beta", _LINEAR)
        | _encoders(widths)
        | _fusions(len(widths), deepest)
        | {"mid.norm": "removal.norm"}
        | _coded("mid.res_block1", "removal.residual", deepest, deepest)
        | _coded("mid.res_block2", "removal.rest", deepest, deepest)
        | _decoder(widths)
    )
