"""SimVP: published sizes to the digit, and blocks against float64 loops written from the text."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from rsbench_baselines.simvp.network import (
    ConvSC,
    Decoder,
    Encoder,
    GASubBlock,
    InceptionBlock,
    MidIncepNet,
    MidMetaNet,
    SimVP,
    strides,
)

F64 = npt.NDArray[np.float64]


def count(**sizes: object) -> int:
    with torch.device("meta"):
        model = SimVP(**sizes)  # type: ignore[arg-type]
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("published", "sizes"),
    [
        ("46.77", {"in_shape": (10, 1, 64, 64)}),
        ("57.95", {"in_shape": (10, 1, 64, 64), "model_type": "incepu"}),
        ("15.63", {"in_shape": (10, 3, 128, 160), "hid_T": 256, "N_S": 2, "N_T": 6}),
        ("37.97", {"in_shape": (1, 3, 128, 128)}),
        ("10.10", {"in_shape": (1, 3, 128, 128), "hid_T": 256}),
        ("7.13", {"in_shape": (1, 3, 128, 128), "hid_T": 256, "N_S": 2, "N_T": 6}),
        ("39.43", {"in_shape": (4, 3, 128, 128)}),
        ("11.33", {"in_shape": (4, 3, 128, 128), "hid_T": 256}),
        ("8.36", {"in_shape": (4, 3, 128, 128), "hid_T": 256, "N_S": 2, "N_T": 6}),
        ("42.36", {"in_shape": (7, 3, 128, 128)}),
        ("14.29", {"in_shape": (7, 3, 128, 128), "hid_T": 256}),
        ("11.32", {"in_shape": (7, 3, 128, 128), "hid_T": 256, "N_S": 2, "N_T": 6}),
    ],
)
def test_millions_of_parameters_to_the_digits_given(
    published: str, sizes: dict[str, object]
) -> None:
    assert f"{count(**sizes) / 1e6:.2f}" == published


def test_published_tables_round_the_same() -> None:
    # Moving MNIST 46.8 M and 58.0 M; KTH and Kitti v2 15.6 M, v1 on KTH 12.2 M.
    kth = {"in_shape": (10, 1, 128, 128), "hid_T": 256, "N_S": 2, "N_T": 6}
    assert f"{count(**kth) / 1e6:.1f}" == "15.6"
    assert f"{count(**kth, model_type='incepu') / 1e6:.1f}" == "12.2"


def weights(module: nn.Module) -> Callable[[str], F64]:
    state = module.state_dict()
    return lambda name: state[name].double().numpy()


def conv(
    x: F64,
    weight: F64,
    bias: F64,
    *,
    padding: int,
    groups: int = 1,
    dilation: int = 1,
    stride: int = 1,
) -> F64:
    """Convolve ``(C, H, W)`` with loops over output pixels."""
    out_channels, per_group, k, _ = weight.shape
    _, H, W = x.shape
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    rows = (H + 2 * padding - dilation * (k - 1) - 1) // stride + 1
    columns = (W + 2 * padding - dilation * (k - 1) - 1) // stride + 1
    out = np.zeros((out_channels, rows, columns))
    for o in range(out_channels):
        group = o // (out_channels // groups)
        for r in range(rows):
            for c in range(columns):
                total = bias[o]
                for i in range(per_group):
                    for u in range(k):
                        for v in range(k):
                            total += (
                                weight[o, i, u, v]
                                * padded[
                                    group * per_group + i,
                                    r * stride + u * dilation,
                                    c * stride + v * dilation,
                                ]
                            )
                out[o, r, c] = total
    return out


def group_norm(x: F64, groups: int, weight: F64, bias: F64) -> F64:
    out = np.empty_like(x)
    for part in np.split(np.arange(len(x)), groups):
        mean, var = x[part].mean(), x[part].var()
        out[part] = (x[part] - mean) / math.sqrt(var + 1e-5)
    return out * weight[:, None, None] + bias[:, None, None]


def gelu(x: F64) -> F64:
    error_function: F64 = np.vectorize(math.erf)(x / math.sqrt(2))
    return x * 0.5 * (1 + error_function)


def sigmoid(x: F64) -> F64:
    return 1 / (1 + np.exp(-x))


def shaken(module: nn.Module) -> nn.Module:
    """Give every parameter and buffer a generic value, so that no term hides behind 0 or 1."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.add_(0.2 * torch.rand(tensor.shape, generator=generator))
    return module.double().eval()


def picture(channels: int, side: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, channels, side, side, generator=generator, dtype=torch.float64)


def test_the_gsta_block_against_loops() -> None:
    dim, side = 2, 6
    block = shaken(GASubBlock(dim, mlp_ratio=2.0, drop_path=0.5))
    w, x = weights(block), picture(dim, side)

    def norm(name: str, v: F64) -> F64:
        scale = w(f"{name}.weight") / np.sqrt(w(f"{name}.running_var") + 1e-5)
        shift = w(f"{name}.bias") - w(f"{name}.running_mean") * scale
        return v * scale[:, None, None] + shift[:, None, None]

    def layer(name: str, v: F64, padding: int = 0, groups: int = 1, dilation: int = 1) -> F64:
        return conv(
            v, w(f"{name}.weight"), w(f"{name}.bias"),
            padding=padding, groups=groups, dilation=dilation,
        )  # fmt: skip

    v = x[0].numpy()
    n = norm("norm1", v)
    a = gelu(layer("attn.proj_1", n))
    a = layer("attn.gate.conv0", a, padding=2, groups=dim)
    a = layer("attn.gate.conv_spatial", a, padding=9, groups=dim, dilation=3)
    a = layer("attn.gate.conv1", a)
    a = layer("attn.proj_2", sigmoid(a[dim:]) * a[:dim]) + n
    v = v + w("layer_scale_1")[:, None, None] * a
    m = layer("mlp.fc1", norm("norm2", v))
    m = layer("mlp.fc2", gelu(layer("mlp.dwconv", m, padding=1, groups=2 * dim)))
    v = v + w("layer_scale_2")[:, None, None] * m
    np.testing.assert_allclose(block(x)[0].detach().numpy(), v, rtol=1e-10, atol=1e-12)


def test_the_large_kernel_is_five_then_seven_dilated_by_three() -> None:
    gate = GASubBlock(4, mlp_ratio=8.0, drop_path=0.0).attn.gate
    assert gate.conv0.kernel_size == (5, 5)
    assert gate.conv_spatial.kernel_size == (7, 7)
    assert gate.conv_spatial.dilation == (3, 3)
    assert gate.conv_spatial.padding == (9, 9)
    assert gate.conv1.out_channels == 8


def test_the_inception_block_against_loops() -> None:
    block = shaken(InceptionBlock(3, 8, 16))
    w, x = weights(block), picture(3, 5)
    hidden = conv(x[0].numpy(), w("conv1.weight"), w("conv1.bias"), padding=0)
    total = np.zeros((16, 5, 5))
    for i, k in enumerate((3, 5, 7, 11)):
        name = f"layers.{i}"
        y = conv(hidden, w(f"{name}.conv.weight"), w(f"{name}.conv.bias"), padding=k // 2, groups=8)
        y = group_norm(y, 8, w(f"{name}.norm.weight"), w(f"{name}.norm.bias"))
        total += np.where(y > 0, y, 0.2 * y)
    np.testing.assert_allclose(block(x)[0].detach().numpy(), total, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("stride", "up"), [(1, False), (2, False), (1, True), (2, True)])
def test_convsc_against_loops(stride: int, up: bool) -> None:
    block = shaken(ConvSC(3, 4, stride=stride, up=up))
    w, x = weights(block), picture(3, 6)
    y = conv(x[0].numpy(), w("conv.weight"), w("conv.bias"), padding=1, stride=1 if up else stride)
    if up and stride == 2:
        wide = np.zeros((4, 12, 12))
        for c in range(4):
            for r in range(12):
                for s in range(12):
                    wide[c, r, s] = y[4 * c + 2 * (r % 2) + s % 2, r // 2, s // 2]
        y = wide
    y = group_norm(y, 2, w("norm.weight"), w("norm.bias"))
    np.testing.assert_allclose(block(x)[0].detach().numpy(), y * sigmoid(y), rtol=1e-10, atol=1e-12)


def test_strides_alternate_and_the_decoder_mirrors_the_encoder() -> None:
    assert strides(4) == [1, 2, 1, 2]
    latent, skip = Encoder(3, 8, 4)(torch.zeros(1, 3, 32, 32))
    assert latent.shape == (1, 8, 8, 8)
    assert skip.shape == (1, 8, 32, 32)
    assert Decoder(8, 3, 4)(latent, skip).shape == (1, 3, 32, 32)


def test_the_skip_is_added_before_the_last_block() -> None:
    decoder = Decoder(4, 2, 2).eval()
    hidden, skip = picture(4, 4).float(), picture(4, 8).float()
    raised = decoder.dec[0](hidden) + skip
    torch.testing.assert_close(decoder(hidden, skip), decoder.readout(decoder.dec[1](raised)))


def test_v1_joins_its_halves_in_reverse() -> None:
    net = MidIncepNet(6, 16, 6, 3).eval()
    x = picture(6, 4).float()
    e0 = net.enc[0](x)
    e1 = net.enc[1](e0)
    e2 = net.enc[2](e1)
    y = net.dec[0](e2)
    y = net.dec[1](torch.cat([y, e1], dim=1))
    y = net.dec[2](torch.cat([y, e0], dim=1))
    torch.testing.assert_close(net(x), y)


def test_drop_path_rises_from_one_percent_to_its_value() -> None:
    net = MidMetaNet(4, 8, 4, 5, mlp_ratio=8.0, drop_path=0.2)
    rates = [m.block.drop_path.rate for m in net.enc]  # type: ignore[union-attr]
    np.testing.assert_allclose(rates, np.linspace(0.01, 0.2, 5))  # type: ignore[arg-type]


def test_drop_path_keeps_the_mean_and_drops_whole_samples() -> None:
    block = GASubBlock(2, mlp_ratio=2.0, drop_path=0.25)
    torch.manual_seed(0)
    out = block.drop_path.train()(torch.ones(4000, 1, 2, 2))
    assert out.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert (out.flatten(1).std(dim=1) == 0).all()
    assert float(out.mean()) == pytest.approx(1.0, abs=0.05)


def test_published_initial_values() -> None:
    torch.manual_seed(0)
    block = GASubBlock(64, mlp_ratio=8.0, drop_path=0.0)
    assert (block.layer_scale_1 == 1e-2).all()
    assert float(block.mlp.fc1.weight.detach().std()) == pytest.approx(math.sqrt(2 / 512), rel=0.05)
    # Depth-wise: the fan counts one group.
    assert float(block.mlp.dwconv.weight.detach().std()) == pytest.approx(
        math.sqrt(2 / 9), rel=0.05
    )
    conv_sc = ConvSC(64, 64, stride=1, up=False)
    assert float(conv_sc.conv.weight.detach().std()) == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("model_type", ["gsta", "incepu"])
@pytest.mark.parametrize(("frames", "channels"), [(None, None), (1, 2)])
def test_every_parameter_gets_a_gradient(
    model_type: str, frames: int | None, channels: int | None
) -> None:
    torch.manual_seed(0)
    net = SimVP(
        (3, 4, 16, 16), hid_S=16, hid_T=32, N_S=4, N_T=3, model_type=model_type,
        out_frames=frames, out_channels=channels,
    )  # fmt: skip
    out = net(torch.rand(2, 3, 4, 16, 16))
    assert out.shape == (2, frames or 3, channels or 4, 16, 16)
    out.square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
