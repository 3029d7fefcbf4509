"""`build-dataset --exclude`, `--allow-incomplete` and `--lock` alone, as processes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
from build_fixtures import BANDS, recipe, write_scene
from support import shell

from rsbench.store.read import open_store


def rsbench(root: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return shell.rsbench(root, "build-dataset", *args)


def test_a_bad_item_costs_only_itself_and_the_lock_builds_alone(tmp_path: Path) -> None:
    for month in (3, 4, 5, 6):
        bands = {band: np.full((96, 96), 100 * month, np.uint16) for band in BANDS}
        when = f"2021-{month:02d}-10T10:00:00Z"
        write_scene(tmp_path / "stac", f"s{month}", when, bands, np.full((48, 48), 4, np.uint8))
    (tmp_path / "stac" / "s6" / "SCL.tif").unlink()
    own = recipe(years=(2021, 2021)).model_dump(mode="json", exclude_none=True)
    (tmp_path / "own.yaml").write_text(json.dumps(own))
    search = ("--recipe", "own.yaml", "--provider", "stac", "--yes")

    refused = rsbench(tmp_path, *search, "--out", "no", "--exclude", "s7")
    assert refused.returncode == 2
    assert "--exclude s7: no item of these regions and years has this id" in refused.stderr

    failed = rsbench(tmp_path, *search, "--out", "out")
    assert failed.returncode == 1
    assert "leave an item out with --exclude ITEM_ID and another --out" in failed.stderr

    partial = rsbench(tmp_path, *search, "--out", "out", "--allow-incomplete")
    assert (partial.returncode, "INCOMPLETE" in partial.stdout) == (0, True)
    assert "west 2021: made without item s6: reading mask of item s6" in partial.stderr
    assert np.all(open_store(tmp_path / "out").read("west", "s2") == 400)

    whole = rsbench(tmp_path, *search, "--out", "left", "--exclude", "s6")
    assert whole.returncode == 0
    assert "left out of s2: 1 (s6): excluded by --exclude" in whole.stderr
    (tmp_path / "own.yaml").unlink()
    again = rsbench(tmp_path, "--lock", "left/lock.json.gz", "--out", "again", "--yes")
    assert again.returncode == 0
    assert whole.stdout.split()[-1] == again.stdout.split()[-1]
