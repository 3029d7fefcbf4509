"""PredRNN as a model: contexts, masks, the lasting state, schedules, loss."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

import rsbench
from rsbench.core.errors import HorizonError, InputError
from rsbench.models import registry
from rsbench.models.api import Frames, Trainable
from rsbench.models.contract_data import SENSOR, Samples, Shape, first_leads, make_samples
from rsbench.models.rollout import collect
from rsbench_baselines.predrnn.frames import Sampling, fill_causally
from rsbench_baselines.predrnn.model import Memory, PredRNNModel

TOY: dict[str, Any] = {"num_hidden": "8,8", "filter_size": 3, "patch_size": 4}


def samples(*, masked: bool = True, **sizes: Any) -> Samples:
    shape = {"samples": 2, "context": 3, "leads": 3, "bands": 4, "side": 16, **sizes}
    return make_samples(Shape(**shape), masked=masked)


def built(preset: str = "tiny", *, trained: bool = True, **options: Any) -> PredRNNModel:
    """Build a small model whose readout is not zero any more."""
    torch.manual_seed(0)
    model = rsbench.create_model("predrnn", preset, **{"bands": 4, **TOY, **options})
    assert isinstance(model, PredRNNModel)
    if trained:
        with torch.no_grad():
            model.module.conv_last.weight.normal_(0, 0.1)  # type: ignore[union-attr,operator]
    return model


def rolled(model: Trainable, data: Samples) -> torch.Tensor:
    return collect(model, registry.identity(model).card, data.given, data.want).values


def only(data: Samples, **frames: Any) -> Samples:
    changed = replace(data.given.frames[SENSOR], **frames)
    return replace(data, given=replace(data.given, frames={SENSOR: changed}))


def lost(data: Samples, keep: int) -> Samples:
    """Mark all but the last ``keep`` context frames as missing."""
    frames = data.given.frames[SENSOR]
    valid = frames.valid.clone()
    valid[:, :, : valid.shape[2] - keep] = False
    return only(data, valid=valid)


@pytest.mark.parametrize("context", [1, 7])
@pytest.mark.parametrize("preset", ["tiny", "tiny_v2"])
def test_untrained_repaired_presets_are_persistence(preset: str, context: int) -> None:
    data = samples(context=context)
    found = rolled(built(preset, trained=False), data)
    persistence = rsbench.create_model("persistence")
    expected = collect(persistence, registry.card("persistence"), data.given, data.want)
    torch.testing.assert_close(found, expected.values, rtol=0, atol=1e-6)


def test_one_network_serves_one_to_seven_years_and_looks_at_each() -> None:
    model = built()
    data = samples(context=7)
    answers = []
    for k in range(1, 8):
        cut = replace(data.given, frames={SENSOR: data.given.frames[SENSOR].last(k)})
        answers.append(rolled(model, replace(data, given=cut)))
        assert answers[-1].shape == (2, 1, 3, 4, 16, 16)
    for shorter, longer in pairwise(answers):
        assert not torch.equal(shorter, longer)
    eighth = samples(context=8)
    kept = eighth.given.frames[SENSOR].last(7)
    assert torch.equal(rolled(model, eighth), rolled(model, only(eighth, **vars(kept))))


def test_a_missing_year_is_told_from_a_seen_one() -> None:
    model, data = built(), samples(context=3, masked=False)
    seen = only(data, values=torch.full_like(data.given.frames[SENSOR].values, 0.5))
    # Filled with the middle of the range, 0.5: values are equal, only the mask differs.
    assert not torch.equal(rolled(model, seen), rolled(model, lost(seen, 1)))


def test_filling_never_looks_ahead() -> None:
    values = torch.tensor([0.0, 7.0, 0.0, 9.0]).view(1, 4, 1, 1, 1).expand(1, 4, 1, 1, 2).clone()
    valid = torch.tensor([[0, 0], [1, 0], [0, 0], [1, 1]], dtype=torch.bool).view(1, 4, 1, 1, 2)
    found = fill_causally(values, valid, 0.5)[0, :, 0, 0]
    assert found.tolist() == [[0.5, 0.5], [7.0, 7.0], [7.0, 7.0], [9.0, 9.0]]
    later = values.clone()
    later[:, 3] = -1
    assert torch.equal(
        fill_causally(later, valid, 0.5)[:, :3], fill_causally(values, valid, 0.5)[:, :3]
    )


def test_the_state_lasts_and_does_not_grow() -> None:
    """Four leads by steps equal one call for four; the state keeps its size."""
    model, data = built(), samples(leads=4, samples=1)
    whole = model.predict(data.given, data.want).values
    torch.testing.assert_close(rolled(model, data), whole)
    memory, sizes = model.start(data.given, data.want), []
    for lead in range(4):
        now = replace(data.want, times=data.want.times[:, lead : lead + 1])
        answer, memory = model.step(memory, now)
        assert torch.equal(answer.values[:, :, 0], whole[:, :, lead])
        sizes.append(_size(memory))
    assert len(set(sizes)) == 1


def _size(memory: Memory) -> int:
    state = memory.state
    tensors = [memory.frame, memory.seen, state.memory, *state.hidden, *state.cell]
    return sum(t.numel() for t in tensors if t is not None)


def test_the_paper_preset_restarts_since_nothing_that_reads_a_state_was_trained() -> None:
    model, data = built("paper"), samples(context=3, leads=2)
    card = registry.identity(model).card
    assert (card.min_context, card.max_context) == (1, 1)
    idle = card.presets["paper"].idle
    before = rolled(model, data)
    with torch.no_grad():
        for name, tensor in model.module.named_parameters():
            if any(name.startswith(head) for head in idle):
                tensor.add_(1.0)
    assert torch.equal(rolled(model, data), before)
    with torch.no_grad():
        model.module.conv_last.weight.zero_()  # type: ignore[union-attr,operator]
    assert (rolled(model, data) == 0).all()  # no residual


@pytest.mark.parametrize("preset", ["mmnist", "mmnist_v2", "kitti_v2", "kth"])
def test_published_presets_need_ten_frames_and_roll_to_any_lead(preset: str) -> None:
    model = built(preset, bands=1, patch_size=2)
    data = samples(masked=False, context=10, leads=12, bands=1)
    assert rolled(model, data).shape == (2, 1, 12, 1, 16, 16)
    with pytest.raises(HorizonError, match="at least 10"):
        rolled(model, samples(context=1, bands=1))


def test_other_bands_say_what_is_needed_and_options_are_checked() -> None:
    with pytest.raises(InputError, match="built for 5 bands"):
        rolled(built(bands=5), samples())
    with pytest.raises(InputError, match="has no adapter"):
        rsbench.create_model("predrnn", "tiny", decouple_beta=0.1)
    with pytest.raises(InputError, match="num_hiden"):
        rsbench.create_model("predrnn", "tiny", num_hiden="8,8")
    (stage,) = built(learning_rate=5e-4, steps=7, batch_size=2).stages()
    assert (stage.learning_rate, stage.steps, stage.batch_size) == (5e-4, 7, 2)


def test_values_are_scaled_by_the_range_and_back() -> None:
    data, model = samples(), built()
    frames = data.given.frames[SENSOR]
    stretched = only(data, values=frames.values * 200 - 20, value_range=(-20.0, 180.0))
    torch.testing.assert_close(
        rolled(model, stretched), rolled(model, data) * 200 - 20, rtol=1e-4, atol=1e-3
    )


def test_members_share_one_computation_until_they_differ() -> None:
    data, model = samples(), built()
    many = replace(data, want=replace(data.want, members=3))
    one, three = rolled(model, data), rolled(model, many)
    torch.testing.assert_close(three, one.expand_as(three), rtol=0, atol=1e-6)


# ------------------------------------------------------------------------------------- training


def terms(model: PredRNNModel, data: Samples, truth: Frames | None = None) -> dict[str, float]:
    found = model.loss(model.stages()[0], data.given, data.want, truth or data.truth)
    return {name: float(value.detach()) for name, value in found.items()}


def test_the_loss_counts_every_one_step_prediction_over_valid_pixels() -> None:
    data, model = samples(context=3, leads=2), built()
    model.module.eval()
    holes = torch.rand(data.truth.valid.shape, generator=torch.Generator().manual_seed(0)) > 0.4
    truth = replace(data.truth, valid=holes)
    series = torch.cat([data.given.frames[SENSOR].values, truth.values], dim=2)
    valid = torch.cat([data.given.frames[SENSOR].valid, holes], dim=2).expand_as(series)
    gaps = []
    for k in (1, 2):  # context frames predicted from those before them
        cut = replace(data.given.frames[SENSOR].last(3), **_first(data, k))
        given = replace(data.given, frames={SENSOR: cut})
        want = replace(data.want, times=data.want.times[:, :1])
        answer = model.predict(given, want).values[:, :, 0]
        gaps.append((answer - series[:, :, k])[valid[:, :, k]])
    forecast = model.predict(data.given, data.want).values
    gaps.append((forecast - truth.values)[holes.expand_as(forecast)])
    expected = torch.cat(gaps).square().mean().detach()
    assert terms(model, data, truth)["total"] == pytest.approx(float(expected), rel=1e-5)
    junk = replace(truth, values=torch.where(holes, truth.values, 99.0))
    assert terms(model, data, junk) == terms(model, data, truth)


def _first(data: Samples, k: int) -> dict[str, Any]:
    frames = data.given.frames[SENSOR]
    return {
        "values": frames.values[:, :, :k],
        "valid": frames.valid[:, :, :k],
        "times": frames.times[:, :k],
        "predicted": frames.predicted[:k],
    }


def test_v2_without_its_term_is_v1_and_with_it_adds_beta_times_the_likeness() -> None:
    data = samples()
    second, plain = built("tiny_v2", decouple_beta=0.5), built("tiny_v2", decouple_beta=0.0)
    first = built("tiny")
    state = {n: t for n, t in second.module.state_dict().items() if n != "adapter.weight"}
    first.module.load_state_dict(state)
    for model in (first, second, plain):
        model.module.eval()
    found = terms(second, data)
    assert found["total"] == pytest.approx(found["mse"] + 0.5 * found["likeness"], rel=1e-6)
    assert 0 < found["likeness"] < 1
    assert terms(plain, data)["total"] == pytest.approx(found["mse"], rel=1e-6)
    assert terms(first, data)["total"] == pytest.approx(found["mse"], rel=1e-6)
    assert torch.equal(rolled(first, data), rolled(second, data))


def test_a_batch_without_truth_gives_a_finite_loss_and_gradient() -> None:
    given, want, truth = first_leads(samples(context=1), 1)
    for preset in ("tiny", "tiny_v2"):
        model = built(preset)
        nothing = replace(truth, valid=torch.zeros_like(truth.valid))
        frames = replace(given.frames[SENSOR], valid=torch.zeros_like(given.frames[SENSOR].valid))
        empty = replace(given, frames={SENSOR: frames})
        loss = model.loss(model.stages()[0], empty, want, nothing)["total"]
        loss.backward()  # type: ignore[no-untyped-call]
        assert torch.isfinite(loss)
        for p in model.module.parameters():
            assert p.grad is None or torch.isfinite(p.grad).all()


def test_schedules_at_their_turning_points() -> None:
    v1, v2 = Sampling("scheduled"), Sampling("reverse")
    assert [v1.forecast(i) for i in (0, 25_000, 50_000, 60_000)] == [1.0, 0.5, 0.0, 0.0]
    assert {v1.context(i) for i in (0, 25_000, 60_000)} == {1.0}
    assert [v2.context(i) for i in (0, 24_999, 25_000)] == [0.5, 0.5, 0.5]
    assert v2.context(30_000) == pytest.approx(1 - 0.5 * 2.718281828**-1)
    assert v2.context(50_000) == 1.0
    assert [v2.forecast(i) for i in (0, 25_000, 37_500, 50_000)] == [0.5, 0.5, 0.25, 0.0]
    # η falls by 2e-5 at each iteration.
    assert v1.forecast(1) == pytest.approx(1 - 2e-5)


def test_coins_follow_the_schedule_and_the_first_frame_is_always_true() -> None:
    torch.manual_seed(0)
    reverse = Sampling("reverse").coins(4000, 3, 6, 0.0).float().mean(dim=0)
    assert float(reverse[0]) == 1.0
    assert reverse[1:].tolist() == pytest.approx([0.5] * 5, abs=0.04)
    scheduled = Sampling("scheduled").coins(4000, 3, 6, 25_000.0).float().mean(dim=0)
    assert scheduled[:3].tolist() == [1.0] * 3
    assert scheduled[3:].tolist() == pytest.approx([0.5] * 3, abs=0.04)
    late = Sampling("reverse").coins(50, 3, 6, 50_000.0)
    assert torch.equal(late, torch.tensor([True] * 3 + [False] * 3).expand(50, 6))


def test_training_counts_samples_so_that_parts_of_a_batch_and_resuming_keep_the_schedule() -> None:
    data, model = samples(), built(batch_size=4)
    model.module.eval()
    terms(model, data)
    assert int(model.module.get_buffer("samples_seen")) == 0  # evaluation does not count
    model.module.train()
    terms(model, data)
    terms(model, data)
    state = model.module.state_dict()
    assert int(state["samples_seen"]) == 4
    resumed = built(batch_size=4)
    resumed.module.load_state_dict(state)
    resumed.module.train()
    seen = []
    coins = Sampling.coins

    def spy(self: Sampling, samples: int, context: int, steps: int, iteration: float) -> Any:
        seen.append(iteration)
        return coins(self, samples, context, steps, iteration)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sampling, "coins", spy)
        terms(resumed, data)
    assert seen == [1.0]


def test_own_frames_are_fed_where_the_coin_says_so() -> None:
    """With every coin false but the first, the loss of training is that of a free run."""
    data, model = samples(context=2, leads=2, masked=False), built()
    model.module.train()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Sampling, "coins", lambda self, n, k, s, i: (torch.arange(s) == 0).expand(n, s)
        )
        free = terms(model, data)["total"]
    first = replace(
        data.given, frames={SENSOR: replace(data.given.frames[SENSOR], **_first(data, 1))}
    )
    want = replace(data.want, times=torch.cat([data.want.times[:, :1], data.want.times], dim=1))
    answer = model.predict(first, want).values
    series = torch.cat([data.given.frames[SENSOR].values[:, :, 1:], data.truth.values], dim=2)
    assert free == pytest.approx(float((answer - series).square().mean().detach()), rel=1e-5)
