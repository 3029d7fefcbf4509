"""Layers of a second implementation in NumPy, float64, one image ``(C, H, W)`` at a time.

A layer asks for its weights by name and shape, and they are drawn by the rule of ``recorded``. The
names and shapes that a reference asked for are then the state of the network that it describes.
"""

from __future__ import annotations

import numpy as np
import torch
from fusion_loops import F64, gelu, sigmoid, silu, softmax
from recorded import weight
from torch import Tensor

__all__ = ["F64", "Layers", "doubled", "gelu", "sigmoid", "silu", "sines", "softmax"]


class Layers:
    """Weights by name, and the layers that use them.

    Args:
        start: before all names.
    """

    def __init__(self, start: str = "") -> None:
        self._weights: dict[str, F64] = {}
        self._start = start

    def __call__(self, name: str, *shape: int) -> F64:
        """One tensor; asked for again it must have the same shape."""
        name = self._start + name
        found = self._weights.setdefault(name, weight(name, shape))
        assert found.shape == shape, name
        return found

    def state(self) -> dict[str, Tensor]:
        """All tensors that were asked for."""
        return {name: torch.from_numpy(values) for name, values in self._weights.items()}

    def conv(
        self, name: str, x: F64, outputs: int, kernel: int = 3, *, stride: int = 1,
        groups: int = 1, dilation: int = 1, padding: int | None = None, bias: bool = True,
    ) -> F64:  # fmt: skip
        """Correlate; sides stay where neither stride nor padding is given."""
        w = self(f"{name}.weight", outputs, len(x) // groups, kernel, kernel)
        reach = dilation * (kernel - 1)
        pad = reach // 2 if padding is None else padding
        padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
        rows, columns = ((side - reach - 1) // stride + 1 for side in padded.shape[1:])
        found = np.zeros((outputs, rows, columns))
        share, read = outputs // groups, len(x) // groups
        for u, v in np.ndindex(kernel, kernel):
            top, left = u * dilation, v * dilation
            seen = padded[:, top:, left:][:, ::stride, ::stride][:, :rows, :columns]
            for g in range(groups):
                out = slice(g * share, (g + 1) * share)
                found[out] += np.tensordot(w[out, :, u, v], seen[g * read : (g + 1) * read], 1)
        return found + self(f"{name}.bias", outputs)[:, None, None] if bias else found

    def linear(self, name: str, x: F64, outputs: int, *, bias: bool = True) -> F64:
        """Map the last axis."""
        found: F64 = x @ self(f"{name}.weight", outputs, x.shape[-1]).T
        return found + self(f"{name}.bias", outputs) if bias else found

    def group_norm(self, name: str | None, x: F64, groups: int, epsilon: float = 1e-5) -> F64:
        """Normalise groups of channels; without a name there is no scale and shift."""
        parts = [
            (part - part.mean()) / np.sqrt(part.var() + epsilon) for part in np.split(x, groups)
        ]
        found = np.concatenate(parts)
        return found if name is None else self._affine(name, found)

    def batch_norm(self, name: str, x: F64) -> F64:
        """Normalise by the recorded mean and variance."""
        mean, variance = (self(f"{name}.running_{n}", len(x)) for n in ("mean", "var"))
        self._weights[f"{self._start}{name}.num_batches_tracked"] = np.zeros((), np.int64)  # type: ignore[assignment]
        found = (x - mean[:, None, None]) / np.sqrt(variance + 1e-5)[:, None, None]
        return self._affine(name, found)

    def layer_norm(self, name: str, x: F64, epsilon: float = 1e-5) -> F64:
        """Normalise the last axis."""
        found = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
        width = x.shape[-1]
        out: F64 = found * self(f"{name}.weight", width) + self(f"{name}.bias", width)
        return out

    def _affine(self, name: str, x: F64) -> F64:
        scale, shift = self(f"{name}.weight", len(x)), self(f"{name}.bias", len(x))
        out: F64 = x * scale[:, None, None] + shift[:, None, None]
        return out


def sines(level: float, width: int, *, last: bool) -> F64:
    """Sines, then cosines; the slowest frequency is 1/10000, or one step above it."""
    half = width // 2
    angles = level * 10_000.0 ** (-np.arange(half) / (half - 1 if last else half))
    return np.concatenate([np.sin(angles), np.cos(angles)])


def doubled(x: F64) -> F64:
    """Twice as large, nearest neighbour."""
    return x.repeat(2, axis=1).repeat(2, axis=2)
