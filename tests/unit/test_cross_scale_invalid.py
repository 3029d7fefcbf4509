"""Pretraining on images with invalid pixels: which tokens count in the loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from cross_scale_toys import draw
from torch import Tensor

from rsbench.models.contract_data import Shape, make_samples
from rsbench.models.registry import card
from rsbench.training.train import fresh_model
from rsbench_baselines.cross_scale import views
from rsbench_baselines.cross_scale.affinity import gram_loss, mse_loss
from rsbench_baselines.cross_scale.latentmim import patch_infonce
from rsbench_baselines.cross_scale.options import SIZES, Pretraining

TINY = SIZES["ijepa", "tiny"]
SA = Pretraining(affinity="gram", teach="hr")


def masks() -> tuple[Tensor, Tensor]:
    """A crop of 8×8 tokens: the left half is invalid; one child of token (1, 6) is at k = 4."""
    mr, hr = torch.ones(1, 1, 32, 32).bool(), torch.ones(1, 1, 128, 128).bool()
    mr[..., :16] = False
    mr[..., 0, 15] = True  # one pixel of token (0, 3)
    hr[..., 16:24, 96:104] = False
    return mr, hr


def test_tokens_with_a_valid_pixel_count() -> None:
    mr, hr = masks()
    wanted = torch.zeros(8, 8).bool()
    wanted[:, 4:] = True
    wanted[0, 3] = True
    found = views.valid_tokens(SA, TINY, mr, hr)
    assert found.base is not None
    assert torch.equal(found.base.reshape(8, 8), wanted)
    wanted[1, 6] = False
    assert found.affinity is not None
    assert torch.equal(found.affinity.reshape(8, 8), wanted)
    assert views.valid_tokens(Pretraining(see="hr"), TINY, mr, hr) == views.EVERY
    everywhere = (torch.ones_like(mask) for mask in (mr, hr))
    assert views.valid_tokens(SA, TINY, *everywhere) == views.EVERY


@pytest.mark.parametrize("loss", [gram_loss, mse_loss, patch_infonce])
def test_a_loss_over_some_tokens_is_that_of_an_image_with_no_others(loss: Any) -> None:
    one, other = draw(3, 6, 5), draw(3, 6, 5, seed=1)
    kept = torch.tensor([[1, 1, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1], [0, 0, 1, 1, 0, 0]]).bool()
    three = float(loss(one[:1, [0, 1, 3]], other[:1, [0, 1, 3]]))
    two = float(loss(one[2:, [2, 3]], other[2:, [2, 3]]))
    found = float(views.over_kept(loss, one, other, kept))
    assert found == pytest.approx((3 * three + 2 * two) / 5, rel=1e-6)
    none = one.clone().requires_grad_()
    empty = views.over_kept(loss, none, other, torch.zeros_like(kept))
    empty.backward()  # type: ignore[no-untyped-call]
    assert float(empty.detach()) == 0


@pytest.mark.parametrize("preset", ["tiny_ijepa_sa", "tiny_latentmim_sa"])
def test_no_invalid_token_is_a_target_or_has_an_affinity(preset: str) -> None:
    """The loss does not depend on what a network says of the invalid half of the images."""
    own = card("cross_scale").of(preset)
    samples = make_samples(replace(Shape.of(own, samples=2), taught=True), seed=3, masked=False)
    ((name, frames),) = samples.given.frames.items()
    half = frames.valid.clone()
    half[..., : half.shape[-1] // 2] = False
    given = replace(samples.given, frames={name: replace(frames, valid=half)})
    made: Any = fresh_model("cross_scale", preset, seed=0, bands=frames.values.shape[3], classes=3)
    stage = next(stage for stage in made.stages() if stage.name == "pretrain")
    kept: list[Tensor | None] = []
    plain = views.over_kept
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "over_kept", lambda *a: kept.append(a[3]) or plain(*a))
        torch.manual_seed(0)
        terms = made.loss(stage, given, samples.want, samples.truth)
    assert len(kept) == 2
    assert all(one is not None and 0 < float(one.float().mean()) < 1 for one in kept)
    assert torch.isfinite(terms["total"])
