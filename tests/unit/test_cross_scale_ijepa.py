"""I-JEPA with the affinity: published sizes, what the teacher sees, and what moves it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from cross_scale_toys import check_trains, draw, generator, pair
from torch import Tensor, nn
from torch.nn import functional as F

from rsbench.core.errors import InputError
from rsbench_baselines._vit import sincos
from rsbench_baselines.cross_scale import masking, views
from rsbench_baselines.cross_scale.affinity import children
from rsbench_baselines.cross_scale.ijepa import IJepa
from rsbench_baselines.cross_scale.options import SIZES, VARIANTS, Pretraining, Sizes

SMALL = replace(
    SIZES["ijepa", "tiny"], bands=2, hr_bands=2, width=16, depth=4, heads=2, inner=16, inner_heads=2
)
SA = Pretraining(affinity="gram", teach="hr")


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("size", "encoder", "predictor"),
    [("paper", 21_595_776, 21_590_400), ("tiny", 204_224, 62_944)],
)
def test_the_sizes(size: str, encoder: int, predictor: int) -> None:
    with torch.device("meta"):
        net = IJepa(SIZES["ijepa", size], Pretraining(), steps=1)
    assert (count(net.encoder), count(net.predictor)) == (encoder, predictor)
    assert count(net.teacher) == 0


def test_tokens_of_the_tiny_encoder_are_about_the_image_before_any_training() -> None:
    """With the published first weights they are nearly the positions alone."""
    alike = {}
    for spread, enter in ((0.125, 0.5), (0.02, 0.02)):
        torch.manual_seed(0)
        sizes = replace(SIZES["ijepa", "tiny"], spread=spread, enter=enter)
        with torch.no_grad():
            one, two = IJepa(sizes, Pretraining(), steps=1).encode(draw(2, 4, 32, 32))[-1]
        alike[enter] = float(F.cosine_similarity(one, two, dim=0).mean())
    assert (SIZES["ijepa", "tiny"].spread, SIZES["ijepa", "tiny"].enter) == (0.125, 0.5)
    assert alike[0.5] < 0.5 < 0.8 < alike[0.02]


@pytest.mark.parametrize(
    "options",
    [{"affinity": "gram"}, {"teach": "hr"}, {"see": "hr", "affinity": "gram", "teach": "hr"},
     {"base": "mae"}, {"tokens": "all"}, {"pos": "metres"}, {"ratio": 0}, {"weight": -1.0}],
)  # fmt: skip
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Pretraining(**options)


def test_one_encoder_reads_both_images_only_with_equal_bands() -> None:
    sizes = replace(SMALL, hr_bands=3)
    IJepa(sizes, Pretraining(), steps=1)
    IJepa(sizes, Pretraining(affinity="gram", teach="interp"), steps=1)
    for options in (SA, Pretraining(see="hr")):
        with pytest.raises(InputError, match="3 at high resolution"):
            IJepa(sizes, options, steps=1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_trains_its_networks(variant: str) -> None:
    torch.manual_seed(0)
    sizes = SMALL.finer() if variant == "mr_fine" else SMALL
    net = IJepa(sizes, Pretraining(**VARIANTS[variant]), steps=10)
    check_trains(net, variant)


@pytest.mark.parametrize(
    ("kind", "tokens"), [("gram", "visible"), ("mse", "visible"), ("gram", "block")]
)
def test_the_affinity_of_equal_images_at_ratio_one_is_zero(kind: str, tokens: str) -> None:
    torch.manual_seed(0)
    options = Pretraining(affinity=kind, teach="hr", tokens=tokens, ratio=1)  # type: ignore[arg-type]
    net = IJepa(SMALL, options, steps=10)
    image, _ = pair()
    assert float(net.loss(image, image, generator())["affinity"].detach()) < 1e-10
    other, _ = pair(seed=1)
    assert float(net.loss(image, other, generator())["affinity"].detach()) > 1e-6


def test_the_base_loss_by_its_definition() -> None:
    torch.manual_seed(0)
    net = IJepa(replace(SMALL, momentum=0.0), Pretraining(), steps=10)
    with torch.no_grad():  # else the targets have mean 0 and deviation 1 already
        net.encoder.norm.weight.copy_(draw(16).abs())
        net.encoder.norm.bias.copy_(draw(16, seed=1))
    image, _ = pair()
    found = net.loss(image, None, generator(3))
    masks = masking.multi_block(2, 8, generator(3))
    whole = net.encoder(image)
    whole = whole - whole.mean(-1, keepdim=True)
    whole = whole / (whole.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    losses = []
    for k in range(4):
        block = masks.targets[:, k]
        made = net.predictor(net.encoder(image, masks.context), masks.context, block, (8, 8))
        wanted = torch.stack([whole[b, block[b]] for b in range(2)])
        gap = (made - wanted).abs()
        losses.append(torch.where(gap < 1, gap.square() / 2, gap - 0.5).mean())
    torch.testing.assert_close(found["base"], torch.stack(losses).mean())
    assert torch.equal(found["total"], found["base"])


def test_the_weight_of_the_affinity() -> None:
    torch.manual_seed(0)
    net = IJepa(SMALL, replace(SA, weight=0.25), steps=10)
    terms = net.loss(*pair(), generator())
    torch.testing.assert_close(terms["total"], terms["base"] + 0.25 * terms["affinity"].detach())


class Seen:
    """Records what a teacher is shown."""

    def __init__(self, net: IJepa) -> None:
        self.calls: list[tuple[Tensor, ...]] = []
        net.teacher.register_forward_hook(lambda _, given, out: self.calls.append(given))


def test_the_teacher_sees_only_children_of_the_context() -> None:
    net = IJepa(SMALL, SA, steps=10)
    seen = Seen(net)
    mr, hr = pair()
    net.loss(mr, hr, generator(3))
    _, (image, kept, codes) = seen.calls
    context = masking.multi_block(2, 8, generator(3)).context
    assert torch.equal(kept, children(context, 8, 2))
    # 64 pixels: 16 tokens of four pixels a side, from 128.
    torch.testing.assert_close(image, views.resized(hr, 64, 64))
    torch.testing.assert_close(codes, sincos(16, 16, 16))


def test_the_interpolated_control_sees_the_mid_resolution_image_alone() -> None:
    """The same number of tokens and pixels, and nothing of the high-resolution image."""
    net = IJepa(SMALL, replace(SA, teach="interp"), steps=10)
    seen = Seen(net)
    mr, hr = pair()
    found = net.loss(mr, hr, generator(3))
    _, (image, kept, _) = seen.calls
    expected = F.interpolate(mr, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(image, expected)
    assert kept.shape[1] == 4 * masking.multi_block(2, 8, generator(3)).context.shape[1]
    for other in (None, hr + 1):
        again = net.loss(mr, other, generator(3))
        assert all(torch.equal(found[name], again[name]) for name in found)


@pytest.mark.parametrize("options", [SA, Pretraining(see="hr")])
def test_a_missing_high_resolution_image_is_refused(options: Pretraining) -> None:
    net = IJepa(SMALL, options, steps=10)
    with pytest.raises(ValueError, match="high-resolution"):
        net.loss(pair()[0], None, generator())


def test_the_high_resolution_variant_reads_it_alone_at_the_same_size() -> None:
    net = IJepa(SMALL, Pretraining(see="hr"), steps=10)
    seen = Seen(net)
    mr, hr = pair()
    first = net.loss(mr, hr, generator())
    second = net.loss(mr + 1, hr, generator())
    assert torch.equal(first["base"], second["base"])
    assert seen.calls[0][0].shape == mr.shape


def test_positions_on_the_ground_are_those_of_the_centres() -> None:
    """By hand: four fine tokens on two coarse ones lie at −1/4, 1/4, 3/4 and 5/4."""
    found = views.places(8, 4, 4, ratio=2, ground=True, base=10_000.0)
    wanted = torch.tensor([-0.25, 0.25, 0.75, 1.25])
    torch.testing.assert_close(found[:4, 0], wanted.sin())
    torch.testing.assert_close(found[::4, 4], wanted.sin())
    torch.testing.assert_close(found[:4, 1], (wanted / 100).sin())
    mean = found.reshape(2, 2, 2, 2, 8).mean((1, 3)).reshape(4, 8)
    torch.testing.assert_close(mean, sincos(8, 2, 2), atol=0.05, rtol=0)
    inclusive = views.places(8, 3, 3, inclusive=True, base=10_000.0)
    torch.testing.assert_close(inclusive[:3, 0], torch.tensor([0.0, 1.5, 3.0]).sin())
    both = views.places(8, 6, 6, inclusive=True, ratio=2, ground=True, base=10_000.0)
    centres = torch.tensor([-0.25, 0.25, 0.75, 1.25, 1.75, 2.25]) * 1.5
    torch.testing.assert_close(both[:6, 0], centres.sin())


def test_options_of_positions_change_the_affinity() -> None:
    torch.manual_seed(0)
    state = IJepa(SMALL, SA, steps=10).state_dict()
    found = []
    changes = ({}, {"pos": "ground"}, {"tokens": "block"}, {"affinity": "mse"})
    for change in changes:
        net = IJepa(SMALL, replace(SA, **change), steps=10)  # type: ignore[arg-type]
        net.load_state_dict(state)
        found.append(float(net.loss(*pair(), generator())["affinity"].detach()))
    assert len(set(found)) == 4


def test_the_teacher_is_the_weighted_sum_of_all_steps() -> None:
    """The closed form: each step's weights times its share, times what later steps leave of it."""
    torch.manual_seed(0)
    net = IJepa(replace(SMALL, momentum=0.5), SA, steps=4)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    weights = []
    for step in range(4):
        terms = net.loss(*pair(seed=step), generator(step))
        weights.append(net.encoder.embed.weight.detach().clone())
        optimiser.zero_grad()
        terms["total"].backward()
        optimiser.step()
    momenta = [0.5, 0.625, 0.75, 0.875]
    expected = weights[0]  # the teacher starts as the encoder
    for m, w in zip(momenta, weights, strict=True):
        expected = m * expected + (1 - m) * w
    torch.testing.assert_close(dict(net.teacher.named_buffers())["embed_weight"], expected)
    assert int(net.teacher.count) == 4


def test_parts_of_a_batch_move_the_teacher_once() -> None:
    torch.manual_seed(0)
    net = IJepa(SMALL, SA, steps=10)
    for _ in range(3):
        net.loss(*pair(), generator())
    assert int(net.teacher.count) == 1


def test_maps_of_four_depths() -> None:
    net = IJepa(SMALL, Pretraining(), steps=10).eval()
    image = draw(2, 2, 48, 32)
    maps = net.encode(image)
    assert [m.shape for m in maps] == [(2, 16, 12, 8)] * 4
    torch.testing.assert_close(maps[-1].flatten(2).mT, net.encoder(image))
    torch.testing.assert_close(maps[-1], net.encode(image)[-1], rtol=0, atol=0)
    x = net.encoder._enter(image, None, None)
    x = net.encoder.norm(net.encoder.blocks[0](x))
    torch.testing.assert_close(maps[0].flatten(2).mT, x)
    assert IJepa(SMALL.finer(), Pretraining(), steps=10).encode(image)[-1].shape == (2, 16, 24, 16)


def test_twelve_blocks_give_their_third_sixth_ninth_and_last() -> None:
    net = IJepa(replace(SMALL, depth=12), Pretraining(), steps=10).eval()
    image, found = draw(1, 2, 32, 32), []
    for block in net.encoder.blocks:
        block.register_forward_hook(lambda _, given, out: found.append(net.encoder.norm(out)))
    maps = net.encode(image)
    for made, i in zip(maps, (2, 5, 8, 11), strict=True):
        torch.testing.assert_close(made.flatten(2).mT, found[i])


def test_a_constant_encoder_is_shown_as_collapsed() -> None:
    torch.manual_seed(0)
    net = IJepa(SMALL, SA, steps=10)
    free = net.loss(*pair(), generator())
    with torch.no_grad():
        net.encoder.norm.weight.zero_()
        net.encoder.norm.bias.fill_(1.0)
    net.teacher.momentum = 0.0
    net.teacher.count.zero_()
    terms = net.loss(*pair(), generator())
    assert float(terms["affinity"].detach()) < 1e-10
    assert float(terms["token_cosine"]) == pytest.approx(1.0, abs=1e-5)
    assert float(terms["effective_rank"]) == pytest.approx(1.0, abs=1e-2)
    assert float(free["token_cosine"]) < 0.99
    assert float(free["effective_rank"]) > 2


def test_the_global_seed_changes_no_draw() -> None:
    torch.manual_seed(0)
    net = IJepa(SMALL, replace(SA, tokens="block"), steps=10)
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(net.loss(*pair(), generator(7)))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_too_many_visible_tokens_are_refused() -> None:
    with pytest.raises(InputError, match="15"):
        Sizes(grid=4, visible=16)
