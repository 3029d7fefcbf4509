"""PredRNN: stacked recurrent cells that share one memory in a zigzag through layers and time.

Y. Wang et al., "PredRNN: Recurrent neural networks for predictive learning using spatiotemporal
LSTMs", NeurIPS 2017, and Y. Wang et al., "PredRNN: A recurrent neural network for spatiotemporal
predictive learning", IEEE TPAMI 2022 (V2: memory decoupling and reverse scheduled sampling).

All gates that read one input are one convolution. States that are still zero are None, and the
convolutions that would read them, and the gates that would scale them, are left out. On a CPU, once
no state is zero, all gates that read the same two inputs are one convolution by
:mod:`rsbench_baselines._winograd`, whose kernels are transformed once per rollout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsbench_baselines._winograd import Transformed, conv2d, convolve, pays, transformed

FORGET_BIAS = 1.0
TINY = 1e-12


def patchify(frame: Tensor, size: int) -> Tensor:
    """Fold ``(N, C, H, W)`` to ``(N, size²·C, H/size, W/size)``.

    Channels run row in block, column in block, colour.
    """
    N, C, H, W = frame.shape
    if H % size or W % size:
        raise ValueError(f"sides {H}×{W} are no multiples of the patch size {size}")
    blocks = frame.reshape(N, C, H // size, size, W // size, size)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(N, size * size * C, H // size, W // size)


def unpatchify(folded: Tensor, size: int) -> Tensor:
    """Undo :func:`patchify`."""
    N, channels, h, w = folded.shape
    C = channels // (size * size)
    blocks = folded.reshape(N, size, size, C, h, w)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(N, C, h * size, w * size)


class Increments(NamedTuple):
    """What one cell added to its two memories; V2 keeps the two apart."""

    cell: Tensor
    memory: Tensor


class Kernels(NamedTuple):
    """Transformed kernels of a cell, and the versions of the weights that they come from.

    ``cell`` gives i f g o from (x, h), ``memory`` i' f' g' from (x, m), ``opened`` o from (c, m).
    """

    cell: Transformed
    memory: Transformed
    opened: Transformed
    versions: tuple[int, ...]


@dataclass(frozen=True)
class State:
    """States after a step: ``hidden`` and ``cell`` per layer, ``memory`` of the top layer.

    None stands for zeros. ``kernels`` per layer are kept for the next step; None where they do not
    pay or were not needed yet.
    """

    hidden: tuple[Tensor | None, ...]
    cell: tuple[Tensor | None, ...]
    memory: Tensor | None
    kernels: tuple[Kernels | None, ...] = ()


class SpatioTemporalLSTMCell(nn.Module):
    """One cell: an LSTM on its own memory C and one on the memory M that comes from below."""

    def __init__(
        self, in_channel: int, num_hidden: int, filter_size: int, *, stride: int = 1
    ) -> None:
        super().__init__()
        if stride != 1:
            raise ValueError(f"stride is {stride}: states keep their size only with stride 1")
        if filter_size % 2 == 0:
            raise ValueError(f"filter_size is {filter_size}: it must be odd to keep the sides")
        self.num_hidden = num_hidden
        self.filter_size = filter_size

        def conv(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
            return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)

        # Rows of the gates: conv_x i f g i' f' g' o, conv_h i f g o, conv_m i' f' g'.
        self.conv_x = conv(in_channel, 7 * num_hidden, filter_size)
        self.conv_h = conv(num_hidden, 4 * num_hidden, filter_size)
        self.conv_m = conv(num_hidden, 3 * num_hidden, filter_size)
        self.conv_o = conv(2 * num_hidden, num_hidden, filter_size)
        self.conv_last = conv(2 * num_hidden, num_hidden, 1)

    def forward(
        self,
        x: Tensor,
        h: Tensor | None,
        c: Tensor | None,
        m: Tensor | None,
        kernels: Kernels | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Increments]:
        """Return the new ``(h, c, m)`` and what was added to the two memories."""
        if kernels is None or h is None or m is None:
            gate = self._gates(x, h, c, m)
        else:
            gate = self._gates_by(kernels, x, h, m)
        added = torch.sigmoid(gate[0]) * torch.tanh(gate[2])
        cell = added if c is None else torch.sigmoid(gate[1] + FORGET_BIAS) * c + added
        carried = torch.sigmoid(gate[3]) * torch.tanh(gate[5])
        memory = carried if m is None else torch.sigmoid(gate[4] + FORGET_BIAS) * m + carried
        both = torch.cat([cell, memory], dim=1)
        if kernels is None:
            opened = conv2d(both, self.conv_o.weight)
        else:
            opened = convolve([both], kernels.opened, self.filter_size)
        opened = torch.sigmoid(gate[6] + opened)
        hidden = opened * torch.tanh(self.conv_last(both))
        return hidden, cell, memory, Increments(added, carried)

    def _gates(
        self, x: Tensor, h: Tensor | None, c: Tensor | None, m: Tensor | None
    ) -> dict[int, Tensor]:
        d = self.num_hidden
        forgets = [] if c is None else [1]
        forgets_memory = [] if m is None else [4]
        names = [0, *forgets, 2, 3, *forgets_memory, 5, 6]
        weight = self.conv_x.weight
        if len(names) < 7:
            weight = torch.cat([weight[k * d : (k + 1) * d] for k in names])
        gate = dict(zip(names, torch.split(conv2d(x, weight), d, dim=1), strict=True))
        if h is not None:
            for name, piece in zip((0, 1, 2, 6), self._of_hidden(h, c is None), strict=True):
                if piece is not None:
                    gate[name] = gate[name] + piece
        if m is not None:
            pieces = torch.split(conv2d(m, self.conv_m.weight), d, dim=1)
            for name, piece in zip((3, 4, 5), pieces, strict=True):
                gate[name] = gate[name] + piece
        return gate

    def _of_hidden(self, h: Tensor, fresh: bool) -> tuple[Tensor | None, ...]:
        pieces = torch.split(conv2d(h, self.conv_h.weight), self.num_hidden, dim=1)
        return (pieces[0], None, *pieces[2:]) if fresh else pieces

    def _gates_by(self, kernels: Kernels, x: Tensor, h: Tensor, m: Tensor) -> dict[int, Tensor]:
        of_cell = convolve([x, h], kernels.cell, self.filter_size)
        of_memory = convolve([x, m], kernels.memory, self.filter_size)
        d = self.num_hidden
        pieces = (*torch.split(of_cell, d, dim=1), *torch.split(of_memory, d, dim=1))
        return dict(zip((0, 1, 2, 6, 3, 4, 5), pieces, strict=True))

    def kernels(self, h: Tensor, before: Kernels | None) -> Kernels | None:
        """Return the transformed kernels for a step from ``h``, or None where they do not pay.

        Args:
            h: the hidden state.
            before: those of the last step. They are returned if they are of the present weights.
        """
        x_weight, h_weight, m_weight, o_weight = weights = [
            conv.weight for conv in (self.conv_x, self.conv_h, self.conv_m, self.conv_o)
        ]
        if not pays(h, h_weight):
            return None
        versions = tuple(0 if one.is_inference() else one._version for one in weights)
        learns = torch.is_grad_enabled() and h_weight.requires_grad
        if before and before.versions == versions and before.cell.values.requires_grad >= learns:
            return before
        i, f, g, *of_memory, o = torch.split(x_weight, self.num_hidden)
        cell = _stacked([i, f, g, o], h_weight)
        memory = _stacked(of_memory, m_weight)
        return Kernels(transformed(cell), transformed(memory), transformed(o_weight), versions)


def _stacked(of_x: list[Tensor], of_state: Tensor) -> Tensor:
    # Kernels of one convolution of (x, state), stored inputs first as `transformed` reads them.
    turned = torch.cat([one.transpose(0, 1) for one in of_x], dim=1)
    return torch.cat([turned, of_state.transpose(0, 1)]).transpose(0, 1)


class PredRNN(nn.Module):
    """Layers of cells; the memory of the top layer enters the lowest at the next step.

    Args:
        in_shape: ``(T, C, H, W)``; only C shapes the network.
        num_hidden: width of each layer.
        filter_size: side of the convolutions.
        patch_size: side of the pixel blocks that are folded into channels.
        decoupled: hold the 1×1 adapter that the decoupling loss of V2 reads through.
        out_channels: colours of the answer; those of the input where None.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int, int],
        num_hidden: tuple[int, ...] = (128, 128, 128, 128),
        filter_size: int = 5,
        patch_size: int = 4,
        *,
        stride: int = 1,
        decoupled: bool = False,
        out_channels: int | None = None,
    ) -> None:
        super().__init__()
        if len(set(num_hidden)) != 1:
            raise ValueError(f"num_hidden is {num_hidden}: one memory needs layers of one width")
        self.patch_size = patch_size
        self.out_channels = out_channels or in_shape[1]
        width = num_hidden[0]
        folded = patch_size * patch_size
        self.cell_list = nn.ModuleList(
            SpatioTemporalLSTMCell(
                folded * in_shape[1] if layer == 0 else width, width, filter_size, stride=stride
            )
            for layer in range(len(num_hidden))
        )
        self.conv_last = nn.Conv2d(width, folded * self.out_channels, 1, bias=False)
        self.adapter = nn.Conv2d(width, width, 1, bias=False) if decoupled else None

    def zero(self) -> State:
        """Return the state before the first frame."""
        nothing = (None,) * len(self.cell_list)
        return State(nothing, nothing, None)

    def forward(self, frame: Tensor, state: State) -> tuple[Tensor, State, list[Increments]]:
        """Take one step.

        Args:
            frame: ``(N, C, H, W)``.
            state: the state before it.

        Returns:
            The next frame ``(N, out_channels, H, W)``, the state, and the increments per layer.
        """
        x = patchify(frame, self.patch_size)
        memory = state.memory
        hidden: list[Tensor] = []
        cells: list[Tensor] = []
        added: list[Increments] = []
        kernels = self._kernels(state)
        for layer, cell in enumerate(self.cell_list):
            h, c = state.hidden[layer], state.cell[layer]
            given = (kernels[layer],) if kernels[layer] else ()
            x, kept, memory, increments = cell(x, h, c, memory, *given)
            hidden.append(x)
            cells.append(kept)
            added.append(increments)
        answer = unpatchify(self.conv_last(x), self.patch_size)
        return answer, State(tuple(hidden), tuple(cells), memory, kernels), added

    def _kernels(self, state: State) -> tuple[Kernels | None, ...]:
        before = state.kernels or (None,) * len(self.cell_list)
        return tuple(
            cell.kernels(h, known)
            if h is not None and isinstance(cell, SpatioTemporalLSTMCell)
            else None
            for cell, h, known in zip(self.cell_list, state.hidden, before, strict=True)
        )

    def likeness(self, added: list[Increments]) -> Tensor:
        """Return the mean absolute cosine of what the two memories took in at one step.

        Vectors run over space, through the adapter shared by all layers; the mean is over
        layers, samples and channels.
        """
        if self.adapter is None:
            raise ValueError("this network was built without the adapter of V2")
        cosines = []
        for one in added:
            # In float32: squares of small increments vanish in half precision.
            a = self.adapter(one.cell).float().flatten(2)
            b = self.adapter(one.memory).float().flatten(2)
            cosines.append(F.cosine_similarity(a, b, dim=2, eps=TINY).abs().mean())
        return torch.stack(cosines).mean()
