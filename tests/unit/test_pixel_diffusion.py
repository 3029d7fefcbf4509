"""Pixel diffusions that predict v, and the scale of the change that they draw."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import rsbench
from rsbench.core.errors import InputError
from rsbench.models.contract_data import SENSOR, Samples, Shape, make_samples
from rsbench.models.registry import card
from rsbench_baselines._diffusion_model import PixelDiffusion
from rsbench_baselines.ddpm.diffusion import Diffusion
from rsbench_baselines.ddpm.pixels import image_of, target_of

TOYS: dict[str, dict[str, Any]] = {
    "ddpm": {"base": 8, "mult": (1, 1)},
    "mcvd": {"ngf": 4, "ch_mult": (1, 1), "n_head_channels": 4, "subsample": 4,
             "gain": 32.0, "bound": 4.0, "predicts": "v"},
}  # fmt: skip
BOTH = pytest.mark.parametrize("name", TOYS)


def built(name: str, preset: str = "tiny", **options: Any) -> PixelDiffusion[Any, Any]:
    torch.manual_seed(0)
    model = rsbench.create_model(name, preset, **{"bands": 2, **TOYS[name], **options})
    assert isinstance(model, PixelDiffusion)
    with torch.no_grad():  # a network that answers 0
        for parameter in model.module.parameters():
            parameter.requires_grad_(False).zero_()
    return model


def samples() -> Samples:
    shape = Shape(samples=2, context=1, leads=1, bands=2, side=16)
    return make_samples(shape, masked=False, members=1)


def scaled_change(data: Samples) -> Tensor:
    """Return the change that a toy preset draws, of all samples."""
    last, truth = data.given.frames[SENSOR].values[:, 0, -1], data.truth.values[:, 0, 0]
    low, high = data.truth.value_range
    return target_of((truth - low) / (high - low), (last - low) / (high - low), 32.0, 4.0)


def seeded(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_v_gives_back_noise_and_image(kind: Any) -> None:
    diffusion, times = Diffusion(1000, kind), torch.tensor([0, 400, 990])
    clean, noise = seeded(3, 2, 4, 4).double(), seeded(3, 2, 4, 4).flip(0).double()
    noisy = diffusion.noised(clean, noise, times)
    v = diffusion.velocity(clean, noise, times)
    torch.testing.assert_close(diffusion.noise_of(v, noisy, times), noise)
    kept = diffusion.alpha_bars[times].view(3, 1, 1, 1)
    torch.testing.assert_close(kept.sqrt() * noisy - (1 - kept).sqrt() * v, clean)


def test_changes_are_held_within_bound_over_gain() -> None:
    last = torch.full((1, 1, 1, 3), 0.5)
    share = last + torch.tensor([0.05, 0.125, -0.3])
    drawn = target_of(share, last, 32.0, 4.0)
    assert drawn.flatten().tolist() == pytest.approx([1.6, 4.0, -4.0])
    expected = [0.55, 0.625, 0.375]
    assert image_of(drawn, last, 32.0).flatten().tolist() == pytest.approx(expected)


@BOTH
def test_a_network_that_answers_zero_is_close_to_persistence_with_v_only(name: str) -> None:
    """With v it draws the mean change, 0, and what is left of the noise; noise 0 is divided."""
    data = samples()
    frames = data.given.frames[SENSOR]
    low, high = frames.value_range
    changes = {
        predicts: (built(name, predicts=predicts).predict(data.given, data.want).values[:, 0, 0]
                   - frames.values[:, 0, -1]) / (high - low)
        for predicts in ("v", "noise")
    }  # fmt: skip
    assert float(changes["v"].std()) < 1 / 32  # of noise with deviation 1 and gain 32
    assert float(changes["noise"].abs().mean()) > 0.9 * 4 / 32  # nearly all at the bound
    assert float(changes["noise"].abs().max()) <= 4 / 32 + 1e-6


@BOTH
def test_the_loss_of_v(name: str) -> None:
    """Of a network that answers 0 it is the mean of v² of the scaled change."""
    data, model = samples(), built(name)
    clean = scaled_change(data)
    torch.manual_seed(3)
    times, noise = torch.randint(0, 1000, (2,)), torch.randn(2, 2, 16, 16)
    expected = Diffusion().velocity(clean, noise, times).square().mean()
    torch.manual_seed(3)
    total = model.loss(model.stages()[0], data.given, data.want, data.truth)["total"]
    assert float(total) == pytest.approx(float(expected), rel=1e-4)


@BOTH
def test_the_true_v_draws_the_true_change(name: str) -> None:
    data, model = samples(), built(name)
    clean, diffusion = scaled_change(data), Diffusion()
    frames = data.given.frames[SENSOR]
    low, high = frames.value_range

    def oracle(noisy: Tensor, times: Tensor, condition: Tensor) -> Tensor:
        kept = diffusion.alpha_bars[times].view(-1, 1, 1, 1).float()
        return (kept.sqrt() * noisy - clean) / (1 - kept).sqrt()

    model.answer = oracle  # type: ignore[method-assign]
    drawn = model.predict(data.given, data.want).values[:, 0, 0]
    expected = frames.values[:, 0, -1] + clean / 32 * (high - low)
    torch.testing.assert_close(drawn, expected, rtol=0, atol=1e-3)


@BOTH
def test_options_that_do_not_fit_are_refused(name: str) -> None:
    for wrong, told in (
        ({"predicts": "image"}, "Choose noise or v"),
        ({"bound": 0.0}, "bound=0"),
        ({"gain": 0.0}, "bound=4 without a gain"),
    ):
        with pytest.raises(InputError, match=told):
            built(name, **wrong)


def test_the_published_last_step_needs_a_network_that_predicts_noise() -> None:
    with pytest.raises(InputError, match="denoise=true with predicts=v"):
        built("mcvd", denoise=True)


def test_toy_rows_of_ddpm_are_other_rows_than_before_and_other_presets_predict_noise() -> None:
    for preset, entry in card("ddpm").presets.items():
        toy = preset == "tiny"
        assert (entry.options.get("predicts") == "v") is toy
        sizes = {} if toy else {"mult": (1, 1, 1, 1)}
        assert (built("ddpm", preset, **sizes).inputs == "network revision 2") is toy
