"""Batches: right pixels, physical units, the order of the samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from rsbench.catalog import load_protocol
from rsbench.core.errors import InputError, StoreError, UnknownName
from rsbench.store.cache import open_cache
from rsbench.store.read import Store
from rsbench.tasks.batches import batches, plan
from rsbench.tasks.forecast.samples import Sample, index
from tests import toys
from tests.task_readers import reader_of


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSBENCH_CACHE", str(tmp_path_factory.mktemp("home")))
        yield toys.write_store(tmp_path_factory.mktemp("loader") / "s", regions=4, invalid=0.1)


@pytest.fixture(scope="module")
def samples(store: Store) -> tuple[Sample, ...]:
    small = load_protocol("year3").model_copy(update={"window": 32, "stride": 32})
    return index(store, small, "train")


def test_shapes_types_and_dates(store: Store, samples: tuple[Sample, ...]) -> None:
    batch = next(batches(reader_of(store), samples, 4))
    context, truth = batch.given["s2"], batch.truth
    assert context.values.shape == (4, 1, 3, 4, 32, 32)
    assert context.valid.shape == (4, 1, 3, 1, 32, 32)
    assert truth.values.shape == (4, 1, 3, 4, 32, 32)
    assert truth.valid.shape == (4, 1, 3, 1, 32, 32)
    assert context.values.dtype == truth.values.dtype == torch.float32
    assert context.valid.dtype == truth.valid.dtype == torch.bool
    assert context.times.dtype == truth.times.dtype == torch.int64
    assert context.times[0].tolist() == [17348, 17713, 18078]  # 1 July 2017, 2018, 2019
    assert truth.times[0, 0].item() == 18444
    assert context.bands == truth.bands == toys.BANDS


def test_pixels_are_those_of_the_store(store: Store, samples: tuple[Sample, ...]) -> None:
    for batch in batches(reader_of(store, bands=("B08", "B02")), samples, 5):
        for row, sample in enumerate(batch.samples):
            values, valid = store.read_physical(sample.region, "s2", window=sample.window)
            for indices, found, seen in (
                (sample.context, batch.given["s2"].values[:, 0], batch.given["s2"].valid[:, 0]),
                (sample.targets, batch.truth.values[:, 0], batch.truth.valid[:, 0]),
            ):
                assert np.array_equal(found[row].numpy(), values[list(indices)][:, [3, 0]])
                assert np.array_equal(seen[row, :, 0].numpy(), valid[list(indices)])
            grid = store.region(sample.region).grids["s2"].window(sample.window)
            assert batch.grids["s2"][row] == grid


def test_invalid_pixels_are_zero(store: Store, samples: tuple[Sample, ...]) -> None:
    batch = next(batches(reader_of(store), samples, 8))
    assert not batch.given["s2"].valid.all()
    for frames in (batch.given["s2"], batch.truth):
        assert (frames.values[~frames.valid.expand_as(frames.values)] == 0).all()


def test_every_sample_comes_once_and_shapes_never_mix(
    store: Store, samples: tuple[Sample, ...]
) -> None:
    seen = []
    for batch in batches(reader_of(store), samples, 7):
        assert len({len(s.targets) for s in batch.samples}) == 1
        assert batch.truth.values.shape[0] == len(batch.samples) <= 7
        seen += batch.samples
    assert sorted(seen, key=repr) == sorted(samples, key=repr)


def test_the_order_is_that_of_the_samples() -> None:
    from rsbench.core.grid import Window

    w = Window(0, 0, 8, 8)
    made = [
        Sample("r", w, (i,), tuple(range(i + 1, i + 1 + n))) for i, n in enumerate([2, 2, 1, 2])
    ]
    assert [[s.start for s in part] for part in plan(made, 2, lambda s: len(s.targets))] == [
        [0, 1],
        [3],
        [2],
    ]


def test_context_and_truth_share_no_memory(store: Store, samples: tuple[Sample, ...]) -> None:
    batch = next(batches(reader_of(store), samples, 2))
    context, truth = batch.given["s2"].values, batch.truth.values
    assert context.untyped_storage().data_ptr() != truth.untyped_storage().data_ptr()
    assert context.untyped_storage().nbytes() == context.numel() * 4
    before = context.clone()
    truth.fill_(9)
    assert torch.equal(context, before)


def test_a_cache_that_is_damaged_in_use_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "home"))
    made = toys.write_store(tmp_path / "s", regions=2)
    listed = index(made, load_protocol("year3").model_copy(update={"window": 64}), "train")
    reader = reader_of(made)
    (open_cache(made).info.path / "toy-01.valid.npy").unlink()
    with pytest.raises(StoreError, match="changed while in use"):
        list(batches(reader, listed, 2))


def test_bad_arguments(store: Store, samples: tuple[Sample, ...]) -> None:
    with pytest.raises(InputError, match="batch size"):
        batches(reader_of(store), samples, 0)
    with pytest.raises(UnknownName, match="B08"):
        reader_of(store, bands=("B8",))


def test_a_batch_moves_to_a_device(store: Store, samples: tuple[Sample, ...]) -> None:
    moved = next(batches(reader_of(store), samples, 2)).to("meta")
    assert moved.truth.values.device.type == moved.given["s2"].valid.device.type == "meta"
    assert moved.samples == samples[:2]
