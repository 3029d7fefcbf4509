"""Windows of a store for a DataLoader: which there are, what they hold, and with workers."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from rsbench.core.dates import day_numbers
from rsbench.core.errors import InputError, UnknownName
from rsbench.store.read import Store
from tests import toys

ASKED: dict[str, Any] = {"split": "train", "window": 24, "context": 2, "leads": (1, 3)}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return toys.write_store(tmp_path_factory.mktemp("store") / "s", regions=4, size=40, years=6)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "windows-cache"))


def test_samples_hold_the_pixels_and_dates_of_the_store(store: Store) -> None:
    made = store.torch_dataset(**ASKED)
    # two regions, 2 × 2 windows (the last ends at the edge), starts at the 2nd and 3rd date
    assert len(made) == 2 * 4 * 2
    sample = next(s for s in (made[i] for i in range(len(made))) if (s["y"], s["x"]) == (16, 16))
    values, valid = store.read_physical(sample["region"], "s2")
    times = day_numbers(store.region(sample["region"]).times["s2"])
    for part, at in (("given", [0, 1]), ("truth", [2, 4])):
        assert sample[part].dtype == torch.float32  # type: ignore[literal-required]
        cut = values[at, :, 16:40, 16:40]
        np.testing.assert_array_equal(sample[part], cut)  # type: ignore[literal-required]
        shown = sample[f"{part}_valid"]  # type: ignore[literal-required]
        np.testing.assert_array_equal(shown, valid[at, 16:40, 16:40])
        assert sample[f"{part}_times"].tolist() == times[at].tolist()  # type: ignore[literal-required]


def test_a_loader_with_workers_gives_the_same_batches(store: Store) -> None:
    made = store.torch_dataset(**{**ASKED, "leads": 2, "stride": 16})
    alone = list(DataLoader(made, batch_size=3))
    several = list(DataLoader(pickle.loads(pickle.dumps(made)), batch_size=3, num_workers=2))
    assert alone[0]["truth"].shape == (3, 2, 4, 24, 24)
    for one, other in zip(alone, several, strict=True):
        assert torch.equal(one["given"], other["given"])
        assert one["region"] == other["region"]


def test_windows_and_dates_that_are_not_there_are_refused(store: Store) -> None:
    with pytest.raises(InputError, match=r"40×40 px and 6 dates, 2017-07-01 to 2022-07-01"):
        store.torch_dataset(**{**ASKED, "window": 41})
    with pytest.raises(InputError, match="no region of train has them"):
        store.torch_dataset(**{**ASKED, "leads": 5})
    for wrong in ({"leads": ()}, {"leads": 0}, {"context": 0}, {"stride": 0}, {"window": 0}):
        with pytest.raises(InputError, match="not positive, or there is no lead"):
            store.torch_dataset(**{**ASKED, **wrong})
    with pytest.raises(UnknownName, match="train"):
        store.torch_dataset(**{**ASKED, "split": "tain"})
    with pytest.raises(UnknownName, match="s2"):
        store.torch_dataset(**{**ASKED, "sensor": "s3"})
