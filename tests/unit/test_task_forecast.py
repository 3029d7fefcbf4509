"""The forecast task: what a model sees, what it is asked, and that truth stays out of reach."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rsbench.catalog import load_protocol
from rsbench.core.errors import InputError, PixelError, UnknownName
from rsbench.models.noise import Noise
from rsbench.store.read import Store
from rsbench.tasks.forecast import ForecastTask
from rsbench.tasks.forecast_batches import Batch, batches
from rsbench.tasks.forecast_samples import backward, index
from tests import toys

PROTOCOL = load_protocol("year3").model_copy(update={"window": 32, "stride": 32})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSBENCH_CACHE", str(tmp_path_factory.mktemp("home")))
        yield toys.write_store(tmp_path_factory.mktemp("task") / "s", regions=2)


@pytest.fixture
def batch(store: Store) -> Batch:
    return next(batches(store, index(store, PROTOCOL, "train"), 8))


def task(**options: Any) -> ForecastTask:
    return ForecastTask(PROTOCOL, toys.sensor_meta(), Noise(0), **options)


def test_given_want_and_truth(batch: Batch) -> None:
    given, want, truth = task(members=3).split(batch)
    frames = given.frames["s2"]
    assert frames.values.shape == (8, 1, 3, 4, 32, 32)
    assert frames.valid.shape == (8, 1, 3, 1, 32, 32)
    assert torch.equal(frames.values[:, 0], batch.context)
    assert (frames.bands, frames.unit) == (toys.BANDS, "reflectance")
    assert frames.value_range == (0.0, 1.0)
    assert frames.predicted == (False,) * 3
    assert torch.equal(want.times, batch.target_times)
    assert (want.sensor, want.bands, want.members) == ("s2", toys.BANDS, 3)
    assert want.grids == given.grids["s2"] == batch.grids
    assert torch.equal(truth.values[:, 0], batch.truth)
    assert torch.equal(truth.valid[:, 0], batch.truth_valid)
    assert torch.equal(truth.times, want.times)


def test_samples_are_named_by_region_and_date_and_placed_by_the_window(batch: Batch) -> None:
    given, want, _ = task().split(batch)
    assert given.samples == want.samples
    assert given.samples[0].key == "toy-01:2019-07-01"
    assert {s.key for s in given.samples} == {"toy-01:2019-07-01", "toy-01:2020-07-01"}
    assert [s.window for s in given.samples] == [s.window for s in batch.samples]


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor that can be reached from a value."""
    seen: set[int] = set()
    todo = [value]
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            yield item
            if item._base is not None:
                todo.append(item._base)
        elif is_dataclass(item):
            todo += [getattr(item, f.name) for f in fields(item)]
        elif isinstance(item, dict):
            todo += item.values()
        elif isinstance(item, tuple | list):
            todo += item
        elif hasattr(item, "__dict__"):
            todo += vars(item).values()


def memory(value: Any) -> set[int]:
    return {t.untyped_storage().data_ptr() for t in tensors(value)}


def test_truth_cannot_be_reached_from_given_or_want(batch: Batch) -> None:
    given, want, truth = task().split(batch)
    hidden = {truth.values.untyped_storage().data_ptr(), truth.valid.untyped_storage().data_ptr()}
    assert hidden.isdisjoint(memory(given) | memory(want))
    assert hidden <= memory(truth)
    reached = {id(r) for r in gc.get_referents(given, want, *vars(given).values())}
    assert id(batch) not in reached
    assert id(truth) not in reached


def test_frames_cut_from_one_tensor_are_copied_apart(batch: Batch) -> None:
    whole = torch.cat([batch.context, batch.truth], dim=1)
    mask = torch.cat([batch.valid, batch.truth_valid], dim=1)
    joined = replace(
        batch, context=whole[:, :3], truth=whole[:, 3:], valid=mask[:, :3], truth_valid=mask[:, 3:]
    )
    given, _, truth = task().split(joined)
    assert memory(given).isdisjoint(memory(truth))
    assert torch.equal(given.frames["s2"].values[:, 0], batch.context)


def test_a_model_that_writes_to_what_it_gets_changes_no_truth(batch: Batch) -> None:
    given, want, truth = task().split(batch)
    before = truth.values.clone(), truth.times.clone()
    given.frames["s2"].values.fill_(1)
    given.frames["s2"].times.fill_(0)
    want.times.fill_(0)
    assert torch.equal(truth.values, before[0])
    assert torch.equal(truth.times, before[1])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("part", "frame", "words"),
    [("truth", 1, "lead 2"), ("truth", 0, "lead 1"), ("context", 2, "context frame 0"),
     ("context", 0, "context frame -2")],
)  # fmt: skip
def test_a_nan_that_is_called_valid_is_named(
    batch: Batch, part: str, frame: int, words: str, bad: float
) -> None:
    values = getattr(batch, part).clone()
    mask = {"truth": "truth_valid", "context": "valid"}[part]
    valid = getattr(batch, mask).clone()
    valid[5, frame, 0, 9, 9] = True
    values[5, frame, 2, 9, 9] = bad
    with pytest.raises(PixelError, match=f"region toy-01, {words}, band B04: 1 NaN"):
        task().split(replace(batch, **{part: values, mask: valid}))


def test_bands_must_be_those_of_the_batch(batch: Batch) -> None:
    with pytest.raises(InputError, match="the batch holds B02, B03, B04, B08"):
        task(bands=("B08",)).split(batch)
    task(bands=toys.BANDS).split(batch)


def test_bad_settings() -> None:
    with pytest.raises(InputError, match="members"):
        task(members=0)
    other = PROTOCOL.model_copy(update={"task": "fusion"})
    with pytest.raises(InputError, match="forecast"):
        ForecastTask(other, toys.sensor_meta(), Noise(0))


def test_the_past_from_the_future_is_the_same_task_with_time_turned_round(store: Store) -> None:
    samples = index(store, PROTOCOL, "train")
    frames = {name: len(store.region(name).times["s2"]) for name in store.regions}
    turned = backward(samples, frames)
    assert backward(turned, frames) == samples
    assert [s.window for s in turned] == [s.window for s in samples]
    batch = next(batches(store, turned, 8))
    given, want, truth = task(direction="past").split(batch)
    sample, last = batch.samples[0], frames[batch.samples[0].region] - 1
    assert sample.context == (last, last - 1, last - 2)
    assert sample.targets == (last - 3, last - 4, last - 5)
    whole = torch.from_numpy(store.read_physical(sample.region, "s2")[0])
    rows, columns = sample.window.slices
    for t, year in enumerate(sample.context):
        seen = given.frames["s2"].valid[0, 0, t]
        expected = torch.where(seen, whole[year][:, rows, columns], 0)
        torch.testing.assert_close(given.frames["s2"].values[0, 0, t], expected)
    for lead, year in enumerate(sample.targets):
        seen = truth.valid[0, 0, lead]
        expected = torch.where(seen, whole[year][:, rows, columns], 0)
        torch.testing.assert_close(truth.values[0, 0, lead], expected)
    dates = torch.cat([given.frames["s2"].times, want.times], dim=1)
    assert bool((dates.diff(dim=1) < 0).all())


def test_a_direction_against_the_dates_or_unknown_is_refused(store: Store, batch: Batch) -> None:
    frames = {name: len(store.region(name).times["s2"]) for name in store.regions}
    turned = backward(index(store, PROTOCOL, "train"), frames)
    with pytest.raises(InputError, match=r"a forecast of the past: the dates .* run 2017-07-01"):
        task(direction="past").split(batch)
    with pytest.raises(InputError, match=r"a forecast of the future: the dates .* run 2024-07-01"):
        task().split(next(batches(store, turned, 8)))
    with pytest.raises(UnknownName, match="Did you mean past"):
        task(direction="pasd")
