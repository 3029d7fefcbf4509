"""SA-STF, STFDiff and RDDM against a second implementation under the authors' names.

The references are written in NumPy from the description of the networks, part by part, and name and
shape every tensor as the released states do. Such a state is loaded through the shipped tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from recorded import NORMS, check_all_noticed, compare, images
from reference_layers import F64, Layers, doubled, gelu, silu, sines, softmax
from torch import Tensor

from rsbench_baselines.rddm import released as rddm_released
from rsbench_baselines.rddm.blocks import ChannelNorm, FullAttention, LinearAttention, ResidualBlock
from rsbench_baselines.rddm.network import RDDM
from rsbench_baselines.rddm.sizes import SIZES as RDDM_SIZES
from rsbench_baselines.released import load_released
from rsbench_baselines.sa_stf import released as sa_stf_released
from rsbench_baselines.sa_stf.blocks import CodedBlock, ImageBlock
from rsbench_baselines.sa_stf.deep import SelfAttention
from rsbench_baselines.sa_stf.network import SASTF, References
from rsbench_baselines.sa_stf.sizes import Size
from rsbench_baselines.stfdiff import released as stfdiff_released
from rsbench_baselines.stfdiff.network import STFDiff
from rsbench_baselines.stfdiff.sizes import SIZES as STFDIFF_SIZES

GROUPS = 2
CODES = 2e-6
"""Tolerance: the networks compute the codes of times and levels in float32."""


def joined(*parts: F64) -> F64:
    return np.concatenate(parts)


class SaStf(Layers):
    """The released network: base 4, levels of 4 and 8 channels, two bands."""

    def block(self, name: str, x: F64, outputs: int) -> F64:
        y = silu(self.group_norm(f"{name}.block.0", x, GROUPS))
        return self.conv(f"{name}.block.3", y, outputs)

    def skip(self, name: str, x: F64, outputs: int) -> F64:
        return x if len(x) == outputs else self.conv(f"{name}.res_conv", x, outputs, 1)

    def image(self, name: str, x: F64, outputs: int) -> F64:
        return self.block(f"{name}.block1", x, outputs) + self.skip(name, x, outputs)

    def coded(self, name: str, x: F64, code: F64, outputs: int) -> F64:
        told = self.linear(f"{name}.noise_func.noise_func.0", code, outputs)
        y = self.block(f"{name}.block1", x, outputs) + told[:, None, None]
        return self.block(f"{name}.block2", y, outputs) + self.skip(name, x, outputs)

    def code(self, name: str, level: float) -> F64:
        y = silu(self.linear(f"{name}.1", sines(level, 4, last=False), 16))
        return self.linear(f"{name}.3", y, 4)

    def attention(self, name: str, x: F64) -> F64:
        C, H, W = x.shape
        read = self.conv(f"{name}.qkv", self.group_norm(f"{name}.norm", x, GROUPS), 3 * C, 1,
                         bias=False)  # fmt: skip
        q, k, v = np.split(read.reshape(3 * C, H * W), 3)
        found = v @ softmax(q.T @ k / np.sqrt(C)).T
        return x + self.conv(f"{name}.out", found.reshape(x.shape), C, 1)

    def aligned(self, name: str, c1: F64, cr: F64, fr: F64) -> tuple[F64, F64]:
        """HR and the estimate of the coarse target; attention weights are summed over queries."""
        C, H, W = c1.shape
        slope = self.two(f"{name}.conv_a", joined(c1, cr), C)
        gap = self.conv(f"{name}.conv_b", fr - cr, C, 1, bias=False).mean((1, 2), keepdims=True)
        offset = self.two(f"{name}.conv_b_full", gap, C)
        at = f"{name}.cross_atten"
        reads = (("Wq", self.group_norm(f"{at}.norm", fr, GROUPS)),
                 ("Wk", self.group_norm(f"{at}.norm", cr, GROUPS)), ("Wv", slope))  # fmt: skip
        q, k, v = (self.conv(f"{at}.{n}", y, C, 1, bias=False).reshape(C, -1) for n, y in reads)
        carried = (v @ softmax(q.T @ k * C**-0.5)).reshape(C, H, W)
        self(f"{at}.proj_out.weight", C, C, 1, 1)  # defined there and never used
        self(f"{at}.proj_out.bias", C)
        return carried * fr + offset, slope * cr + offset

    def two(self, name: str, x: F64, outputs: int) -> F64:
        return self.conv(f"{name}.2", silu(self.conv(f"{name}.0", x, outputs, 1)), outputs, 1)

    def selected(self, name: str, m: Mapping[str, F64], h0: F64, h2: F64) -> F64:
        same = (m["f0"] - m["f2"]) ** 2 < np.minimum(
            (m["c1"] - m["f0"]) ** 2, (m["c1"] - m["f2"]) ** 2
        )
        nearer = (m["c1"] - h0) ** 2 < (m["c1"] - h2) ** 2
        chosen = np.where(same, m["f0"], np.where(nearer, h0, h2))
        self(f"{name}.norm.weight", 8)  # defined there and never used
        self(f"{name}.norm.bias", 8)
        return self.block(f"{name}.final_conv", chosen, 8) + self.conv(
            f"{name}.res_conv", m["c1"], 8, 1
        )

    def condition(self, given: Mapping[str, F64]) -> tuple[F64, F64, F64, dict[str, F64]]:
        """The target's deepest map, F_d, the skip of the first level, and the alignment's parts."""
        first = {n: self.conv("image_downs.0", x, 4) for n, x in given.items()}
        first = {n: self.image("image_downs.1", x, 4) for n, x in first.items()}
        tip = {n: self.conv("image_downs.2.conv", x, 4, stride=2) for n, x in first.items()}
        tip = {n: self.image("image_downs.3", x, 8) for n, x in tip.items()}
        coarse = self.block("image_fusion.0.crose_block", joined(first["c1"], first["c0"],
                            first["c2"]), 4)  # fmt: skip
        fine = self.block("image_fusion.0.fine_block", joined(first["f0"], first["f2"]), 4)
        skip = self.conv("image_fusion.0.fusion_conv", joined(coarse, fine), 4, 1)
        deep, at = "image_fusion.1", "image_fusion.1.fusion"
        m = {n: self.image(f"{deep}.res_block1", x, 8) for n, x in tip.items()}
        m = {n: self.attention(f"{at}.attention", x) for n, x in m.items()}
        h0, low0 = self.aligned(f"{at}.time_attention0", m["c1"], m["c0"], m["f0"])
        h2, low2 = self.aligned(f"{at}.time_attention1", m["c1"], m["c2"], m["f2"])
        fused = self.image(f"{deep}.res_block2", self.selected(at, m, h0, h2), 8)
        return tip["c1"], fused, skip, {"from0": low0, "from2": low2, "target": m["c1"]}

    def denoised(
        self, given: Mapping[str, F64], x: F64, alpha: float, beta: float
    ) -> dict[str, F64]:
        a, b = self.code("res_level_mlp", alpha), self.code("noise_level_mlp", beta)
        deepest, fused, skip, parts = self.condition(given)
        y = self.coded("noise_downs.1", self.conv("noise_downs.0", x, 4), a, 4)
        y = self.coded("noise_downs.3", self.conv("noise_downs.2.conv", y, 4, stride=2), a, 8)

        def norm(v: F64) -> F64:
            return self.group_norm("mid.norm", v, GROUPS)

        residual = norm(self.coded("mid.res_block1", norm(deepest) - norm(fused), a, 8))
        y = self.coded("mid.res_block2", norm(y) - residual, b, 8)
        y = self.coded("image_ups.0", joined(y, fused), b, 8)
        y = self.conv("image_ups.1.conv", doubled(y), 8)
        y = self.coded("image_ups.2", joined(y, skip), b, 4)
        return {"image": self.block("final_conv", y, 2), **parts}


NAMES = ("c1", "c0", "f0", "c2", "f2")
SIZE = Size(0, bands=2, base=4, mult=(1, 2), groups=GROUPS)


def sa_stf_network() -> tuple[dict[str, F64], SASTF, Callable[[], dict[str, Tensor]]]:
    """Outputs of the reference, the network with its weights, and what runs it."""
    *pictures, x = images(1, 2, 4, 4, count=6)
    reference = SaStf()
    given = {n: t[0].numpy() for n, t in zip(NAMES, pictures, strict=True)}
    loops = reference.denoised(given, x[0].numpy(), 21.5, 40.0)
    net = SASTF(SIZE).double().eval()
    load_released(net, reference.state(), sa_stf_released.layout(SIZE))

    def run() -> dict[str, Tensor]:
        references = References(**dict(zip(NAMES, pictures, strict=True)))
        image, condition = net(references, x, torch.tensor([21.5]), torch.tensor([40.0]))
        assert condition.alignment is not None
        parts = {n: getattr(condition.alignment, n)[0] for n in ("from0", "from2", "target")}
        return {"image": image[0], **parts}

    return loops, net, run


def test_sa_stf() -> None:
    loops, net, run = sa_stf_network()
    compare("sa_stf", loops, run(), CODES)
    check_all_noticed(
        "sa_stf", net, run, shortcuts=(ImageBlock, CodedBlock, SelfAttention),
        left="deep.select.norm", close=CODES,
    )  # fmt: skip


def test_a_part_that_does_not_matter_is_found() -> None:
    """The norm of the selection is in the released state and never called."""
    _, net, run = sa_stf_network()
    with pytest.raises(AssertionError, match=r"without the norm deep\.select\.norm"):
        check_all_noticed("sa_stf", net, run, activations=(), close=CODES)


def standardised(w: F64) -> F64:
    mean, variance = w.mean((1, 2, 3), keepdims=True), w.var((1, 2, 3), keepdims=True)
    out: F64 = (w - mean) / np.sqrt(variance + 1e-5)
    return out


class TimedNet(Layers):
    """Parts that STFDiff and RDDM have in common; the width of both is 4."""

    def standard(self, name: str, x: F64, outputs: int) -> F64:
        """A 3×3 convolution with standardised filters."""
        w = standardised(self(f"{name}.weight", outputs, len(x), 3, 3))
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        found = np.zeros((outputs, *x.shape[1:]))
        for r, c in np.ndindex(*x.shape[1:]):
            found[:, r, c] = np.tensordot(w, padded[:, r : r + 3, c : c + 3], 3)
        return found + self(f"{name}.bias", outputs)[:, None, None]

    def scaled(self, name: str, y: F64, code: F64 | None) -> F64:
        if code is None:
            return y
        told = self.linear(f"{name}.mlp.1", silu(code), 2 * len(y))
        scale, shift = np.split(told[:, None, None], 2)
        return y * (scale + 1) + shift

    def time(self, time: float) -> F64:
        y = gelu(self.linear("time_mlp.1", sines(time, 4, last=True), 16))
        return self.linear("time_mlp.3", y, 16)

    def skip(self, name: str, x: F64, outputs: int) -> F64:
        return x if len(x) == outputs else self.conv(f"{name}.res_conv", x, outputs, 1)


class StfDiff(TimedNet):
    """The released network; two levels of 4 and 8 channels, two bands."""

    def block(self, name: str, x: F64, outputs: int, code: F64 | None) -> F64:
        y = self.group_norm(f"{name}.norm_1", self.standard(f"{name}.conv_1", x, outputs), GROUPS)
        y = silu(self.scaled(name, y, code))
        y = self.group_norm(f"{name}.norm_2", self.conv(f"{name}.conv_2", y, outputs), GROUPS)
        return silu(y) + self.skip(name, x, outputs)

    def denoised(self, x: F64, time: float, c0: F64, f0: F64, c1: F64) -> F64:
        code = self.time(time)
        self("init_conv.weight", 4, 2, 3, 3)  # defined there and never used
        self("init_conv.bias", 4)
        coarse = self.conv("coarse_init_conv", joined(c0, c1), 4)
        clean = joined(self.conv("fine_init_conv", f0, 4), coarse)
        clean = self.conv("clean_init_conv", clean, 4, 1)
        noisy = self.conv("noisy_init_conv", x, 4)
        stem, kept = noisy - clean, []
        for i, (width, kernel, stride) in enumerate(((4, 4, 2), (8, 3, 1))):
            clean = self.block(f"clean_downs.{i}.0", clean, 4, None)
            noisy = self.block(f"noisy_downs.{i}.0", noisy, 4, code)
            kept.append(noisy - clean)
            clean, noisy = (
                self.conv(f"{n}_downs.{i}.1", y, width, kernel, stride=stride, padding=1)
                for n, y in (("clean", clean), ("noisy", noisy))
            )
        y = self.block("noisy_mid_block", noisy, 8, code)
        y = y - self.block("clean_mid_block", clean, 8, None)
        y = self.block("noise_ups.0.0", joined(y, kept.pop()), 8, code)
        y = self.conv("noise_ups.0.1.1", doubled(y), 4)
        y = self.block("noise_ups.1.0", joined(y, kept.pop()), 4, code)
        y = self.conv("noise_ups.1.1", y, 4)
        y = self.block("final_res_block", joined(y, stem), 4, code)
        return self.conv("final_conv", y, 2, 1)


def test_stfdiff() -> None:
    size = replace(
        STFDIFF_SIZES["paper"], bands=2, base=4, mult=(1, 2), groups=GROUPS, residual=False
    )
    x, c0, f0, c1 = images(1, 2, 4, 6, count=4)
    reference = StfDiff()
    found = reference.denoised(x[0].numpy(), 17.0, *(t[0].numpy() for t in (c0, f0, c1)))
    net = STFDiff(size).double().eval()
    load_released(net, reference.state(), stfdiff_released.layout(size))

    def run() -> dict[str, Tensor]:
        return {"image": net(x, torch.tensor([17]), c0, f0, c1)[0]}

    compare("stfdiff", {"image": found}, run(), CODES)
    check_all_noticed("stfdiff", net, run, shortcuts=(ResidualBlock,), close=CODES)


class Rddm(TimedNet):
    """One released U-Net; two levels of 4 and 8 channels, two heads of width 3 ("dim_head")."""

    def block(self, name: str, x: F64, outputs: int, code: F64) -> F64:
        y = self.standard(f"{name}.block1.proj", x, outputs)
        y = silu(self.scaled(name, self.group_norm(f"{name}.block1.norm", y, GROUPS), code))
        y = self.standard(f"{name}.block2.proj", y, outputs)
        y = silu(self.group_norm(f"{name}.block2.norm", y, GROUPS))
        return y + self.skip(name, x, outputs)

    def channel_norm(self, name: str, x: F64) -> F64:
        out: F64 = (
            (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) * self(f"{name}.g", 1, len(x), 1, 1)[0]
        )
        return out

    def attention(self, name: str, x: F64, *, linear: bool) -> F64:
        C, H, W = x.shape
        y = self.channel_norm(f"{name}.fn.norm", x)
        read = self.conv(f"{name}.fn.fn.to_qkv", y, 18, 1, bias=False).reshape(3, 2, 3, H * W)
        found = []
        for q, k, v in zip(*read, strict=True):
            if linear:
                q = softmax(q.T).T / np.sqrt(3)
                found.append((v / (H * W)) @ softmax(k).T @ q)
            else:
                found.append(v @ softmax(q.T @ k / np.sqrt(3)).T)
        out = np.concatenate(found).reshape(6, H, W)
        if not linear:
            return x + self.conv(f"{name}.fn.fn.to_out", out, C, 1)
        out = self.conv(f"{name}.fn.fn.to_out.0", out, C, 1)
        return x + self.channel_norm(f"{name}.fn.fn.to_out.1", out)

    def answered(self, x: F64, time: float) -> F64:
        code = self.time(time)
        y = stem = self.conv("init_conv", x, 4, 7)
        kept: list[F64] = []
        for i, (width, kernel, stride) in enumerate(((4, 4, 2), (8, 3, 1))):
            kept.append(self.block(f"downs.{i}.0", y, 4, code))
            y = self.block(f"downs.{i}.1", kept[-1], 4, code)
            kept.append(self.attention(f"downs.{i}.2", y, linear=True))
            y = self.conv(f"downs.{i}.3", kept[-1], width, kernel, stride=stride, padding=1)
        y = self.block("mid_block1", y, 8, code)
        y = self.block("mid_block2", self.attention("mid_attn", y, linear=False), 8, code)
        for i, (width, below) in enumerate(((8, 4), (4, 4))):
            y = self.block(f"ups.{i}.0", joined(y, kept.pop()), width, code)
            y = self.block(f"ups.{i}.1", joined(y, kept.pop()), width, code)
            y = self.attention(f"ups.{i}.2", y, linear=True)
            y = self.conv(*((f"ups.{i}.3.1", doubled(y)) if i == 0 else (f"ups.{i}.3", y)), below)
        y = self.block("final_res_block", joined(y, stem), 4, code)
        return self.conv("final_conv", y, 2, 1)


@pytest.mark.parametrize("objective", ["pred_res_noise", "pred_noise", "pred_res"])
def test_rddm(objective: str) -> None:
    """Both networks; with an objective of one network the released state has one network."""
    size = replace(
        RDDM_SIZES["tiny"], bands=2, images=1, base=4, mult=(1, 2), groups=GROUPS, heads=2, head=3,
        residual=False, objective=objective,  # type: ignore[arg-type]
    )  # fmt: skip
    x, given = images(1, 2, 4, 6, count=2)
    levels = {"residual": 3.25, "noise": 8.5}
    used = {"pred_noise": ["noise"], "pred_res": ["residual"]}.get(objective, list(levels))
    state, loops = {}, {}
    for i, name in enumerate(used):
        reference = Rddm(f"unet{i}.")
        loops[name] = reference.answered(joined(x[0].numpy(), given[0].numpy()), levels[name])
        state |= reference.state()
    net = RDDM(size).double().eval()
    load_released(net, state, rddm_released.layout(size))

    def run() -> dict[str, Tensor]:
        out = net(x, given, *(torch.tensor([levels[n]]) for n in ("residual", "noise")))
        return {name: getattr(out, name)[0] for name in used}

    compare(f"rddm_{objective}", loops, run(), CODES)
    if objective != "pred_res_noise":  # its networks are those of the others
        check_all_noticed(
            f"rddm_{objective}", net, run, norms=(*NORMS, ChannelNorm),
            shortcuts=(ResidualBlock, LinearAttention, FullAttention), close=CODES,
        )  # fmt: skip
