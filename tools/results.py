"""Run models on a store with several seeds, and write the table of all rows.

Usage: python tools/results.py STORE --models starfm swinstfm:tiny --seeds 0 1 2 --out results/NAME

Writes ``table.md`` (means over seeds) and, beside it, ``table.csv`` (every run, with intervals;
all bands together, all regions and by stratum). A model without training runs once: its seed
changes nothing. Runs are kept in ``--runs`` and done once.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from rsbench.errors import InputError, RsbenchError
from rsbench.registry import card
from rsbench.scores import Scores
from rsbench.store.read import open_store
from rsbench.table import number

HEADLINE = ("skill.mse@1", "rmse@1", "ssim@1", "sam@1", "spectrum.ratio@1")
KEPT = ("stratum=", "all")


def jobs(models: Sequence[str], seeds: Sequence[int], runs: Path) -> list[tuple[str, int, Path]]:
    """Return ``(model:preset, seed, folder)`` of every run."""
    found = []
    for called in models:
        name, _, preset = called.partition(":")
        entry = card(name).of(preset or None)
        for seed in seeds if entry.trainable else seeds[:1]:
            found.append((called, seed, runs / f"{called.replace(':', '-')}-s{seed}"))
    return found


def run(called: str, seed: int, folder: Path, store: Path, extra: Sequence[str]) -> None:
    """Type the command that a person would type, on one thread."""
    name, _, preset = called.partition(":")
    command = [sys.executable, "-m", "rsbench.cli", "run", "--model", name, "--data", str(store),
               "--seed", str(seed), "--out", str(folder), *extra]  # fmt: skip
    if preset:
        command += ["--preset", preset]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(" ".join(command[3:]), done.stderr.strip(), "Repair it, type it again")


def values(folders: Sequence[Path]) -> pd.DataFrame:
    """Return the tidy tables of all runs under one another; rows that all share stand once."""
    parts = []
    for folder in folders:
        table = Scores.load(folder).table()
        kept = table["stratum"].str.startswith(KEPT) & (table["band"] == "all")
        parts.append(table[kept])
    whole = pd.concat(parts, ignore_index=True)
    keys = ["model", "preset", "weights", "seed", "metric", "lead", "stratum"]
    trained = whole["model"].map(lambda name: name in {f.name.split("-")[0] for f in folders})
    whole.loc[~trained, "seed"] = 0
    return whole.drop_duplicates(keys).sort_values(keys, ignore_index=True)


def markdown(table: pd.DataFrame, heading: str, lead: int) -> str:
    """Return one block per stratum: mean over seeds, and the span of seeds where there are any."""
    lines = [heading]
    shown = [metric for metric in HEADLINE if metric in set(table["metric"])]
    for stratum, part in table[table["lead"] == lead].groupby("stratum", sort=True):
        regions = int(part["n_regions"].max())
        lines += ["", f"**{stratum}** ({regions} regions)", ""]
        lines += ["| row | seeds | " + " | ".join(shown) + " |", "|" + "---|" * (len(shown) + 2)]
        first = part[part["metric"] == shown[0]].groupby(["model", "preset"])["value"].mean()
        for model, preset in first.sort_values(ascending=False).index:
            own = part[(part["model"] == model) & (part["preset"] == preset)]
            cells = [_cell(own[own["metric"] == metric]["value"]) for metric in shown]
            name = model if preset in ("", "default") else f"{model} {preset}"
            lines.append(f"| {name} | {own['seed'].nunique()} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(found: pd.Series) -> str:
    if found.empty or found.isna().all():
        return "–"
    mean = number(float(found.mean()), 3)
    if len(found) == 1:
        return mean
    return f"{mean} ({number(float(found.min()), 3)} … {number(float(found.max()), 3)})"


def main() -> int:
    """Run what is missing, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("store", type=Path)
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--horizon", type=int)
    parser.add_argument("--lead", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    extra = [] if asked.horizon is None else ["--horizon", str(asked.horizon)]
    try:
        store = open_store(asked.store)
        work = jobs(asked.models, asked.seeds, asked.runs)
        with ThreadPoolExecutor(asked.jobs) as pool:
            list(pool.map(lambda job: run(*job, asked.store, extra), work))
        table = values([folder for _, _, folder in work])
    except RsbenchError as error:
        print(f"results: {error}", file=sys.stderr)
        return error.exit_code
    seeds = ", ".join(map(str, asked.seeds))
    kind = "simulated data: nothing is claimed of real places" if store.simulated else "real data"
    heading = (
        f"# {store.recipe}\n\n"
        f"Digest `{store.digest}`; {kind}. Split test, lead {asked.lead}. Trained rows: seeds "
        f"{seeds}, mean (smallest … largest). Values are means over regions of a region's mean; "
        "skill is against the trivial row that was best on validation.\n\n"
        f"Made by `python tools/results.py STORE --models {' '.join(asked.models)} --out "
        f"{asked.out}`."
    )
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "table.md").write_text(markdown(table, heading, asked.lead), encoding="utf-8")
    table.drop(columns=["weights"]).to_csv(asked.out / "table.csv", index=False)
    print(asked.out / "table.md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
