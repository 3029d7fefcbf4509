"""Score models on a strained store with the weights of the plain one, and write the paired table.

Usage: python tools/stress.py STRAINED --trained-on PLAIN --models starfm swinstfm:tiny --out FOLDER

Every test region is under every condition, so a condition is compared with the first one on the
same places: differences of region means, with intervals. Weights that PLAIN has no checkpoint of
are trained there first. Runs are kept in ``--runs`` and done once. Writes ``table.md`` and
``table.csv``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from rsbench.evaluation import intervals as inference
from rsbench.evaluation import strata
from rsbench.evaluation.loop import score
from rsbench.evaluation.own_entry import own_entry
from rsbench.evaluation.reference_models import reference_entries
from rsbench.evaluation.run import RunRequest, train_model
from rsbench.evaluation.table import number
from rsbench.metrics.queries import direction
from rsbench.models.api import Model
from rsbench.models.checkpoint import load_into
from rsbench.models.checkpoint_search import CheckpointQuery, fitting_checkpoints
from rsbench.models.registry import card, create_model
from rsbench.store.read import Store, open_store
from rsbench.tasks.config import EvaluationConfig, EvaluationOptions
from rsbench.tasks.settings import cases, evaluation_config
from rsbench.training.train import fresh_model

GROUP = "condition="
METRICS = (
    *("rmse@1", "rmse.changed@1", "rmse.unchanged@1", "change.hit@1", "change.false@1"),
    *("change.csi@1", "ssim@1", "sam@1", "edge.roberts@1"),
)
SHOWN = ("rmse@1", "rmse.changed@1", "change.csi@1", "ssim@1", "edge.roberts@1")
TRIVIAL = "trivial"
SMALLEST = 5e-6
"""Differences below this are what filling a gap of a reference does, and shown as none."""


def model_of(called: str, seed: int, plain: Store, config: EvaluationConfig) -> Model:
    """Return a model with the weights that it learned on the plain store's training split."""
    name, _, preset = called.partition(":")
    entry = card(name)
    chosen = preset or entry.default_preset
    bands = config.bands
    if not entry.trainable:
        return create_model(name, chosen, bands=len(bands), context=2)

    def kept() -> Path | None:
        found = fitting_checkpoints(CheckpointQuery(
            model=name, preset=chosen, digest=plain.digest, split="space", seed=seed, context=2,
            sensor=config.sensor, bands=bands,
        ))  # fmt: skip
        return found.same[-1] if found.same else None

    path = kept() or train_model(RunRequest(name, chosen, data=plain.path, seed=seed))
    model = fresh_model(name, chosen, seed=seed, bands=len(bands), context=2)
    load_into(model, path, config.store, split="test", any_dataset=True)
    return model


def scored(
    called: str, seed: int, plain: Store, strained: Store, regions: Sequence[str], runs: Path
) -> pd.DataFrame:
    """Return the units of one entry, or of the reference models, by region; each made once."""
    options = EvaluationOptions(seed=seed, suite=",".join(METRICS))
    config = evaluation_config(strained, strained.meta.default_protocol, options)
    folder = runs / f"{called.replace(':', '-')}-s{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    lacking = [name for name in regions if not (folder / f"{name}.parquet").is_file()]
    if lacking:
        rows = list(reference_entries(config).entries)
        if called != TRIVIAL:  # reference models are scored only once
            own = own_entry(config, model_of(called, seed, plain, config)).entry
            rows = [own] if own is not None else []
        for name in lacking:
            tally = score(
                rows, cases(config, regions=[name]), config.metrics,
                bands=config.bands, value_range=config.meta.value_range,
            )  # fmt: skip
            whole = folder / f".{name}.tmp"
            tally.frame({}).to_parquet(whole)
            whole.replace(folder / f"{name}.parquet")
    parts = [pd.read_parquet(folder / f"{name}.parquet") for name in regions]
    return pd.concat(parts, ignore_index=True)


Values = dict[tuple[str, str], dict[int, dict[str, dict[str, float]]]]
"""(row, metric) → seed → condition → region → value."""


def collect(found: Mapping[tuple[str, int], pd.DataFrame]) -> Values:
    """Sort region means by row, metric, seed and condition."""
    values: Values = {}
    for (_, seed), units in found.items():
        means = strata.pooled(units, units.iloc[:0], 1)
        means = means[means[strata.GROUP].str.startswith(GROUP) & (means["band"] == "all")]
        for row in means[means["value"].notna()].to_dict("records"):
            name = f"{row['model']} {row['preset']}".removesuffix(" default").strip()
            at = values.setdefault((name, str(row["metric"])), {})
            condition = str(row[strata.GROUP]).removeprefix(GROUP)
            at.setdefault(seed, {}).setdefault(condition, {})[row["region"]] = float(row["value"])
    return values


def table(values: Values, conditions: Sequence[str]) -> pd.DataFrame:
    """Return one line per row, metric and condition: the mean, and the difference to the first."""
    lines = []
    for (name, metric), seeds in values.items():
        for condition in conditions:
            if not all(condition in own for own in seeds.values()):
                continue
            means = [sum(own[condition].values()) / len(own[condition]) for own in seeds.values()]
            line = {
                "row": name, "metric": metric, "condition": condition, "seeds": len(seeds),
                "value": sum(means) / len(means),
                "n_regions": len(next(iter(seeds.values()))[condition]),
            }  # fmt: skip
            bounds = inference.difference_bounds(metric)
            apart = _difference(seeds, condition, conditions[0], bounds)
            lines.append({**line, **apart})
    return pd.DataFrame(lines)


def _difference(
    seeds: Mapping[int, Mapping[str, Mapping[str, float]]],
    condition: str,
    base: str,
    bounds: inference.Range,
) -> dict[str, float]:
    """Return the mean over seeds of the differences on the same regions, with its interval."""
    if condition == base or any(base not in own for own in seeds.values()):
        return {}
    apart = {
        seed: {
            region: value - own[base][region]
            for region, value in own[condition].items()
            if region in own[base]
        }
        for seed, own in seeds.items()
    }
    common = sorted(set.intersection(*(set(one) for one in apart.values())))
    if not common:
        return {}
    mean = [sum(one[region] for one in apart.values()) / len(apart) for region in common]
    both = inference.crossed(apart, bounds=bounds)
    alone = inference.interval(mean, paired=True, bounds=bounds)
    found = both.interval if both is not None else alone
    ends = {} if found is None else {"lo": found.lo, "hi": found.hi}
    return {"difference": sum(mean) / len(mean), **ends}


def markdown(found: pd.DataFrame, conditions: Sequence[str], heading: str) -> str:
    """Return a block per metric: the value under the first condition, then the differences."""
    lines = [heading]
    first, *others = conditions
    for metric in [m for m in SHOWN if m in set(found["metric"])]:
        part = found[found["metric"] == metric]
        lines += ["", f"**{metric}**", ""]
        lines += [f"| row | seeds | {first} | " + " | ".join(others) + " |"]
        lines += ["|" + "---|" * (len(conditions) + 2)]
        base = part[part["condition"] == first].set_index("row")
        order = base.index if first in set(part["condition"]) else part["row"].unique()
        if len(base):
            lower = direction(metric) != "higher"
            key = base["value"].abs() if direction(metric) == "zero" else base["value"]
            order = key.sort_values(ascending=lower).index
        for row in order:
            own = part[part["row"] == row].set_index("condition")
            seeds = int(own["seeds"].iloc[0])
            cells = [_cell(own, name, first=name == first) for name in conditions]
            lines.append(f"| {row} | {seeds} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(own: pd.DataFrame, condition: str, *, first: bool) -> str:
    if condition not in own.index:
        return "–"
    line = own.loc[condition]
    value = number(float(line["value"]), 3)
    if first or pd.isna(line.get("difference")):
        return value
    if abs(line["difference"]) < SMALLEST:
        return "0"
    sign = "+" if line["difference"] >= 0 else "−"
    sure = line["lo"] > 0 or line["hi"] < 0
    text = f"{sign}{number(abs(float(line['difference'])), 2)}"
    return f"**{text}**" if sure else text


def main() -> int:
    """Score what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("store", type=Path)
    parser.add_argument("--trained-on", type=Path, required=True)
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--regions", type=int, help="only the first so many test regions")
    asked = parser.parse_args()
    strained, plain = open_store(asked.store), open_store(asked.trained_on)
    regions = strained.split("test")[: asked.regions]
    found = {(TRIVIAL, 0): scored(TRIVIAL, 0, plain, strained, regions, asked.runs)}
    for seed in asked.seeds:
        for called in asked.models:
            if card(called.partition(":")[0]).trainable or seed == asked.seeds[0]:
                own = scored(called, seed, plain, strained, regions, asked.runs)
                found[called, seed] = own
                print(f"{called}, seed {seed}", flush=True)
    write(found, strained, plain, asked.out, _typed(asked))
    return 0


def _typed(asked: argparse.Namespace) -> str:
    """Return the options that decide the table, as they are typed."""
    seeds = " ".join(map(str, asked.seeds))
    some = "" if asked.regions is None else f" --regions {asked.regions}"
    return f"--models {' '.join(asked.models)} --seeds {seeds}{some}"


def write(
    found: Mapping[tuple[str, int], pd.DataFrame], strained: Store, plain: Store, out: Path,
    typed: str,
) -> None:  # fmt: skip
    """Write both forms of the table."""
    from rsbench.catalog import load_protocol

    conditions = [c.name for c in load_protocol(strained.meta.default_protocol).conditions]
    lines = table(collect(found), conditions)
    count = int(lines["n_regions"].max())
    kind = "simulated data: nothing is claimed of real places" if strained.simulated else "real"
    heading = (
        f"# {strained.recipe}\n\n"
        f"Digest `{strained.digest}`; {kind}. {count} test regions, each under every condition; "
        f"weights from the training split of {plain.recipe} (`{plain.digest[:12]}`), mean over "
        "seeds. The first condition's column is its value, the others are differences to it on "
        "the same regions; in bold where the 95 % interval excludes 0, over regions and, with "
        "three seeds, seeds. In the two columns of change the target is another date of the same "
        "regions.\n\n"
        f"Made by `python tools/stress.py {strained.recipe}.zarr --trained-on "
        f"{plain.recipe}.zarr {typed} --out {out}`."
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text(markdown(lines, conditions, heading), encoding="utf-8")
    lines.to_csv(out / "table.csv", index=False, float_format="%.6g")
    print(out / "table.md")


if __name__ == "__main__":
    raise SystemExit(main())
