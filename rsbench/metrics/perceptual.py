"""LPIPS: distances of network features, weighted to match human judgements of similarity.

Networks are lists of layers; weight files (`rsbench.metrics.weights`) are read without unpickling.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, relu

from rsbench.core.errors import InputError
from rsbench.metrics.definitions.images import BACKBONES
from rsbench.metrics.display import rgb_pair
from rsbench.metrics.images import ImageBatch, PerImage
from rsbench.metrics.weights import find
from rsbench.metrics.weights_read import read_weights

Net = Literal["alex", "vgg", "squeeze"]
State = dict[str, Tensor]

# Means and deviations of ImageNet, for inputs in [−1, 1] instead of [0, 1].
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
TINY = 1e-10
LAYOUT = torch.channels_last

# Convolutions of AlexNet's features: place, stride, padding; "pool" precedes a stage.
_ALEX = ((0, 4, 2), "pool", (3, 1, 2), "pool", (6, 1, 1), (8, 1, 1), (10, 1, 1))
# VGG16: places of the convolutions of each stage; a pool separates stages.
_VGG = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
# SqueezeNet 1.1: places of the fire modules of each stage after the first convolution.
_SQUEEZE = ("pool", (3, 4), "pool", (6, 7), "pool", (9,), (10,), (11,), (12,))


def _conv(state: State, name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    y = conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride, padding)
    return relu(y, inplace=True)


def _alex(state: State, x: Tensor) -> Iterator[Tensor]:
    for layer in _ALEX:
        if isinstance(layer, str):
            x = max_pool2d(x, 3, 2)
            continue
        place, stride, padding = layer
        x = _conv(state, f"features.{place}", x, stride, padding)
        yield x


def _vgg(state: State, x: Tensor) -> Iterator[Tensor]:
    for stage, places in enumerate(_VGG):
        if stage:
            x = max_pool2d(x, 2, 2)
        for place in places:
            x = _conv(state, f"features.{place}", x, padding=1)
        yield x


def _squeeze(state: State, x: Tensor) -> Iterator[Tensor]:
    x = _conv(state, "features.0", x, stride=2)
    yield x
    for layer in _SQUEEZE:
        if isinstance(layer, str):
            x = max_pool2d(x, 3, 2, ceil_mode=True)
            continue
        for place in layer:
            x = _conv(state, f"features.{place}.squeeze", x)
            narrow = _conv(state, f"features.{place}.expand1x1", x)
            wide = _conv(state, f"features.{place}.expand3x3", x, padding=1)
            x = torch.cat((narrow, wide), 1)
        yield x


_STAGES = {"alex": _alex, "vgg": _vgg, "squeeze": _squeeze}
CHANNELS = {
    "alex": (64, 192, 384, 256, 256),
    "vgg": (64, 128, 256, 512, 512),
    "squeeze": (64, 128, 256, 384, 384, 512, 512),
}


@lru_cache(maxsize=4)
def _heads(net: Net, device: torch.device, digest: str) -> tuple[Tensor, ...]:
    """Weights of the channels of each stage; ``digest`` is part of the key of the cache."""
    state = read_weights(f"lpips-{net}")
    found = []
    for stage, channels in enumerate(CHANNELS[net]):
        weight = state.get(f"lin{stage}.model.1.weight")
        if weight is None or tuple(weight.shape) != (1, channels, 1, 1):
            raise InputError(
                f"the weights lpips-{net}", f"stage {stage} is not of {channels} channels",
                "Take the published file",
            )  # fmt: skip
        found.append(weight.flatten().to(device))
    return tuple(found)


@lru_cache(maxsize=4)
def _backbone(net: Net, device: torch.device, digest: str) -> State:
    state = read_weights(BACKBONES[net])
    return {
        # Channels last, which convolves as fast and pools several times faster.
        k: v.float().to(device, memory_format=LAYOUT if v.ndim == 4 else torch.preserve_format)
        for k, v in state.items()
        if k.startswith("features.")
    }


def distance(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """LPIPS 0.1 of pictures (n, 3, H, W) in [0, 1]: (n,) float64, spatial mean, sum over stages."""
    device = a.device
    state = _backbone(net, device, find(BACKBONES[net])[1])
    heads = _heads(net, device, find(f"lpips-{net}")[1])
    shift, scale = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (SHIFT, SCALE))
    both = torch.cat((a, b)).mul_(2.0).sub_(1.0).sub_(shift).div_(scale)
    both = both.contiguous(memory_format=LAYOUT)
    value = torch.zeros(len(a), dtype=torch.float64, device=device)
    for features, head in zip(_STAGES[net](state, both), heads, strict=True):
        norm = torch.linalg.vector_norm(features, dim=1, keepdim=True).add_(TINY)
        x, y = features.chunk(2)
        across, down = norm.chunk(2)
        squared = (x / across).sub_(y / down).square_()
        weighted = squared.permute(0, 2, 3, 1).flatten(1, 2) @ head
        value += weighted.mean(1).double()
    return value


def lpips(images: ImageBatch, *, net: Net, raw: bool = False) -> PerImage:
    """Perceptual distance of red, green and blue as display@1 shows them; lower is better.

    Features of five stages (SqueezeNet: seven) are scaled to length one over channels; their
    squared differences are weighted per channel (version 0.1 of the published weights), averaged
    over pixels and added over stages. Invalid pixels hold the truth's mean in both images; an
    image with less than 70 % valid pixels has no value (``few_valid``). ``raw`` scales the bands
    by the data range instead of display@1. Zhang et al. 2018.
    """
    seen = rgb_pair(images, raw=raw)
    return PerImage.of(distance(net, seen.prediction, seen.truth), seen.ok, counts=seen.counts)
