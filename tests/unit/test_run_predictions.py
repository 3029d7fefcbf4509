"""A run keeps its predictions, and scores them again without predicting."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import toys

from rsbench.errors import InputError
from rsbench.run import RunRequest, run_model
from rsbench.scores import Scores
from rsbench_baselines.simvp.model import SimVPModel


@pytest.fixture
def request_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunRequest:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    toys.write_store(tmp_path / "toy", size=32, years=4, simulated=False, simulation=None)
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
    (folder / "made.json").write_text('{"device": "cuda"}')
    shutil.rmtree(first.out)
    assert Scores.load(run_model(request_).out).run.device == "cuda"  # all are there: scored
    shutil.rmtree(first.out)
    next(iter(folder.glob("*.npy"))).unlink()
    with pytest.raises(InputError, match="made on cuda and some are absent"):
        run_model(request_)


def test_nothing_is_kept_unless_asked(request_: RunRequest, tmp_path: Path) -> None:
    run_model(replace(request_, keep="viewer"))
    assert not (tmp_path / "cache" / "predictions").exists()
    said: list[str] = []
    trivial = replace(request_, model="persistence", preset=None, out=tmp_path / "p", budget=None)
    run_model(trivial, note=said.append)
    assert not (tmp_path / "cache" / "predictions").exists()
    assert any("no predictions are kept" in line for line in said)
