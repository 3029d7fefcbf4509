"""Depth-wise convolutions on a CPU: dilated ones as plain ones, and weight gradients.

The kernels for plain depth-wise convolutions are several times as fast as those for dilated ones.
A convolution of dilation d reads pixels of one remainder of row and column by d. Sorted by
remainder they are d² images, and the convolution of each is plain.

The gradient of the weights is one more convolution, of every channel of the input with the gradient
of that channel, with a stride of d.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

FEWEST_CHANNELS = 128
SMALLEST_KERNEL = 5


def pays(weight: Tensor) -> bool:
    """Return whether :func:`depthwise` is faster than the convolution of torch.

    Args:
        weight: ``(C, 1, k, k)`` in float32 on a CPU.
    """
    channels, _, *sides = weight.shape
    square = sides[0] == sides[1] and sides[0] % 2 == 1
    return square and channels >= FEWEST_CHANNELS and sides[0] >= SMALLEST_KERNEL


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """Return the depth-wise convolution of stride 1 that keeps the sides.

    Args:
        x: ``(N, C, H, W)``.
        weight: ``(C, 1, k, k)``, k odd.
        bias: ``(C,)``.
        dilation: distance of the pixels that a kernel reads.
    """
    found: Tensor = _Depthwise.apply(x, weight, bias, dilation)  # type: ignore[no-untyped-call]
    return found


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    channels, _, kernel, _ = weight.shape
    if dilation == 1:
        return F.conv2d(x, weight, bias, padding=kernel // 2, groups=channels)
    sorted_ = F.conv2d(_sorted(x, kernel, dilation), weight, bias, groups=channels)
    N, _, H, W = x.shape
    _, _, h, w = sorted_.shape
    images = sorted_.permute(0, 2, 3, 1).reshape(dilation, dilation, N, h, w, channels)
    whole = images.permute(2, 3, 0, 4, 1, 5).reshape(N, h * dilation, w * dilation, channels)
    return whole[:, :H, :W].permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def _sorted(x: Tensor, kernel: int, dilation: int) -> Tensor:
    """Return ``(dilation²·N, C, h, w)``: padded images of the pixels of one remainder each."""
    N, C, H, W = x.shape
    high, wide = (-(-side // dilation) + kernel - 1 for side in (H, W))
    edge = dilation * (kernel // 2)
    padded = x.new_zeros(N, high * dilation, wide * dilation, C)
    padded[:, edge : edge + H, edge : edge + W] = x.permute(0, 2, 3, 1)
    images = padded.view(N, high, dilation, wide, dilation, C).permute(2, 4, 0, 1, 3, 5)
    return images.reshape(-1, high, wide, C).permute(0, 3, 1, 2)


def _of_weight(x: Tensor, gradient: Tensor, kernel: int, dilation: int) -> Tensor:
    N, C, H, W = x.shape
    edge = dilation * (kernel // 2)
    padded = x.new_zeros(N, C, H + 2 * edge, W + 2 * edge)
    padded[:, :, edge : edge + H, edge : edge + W] = x
    found = F.conv2d(
        padded.view(1, N * C, *padded.shape[2:]),
        gradient.contiguous().view(N * C, 1, H, W),
        stride=dilation,
        groups=N * C,
    )
    return found.view(N, C, 1, kernel, kernel).sum(0)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return _convolved(x, weight, bias, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias, _ = ctx.needs_input_grad
        return (
            _convolved(gradient, weight.flip(2, 3), None, ctx.dilation) if of_x else None,
            _of_weight(x, gradient, weight.shape[-1], ctx.dilation) if of_weight else None,
            gradient.sum((0, 2, 3)) if of_bias else None,
            None,
        )
