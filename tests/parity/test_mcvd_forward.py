"""MCVD's blocks against loops in float64, its sizes against the published ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from rsbench.models import registry
from rsbench_baselines.ddpm.diffusion import Diffusion
from rsbench_baselines.mcvd.model import strided
from rsbench_baselines.mcvd.network import Attention, Norm, ResBlock, UNet, groups_of, resampled
from rsbench_baselines.tokens import time_code

Array = npt.NDArray[np.float64]
PROCESS = Diffusion()


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filled(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every tensor numbers, so that no zero hides a fault."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
    return module.double().eval()


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def conv(x: Array, layer: object) -> Array:
    """Correlate ``(C, H, W)`` pixel by pixel, zeros beyond the border."""
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    k = weight.shape[-1]
    padded = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    out = np.empty((len(weight), *x.shape[1:]))
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            out[:, i, j] = (weight * padded[None, :, i : i + k, j : j + k]).sum((1, 2, 3)) + bias
    return out


def linear(x: Array, layer: object) -> Array:
    assert isinstance(layer, nn.Linear)
    return np.asarray(layer.weight.detach().numpy() @ x + layer.bias.detach().numpy())


def grouped(x: Array, groups: int, epsilon: float = 1e-6) -> Array:
    out = np.empty_like(x)
    for part in np.split(np.arange(len(x)), groups):
        out[part] = (x[part] - x[part].mean()) / math.sqrt(x[part].var() + epsilon)
    return out


def normed(x: Array, code: Array, frames: Array, layer: object) -> Array:
    assert isinstance(layer, Norm)
    y = grouped(x, groups_of(len(x)), 1e-5 if layer.shared is None else 1e-6)
    if layer.shared is not None:
        factor = frames.shape[1] // x.shape[1]  # nearest to a smaller side: every n-th pixel
        read = silu(conv(frames[:, ::factor, ::factor], layer.shared))
        y = y * (1 + conv(read, layer.gamma)) + conv(read, layer.beta)
    if layer.time is not None:
        scale, shift = np.split(linear(silu(code), layer.time), 2)
        y = y * (1 + scale[:, None, None]) + shift[:, None, None]
    return y


def smoothed(x: Array, way: str) -> Array:
    """Filter by 1-3-3-1 in both directions: keep every second, or zeros put in between."""
    kernel = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
    C, H, W = x.shape
    if way == "up":
        wide = np.zeros((C, 2 * H, 2 * W))
        wide[:, ::2, ::2] = 4 * x
        padded, step, size = np.pad(wide, ((0, 0), (2, 1), (2, 1))), 1, (2 * H, 2 * W)
    else:
        padded, step, size = np.pad(x, ((0, 0), (1, 1), (1, 1))), 2, (H // 2, W // 2)
    out = np.empty((C, *size))
    for i in range(size[0]):
        for j in range(size[1]):
            part = padded[:, i * step : i * step + 4, j * step : j * step + 4]
            out[:, i, j] = (part * kernel).sum((1, 2))
    return out


@pytest.mark.parametrize("way", ["up", "down"])
def test_resampling_smooths_by_1_3_3_1(way: str) -> None:
    x = drawn(2, 3, 6, 8)
    expected = np.stack([smoothed(part, way) for part in x.numpy()])
    np.testing.assert_allclose(resampled(x, way).numpy(), expected, atol=1e-12)
    inside = resampled(torch.ones(1, 1, 8, 8), way)[..., 1:-1, 1:-1]
    torch.testing.assert_close(inside, torch.ones_like(inside))  # a flat field stays


@pytest.mark.parametrize("frames", [0, 3], ids=["joined", "spade"])
@pytest.mark.parametrize(("way", "outputs"), [("", 8), ("", 12), ("down", 8), ("up", 8)])
def test_a_residual_block_by_loops(way: str, outputs: int, frames: int) -> None:
    block = ResBlock(8, outputs, 6, frames=frames, spade_dim=5, way=way)
    filled(block)
    x, code, seen = drawn(1, 8, 4, 4), drawn(1, 6, seed=1), drawn(1, 3, 8, 8, seed=2)
    a, c, f = (t[0].numpy() for t in (x, code, seen))
    y = silu(normed(a, c, f, block.norm1))
    if way:
        a, y = smoothed(a, way), smoothed(y, way)
    y = conv(silu(normed(conv(y, block.conv1), c, f, block.norm2)), block.conv2)
    plain = isinstance(block.skip, nn.Identity)
    assert plain == (outputs == 8 and not way)
    expected = ((a if plain else conv(a, block.skip)) + y) / math.sqrt(2)
    found = block(x, code, seen)[0].detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize(("frames", "epsilon"), [(0, 1e-5), (3, 1e-6)], ids=["joined", "spade"])
def test_the_epsilon_of_a_norm_where_the_variance_is_as_small(frames: int, epsilon: float) -> None:
    """Values ±0.001 have the variance 1e-6; joined they shrink to ±√(1/11), in SPADE to ±√½."""
    layer = Norm(4, 0, frames, 2)
    with torch.no_grad():
        for tensor in layer.parameters():
            tensor.zero_()
        if not frames:
            layer.norm.weight.fill_(1)
    x = torch.tensor([1e-3, -1e-3]).repeat(2).view(1, 4, 1, 1).double()
    found = layer.double()(x, torch.zeros(1, 0), torch.zeros(1, 3, 1, 1).double())
    expected = 1e-3 / math.sqrt(1e-6 + epsilon)
    torch.testing.assert_close(found.abs(), torch.full_like(x, expected))


def test_attention_by_loops() -> None:
    layer = Attention(8, 4)
    filled(layer)
    x = drawn(1, 8, 2, 3)
    scale, shift = (t.detach().numpy()[:, None, None] for t in layer.norm.parameters())
    read = conv(grouped(x[0].numpy(), 2) * scale + shift, layer.read).reshape(3, 2, 4, 6)
    found = np.zeros((2, 4, 6))
    for head in range(2):
        q, k, v = read[:, head]
        for i in range(6):
            score = np.array([q[:, i] @ k[:, j] for j in range(6)]) / math.sqrt(4)
            weight = np.exp(score) / np.exp(score).sum()
            found[head, :, i] = v @ weight
    expected = (x[0].numpy() + conv(found.reshape(8, 2, 3), layer.out)) / math.sqrt(2)
    np.testing.assert_allclose(layer(x)[0].detach().numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("spade_dim", [0, 4])
def test_a_whole_network_of_two_levels_by_its_blocks(spade_dim: int) -> None:
    """One block per level: six skips, popped in reverse, attention where the side says so."""
    net = UNet(
        2, 1, 3, image_size=8, ngf=4, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(4,),
        n_head_channels=4, spade_dim=spade_dim,
    )  # fmt: skip
    filled(net)
    x, seen, times = drawn(2, 2, 8, 8), drawn(2, 3, 8, 8, seed=1), torch.tensor([7, 900])
    code = net.time(time_code(times, 4).double())

    def call(module: object, *parts: Tensor) -> Tensor:
        assert isinstance(module, ResBlock)
        return torch.as_tensor(module(torch.cat(parts, dim=1), code, seen))

    down, up = [list(level) for level in net.down], [list(level) for level in net.up]
    a = net.stem(x if spade_dim else torch.cat([x, seen], dim=1))
    b = call(down[0][0], a)
    c = call(net.shrink[0], b)
    d = net.down_attention[1][0](call(down[1][0], c))  # type: ignore[index,operator]
    y = call(net.middle[1], net.middle_attention(call(net.middle[0], d)))
    y = net.up_attention[0][0](call(up[0][1], call(up[0][0], y, d), c))  # type: ignore[index,operator]
    y = call(up[1][1], call(up[1][0], call(net.grow[0], y), b), a)
    expected = net.out(torch.nn.functional.silu(net.norm(y, code, seen)))
    torch.testing.assert_close(net(x, seen, times), expected, rtol=1e-12, atol=1e-12)
    assert [len(m) for m in net.down_attention] == [0, 1]  # type: ignore[arg-type]
    assert [len(m) for m in net.up_attention] == [1, 0]  # type: ignore[arg-type]


def test_untrained_it_tells_no_noise_and_every_tensor_gets_a_gradient() -> None:
    net = UNet(2, 1, 3, ngf=4, ch_mult=(1, 2), num_res_blocks=1, n_head_channels=4, spade_dim=4)
    x, seen, times = drawn(2, 2, 8, 8).float(), drawn(2, 3, 8, 8).float(), torch.tensor([3, 700])
    assert (net(x, seen, times) == 0).all()
    filled(net).float()
    net(x, seen, times).square().sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


# Millions: of the published configurations, and of one frame in, one out, at 3 bands.
MILLIONS = {
    "paper": 4.25, "paper_big": 116.5, "cityscapes": 4.25, "cityscapes_big": 116.6,
    "cityscapes_big_spade": 432, "kth": 62.8,
}  # fmt: skip


@pytest.mark.parametrize("preset", MILLIONS)
def test_counts_are_the_published_ones(preset: str) -> None:
    published = MILLIONS[preset]
    digits = len(str(published).partition(".")[2])
    found = registry.card("mcvd").presets[preset].parameters / 1e6
    assert round(found, digits) == published


def test_a_hundred_calls_visit_every_tenth_time() -> None:
    times = strided(1000, 100)
    assert (times[0], times[-1], len(times)) == (999, 9, 100)
    assert set(np.diff(times)) == {-10}
    assert strided(1000, 3) == [999, 666, 333]
    assert math.sqrt(1 - PROCESS.alpha_bar(9)) == pytest.approx(0.044, abs=5e-4)
    for wrong in (0, 1001):
        with pytest.raises(ValueError, match="subsample"):
            strided(1000, wrong)


# ------------------------------------------------------------------- DDPM between any two times


@pytest.mark.parametrize(("time", "before"), [(999, 989), (500, 499), (19, 9), (9, -1)])
def test_the_posterior_by_bayes(time: int, before: int) -> None:
    """Precisions of q(x_before | x_0) and of the jump x_before → x_time add up."""
    x, noise = drawn(3, 1, 2, 2), drawn(3, 1, 2, 2, seed=1)
    now, then = PROCESS.alpha_bar(time), PROCESS.alpha_bar(before)
    clean = PROCESS.clean(x, noise, time)
    steps = [PROCESS.posterior_step(x, noise, time, before, fresh=f, bound=None)
             for f in (torch.zeros_like(x), torch.ones_like(x))]  # fmt: skip
    jump = now / then
    if before < 0:
        torch.testing.assert_close(steps[0], clean)
        return
    precision = jump / (1 - jump) + 1 / (1 - then)
    mean = (math.sqrt(jump) / (1 - jump) * x + math.sqrt(then) / (1 - then) * clean) / precision
    torch.testing.assert_close(steps[0], mean, rtol=1e-8, atol=1e-8)
    deviation = torch.full_like(x, precision**-0.5)
    torch.testing.assert_close(steps[1] - steps[0], deviation, rtol=1e-8, atol=1e-8)


def test_ddpm_equals_ddim_with_eta_one_until_the_bound_holds_something() -> None:
    x, noise, fresh = (drawn(2, 1, 3, 3, seed=s) for s in range(3))
    for time, before in ((900, 800), (50, 3)):
        ddpm, ddim = (
            [f(x, noise, time, before, fresh=fresh, bound=b, **more) for b in (None, 0.1)]  # type: ignore[operator]
            for f, more in ((PROCESS.posterior_step, {}), (PROCESS.ddim_step, {"eta": 1.0}))
        )
        torch.testing.assert_close(ddpm[0], ddim[0], rtol=1e-9, atol=1e-9)
        assert not torch.allclose(ddpm[1], ddim[1])
    with pytest.raises(ValueError, match="fresh noise"):
        PROCESS.posterior_step(x, noise, 500, 400)


def test_ancestral_sampling_gives_back_a_gaussian() -> None:
    """Mean 0.3, deviation 0.2, by the exact denoiser, at a thousand times and at a hundred."""

    def exact(x: Tensor, time: int) -> Tensor:
        kept = PROCESS.alpha_bar(time)
        spread = kept * 0.2**2 + 1 - kept
        return math.sqrt(1 - kept) * (x - math.sqrt(kept) * 0.3) / spread

    def sampled(times: Sequence[int]) -> Tensor:
        names: dict[str, int] = {}

        def draw(name: str) -> Tensor:
            assert name not in names
            return drawn(10_000, 1, 1, 1, seed=names.setdefault(name, len(names)))

        return PROCESS.sample(
            exact, draw, steps=len(times), times=times, ancestral=True, bound=None
        )

    gaps = []
    for count in (1000, 100):
        found = sampled(strided(1000, count))
        assert float(found.mean()) == pytest.approx(0.3, abs=0.01)
        gaps.append(0.2 - float(found.std()))
    # Few calls with the posterior's variance draw too narrowly; many do not.
    assert abs(gaps[0]) < 0.01 < gaps[1] < 0.04
