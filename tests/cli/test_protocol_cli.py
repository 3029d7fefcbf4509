"""A protocol file on the command line: run, train, export-task and table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import toys
from support.shell import rsbench

TEXT = """\
name: mine
description: One year ahead.
context: 1
horizon: 1
window: 32
stride: 32
suite: [mae@1, mse@1]
primary: {metric: mae@1, score: value, leads: [1]}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    toys.write_store(folder / "toy", regions=4, size=32, years=3, simulation=None, floor=False)
    (folder / "mine.yaml").write_text(TEXT, encoding="utf-8")
    (folder / "wrong.yaml").write_text(TEXT.replace("stride:", "strides:"), encoding="utf-8")
    return folder


def test_a_run_under_a_file_names_protocol_and_primary_endpoint(place: Path) -> None:
    run = ("run", "--model", "persistence", "--data", "toy", "--keep-predictions", "none")
    done = rsbench(place, *run, "--protocol", "mine.yaml", "--out", "run")
    assert done.returncode == 0, done.stderr
    stored = json.loads((place / "run" / "run.json").read_text(encoding="utf-8"))
    assert stored["protocol"].startswith("mine+")
    assert stored["primary"] == {"metric": "mae@1", "score": "value", "leads": [1]}
    shown = rsbench(place, "table", "run").stdout
    assert f"protocol {stored['protocol']}" in shown
    assert "primary endpoint: mae@1 (stated by the protocol)" in shown
    assert shown.index("### mae@1") < shown.index("### mse@1")
    page = (place / "run" / "report.html").read_text(encoding="utf-8")
    assert "mae@1 (stated by the protocol)" in page


def test_training_and_exporting_take_a_file(place: Path) -> None:
    done = rsbench(
        place, "train", "--model", "simvp", "--preset", "tiny", "--data", "toy", "--protocol",
        "mine.yaml", "--budget", "2steps",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = rsbench(place, "export-task", "toy", "task", "--protocol", "mine.yaml")
    assert done.returncode == 0, done.stderr
    task = json.loads((place / "task" / "task.json").read_text(encoding="utf-8"))
    assert task["protocol"].startswith("mine+")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("wrong.yaml", "wrong.yaml:6: there is no key 'strides' here. Did you mean stride"),
        ("absent.yaml", "absent.yaml: the file cannot be read"),
        ("yaer3", "Did you mean year3"),
    ],
)
def test_a_protocol_that_cannot_be_read_is_one_sentence(place: Path, name: str, says: str) -> None:
    done = rsbench(place, "run", "--model", "persistence", "--data", "toy", "--protocol", name)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
