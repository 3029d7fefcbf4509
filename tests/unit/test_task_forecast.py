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
from rsbench.core.errors import InputError, PixelError
from rsbench.store.read import Store
from rsbench.tasks.base import Batch
from rsbench.tasks.batches import batches
from rsbench.tasks.forecast.samples import Sample, backward, index
from rsbench.tasks.forecast.task import TASK
from tests import toys
from tests.task_readers import reader_of, split_of

PROTOCOL = load_protocol("year3").model_copy(update={"window": 32, "stride": 32})
PAST = PROTOCOL.model_copy(update={"direction": "past"})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSBENCH_CACHE", str(tmp_path_factory.mktemp("home")))
        yield toys.write_store(tmp_path_factory.mktemp("task") / "s", regions=2)


@pytest.fixture
def batch(store: Store) -> Batch[Sample]:
    return next(batches(reader_of(store, PROTOCOL), index(store, PROTOCOL, "train"), 8))


def test_given_want_and_truth(batch: Batch[Sample]) -> None:
    given, want, truth = split_of(batch, members=3)
    frames = given.frames["s2"]
    assert frames.values.shape == (8, 1, 3, 4, 32, 32)
    assert frames.valid.shape == (8, 1, 3, 1, 32, 32)
    assert torch.equal(frames.values, batch.given["s2"].values)
    assert (frames.bands, frames.unit) == (toys.BANDS, "reflectance")
    assert frames.value_range == (0.0, 1.0)
    assert frames.predicted == (False,) * 3
    assert torch.equal(want.times, batch.truth.times)
    assert (want.sensor, want.bands, want.members) == ("s2", toys.BANDS, 3)
    assert want.grids == given.grids["s2"] == batch.grids["s2"]
    assert torch.equal(truth.values, batch.truth.values)
    assert torch.equal(truth.valid, batch.truth.valid)
    assert torch.equal(truth.times, want.times)


def test_samples_are_named_by_region_and_date_and_placed_by_the_window(
    batch: Batch[Sample],
) -> None:
    given, want, _ = split_of(batch)
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


def test_truth_cannot_be_reached_from_given_or_want(batch: Batch[Sample]) -> None:
    given, want, truth = split_of(batch)
    hidden = {truth.values.untyped_storage().data_ptr(), truth.valid.untyped_storage().data_ptr()}
    assert hidden.isdisjoint(memory(given) | memory(want))
    assert hidden <= memory(truth)
    reached = {id(r) for r in gc.get_referents(given, want, *vars(given).values())}
    assert id(batch) not in reached
    assert id(truth) not in reached


def test_frames_cut_from_one_tensor_are_copied_apart(batch: Batch[Sample]) -> None:
    context = batch.given["s2"]
    whole = torch.cat([context.values, batch.truth.values], dim=2)
    mask = torch.cat([context.valid, batch.truth.valid], dim=2)
    joined = replace(
        batch,
        given={"s2": replace(context, values=whole[:, :, :3], valid=mask[:, :, :3])},
        truth=replace(batch.truth, values=whole[:, :, 3:], valid=mask[:, :, 3:]),
    )
    given, _, truth = split_of(joined)
    assert memory(given).isdisjoint(memory(truth))
    assert torch.equal(given.frames["s2"].values, context.values)


def test_a_model_that_writes_to_what_it_gets_changes_no_truth(batch: Batch[Sample]) -> None:
    given, want, truth = split_of(batch)
    before = truth.values.clone(), truth.times.clone()
    given.frames["s2"].values.fill_(1)
    given.frames["s2"].times.fill_(0)
    want.times.fill_(0)
    assert torch.equal(truth.values, before[0])
    assert torch.equal(truth.times, before[1])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("part", "frame", "words"),
    [("truth", 1, "truth, frame 2"), ("truth", 0, "truth, frame 1"), ("s2", 2, "s2, frame 3"),
     ("s2", 0, "s2, frame 1")],
)  # fmt: skip
def test_a_nan_that_is_called_valid_is_named(
    batch: Batch[Sample], part: str, frame: int, words: str, bad: float
) -> None:
    frames = (batch.truth if part == "truth" else batch.given[part]).clone()
    frames.valid[5, 0, frame, 0, 9, 9] = True
    frames.values[5, 0, frame, 2, 9, 9] = bad
    changed = {"truth": frames} if part == "truth" else {"given": {part: frames}}
    with pytest.raises(PixelError, match=f"region toy-01, {words}, band B04: 1 NaN"):
        split_of(replace(batch, **changed))


def test_bands_are_those_of_the_reader(store: Store) -> None:
    reader = reader_of(store, PROTOCOL, ("B08",))
    batch = next(batches(reader, index(store, PROTOCOL, "train"), 2))
    given, want, truth = split_of(batch)
    assert given.frames["s2"].bands == want.bands == truth.bands == ("B08",)
    assert truth.values.shape[3] == 1


def test_bad_settings(batch: Batch[Sample]) -> None:
    with pytest.raises(InputError, match="members"):
        split_of(batch, members=0)
    with pytest.raises(InputError, match="its task is forecast, which has no conditions"):
        TASK.require_protocol(load_protocol("fusion2-stress"))


def test_the_past_from_the_future_is_the_same_task_with_time_turned_round(store: Store) -> None:
    samples = index(store, PROTOCOL, "train")
    frames = {name: len(store.region(name).times["s2"]) for name in store.regions}
    turned = backward(samples, frames)
    assert backward(turned, frames) == samples
    assert [s.window for s in turned] == [s.window for s in samples]
    batch = next(batches(reader_of(store, PAST), turned, 8))
    given, want, truth = split_of(batch)
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


def test_a_direction_against_the_dates_is_refused(store: Store, batch: Batch[Sample]) -> None:
    frames = {name: len(store.region(name).times["s2"]) for name in store.regions}
    turned = backward(index(store, PROTOCOL, "train"), frames)
    with pytest.raises(InputError, match=r"a forecast of the past: the dates .* run 2017-07-01"):
        reader_of(store, PAST).assemble(batch.samples)
    with pytest.raises(InputError, match=r"a forecast of the future: the dates .* run 2024-07-01"):
        next(batches(reader_of(store, PROTOCOL), turned, 8))
