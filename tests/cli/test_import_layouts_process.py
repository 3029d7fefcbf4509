"""Imports of other layouts by their commands: what a refusal prints is typed, and then a run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
from build_fixtures import write_raster
from support import shell

DAYS = ("2021-12-01", "2021-12-17", "2021-12-20", "2022-02-03", "2022-02-19")


def rsbench(folder: Path, *words: str, code: int = 0) -> str:
    done = shell.rsbench(folder, *words, timeout=280)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_commands_that_are_told_lead_from_a_file_per_band_to_a_table(tmp_path: Path) -> None:
    """Bands in files of their own, Sentinel-2's offset, irregular dates: each is told in turn."""
    for at, day in enumerate(DAYS):
        values = np.random.default_rng(at).integers(200, 1600, (2, 32, 160)).astype(np.uint16)
        for band, plane in zip(("B04", "B08"), values + np.uint16(1000 * (at > 2)), strict=True):
            write_raster(tmp_path / "s2" / f"{day}_{band}.tif", plane)
    command = ["import-dataset", "geotiff-series", "s2", "--out", "s2.zarr", "--unit",
               "reflectance", "--scale", "0.0001", "--region-size", "32"]  # fmt: skip
    told = []
    for refused in (True, True, False):
        said = rsbench(tmp_path, *command, code=2 if refused else 0)
        found = re.search(r"type: rsbench (import-dataset .*?)(?: ;|$)", said, re.MULTILINE)
        assert found is not None, said
        told.append(found[1])
        command = shlex.split(found[1])
    assert "--layout '*-*-*_{band}.tif'" in told[0]
    assert "--offset-from 2022-01-25 -0.1" in told[1]
    assert "--step 16d --composite nearest" in told[2]
    even = [word.replace("s2.zarr", "even.zarr") for word in command]
    assert "steps have no image" in rsbench(tmp_path, *even)
    (tmp_path / "next.yaml").write_text(
        "name: next\ndescription: The next date.\ncontext: 1\nhorizon: 1\nwindow: 32\nstride: 32\n"
        "suite: [mse@1]\n"
    )
    run = ("run", "--model", "persistence", "--protocol", "next.yaml", "--out", "run")
    rsbench(tmp_path, *run, "--data", "even.zarr")
    table = (tmp_path / "run" / "table.md").read_text()
    assert re.search(r"every entry: \d+ of \d+ samples left out: context without a valid", table)
    said = rsbench(tmp_path, *run[:-1], "no", "--data", "s2.zarr", code=2)
    assert "rsbench import-dataset … --step 16d" in said
