"""A convolution layer that computes on a CPU in the way that is fastest for its shapes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from rsbench_baselines import _depthwise, _winograd

FEWEST_CHANNELS = 128
"""The fewest channels in and out for which a matrix product pays."""


class Conv2d(nn.Conv2d):
    """``nn.Conv2d``, equal to rounding and with the same parameters.

    In float32 on a CPU, without autocast and compiling: kernels of 1×1 as a matrix product, large
    depth-wise ones by :mod:`rsbench_baselines._depthwise`, 3×3 and 5×5 with many channels by
    :mod:`rsbench_baselines._winograd`. The choice depends on shapes, type and device.
    """

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if _winograd.applies(x, weight) and self._keeps_sides():
            wide = min(self.in_channels, self.out_channels) >= FEWEST_CHANNELS
            depthwise = self.groups == self.in_channels == self.out_channels
            if self.groups == 1 and self.kernel_size == (1, 1):
                if wide:
                    found = F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias)
                    return found.permute(0, 3, 1, 2)
            elif depthwise and _depthwise.pays(weight):
                return _depthwise.depthwise(x, weight, bias, self.dilation[0])
            elif self.groups == 1 and self.dilation == (1, 1):
                return _winograd.conv2d(x, weight, bias)
        plain: Tensor = super()._conv_forward(x, weight, bias)
        return plain

    def _keeps_sides(self) -> bool:
        edge = tuple(d * (k // 2) for d, k in zip(self.dilation, self.kernel_size, strict=True))
        return self.stride == (1, 1) and self.padding == edge and self.padding_mode == "zeros"
