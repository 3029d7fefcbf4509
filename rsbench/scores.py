"""Scores that add up: sums and weights per unit, and the tidy table made from them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import reduce
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rsbench import inference, strata
from rsbench.errors import Incomparable, InputError, SchemaError
from rsbench.scores_cells import cells_of, of_blocks, set_cells, share_cells, shares

SCHEMA = 1
KEYS = [
    "model", "preset", "role", "region", "start", "lead", "target", "curve", "metric", "band",
]  # fmt: skip
SUMS = ["value_sum", "weight", "n_images", "n_missing"]
COLUMNS = [
    "schema", "dataset", "dataset_digest", "split", "protocol", "model", "preset", "inputs",
    "weights", "seed", "precision", "metric", "band", "lead", "step", "stratum", "value", "lo",
    "hi", "interval", "n_regions", "n_samples", "n_missing",
]  # fmt: skip
SET_COLUMNS = [
    "model", "preset", "role", "metric", "lead", "value", "lo", "hi", "interval", "n_regions", "n",
    "d", "n_missing", "halves", "origins", "notes",
]  # fmt: skip
HALVES = "halves"
"""The row of two halves of the truth, each of half the images: a floor of set metrics."""
REFERENCES = "n_refs="
"""Stands in what a row of a fusion table sees, before the number of reference dates."""
ROLES = ("model", "trivial", "oracle", "floor", "control")
CURVES = ("starts", "targets", "both", "none")
PERFECT = {"mse@1": 0.0, "mae@1": 0.0, "ssim@1": 1.0}
"""Metrics that have a skill row, and their perfect value."""


@dataclass(frozen=True)
class Absent:
    """Why a row has no number: a whole model (``*``: every model), one metric, or one lead."""

    model: str
    reason: str
    metric: str | None = None
    lead: int | None = None


@dataclass(frozen=True)
class RunInfo:
    """What a run was: identity and provenance of its rows, and what a page needs to say.

    Args:
        dataset: name of the recipe or import.
        starts: ISO dates of the starts scored.
        step: ISO 8601 duration between leads, e.g. ``P1Y``.
        one_scene: whether the regions are blocks of one scene, which makes intervals conditional.
        weights: model → digest of its weights, null where it has none.
        inputs: model → what it sees, e.g. ``s2 k=3``.
        licences: sensor → ``licence``, ``attribution``, ``citation``.
        absent: rows without a number, with the reason.
        best_trivial: the trivial model that was best on validation; reference of skill.
        history: model → learning-curve points ``{"step", "loss", "validation", …}``.
        citations: model → reference of the publication.
        extra: keys a newer version wrote under the same schema; carried along untouched.
    """

    dataset: str
    dataset_digest: str
    split: str
    protocol: str
    context: int
    horizon: int
    step: str
    sensor: str
    bands: tuple[str, ...]
    value_range: tuple[float, float]
    schema: int = SCHEMA
    unit: str = ""
    starts: tuple[str, ...] = ()
    display: tuple[str, ...] | None = None
    simulated: bool = False
    one_scene: bool = False
    complete: bool = True
    missing: tuple[Mapping[str, Any], ...] = ()
    seed: int = 0
    precision: str = "32-true"
    device: str = "cpu"
    members: int = 1
    versions: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str | None] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    licences: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    citations: Mapping[str, str] = field(default_factory=dict)
    absent: tuple[Absent, ...] = ()
    best_trivial: str | None = None
    history: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    command: str = ""
    created: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        value = asdict(self)
        return {**value.pop("extra"), **value}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read the JSON form, of this schema only."""
        found = value.get("schema")
        if found != SCHEMA:
            raise SchemaError(
                "reading a run",
                f"it has schema {found!r}, this version reads {SCHEMA}",
                "Run it again, or read it with the version that wrote it",
            )
        known = {item.name for item in fields(cls)} - {"extra"}
        own: dict[str, Any] = {name: value[name] for name in known & set(value)}
        for name in ("bands", "value_range", "starts", "missing", "display"):
            if isinstance(own.get(name), list):
                own[name] = tuple(own[name])
        own["absent"] = tuple(Absent(**item) for item in own.get("absent", ()))
        own["extra"] = {name: value[name] for name in sorted(set(value) - known)}
        try:
            return cls(**own)
        except TypeError as error:
            raise SchemaError(
                "reading a run", f"run.json lacks a field ({error})", "Run it again"
            ) from error

    @property
    def label(self) -> str:
        """Name of the dataset with what every table must say about it."""
        notes = [
            note
            for note, true in (
                ("simulated", self.simulated),
                ("one scene", self.one_scene),
                ("incomplete", not self.complete),
            )
            if true and note not in self.dataset
        ]
        return f"{self.dataset} ({', '.join(notes)})" if notes else self.dataset

    @property
    def fusion(self) -> bool:
        """Whether the rows are fusions; their inputs say how many reference dates they see."""
        return any(REFERENCES in text for text in self.inputs.values())

    def identity(self) -> dict[str, Any]:
        """Return what must be equal for any two rows to be compared."""
        names = ("schema", "dataset_digest", "split", "protocol", "context", "step", "sensor")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Scores:
    """Units of one run: one row per (model, region, start, lead, metric, band).

    ``value_sum`` is Σ over images of the per-image value, ``weight`` the number of images with a
    defined value, ``n_images`` all images of the unit, ``n_missing`` those without a value.
    ``sets`` holds metrics of whole sets of images, one row per (model, lead, metric): they have
    no sums.
    """

    units: pd.DataFrame
    run: RunInfo
    sets: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=SET_COLUMNS))
    _made: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", _checked(self.units))

    def __add__(self, other: Scores) -> Scores:
        """Return the scores of both parts: sums and weights of equal units add."""
        ours, theirs = self.run.identity(), other.run.identity()
        differ = [f"{n} {ours[n]!r} / {theirs[n]!r}" for n in ours if ours[n] != theirs[n]]
        differ += [
            f"weights of {model}"
            for model in sorted(set(self.run.weights) & set(other.run.weights))
            if self.run.weights[model] != other.run.weights[model]
        ]
        if differ:
            raise Incomparable(
                "adding scores", f"the parts differ in {', '.join(differ)}", "Add parts of one run"
            )
        both = pd.concat([self.units, other.units], ignore_index=True)
        run = _merge(self.run, other.run)
        why = "a distance of sets does not add up over parts; score them in one run"
        metrics = sorted({*self.sets["metric"], *other.sets["metric"]})
        gone = tuple(Absent("*", why, str(metric)) for metric in metrics)
        return Scores(both, replace(run, absent=tuple(dict.fromkeys(run.absent + gone))))

    @classmethod
    def sum(cls, parts: Sequence[Scores]) -> Scores:
        """Return the sum of at least one part."""
        return reduce(lambda a, b: a + b, parts)

    def table(self) -> pd.DataFrame:
        """Return the tidy table: one row per model, metric, band, lead and stratum."""
        return self._tidy()[0].copy()

    def absences(self) -> tuple[Absent, ...]:
        """Return every reason for a null row, those of the run and those of undefined skill."""
        return self.run.absent + self._tidy()[1]

    def region_means(self) -> pd.DataFrame:
        """Return pooled values per region on the matched sets, rows of skill included.

        Columns: model preset role metric band lead stratum region value n_samples n_missing.
        """
        means, skill, _ = self._pooled()
        parts = _stack(means, skill, shares(skill, self.run.best_trivial))
        return parts.rename(columns={strata.GROUP: "stratum"})

    def _pooled(self) -> tuple[pd.DataFrame, pd.DataFrame, tuple[Absent, ...]]:
        if "pooled" not in self._made:  # table, check and report all start from it
            means = strata.region_means(strata.grouped(self.units, self.run.horizon))
            self._made["pooled"] = (means, *_skill(means, self.run))
        return cast("tuple[pd.DataFrame, pd.DataFrame, tuple[Absent, ...]]", self._made["pooled"])

    def _tidy(self) -> tuple[pd.DataFrame, tuple[Absent, ...]]:
        if "tidy" not in self._made:
            self._made["tidy"] = _tidy(self.run, *self._pooled(), self.sets)
        return cast("tuple[pd.DataFrame, tuple[Absent, ...]]", self._made["tidy"])

    def matchings(self, stratum: str) -> tuple[strata.Matching, ...]:
        """Say per metric and band which origins a matched set kept, and how many it dropped."""
        name = f"matchings {stratum}"
        if name not in self._made:
            self._made[name] = strata.matchings(self.units, self.run.horizon, stratum)
        return cast("tuple[strata.Matching, ...]", self._made[name])

    def save(self, folder: Path) -> None:
        """Write ``scores.parquet`` and ``run.json`` into a folder, each whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        run = replace(self.run, absent=tuple(dict.fromkeys(self.absences())))
        text = json.dumps(run.to_json(), indent=1, sort_keys=True, allow_nan=False)
        _write_parquet(self.units, folder / "scores.parquet")
        if len(self.sets):
            _write_parquet(self.sets, folder / "sets.parquet")
        write_whole(
            folder / "run.json", lambda path: path.write_text(text + "\n", encoding="utf-8")
        )

    @classmethod
    def load(cls, folder: Path) -> Scores:
        """Read a run folder."""
        asked = f"reading the run {folder}"
        for name in ("run.json", "scores.parquet"):
            if not (folder / name).is_file():
                there = "it is empty" if _is_empty(folder) else f"there is no {name} in it"
                found = there if folder.is_dir() else "there is no such folder"
                raise InputError(asked, found, "Name a folder written by `rsbench run --out`")
        try:
            run = RunInfo.from_json(json.loads((folder / "run.json").read_text(encoding="utf-8")))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            if isinstance(error, SchemaError):
                raise SchemaError(asked, error.found, error.remedy) from error
            raise InputError(asked, f"run.json is damaged ({error})", "Run it again") from error
        units = read_parquet(folder / "scores.parquet")
        if not (folder / "sets.parquet").is_file():
            return cls(units, run)
        return cls(units, run, read_parquet(folder / "sets.parquet"))


def _write_parquet(values: pd.DataFrame, path: Path) -> None:
    frame = pa.Table.from_pandas(values, preserve_index=False)
    metadata = {**(frame.schema.metadata or {}), b"rsbench.schema": str(SCHEMA).encode()}
    frame = frame.replace_schema_metadata(metadata)
    write_whole(path, lambda temporary: pq.write_table(frame, temporary))


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a parquet file of ours, of this schema only."""
    asked = f"reading {path}"
    try:
        frame = pq.read_table(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            asked, f"the file is cut short or no parquet ({reason})", "Write it again from the run"
        ) from error
    found = (frame.schema.metadata or {}).get(b"rsbench.schema")
    if found is not None and found != str(SCHEMA).encode():
        raise SchemaError(
            asked,
            f"it has schema {found.decode()}, this version reads {SCHEMA}",
            "Run it again, or read it with the version that wrote it",
        )
    return cast(pd.DataFrame, frame.to_pandas())


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then put it in place in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and next(folder.iterdir(), None) is None


def _checked(units: pd.DataFrame) -> pd.DataFrame:
    """Return units with all columns, plain types and one row per unit, or say what is wrong."""
    lacking = [name for name in KEYS + SUMS if name not in units.columns]
    if lacking:
        raise InputError(
            "reading scores",
            f"the units lack the columns {', '.join(lacking)}",
            "Write them with `rsbench run` or `rsbench score`",
        )
    added = [name for name in strata.ADDED if name in units.columns]
    keys = [*KEYS, *added]
    others = [name for name in units.columns if name not in keys + SUMS]
    frame = units[keys + SUMS + others].copy()
    for name in ("preset", *added):
        frame[name] = frame[name].fillna("")
    for name in ("start", "target"):
        frame[name] = frame[name].astype(str)
    _refuse_bad(frame)
    if frame.duplicated(keys).any():
        how: dict[str, str] = {**dict.fromkeys(SUMS, "sum"), **dict.fromkeys(others, "first")}
        frame = frame.groupby(keys, sort=False, dropna=False).agg(how).reset_index()
    return frame.sort_values(keys, kind="stable").reset_index(drop=True)


def _refuse_bad(frame: pd.DataFrame) -> None:
    bad = frame[(frame["weight"] > 0) & ~np.isfinite(frame["value_sum"].astype(float))]
    if len(bad):
        row = bad.iloc[0]
        raise InputError(
            f"scores of {row['model']}",
            f"{row['metric']} is not finite in region {row['region']}, lead {row['lead']}, "
            f"band {row['band']}",
            "Mask the pixels, or leave the image out and count it in n_missing",
        )
    for name, allowed in (("role", ROLES), ("curve", CURVES)):
        odd = sorted(set(frame[name].astype(str)) - set(allowed))
        if odd:
            raise InputError("reading scores", f"{name} {odd[0]!r}", f"Use {', '.join(allowed)}")
    if ((frame["lead"] < 1) | (frame["weight"] < 0)).any():
        raise InputError("reading scores", "a lead below 1 or a weight below 0", "Score it again")


def _stack(*parts: pd.DataFrame) -> pd.DataFrame:
    """Concatenate; empty parts are left out because their null columns would change types."""
    full = [part for part in parts if len(part)]
    return pd.concat(full, ignore_index=True) if full else parts[0]


def _merge(a: RunInfo, b: RunInfo) -> RunInfo:
    both = tuple(dict.fromkeys(a.absent + b.absent))
    return replace(
        a,
        starts=tuple(sorted({*a.starts, *b.starts})),
        horizon=max(a.horizon, b.horizon),
        complete=a.complete and b.complete,
        simulated=a.simulated or b.simulated,
        one_scene=a.one_scene or b.one_scene,
        missing=a.missing + tuple(item for item in b.missing if item not in a.missing),
        weights={**a.weights, **b.weights},
        inputs={**a.inputs, **b.inputs},
        licences={**a.licences, **b.licences},
        citations={**a.citations, **b.citations},
        history={**a.history, **b.history},
        absent=both,
    )


def _skill(means: pd.DataFrame, run: RunInfo) -> tuple[pd.DataFrame, tuple[Absent, ...]]:
    """Return skill per region, (s − ref) / (perfect − ref), and why any of it is absent."""
    rows = means[means["metric"].isin(PERFECT)]
    models = sorted(set(rows["model"]))
    keys = [*strata.SERIES, "lead", strata.GROUP, "region"]
    reference = rows[rows["model"] == run.best_trivial]
    if run.best_trivial is None or reference.empty:
        why = (
            "no trivial row was chosen on validation"
            if run.best_trivial is None
            else f"the reference {run.best_trivial} has no scores"
        )
        found = sorted(set(rows["metric"])) or sorted(PERFECT)
        gone = [Absent(model, why, f"skill.{name}") for model in models for name in found]
        return rows.iloc[:0], tuple(gone)
    reference = reference.drop_duplicates(keys)[[*keys, "value"]].rename(columns={"value": "_ref"})
    joined = rows.merge(reference, on=keys, how="left")
    room = joined["metric"].map(PERFECT).astype(float) - joined["_ref"]
    skill = (joined["value"] - joined["_ref"]) / room.where(room != 0)
    joined["metric"] = "skill." + joined["metric"].astype(str)
    joined["value"] = skill
    why = f"{run.best_trivial} is already perfect or absent in every region"
    counts = joined.assign(_there=skill.notna())
    headline = counts[(counts[strata.GROUP] == strata.HEADLINE) & (counts["band"] == "all")]
    there = headline.groupby(["model", "metric", "lead"])["_there"].any()
    gone = [Absent(str(m), why, str(k), int(n)) for (m, k, n) in there[~there].index]
    return joined.drop(columns="_ref"), tuple(gone)


def _tidy(
    run: RunInfo,
    means: pd.DataFrame,
    skill: pd.DataFrame,
    absent: tuple[Absent, ...],
    sets: pd.DataFrame,
) -> tuple[pd.DataFrame, tuple[Absent, ...]]:
    cells = _stack(
        cells_of(means, paired=False),
        cells_of(skill, paired=True),
        share_cells(shares(skill, run.best_trivial)),
    )
    if run.one_scene:
        cells = of_blocks(cells, _stack(means, skill))
    itself = cells["metric"].str.startswith("skill.") & (cells["model"] == run.best_trivial)
    cells.loc[itself, ["lo", "hi"]] = float("nan")  # zero by definition, not by measurement
    cells.loc[itself, "interval"] = inference.NONE
    if run.one_scene:
        spread = cells["interval"] != inference.NONE
        cells.loc[spread, "interval"] += inference.ONE_SCENE
    cells = _stack(cells, set_cells(sets))
    cells = _stack(cells, _null_rows(cells, run.absent + absent, run))
    cells["inputs"] = cells["model"].map(run.inputs).fillna(f"{run.sensor} k={run.context}")
    cells["weights"] = cells["model"].map(run.weights).astype(object)
    cells["weights"] = cells["weights"].where(cells["weights"].notna(), None)
    for name in ("schema", "dataset_digest", "split", "protocol", "seed", "precision", "step"):
        cells[name] = getattr(run, name)
    cells["dataset"] = run.label
    order = ["model", "preset", "metric", "band", "stratum", "lead"]
    return cells[COLUMNS].sort_values(order, kind="stable").reset_index(drop=True), absent


def _each_model(absent: Sequence[Absent], models: Sequence[str]) -> Iterator[Absent]:
    for item in absent:
        yield from [item] if item.model != "*" else [replace(item, model=m) for m in models]


def _null_rows(cells: pd.DataFrame, absent: Sequence[Absent], run: RunInfo) -> pd.DataFrame:
    """Return a null row for every headline cell that a reason names and no number fills."""
    metrics = sorted(set(cells["metric"]))
    presets = dict(zip(cells["model"], cells["preset"], strict=True))
    headline = cells[(cells["band"] == "all") & (cells["stratum"] == strata.HEADLINE)]
    there = set(zip(headline["model"], headline["metric"], headline["lead"], strict=True))
    rows = {}
    for item in _each_model(absent, sorted(set(cells["model"]))):
        for metric in metrics if item.metric is None else [item.metric]:
            for lead in range(1, run.horizon + 1) if item.lead is None else [item.lead]:
                key = (item.model, metric, lead)
                if key not in there:
                    rows[key] = {
                        "model": item.model,
                        "preset": presets.get(item.model, ""),
                        "metric": metric,
                        "lead": lead,
                    }
    frame = pd.DataFrame(list(rows.values()), columns=["model", "preset", "metric", "lead"])
    frame["lead"] = frame["lead"].astype("int64")
    return frame.assign(
        band="all",
        stratum=strata.HEADLINE,
        value=float("nan"),
        lo=float("nan"),
        hi=float("nan"),
        interval=inference.NONE,
        n_regions=0,
        n_samples=0,
        n_missing=0,
    )
