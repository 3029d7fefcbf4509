"""The Inception-v3 of the Fréchet Inception distance, its input, and its four taps.

The variant is that of the 2015 weights: average pools leave the padding out, and the last block
pools by maximum. Batch normalisation is folded into the convolutions when the file is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate, max_pool2d, relu

from rsbench.core.errors import InputError
from rsbench.metrics.weights import find
from rsbench.metrics.weights_read import read_weights

NAME = "inception"
TAPS = (64, 192, 768, 2048)
SIDE = 299
EPSILON = 1e-3
IMAGES = 16  # worked on at a time
LAYOUT = torch.channels_last  # convolves as fast and pools several times faster

Rounding = Literal["round", "truncate", "wrap"]
State = dict[str, tuple[Tensor, Tensor]]
Block = Callable[[State, str, Tensor], Tensor]

_UNPADDED = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_4a_3x3")


def _conv(state: State, name: str, x: Tensor, *, reduce: bool = False) -> Tensor:
    weight, bias = state[name]
    padding = (weight.shape[2] // 2, weight.shape[3] // 2)
    if reduce or name in _UNPADDED:
        padding = (0, 0)
    stride = 2 if reduce or name == "Conv2d_1a_3x3" else 1
    return relu(conv2d(x, weight, bias, stride, padding), inplace=True)


def _chain(state: State, block: str, names: str, x: Tensor, *, reduce: bool = False) -> Tensor:
    """Convolutions one after the other; the last one halves the image where ``reduce``."""
    parts = names.split()
    for place, part in enumerate(parts):
        x = _conv(state, f"{block}.{part}", x, reduce=reduce and place == len(parts) - 1)
    return x


def _average(x: Tensor) -> Tensor:
    return avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _a(state: State, name: str, x: Tensor) -> Tensor:
    return torch.cat((
        _chain(state, name, "branch1x1", x),
        _chain(state, name, "branch5x5_1 branch5x5_2", x),
        _chain(state, name, "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3", x),
        _chain(state, name, "branch_pool", _average(x)),
    ), 1)  # fmt: skip


def _b(state: State, name: str, x: Tensor) -> Tensor:
    return torch.cat((
        _chain(state, name, "branch3x3", x, reduce=True),
        _chain(state, name, "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3", x, reduce=True),
        max_pool2d(x, 3, 2),
    ), 1)  # fmt: skip


def _c(state: State, name: str, x: Tensor) -> Tensor:
    long = " ".join(f"branch7x7dbl_{i}" for i in range(1, 6))
    return torch.cat((
        _chain(state, name, "branch1x1", x),
        _chain(state, name, "branch7x7_1 branch7x7_2 branch7x7_3", x),
        _chain(state, name, long, x),
        _chain(state, name, "branch_pool", _average(x)),
    ), 1)  # fmt: skip


def _d(state: State, name: str, x: Tensor) -> Tensor:
    long = " ".join(f"branch7x7x3_{i}" for i in range(1, 5))
    return torch.cat((
        _chain(state, name, "branch3x3_1 branch3x3_2", x, reduce=True),
        _chain(state, name, long, x, reduce=True),
        max_pool2d(x, 3, 2),
    ), 1)  # fmt: skip


def _e(state: State, name: str, x: Tensor, pooled: Tensor) -> Tensor:
    short = _chain(state, name, "branch3x3_1", x)
    long = _chain(state, name, "branch3x3dbl_1 branch3x3dbl_2", x)
    return torch.cat((
        _chain(state, name, "branch1x1", x),
        *(_conv(state, f"{name}.branch3x3_{part}", short) for part in ("2a", "2b")),
        *(_conv(state, f"{name}.branch3x3dbl_{part}", long) for part in ("3a", "3b")),
        _chain(state, name, "branch_pool", pooled),
    ), 1)  # fmt: skip


def _stages(state: State, x: Tensor) -> Iterator[Tensor]:
    """Yield the maps of the four taps."""
    for name in ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"):
        x = _conv(state, name, x)
    x = max_pool2d(x, 3, 2)
    yield x
    for name in ("Conv2d_3b_1x1", "Conv2d_4a_3x3"):
        x = _conv(state, name, x)
    x = max_pool2d(x, 3, 2)
    yield x
    for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        x = _a(state, name, x)
    x = _b(state, "Mixed_6a", x)
    for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        x = _c(state, name, x)
    yield x
    x = _d(state, "Mixed_7a", x)
    x = _e(state, "Mixed_7b", x, _average(x))
    yield _e(state, "Mixed_7c", x, max_pool2d(x, 3, stride=1, padding=1))


@lru_cache(maxsize=2)
def _state(device: torch.device, digest: str) -> State:
    """Convolutions with their normalisation folded in; ``digest`` is part of the cache's key."""
    raw = read_weights(NAME)
    found: State = {}
    try:
        for key in raw:
            if not key.endswith(".conv.weight"):
                continue
            name = key.removesuffix(".conv.weight")
            scale = raw[f"{name}.bn.weight"].double()
            scale = scale / (raw[f"{name}.bn.running_var"].double() + EPSILON).sqrt()
            bias = raw[f"{name}.bn.bias"] - raw[f"{name}.bn.running_mean"] * scale
            weight = raw[key].double() * scale[:, None, None, None]
            weight = weight.float().to(device, memory_format=LAYOUT)
            found[name] = (weight, bias.float().to(device))
        deepest = found["Mixed_7c.branch_pool"][0].shape
    except (KeyError, RuntimeError) as error:
        raise InputError(
            f"the weights {NAME}", f"the file lacks a layer ({error})", "Take the published file"
        ) from error
    if tuple(deepest) != (192, 2048, 1, 1):
        raise InputError(
            f"the weights {NAME}", f"the last layer is {tuple(deepest)}", "Take the published file"
        )
    return found


def network(x: Tensor, deepest: int) -> dict[int, Tensor]:
    """Return {tap: (n, tap) float32} of inputs (n, 3, 299, 299), no deeper than asked."""
    state = _state(x.device, find(NAME)[1])
    x = x.contiguous(memory_format=LAYOUT)
    found = {}
    for tap, maps in zip(TAPS, _stages(state, x), strict=False):
        found[tap] = maps.mean((-1, -2))
        if tap == deepest:
            break
    return found


def to_bytes(x: Tensor, rounding: Rounding) -> Tensor:
    """Return pictures in [0, 1] as whole numbers 0 … 255, in float.

    ``truncate`` cuts the fraction off; ``wrap`` does so and then makes of it what a library makes
    of bytes that it takes for floats: 255 · b modulo 256, the photographic negative.
    """
    if rounding == "round":
        return (x * 255.0).round()
    cut = (x * 255.0).floor()
    return cut if rounding == "truncate" else (cut * 255.0) % 256.0


def resized(x: Tensor, *, antialias: bool) -> Tensor:
    """Resize to 299 × 299: as TensorFlow 1 did (no half-pixel centres), or antialiased."""
    if antialias:
        return interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
    rows, columns = (_tf1(length, x.device) for length in x.shape[-2:])
    return torch.matmul(rows, x) @ columns.T


@lru_cache(maxsize=16)
def _tf1(length: int, device: torch.device) -> Tensor:
    """TensorFlow 1's bilinear resize as a matrix (299, length): source = target · length / 299."""
    with torch.inference_mode(False):
        source = torch.arange(SIDE, dtype=torch.float64) * (length / SIDE)
        lower = source.floor().long()
        upper = (lower + 1).clamp_max(length - 1)
        share = source - lower
        matrix = torch.zeros(SIDE, length, dtype=torch.float64)
        place = torch.arange(SIDE)
        matrix.index_put_((place, lower), 1.0 - share, accumulate=True)
        matrix.index_put_((place, upper), share, accumulate=True)
        return matrix.float().to(device)


def features(x: Tensor, deepest: int, *, rounding: Rounding, antialias: bool) -> dict[int, Tensor]:
    """Return {tap: (n, tap)} on the CPU of pictures (n, 3, H, W) in [0, 1]."""
    parts = []
    for piece in torch.split(x, IMAGES):
        shown = resized(to_bytes(piece, rounding), antialias=antialias)
        parts.append(network((shown - 128.0) / 128.0, deepest))
    return {tap: torch.cat([part[tap].cpu() for part in parts]) for tap in parts[0]}
