"""Exit codes of `rsbench check`, and what stands on which stream."""

from __future__ import annotations

from pathlib import Path

import pytest
from scores_fixtures import MODELS, make_scores, save_run
from support.shell import rsbench

from rsbench.evaluation.gate import write_expected


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("cli")
    kept = {"metrics": ("mse@1", "psnr@1"), "bands": ("all",)}
    worse = {**MODELS, "simvp": ("model", "tiny", 0.9)}
    save_run(root / "good", make_scores(**kept))
    save_run(root / "worse", make_scores(models=worse, **kept))
    save_run(root / "other", make_scores({"split": "val"}, **kept))
    write_expected(make_scores(**kept), root / "expected.toml")
    (root / "empty").mkdir()
    return {name: str(root / name) for name in ("good", "worse", "other", "expected.toml", "empty")}


@pytest.mark.parametrize(
    ("result", "against", "code"),
    [("good", "expected.toml", 0), ("worse", "expected.toml", 1), ("worse", "good", 1),
     ("empty", "good", 2), ("good", "empty", 2), ("other", "expected.toml", 3)],
)  # fmt: skip
def test_exit_codes(
    places: dict[str, str], result: str, against: str, code: int, tmp_path: Path
) -> None:
    done = rsbench(tmp_path, "check", places[result], "--against", places[against])
    assert done.returncode == code, done.stderr
    if code in (0, 1):
        assert done.stdout.startswith("pass:" if code == 0 else "regressed:")
    else:
        assert done.stdout == ""
        assert len(done.stderr.strip().splitlines()) == 1


def test_report_and_table_commands(places: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    assert rsbench(tmp_path, "report", places["good"], "--out", str(out)).returncode == 0
    again = rsbench(tmp_path, "report", places["good"], "--out", str(out))
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert "psnr@1" in rsbench(tmp_path, "table", places["good"], "--markdown").stdout
    assert rsbench(tmp_path, "table", places["good"], places["other"]).returncode == 3
