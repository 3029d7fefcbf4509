"""SimVP as a model: contexts, masks, residual, rollout, loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import rsbench
from rsbench.core.errors import HorizonError, InputError
from rsbench.models import registry
from rsbench.models.api import Frames, Given, Trainable
from rsbench.models.contract_data import SENSOR, Samples, Shape, first_leads, make_samples
from rsbench.models.rollout import collect


def samples(*, masked: bool = True, **sizes: Any) -> Samples:
    shape = {"samples": 2, "context": 3, "leads": 3, "bands": 4, "side": 16, **sizes}
    return make_samples(Shape(**shape), masked=masked)


def built(preset: str = "tiny", *, trained: bool = True, **options: Any) -> Trainable:
    """Build a model whose readout is not zero any more."""
    torch.manual_seed(0)
    model = rsbench.create_model("simvp", preset, **{"bands": 4, "context": 3, **options})
    assert isinstance(model, Trainable)
    if trained:
        with torch.no_grad():
            model.module.dec.readout.weight.normal_(0, 0.1)  # type: ignore[union-attr,operator]
    return model


def rolled(model: Trainable, data: Samples) -> torch.Tensor:
    return collect(model, registry.identity(model).card, data.given, data.want).values


def only(data: Samples, **frames: Any) -> Samples:
    changed = replace(data.given.frames[SENSOR], **frames)
    return replace(data, given=replace(data.given, frames={SENSOR: changed}))


def test_untrained_repaired_presets_are_persistence() -> None:
    data = samples()
    for preset in ("tiny", "tiny_incepu"):
        found = rolled(built(preset, trained=False), data)
        persistence = rsbench.create_model("persistence")
        expected = collect(persistence, registry.card("persistence"), data.given, data.want)
        torch.testing.assert_close(found, expected.values, rtol=0, atol=1e-6)


def test_one_network_serves_every_context_up_to_its_own() -> None:
    model = built(context=3)
    data = samples()
    answers = []
    for k in (1, 2, 3):
        cut = data.given.frames[SENSOR].last(k)
        part = replace(data, given=replace(data.given, frames={SENSOR: cut}))
        answers.append(rolled(model, part))
        assert answers[-1].shape == (2, 1, 3, 4, 16, 16)
    assert not torch.equal(answers[0], answers[1])
    # More frames than slots: the oldest are not looked at.
    longer = samples(context=5, masked=False)
    kept = longer.given.frames[SENSOR].last(3)
    short = replace(longer, given=replace(longer.given, frames={SENSOR: kept}))
    short_answer = rolled(model, short)[:, :, 0]
    assert torch.equal(rolled(model, longer)[:, :, 0], short_answer)


def test_an_absent_year_is_told_from_a_black_one() -> None:
    model = built(context=2)
    data = samples(context=2)
    black = only(
        data,
        values=torch.cat(
            [torch.zeros(2, 1, 1, 4, 16, 16), data.given.frames[SENSOR].values[:, :, 1:]], 2
        ),
        valid=torch.ones(2, 1, 2, 1, 16, 16, dtype=torch.bool),
    )
    absent = only(data, **{
        name: getattr(black.given.frames[SENSOR].last(1), name)
        for name in ("values", "valid", "times", "predicted")
    })  # fmt: skip
    assert not torch.equal(rolled(model, black)[:, :, 0], rolled(model, absent)[:, :, 0])


def test_the_mask_reaches_the_network() -> None:
    data = samples(context=1)
    frames = data.given.frames[SENSOR]
    # Equal values everywhere, so that filling changes nothing: only the mask differs.
    flat = only(data, values=torch.full_like(frames.values, 0.4), valid=frames.valid | True)
    holes = only(data, values=torch.full_like(frames.values, 0.4))
    model = built(context=1)
    assert not torch.equal(rolled(model, flat), rolled(model, holes))


def test_the_published_presets_take_one_frame_and_predict_no_residual() -> None:
    torch.manual_seed(0)
    model = rsbench.create_model(
        "simvp", "paper", bands=4, context=3, hid_S=8, hid_T=16, N_T=2, N_S=2
    )
    assert isinstance(model, Trainable)
    data = samples()
    with torch.no_grad():
        model.module.dec.readout.weight.zero_()  # type: ignore[union-attr,operator]
        model.module.dec.readout.bias.zero_()  # type: ignore[union-attr,operator]
    assert (rolled(model, data) == 0).all()
    assert registry.identity(model).card.max_context == 1


def test_values_are_scaled_by_the_range_and_back() -> None:
    data = samples()
    frames = data.given.frames[SENSOR]
    stretched = only(data, values=frames.values * 200 - 20, value_range=(-20.0, 180.0))
    # Invalid pixels carry no meaning, but keep to the convention: 0.
    model = built()
    small, large = rolled(model, data), rolled(model, stretched)
    torch.testing.assert_close(large, small * 200 - 20, rtol=1e-4, atol=1e-3)


def test_ten_frames_in_and_ten_out_as_published() -> None:
    sizes = {"hid_S": 8, "hid_T": 16, "N_T": 2, "N_S": 2}
    data = samples(masked=False, context=10, leads=12, bands=1)
    for preset, outputs in (("mmnist", 10), ("incepu", 10), ("kitti", 1)):
        model = rsbench.create_model("simvp", preset, bands=1, context=10, **sizes)
        assert isinstance(model, Trainable)
        answer = rolled(model, data)
        assert answer.shape[2] == 12
        network = model.module.eval()
        frames = data.given.frames[SENSOR]
        with torch.no_grad():
            direct = network(frames.values[:, 0])[:, :outputs]
        torch.testing.assert_close(answer[:, 0, :outputs], direct)


def test_a_context_too_short_or_other_bands_say_what_is_needed() -> None:
    model = rsbench.create_model("simvp", "kitti", bands=4, hid_S=8, hid_T=16, N_T=2)
    data = samples(context=3)
    with pytest.raises(HorizonError, match="at least 10"):
        collect(model, registry.identity(model).card, data.given, data.want)
    five = built(bands=5)
    with pytest.raises(InputError, match="built for 5 bands"):
        rolled(five, data)


def test_members_share_one_computation_until_they_differ() -> None:
    data = samples()
    many = replace(data, want=replace(data.want, members=3))
    model = built()
    one, three = rolled(model, data), rolled(model, many)
    torch.testing.assert_close(three, one.expand_as(three), rtol=0, atol=1e-6)


def loss_of(model: Trainable, given: Given, want: Any, truth: Frames) -> torch.Tensor:
    torch.manual_seed(0)
    model.module.eval()
    return model.loss(model.stages()[0], given, want, truth)["total"]


def test_the_loss_is_the_mean_square_over_valid_pixels() -> None:
    data = samples(context=1)
    given, want, truth = first_leads(data, 1)
    holes = torch.rand(truth.valid.shape, generator=torch.Generator().manual_seed(0)) > 0.4
    truth = replace(truth, valid=holes)
    model = built(context=1)
    answer = model.predict(given, want).values
    gap = (answer - truth.values)[holes.expand_as(answer)]
    torch.testing.assert_close(loss_of(model, given, want, truth), gap.square().mean())
    junk = replace(truth, values=torch.where(holes, truth.values, 99.0))
    assert torch.equal(loss_of(model, given, want, truth), loss_of(model, given, want, junk))


def test_a_batch_without_truth_gives_a_finite_loss_and_gradient() -> None:
    given, want, truth = first_leads(samples(), 1)
    model = built()
    nothing = replace(truth, valid=torch.zeros_like(truth.valid))
    loss = loss_of(model, given, want, nothing)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0.0
    assert all(
        torch.isfinite(p.grad).all() for p in model.module.parameters() if p.grad is not None
    )


def test_training_options_and_sizes_come_from_options() -> None:
    model = built(hid_S=8, hid_T=16, learning_rate=5e-4, steps=7, batch_size=2)
    (stage,) = model.stages()
    assert (stage.learning_rate, stage.steps, stage.batch_size) == (5e-4, 7, 2)
    assert next(model.module.parameters()).shape[0] == 8


def test_its_convolutions_are_laid_out_with_the_channels_last() -> None:
    model: Any = registry.create_model("simvp", "tiny", bands=3)
    kernels = [p for p in model.module.parameters() if p.dim() == 4 and min(p.shape[1:]) > 1]
    assert kernels
    state = {name: tensor.contiguous() for name, tensor in model.module.state_dict().items()}
    model.module.load_state_dict(state)  # as a checkpoint holds them
    assert all(k.is_contiguous(memory_format=torch.channels_last) for k in kernels)
