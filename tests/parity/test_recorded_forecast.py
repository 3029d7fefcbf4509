"""SimVP, PredRNN, MCVD and the U-Net of DDPM against a second implementation and its record.

The references are written in NumPy from the publications, part by part. They state name and shape
of every tensor, and their state is loaded strictly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from recorded import check_all_noticed, compare, drawn
from reference_layers import F64, Layers, doubled, gelu, sigmoid, silu, sines, softmax
from torch import Tensor

from rsbench_baselines.ddpm import network as ddpm
from rsbench_baselines.mcvd import network as mcvd
from rsbench_baselines.predrnn.network import PredRNN
from rsbench_baselines.simvp.network import GASubBlock, SimVP, SpatialAttention

FLOAT32 = 2e-6
"""Tolerance where a network computes a part in float32."""


def joined(*parts: F64) -> F64:
    return np.concatenate(parts)


def shuffled(x: F64) -> F64:
    """Channel 4·c + 2·i + j goes to row 2·r + i and column 2·s + j."""
    C, (H, W) = len(x) // 4, x.shape[1:]
    found = np.zeros((C, 2 * H, 2 * W))
    for c, i, j in np.ndindex(C, 2, 2):
        found[c, i::2, j::2] = x[4 * c + 2 * i + j]
    return found


class SimVp(Layers):
    """Two frames of two bands; four channels a frame, one halving."""

    def unit(self, name: str, x: F64, *, stride: int, up: bool = False) -> F64:
        if up and stride == 2:
            y = shuffled(self.conv(f"{name}.conv", x, 16))
        else:
            y = self.conv(f"{name}.conv", x, 4, stride=1 if up else stride, padding=1)
        return silu(self.group_norm(f"{name}.norm", y, 2))

    def gated(self, name: str, x: F64) -> F64:
        """A block of the second version."""
        C = len(x)
        n = self.batch_norm(f"{name}.norm1", x)
        y = gelu(self.conv(f"{name}.attn.proj_1", n, C, 1))
        y = self.conv(f"{name}.attn.gate.conv0", y, C, 5, groups=C)
        y = self.conv(f"{name}.attn.gate.conv_spatial", y, C, 7, groups=C, dilation=3)
        content, gate = np.split(self.conv(f"{name}.attn.gate.conv1", y, 2 * C, 1), 2)
        y = n + self.conv(f"{name}.attn.proj_2", sigmoid(gate) * content, C, 1)
        x = x + self(f"{name}.layer_scale_1", C)[:, None, None] * y
        y = self.conv(f"{name}.mlp.fc1", self.batch_norm(f"{name}.norm2", x), 2 * C, 1)
        y = gelu(self.conv(f"{name}.mlp.dwconv", y, 2 * C, groups=2 * C))
        y = self.conv(f"{name}.mlp.fc2", y, C, 1)
        return x + self(f"{name}.layer_scale_2", C)[:, None, None] * y

    def gsta(self, x: F64) -> F64:
        for i, width in enumerate((6, 6, 8)):
            y = self.gated(f"hid.enc.{i}.block", x)
            same = len(y) == width
            x = y if same else self.conv(f"hid.enc.{i}.reduction", y, width, 1)
        return x

    def inception(self, name: str, x: F64, outputs: int) -> F64:
        y, total = self.conv(f"{name}.conv1", x, 8, 1), np.zeros((outputs, *x.shape[1:]))
        for i, kernel in enumerate((3, 5, 7, 11)):
            z = self.conv(f"{name}.layers.{i}.conv", y, outputs, kernel, groups=8)
            z = self.group_norm(f"{name}.layers.{i}.norm", z, 8)
            total += np.where(z > 0, z, 0.2 * z)
        return total

    def incepu(self, x: F64) -> F64:
        kept = []
        for i in range(3):
            x = self.inception(f"hid.enc.{i}", x, 16)
            kept.append(x)
        x = self.inception("hid.dec.0", kept.pop(), 16)
        x = self.inception("hid.dec.1", joined(x, kept.pop()), 16)
        return self.inception("hid.dec.2", joined(x, kept.pop()), 8)

    def predicted(self, frames: F64, kind: str) -> F64:
        skips = [self.unit("enc.enc.0", frame, stride=1) for frame in frames]
        latents = [self.unit("enc.enc.1", skip, stride=2) for skip in skips]
        hidden = {"gsta": self.gsta, "incepu": self.incepu}[kind](joined(*latents))
        found = []
        for y, skip in zip(np.split(hidden, 2), skips, strict=True):
            y = self.unit("dec.dec.0", y, stride=2, up=True) + skip
            y = self.unit("dec.dec.1", y, stride=1, up=True)
            found.append(self.conv("dec.readout", y, 2, 1))
        return np.stack(found)


@pytest.mark.parametrize("kind", ["gsta", "incepu"])
def test_simvp(kind: str) -> None:
    frames = drawn("frames", 2, 2, 8, 8)
    reference = SimVp()
    found = reference.predicted(frames, kind)
    widths = {"gsta": 6, "incepu": 16}
    net = SimVP((2, 2, 8, 8), hid_S=4, hid_T=widths[kind], N_S=2, N_T=3, model_type=kind,
                mlp_ratio=2.0).double().eval()  # fmt: skip
    net.load_state_dict(reference.state())

    def run() -> dict[str, Tensor]:
        return {"frames": net(torch.from_numpy(frames)[None])[0]}

    compare(f"simvp_{kind}", {"frames": found}, run())
    shortcuts = (GASubBlock, SpatialAttention) if kind == "gsta" else ()
    check_all_noticed(f"simvp_{kind}", net, run, shortcuts=shortcuts)


class PredRnn(Layers):
    """Two layers of width 3, kernels of 3, patches of 2×2 pixels, two bands."""

    def gates(self, name: str, x: F64, count: int) -> list[F64]:
        return np.split(self.conv(name, x, 3 * count, bias=False), count)

    def cell(self, name: str, x: F64, h: F64, c: F64, m: F64) -> tuple[F64, ...]:
        gx = self.gates(f"{name}.conv_x", x, 7)
        gh, gm = self.gates(f"{name}.conv_h", h, 4), self.gates(f"{name}.conv_m", m, 3)
        added = sigmoid(gx[0] + gh[0]) * np.tanh(gx[2] + gh[2])
        carried = sigmoid(gx[3] + gm[0]) * np.tanh(gx[5] + gm[2])
        c = sigmoid(gx[1] + gh[1] + 1) * c + added
        m = sigmoid(gx[4] + gm[1] + 1) * m + carried
        opened = sigmoid(gx[6] + gh[3] + self.conv(f"{name}.conv_o", joined(c, m), 3, bias=False))
        h = opened * np.tanh(self.conv(f"{name}.conv_last", joined(c, m), 3, 1, bias=False))
        return h, c, m, added, carried

    def unrolled(self, frames: F64) -> dict[str, F64]:
        zero = np.zeros((3, 2, 3))
        states, memory, found = [(zero, zero), (zero, zero)], zero, {}
        for t, frame in enumerate(frames):
            x = joined(*(frame[:, i::2, j::2] for i in (0, 1) for j in (0, 1)))
            cosines = []
            for i, (h, c) in enumerate(states):
                x, c, memory, added, carried = self.cell(f"cell_list.{i}", x, h, c, memory)
                states[i] = (x, c)
                a, b = (
                    self.conv("adapter", y, 3, 1, bias=False).reshape(3, -1)
                    for y in (added, carried)
                )
                norms = np.sqrt((a * a).sum(1) * (b * b).sum(1))
                cosines.append(np.abs((a * b).sum(1) / norms).mean())
            y, answer = self.conv("conv_last", x, 8, 1, bias=False), np.zeros((2, 4, 6))
            for i, j in np.ndindex(2, 2):
                answer[:, i::2, j::2] = y[2 * (2 * i + j) : 2 * (2 * i + j) + 2]
            found |= {f"frame {t}": answer, f"likeness {t}": np.array(np.mean(cosines))}
        return found


def test_predrnn() -> None:
    frames = drawn("frames", 3, 2, 4, 6)
    reference = PredRnn()
    loops = reference.unrolled(frames)
    net = PredRNN((3, 2, 4, 6), (3, 3), 3, 2, decoupled=True).double().eval()
    net.load_state_dict(reference.state())

    def run() -> dict[str, Tensor]:
        found, state = {}, net.zero()
        for t, frame in enumerate(torch.from_numpy(frames)):
            answer, state, added = net(frame[None], state)
            found |= {f"frame {t}": answer[0], f"likeness {t}": net.likeness(added).double()}
        return found

    compare("predrnn", loops, run(), FLOAT32)
    check_all_noticed("predrnn", net, run, norms=(), close=FLOAT32)


def smoothed(x: F64, way: str) -> F64:
    """Filter by 1-3-3-1 in both directions: keep every second, or zeros put in between."""
    kernel = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
    C, H, W = x.shape
    if way == "up":
        wide = np.zeros((C, 2 * H, 2 * W))
        wide[:, ::2, ::2] = 4 * x
        padded, step, sides = np.pad(wide, ((0, 0), (2, 1), (2, 1))), 1, (2 * H, 2 * W)
    else:
        padded, step, sides = np.pad(x, ((0, 0), (1, 1), (1, 1))), 2, (H // 2, W // 2)
    found = np.empty((C, *sides))
    for r, c in np.ndindex(sides):
        part = padded[:, r * step : r * step + 4, c * step : c * step + 4]
        found[:, r, c] = (part * kernel).sum((1, 2))
    return found


class Mcvd(Layers):
    """Two levels of 4 and 8 channels, two channels of noise, three given; SPADE of width 4."""

    def __init__(self, *, spade: bool) -> None:
        super().__init__()
        self.spade = spade

    def norm(self, name: str, x: F64, code: F64 | None, given: F64) -> F64:
        groups = max(1, len(x) // 4)
        affine = f"{name}.norm" if code is None and not self.spade else None
        y = self.group_norm(affine, x, groups, 1e-6 if self.spade else 1e-5)
        if self.spade:
            step = given.shape[1] // x.shape[1]
            read = silu(self.conv(f"{name}.shared", given[:, ::step, ::step], 4))
            scale = 1 + self.conv(f"{name}.gamma", read, len(x))
            y = y * scale + self.conv(f"{name}.beta", read, len(x))
        if code is not None:
            told = self.linear(f"{name}.time", silu(code), 2 * len(x))
            scale, shift = np.split(told[:, None, None], 2)
            y = y * (1 + scale) + shift
        return y

    def block(self, name: str, x: F64, outputs: int, code: F64, given: F64, way: str = "") -> F64:
        y = silu(self.norm(f"{name}.norm1", x, code, given))
        plain = len(x) == outputs and not way
        if way:
            x, y = smoothed(x, way), smoothed(y, way)
        y = silu(self.norm(f"{name}.norm2", self.conv(f"{name}.conv1", y, outputs), code, given))
        y = self.conv(f"{name}.conv2", y, outputs)
        return ((x if plain else self.conv(f"{name}.skip", x, outputs, 1)) + y) / np.sqrt(2)

    def attention(self, name: str, x: F64) -> F64:
        """Two heads of width 4."""
        C, H, W = x.shape
        y = self.conv(f"{name}.read", self.group_norm(f"{name}.norm", x, 2, 1e-6), 3 * C, 1)
        found = [
            v @ softmax(q.T @ k / 2).T for q, k, v in zip(*y.reshape(3, 2, 4, H * W), strict=True)
        ]
        return (x + self.conv(f"{name}.out", joined(*found).reshape(C, H, W), C, 1)) / np.sqrt(2)

    def noise(self, x: F64, given: F64, time: float) -> F64:
        code = silu(self.linear("time.0", sines(time, 4, last=True), 16))
        code = self.linear("time.2", code, 16)
        a = self.conv("stem", x if self.spade else joined(x, given), 4)
        b = self.block("down.0.0", a, 4, code, given)
        c = self.block("shrink.0", b, 4, code, given, "down")
        d = self.attention("down_attention.1.0", self.block("down.1.0", c, 8, code, given))
        y = self.attention("middle_attention", self.block("middle.0", d, 8, code, given))
        y = self.block("middle.1", y, 8, code, given)
        y = self.block("up.0.0", joined(y, d), 8, code, given)
        y = self.block("up.0.1", joined(y, c), 8, code, given)
        y = self.block("grow.0", self.attention("up_attention.0.0", y), 8, code, given, "up")
        y = self.block("up.1.0", joined(y, b), 4, code, given)
        y = self.block("up.1.1", joined(y, a), 4, code, given)
        return self.conv("out", silu(self.norm("norm", y, None, given)), 2)


@pytest.mark.parametrize("form", ["joined", "spade"])
def test_mcvd(form: str) -> None:
    x, given = drawn("noisy", 2, 8, 8), drawn("given", 3, 8, 8)
    reference = Mcvd(spade=form == "spade")
    found = reference.noise(x, given, 7.0)
    net = mcvd.UNet(
        2, 1, 3, image_size=8, ngf=4, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(4,),
        n_head_channels=4, spade_dim=4 if form == "spade" else 0,
    ).double().eval()  # fmt: skip
    net.load_state_dict(reference.state())

    def run() -> dict[str, Tensor]:
        inputs = (torch.from_numpy(y)[None] for y in (x, given))
        return {"noise": net(*inputs, torch.tensor([7]))[0]}

    compare(f"mcvd_{form}", {"noise": found}, run(), FLOAT32)
    check_all_noticed(
        f"mcvd_{form}", net, run, shortcuts=(mcvd.ResBlock, mcvd.Attention), close=FLOAT32
    )


class Ddpm(Layers):
    """Two levels of 8 and 16 channels, a block and attention at the lower one."""

    def block(self, name: str, x: F64, outputs: int, code: F64) -> F64:
        y = silu(self.group_norm(f"{name}.norm1", x, groups_of(len(x))))
        y = self.conv(f"{name}.conv1", y, outputs)
        scale, shift = np.split(self.linear(f"{name}.time", code, 2 * outputs)[:, None, None], 2)
        y = self.group_norm(f"{name}.norm2", y, groups_of(outputs)) * (1 + scale) + shift
        y = self.conv(f"{name}.conv2", silu(y), outputs)
        return y + (x if len(x) == outputs else self.conv(f"{name}.skip", x, outputs, 1))

    def attention(self, name: str, x: F64) -> F64:
        C = len(x)
        y = self.group_norm(f"{name}.norm", x, groups_of(C))
        q, k, v = (
            self.conv(f"{name}.{n}", y, C, 1, bias=n != "key").reshape(C, -1)
            for n in ("query", "key", "value")
        )
        found = v @ softmax(q.T @ k / np.sqrt(C)).T
        return x + self.conv(f"{name}.out", found.reshape(x.shape), C, 1)

    def level(self, name: str, x: F64, kept: Sequence[F64], width: int, code: F64) -> F64:
        for i, skip in enumerate(kept):
            x = self.block(f"{name}.blocks.{i}", joined(x, skip), width, code)
            x = self.attention(f"{name}.attention.{i}", x) if width == 16 else x
        return x

    def noise(self, x: F64, time: float) -> F64:
        sine, cosine = np.split(sines(time, 8, last=False), 2)
        code = silu(self.linear("time.0", joined(cosine, sine), 32))
        code = silu(self.linear("time.2", code, 32))
        a = self.conv("stem", x, 8)
        b = self.block("down.0.blocks.0", a, 8, code)
        c = self.conv("shrink.0", b, 8, stride=2)
        d = self.attention("down.1.attention.0", self.block("down.1.blocks.0", c, 16, code))
        y = self.attention("middle_attention", self.block("middle.blocks.0", d, 16, code))
        y = self.level("up.0", self.block("middle.blocks.1", y, 16, code), (d, c), 16, code)
        y = self.level("up.1", self.conv("grow.0", doubled(y), 16), (b, a), 8, code)
        return self.conv("out", silu(self.group_norm("norm", y, 2)), 2)


def groups_of(channels: int) -> int:
    """At most 8 groups of four channels or more, as many as divide the channels."""
    return max(n for n in range(1, min(8, channels // 4) + 1) if channels % n == 0)


def test_ddpm() -> None:
    x = drawn("noisy", 5, 4, 6)
    reference = Ddpm()
    found = reference.noise(x, 7.0)
    net = ddpm.UNet(5, 2, base=8, mult=(1, 2), num_res_blocks=1, attention=(1,)).double().eval()
    net.load_state_dict(reference.state())

    def run() -> dict[str, Tensor]:
        return {"noise": net(torch.from_numpy(x)[None], torch.tensor([7]))[0]}

    compare("ddpm", {"noise": found}, run(), FLOAT32)
    check_all_noticed("ddpm", net, run, shortcuts=(ddpm.ResBlock, ddpm.Attention), close=FLOAT32)
