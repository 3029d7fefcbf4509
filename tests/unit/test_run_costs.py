"""Costs stand in run.json and on the page, with a reason where one is not known."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import toys
from scores_fixtures import make_scores, save_run

from rsbench.evaluation import costs
from rsbench.evaluation.report import boards, write_report
from rsbench.evaluation.run import RunRequest, run_model


def test_a_run_records_costs_of_every_model(tmp_path: Path) -> None:
    store = toys.write_store(
        tmp_path / "toy.zarr", regions=4, size=32, years=4, simulated=False, simulation=None
    )
    asked = RunRequest(
        "persistence", data=store.path, horizon=1, suite="mse@1", keep="none",
        out=tmp_path / "run",
    )  # fmt: skip
    run_model(asked)
    told = json.loads((tmp_path / "run" / "run.json").read_text())["costs"]
    own = next(one for one in told if one["model"] == "persistence")
    assert own["prediction_seconds"] > 0
    assert own["device"].startswith("cpu, ")
    assert own["training_seconds"] is None
    assert own["parameters"] == 0
    assert own["why"] == {
        "training_seconds": "nothing is trained",
        **({} if own["peak_bytes"] else {"peak_bytes": "it is not measured on this system"}),
    }  # fmt: skip
    assert not own["peak_bytes"] or own["peak_bytes"] > 1e7
    assert {one["model"] for one in told}.isdisjoint({"oracle", "floor"})
    found = boards([tmp_path / "run"])[0].costs["persistence", "default"]
    assert found.prediction_seconds == own["prediction_seconds"]


def test_memory_is_unknown_where_the_kernel_does_not_tell_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert costs._high_water(tmp_path / "none") is None
    costs._write(tmp_path / "none" / "refs", "5")  # no error
    monkeypatch.setattr(costs, "_high_water", lambda path: None)
    assert costs.Meter(torch.device("cpu")).peak() is None


def test_earlier_runs_and_bounds_give_their_reason(tmp_path: Path) -> None:
    known = costs.Cost("simvp", "tiny", 1_234_567, 75.0, 0.0123, None, "cpu, 2 threads",
                       {"peak_bytes": "it is not measured on this system"})  # fmt: skip
    run = {"extra": {"costs": [{**vars(known), "later": 1}]}}
    text = write_report(
        [save_run(tmp_path / "run", make_scores(run, regions=2))], tmp_path / "r.html"
    ).read_text()
    found = re.search(r'<script type="application/json" data-scores="b0">(.*?)</script>', text)
    assert found is not None
    data = json.loads(found[1])
    by_name = dict(zip((m["model"] for m in data["models"]), data["costs"], strict=True))
    assert by_name["simvp"]["parameters"] == 1_234_567
    assert "peak_bytes" not in by_name["simvp"]
    assert by_name["simvp"]["why"]["peak_bytes"] == "it is not measured on this system"
    assert by_name["persistence"]["why"]["parameters"] == "the run did not record it"
    assert by_name["oracle"]["why"]["device"] == "no model predicts it"


def test_training_counts_where_the_checkpoint_states_it() -> None:
    known = costs.Made(7, None, {"training_seconds": "its training is not known"})
    trained = known.by(SimpleNamespace(imported=None, seconds=12.5))  # type: ignore[arg-type]
    assert (trained.training_seconds, trained.why) == (12.5, {})
    imported = known.by(SimpleNamespace(imported="a.pth", seconds=0.0))  # type: ignore[arg-type]
    assert imported.training_seconds is None
    assert imported.why["training_seconds"] == "its weights were trained by another program"
    assert known.by(None) is known
