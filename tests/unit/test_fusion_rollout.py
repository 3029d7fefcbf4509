"""Fusion as models: models of one reference, tiles, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from fusion_toys import COARSE, FINE, sample

from rsbench.core.errors import HorizonError, InputError
from rsbench.core.grid import Window
from rsbench.models.api import Card, Given, Prediction, PresetInfo, Want
from rsbench.models.noise import Noise
from rsbench.models.rollout import collect, one_reference


def card(**changes: object) -> Card:
    return Card("m", "fusion", "m", {"default": PresetInfo(0, 0)}, "m:build", "-", "-", **changes)  # type: ignore[arg-type]


@dataclass
class Recorder:
    """Answers F + C1 − C from the only reference it takes, and notes what it was shown."""

    shown: list[tuple[list[int], list[int]]] = field(default_factory=list)

    def predict(self, given: Given, want: Want) -> Prediction:
        fine, low = given.frames[FINE], given.frames[COARSE]
        self.shown.append((fine.times[0].tolist(), low.times[0].tolist()))
        own = (low.times == fine.times).int().argmax(dim=1)
        at = (low.times == want.times).int().argmax(dim=1)
        rows = torch.arange(len(own))
        value = fine.values[:, :, 0] + low.values[rows, :, at] - low.values[rows, :, own]
        return Prediction(value[:, :, None].expand(-1, want.members, -1, -1, -1, -1))


def images(count: int, *, seed: int, size: tuple[int, int] = (5, 7)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, count, 3, *size, generator=generator)


def test_a_model_of_one_reference_is_asked_for_each_and_averaged() -> None:
    fine, low = images(2, seed=1), images(3, seed=2)
    given, want = sample(fine, low)
    model = Recorder()
    found = collect(model, card(max_context=1), given, want).values[:, 0, 0]
    by_hand = ((fine[:, 0] + low[:, 1] - low[:, 0]) + (fine[:, 1] + low[:, 1] - low[:, 2])) / 2
    torch.testing.assert_close(found, by_hand, atol=1e-6, rtol=0)
    first, target, last = (18_000 + 16 * k for k in range(3))
    assert model.shown == [([first], [first, target]), ([last], [target, last])]


def test_one_reference_of_a_batch_whose_dates_differ() -> None:
    """The second row's target lies after both references: its coarse frames are others."""
    fine, low = images(2, seed=1), images(3, seed=2)
    given, want = sample(fine, low)
    want.times[1] = given.frames[COARSE].times[1, 2]
    given.frames[FINE].times[1] = given.frames[COARSE].times[1, :2]
    part = one_reference(given, want, 1)
    assert torch.equal(part.frames[FINE].values[:, 0, 0], fine[:, 1])
    assert torch.equal(part.frames[COARSE].values[0, 0], low[0, 1:])
    assert torch.equal(part.frames[COARSE].values[1, 0], low[1, 1:])
    assert part.frames[COARSE].times[1].tolist() == [18_016, 18_032]


class Noisy:
    def predict(self, given: Given, want: Want) -> Prediction:
        return Prediction(want.noise.normal("start", want, channels=len(want.bands))[:, :, None])


@pytest.mark.parametrize(
    "sizes",
    [
        {"tile": 16, "halo": 3, "multiple_of": 4},
        {"fixed_size": 16, "halo": 4},
        {"multiple_of": 16},
        {"tile": 48, "multiple_of": 16, "halo": 5, "max_context": 1},
    ],
)
def test_a_model_that_returns_its_noise_stitches_to_the_untiled_field(
    sizes: dict[str, int],
) -> None:
    """53×70 pixels: whole blocks of nothing."""
    given, want = sample(images(2, seed=1, size=(53, 70)), images(3, seed=2, size=(53, 70)))
    found = collect(Noisy(), card(**sizes), given, want).values[:, 0, 0]
    field = Noise(0).normal("start", want, channels=3)[:, 0]
    assert torch.equal(found, field)


@dataclass
class Watcher:
    """Answers nothing of use; notes windows, sizes and masks of both sensors."""

    seen: list[tuple[Window, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    shares: list[bool] = field(default_factory=list)

    def predict(self, given: Given, want: Want) -> Prediction:
        fine, low = given.frames[FINE], given.frames[COARSE]
        self.seen.append((want.samples[0].window, fine.values.shape[-2:], low.values.shape[-2:]))
        self.shares.append(bool(fine.valid.all()))
        shape = (len(want.samples), want.members, 1, len(want.bands), *want.size)
        return Prediction(torch.zeros(shape))


def test_both_sensors_are_cut_alike_and_pixels_beyond_the_edge_are_invalid() -> None:
    given, want = sample(images(2, seed=1, size=(20, 20)), images(3, seed=2, size=(20, 20)))
    model = Watcher()
    collect(model, card(multiple_of=16, tile=16), given, want)
    assert [w for w, *_ in model.seen] == [
        Window(0, 0, 16, 16), Window(0, 16, 16, 16), Window(16, 0, 16, 16), Window(16, 16, 16, 16),
    ]  # fmt: skip
    assert all(fine == low == (16, 16) for _, fine, low in model.seen)
    assert model.shares == [True, False, False, False]


def test_what_cannot_be_asked_is_told() -> None:
    given, want = sample(images(1, seed=1), images(2, seed=2))
    with pytest.raises(
        HorizonError, match=r"m with 1 dates of fine: it needs 2\. Give --context 2"
    ):
        collect(Watcher(), card(min_context=2), given, want)
    twice = type(want)(**{**vars(want), "times": want.times.expand(-1, 2)})
    with pytest.raises(InputError, match="2 target dates are wanted at once"):
        collect(Watcher(), card(), given, twice)
