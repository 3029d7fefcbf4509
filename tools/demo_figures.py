"""Draw the README's strip from a run folder.

Usage: python tools/demo_figures.py RUN [--out docs/images]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

from rsbench.core.errors import InputError, RsbenchError
from rsbench.evaluation.report.pictures import colour
from rsbench.evaluation.scores import Scores

SHOWN = ("simvp", "persistence")


def strip(run: Path, scores: Scores, out: Path) -> None:
    """Draw the first region: truth, prediction and error of two rows, a column per lead."""
    from matplotlib.figure import Figure

    entry, frames = pictures_of(run)
    leads = entry["leads"]
    rows = _rows(entry, frames)
    chart = Figure(figsize=(1.35 * (len(leads) + 1), 1.42 * len(rows)), layout="constrained")
    chart.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    axes = chart.subplots(len(rows), len(leads) + 1)
    for y, (name, pictures) in enumerate(rows):
        for x in range(len(leads) + 1):
            axis = axes[y, x]
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set_visible(False)
            if x == 0 and y == 0:
                axis.imshow(frames["context"])
                axis.set_title(f"given {entry['start'][:4]}", fontsize=8)
            if x > 0:
                axis.imshow(pictures[x - 1])
                if y == 0:
                    year = entry["targets"][x - 1][:4]
                    axis.set_title(f"lead {leads[x - 1]} · {year}", fontsize=8)
            if x == 1:
                axis.set_ylabel(name, fontsize=8)
    if scores.run.simulated:
        chart.text(
            0.5, 0.5, "simulated", ha="center", va="center", rotation=18, fontsize=64,
            color="white", alpha=0.35,
        )  # fmt: skip
    chart.savefig(out, dpi=110)


def pictures_of(run: Path) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Read the first entry of a run's viewer folder and its arrays by name."""
    folder = run / "viewer"
    if not (folder / "index.json").is_file():
        raise InputError(f"the pictures of {run}", "it keeps none", "Type: make demo")
    entry = json.loads((folder / "index.json").read_text(encoding="utf-8"))["entries"][0]
    files = {"truth": entry["truth"], "context": entry["context"]}
    for item in entry["models"]:
        files |= {item["model"]: item["prediction"], f"{item['model']}-error": item["error"]}
    return entry, {n: np.load(folder / f, allow_pickle=False) for n, f in files.items()}


def _rows(
    entry: Mapping[str, Any], frames: Mapping[str, npt.NDArray[Any]]
) -> list[tuple[str, npt.NDArray[Any]]]:
    names = [m["model"] for m in entry["models"] if m["model"] in SHOWN]
    if not names:
        raise InputError(
            "the strip", f"the run has no pictures of {' or '.join(SHOWN)}", "Type: make demo"
        )
    errors = {name: frames[f"{name}-error"].astype(np.float32) for name in names}
    top = max(float(np.nanpercentile(e, 99)) for e in errors.values())
    rows: list[tuple[str, npt.NDArray[Any]]] = [("truth", frames["truth"])]
    rows += [(name, frames[name]) for name in names]
    painted = {n: np.stack([colour(frame, top) for frame in e]) for n, e in errors.items()}
    return rows + [(f"{name}\nerror", painted[name]) for name in names]


def main() -> int:
    """Draw the strip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    mpl.use("Agg")
    try:
        scores = Scores.load(options.run)
        options.out.mkdir(parents=True, exist_ok=True)
        strip(options.run, scores, options.out / "demo-strip.png")
    except RsbenchError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(options.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
