"""Layers of the fusion networks once more in NumPy, float64, loops over pixels."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

F64 = npt.NDArray[np.float64]
Weights = Callable[[str], F64]


def weights(module: nn.Module) -> Weights:
    state = module.state_dict()
    return lambda name: state[name].double().numpy()


def shaken(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter and buffer a generic value, so that no term hides behind 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.add_(0.2 * torch.rand(tensor.shape, generator=generator))
    return module.double().eval()


def picture(*shape: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def conv(
    x: F64, w: F64, b: F64 | None = None, *, stride: int = 1, padding: int = 0, groups: int = 1
) -> F64:
    """Convolve ``(C, H, W)``, one output pixel at a time."""
    outputs, per_group, kh, kw = w.shape
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    rows = (padded.shape[1] - kh) // stride + 1
    columns = (padded.shape[2] - kw) // stride + 1
    found = np.zeros((outputs, rows, columns))
    for o in range(outputs):
        first = o // (outputs // groups) * per_group
        for r in range(rows):
            for c in range(columns):
                patch = padded[
                    first : first + per_group,
                    r * stride : r * stride + kh,
                    c * stride : c * stride + kw,
                ]
                found[o, r, c] = (patch * w[o]).sum() + (0.0 if b is None else b[o])
    return found


def group_norm(x: F64, groups: int, w: F64, b: F64) -> F64:
    found = np.empty_like(x)
    for part in np.split(np.arange(len(x)), groups):
        found[part] = (x[part] - x[part].mean()) / math.sqrt(x[part].var() + 1e-5)
    return found * w[:, None, None] + b[:, None, None]


def layer_norm(x: F64, w: F64, b: F64) -> F64:
    """Normalise the last axis."""
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    out: F64 = (x - mean) / np.sqrt(var + 1e-5) * w + b
    return out


def sigmoid(x: F64) -> F64:
    out: F64 = 1 / (1 + np.exp(-x))
    return out


def silu(x: F64) -> F64:
    return x * sigmoid(x)


def gelu(x: F64) -> F64:
    error_function: F64 = np.vectorize(math.erf)(x / math.sqrt(2))
    return x * 0.5 * (1 + error_function)


def softmax(x: F64) -> F64:
    """Over the last axis."""
    e = np.exp(x - x.max(-1, keepdims=True))
    out: F64 = e / e.sum(-1, keepdims=True)
    return out


def double(x: F64) -> F64:
    """Twice as large, nearest neighbour."""
    return x.repeat(2, axis=1).repeat(2, axis=2)
