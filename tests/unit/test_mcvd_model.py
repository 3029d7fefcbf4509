"""MCVD as a model: contexts, masks, members, samplers, blocks, loss."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

import rsbench
from rsbench.core.errors import HorizonError, InputError
from rsbench.models import registry
from rsbench.models.api import Given, Want
from rsbench.models.contract_data import SENSOR, Samples, Shape, make_samples
from rsbench.models.rollout import collect
from rsbench_baselines.ddpm.diffusion import Diffusion
from rsbench_baselines.mcvd.model import MCVDModel

TOY: dict[str, Any] = {
    "ngf": 4, "ch_mult": (1, 1), "num_res_blocks": 1, "n_head_channels": 4, "subsample": 3,
}  # fmt: skip


NOISE: dict[str, Any] = {"predicts": "noise", "gain": 8.0, "bound": 1.0}


def samples(*, masked: bool = True, members: int = 1, **sizes: Any) -> Samples:
    shape = {"samples": 2, "context": 3, "leads": 1, "bands": 2, "side": 16, **sizes}
    return make_samples(Shape(**shape), masked=masked, members=members)


def built(preset: str = "tiny", *, trained: bool = True, **options: Any) -> MCVDModel:
    """Build a small model whose zero layers are not zero any more."""
    torch.manual_seed(0)
    model = rsbench.create_model("mcvd", preset, **{"bands": 2, **TOY, **options})
    assert isinstance(model, MCVDModel)
    if trained:
        with torch.no_grad():
            for tensor in model.module.parameters():
                if not tensor.any():
                    tensor.normal_(0, 0.2)
    return model


def rolled(model: MCVDModel, data: Samples) -> Tensor:
    return collect(model, registry.identity(model).card, data.given, data.want).values


def only(data: Samples, **frames: Any) -> Samples:
    changed = replace(data.given.frames[SENSOR], **frames)
    return replace(data, given=replace(data.given, frames={SENSOR: changed}))


class Recorded:
    """Passes noise on and keeps the names asked for."""

    def __init__(self, noise: rsbench.Noise) -> None:
        self.noise, self.names = noise, list[str]()

    def normal(self, name: str, want: Want, *, channels: int, downscale: int = 1) -> Tensor:
        self.names.append(name)
        return self.noise.normal(name, want, channels=channels, downscale=downscale)


def test_untrained_with_nothing_to_add_it_answers_its_noise_around_persistence() -> None:
    """The network tells no noise, so DDIM carries the first noise through, held within ±1."""
    model, data = built(trained=False, **NOISE), samples(masked=False)
    found = rolled(model, data)[:, 0, 0]
    kept = data.given.frames[SENSOR]
    low, high = kept.value_range
    last = data.given.frames[SENSOR].values[:, 0, -1]
    change = (found - last) / (high - low) * 8.0
    assert float(change.abs().max()) <= 1.0 + 1e-5
    noise = data.want.noise
    scoped = Recorded(noise)
    direct = model.predict(data.given, replace(data.want, noise=scoped))
    start = noise.normal("mcvd/start", data.want, channels=2)[:, 0]
    assert scoped.names == ["mcvd/start"]  # DDIM with η = 0 draws once
    inside = (direct.values[:, 0, 0] - last) / (high - low) * 8.0
    whole = (start / Diffusion().alpha_bar(999) ** 0.5).clamp(-1, 1)
    torch.testing.assert_close(inside, whole, rtol=1e-3, atol=1e-4)


def test_one_network_serves_one_to_seven_years_and_looks_at_each() -> None:
    model, data = built(context=7), samples(context=7)
    answers = []
    for k in range(1, 8):
        cut = replace(data.given, frames={SENSOR: data.given.frames[SENSOR].last(k)})
        answers.append(rolled(model, replace(data, given=cut)))
    for shorter, longer in pairwise(answers):
        assert not torch.equal(shorter, longer)


def test_a_missing_year_is_told_from_a_seen_one() -> None:
    model, data = built(context=3), samples(masked=False)
    frames = data.given.frames[SENSOR]
    middle = sum(frames.value_range) / 2
    seen = only(data, values=torch.full_like(frames.values, middle))
    valid = frames.valid.clone()
    valid[:, :, :2] = False  # filled from the last frame, which is the same number
    assert not torch.equal(rolled(model, seen), rolled(model, only(seen, valid=valid)))


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
@pytest.mark.parametrize("spade_dim", [0, 4], ids=["joined", "spade"])
def test_each_member_is_a_trajectory_of_its_own(sampler: str, spade_dim: int) -> None:
    model = built(sampler=sampler, spade_dim=spade_dim)
    data = samples(leads=3, members=3)
    found = rolled(model, data)
    assert found.shape == (2, 3, 3, 2, 16, 16)
    assert not torch.allclose(found[:, 0], found[:, 1])
    # Member 1 alone, from its own first answer on, is what it was in the ensemble.
    fewer = rolled(model, replace(data, want=replace(data.want, members=2)))
    torch.testing.assert_close(fewer, found[:, :2], rtol=0, atol=1e-5)
    once = replace(data, want=replace(data.want, times=data.want.times[:, :1]))
    torch.testing.assert_close(rolled(model, once), found[:, :, :1], rtol=0, atol=1e-6)


def test_members_and_samples_go_through_the_network_at_once() -> None:
    model, data = built(), samples(members=4)
    sizes: list[int] = []
    handle = model.module.register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
    rolled(model, data)
    handle.remove()
    assert sizes == [8, 8, 8]  # three calls for two samples of four members


def test_samplers_differ_and_say_what_they_draw() -> None:
    data = samples()
    names: dict[str, list[str]] = {}
    answers = {}
    for name, options in {
        "ddim": {"sampler": "ddim"}, "ddpm": {"sampler": "ddpm"},
        "noisy": {"sampler": "ddim", "eta": 1.0}, "longer": {"sampler": "ddim", "subsample": 4},
    }.items():  # fmt: skip
        noise = Recorded(data.want.noise)
        model = built(**options)
        answers[name] = model.predict(data.given, replace(data.want, noise=noise)).values
        names[name] = noise.names
    assert names["ddim"] == names["longer"] == ["mcvd/start"]
    assert names["ddpm"] == names["noisy"] == ["mcvd/start", "mcvd/step/999", "mcvd/step/666"]
    assert not torch.equal(answers["ddim"], answers["ddpm"])
    assert not torch.equal(answers["ddim"], answers["longer"])
    for wrong, told in (({"sampler": "euler"}, "ddpm or ddim"), ({"subsample": 0}, "subsample")):
        with pytest.raises((ValueError, InputError), match=told):
            built(**wrong)  # type: ignore[arg-type]


def test_the_published_last_step_reads_the_noise_at_a_wrong_time() -> None:
    data = samples(context=1, masked=False)
    plain, compat = built("paper", denoise=False), built("paper")
    calls: list[tuple[int, Tensor]] = []
    handle = compat.module.register_forward_hook(
        lambda _, args, out: calls.append((int(args[2][0]), out.detach()))
    )
    found, before = rolled(compat, data), rolled(plain, data)
    handle.remove()
    assert [time for time, _ in calls] == [999, 666, 333, 997]  # three of a thousand: 1000 − 3
    low, high = data.given.frames[SENSOR].value_range
    level = (1 - Diffusion().alpha_bar(333)) ** 0.5
    expected = -level * calls[-1][1] / 2 * (high - low)
    torch.testing.assert_close((found - before)[:, 0, 0], expected, rtol=1e-4, atol=1e-5)


def test_published_presets_answer_blocks_and_need_their_frames() -> None:
    model = built("cityscapes")
    data = samples(masked=False, context=2, leads=5)
    assert rolled(model, data).shape == (2, 1, 5, 2, 16, 16)
    with pytest.raises(HorizonError, match="at least 2"):
        rolled(model, samples(context=1, leads=2))
    with pytest.raises(HorizonError, match="at least 10"):
        rolled(built("kth"), samples(context=1))
    with pytest.raises(InputError, match="built for 5 bands"):
        rolled(built(bands=5), samples())
    one = replace(data.given, frames={SENSOR: data.given.frames[SENSOR].last(1)})
    short = replace(data.want, times=data.want.times[:, :2])
    with pytest.raises(ValueError, match="1 context frames of mcvd: this preset takes 2"):
        model.predict(one, short)


def _loss(model: MCVDModel, data: Samples, *, given: Given | None = None) -> float:
    torch.manual_seed(3)
    stage = model.stages()[0]
    terms = model.loss(stage, given or data.given, data.want, data.truth)
    return float(terms["total"].detach())


@pytest.mark.parametrize("preset", ["tiny", "paper"])
def test_the_loss_of_a_network_that_tells_no_noise(preset: str) -> None:
    """Repaired, with noise predicted: the mean of ε². Published: half its sum per sample."""
    data = samples(context=1, masked=False)
    torch.manual_seed(3)
    torch.randint(0, 1000, (2,))
    noise = torch.randn(2, 2, 16, 16)
    expected = noise.square().mean() if preset == "tiny" else noise.square().sum() / 2 / 2
    options = {"predicts": "noise"} if preset == "tiny" else {}
    assert _loss(built(preset, trained=False, **options), data) == pytest.approx(
        float(expected), rel=1e-5
    )


def test_the_loss_sees_no_invalid_pixel_of_the_truth() -> None:
    model, data = built(), samples(context=1, masked=False)
    valid = data.truth.valid.clone()
    valid[..., :8, :] = False
    masked = replace(data, truth=replace(data.truth, valid=valid))
    junk = torch.where(valid, data.truth.values, 99.0)
    other = replace(data, truth=replace(data.truth, valid=valid, values=junk))
    assert _loss(model, masked) == _loss(model, other) != _loss(model, data)


def test_masking_the_past_in_training_hides_it() -> None:
    data = samples(context=1, masked=False)
    frames = data.given.frames[SENSOR]
    other = replace(data.given, frames={SENSOR: replace(frames, values=frames.values.flip(-1))})
    for share, same in ((1.0, True), (0.0, False)):
        # Published: frames are drawn as they are, so the past enters by the condition alone.
        model = built("paper", prob_mask_cond=share)
        model.module.train()
        assert (_loss(model, data) == _loss(model, data, given=other)) is same
    model.module.eval()
