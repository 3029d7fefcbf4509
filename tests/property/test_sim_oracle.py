"""The conditional mean is the mean of the futures that the process can draw."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from support.simulated_truth import yearly_truth

from rsbench.catalog import SimulatedSpec
from rsbench.core.errors import InputError
from rsbench.simulate import dynamics as simulate_process
from rsbench.simulate import scene as simulate_scene
from rsbench.simulate.api import conditional_mean, simulated_regions
from rsbench.simulate.dynamics import (
    STATES,
    UNTOUCHED,
    code_chances,
    hazards,
    make_history,
    step_chances,
)
from rsbench.simulate.random import stream
from rsbench.simulate.scene import Simulated, YearView, calendar, simulated

BANDS = ("B02", "B03", "B04", "B08")
SPEC = SimulatedSpec(seed=5, regions=11, train=1, val=1, test=9, size=64)
YEARS = tuple(range(2017, 2025))


def observed(sim: Simulated, year: int) -> npt.NDArray[np.float64]:
    """Composite of a year as a builder makes it: mask, offset, median; NaN where never clear."""
    view = YearView(sim, "s2", year)
    stack = []
    for scene in calendar(sim.spec, sim.region.name, "s2", year):
        frame = view.render(scene)
        offset = 1000 if float(scene.baseline) >= 4 else 0
        values = np.maximum(frame.values.astype(np.int64) - offset, 1) / 1e4
        bad = np.isin(frame.mask, (0, 1, 3, 8, 9, 10)).repeat(2, axis=0).repeat(2, axis=1)
        stack.append(np.where(bad | (frame.values == 0), np.nan, values))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmedian(np.stack(stack), axis=0), dtype=np.float64)


def futures(
    sim: Simulated, now: int, target: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> npt.NDArray[np.float64]:
    """Composites of ``target`` in ``count`` worlds that share everything up to ``now``."""
    drawn = []
    for number in range(count):

        def salted(seed: int, *names: str | int, number: int = number) -> np.random.Generator:
            year = next((n for n in names if isinstance(n, int)), 0)
            future = year > now and "calendar" not in names
            return stream(seed, *names, *(("future", number) if future else ()))

        monkeypatch.setattr(simulate_process, "stream", salted)
        monkeypatch.setattr(simulate_scene, "stream", salted)
        history = make_history(sim.spec.seed, sim.region.name, sim.land, sim.params, YEARS)
        other = dataclasses.replace(sim, history=history)
        at = YEARS.index(now)
        assert (history.state[at] == sim.history.state[at]).all()
        assert (history.wide[at] == sim.history.wide[at]).all()
        drawn.append(observed(other, target))
    return np.stack(drawn)


@pytest.mark.parametrize(
    ("name", "now", "target"), [("sim-03", 2019, 2020), ("sim-04", 2018, 2021)]
)
def test_it_is_the_mean_of_the_futures(
    name: str, now: int, target: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim = simulated(SPEC, name)
    oracle = conditional_mean(SPEC, name, "s2", context_end=now, targets=[target], bands=BANDS)[0]
    drawn = futures(sim, now, target, 100, monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        count = np.isfinite(drawn).sum(axis=0)
        mean, spread = np.nanmean(drawn, axis=0), np.nanvar(drawn, axis=0, ddof=1)
    known = count > 50
    # The squared distance of a mean of n draws from the true mean is variance / n.
    ratio = ((mean - oracle) ** 2)[known].mean() / (spread / count)[known].mean()
    assert 0.4 < ratio < 2.0
    # The test has teeth: last year's composite is many times farther away.
    last = observed(sim, now)
    far = known & np.isfinite(last)
    assert ((mean - last) ** 2)[far].mean() / (spread / count)[far].mean() > 15.0


def test_chances_agree_with_counted_histories() -> None:
    sim = simulated(SPEC, "sim-03")
    clear, urban = hazards(sim.land, sim.params, 2020)
    start = np.zeros((sim.land.parcels, STATES))
    start[:, UNTOUCHED] = 1.0
    after = step_chances(start, clear, urban)
    np.testing.assert_allclose(after.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    draw, counted = np.random.default_rng(0), np.zeros(sim.land.parcels)
    for _ in range(2000):
        dice = draw.random((2, sim.land.parcels))
        state = np.zeros(sim.land.parcels, dtype=np.int16)
        counted += simulate_process._step_state(state, dice[0], dice[1], clear, urban) > 0
    np.testing.assert_allclose(counted / 2000, 1 - after[:, UNTOUCHED], atol=0.05)


def test_chances_of_every_pixel_sum_to_one_and_begin_certain() -> None:
    sim = simulated(SPEC, "sim-05")
    for target in (2018, 2024):
        chances = code_chances(sim.units, sim.history, sim.land, sim.params, 2017, target)
        np.testing.assert_allclose(chances.sum(axis=1), 1.0, atol=1e-9)
        assert chances.min() >= 0
    now = code_chances(sim.units, sim.history, sim.land, sim.params, 2017, 2017)
    assert set(np.unique(now)) == {0.0, 1.0}


@cache
def _truth(region: str) -> npt.NDArray[np.float64]:
    return yearly_truth(SPEC, region, "s2", years=YEARS, bands=BANDS).astype(float)


@cache
def _residuals(lead: int) -> tuple[list[npt.NDArray[np.float64]], ...]:
    errors, lasts, means, truths = [], [], [], []
    for region in simulated_regions(SPEC)[2:10]:
        truth = _truth(region.name)
        for i, year in enumerate(YEARS[: len(YEARS) - lead]):
            oracle = conditional_mean(
                SPEC, region.name, "s2", context_end=year, targets=[year + lead], bands=BANDS
            )[0]
            truths.append(truth[i + lead])
            errors.append(truth[i + lead] - oracle)
            lasts.append(truth[i])
            means.append(truth[: i + 1].mean(axis=0))
    return errors, lasts, means, truths


@pytest.mark.parametrize("lead", [1, 3])
def test_nothing_simple_beats_it(lead: int) -> None:
    errors, lasts, means, truths = _residuals(lead)
    best = np.mean([(e**2).mean() for e in errors])
    for share in np.linspace(0, 1, 6):
        blend = [
            ((share * a + (1 - share) * b - t) ** 2).mean()
            for a, b, t in zip(lasts, means, truths, strict=True)
        ]
        assert best < 0.85 * np.mean(blend)


def test_what_it_leaves_cannot_be_foretold_from_the_context() -> None:
    errors, lasts, means, _ = _residuals(1)
    for context in (lasts, means, [a - b for a, b in zip(lasts, means, strict=True)]):
        flat = np.concatenate([c.ravel() for c in context])
        left = np.concatenate([e.ravel() for e in errors])
        assert abs(np.corrcoef(flat, left)[0, 1]) < 0.1
    # The error of persistence is foretold by the same features, so the bound means something.
    gain = [(o - a).ravel() for o, a in zip(*_oracle_and_last(), strict=True)]
    assert np.std(np.concatenate(gain)) > 0.005


def _oracle_and_last() -> tuple[Sequence[npt.NDArray[np.float64]], ...]:
    errors, lasts, _, truths = _residuals(1)
    return [t - e for t, e in zip(truths, errors, strict=True)], lasts


def test_years_before_the_first_of_the_process_are_refused() -> None:
    with pytest.raises(InputError, match="begins in 2005"):
        simulated(SPEC.model_copy(update={"years": (1994, 1995)}), "sim-01")


def test_years_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="2017–2024"):
        conditional_mean(SPEC, "sim-01", "s2", context_end=2030, targets=[2031], bands=BANDS)
    with pytest.raises(InputError, match="later years"):
        conditional_mean(SPEC, "sim-01", "s2", context_end=2020, targets=[2020], bands=BANDS)
    with pytest.raises(InputError, match="B8"):
        conditional_mean(SPEC, "sim-01", "s2", context_end=2020, targets=[2021], bands=["B8"])
    with pytest.raises(InputError, match="sim-1"):
        conditional_mean(SPEC, "sim-1", "s2", context_end=2020, targets=[2021], bands=BANDS)
