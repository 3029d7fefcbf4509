"""PredRNN's cell with one convolution per gate: what the fused cell is tested and timed against."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rsbench_baselines.predrnn.network import Increments, PredRNN, SpatioTemporalLSTMCell, State


class GateCell(nn.Module):
    """Every gate computed by itself, on states that are always tensors."""

    def __init__(self, in_channel: int, width: int, kernel: int) -> None:
        super().__init__()

        def convs(count: int, inputs: int) -> nn.ModuleList:
            return nn.ModuleList(
                nn.Conv2d(inputs, width, kernel, padding=kernel // 2, bias=False)
                for _ in range(count)
            )

        self.conv_x, self.conv_h = convs(7, in_channel), convs(4, width)
        self.conv_m, self.conv_o = convs(3, width), convs(2, width)
        self.conv_last = nn.Conv2d(2 * width, width, 1, bias=False)

    def forward(
        self, x: Tensor, h: Tensor | None, c: Tensor | None, m: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Increments]:
        nothing = x.new_zeros(x.shape[0], self.conv_last.out_channels, *x.shape[2:])
        h, c, m = (nothing if s is None else s for s in (h, c, m))
        X, H, M, O = self.conv_x, self.conv_h, self.conv_m, self.conv_o  # noqa: E741
        i = torch.sigmoid(X[0](x) + H[0](h))
        f = torch.sigmoid(X[1](x) + H[1](h) + 1)
        g = torch.tanh(X[2](x) + H[2](h))
        i_m = torch.sigmoid(X[3](x) + M[0](m))
        f_m = torch.sigmoid(X[4](x) + M[1](m) + 1)
        g_m = torch.tanh(X[5](x) + M[2](m))
        c, m = f * c + i * g, f_m * m + i_m * g_m
        o = torch.sigmoid(X[6](x) + H[3](h) + O[0](c) + O[1](m))
        h = o * torch.tanh(self.conv_last(torch.cat([c, m], dim=1)))
        return h, c, m, Increments(i * g, i_m * g_m)


def gates_of(fused: SpatioTemporalLSTMCell) -> GateCell:
    """Return the gate form with the weights of a fused cell."""
    weight = fused.conv_x.weight
    cell = GateCell(weight.shape[1], fused.num_hidden, weight.shape[-1]).to(weight.dtype)
    with torch.no_grad():
        for name in ("conv_x", "conv_h", "conv_m"):
            parts = getattr(fused, name).weight.split(fused.num_hidden)
            for conv, part in zip(getattr(cell, name), parts, strict=True):
                conv.weight.copy_(part)
        for conv, part in zip(cell.conv_o, fused.conv_o.weight.split(fused.num_hidden, 1),
                              strict=True):  # fmt: skip
            conv.weight.copy_(part)  # type: ignore[union-attr,operator]
        cell.conv_last.weight.copy_(fused.conv_last.weight)
    return cell


def gated(network: PredRNN) -> PredRNN:
    """Put the gate form into a network, in place."""
    network.cell_list = nn.ModuleList(
        gates_of(c) for c in network.cell_list if isinstance(c, SpatioTemporalLSTMCell)
    )
    return network


def unroll(network: PredRNN, frames: Tensor) -> Tensor:
    """Return the mean squared error of every next frame of ``(N, T, C, H, W)``."""
    state: State = network.zero()
    total = frames.new_zeros(())
    for t in range(frames.shape[1] - 1):
        answer, state, _ = network(frames[:, t], state)
        total = total + (answer - frames[:, t + 1]).square().mean()
    return total / (frames.shape[1] - 1)
