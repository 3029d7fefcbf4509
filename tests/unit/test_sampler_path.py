"""The straight path from a sampler's start, on which the toy generators of latents are trained."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

pytest.importorskip("diffusers")

from rsbench.models.contract_data import Shape, make_samples
from rsbench.models.registry import card, create_model
from rsbench_baselines.sat_jepa_diff.adapter import Conditions
from rsbench_baselines.sat_jepa_diff.losses import StraightPath
from rsbench_baselines.sat_jepa_diff.sampling import SAMPLERS, Sampler, sampler, start_of, walk

NONE = cast(Conditions, None)
ALL = torch.ones(2, 1, 4, 4)


def latents(seed: int) -> Tensor:
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("chosen", [*SAMPLERS.values(), sampler("sjd-euler30-0.35", 1)])
def test_the_velocity_without_loss_takes_the_sampler_to_the_coming_latents(
    chosen: Sampler,
) -> None:
    last, noise, clean = latents(0), latents(1), latents(2)
    path = StraightPath(start_of(chosen, last, noise), clean, chosen.strength)
    exact = (path.start - clean) / chosen.strength
    network: Any = SimpleNamespace(velocity=lambda x, t, conditions: exact)
    for level in chosen.sigmas()[:-1]:
        assert float(path.loss(network, NONE, level.expand(2), ALL)) < 1e-10
    found = walk(lambda x, t: exact, noise, last, chosen)
    torch.testing.assert_close(found, clean, rtol=1e-4, atol=1e-4)


def test_the_path_from_pure_noise_is_the_published_one() -> None:
    """``x_t = (1 − t) z + t ε`` towards ``ε − z``, by hand at t = 0.25."""
    noise, clean, asked = latents(1), latents(2), []
    network: Any = SimpleNamespace(velocity=lambda x, t, c: asked.append(x) or torch.zeros_like(x))
    path = StraightPath(start_of(SAMPLERS["sjd-fm"], None, noise), clean, 1.0)
    loss = path.loss(network, NONE, torch.full((2,), 0.25), ALL)
    torch.testing.assert_close(asked[0], 0.75 * clean + 0.25 * noise)
    torch.testing.assert_close(loss, (noise - clean).square().mean())


def test_cells_without_a_valid_pixel_have_no_weight() -> None:
    start, clean, weight = latents(1), latents(2), ALL.clone()
    weight[..., :2] = 0
    network: Any = SimpleNamespace(velocity=lambda x, t, c: torch.zeros_like(x))
    found = StraightPath(start, clean, 0.35).loss(network, NONE, torch.full((2,), 0.35), weight)
    torch.testing.assert_close(found, (start - clean)[..., 2:].square().mean())


@pytest.mark.parametrize("name", ["sat_jepa_diff", "sd35"])
def test_toy_generators_learn_at_the_start_of_their_sampler(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network is asked at level 0.35, for latents of the last frame and noise."""
    torch.manual_seed(0)
    model: Any = create_model(name, "tiny", bands=3)
    data = make_samples(Shape(2, 1, 1, 3, 32), seed=3)
    asked: list[tuple[Tensor, Tensor]] = []
    inner = model.module.velocity

    def spied(x: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        asked.append((x.detach(), sigma))
        return cast(Tensor, inner(x, sigma, conditions))

    monkeypatch.setattr(model.module, "velocity", spied)
    stage = next(s for s in model.stages() if s.name == "generator")
    for scale in (1.0, 0.5):
        frames = replace(data.truth, values=data.truth.values * scale)
        terms = model.loss(stage, data.given, data.want, frames)
        assert torch.isfinite(terms["total"])
    (first, level), (second, _) = asked
    assert level.tolist() == pytest.approx([0.35, 0.35])
    torch.testing.assert_close(first, second)


def test_large_presets_learn_the_published_path() -> None:
    for name in ("sat_jepa_diff", "sd35"):
        presets = card(name).presets
        assert {n for n, p in presets.items() if p.options.get("bridged")} == {
            n for n in presets if n.startswith("tiny")
        }
