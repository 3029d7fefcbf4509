"""What docs/gate.md shows runs as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from scores_fixtures import MODELS, make_scores, save_run

from rsbench.evaluation.gate import check, write_expected

PAGE = Path(__file__).parents[2] / "docs" / "gate.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="not run from a checkout")


def block(language: str, *, run: bool = True) -> str:
    mark = "test_docs_gate.py -->\n" if run else ""
    found = re.search(rf"{mark}```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = make_scores(metrics=("mse@1",), bands=("all",))
    save_run(tmp_path / "run", made)
    write_expected(made, tmp_path / "expected.toml")
    return tmp_path


def spoil(folder: Path) -> None:
    models = {**MODELS, "simvp": ("model", "tiny", 0.9)}
    made = make_scores(models=models, metrics=("mse@1",), bands=("all",))
    save_run(folder / "run", made)


def test_the_test_passes_and_fails_as_it_should(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(compile(block("python"), str(PAGE), "exec"), names)
    (test,) = (value for name, value in names.items() if name.startswith("test_"))
    test()
    spoil(folder)
    with pytest.raises(AssertionError, match="simvp/tiny mse@1 lead 1"):
        test()


def test_the_step_passes_and_fails_as_it_should(folder: Path) -> None:
    (step,) = yaml.safe_load(block("yaml"))
    tools = folder / "bin"
    tools.mkdir()
    command = tools / "rsbench"
    start = "import sys; from rsbench.cli.main import main; sys.exit(main())"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{start}" "$@"\n')
    command.chmod(0o755)

    def run() -> int:
        return subprocess.run(
            ["bash", "-e", "-c", step["run"]], cwd=folder, capture_output=True, check=False,
            env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}, timeout=120,
        ).returncode  # fmt: skip

    assert run() == 0
    assert "mse@1" in (folder / "table.md").read_text()
    spoil(folder)
    assert run() == 1


def test_the_waiver_reads(folder: Path) -> None:
    text = block("toml", run=False)
    assert tomllib.loads(text)["waiver"][0]["metric"] == "ssim@1"
    path = folder / "expected.toml"
    path.write_text(path.read_text() + text)
    assert check(folder / "run", path).exit_code == 0
