"""The trivial forecasters against hand-worked numbers and NumPy's own routines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

import rsbench
from rsbench.core.errors import HorizonError
from rsbench.models import registry
from rsbench.models.api import Fitted, Frames
from rsbench.models.contract_data import SENSOR, Samples, Shape, make_samples
from rsbench.models.rollout import collect
from rsbench_baselines.persistence.model import fill

NAN = float("nan")


def series(values: Sequence[Sequence[float]], leads: int = 2) -> Samples:
    """Make one sample of one band from pixels × times; NaN stands for invalid here only."""
    table = torch.tensor(values, dtype=torch.float32)
    pixels, times = table.shape
    shape = Shape(samples=1, context=times, leads=leads, bands=1, side=4)
    data = make_samples(shape, masked=False)
    frames = data.given.frames[SENSOR]
    x = table.T.reshape(1, 1, times, 1, 1, pixels)
    valid = ~x.isnan()
    frames = replace(frames, values=x.nan_to_num(0.0), valid=valid)
    grid = replace(data.want.grids[0], height=1, width=pixels)
    given = replace(data.given, frames={SENSOR: frames}, grids={SENSOR: (grid,)})
    return Samples(given, replace(data.want, grids=(grid,)), data.truth)


def forecast(name: str, data: Samples) -> np.ndarray:
    """Return ``(leads, pixels)``."""
    model = rsbench.create_model(name)
    answer = collect(model, registry.identity(model).card, data.given, data.want)
    return answer.values[0, 0, :, 0, 0].numpy()


def test_persistence_by_hand() -> None:
    data = series(
        [
            [0.1, 0.2, 0.3],  # all valid: the last
            [0.1, 0.2, NAN],  # the last is cloudy: the one before
            [0.4, NAN, NAN],  # only the first
            [NAN, NAN, NAN],  # none: mean of the latest frame's valid pixels, (0.3 + 0.5) / 2
            [0.7, 0.6, 0.5],
        ]
    )
    expected = [0.3, 0.2, 0.4, 0.4, 0.5]
    np.testing.assert_allclose(forecast("persistence", data), [expected, expected], rtol=1e-6)


def test_persistence_of_an_empty_last_frame_takes_the_mean_of_the_nearest_other() -> None:
    data = series([[0.2, 0.4, NAN], [NAN, 0.6, NAN], [NAN, NAN, NAN]])
    np.testing.assert_allclose(forecast("persistence", data)[0], [0.4, 0.6, 0.5], rtol=1e-6)
    nothing = series([[NAN, NAN], [NAN, NAN]])
    np.testing.assert_allclose(forecast("persistence", nothing)[0], [0.5, 0.5])


def test_the_mean_that_fills_is_its_own_bands_and_samples() -> None:
    data = make_samples(Shape(samples=2, context=1, leads=1, bands=2, side=8), masked=False)
    frames = data.given.frames[SENSOR]
    valid = frames.valid.clone()
    valid[..., 0, 0] = False
    given = replace(data.given, frames={SENSOR: replace(frames, valid=valid)})
    model = rsbench.create_model("persistence")
    card = registry.identity(model).card
    answer = collect(model, card, given, data.want).values[:, 0, 0, :, 0, 0]
    others = frames.values[:, 0, 0].flatten(2)[:, :, 1:].mean(dim=2)
    torch.testing.assert_close(answer, others)


def test_the_context_median_against_numpy() -> None:
    rng = np.random.default_rng(0)
    table = rng.random((200, 7)).astype(np.float32)
    table[rng.random(table.shape) < 0.4] = np.nan
    table = table[np.isfinite(table).any(axis=1)]
    found = forecast("climatology", series(table.tolist()))
    np.testing.assert_allclose(found[0], np.nanmedian(table, axis=1), rtol=2e-7)
    assert np.array_equal(found[0], found[1])


def test_the_context_median_by_hand() -> None:
    data = series([[0.1, 0.9, 0.2, 0.4], [0.1, NAN, NAN, 0.3], [NAN, NAN, NAN, NAN]])
    # Even counts: the mean of the middle two. Never valid: mean of the last frame, 0.35.
    np.testing.assert_allclose(forecast("climatology", data)[0], [0.3, 0.2, 0.35], rtol=1e-6)


def test_the_trend_by_hand() -> None:
    # Years at 365-day steps: 0.1 + 0.1·t, read off at t = 3 and 4. Two valid dates: the last
    # value. A missing middle date does not bend the line.
    data = series([[0.1, 0.2, 0.3], [0.5, 0.4, NAN], [NAN, NAN, 0.7], [0.2, 0.2, 0.2]])
    found = forecast("linear_trend", data)
    np.testing.assert_allclose(found[0], [0.4, 0.4, 0.7, 0.2], rtol=1e-6)
    np.testing.assert_allclose(found[1], [0.5, 0.4, 0.7, 0.2], rtol=1e-6)


def test_the_trend_against_numpy_polyfit_on_uneven_dates() -> None:
    rng = np.random.default_rng(1)
    table = rng.random((60, 8)).astype(np.float32)
    table[rng.random(table.shape) < 0.3] = np.nan
    table = table[np.isfinite(table).sum(axis=1) >= 3]
    data = series(table.tolist(), leads=3)
    days = np.array([17_000, 17_365, 17_731, 18_100, 18_460, 18_900, 19_191, 19_556])
    ahead = np.array([19_922, 20_286, 21_000])
    frames = replace(data.given.frames[SENSOR], times=torch.tensor(days)[None])
    data = Samples(
        replace(data.given, frames={SENSOR: frames}),
        replace(data.want, times=torch.tensor(ahead)[None]),
        data.truth,
    )
    found = forecast("linear_trend", data)
    for pixel, row in enumerate(table.astype(np.float64)):
        seen = np.isfinite(row)
        line = np.polyfit((days[seen] - 18_000) / 365, row[seen], 1)
        np.testing.assert_allclose(
            found[:, pixel], np.polyval(line, (ahead - 18_000) / 365), rtol=2e-5, atol=2e-6
        )


def test_models_that_need_more_context_say_so() -> None:
    for name, need in (("climatology", 2), ("linear_trend", 3)):
        data = series([[0.5] * (need - 1)])
        with pytest.raises(HorizonError, match=f"at least {need}"):
            forecast(name, data)


def _pairs(leads: int = 3) -> list[Samples]:
    shape = Shape(samples=2, context=2, leads=leads, bands=2, side=8)
    found = []
    for seed in (0, 1):
        data = make_samples(shape, seed=seed)
        valid = torch.rand(data.truth.valid.shape, generator=torch.Generator().manual_seed(seed))
        truth = replace(data.truth, valid=valid > 0.2)
        found.append(Samples(data.given, data.want, truth))
    return found


def _stacked(pairs: list[Samples], band: int, lead: int) -> tuple[np.ndarray, np.ndarray]:
    """Return last valid values and truths of one band and lead, with loops and float64."""
    x, y = [], []
    for data in pairs:
        frames, truth = data.given.frames[SENSOR], data.truth
        for b in range(2):
            for r in range(8):
                for c in range(8):
                    if not truth.valid[b, 0, lead, 0, r, c]:
                        continue
                    for t in (1, 0):
                        if frames.valid[b, 0, t, 0, r, c]:
                            x.append(float(frames.values[b, 0, t, band, r, c]))
                            y.append(float(truth.values[b, 0, lead, band, r, c]))
                            break
    return np.array(x), np.array(y)


def test_damped_persistence_against_least_squares() -> None:
    pairs = _pairs()
    model = rsbench.create_model("damped_persistence")
    assert isinstance(model, Fitted)
    fitted = model.fit((d.given, d.want, d.truth) for d in pairs)
    for band in range(2):
        per_lead = [_stacked(pairs, band, lead) for lead in range(3)]
        mean = np.concatenate([x for x, _ in per_lead]).mean()
        assert fitted[f"mean/band{band + 1}"] == pytest.approx(mean, rel=1e-9)
        for lead, (x, y) in enumerate(per_lead):
            expected = np.linalg.lstsq((x - mean)[:, None], y - mean, rcond=None)[0][0]
            assert fitted[f"a/band{band + 1}/{lead + 1}"] == pytest.approx(expected, rel=1e-6)
            assert fitted[f"days/band{band + 1}/{lead + 1}"] == 365 * (lead + 1)


def test_damped_persistence_predicts_by_its_formula_and_restores() -> None:
    data = series([[0.2, 0.4], [0.6, NAN]], leads=4)
    model = rsbench.create_model("damped_persistence")
    assert isinstance(model, Fitted)
    parameters = {"mean/band1": 0.5}
    for lead, a in ((1, 0.8), (2, 0.5)):
        parameters |= {f"a/band1/{lead}": a, f"days/band1/{lead}": 365.0 * lead}
    model.restore(parameters)
    times = data.given.frames[SENSOR].times[0, -1] + torch.tensor([[366, 730, 1095, 547]])
    want = replace(data.want, times=times)
    found = collect(model, registry.card("damped_persistence"), data.given, want)
    # Leap years are the same lead; past lead 2 a power of time, 0.5^(1095/730); between, linear.
    past = 0.5 ** (1095 / 730)
    between = 0.8 - 0.3 * (547 - 365) / 365
    factors = np.array([0.8, 0.5, past, between])
    expected = 0.5 + factors[:, None] * np.array([[0.4 - 0.5, 0.6 - 0.5]])
    np.testing.assert_allclose(found.values[0, 0, :, 0, 0].numpy(), expected, rtol=1e-6)


def test_damped_persistence_is_no_worse_than_persistence_where_it_was_fitted() -> None:
    pairs = _pairs()
    model = rsbench.create_model("damped_persistence")
    assert isinstance(model, Fitted)
    model.fit((d.given, d.want, d.truth) for d in pairs)

    def error(name: str) -> float:
        own = model if name == "damped_persistence" else rsbench.create_model(name)
        total = 0.0
        for d in pairs:
            answer = collect(own, registry.card(name), d.given, d.want).values
            gap = torch.where(d.truth.valid, answer - d.truth.values, 0).double()
            total += float(gap.square().sum())
        return total

    assert error("damped_persistence") <= error("persistence")


def test_damped_persistence_unfitted_or_of_other_bands_says_so() -> None:
    data = series([[0.2, 0.4]])
    model = rsbench.create_model("damped_persistence")
    card = registry.card("damped_persistence")
    with pytest.raises(ValueError, match="not fitted"):
        collect(model, card, data.given, data.want)
    assert isinstance(model, Fitted)
    model.restore({"mean/red": 0.1, "a/red/1": 1.0, "days/red/1": 365.0})
    with pytest.raises(ValueError, match="without band band1"):
        collect(model, card, data.given, data.want)
    with pytest.raises(ValueError, match="no valid training pixel"):
        model.fit([])


def test_a_pixel_never_seen_is_not_fitted_on() -> None:
    data = series([[0.2, 0.4], [NAN, NAN]], leads=1)
    valid = torch.ones(1, 1, 1, 1, 1, 2, dtype=torch.bool)
    values = torch.tensor([0.5, 9.0]).view(1, 1, 1, 1, 1, 2)
    truth = Frames(
        values, valid, data.want.times, data.want.bands, "reflectance", (False,), (0.0, 1.0)
    )
    model = rsbench.create_model("damped_persistence")
    assert isinstance(model, Fitted)
    assert model.fit([(data.given, data.want, truth)])["mean/band1"] == pytest.approx(0.4)


def test_filling_one_frame_is_filling_it_twice() -> None:
    """One frame has no other to take from: the short way gives the bits of the long one."""
    torch.manual_seed(0)
    values = torch.rand(2, 1, 1, 3, 8, 8)
    valid = torch.rand(2, 1, 1, 3, 8, 8) > 0.4
    valid[1, 0, 0, 2] = False
    one = fill(values, valid, (0.0, 1.0))
    twice = fill(values.repeat(1, 1, 2, 1, 1, 1), valid.repeat(1, 1, 2, 1, 1, 1), (0.0, 1.0))
    assert torch.equal(one[:, :, 0], twice[:, :, 0])
    assert torch.equal(one[:, :, 0], twice[:, :, 1])
    assert bool((one[1, 0, 0, 2] == 0.5).all())
