"""A run keeps its predictions, and scores them again without predicting."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toys
from support.kept_stores import kept

from rsbench.core.digest import sealed
from rsbench.core.errors import InputError
from rsbench.evaluation import report
from rsbench.evaluation.run import RunRequest, run_model, train_model
from rsbench.evaluation.scores import Scores
from rsbench.models.api import SampleRef, Want
from rsbench.models.prediction_cache import Array, PredictionCache
from rsbench.store.read import open_store
from rsbench.tasks import batches as loader
from rsbench.tasks.base import Reader
from rsbench.tasks.forecast.samples import Sample
from rsbench_baselines.simvp.model import SimVPModel

kept_store = kept(toys.write_store)


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "write_report", lambda runs, out, **_: out.write_text(""))


@pytest.fixture
def request_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunRequest:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    kept_store(tmp_path / "toy", size=32, years=4, simulated=False, simulation=None)
    return RunRequest(
        model="simvp", preset="tiny", data=tmp_path / "toy", horizon=2, budget="2steps",
        keep="all", out=tmp_path / "run",
    )  # fmt: skip


def refuse(*_: object) -> None:
    raise AssertionError("the model was asked")


def test_kept_predictions_are_scored_without_the_model(
    request_: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    first = run_model(request_, note=said.append)
    size = next(line for line in said if line.startswith("keeping"))
    folder = Path(size.rsplit(" in ", 1)[1])
    files = list(folder.glob("*.npy"))
    assert f"keeping {len(files)} predictions" in size
    assert sum(f.stat().st_size for f in files) <= 1e6 * float(size.split("most ")[1].split()[0])
    shutil.rmtree(first.out)
    monkeypatch.setattr(SimVPModel, "predict", refuse)
    again = run_model(request_)
    assert first.scores.units.equals(again.scores.units)
    other = replace(request_, suite="pixel", out=request_.out and request_.out.parent / "other")
    some = run_model(other).scores.table()
    whole = first.scores.table()
    key = ["model", "metric", "band", "stratum", "lead"]
    both = some.dropna(subset="value").merge(whole, on=key, suffixes=("", "_whole"))
    assert len(both) > 0
    assert (both["value"] == both["value_whole"]).all()


def test_only_what_is_missing_is_predicted(
    request_: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    first = run_model(request_, note=said.append)
    folder = Path(next(x for x in said if x.startswith("keeping")).rsplit(" in ", 1)[1])
    files = sorted(folder.glob("*.npy"))
    files[0].unlink()
    shutil.rmtree(first.out)
    calls = []
    predict = SimVPModel.predict
    monkeypatch.setattr(
        SimVPModel, "predict", lambda self, *a: calls.append(1) or predict(self, *a)
    )
    again = run_model(request_)
    assert 0 < len(calls) <= 2  # one batch, lead by lead
    assert first.scores.units.equals(again.scores.units)
    assert sorted(folder.glob("*.npy")) == files


def test_predictions_of_another_device_are_not_mixed_in(request_: RunRequest) -> None:
    said: list[str] = []
    first = run_model(request_, note=said.append)
    folder = Path(next(x for x in said if x.startswith("keeping")).rsplit(" in ", 1)[1])
    (folder / "made.json").write_text(json.dumps(sealed({"device": "cuda"})))
    shutil.rmtree(first.out)
    assert Scores.load(run_model(request_).out).run.device == "cuda"  # all are there: scored
    shutil.rmtree(first.out)
    next(iter(folder.glob("*.npy"))).unlink()
    with pytest.raises(InputError, match="made on cuda, and some are absent"):
        run_model(request_)


def test_nothing_is_kept_unless_asked(request_: RunRequest, tmp_path: Path) -> None:
    run_model(replace(request_, keep="viewer"))
    assert not (tmp_path / "cache" / "predictions").exists()
    said: list[str] = []
    trivial = replace(request_, model="persistence", preset=None, out=tmp_path / "p", budget=None)
    run_model(trivial, note=said.append)
    assert not (tmp_path / "cache" / "predictions").exists()
    assert any("none are kept" in line for line in said)


def test_a_run_says_which_weights_it_takes_and_which_it_passes_over(
    request_: RunRequest, tmp_path: Path
) -> None:
    other = train_model(replace(request_, budget="1steps"))
    said: list[str] = []
    run_model(request_, note=said.append)
    assert "; weights trained within 2steps; data " in said[0]
    assert f"passed over, trained within 1steps: give --checkpoint {other} to score it" in said
    assert any("trained first, within 2steps" in line for line in said)
    said.clear()
    named = replace(request_, out=tmp_path / "named", keep="none", checkpoint=other, budget=None)
    run_model(named, note=said.append)
    assert f"; weights of {other}; data " in said[0]
    assert not any("trained first" in line for line in said)


class Counted:
    """A kept prediction that counts how often each of its leads is read."""

    def __init__(self, values: Array, reads: Counter[int]) -> None:
        self._values, self._reads = values, reads

    def __getitem__(self, lead: int) -> Array:
        self._reads[lead] += 1
        return self._values[lead]


def test_scoring_again_reads_each_pixel_once(
    request_: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the metrics and the rows: one read of each prediction and of each truth."""
    run_model(request_)
    predicted: dict[Path, Counter[int]] = {}
    truths: Counter[tuple[str, str, int, int]] = Counter()
    read, pick = PredictionCache.read, loader.batches

    def counted(self: PredictionCache, sample: SampleRef, want: Want) -> Counted:
        path = self.path(sample, want)
        assert path not in predicted, "opened twice"
        found = read(self, sample, want)
        assert found is not None
        return Counted(found, predicted.setdefault(path, Counter()))

    def batches(
        source: Reader[Sample], samples: Sequence[Sample], *args: Any, **options: Any
    ) -> Any:
        for batch in pick(source, samples, *args, **options):
            if batch.samples[0].region in store.split("test"):
                truths.update((s.region, s.key, s.window.y, s.window.x) for s in batch.samples)
            yield batch

    store = open_store(request_.data or Path())
    monkeypatch.setattr(SimVPModel, "predict", refuse)
    monkeypatch.setattr(PredictionCache, "read", counted)
    monkeypatch.setattr(loader, "batches", batches)
    other = (request_.out or Path()).parent / "again"
    run_model(replace(request_, suite="standard,change,mae.clip@1", out=other))
    assert len(predicted) == len(truths) > 1
    assert all(reads == {0: 1, 1: 1} or reads == {0: 1} for reads in predicted.values())
    assert any(len(reads) == 2 for reads in predicted.values())
    assert set(truths.values()) == {1}
