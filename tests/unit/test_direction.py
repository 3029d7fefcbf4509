"""Forecasts of the past: the same path from the protocol's one word to rows and weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toys
import train_toys
from pydantic import ValidationError

import rsbench
from rsbench.catalog import Protocol, load_protocol
from rsbench.models.checkpoint import Checkpoint
from rsbench.models.checkpoint_search import CheckpointQuery, fitting_checkpoints
from rsbench.models.noise import Noise
from rsbench.models.registry import create_model
from rsbench.store.cache import open_cache
from rsbench.store.layout import SensorArrays
from rsbench.store.read import Store, open_store
from rsbench.store.write import finalise, write_region
from rsbench.training.data import Crops

SIZE = 32
LEADS = 3


def turned(arrays: SensorArrays) -> SensorArrays:
    """The same frames in the opposite order, under the same ascending dates."""
    return replace(
        arrays, values=arrays.values[::-1].copy(), valid=arrays.valid[::-1].copy(),
        n_valid=arrays.n_valid[::-1].copy(),
    )  # fmt: skip


def written(root: Path, *, turn: bool) -> Store:
    metas = {"s2": toys.sensor_meta()}
    names = []
    for i, split in enumerate(("train", "train", "val", "test", "test")):
        record = toys.record(i, split=split)
        arrays = toys.arrays(i, size=SIZE, floor=False)
        write_region(root, record, {"s2": turned(arrays) if turn else arrays}, metas)
        names.append(record.name)
    meta = toys.store_meta(metas, simulated=False, simulation=None)
    finalise(root, meta, regions=names)
    return open_store(root)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))


def test_the_past_scores_as_the_future_of_frames_turned_round(tmp_path: Path) -> None:
    """Persistence, median and damping know elapsed time alone: every value is the same."""
    forward = rsbench.evaluate(
        create_model("persistence"), written(tmp_path / "b", turn=True), "year3", suite="mse@1"
    ).table()
    past = rsbench.evaluate(
        create_model("persistence"), written(tmp_path / "a", turn=False), "year3-past",
        suite="mse@1",
    ).table()  # fmt: skip
    keys = ["model", "metric", "band", "lead", "stratum"]
    both = forward.merge(past, on=keys, suffixes=("_forward", "_past"))
    assert len(forward) == len(past)
    both = both[(both["stratum"] == "all") & (both["metric"] == "mse@1")]
    assert set(past["protocol"]) == {f"year3-past/w{SIZE}"}
    for name in ("persistence", "climatology", "linear_trend", "damped_persistence"):
        rows = both[both["model"] == name]
        assert len(rows) == LEADS * (1 + len(toys.BANDS))
        # A leap day stands elsewhere in a line, and in the days of a fitted lead.
        exact = name in ("persistence", "climatology")
        np.testing.assert_allclose(
            rows["value_forward"], rows["value_past"], rtol=1e-9 if exact else 0.05
        )


def test_training_crops_run_backward(tmp_path: Path, toy: None) -> None:
    store = train_toys.store(tmp_path / "toy")
    past = train_toys.protocol(direction="past")
    result = train_toys.run(train_toys.model(), store, protocol=past, budget="4steps")
    ahead = train_toys.run(train_toys.model(), store, budget="4steps")
    note = Checkpoint.load(result.checkpoint)
    assert note.scheme == "space-past"
    assert result.checkpoint.parent != ahead.checkpoint.parent
    assert train_toys.digest(result) != train_toys.digest(ahead)
    found = fitting_checkpoints(CheckpointQuery(
        model="toy", preset="default", digest=store.digest, split=past.trained_for, seed=0,
        context=1, budget="4steps",
    ))  # fmt: skip
    assert found.same == (result.checkpoint,)


def test_every_crop_asks_for_the_frames_just_before(
    tmp_path: Path, toy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = train_toys.store(tmp_path / "toy")
    made: list[Crops] = []
    real = Crops.__init__

    def kept(self: Crops, *parts: object) -> None:
        real(self, *parts)  # type: ignore[arg-type]
        made.append(self)

    monkeypatch.setattr(Crops, "__init__", kept)
    train_toys.run(
        train_toys.model(), store, protocol=train_toys.protocol(direction="past"), context=2,
        budget="2steps",
    )  # fmt: skip
    starts = set()
    for step in range(20):
        for sample in made[0].draw(0, step, 4):
            whole = (*sample.context, *sample.targets)
            assert list(whole) == list(range(whole[0], whole[0] - len(whole), -1))
            starts.add(sample.start)
    assert min(starts) == 1
    assert max(starts) == 7
    training_batch = made[0].training_batch(made[0].draw(0, 0, 4), Noise(0))
    frames = training_batch.given.frames["s2"]
    assert bool((training_batch.want.times[:, :1] < frames.times[:, -1:]).all())
    assert open_cache(store, "s2").store.digest == store.digest


def test_the_past_is_for_forecasts_with_regions_apart() -> None:
    whole = load_protocol("year3-past").model_dump()
    with pytest.raises(ValidationError, match="direction past"):
        Protocol.model_validate({**whole, "scheme": "time"})


@pytest.fixture
def toy() -> Iterator[None]:
    with train_toys.toy_card():
        yield
