"""LPIPS and the Inception network as their papers describe them, to be timed beside ours.

Each image goes through the network by itself, rows are contiguous, and batch normalisation is a
step of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d, relu

from rsbench.metrics import inception, perceptual
from rsbench.metrics.perceptual import Net, State

Shape = tuple[int, int, int, int]


def lpips(net: Net, state: State, heads: tuple[Tensor, ...], a: Tensor, b: Tensor) -> Tensor:
    """Return LPIPS of pictures in [0, 1] with contiguous weights: (n,)."""
    shift, scale = (torch.tensor(v).view(1, 3, 1, 1) for v in (perceptual.SHIFT, perceptual.SCALE))
    sides = [list(perceptual._STAGES[net](state, (2 * x - 1 - shift) / scale)) for x in (a, b)]
    value = torch.zeros(len(a))
    for x, y, head in zip(*sides, heads, strict=True):
        x, y = (f / ((f**2).sum(1, keepdim=True).sqrt() + 1e-10) for f in (x, y))
        value = value + conv2d((x - y) ** 2, head.view(1, -1, 1, 1)).mean((2, 3))[:, 0]
    return value


def inception_shapes() -> dict[str, Shape]:
    """Return name → (outputs, inputs, rows, columns) of every convolution."""
    found: dict[str, Shape] = {}

    def add(block: str, rows: str) -> None:
        for row in rows.split(","):
            name, out, into, size = row.split()
            height, _, width = size.partition("x")
            found[block + name] = (int(out), int(into), int(height), int(width or height))

    add("Conv2d_", "1a_3x3 32 3 3,2a_3x3 32 32 3,2b_3x3 64 32 3,3b_1x1 80 64 1,4a_3x3 192 80 3")
    for name, n, pool in (("5b", 192, 32), ("5c", 256, 64), ("5d", 288, 64)):
        add(f"Mixed_{name}.branch", f"1x1 64 {n} 1,5x5_1 48 {n} 1,5x5_2 64 48 5,"
            f"3x3dbl_1 64 {n} 1,3x3dbl_2 96 64 3,3x3dbl_3 96 96 3,_pool {pool} {n} 1")  # fmt: skip
    add("Mixed_6a.branch", "3x3 384 288 3,3x3dbl_1 64 288 1,3x3dbl_2 96 64 3,3x3dbl_3 96 96 3")
    for name, k in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
        add(f"Mixed_{name}.branch", f"1x1 192 768 1,7x7_1 {k} 768 1,7x7_2 {k} {k} 1x7,"
            f"7x7_3 192 {k} 7x1,7x7dbl_1 {k} 768 1,7x7dbl_2 {k} {k} 7x1,7x7dbl_3 {k} {k} 1x7,"
            f"7x7dbl_4 {k} {k} 7x1,7x7dbl_5 192 {k} 1x7,_pool 192 768 1")  # fmt: skip
    add("Mixed_7a.branch", "3x3_1 192 768 1,3x3_2 320 192 3,7x7x3_1 192 768 1,"
        "7x7x3_2 192 192 1x7,7x7x3_3 192 192 7x1,7x7x3_4 192 192 3")  # fmt: skip
    for name, n in (("7b", 1280), ("7c", 2048)):
        add(f"Mixed_{name}.branch", f"1x1 320 {n} 1,3x3_1 384 {n} 1,3x3_2a 384 384 1x3,"
            f"3x3_2b 384 384 3x1,3x3dbl_1 448 {n} 1,3x3dbl_2 384 448 3,3x3dbl_3a 384 384 1x3,"
            f"3x3dbl_3b 384 384 3x1,_pool 192 {n} 1")  # fmt: skip
    return found


def inception_weights() -> State:
    """Return random weights of all layers under their published names."""
    draw, state = torch.Generator().manual_seed(0), {}
    for name, shape in inception_shapes().items():
        deviation = (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        state[f"{name}.conv.weight"] = torch.randn(shape, generator=draw) * deviation
        for part, value in (("weight", 1), ("bias", 0.1), ("running_mean", 0), ("running_var", 1)):
            state[f"{name}.bn.{part}"] = torch.full(shape[:1], float(value))
    return state


def inception_conv(raw: State) -> Callable[..., Tensor]:
    """Return what stands for ``rsbench.metrics.inception._conv``."""

    def conv(state: object, name: str, x: Tensor, *, reduce: bool = False) -> Tensor:
        weight = raw[f"{name}.conv.weight"]
        inside = reduce or name in inception._UNPADDED
        padding = (0, 0) if inside else (weight.shape[2] // 2, weight.shape[3] // 2)
        stride = 2 if reduce or name == "Conv2d_1a_3x3" else 1
        mean, var, gain, bias = (
            raw[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        y = conv2d(x, weight, None, stride, padding)
        return relu(batch_norm(y, mean, var, gain, bias, False, 0.0, inception.EPSILON))

    return conv
