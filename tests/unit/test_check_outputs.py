"""`rsbench check` as JSON, JUnit XML and Markdown of a step summary."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from scores_fixtures import MODELS, make_scores, save_run

from rsbench.cli.exit_codes import run_app
from rsbench.evaluation.gate import CheckResult, Finding, check
from rsbench.evaluation.gate.outputs import MOST, to_json, to_junit, to_summary
from rsbench.evaluation.scores import Scores

KEPT: dict[str, Any] = {"metrics": ("mse@1", "psnr@1"), "bands": ("all",)}
KEY = ("simvp", "tiny", "s2 k=3", "mse@1", "all", 1, "all")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    save_run(root / "good", make_scores(**KEPT))
    save_run(
        root / "worse", make_scores(models={**MODELS, "simvp": ("model", "tiny", 0.9)}, **KEPT)
    )
    return root


def test_a_regression_fails_the_cases_of_its_rows(runs: Path) -> None:
    found = check(runs / "worse", runs / "good")
    suite = ElementTree.fromstring(to_junit(found))
    failed = [case for case in suite if case.find("failure") is not None]
    assert (suite.get("tests"), suite.get("failures")) == (str(len(found.rows)), str(len(failed)))
    assert 0 < len(failed) < len(found.rows)
    assert {case.get("classname") for case in failed} == {"simvp.tiny"}
    assert "worse by" in str(failed[0][0].get("message"))
    rows = to_json(found)["findings"]
    assert {row["model"] for row in rows if row["state"] == "regressed"} == {"simvp"}
    assert "| regressed | simvp/tiny" in to_summary(found)


def test_a_waived_row_is_skipped_and_an_absent_one_is_an_error() -> None:
    other = (*KEY[:3], "psnr@1", *KEY[4:])
    findings = (Finding("leak", "beats the oracle"), Finding("waived", "known", KEY),
                Finding("not there", "no row", other), Finding("note", "a\nb"))  # fmt: skip
    suite = ElementTree.fromstring(to_junit(CheckResult(1, "regressed", findings, (KEY, other))))
    counts = [suite.get(name) for name in ("tests", "failures", "errors", "skipped")]
    assert counts == ["3", "1", "1", "1"]
    assert [child.tag for case in suite for child in case] == ["skipped", "error", "failure"]


def test_a_summary_is_limited_and_its_cells_are_escaped() -> None:
    many = tuple(Finding("note", f"a | <b> {i}") for i in range(MOST + 2))
    text = to_summary(CheckResult(0, "pass", many))
    assert "2 more are in the log" in text
    assert "| note | a \\| &lt;b> 0 |" in text
    assert len(text.splitlines()) == MOST + 6


def test_the_command_writes_what_a_workflow_reads(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    summary, junit = tmp_path / "summary.md", tmp_path / "gate.xml"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    words = ["check", str(runs / "worse"), "--against", str(runs / "good")]
    monkeypatch.setattr(sys, "argv", ["rsbench", *words, "--junit", str(junit), "--json"])
    assert run_app() == 1
    assert json.loads(capsys.readouterr().out)["exit_code"] == 1
    assert summary.read_text().startswith("before\n### rsbench check: regressed")
    assert ElementTree.parse(junit).getroot().get("name") == "rsbench check"


def test_a_file_that_cannot_be_written_is_named(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "no").write_text("no folder")
    for option in ("--junit", "--summary"):
        words = ["check", str(runs / "good"), "--against", str(runs / "good"), option]
        monkeypatch.setattr(sys, "argv", ["rsbench", *words, str(tmp_path / "no" / "file")])
        assert run_app() == 2
        assert option in capsys.readouterr().err


def test_a_table_is_printed_as_json(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["rsbench", "table", str(runs / "good"), "--json"])
    assert run_app() == 0
    rows = json.loads(capsys.readouterr().out)
    table = Scores.load(runs / "good").table()
    assert [row["lead"] for row in rows] == table["lead"].tolist()
    assert [row["value"] is None for row in rows] == table["value"].isna().tolist()
