"""action.yml: its steps call the commands that exist, with the inputs that docs/gate.md lists."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from rsbench.cli.main import app

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "action.yml").is_file(), reason="not from a checkout")


@pytest.fixture(scope="module")
def action() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    return found


def run(action: dict[str, Any], step: str, folder: Path, **inputs: str) -> list[list[str]]:
    """Run a step with a `rsbench` that only notes its words, and return these."""
    (folder / "bin").mkdir(exist_ok=True)
    tool, calls = folder / "bin" / "rsbench", folder / "calls"
    tool.write_text(f'#!/bin/sh\nfor w in "$@"; do printf "%s\\n" "$w"; done >> {calls}\n'
                    f"echo >> {calls}\n")  # fmt: skip
    tool.chmod(0o755)
    calls.unlink(missing_ok=True)
    (script,) = (s["run"] for s in action["runs"]["steps"] if s.get("name") == step)
    env = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", **inputs}
    env["GITHUB_OUTPUT"] = str(folder / "output")
    subprocess.run(["bash", "-e", "-c", script], env=env, check=True, timeout=60)
    return [block.splitlines() for block in calls.read_text().strip().split("\n\n")]


def parse(words: list[str]) -> None:
    command = typer.main.get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    command.make_context(words[0], words[1:])


def test_the_steps_build_run_and_check(action: dict[str, Any], tmp_path: Path) -> None:
    inputs = {"MODEL": "my model", "RECIPE": "demo-small", "DATA": "", "OUT": str(tmp_path / "o")}
    made = run(action, "score", tmp_path, **inputs, OPTIONS="--preset tiny --horizon 3")
    assert [words[0] for words in made] == ["build-dataset", "run"]
    assert made[1][1:3] == ["--model", "my model"]
    assert made[1][-4:] == ["--preset", "tiny", "--horizon", "3"]
    outputs = dict(line.split("=") for line in (tmp_path / "output").read_text().splitlines())
    assert set(outputs) == set(action["outputs"])
    checked = run(action, "check", tmp_path, AGAINST="e.toml", RUN=outputs["run"],
                  JUNIT=outputs["junit"])  # fmt: skip
    for words in (*made, *checked):
        parse(words)


def test_a_store_of_an_earlier_step_is_taken(action: dict[str, Any], tmp_path: Path) -> None:
    inputs = {"MODEL": "m", "RECIPE": "r", "DATA": "a b.zarr", "OUT": str(tmp_path), "OPTIONS": ""}
    made = run(action, "score", tmp_path, **inputs)
    assert shlex.join(made[0]).startswith("run --model m --data 'a b.zarr'")


def test_the_page_lists_the_inputs_and_their_defaults(action: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
    table = page.partition("| input | default |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `([\w-]+)` \| `?([^|`]+?)`? \|", table, re.MULTILINE))
    assert set(rows) == set(action["inputs"])
    for name, default in rows.items():
        stated = action["inputs"][name].get("default")
        assert default == {None: "–", "": "empty"}.get(stated, stated)
