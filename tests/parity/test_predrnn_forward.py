"""PredRNN: published sizes to the digit, the cell by hand and by loops, fused against gates."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from predrnn_gates import GateCell, gates_of
from torch import Tensor

from rsbench.models import registry
from rsbench_baselines.predrnn.network import (
    Increments,
    PredRNN,
    SpatioTemporalLSTMCell,
    patchify,
    unpatchify,
)

F64 = npt.NDArray[np.float64]


def count(in_shape: tuple[int, int, int, int], patch_size: int, *, decoupled: bool) -> int:
    with torch.device("meta"):
        model = PredRNN(in_shape, patch_size=patch_size, decoupled=decoupled)
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("millions", "exact", "in_shape", "patch_size", "decoupled"),
    [
        ("23.84", 23_838_720, (10, 1, 64, 64), 4, False),
        ("23.86", 23_855_104, (10, 1, 64, 64), 4, True),
        ("23.75", 23_748_608, (10, 3, 128, 160), 2, False),
        # Tables say 23.77: 23.764992 rounded to 23.765 and rounded again.
        ("23.76", 23_764_992, (10, 3, 128, 160), 2, True),
        ("24.56", 24_559_616, (1, 3, 128, 128), 4, False),
        ("24.58", 24_576_000, (1, 3, 128, 128), 4, True),
        ("23.57", 23_568_384, (10, 1, 128, 128), 2, False),
    ],
)
def test_parameters_to_the_digit(
    millions: str, exact: int, in_shape: tuple[int, int, int, int], patch_size: int, decoupled: bool
) -> None:
    found = count(in_shape, patch_size, decoupled=decoupled)
    assert found == exact
    assert f"{found / 1e6:.2f}" == millions


def test_with_one_frame_seven_point_eight_million_weights_read_zeros() -> None:
    idle = registry.card("predrnn").presets["paper"].idle
    with torch.device("meta"):
        model = PredRNN((1, 3, 128, 128))
    dead = sum(
        p.numel() for n, p in model.named_parameters() if any(n.startswith(head) for head in idle)
    )
    assert dead == 7_782_400


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_a_cell_of_one_pixel_by_hand() -> None:
    """One pixel, width one: only the middle of each kernel meets a value that is not padding."""
    cell = SpatioTemporalLSTMCell(1, 1, 3).double()
    rows = {
        cell.conv_x: [1.0, -1.0, 0.5, 2.0, 0.0, -0.5, 1.0],
        cell.conv_h: [1.0, 2.0, -1.0, 0.5],
        cell.conv_m: [-1.0, 1.0, 2.0],
        cell.conv_o: [0.3, -0.2],
        cell.conv_last: [2.0, 0.5],
    }
    with torch.no_grad():
        for conv, middle in rows.items():
            at = conv.kernel_size[0] // 2
            conv.weight.fill_(9.0)  # what meets padding must not count
            numbers = torch.tensor(middle, dtype=torch.float64)
            conv.weight[:, :, at, at] = numbers.view(conv.weight.shape[:2])
    x, h, c, m = 0.4, -0.3, 0.8, 0.2
    i, f, g = sigmoid(0.4 - 0.3), sigmoid(-0.4 - 0.6 + 1), math.tanh(0.2 + 0.3)
    i_m, f_m, g_m = sigmoid(0.8 - 0.2), sigmoid(0.0 + 0.2 + 1), math.tanh(-0.2 + 0.4)
    c_new = f * c + i * g
    m_new = f_m * m + i_m * g_m
    o = sigmoid(0.4 - 0.15 + 0.3 * c_new - 0.2 * m_new)
    h_new = o * math.tanh(2 * c_new + 0.5 * m_new)
    # c = 0.5·0.8 + 0.524979·0.462117, m = 0.768525·0.2 + 0.645656·0.197375.
    assert (round(f, 12), round(c_new, 5), round(m_new, 5)) == (0.5, 0.64260, 0.28114)

    def pixel(value: float) -> Tensor:
        return torch.full((1, 1, 1, 1), value, dtype=torch.float64)

    found = cell(pixel(x), pixel(h), pixel(c), pixel(m))
    expected = (h_new, c_new, m_new, i * g, i_m * g_m)
    assert [float(t.detach()) for t in (*found[:3], *found[3])] == pytest.approx(
        expected, rel=1e-12
    )


def conv(x: F64, weight: F64) -> F64:
    """Convolve ``(C, H, W)`` with loops over output pixels, sides kept."""
    pad = weight.shape[-1] // 2
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    out = np.zeros((len(weight), *x.shape[1:]))
    for r in range(x.shape[1]):
        for s in range(x.shape[2]):
            block = padded[:, r : r + 2 * pad + 1, s : s + 2 * pad + 1]
            out[:, r, s] = [(block * kernel).sum() for kernel in weight]
    return out


def test_the_cell_against_loops() -> None:
    torch.manual_seed(0)
    d = 2
    cell = SpatioTemporalLSTMCell(3, d, 5).double()
    x, h, c, m = (torch.randn(1, n, 4, 6, dtype=torch.float64) for n in (3, d, d, d))
    w = {name: p.detach().numpy() for name, p in cell.named_parameters()}
    gx = np.split(conv(x[0].numpy(), w["conv_x.weight"]), 7)
    gh = np.split(conv(h[0].numpy(), w["conv_h.weight"]), 4)
    gm = np.split(conv(m[0].numpy(), w["conv_m.weight"]), 3)

    def sig(v: F64) -> F64:
        return 1 / (1 + np.exp(-v))

    c_new = sig(gx[1] + gh[1] + 1) * c[0].numpy() + sig(gx[0] + gh[0]) * np.tanh(gx[2] + gh[2])
    m_new = sig(gx[4] + gm[1] + 1) * m[0].numpy() + sig(gx[3] + gm[0]) * np.tanh(gx[5] + gm[2])
    both = np.concatenate([c_new, m_new])
    o = sig(gx[6] + gh[3] + conv(both, w["conv_o.weight"]))
    h_new = o * np.tanh(conv(both, w["conv_last.weight"]))
    for found, expected in zip(cell(x, h, c, m)[:3], (h_new, c_new, m_new), strict=True):
        np.testing.assert_allclose(found[0].detach().numpy(), expected, rtol=1e-10, atol=1e-12)


def leaf(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("known", [(), ("h", "c"), ("m",), ("h", "c", "m")])
def test_fused_equals_one_convolution_per_gate_forward_and_backward(known: tuple[str, ...]) -> None:
    """States left out are zeros: the gate form gets them as tensors and computes everything."""
    torch.manual_seed(1)
    d = 4
    fused = SpatioTemporalLSTMCell(3, d, 3).double()
    gates: GateCell = gates_of(fused)
    x = leaf(2, 3, 5, 5)
    states = {n: leaf(2, d, 5, 5) if n in known else None for n in ("h", "c", "m")}
    zeros = {n: torch.zeros(2, d, 5, 5).double() if s is None else s for n, s in states.items()}
    inputs = [x, *(s for s in states.values() if s is not None)]
    mine = flat(fused(x, states["h"], states["c"], states["m"]))
    other = flat(gates(x, zeros["h"], zeros["c"], zeros["m"]))
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)
    weights = [torch.randn_like(t) for t in mine]

    def gradients(outputs: list[Tensor], cell: torch.nn.Module) -> dict[str, Tensor]:
        total = sum((o * w).sum() for o, w in zip(outputs, weights, strict=True))
        cell.zero_grad()
        for item in inputs:
            item.grad = None
        assert isinstance(total, Tensor)
        total.backward()  # type: ignore[no-untyped-call]
        found = {str(i): t.grad.clone() for i, t in enumerate(inputs) if t.grad is not None}
        return found | {
            n: torch.zeros_like(p) if p.grad is None else p.grad.clone()
            for n, p in cell.named_parameters()
        }

    left, right = gradients(mine, fused), gradients(other, gates)
    for i in range(len(inputs)):
        torch.testing.assert_close(left[str(i)], right[str(i)], rtol=1e-10, atol=1e-12)
    for name in ("conv_x", "conv_h", "conv_m"):
        parts = [v for n, v in right.items() if n.startswith(f"{name}.")]
        torch.testing.assert_close(left[f"{name}.weight"], torch.cat(parts), rtol=1e-10, atol=1e-12)
    split = torch.cat([right["conv_o.0.weight"], right["conv_o.1.weight"]], dim=1)
    torch.testing.assert_close(left["conv_o.weight"], split, rtol=1e-10, atol=1e-12)


def flat(outputs: tuple[Tensor, Tensor, Tensor, Increments]) -> list[Tensor]:
    return [*outputs[:3], *outputs[3]]


def test_patches_run_row_column_colour_and_go_back() -> None:
    frame = torch.arange(2 * 3 * 4 * 6).float().view(2, 3, 4, 6)
    folded = patchify(frame, 2)
    assert folded.shape == (2, 12, 2, 3)
    for row in range(2):
        for column in range(2):
            for colour in range(3):
                channel = (row * 2 + column) * 3 + colour
                assert torch.equal(folded[:, channel], frame[:, colour, row::2, column::2])
    assert torch.equal(unpatchify(folded, 2), frame)
    with pytest.raises(ValueError, match="no multiples"):
        patchify(frame, 4)


def test_the_memory_climbs_the_layers_and_enters_the_lowest_at_the_next_step() -> None:
    torch.manual_seed(0)
    net = PredRNN((2, 1, 8, 8), (4, 4), 3, 2)
    first, second = torch.rand(2, 1, 1, 8, 8)
    with torch.no_grad():
        _, state, _ = net(first, net.zero())
        answer, after, added = net(second, state)
        low, high = net.cell_list
        x0 = patchify(first, 2)
        h0, c0, m, _ = low(x0, None, None, None)
        h1, c1, m, _ = high(h0, None, None, m)
        h0, c0, m, a0 = low(patchify(second, 2), h0, c0, m)
        h1, c1, m, a1 = high(h0, h1, c1, m)
        expected = unpatchify(net.conv_last(h1), 2)
    assert torch.equal(answer, expected)
    assert after.memory is not None
    assert torch.equal(after.memory, m)
    assert torch.equal(added[0].cell, a0.cell)
    assert torch.equal(added[1].memory, a1.memory)


def test_the_decoupling_term_is_the_mean_absolute_cosine_over_space() -> None:
    torch.manual_seed(0)
    net = PredRNN((1, 1, 4, 4), (3, 3), 3, 1, decoupled=True)
    pairs = [Increments(torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)) for _ in range(2)]
    assert net.adapter is not None
    kernel = net.adapter.weight.detach()[:, :, 0, 0].double().numpy()
    cosines = []
    for pair in pairs:
        for sample in range(2):
            a, b = (kernel @ t[sample].double().flatten(1).numpy() for t in pair)
            for channel in range(3):
                norms = np.linalg.norm(a[channel]) * np.linalg.norm(b[channel])
                cosines.append(abs(a[channel] @ b[channel]) / norms)
    assert float(net.likeness(pairs).detach()) == pytest.approx(np.mean(cosines), rel=1e-5)
    nothing = Increments(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4))
    assert float(net.likeness([nothing]).detach()) == 0.0
    with pytest.raises(ValueError, match="V2"):
        PredRNN((1, 1, 4, 4), (3,), 3, 1).likeness(pairs)


def test_every_parameter_gets_a_gradient_from_two_steps() -> None:
    torch.manual_seed(0)
    net = PredRNN((2, 3, 16, 16), (8, 8, 8), 3, 4, decoupled=True)
    state, total = net.zero(), torch.zeros(())
    for frame in torch.rand(2, 2, 3, 16, 16):
        answer, state, added = net(frame, state)
        total = total + answer.square().mean() + net.likeness(added)
    total.backward()  # type: ignore[no-untyped-call]
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="one width"):
        PredRNN((1, 3, 16, 16), (8, 16))
    with pytest.raises(ValueError, match="stride"):
        PredRNN((1, 3, 16, 16), (8,), stride=2)
    with pytest.raises(ValueError, match="odd"):
        PredRNN((1, 3, 16, 16), (8,), 4)
