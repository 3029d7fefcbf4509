"""LatentMIM with the affinity: published sizes, chance, patches with gaps, and what moves it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from cross_scale_toys import check_trains, draw, generator, pair
from torch import Tensor, nn

from rsbench_baselines.cross_scale import masking, views
from rsbench_baselines.cross_scale.affinity import children
from rsbench_baselines.cross_scale.latentmim import LatentMim, gapped, patch_infonce
from rsbench_baselines.cross_scale.options import SIZES, VARIANTS, Pretraining

PAPER = SIZES["latentmim", "paper"]
SMALL = replace(
    SIZES["latentmim", "tiny"], bands=2, hr_bands=2, width=16, heads=2, hidden=24, inner=16,
    inner_heads=2, patch=4, gap=2,
)  # fmt: skip
SA = Pretraining("latentmim", affinity="gram", teach="hr")


def count(*modules: nn.Module) -> int:
    return sum(p.numel() for m in modules for p in m.parameters())


def test_the_published_sizes() -> None:
    with torch.device("meta"):
        net = LatentMim(PAPER, Pretraining("latentmim"), steps=1)
    encoder, decoder = net.encoder, net.decoder
    assert encoder.cls is not None
    assert count(encoder.embed) == 393_600
    assert encoder.cls.numel() == 384
    assert count(encoder.blocks) == 21_293_568
    assert count(encoder.norm) == 768
    assert count(encoder) == 21_688_320
    assert count(net.projector) == 19_940_096
    assert count(encoder, net.projector) == 41_628_416
    assert (count(decoder.enter), count(decoder.leave)) == (197_120, 196_992)
    assert count(decoder.blocks) == 12_615_168
    assert decoder.cls.numel() + decoder.mask_token.numel() + count(decoder.norm) == 2_048
    assert count(decoder) == 13_011_328
    assert count(net) == 54_639_744
    assert count(net.teacher) == 0


def test_the_tiny_encoder_is_that_of_the_other_base_and_a_token() -> None:
    with torch.device("meta"):
        net = LatentMim(SIZES["latentmim", "tiny"], Pretraining("latentmim"), steps=1)
    assert count(net.encoder) == 204_224 + 64


def test_first_weights_are_published() -> None:
    """Uniform within √(6 / (inputs + outputs)), biases 0, mask token 0."""
    torch.manual_seed(0)
    net = LatentMim(replace(SMALL, width=64, inner=32), SA, steps=1)
    for layer, inputs, outputs in (
        (net.encoder.embed, 2 * 16, 64), (net.encoder.blocks[0].qkv, 64, 192),
        (net.projector[0], 64, 24), (net.decoder.enter, 64, 32),
    ):  # fmt: skip
        limit, weight = math.sqrt(6 / (inputs + outputs)), layer.weight.detach().abs()
        assert 0.95 * limit < float(weight.max()) <= limit
        assert float(weight.mean()) == pytest.approx(limit / 2, rel=0.1)
    assert float(net.decoder.mask_token.detach().abs().max()) == 0
    assert net.encoder.cls is not None
    assert 0 < float(net.encoder.cls.detach().std()) < 0.04


def test_an_untrained_network_is_at_chance() -> None:
    """With the published sizes: 2τ ln 176 = 2.068."""
    torch.manual_seed(0)
    net = LatentMim(replace(PAPER, hidden=1024), Pretraining("latentmim"), steps=1)
    with torch.no_grad():
        terms = net.loss(draw(2, 4, 128, 128), None, generator())
    assert float(terms["base"]) == pytest.approx(0.4 * math.log(176), abs=0.05)
    assert float(terms["predicted_cosine"]) > 0.9


def test_the_loss_by_loops() -> None:
    # Deviations of a thousandth to seven, beside which the constant is seen.
    predicted, target = draw(2, 5, 7) * torch.arange(1, 8) / 1000, draw(2, 5, 7, seed=1)
    total = 0.0
    for p, t in zip(predicted.double().numpy(), target.double().numpy(), strict=True):
        p = (p - p.mean(0)) / (p.std(0, ddof=1) + 1e-4)
        p, t = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (p, t))
        for i in range(5):
            scores = [p[i] @ other / 0.2 for other in t]
            total += math.log(sum(math.exp(s) for s in scores)) - scores[i]
    found = float(patch_infonce(predicted, target))
    assert found == pytest.approx(0.4 * total / 10, rel=1e-5)
    # Equal targets tell no token apart.
    equal = patch_infonce(predicted, target[:, :1].expand(-1, 5, -1))
    assert float(equal) == pytest.approx(0.4 * math.log(5), rel=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert float(patch_infonce(predicted, target)) == found


def test_patches_lie_anywhere_in_their_cells_but_at_the_far_edge() -> None:
    """A pixel holds its own place, so that a patch says where it is from."""
    rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    image = torch.stack([rows, columns])[None].repeat(40, 1, 1, 1)
    found = gapped(image, 7, 3, generator())
    assert found.shape == (40, 2, 14, 21)
    cells = found.reshape(40, 2, 2, 7, 3, 7).movedim(4, 3)  # cells, then pixels
    first = cells[..., 0, 0]
    torch.testing.assert_close(cells[:, 0] - first[:, 0, ..., None, None],
                               torch.arange(7.0)[:, None].expand(40, 2, 3, 7, 7))  # fmt: skip
    torch.testing.assert_close(cells[:, 1] - first[:, 1, ..., None, None],
                               torch.arange(7.0).expand(40, 2, 3, 7, 7))  # fmt: skip
    offsets = first - torch.stack(torch.meshgrid(torch.tensor([0.0, 10.0]),
                                                 torch.tensor([0.0, 10.0, 20.0]),
                                                 indexing="ij"))  # fmt: skip
    for axis in (0, 1):
        assert offsets[:, axis].unique().tolist() == [0, 1, 2]
    assert not torch.equal(offsets[:, 0], offsets[:, 1])
    assert gapped(image, 10, 0, generator()) is image


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_trains_its_networks(variant: str) -> None:
    torch.manual_seed(0)
    sizes = SMALL.finer() if variant == "mr_fine" else SMALL
    net = LatentMim(sizes, Pretraining("latentmim", **VARIANTS[variant]), steps=10)
    check_trains(net, variant)


def test_the_affinity_of_equal_images_at_ratio_one_is_zero() -> None:
    torch.manual_seed(0)
    net = LatentMim(replace(SMALL, gap=0), replace(SA, ratio=1), steps=10)
    image, _ = pair()
    with torch.no_grad():
        assert float(net.loss(image, image, generator())["affinity"]) < 1e-10
        other, _ = pair(seed=1)
        assert float(net.loss(image, other, generator())["affinity"]) > 1e-6


def test_the_teacher_sees_masked_patches_and_children_of_visible_ones() -> None:
    net = LatentMim(replace(SMALL, gap=0), SA, steps=10)
    calls: list[tuple[Tensor, ...]] = []
    net.teacher.register_forward_hook(lambda _, given, out: calls.append(given))
    mr, hr = pair()
    net.loss(mr, hr, generator(3))
    (low, masked, codes), (high, inside, fine) = calls
    visible, others = masking.visible_subset(2, 64, 13, generator(3))
    assert torch.equal(low, mr)
    assert torch.equal(masked, others)
    assert torch.equal(inside, children(visible, 8, 2))
    torch.testing.assert_close(high, views.resized(hr, 64, 64))
    # Positions run from 0 to 8 and to 16; the second half of a code is the row.
    torch.testing.assert_close(codes[-1, 0], torch.tensor(8.0).sin())
    torch.testing.assert_close(fine[-1, 8], torch.tensor(16.0).sin())


def test_the_interpolated_control_never_reads_the_high_resolution_image() -> None:
    net = LatentMim(SMALL, replace(SA, teach="interp"), steps=10)
    mr, hr = pair()
    with torch.no_grad():
        found, again = (net.loss(mr, image, generator()) for image in (hr, None))
    assert all(torch.equal(found[name], again[name]) for name in found)


def test_the_teacher_follows_encoder_and_projector_along_a_cosine() -> None:
    torch.manual_seed(0)
    net = LatentMim(replace(SMALL, momentum=0.5), SA, steps=4)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    names = ("encoder.embed.weight", "projector.3.weight")
    weights: list[list[Tensor]] = []
    for step in range(4):
        terms = net.loss(*pair(seed=step), generator(step))
        weights.append([net.get_parameter(n).detach().clone() for n in names])
        optimiser.zero_grad()
        terms["total"].backward()
        optimiser.step()
    for i, name in enumerate(names):
        expected = weights[0][i]
        for step, held in enumerate(weights):
            m = 1 - 0.5 * (1 + math.cos(math.pi * step / 4)) / 2
            expected = m * expected + (1 - m) * held[i]
        found = dict(net.teacher.named_buffers())[name.replace(".", "_")]
        torch.testing.assert_close(found, expected)
    assert float((weights[0][0] - weights[-1][0]).abs().max()) > 0


def test_maps_have_neither_the_first_token_nor_gaps_nor_the_projector() -> None:
    net = LatentMim(SMALL, SA, steps=10).eval()
    image = draw(2, 2, 32, 32)
    maps = net.encode(image)
    assert [m.shape for m in maps] == [(2, 16, 8, 8)] * 4
    whole = net.encoder(image, None, views.places(16, 8, 8, inclusive=True, base=10_000.0))
    torch.testing.assert_close(maps[-1].flatten(2).mT, whole[:, 1:])
    assert net.encode(draw(1, 2, 40, 24))[-1].shape == (1, 16, 10, 6)


def test_a_state_gives_equal_losses() -> None:
    """Teacher and its count are part of the state, so a continued training is the same."""
    torch.manual_seed(0)
    first = LatentMim(SMALL, SA, steps=10)
    with torch.no_grad():
        first.loss(*pair(), generator())
        second = LatentMim(SMALL, SA, steps=10)
        second.load_state_dict(first.state_dict())
        for p, q in zip(first.parameters(), second.parameters(), strict=True):
            p.add_(0.01)
            q.add_(0.01)
        one, two = (net.loss(*pair(seed=1), generator(1)) for net in (first, second))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert int(second.teacher.count) == 2
