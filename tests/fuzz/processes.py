"""Commands as processes, with damaged files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

from scores_fixtures import make_scores

from fuzz import gate, geojson, locks
from fuzz.damage import of_bytes, of_json, of_text
from fuzz.driver import (
    FAULT,
    HANGS,
    OTHER,
    REFUSED,
    WAIT_S,
    Result,
    is_sentence,
    scratch_folder,
)
from rsbench.catalog.loaders import catalog_root

DAMAGE = {".json": of_json, ".geojson": of_json, ".parquet": of_bytes}
NAME = "commands as processes"


def run_processes(inputs: int, *, seed: int = 0) -> Result:
    """Damage one file and run a command that reads it, for each input."""
    result = Result(NAME)
    with scratch_folder() as folder:
        commands = _prepare(folder)
        for number in range(inputs):
            draw = Random(f"{seed} {NAME} {number}")
            path, args = draw.choice(commands)
            whole = path.read_bytes()
            damaged = DAMAGE.get(path.suffix, of_text)(whole, draw)
            path.write_bytes(damaged)
            kind, what = _run(folder, args)
            path.write_bytes(whole)
            result.counts[kind] += 1
            if kind == FAULT:
                result.faults.append((number, path.name, damaged, what))
    return result


def _prepare(folder: Path) -> list[tuple[Path, tuple[str, ...]]]:
    geojson.prepare(folder)
    locks.prepare(folder)
    gate.FORMATS[0].prepare(folder)
    make_scores(metrics=("mse@1",), bands=("all", "nir"), horizon=2).save(folder / "run")
    for kind, name in (("recipes", "demo"), ("protocols", "year7")):
        text = (catalog_root() / kind / f"{name}.yaml").read_text()
        (folder / f"{kind}.yaml").write_text(text)
    scenes = folder / "nothing"
    scenes.mkdir()
    build = ("build-dataset", "--dry-run", "--provider", "nothing")
    return [
        (folder / "places.geojson", (*build, "--regions", "places.geojson")),
        (folder / "lock.json", ("lock", "diff", "lock.json", "lock.json")),
        (folder / "recipes.yaml", ("regions", "--recipe", "./recipes.yaml")),
        (folder / "expected.toml", ("check", "run", "--against", "expected.toml")),
        (folder / "run" / "run.json", ("table", "run")),
        (folder / "run" / "scores.parquet", ("compare", "run", "run")),
    ]


def _run(folder: Path, args: tuple[str, ...]) -> tuple[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RSBENCH_DEBUG")}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "rsbench.cli", *args], cwd=folder, env=kept, timeout=WAIT_S,
            capture_output=True, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return FAULT, HANGS
    said = done.stderr.decode(errors="replace")
    if done.returncode not in (0, 1, 2, 3) or "Traceback" in said:
        return FAULT, said
    if done.returncode == 0:
        return OTHER, ""
    return (REFUSED, "") if is_sentence(said) else (FAULT, said)
