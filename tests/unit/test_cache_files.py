"""The cache folder: what is listed, and what is removed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rsbench.cli.main import app


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Old and new decoded arrays, old weights, a link and a file that is not ours."""
    root = tmp_path / "cache"
    old = time.time() - 40 * 86_400
    for name, size, when in (
        ("arrays/old/s2/a.npy", 3000, old),
        ("arrays/new/s2/a.npy", 20, time.time()),
        ("checkpoints/simvp/weights.safetensors", 50, old),
        ("notes.txt", 5, old),
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
        os.utime(path, (when, when))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").write_text("x")
    (root / "arrays" / "link").symlink_to(tmp_path / "mine")
    monkeypatch.setenv("RSBENCH_CACHE", str(root))
    return root


def typed(*words: str) -> str:
    done = CliRunner().invoke(app, ["cache", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_cache_is_listed_and_left_alone(cache: Path) -> None:
    said = typed()
    assert "arrays           3.0 kB  2 entries" in said
    assert "not used for 30 days: 1 entry, 3.0 kB; `rsbench cache --prune` removes them" in said
    assert (cache / "arrays/old").is_dir()
    found = json.loads(typed("--json"))
    assert found["prunable"] == [str(cache / "arrays/old")]
    assert [e["part"] for e in found["entries"]] == ["arrays", "arrays", "checkpoints"]


def test_prune_removes_only_what_is_made_again(cache: Path) -> None:
    assert "removed 1 entry, 3.0 kB" in typed("--prune")
    assert sorted(p.name for p in (cache / "arrays").iterdir()) == ["link", "new"]
    assert "removed 1 entry, 20 bytes" in typed("--prune", "--older-than", "0")
    assert (cache / "checkpoints/simvp/weights.safetensors").is_file()
    assert (cache / "notes.txt").is_file()
    assert (cache.parent / "mine" / "precious").is_file()


def test_an_absent_cache_and_negative_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "none"))
    assert "nothing" in typed()
    assert CliRunner().invoke(app, ["cache", "--prune", "--older-than", "-1"]).exit_code != 0
