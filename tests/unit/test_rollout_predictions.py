"""Kept predictions: found again by content, whole or absent, counted before."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rsbench.core.errors import UnknownName
from rsbench.models.api import Card, Given, Prediction, PresetInfo, Want
from rsbench.models.contract_data import SENSOR, Samples, Shape, make_samples, rows
from rsbench.models.prediction_cache import PredictionCache, PredictionKey
from rsbench.models.rollout import roll

CARD = Card(
    "m", "forecast", "m", {"default": PresetInfo(0, 0)}, "m:build", "-", "-", rollout="step"
)
KEY = PredictionKey("d" * 64, "year7", "test", "m", "default", 0, "32-true", 2, 4, 2)


class Counting:
    def __init__(self) -> None:
        self.calls = 0

    def predict(self, given: Given, want: Want) -> Prediction:
        self.calls += 1
        values = given.frames[SENSOR].values[:, :, -1:].expand(-1, want.members, -1, -1, -1, -1)
        return Prediction(values + want.noise.normal("n", want, channels=2)[:, :, None])


def samples() -> Samples:
    return make_samples(Shape(samples=3, context=2, leads=4, bands=2, side=8), members=2)


def everything(cache: PredictionCache, model: Counting, data: Samples) -> torch.Tensor:
    return torch.cat([p.values for _, p in cache.roll(model, CARD, data.given, data.want)], dim=2)


def test_the_second_time_nothing_is_predicted(tmp_path: Path) -> None:
    data, model = samples(), Counting()
    cache = PredictionCache(tmp_path, KEY, keep="all")
    first = everything(cache, model, data)
    assert model.calls == 4
    again = everything(PredictionCache(tmp_path, KEY, keep="all"), model, data)
    assert model.calls == 4
    assert torch.equal(first, again)
    bare = torch.cat([p.values for _, p in roll(model, CARD, data.given, data.want)], dim=2)
    assert torch.equal(first, bare)
    # Another order of the same samples is served from the same files.
    part = rows(data, [2, 0])
    served = everything(cache, model, replace(part, want=part.want))
    assert torch.equal(served, first[[2, 0]])
    assert model.calls == 8


@pytest.mark.parametrize(
    "change",
    [{"dataset": "e" * 64}, {"seed": 1}, {"weights": "w"}, {"options": {"a": 1}}, {"preset": "x"},
     {"precision": "bf16-mixed"}, {"horizon": 5}, {"code": "2"}],
)  # fmt: skip
def test_whatever_a_prediction_depends_on_makes_another_key(
    change: dict[str, object], tmp_path: Path
) -> None:
    other = replace(KEY, **change)  # type: ignore[arg-type]
    assert other.digest != KEY.digest
    data, model = samples(), Counting()
    everything(PredictionCache(tmp_path, KEY, keep="all"), model, data)
    everything(PredictionCache(tmp_path, other, keep="all"), model, data)
    assert model.calls == 8


def test_none_writes_nothing_and_viewer_what_was_chosen(tmp_path: Path) -> None:
    data, model = samples(), Counting()
    everything(PredictionCache(tmp_path, KEY, keep="none"), model, data)
    assert list(tmp_path.iterdir()) == []
    cache = PredictionCache(tmp_path, KEY, keep="viewer", chosen=lambda s: s.region == "region-2")
    everything(cache, model, data)
    (file,) = cache.folder.glob("*.npy")
    assert "region-2" in file.name
    assert (cache.folder / "key.json").is_file()
    with pytest.raises(UnknownName, match="keep-predictions"):
        PredictionCache(tmp_path, KEY, keep="some")


def test_the_estimate_is_what_the_files_take(tmp_path: Path) -> None:
    data, model = samples(), Counting()
    cache = PredictionCache(tmp_path, KEY, keep="all")
    expected = cache.estimate(data.want.samples, bands=2)
    everything(cache, model, data)
    assert sum(f.stat().st_size for f in cache.folder.glob("*.npy")) == expected


def test_a_stop_in_the_middle_leaves_no_half_file(tmp_path: Path) -> None:
    data, model = samples(), Counting()
    cache = PredictionCache(tmp_path, KEY, keep="all")
    leads = cache.roll(model, CARD, data.given, data.want)
    next(leads)
    next(leads)
    leads.close()  # type: ignore[attr-defined]
    assert sorted(f.name for f in cache.folder.iterdir()) == ["key.json", "made.json"]


def test_a_model_that_fails_late_leaves_no_half_file(tmp_path: Path) -> None:
    class Late(Counting):
        def predict(self, given: Given, want: Want) -> Prediction:
            if self.calls == 2:
                raise KeyboardInterrupt
            return super().predict(given, want)

    data = samples()
    cache = PredictionCache(tmp_path, KEY, keep="all")
    with pytest.raises(KeyboardInterrupt):
        everything(cache, Late(), data)
    assert sorted(f.name for f in cache.folder.iterdir()) == ["key.json", "made.json"]


@pytest.mark.parametrize("damage", ["cut", "pickle", "shape"])
def test_a_damaged_file_is_predicted_again(tmp_path: Path, damage: str) -> None:
    data, model = samples(), Counting()
    cache = PredictionCache(tmp_path, KEY, keep="all")
    first = everything(cache, model, data)
    file = cache.path(data.want.samples[0], data.want)
    if damage == "cut":
        os.truncate(file, file.stat().st_size - 100)
    elif damage == "pickle":
        np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    else:
        np.save(file, np.zeros((4, 2, 2, 8, 7), np.float32))
    assert torch.equal(everything(cache, model, data), first)
    assert model.calls == 8
    assert cache.read(data.want.samples[0], data.want) is not None


def test_other_dates_or_bands_are_other_files(tmp_path: Path) -> None:
    data = samples()
    cache = PredictionCache(tmp_path, KEY, keep="all")
    sample = data.want.samples[0]
    paths = {
        cache.path(sample, data.want),
        cache.path(sample, replace(data.want, times=data.want.times + 365)),
        cache.path(sample, replace(data.want, bands=("band1",))),
        cache.path(data.want.samples[1], data.want),
    }
    assert len(paths) == 4


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error_and_not_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, model = samples(), Counting()
    cache = PredictionCache(tmp_path, KEY, keep="all")
    real = Path.open

    def full(self: Path, mode: str = "r", *rest: object, **more: object) -> object:
        target = Path("/dev/full") if ".npy" in self.name and "w" in mode else self
        return real(target, mode, *rest, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left"):
        everything(cache, model, data)
    monkeypatch.undo()
    assert list(cache.folder.glob("*.npy")) == []
