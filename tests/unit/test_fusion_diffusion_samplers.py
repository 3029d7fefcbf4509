"""RDDM's objectives and STFDiff's sampler: identities, exact estimates, gradients, caching."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rsbench_baselines.ddpm.diffusion import Draw, Sampling
from rsbench_baselines.rddm import sampling as rddm
from rsbench_baselines.rddm import sizes as rddm_sizes
from rsbench_baselines.rddm.network import RDDM, Outputs
from rsbench_baselines.rddm.schedule import native, schedule
from rsbench_baselines.rddm.sizes import OBJECTIVES, Objective
from rsbench_baselines.stfdiff import sampling as stfdiff
from rsbench_baselines.stfdiff import sizes as stfdiff_sizes
from rsbench_baselines.stfdiff.network import STFDiff


def images(n: int = 2, bands: int = 6, side: int = 16, count: int = 3) -> list[Tensor]:
    g = torch.Generator().manual_seed(0)
    return list((2 * torch.rand(count, n, bands, side, side, generator=g) - 1).unbind())


def noise(*shape: int) -> Draw:
    def draw(name: str) -> Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(name.encode())))

    return draw


# RDDM


def told(objective: Objective, clean: Tensor, coarse: Tensor, eps: Tensor) -> Outputs:
    """What perfect networks would say."""
    first = clean if objective == "pred_x0_noise" else coarse - clean
    return Outputs(
        None if objective == "pred_noise" else first, None if objective == "pred_res" else eps
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_perfect_outputs_give_residual_and_noise_and_no_loss(objective: Objective) -> None:
    plan = schedule("official", 20)
    clean, coarse, eps = (t.double() for t in images())
    for time in (0, 7, 19):
        x = plan.noised(clean, coarse, eps, torch.tensor([time, time]))
        outputs = told(objective, clean, coarse, eps)
        found = rddm.estimates(
            objective, outputs, x, coarse, plan.alpha_bar(time), plan.beta_bar(time)
        )
        torch.testing.assert_close(found.residual, coarse - clean, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(found.noise, eps, rtol=1e-9, atol=1e-9)
    parts = rddm.loss(objective, outputs, clean, coarse, eps)
    assert float(parts["total"]) == 0.0
    worse = Outputs(*(None if t is None else t + 0.25 for t in vars(outputs).values()))
    ones = 2 - (objective in ("pred_res", "pred_noise"))
    total = rddm.loss(objective, worse, clean, coarse, eps)["total"]
    assert float(total) == pytest.approx(0.25 * ones)


def test_noise_alone_is_refused_where_the_clean_image_is_gone() -> None:
    clean, coarse, eps = images()
    with pytest.raises(ValueError, match="pred_noise at ᾱ = 1"):
        rddm.estimates("pred_noise", Outputs(None, eps), clean, coarse, 1.0, 1.0)
    with pytest.raises(ValueError, match="needs the residual's network"):
        rddm.estimates("pred_res", Outputs(None, eps), clean, coarse, 0.5, 1.0)


@pytest.mark.parametrize("scale", [0.01, 1.0])
def test_perfect_estimates_end_at_the_clean_image(scale: float) -> None:
    plan = native(100, scale)
    clean, coarse, eps = (t.double() for t in images())
    found = rddm.sample(
        lambda x, t: rddm.Estimates(coarse - clean, eps), plan, coarse, lambda name: eps, steps=50
    )
    torch.testing.assert_close(found, clean, rtol=1e-9, atol=1e-9)


def test_residuals_and_images_are_clipped_to_one_in_sampling() -> None:
    """A network that always finds a residual of 1.5: by hand, two steps of a schedule of two."""
    plan = native(2)  # ᾱ = (2/3, 1), β̄² = (1/3, 1)

    class Constant(RDDM):
        def forward(self, noisy: Tensor, given: Tensor, *levels: Tensor) -> Outputs:
            return Outputs(torch.full_like(noisy, 1.5), None)

    net = Constant(replace(rddm_sizes.SIZES["tiny"], bands=1, images=1))
    coarse = torch.full((1, 1, 2, 2), 0.25)
    found = rddm.fuse(
        net, "pred_res", plan, coarse, coarse, lambda name: torch.zeros(1, 1, 2, 2), Sampling(2)
    )
    # The residual counts as 1, so that the clean image is 0.25 − 1 at every step.
    torch.testing.assert_close(found, torch.full_like(found, -0.75))
    dark = torch.full((1, 1, 2, 2), -0.5)
    found = rddm.fuse(
        net, "pred_res", plan, dark, dark, lambda name: torch.zeros(1, 1, 2, 2), Sampling(2)
    )
    torch.testing.assert_close(found, torch.full_like(found, -1.0))  # −1.5, clipped
    one = torch.full((1, 1, 1, 1), 0.25)
    both = rddm.estimates(
        "pred_res", Outputs(1.5 * torch.ones_like(one), None), one, one, 0.5, 0.5, 1.0
    )
    # The noise follows from the clipped residual: (0.25 − (−0.75) − 0.5·1) / 0.5.
    assert float(both.noise) == pytest.approx(1.0)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_rddm_learns_with_every_parameter_and_samples(objective: Objective) -> None:
    size = replace(rddm_sizes.SIZES["tiny"], objective=objective, bands=2)
    torch.manual_seed(0)
    net, (clean, coarse, eps) = RDDM(size), images(bands=2)
    plan = schedule("official", size.steps)
    given = torch.cat([coarse, clean, coarse, clean, coarse], dim=1)
    times = torch.tensor([3, 11])
    outputs = net(plan.noised(clean, coarse, eps, times), given, *plan.levels(times))
    rddm.loss(objective, outputs, clean, coarse, eps)["total"].backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    found = rddm.fuse(
        net.eval(), objective, plan, given, coarse, noise(2, 2, 16, 16), Sampling(3, 1.0)
    )
    assert found.shape == clean.shape
    assert found.isfinite().all()


def test_rddm_refuses_sides_that_do_not_halve() -> None:
    net = RDDM(replace(rddm_sizes.SIZES["tiny"], bands=1, images=1, mult=(1, 2, 2)))
    with pytest.raises(ValueError, match=r"18×16.*multiples of 4"):
        net(*torch.zeros(2, 1, 1, 18, 16), torch.zeros(1), torch.zeros(1))


# STFDiff


def built(**changes: Any) -> STFDiff:
    torch.manual_seed(0)
    return STFDiff(replace(stfdiff_sizes.SIZES["tiny"], **changes)).eval()


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_step_is_ddims_with_the_noise_the_estimate_implies(eta: float) -> None:
    diffusion = stfdiff.process(100)
    clean, eps, fresh = (0.5 * t.double() for t in images())
    for time, before in ((99, 89), (40, 39), (9, 0)):
        x = diffusion.noised(clean, eps, torch.tensor([time, time]))
        found = stfdiff.step(diffusion, x, clean, time, before, fresh=fresh, eta=eta)
        expected = diffusion.ddim_step(x, eps, time, before, fresh=fresh, eta=eta, bound=None)
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)
        # In the published form of σ.
        now, then = diffusion.alpha_bar(time), diffusion.alpha_bar(before)
        sigma = eta * ((1 - now / then) * (1 - then) / (1 - now)) ** 0.5
        assert diffusion.sigma(time, before, eta) == pytest.approx(sigma)


def test_estimates_are_held_within_the_range_and_the_last_is_the_answer() -> None:
    diffusion = stfdiff.process(10)
    draw = noise(1, 1, 4, 4)
    out = stfdiff.sample(lambda x, t: torch.full_like(x, 7.0), diffusion, draw, steps=5, eta=1.0)
    assert (out == 1.0).all()
    with pytest.raises(ValueError, match="fresh noise"):
        stfdiff.step(diffusion, out, out, 5, 3, eta=1.0)


@pytest.mark.parametrize(("steps", "eta"), [(100, 0.0), (100, 1.0)])
def test_the_exact_estimate_finds_the_distribution(steps: int, eta: float) -> None:
    diffusion = stfdiff.process(100)
    g = torch.Generator().manual_seed(0)

    def exact(x: Tensor, time: int) -> Tensor:
        kept, variance = diffusion.alpha_bar(time), 0.04
        gain = kept**0.5 * variance / (kept * variance + 1 - kept)
        return 0.1 + gain * (x - kept**0.5 * 0.1)

    out = stfdiff.sample(
        exact, diffusion, lambda name: torch.randn(20_000, 1, generator=g, dtype=torch.float64),
        steps=steps, eta=eta,
    )  # fmt: skip
    assert out.mean().item() == pytest.approx(0.1, abs=0.01)
    assert out.std().item() == pytest.approx(0.2, rel=0.08)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_cached_clean_branch_changes_no_bit(eta: float) -> None:
    net, diffusion, given = built(), stfdiff.process(20), images()
    draw = noise(4, 6, 16, 16)
    options: dict[str, Any] = {"steps": 4, "eta": eta, "members": 2}
    cached = stfdiff.fuse(net, diffusion, *given, draw, Sampling(**options))
    assert torch.equal(
        cached, stfdiff.fuse(net, diffusion, *given, draw, Sampling(**options, cached=False))
    )
    assert cached.shape == (4, 6, 16, 16)
    assert cached.abs().max() <= 1


@pytest.mark.parametrize("spare", [False, True])
def test_stfdiff_learns_with_every_parameter_but_the_spare_one(spare: bool) -> None:
    net, (c0, f0, c1) = built(spare_stem=spare).train(), images()
    eps = torch.randn(f0.shape, generator=torch.Generator().manual_seed(1))
    times = torch.tensor([2, 15])
    stfdiff.loss(net, stfdiff.process(20), f0, eps, times, c0, f0, c1).backward()
    for name, parameter in net.named_parameters():
        idle = name.startswith(stfdiff_sizes.IDLE)
        learns = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
        assert learns is not idle, name


def test_stfdiff_takes_one_band_and_refuses_sides_that_do_not_halve() -> None:
    net = built(bands=1)
    assert net(torch.zeros(1, 1, 8, 12), torch.tensor([3]), *torch.zeros(3, 1, 1, 8, 12)).shape == (
        1, 1, 8, 12,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"10×8.*multiples of 4"):
        net.condition(*torch.zeros(3, 1, 1, 10, 8))


# Repairs and masks that both share with the others


def test_what_is_not_valid_teaches_neither() -> None:
    clean, coarse, eps = images()
    valid = torch.ones_like(clean, dtype=torch.bool)
    valid[..., :5] = False
    outputs = Outputs(coarse - clean + 0.5, eps + 0.25)
    broken = torch.where(valid, clean, 1e6)
    parts = rddm.loss("pred_res_noise", outputs, broken, coarse, eps, valid)
    assert float(parts["residual"]) == pytest.approx(0.5, rel=1e-5)
    assert float(parts["noise"]) == pytest.approx(0.25, rel=1e-5)
    net, diffusion, times = built(), stfdiff.process(20), torch.tensor([3, 9])
    found = [
        stfdiff.loss(
            net, diffusion, clean, eps, times, coarse, coarse, coarse, valid=mask
        ).item()
        for mask in (valid, ~valid, None)
    ]  # fmt: skip
    share = valid.float().mean().item()
    assert found[2] == pytest.approx(share * found[0] + (1 - share) * found[1], rel=1e-5)


@pytest.mark.parametrize("objective", ["pred_res", "pred_x0_noise"])
def test_rddm_answers_are_added_to_what_the_mean_of_the_references_gives(
    objective: Objective,
) -> None:
    size = replace(rddm_sizes.SIZES["tiny"], objective=objective, bands=2)
    nets = []
    for residual in (True, False):
        torch.manual_seed(0)
        nets.append(RDDM(replace(size, residual=residual)).eval())
    c1, f0, c0, f2, c2 = images(bands=2, count=5)
    given, level = torch.cat([c1, f0, c0, f2, c2], dim=1), torch.tensor([2.0, 3.0])
    added, alone = (net(c0, given, level, level).residual for net in nets)
    mean = (f0 + f2) / 2
    torch.testing.assert_close(added - alone, mean if objective != "pred_res" else c1 - mean)


def test_stfdiff_answers_are_added_to_the_reference() -> None:
    c0, f0, c1 = images()
    times = torch.tensor([2, 3])
    added, alone = (built(residual=r)(c0, times, c0, f0, c1) for r in (True, False))
    torch.testing.assert_close(added - alone, f0)
