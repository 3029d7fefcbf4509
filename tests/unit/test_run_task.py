"""The task is stored with results; results without one have that of their protocol."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import scores_fixtures

from rsbench.evaluation.report import write_report
from rsbench.evaluation.run_info import RunInfo
from rsbench.evaluation.scores import Scores
from rsbench.evaluation.table import to_latex, to_markdown


def old(protocol: str, **changes: object) -> RunInfo:
    """Return a run read from a file that states no task."""
    value = scores_fixtures.make_run().to_json()
    del value["task"]
    return RunInfo.from_json({**value, "protocol": protocol, **changes})


@pytest.mark.parametrize(
    ("protocol", "task"),
    [("fusion2/w64", "fusion"), ("year7", "forecast"), ("unknown-protocol", "forecast")],
)
def test_an_old_file_has_the_task_of_its_protocol(protocol: str, task: str) -> None:
    assert old(protocol).task == task


def test_the_stored_task_is_read_again() -> None:
    run = replace(scores_fixtures.make_run(), task="fusion")
    assert RunInfo.from_json(run.to_json()).task == "fusion"
    assert run.identity()["task"] == "fusion"


def test_inputs_that_mention_references_make_no_fusion_table(tmp_path: Path) -> None:
    made = scores_fixtures.make_scores()
    inputs = {"simvp": "s2 k=1, n_refs=2 rasters of its own"}
    scores = Scores(made.units, replace(made.run, inputs=inputs))
    assert scores.run.task == "forecast"
    text = to_markdown(scores.table(), scores=[scores])
    assert "year +1" in text
    assert "target date" not in text
    scores.save(tmp_path / "run")
    write_report([tmp_path / "run"], tmp_path / "report.html")
    assert "One metric, every lead" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_table_of_a_protocol_file_has_the_words_of_the_stored_task() -> None:
    made = scores_fixtures.make_scores()
    scores = Scores(made.units, replace(made.run, task="fusion", protocol="mine+0123456789ab"))
    for text in (
        to_markdown(scores.table(), scores=[scores]),
        to_latex(scores.table(), scores=[scores]),
    ):
        assert "target date" in text
        assert "year +1" not in text


@pytest.mark.parametrize(
    ("step", "starts", "named"),
    [
        ("P1Y", ("2017-07-01",), "year +3 (2020)"),
        ("P1Y", ("2017-07-01", "2018-07-01"), "year +3"),
        ("P5Y", ("1990-07-01",), "year +15 (2005)"),
        ("P16D", ("2017-07-01",), "day +48"),
        ("irregular", ("2017-07-01",), "lead 3"),
    ],
)
def test_a_lead_time_is_named_by_its_date(step: str, starts: tuple[str, ...], named: str) -> None:
    run = replace(scores_fixtures.make_run(), step=step, starts=starts)
    assert run.words.lead(3) == named
    fusion = replace(run, task="fusion")
    assert fusion.words.lead(3) == "target date"
