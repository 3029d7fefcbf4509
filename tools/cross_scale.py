"""Run all variants of cross-scale pretraining with several seeds, and write their table.

Usage: python tools/cross_scale.py STORE --seeds 0 1 2 3 4 --fractions 1 0.25 --out results/NAME

Writes ``table.md``: for each share of labels the mIoU and the IoU of every class of all entries
(trained ones as mean over seeds with smallest and largest value), then the differences of ``sa``
to its controls, region by region and seed by seed, with intervals for other regions and seeds;
and ``table.csv``, every run. Runs are kept in ``--runs`` and done once; the shares of labels take
one pretraining per variant and seed.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean

import pandas as pd

from rsbench.core.errors import RsbenchError
from rsbench.core.io import atomic_file
from rsbench.evaluation import intervals as inference
from rsbench.evaluation.collapse import collapsed_tokens
from rsbench.evaluation.scores import Scores
from rsbench.store.read import Store, open_store
from rsbench_baselines.cross_scale.options import VARIANTS

sys.path.insert(0, str(Path(__file__).parent))
from results import cell, jobs, origin, run

MODEL = "cross_scale"
CONTROLS = ("mr", "sa_interp", "sa_mse", "mr_fine")
UNTRAINED = {"ijepa": "tiny_random"}
"""By base, the preset with its first weights and no pretraining."""
METRICS = ("miou@1", "iou@1")
Column = tuple[str, str]
"""Metric and band."""
Values = Mapping[int, Mapping[str, float]]
"""Seed → region → pseudo-value of a pooled metric."""


def presets(bases: Sequence[str]) -> list[str]:
    """Return the presets of the table."""
    return ["tiny_random", *(f"tiny_{base}_{name}" for base in bases for name in VARIANTS)]


def region_values(folders: Sequence[Path]) -> pd.DataFrame:
    """Return values by region of all runs: of reference models once, of trained ones by seed."""
    parts = []
    for folder in folders:
        scores = Scores.load(folder)
        means = scores.region_means()
        kept = means[means["metric"].isin(METRICS) & (means["stratum"] == "all")].copy()
        own = kept["role"] == "model"
        kept["seed"] = own.map({True: scores.run.seed, False: 0})
        kept["entry"] = kept["preset"].where(own, kept["model"])
        kept["collapsed"] = own & bool(dict(collapsed_tokens(scores.run.history)))
        parts.append(kept)
    keys = ["entry", "seed", "metric", "band", "region"]
    return pd.concat(parts, ignore_index=True).drop_duplicates(keys)


def columns(table: pd.DataFrame) -> list[Column]:
    """Return ``(metric, band)`` of the columns: mIoU, then the IoU of each class."""
    classes = dict.fromkeys(table.loc[table["metric"] == "iou@1", "band"])
    return [("miou@1", "all"), *(("iou@1", name) for name in classes if name != "all")]


def by_seed(table: pd.DataFrame, entry: str, column: Column) -> Values:
    """Return the values of an entry in a column."""
    rows = table[(table["entry"] == entry) & (table["metric"] == column[0])]
    rows = rows[rows["band"] == column[1]]
    return {
        int(seed): dict(zip(own["region"].astype(str), own["value"].astype(float), strict=True))
        for seed, own in rows.groupby("seed")
    }


def entries(table: pd.DataFrame, shown: Sequence[Column]) -> Iterator[str]:
    """Yield the lines of the table of entries, the best mIoU first."""
    yield "| entry | seeds | " + " | ".join(_title(*column) for column in shown) + " | collapsed |"
    yield "|" + "---|" * (len(shown) + 3)
    names = list(dict.fromkeys(table["entry"]))
    means = {name: fmean(_seed_means(table, name, shown[0])) for name in names}
    for name in sorted(names, key=lambda name: -means[name]):
        cells = [cell(pd.Series(_seed_means(table, name, column))) for column in shown]
        own = table[table["entry"] == name].drop_duplicates("seed")
        trained = (own["role"] == "model").all()
        flat = f"{int(own['collapsed'].sum())} of {len(own)}" if trained else "–"
        yield f"| {name} | {len(own)} | " + " | ".join(cells) + f" | {flat} |"


def differences(table: pd.DataFrame, shown: Sequence[Column], base: str) -> Iterator[str]:
    """Yield the lines of the table of differences between ``sa`` and its controls."""
    yield f"| {base} | " + " | ".join(_title(*column) for column in shown) + " |"
    yield "|" + "---|" * (len(shown) + 1)
    names = {control: f"tiny_{base}_{control}" for control in CONTROLS}
    names |= {"random": UNTRAINED[base]} if base in UNTRAINED else {}
    for control, name in names.items():
        pair = (f"tiny_{base}_sa", name)
        yield f"| sa − {control} | " + " | ".join(_difference(table, pair, c) for c in shown) + " |"


def _difference(table: pd.DataFrame, pair: tuple[str, str], column: Column) -> str:
    one, other = (by_seed(table, name, column) for name in pair)
    apart = {
        seed: {name: one[seed][name] - other[seed][name] for name in one[seed].keys() & other[seed]}
        for seed in one.keys() & other
    }
    found = inference.crossed(apart, bounds=inference.difference_bounds(column[0]))
    if found is None:
        return "–"
    mean = f"{found.mean:+.3f}"
    span = found.interval
    return mean if span is None else f"{mean} [{span.lo:+.3f}, {span.hi:+.3f}]"


def _seed_means(table: pd.DataFrame, entry: str, column: Column) -> list[float]:
    return [fmean(own.values()) for own in by_seed(table, entry, column).values()]


def _title(metric: str, band: str) -> str:
    return "mIoU" if metric == "miou@1" else f"IoU {band}"


def page(tables: Mapping[str, pd.DataFrame], store: Store, asked: argparse.Namespace) -> str:
    """Return the page: heading, and both tables of every share of labels."""
    lines = [
        f"# {store.recipe}, cross-scale pretraining", "",
        f"Digest `{store.digest}`; {origin(store)}. Split test. Trained entries: mean over seeds "
        "(smallest … largest). Differences are paired by region and seed; their intervals are for "
        "other regions and other seeds (95 %, crossed).", "",
        f"Made by `python tools/cross_scale.py STORE {shlex.join(typed(asked))}`.",
    ]  # fmt: skip
    for share, table in tables.items():
        shown = columns(table)
        lines += ["", f"## Labels of {share}", "", *entries(table, shown)]
        for base in asked.bases:
            lines += ["", *differences(table, shown, base)]
    return "\n".join(lines) + "\n"


def typed(asked: argparse.Namespace) -> list[str]:
    """Return what a person types to get this table again."""
    seeds = [str(seed) for seed in asked.seeds]
    words = ["--bases", *asked.bases, "--seeds", *seeds, "--fractions", *asked.fractions]
    words += ["--budget", asked.budget] if asked.budget else []
    words += [] if asked.label_seed == "0" else ["--label-seed", asked.label_seed]
    return [*words, "--out", str(asked.out)]


def arguments() -> argparse.ArgumentParser:
    """Return what a person may type."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("store", type=Path)
    parser.add_argument("--bases", nargs="+", default=["ijepa", "latentmim"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--fractions", nargs="+", default=["1"])
    parser.add_argument("--label-seed", default="0")
    parser.add_argument("--budget")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    return parser


def passed_on(asked: argparse.Namespace, fraction: str) -> list[str]:
    """Return the words that go on to `rsbench run`."""
    words = ["--budget", asked.budget] if asked.budget else []
    if float(fraction) != 1:
        words += ["--labelled-fraction", fraction, "--label-seed", asked.label_seed]
    return words


def main() -> int:
    """Run what is missing, then write the tables."""
    asked = arguments().parse_args()
    models = [f"{MODEL}:{preset}" for preset in presets(asked.bases)]
    try:
        store = open_store(asked.store)
        tables = {}
        # One share of labels after the other: the later ones find the pretraining in the cache.
        for fraction in asked.fractions:
            work = jobs(models, asked.seeds, asked.runs / f"labels-{fraction}")
            with ThreadPoolExecutor(asked.jobs) as pool:
                extra = passed_on(asked, fraction)
                list(pool.map(lambda job, extra=extra: run(*job, asked.store, extra), work))
            regions = "all" if float(fraction) == 1 else f"{100 * float(fraction):g} % of the"
            tables[f"{regions} training regions"] = region_values([folder for *_, folder in work])
    except RsbenchError as error:
        print(f"cross_scale: {error}", file=sys.stderr)
        return error.exit_code
    asked.out.mkdir(parents=True, exist_ok=True)
    with atomic_file(asked.out / "table.md") as temporary:
        temporary.write_text(page(tables, store, asked), encoding="utf-8")
    whole = pd.concat([part.assign(labels=share) for share, part in tables.items()])
    whole.drop(columns=["model", "preset", "n_missing"]).to_csv(
        asked.out / "table.csv", index=False, float_format="%.6g"
    )
    print(asked.out / "table.md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
