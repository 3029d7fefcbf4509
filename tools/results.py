"""Run models on a store with several seeds, and write the table of all rows.

Usage: python tools/results.py STORE --models starfm swinstfm:tiny --seeds 0 1 2 --out results/NAME

Writes ``table.md`` (means over seeds) and, beside it, ``table.csv`` (every run, with intervals;
all bands together; all regions at every lead, strata at ``--lead``); of more than one lead also
``decay.png``, with the span of seeds as bands; of models that foresee embeddings
``embeddings.png``, how far these spread while the model learnt. A model without training runs
once: its seed changes nothing. Runs are kept in ``--runs`` and done once. Controls are named
after the model whose weights they were made of.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pandas as pd
from matplotlib.figure import Figure

from rsbench.core.errors import InputError, RsbenchError
from rsbench.core.io import atomic_file
from rsbench.evaluation.decay import PALETTE, Curve, curves, mark_simulated, save_figure
from rsbench.evaluation.report.page_training import COLLAPSED, spread
from rsbench.evaluation.scores import Scores
from rsbench.evaluation.table import number
from rsbench.models.registry import card
from rsbench.store.read import Store, open_store

HEADLINE = ("skill.mse@1", "rmse@1", "ssim@1", "sam@1", "spectrum.ratio@1", "consistency.rmse@1",
            "psnr.shift@1")  # fmt: skip
KEPT = ("stratum=", "all")
DRAWN = "mse@1"
TRAINED = ("model", "control")


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
        scores = Scores.load(folder)
        table = scores.table()
        kept = table[table["stratum"].str.startswith(KEPT) & (table["band"] == "all")].copy()
        roles = dict(scores.units[["model", "role"]].drop_duplicates().itertuples(index=False))
        own = kept["model"].map(lambda name, roles=roles: roles.get(name) in TRAINED)
        kept.loc[~own, "seed"] = 0
        kept["model"] = kept["model"].map(
            lambda name, roles=roles, folder=folder: _named(name, roles.get(name), folder)
        )
        parts.append(kept)
    whole = pd.concat(parts, ignore_index=True)
    keys = ["model", "preset", "weights", "seed", "metric", "lead", "stratum"]
    return whole.drop_duplicates(keys).sort_values(keys, ignore_index=True)


def _named(model: str, role: str | None, folder: Path) -> str:
    return f"{model} of {folder.name.split('-')[0]}" if role == "control" else model


def seeds_as_bands(folders: Sequence[Path]) -> list[Curve]:
    """Return a curve per row: the mean over seeds, and their span where there are some."""
    found: dict[tuple[str, str], list[Curve]] = {}
    for folder in folders:
        for curve in curves(Scores.load(folder), DRAWN):
            named = replace(curve, model=_named(curve.model, curve.role, folder))
            found.setdefault((named.model, named.preset), []).append(named)
    merged = []
    for alike in found.values():
        own = alike if alike[0].role in TRAINED else alike[:1]
        by_lead = [[v for v in values if v is not None] for values in
                   zip(*(c.values for c in own), strict=True)]  # fmt: skip
        merged.append(replace(
            own[0],
            values=tuple(fmean(v) if v else None for v in by_lead),
            lo=tuple(min(v) if v else None for v in by_lead),
            hi=tuple(max(v) if v else None for v in by_lead),
        ))  # fmt: skip
    return merged


def draw(folders: Sequence[Path], path: Path) -> None:
    """Draw the decay of all rows by lead; of controls those of the first model that has some."""
    run = Scores.load(folders[0]).run
    drawn = seeds_as_bands(folders)
    owners = [c.model.partition(" of ")[2] for c in drawn if c.role == "control"]
    drawn = [c for c in drawn if c.role != "control" or c.model.endswith(f" of {owners[0]}")]
    save_figure(drawn, path, simulated=run.simulated, unit=run.unit, width=8.5)


def spreads(folders: Sequence[Path]) -> dict[str, list[tuple[float, float]]]:
    """Return how far foreseen embeddings spread by training step, of every run that has some."""
    found = {}
    for folder in folders:
        for model, points in Scores.load(folder).run.history.items():
            if len(line := spread(points)) > 1:
                found[f"{model}{folder.name.removeprefix(model)}"] = line
    return found


def draw_spreads(lines: Mapping[str, Sequence[tuple[float, float]]], *, simulated: bool) -> Figure:
    """Draw a line per run, and where a collapse begins."""
    chart = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = chart.subplots()
    for index, (name, line) in enumerate(lines.items()):
        axes.plot(*zip(*line, strict=True), label=name, color=PALETTE[index % len(PALETTE)])
    axes.axhline(COLLAPSED, color="#7f7f7f", dashes=(6, 3), lw=1)
    axes.annotate("collapsed below", (1, COLLAPSED), xycoords=("axes fraction", "data"),
                  ha="right", va="bottom", fontsize=8, color="#555555")  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.set_xlabel("step")
    axes.set_ylabel("variance of predicted / target embeddings")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    if simulated:
        mark_simulated(axes)
    return chart


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
            cells = [cell(own[own["metric"] == metric]["value"]) for metric in shown]
            name = model if preset in ("", "default") else f"{model} {preset}"
            lines.append(f"| {name} | {own['seed'].nunique()} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cell(found: pd.Series) -> str:
    """Return the mean over seeds, with the smallest and largest value where there are several."""
    if found.empty or found.isna().all():
        return "–"
    mean = number(float(found.mean()), 3)
    if len(found) == 1:
        return mean
    return f"{mean} ({number(float(found.min()), 3)} … {number(float(found.max()), 3)})"


def origin(store: Store) -> str:
    """Return whether the data are simulated, in the words of a table's heading."""
    return "simulated data: nothing is claimed of real places" if store.simulated else "real data"


def arguments() -> argparse.ArgumentParser:
    """Return what a person may type."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("store", type=Path)
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--protocol")
    parser.add_argument("--context", type=int)
    parser.add_argument("--horizon", type=int)
    parser.add_argument("--lead", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    return parser


def passed_on(asked: argparse.Namespace) -> list[str]:
    """Return the words that go on to `rsbench run`."""
    told = {n: getattr(asked, n) for n in ("protocol", "context", "horizon")}
    return [word for n, v in told.items() if v is not None for word in (f"--{n}", str(v))]


def typed(asked: argparse.Namespace) -> list[str]:
    """Return what a person types to get this table again."""
    seeds = [str(seed) for seed in asked.seeds]
    lead = [] if asked.lead == 1 else ["--lead", str(asked.lead)]
    out = ["--out", str(asked.out)]
    return ["--models", *asked.models, "--seeds", *seeds, *passed_on(asked), *lead, *out]


def main() -> int:
    """Run what is missing, then write the tables."""
    asked = arguments().parse_args()
    try:
        store = open_store(asked.store)
        work = jobs(asked.models, asked.seeds, asked.runs)
        with ThreadPoolExecutor(asked.jobs) as pool:
            list(pool.map(lambda job: run(*job, asked.store, passed_on(asked)), work))
        folders = [folder for _, _, folder in work]
        table = values(folders)
    except RsbenchError as error:
        print(f"results: {error}", file=sys.stderr)
        return error.exit_code
    several = len(asked.seeds) > 1
    seeds = ("seeds " if several else "seed ") + ", ".join(map(str, asked.seeds))
    span = ", mean (smallest … largest)" if several else " alone"
    heading = (
        f"# {store.recipe}\n\n"
        f"Digest `{store.digest}`; {origin(store)}. Split test, lead {asked.lead}. Trained rows: "
        f"{seeds}{span}. Values are means over regions of a region's mean; "
        "skill is relative to the reference model that was best on validation.\n\n"
        f"Made by `python tools/results.py STORE {shlex.join(typed(asked))}`."
    )
    asked.out.mkdir(parents=True, exist_ok=True)
    if table["lead"].nunique() > 1:
        draw(folders, asked.out / "decay.png")
    if lines := spreads(folders):
        chart = draw_spreads(lines, simulated=store.simulated)
        with atomic_file(asked.out / "embeddings.png") as temporary:
            chart.savefig(temporary, format="png", dpi=160)
    (asked.out / "table.md").write_text(markdown(table, heading, asked.lead), encoding="utf-8")
    shown = table[(table["stratum"] == "all") | (table["lead"] == asked.lead)]
    shown.drop(columns=["weights"]).to_csv(
        asked.out / "table.csv", index=False, float_format="%.6g"
    )
    print(asked.out / "table.md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
