"""Rollout: lead by lead as the card says, each member on its own, nothing leaking."""

from __future__ import annotations

import gc
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rsbench.core.errors import HorizonError, InputError, PixelError
from rsbench.models.api import Card, Frames, Given, Model, Prediction, PresetInfo, Want
from rsbench.models.contract_data import SENSOR, Samples, Shape, make_samples
from rsbench.models.rollout import collect, roll

CARD = Card("m", "forecast", "m", {"default": PresetInfo(0, 0)}, "m:build", "-", "-")
STEP = replace(CARD, rollout="step")
BLOCK = replace(CARD, rollout="block:3")


def samples(*, leads: int = 5, members: int = 1, context: int = 2) -> Samples:
    shape = Shape(samples=2, context=context, leads=leads, bands=2, side=8)
    return make_samples(shape, masked=False, members=members)


class Walk:
    """Adds one, and noise if asked, to the last frame; remembers what it was shown."""

    def __init__(self, *, noisy: bool = False) -> None:
        self.noisy = noisy
        self.given: list[Given] = []
        self.want: list[Want] = []

    def predict(self, given: Given, want: Want) -> Prediction:
        self.given.append(given)
        self.want.append(want)
        T, C = want.times.shape[1], len(want.bands)
        last = given.frames[SENSOR].values[:, :, -1:, -C:]
        steps = torch.arange(1, T + 1).view(1, 1, T, 1, 1, 1)
        answer = (last + steps).expand(-1, want.members, -1, -1, -1, -1)
        if self.noisy:
            answer = answer + want.noise.normal("n", want, channels=T * C).reshape(
                -1, want.members, T, C, *want.size
            )
        return Prediction(answer)


class Counter:
    """Keeps its state: the number of steps, per tile."""

    def predict(self, given: Given, want: Want) -> Prediction:
        raise AssertionError("a stateful model is stepped")

    def start(self, given: Given, want: Want) -> int:
        return 0

    def step(self, state: int, want: Want) -> tuple[Prediction, int]:
        shape = (len(want.samples), want.members, 1, len(want.bands), *want.size)
        return Prediction(torch.full(shape, float(state + 1))), state + 1


@pytest.mark.parametrize("card", [CARD, STEP, BLOCK], ids=["native", "step", "block"])
def test_every_way_of_rolling_gives_the_same_walk(card: Card) -> None:
    data = samples()
    last = data.given.frames[SENSOR].values[:, :, -1]
    leads = []
    for lead, answer in roll(Walk(), card, data.given, data.want):
        leads.append(lead)
        torch.testing.assert_close(answer.values[:, :, 0], last + lead)
    assert leads == [1, 2, 3, 4, 5]


def test_steps_see_their_own_frames_marked_as_predicted() -> None:
    data, model = samples(leads=3, context=2), Walk()
    card = replace(STEP, max_context=3)
    collect(model, card, data.given, data.want)
    flags = [g.frames[SENSOR].predicted for g in model.given]
    assert flags == [(False, False), (False, False, True), (False, True, True)]
    times = [g.frames[SENSOR].times[0].tolist() for g in model.given]
    assert times[2][-2:] == data.want.times[0, :2].tolist()
    assert [w.times.tolist() for w in model.want] == [
        data.want.times[:, i : i + 1].tolist() for i in range(3)
    ]
    assert model.given[2].frames[SENSOR].valid[:, :, -2:].all()


def test_a_last_block_is_asked_whole_and_its_times_go_on() -> None:
    data, model = samples(leads=4), Walk()
    assert collect(model, BLOCK, data.given, data.want).values.shape[2] == 4
    times = model.want[1].times[0]
    assert times.tolist() == [int(data.want.times[0, 3]) + 365 * i for i in range(3)]


def test_each_member_goes_on_from_its_own_frames() -> None:
    data, model = samples(leads=3, members=3), Walk(noisy=True)
    answer = collect(model, STEP, data.given, data.want).values
    assert model.given[0].frames[SENSOR].values.shape[1] == 1
    second = model.given[1].frames[SENSOR]
    assert second.values.shape[1] == second.valid.shape[1] == 3
    torch.testing.assert_close(second.values[:, :, -1], answer[:, :, 0])
    # A walk's variance grows: fresh noise at each lead, none of it shared between members.
    steps = (answer[:, :, 1:] - answer[:, :, :-1] - 1).flatten(3)
    assert abs(float(steps.std()) - 1) < 0.1
    assert not torch.allclose(steps[:, :, 0], steps[:, :, 1])
    assert not torch.allclose(steps[:, 0], steps[:, 1])


def test_a_member_is_the_same_among_more_members() -> None:
    few, many = samples(members=1), samples(members=4)
    one = collect(Walk(noisy=True), STEP, few.given, few.want).values
    four = collect(Walk(noisy=True), STEP, many.given, many.want).values
    assert torch.equal(one, four[:, :1])


def test_a_shorter_horizon_is_the_beginning_of_a_longer_one() -> None:
    data = samples(leads=5)
    for card in (STEP, BLOCK):
        whole = collect(Walk(noisy=True), card, data.given, data.want).values
        part = collect(Walk(noisy=True), card, data.given, data.want, leads=2).values
        assert torch.equal(part, whole[:, :, :2])


def test_frames_kept_do_not_grow_with_the_horizon() -> None:
    model = Walk()
    data = samples(leads=12, context=2)
    for _ in roll(model, STEP, data.given, data.want):
        model.given = model.given[-1:]
        frames = model.given[0].frames[SENSOR]
        assert frames.values.shape[2] == 2
        # A slice of a longer tensor would keep the whole of it alive.
        assert frames.values.untyped_storage().nbytes() == frames.values.numel() * 4


def test_memory_does_not_grow_with_the_horizon() -> None:
    def peak(leads: int) -> int:
        """Bytes of all tensors alive at the fullest lead."""
        data = samples(leads=leads)
        alive = []
        for _, answer in roll(_Slim(), STEP, data.given, data.want):
            own = data.given.frames[SENSOR].values.numel() + data.truth.values.numel()
            alive.append(_floats() - own)
            del answer
        return max(alive)

    gc.freeze()  # only what is made from here on is counted, which is also faster
    try:
        assert peak(40) <= peak(6)
    finally:
        gc.unfreeze()


def _floats() -> int:
    found = [t for t in gc.get_objects() if type(t) is torch.Tensor and t.dtype == torch.float32]
    return (
        sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in found}.values())
        // 4
    )


class _Slim:
    def predict(self, given: Given, want: Want) -> Prediction:
        return Prediction(given.frames[SENSOR].values[:, :, -1:].clone())


def test_a_stateful_model_is_stepped_also_in_tiles() -> None:
    data = samples(leads=3, members=2)
    for card in (STEP, replace(STEP, tile=4)):
        answer = collect(Counter(), card, data.given, data.want).values
        assert answer.shape == (2, 2, 3, 2, 8, 8)
        assert answer[0, 0, :, 0, 0, 0].tolist() == [1.0, 2.0, 3.0]
        assert (answer == answer[:, :, :, :1, :1, :1]).all()


def test_bands_that_are_not_predicted_are_invalid_in_later_context() -> None:
    data, model = samples(leads=2), Walk()
    want = replace(data.want, bands=("band2",))
    collect(model, replace(STEP, max_context=3), data.given, want)
    frames = model.given[1].frames[SENSOR]
    assert frames.valid.shape[3] == 2
    assert frames.valid[:, :, -1, 1].all()
    assert not frames.valid[:, :, -1, 0].any()
    assert (frames.values[:, :, -1, 0] == 0).all()
    assert frames.valid[:, :, :-1].all()


class _Vandal:
    def predict(self, given: Given, want: Want) -> Prediction:
        frames = given.frames[SENSOR]
        answer = frames.values[:, :, -1:].expand(-1, -1, want.times.shape[1], -1, -1, -1) * 1
        frames.values.zero_()
        frames.valid.zero_()
        return Prediction(answer)


def test_a_model_cannot_write_into_what_it_is_given() -> None:
    data = samples()
    before = data.given.clone().frames[SENSOR]
    collect(_Vandal(), STEP, data.given, data.want)
    assert torch.equal(data.given.frames[SENSOR].values, before.values)
    assert torch.equal(data.given.frames[SENSOR].valid, before.valid)


class _Gambler:
    """Draws from every global random state."""

    def predict(self, given: Given, want: Want) -> Prediction:
        noise = torch.rand(()) + float(np.random.rand()) + random.random()  # noqa: NPY002
        return Prediction(given.frames[SENSOR].values[:, :, -1:] + noise)


def test_global_random_states_stay_where_they_were() -> None:
    data = samples()
    torch.manual_seed(0)
    expected = torch.rand(())
    torch.manual_seed(0)
    states = (np.random.get_state()[1].tolist(), random.getstate())  # type: ignore[index]  # noqa: NPY002
    collect(_Gambler(), STEP, data.given, data.want)
    assert torch.equal(torch.rand(()), expected)
    assert (np.random.get_state()[1].tolist(), random.getstate()) == states  # type: ignore[index]  # noqa: NPY002


class _Trained:
    """A trainable model with dropout."""

    def __init__(self) -> None:
        self.net = nn.Sequential(nn.Dropout(0.5), nn.Identity().eval())

    @property
    def module(self) -> nn.Module:
        return self.net

    def stages(self) -> list[Any]:
        return []

    def loss(self, stage: Any, given: Given, want: Want, truth: Frames) -> dict[str, torch.Tensor]:
        return {}

    def predict(self, given: Given, want: Want) -> Prediction:
        assert not torch.is_grad_enabled()
        out: torch.Tensor = self.net(given.frames[SENSOR].values[:, :, -1:])
        return Prediction(out)


def test_a_model_runs_in_evaluation_mode_and_goes_back_to_its_own() -> None:
    data, model = samples(leads=1), _Trained()
    model.net[0].train()
    modes = [m.training for m in model.net.modules()]
    answer = collect(model, STEP, data.given, data.want).values
    assert torch.equal(answer, data.given.frames[SENSOR].values[:, :, -1:])
    assert [m.training for m in model.net.modules()] == modes
    assert not answer.requires_grad


class _Wrong:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict(self, given: Given, want: Want) -> Prediction:
        return self.answer  # type: ignore[no-any-return]


def _nan() -> torch.Tensor:
    values = torch.zeros(2, 1, 1, 2, 8, 8)
    values[1, 0, 0, 1, 3, 4] = float("nan")
    return values


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (None, InputError, "returned NoneType"),
        (Prediction(torch.zeros(2, 1, 1, 2, 8)), InputError, "5 axes instead of the 6"),
        (Prediction(torch.zeros(2, 1, 3, 2, 8, 9)), InputError, "leads T is 3 instead of 1, col"),
        (Prediction(torch.zeros(2, 1, 1, 2, 8, 8, dtype=torch.int32)), InputError, "int32"),
        (Prediction(_nan()), PixelError, "region-2, member 0, lead 1, band band2, row 3, column 4"),
    ],
)
def test_a_wrong_answer_is_named_by_its_axes(answer: Any, error: type, words: str) -> None:
    data = samples()
    with pytest.raises(error, match=words):
        collect(_Wrong(answer), STEP, data.given, data.want)


def test_the_lead_of_a_bad_value_is_counted_over_the_rollout() -> None:
    class Late:
        calls = 0

        def predict(self, given: Given, want: Want) -> Prediction:
            self.calls += 1
            return Prediction(_nan() if self.calls == 3 else torch.zeros(2, 1, 1, 2, 8, 8))

    data = samples()
    with pytest.raises(PixelError, match="lead 3"):
        collect(Late(), STEP, data.given, data.want)


def test_half_precision_answers_become_float32() -> None:
    data = samples(leads=1)
    answer = Prediction(torch.zeros(2, 1, 1, 2, 8, 8, dtype=torch.bfloat16))
    assert collect(_Wrong(answer), STEP, data.given, data.want).values.dtype == torch.float32


@pytest.mark.parametrize("leads", [0, -1, 6])
def test_a_horizon_outside_the_template_is_refused(leads: int) -> None:
    data = samples(leads=5)
    with pytest.raises(HorizonError, match="the template has 5"):
        roll(Walk(), STEP, data.given, data.want, leads=leads)


def test_too_short_a_context_says_what_the_model_needs() -> None:
    data = samples(context=1)
    with pytest.raises(HorizonError, match="needs at least 3") as caught:
        roll(Walk(), replace(STEP, min_context=3), data.given, data.want)
    assert "--context 3" in str(caught.value)


def test_older_frames_than_the_card_takes_are_not_shown() -> None:
    data, model = samples(context=4), Walk()
    collect(model, replace(STEP, max_context=2), data.given, data.want)
    first = model.given[0].frames[SENSOR]
    assert first.times.tolist() == data.given.frames[SENSOR].times[:, -2:].tolist()


def test_a_sensor_that_is_not_given_and_a_rollout_unknown_are_refused() -> None:
    data = samples()
    model: Model = Walk()
    with pytest.raises(InputError, match="'thermal'"):
        roll(model, STEP, data.given, replace(data.want, sensor="thermal"))
    with pytest.raises(InputError, match="native, step or block:T"):
        roll(model, replace(CARD, rollout="block:x"), data.given, data.want)
