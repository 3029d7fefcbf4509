"""SA-STF as a module: variants, gradients, the cached condition, losses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor

from rsbench_baselines.ddpm.diffusion import Draw, Sampling
from rsbench_baselines.rddm.schedule import schedule
from rsbench_baselines.sa_stf.deep import Alignment
from rsbench_baselines.sa_stf.loss import EQUATIONS, OFFICIAL, TAPS, FusionLoss, LossPlan
from rsbench_baselines.sa_stf.network import SASTF, Condition, References
from rsbench_baselines.sa_stf.sampling import fuse
from rsbench_baselines.sa_stf.sizes import SIZES, VARIANTS, Mode, Size, Variant
from rsbench_baselines.vgg import VggFeatures, WeightsUnavailable, vgg

TINY = SIZES["tiny"]
PAPER_LIKE = replace(TINY, mult=(1, 2, 2, 2, 2), bands=3)


def references(n: int = 2, side: int = 16, bands: int = 6, seed: int = 0) -> References:
    g = torch.Generator().manual_seed(seed)
    return References(*(2 * torch.rand(5, n, bands, side, side, generator=g) - 1))


def noise(*shape: int) -> Draw:
    """Noise by name alone."""

    def draw(name: str) -> Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(name.encode())))

    return draw


def built(size: Size = TINY, seed: int = 0) -> SASTF:
    torch.manual_seed(seed)
    return SASTF(size).eval()


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("start", ["official", "consistent"])
def test_a_cached_condition_changes_no_bit(eta: float, start: Any) -> None:
    net, given, plan = built(PAPER_LIKE), references(bands=3), schedule("official", 10)
    options: dict[str, Any] = {"steps": 3, "eta": eta, "members": 2}
    draw = noise(4, 3, 16, 16)
    cached = fuse(net, plan, given, draw, Sampling(**options), start=start)
    assert torch.equal(
        cached, fuse(net, plan, given, draw, Sampling(**options, cached=False), start=start)
    )
    assert cached.shape == (4, 3, 16, 16)
    assert not torch.equal(cached[0], cached[1])


def test_the_condition_runs_once_and_the_noise_branch_every_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net, calls = built(), {"condition": 0, "denoise": 0}
    for name in calls:
        plain = getattr(net, name)

        def counted(*args: Any, name: str = name, plain: Any = plain) -> Any:
            calls[name] += 1
            return plain(*args)

        monkeypatch.setattr(net, name, counted)
    fuse(
        net, schedule("rddm", 20), references(), noise(2, 6, 16, 16), Sampling(5), start="official"
    )
    assert calls == {"condition": 1, "denoise": 5}


def test_members_share_the_condition_and_stand_in_a_row() -> None:
    net, given, plan = built(), references(), schedule("rddm", 20)
    draws = noise(6, 6, 16, 16)
    three = fuse(net, plan, given, draws, Sampling(2, members=3), start="consistent")
    second = References(*(t[1:] for t in vars(given).values()))
    alone = fuse(net, plan, second, lambda n: draws(n)[4:5], Sampling(2), start="consistent")
    torch.testing.assert_close(three[4:5], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("mode", ["official", "paper"])
def test_every_parameter_learns_but_the_listed_ones(variant: Variant, mode: Mode) -> None:
    size = replace(PAPER_LIKE, variant=variant, mode=mode)
    net, given = built(size).train(), references(bands=3, side=32)
    listed = SIZES["paper" if variant == "full" else variant]
    x = None if variant == "tfa_saf" else given.c1
    levels = (None, None) if x is None else (torch.tensor([3.0, 7.0]), torch.tensor([9.0, 11.0]))
    estimate, condition = net(given, x, *levels)
    loss = FusionLoss(replace(OFFICIAL, perceptual="none", alignment_weight=1.0))
    loss(estimate, given.f0 * 0.5, condition.alignment, epoch=100)["total"].backward()
    for name, parameter in net.named_parameters():
        grad = torch.zeros(1) if parameter.grad is None else parameter.grad
        # What cancels leaves rounding.
        assert (grad.abs().max() > 1e-7) != name.startswith(listed.idle), name
    assert (condition.alignment is not None) == (variant in ("full", "taylor_tfa", "tfa_saf"))


@pytest.mark.parametrize("variant", ["full", "tfa_saf"])
def test_modes_have_the_same_weights_and_other_answers(variant: Variant) -> None:
    official, paper = (
        built(replace(PAPER_LIKE, variant=variant, mode=mode)) for mode in ("official", "paper")
    )
    paper.load_state_dict(official.state_dict(), strict=True)
    given = references(bands=3, side=32)
    out = [
        fuse(n, schedule("rddm", 4), given, noise(2, 3, 32, 32), Sampling(2), start="consistent")
        for n in (official, paper)
    ]
    assert out[0].shape == given.c1.shape
    assert float((out[0] - out[1]).abs().max()) > 1e-4


def test_one_band_and_sides_that_differ() -> None:
    net = built(replace(TINY, bands=1))
    given = References(*torch.rand(5, 1, 1, 8, 20))
    out = fuse(net, schedule("rddm", 4), given, noise(1, 1, 8, 20), Sampling(2), start="official")
    assert out.shape == (1, 1, 8, 20)


def test_sides_that_do_not_halve_are_refused() -> None:
    with pytest.raises(ValueError, match=r"18×16.*multiples of 4"):
        built().condition(References(*torch.zeros(5, 1, 6, 18, 16)))


def test_the_two_ways_through_are_not_mixed_up() -> None:
    net = built()
    condition = net.condition(references())
    with pytest.raises(ValueError, match="call `denoise`"):
        net.direct(condition)
    direct = built(replace(TINY, variant="tfa_saf"))
    with pytest.raises(ValueError, match="call `direct`"):
        direct.denoise(torch.zeros(1), torch.zeros(1), torch.zeros(1), condition)


def test_the_condition_sees_every_image_and_the_noise_only_passes_the_tip() -> None:
    net, given = built(), references(1)
    plain = net.condition(given)
    for name in vars(given):
        other = net.condition(replace(given, **{name: -getattr(given, name)}))
        assert not torch.equal(other.fused, plain.fused), name
    assert isinstance(plain, Condition)
    assert len(plain.skips) == len(TINY.mult) - 1


# Losses


def alignment(n: int = 2) -> Alignment:
    return Alignment(*torch.randn(3, n, 4, 2, 2, requires_grad=True).unbind())


def images(n: int = 2, side: int = 32) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(3)
    a, b = 2 * torch.rand(2, n, 6, side, side, generator=g) - 1
    return a.requires_grad_(), b


def test_a_loss_that_needs_vgg_says_so_and_never_goes_without() -> None:
    with pytest.raises(WeightsUnavailable, match=r"perceptual part.*no VGG-16.*perceptual='none'"):
        FusionLoss(OFFICIAL)
    with pytest.raises(ValueError, match="plan says none"):
        FusionLoss(replace(OFFICIAL, perceptual="none"), VggFeatures("vgg16_bn", TAPS))


def test_absent_and_altered_weight_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match=r"vgg16_bn-6c64b313\.pth is not in .*Copy"):
        FusionLoss.from_folders(OFFICIAL, [tmp_path])
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "vgg16_bn-6c64b313.pth")
    with pytest.raises(WeightsUnavailable, match=r"SHA-256 begins with .*, not 6c64b313"):
        FusionLoss.from_folders(OFFICIAL, [tmp_path])
    assert FusionLoss.from_folders(replace(OFFICIAL, perceptual="none"), [tmp_path])


def test_a_state_without_the_tapped_layers_is_refused() -> None:
    with pytest.raises(WeightsUnavailable, match=r"tensors are absent, the first is features\.0"):
        VggFeatures("vgg16_bn", TAPS).take({"classifier.0.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="vgg16_bn, vgg19"):
        vgg("vgg13", (2,), [])


def test_taps_are_the_last_batch_norms_before_the_first_three_poolings() -> None:
    net = VggFeatures("vgg16_bn", (4, 11, 21, 23))
    kinds = [type(layer).__name__ for layer in net.features]
    pools = [i for i, k in enumerate(kinds) if k == "MaxPool2d"]
    assert pools == [6, 13, 23]
    for tap, pool in zip(TAPS, pools, strict=True):
        assert kinds[tap] == "BatchNorm2d"
        assert "BatchNorm2d" not in kinds[tap + 1 : pool]
    assert not net.train().training
    assert not any(p.requires_grad for p in net.parameters())
    # As published: 13 convolutions, 14.7 M parameters with their batch norms.
    whole = VggFeatures("vgg16_bn", (43,))
    assert sum(p.numel() for p in whole.parameters()) == 14_723_136
    assert sum(p.numel() for p in VggFeatures("vgg19", (36,)).parameters()) == 20_024_384


def test_taps_hold_what_torchvision_leaves_in_place() -> None:
    torch.manual_seed(2)
    network = torchvision.models.vgg16_bn(weights=None).eval()
    taken = VggFeatures("vgg16_bn", TAPS).take(network.state_dict())
    image = torch.rand(2, 3, 32, 32)
    seen: list[Tensor] = []
    for tap in TAPS:
        network.features[tap].register_forward_hook(lambda _, __, out: seen.append(out))
    network.features[: TAPS[-1] + 1]((image - taken.mean) / taken.deviation)
    for found, expected in zip(taken(image), seen, strict=True):
        torch.testing.assert_close(found, expected)
    assert [bool((t < 0).any()) for t in seen] == [False, False, True]


def test_a_published_state_loads_with_its_names() -> None:
    donor = VggFeatures("vgg16_bn", (43,))
    state = {**donor.state_dict(), "classifier.0.weight": torch.zeros(1)}
    taken = VggFeatures("vgg16_bn", TAPS).take(state)
    for name, tensor in taken.state_dict().items():
        assert torch.equal(tensor, state[name]), name


def test_the_sum_and_its_weights() -> None:
    torch.manual_seed(0)
    features = VggFeatures("vgg16_bn", TAPS)
    estimate, truth = images()
    found = FusionLoss(OFFICIAL, features)(estimate, truth, alignment(), epoch=50)
    expected = found["absolute"] + 0.01 * found["perceptual"] + 1e-4 * 0.5 * found["alignment"]
    torch.testing.assert_close(found["total"], expected)
    torch.testing.assert_close(found["absolute"], (estimate - truth).abs().mean())

    def seen(x: Tensor) -> list[Tensor]:
        return list(features(x.mean(1, keepdim=True).expand(-1, 3, -1, -1)))

    distance = sum(
        w * (a - b).square().mean()
        for w, a, b in zip((1.0, 0.8, 0.6), seen(estimate), seen(truth), strict=True)
    )
    torch.testing.assert_close(found["perceptual"], distance)
    found["total"].backward()
    assert estimate.grad is not None


def test_rescaling_shows_vgg_what_it_was_made_for() -> None:
    torch.manual_seed(0)
    features = VggFeatures("vgg16_bn", TAPS)
    estimate, truth = images()
    half = FusionLoss(OFFICIAL, features)((estimate + 1) / 2, (truth + 1) / 2, None, epoch=0)
    rescaled = FusionLoss(EQUATIONS, features)(estimate, truth, None, epoch=0)
    torch.testing.assert_close(rescaled["perceptual"], half["perceptual"])


def test_alignment_rises_as_half_a_cosine_over_a_hundred_epochs() -> None:
    plan = LossPlan()
    assert plan.alignment(0) == 0.0
    assert plan.alignment(50) == pytest.approx(0.5e-4)
    assert plan.alignment(25) == pytest.approx(1e-4 * 0.5 * (1 - 2**-0.5))
    assert plan.alignment(100) == plan.alignment(500) == pytest.approx(1e-4)


@pytest.mark.parametrize("detach", [False, True])
def test_the_aim_of_the_alignment_follows_unless_held(detach: bool) -> None:
    plan = LossPlan(perceptual="none", detach=detach)
    maps = [torch.randn(2, 4, 2, 2, requires_grad=True) for _ in range(3)]
    estimate, truth = images()
    found = FusionLoss(plan)(estimate, truth, Alignment(*maps), epoch=100)
    found["total"].backward()
    assert maps[0].grad is not None
    assert (maps[2].grad is None) is detach
    expected = sum(0.5 * (m - maps[2]).square().mean() for m in maps[:2])
    torch.testing.assert_close(found["alignment"], expected)


def test_invalid_truth_teaches_nothing() -> None:
    estimate, truth = images()
    valid = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) > 0.3
    loss = FusionLoss(replace(OFFICIAL, perceptual="none"))
    found = []
    for junk in (0.0, 1e6, float("nan")):
        other = torch.where(valid, truth, junk)
        estimate.grad = None
        value = loss(estimate, other, None, epoch=0, valid=valid)["total"]
        value.backward()
        assert estimate.grad is not None
        assert not estimate.grad[~valid.expand_as(estimate)].any()
        found.append(value.item())
    mask = valid.expand_as(truth)
    assert found == pytest.approx([(estimate - truth)[mask].abs().mean().item()] * 3)
