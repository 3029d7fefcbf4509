"""Too little memory for a batch of predictions: fewer samples at once, and the same rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import toys

import rsbench
from rsbench.core.errors import InputError
from rsbench.models.api import Card, Given, Prediction, PresetInfo, Want
from rsbench.models.registry import adopt, extra
from rsbench.store.read import Store

CARD = Card(
    "narrow", "forecast", "the last frame and a little noise", {"default": PresetInfo(0, 0)},
    "none:none", "none", "none", rollout="step",
)  # fmt: skip


class Narrow:
    """Answers so many samples at once, and runs out of memory with more, or at a late lead."""

    def __init__(self, room: int, late: int = 0) -> None:
        self.room, self.late = room, late
        self.seen: list[int] = []
        self.calls = 0

    def predict(self, given: Given, want: Want) -> Prediction:
        self.calls += 1
        if len(want.samples) > self.room and self.calls > self.late:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.seen.append(len(want.samples))
        last = given.frames[want.sensor].values[:, :, -1:]
        fresh = want.noise.normal("n", want, channels=last.shape[3])[:, :, None]
        return Prediction(last + 0.01 * fresh)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("stores") / "toy"
    return toys.write_store(path, size=64, years=4, simulated=False, simulation=None)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))


def value(model: Narrow, store: Store) -> dict[int, float]:
    with extra(CARD):
        adopt(model, CARD)
        table = rsbench.evaluate(
            model, store, "year1", horizon=3, context=1, members=2, suite="mse@1"
        ).table()
    own = table[
        (table["model"] == "narrow") & (table["metric"] == "mse@1") & (table["band"] == "all")
        & (table["stratum"] == "all")
    ]  # fmt: skip
    return dict(zip(own["lead"], own["value"], strict=True))


@pytest.mark.parametrize("late", [0, 1])
def test_a_batch_that_does_not_fit_is_halved_and_scored_alike(store: Store, late: int) -> None:
    wide, narrow = Narrow(room=100), Narrow(room=1, late=late)
    expected, found = value(wide, store), value(narrow, store)
    assert max(wide.seen) > 1
    assert found == pytest.approx(expected, rel=1e-5)
    assert len(found) == 3
    assert narrow.seen[-1] == 1


def test_not_even_one_sample(store: Store) -> None:
    with pytest.raises(InputError, match="fewer --members"):
        value(Narrow(room=0), store)
