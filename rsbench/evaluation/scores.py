"""Sums and weights per unit, and the tidy table made from them."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import reduce
from pathlib import Path
from typing import Any, Self, cast

import pandas as pd

from rsbench.catalog import load_protocol
from rsbench.catalog import names as catalogue_names
from rsbench.core.errors import (
    UPGRADE,
    Incomparable,
    InputError,
    SchemaError,
    first_line,
    other_schema,
)
from rsbench.core.typed import typed
from rsbench.evaluation import intervals as inference
from rsbench.evaluation import strata
from rsbench.evaluation.endpoint import PrimaryEndpoint, endpoint_of
from rsbench.evaluation.pooled_metrics import empty_counts, pooled_tables
from rsbench.evaluation.run_files import (
    PARTS,
    RUN,
    SCHEMA,
    UNITS,
    again_into,
    read_frames,
    read_run,
    unsealed,
    write_run,
)
from rsbench.evaluation.table_cells import cells_of, of_blocks, set_cells, share_cells, shares
from rsbench.evaluation.unit_table import KEYS, PIXEL_COLUMNS, PIXEL_KEYS, checked, stack
from rsbench.metrics.queries import perfect_values
from rsbench.store.plausible import percent
from rsbench.tasks.registry import task
from rsbench.tasks.words import Words

COLUMNS = [
    "schema", "dataset", "dataset_digest", "split", "protocol", "model", "preset", "inputs",
    "weights", "seed", "precision", "metric", "band", "lead", "step", "stratum", "value", "lo",
    "hi", "interval", "n_regions", "n_samples", "n_missing",
]  # fmt: skip
SET_COLUMNS = [
    "model", "preset", "role", "metric", "lead", "value", "lo", "hi", "interval", "n_regions", "n",
    "d", "n_missing", "halves", "origins", "notes",
]  # fmt: skip
IDENTITY = (
    "schema", "dataset_digest", "task", "split", "protocol", "context", "step", "sensor",
)  # fmt: skip
"""Fields of a run that are equal in runs that can be compared."""
HALVES = "halves"
"""The entry of two halves of the truth, each of half the images: a floor of set metrics."""
IMPLAUSIBLE = "implausible_truth"
"""Entry of run.json: how many images the truth has, and which have implausible numbers."""
EARLIEST_TASK = "forecast"
"""The task of results that state none and whose protocol is not in the catalogue."""


@dataclass(frozen=True)
class Absent:
    """Why a value is absent: of a model (``*``: every model), of one metric, or at one lead."""

    model: str
    reason: str
    metric: str | None = None
    lead: int | None = None


@dataclass(frozen=True)
class RunInfo:
    """Identity and provenance of a run, and what its report states.

    Args:
        dataset: name of the recipe or import.
        task: name of the task; results that state none have that of their protocol.
        starts: ISO dates of the starts scored.
        step: ISO 8601 duration between leads, e.g. ``P1Y``.
        one_scene: whether the regions are blocks of one scene, which makes intervals conditional.
        weights: model → digest of its weights, null where it has none.
        inputs: model → what it is given, e.g. ``s2 k=3``.
        licences: sensor → ``licence``, ``attribution``, ``citation``.
        absent: values that are absent, with the reason.
        best_trivial: the reference of skill: the reference model that was best on validation, or
            the task's first one where validation has too few samples.
        selection: how it was selected: ``samples`` and ``regions`` of validation, and ``chosen``,
            False for the task's first one. None in results that do not state it.
        pooled: ids of the pooled metrics, which are evaluated from counts.
        primary: metric, score and leads of the primary endpoint, where the protocol states one.
        history: model → learning-curve points ``{"step", "loss", "validation", …}``.
        citations: model → reference of the publication.
        extra: keys that a newer version wrote under the same schema; written back unchanged.
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
    task: str = ""
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
    selection: Mapping[str, Any] | None = None
    pooled: tuple[str, ...] = ()
    primary: Mapping[str, Any] | None = None
    history: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    command: str = ""
    created: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.task:
            object.__setattr__(self, "task", protocol_task(self.protocol) or EARLIEST_TASK)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        value = asdict(self)
        return {**value.pop("extra"), **value}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read the JSON form, of this schema only.

        Raises:
            InputError: if a field is absent or of another type.
            SchemaError: if it has another schema.
        """
        if value.get("schema") != SCHEMA:
            raise other_schema("reading a run", value.get("schema"), SCHEMA, run_again(value))
        known = {item.name for item in fields(cls)} - {"extra"}
        own = {name: value[name] for name in known & set(value)}
        own["extra"] = {name: value[name] for name in sorted(set(value) - known)}
        try:
            return typed(cls, own)
        except ValueError as error:
            raise InputError("reading a run", f"{error}", "Run it again") from error

    @property
    def label(self) -> str:
        """Name of the dataset, and whether it is simulated, one scene or incomplete."""
        known = {
            "simulated": self.simulated, "one scene": self.one_scene,
            "incomplete": not self.complete,
        }  # fmt: skip
        notes = [note for note, true in known.items() if true and note not in self.dataset]
        return f"{self.dataset} ({', '.join(notes)})" if notes else self.dataset

    @property
    def endpoint(self) -> PrimaryEndpoint:
        """The primary endpoint, which orders the entries."""
        return endpoint_of(self.primary, self.protocol, self.horizon)

    @property
    def words(self) -> Words:
        """The words of the run's task; UnknownName if no installed package offers it."""
        return task(self.task).words.stepped(self.step, self.starts)

    @property
    def reference(self) -> str:
        """The reference of skill and how it was selected, in words."""
        if self.best_trivial is None:
            return "none, as no reference model was scored"
        if self.selection is None:
            return f"{self.best_trivial}, the best reference model on the validation split"
        samples, regions = self.selection["samples"], self.selection["regions"]
        plural = ("" if samples == 1 else "s", "" if regions == 1 else "s")
        on = f"{samples} validation sample{plural[0]} of {regions} region{plural[1]}"
        if self.selection["chosen"]:
            return f"{self.best_trivial}, the best reference model on {on}"
        why = f"{on} are too few to choose one" if samples else "there are no validation samples"
        return f"{self.best_trivial}, the first reference model of the task ({why})"

    @property
    def implausible(self) -> str:
        """Say how much of the truth is outside the plausible range; empty if nothing is."""
        told = self.extra.get(IMPLAUSIBLE)
        if not told:
            return ""
        found = told["found"]
        share = sum(one["outside"] for one in found) / sum(one["count"] for one in found)
        worst = max(found, key=lambda one: float(one["outside"] / one["count"]))
        return (
            f"truth outside the plausible range: {percent(share)} of the numbers in {len(found)} "
            f"of {told['images']} images; most in {worst['region']} {worst['day']}: {worst['says']}"
        )

    def identity(self) -> dict[str, Any]:
        """Return what must be equal for any two values to be compared."""
        return {name: getattr(self, name) for name in IDENTITY}


def protocol_task(protocol: str) -> str | None:
    """Return the task of a catalogue protocol by its name in results; None for other names."""
    name = protocol.partition("/")[0]  # the window of small regions is written behind it
    return load_protocol(name).task if name in catalogue_names("protocols") else None


@dataclass(frozen=True)
class Scores:
    """Sums per unit of one run: one row per (model, region, start, lead, metric, band).

    ``value_sum`` is Σ over images of the per-image value, ``weight`` the number of images with a
    defined value, ``n_images`` all images of the unit, ``n_missing`` those without a value.
    ``pixels`` has these rows per class of pixels (column ``pixel_class``), for metrics that are
    means over pixels: the sums and weights of the classes of one layer add up to the unit. ``sets``
    holds metrics of sets of images, one row per (model, lead, metric), without sums. ``counts``
    holds what pooled metrics count in every image.
    """

    units: pd.DataFrame
    run: RunInfo
    sets: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=SET_COLUMNS))
    pixels: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=PIXEL_COLUMNS))
    counts: pd.DataFrame = field(default_factory=empty_counts)
    _made: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", checked(self.units, KEYS))
        if len(self.pixels):
            object.__setattr__(self, "pixels", checked(self.pixels, PIXEL_KEYS))

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
        pixels = stack(self.pixels, other.pixels)
        run = _merge(self.run, other.run)
        why = "a distance of sets does not add up over parts; score them in one run"
        metrics = sorted({*self.sets["metric"], *other.sets["metric"]})
        gone = tuple(Absent("*", why, str(metric)) for metric in metrics)
        run = replace(run, absent=tuple(dict.fromkeys(run.absent + gone)))
        return Scores(both, run, pixels=pixels, counts=stack(self.counts, other.counts))

    @classmethod
    def sum(cls, parts: Sequence[Scores]) -> Scores:
        """Return the sum of at least one part."""
        return reduce(lambda a, b: a + b, parts)

    def table(self) -> pd.DataFrame:
        """Return the tidy table: one row per model, metric, band, lead and stratum."""
        return self._tidy()[0].copy()

    def absences(self) -> tuple[Absent, ...]:
        """Return the reasons for absent values: those of the run and of undefined skill."""
        return self.run.absent + self._tidy()[1]

    def region_means(self) -> pd.DataFrame:
        """Return pooled values per region on the matched sets, skill included.

        Columns: model preset role metric band lead stratum region value n_samples n_missing.
        """
        means, skill, _ = self._pooled()
        of_regions = shares(skill, self.run.best_trivial)
        parts = stack(means, skill, of_regions, self._pooled_tables()[1])
        return parts.rename(columns={strata.GROUP: "stratum"})

    def _pooled(self) -> tuple[pd.DataFrame, pd.DataFrame, tuple[Absent, ...]]:
        if "pooled" not in self._made:
            offered = strata.grouped(self.units, self.run.horizon)
            if len(self.pixels):
                offered = stack(offered, strata.grouped_pixels(self.pixels, self.run.horizon))
            means = strata.region_means(offered)
            self._made["pooled"] = (means, *_skill(means, self.run))
        return cast("tuple[pd.DataFrame, pd.DataFrame, tuple[Absent, ...]]", self._made["pooled"])

    def _tidy(self) -> tuple[pd.DataFrame, tuple[Absent, ...]]:
        if "tidy" not in self._made:
            added = stack(set_cells(self.sets), self._pooled_tables()[0])
            self._made["tidy"] = _tidy(self.run, *self._pooled(), added)
        return cast("tuple[pd.DataFrame, tuple[Absent, ...]]", self._made["tidy"])

    def _pooled_tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return cells and pseudo-values by region of the pooled metrics."""
        if "counted" not in self._made:
            subsets = strata.regions_by_stratum(self.units)
            self._made["counted"] = pooled_tables(
                self.counts, self.run.bands, self.run.pooled, subsets
            )
        return cast("tuple[pd.DataFrame, pd.DataFrame]", self._made["counted"])

    def matchings(self, stratum: str) -> tuple[strata.Matching, ...]:
        """Return per metric and band the origins that a matched set kept and dropped."""
        name = f"matchings {stratum}"
        if name not in self._made:
            self._made[name] = strata.matchings(self.units, self.run.horizon, stratum)
        return cast("tuple[strata.Matching, ...]", self._made[name])

    def save(self, folder: Path) -> None:
        """Write ``scores.parquet`` and ``run.json`` into a folder, each whole or not at all.

        ``sets.parquet``, ``pixels.parquet`` and ``counts.parquet`` are written if there are such
        scores. ``run.json`` is written last and has the digests of the others and of itself.
        """
        folder.mkdir(parents=True, exist_ok=True)
        run = replace(self.run, absent=tuple(dict.fromkeys(self.absences())))
        write_run(folder, run.to_json(), {"scores": self.units, **self._further()})

    def _further(self) -> dict[str, pd.DataFrame]:
        return {name: part for name in PARTS if len(part := getattr(self, name))}

    @classmethod
    def load(cls, folder: Path) -> Scores:
        """Read a run folder.

        Raises:
            InputError: if a file is absent, or is not the one that was written.
            SchemaError: if it was written under another schema.
        """
        value, asked = read_run(folder), f"reading the run {folder}"
        try:
            run = RunInfo.from_json(unsealed(value))
        except SchemaError as error:
            here = f"{error.remedy} --out {shlex.quote(f'{folder}-again')}"
            remedy = error.remedy if UPGRADE in error.remedy else here
            raise SchemaError(asked, error.found, remedy) from error
        except InputError as error:
            found = f"{RUN} is damaged ({error.found})"
            raise InputError(asked, found, again_into(folder)) from error
        frames = read_frames(folder, value)
        try:
            return cls(frames.pop("scores"), run, **frames)
        except InputError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            found = f"{UNITS} is damaged ({first_line(error)})"
            raise InputError(asked, found, again_into(folder)) from error


def run_again(value: Mapping[str, Any]) -> str:
    """Return the command that made a run, as its ``run.json`` of any schema states it."""
    stated = value.get("command")
    return stated if isinstance(stated, str) and stated else "rsbench run --model NAME --data STORE"


def _merge(a: RunInfo, b: RunInfo) -> RunInfo:
    named = ("weights", "inputs", "licences", "citations", "history")
    both: dict[str, Any] = {name: {**getattr(a, name), **getattr(b, name)} for name in named}
    return replace(
        a,
        starts=tuple(sorted({*a.starts, *b.starts})),
        horizon=max(a.horizon, b.horizon),
        complete=a.complete and b.complete,
        simulated=a.simulated or b.simulated,
        one_scene=a.one_scene or b.one_scene,
        missing=a.missing + tuple(item for item in b.missing if item not in a.missing),
        absent=tuple(dict.fromkeys(a.absent + b.absent)),
        **both,
    )


def _skill(means: pd.DataFrame, run: RunInfo) -> tuple[pd.DataFrame, tuple[Absent, ...]]:
    """Return skill per region, (s − ref) / (perfect − ref), and why any of it is absent."""
    perfect = perfect_values()
    rows = means[means["metric"].isin(perfect)]
    models = sorted(set(rows["model"]))
    keys = [*strata.SERIES, "lead", strata.GROUP, "region"]
    reference = rows[rows["model"] == run.best_trivial]
    if run.best_trivial is None or reference.empty:
        why = (
            "there is no reference model"
            if run.best_trivial is None
            else f"the reference {run.best_trivial} has no scores"
        )
        found = sorted(set(rows["metric"])) or sorted(perfect)
        gone = [Absent(model, why, f"skill.{name}") for model in models for name in found]
        return rows.iloc[:0], tuple(gone)
    reference = reference.drop_duplicates(keys)[[*keys, "value"]].rename(columns={"value": "_ref"})
    joined = rows.merge(reference, on=keys, how="left")
    room = joined["metric"].map(perfect).astype(float) - joined["_ref"]
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
    added: pd.DataFrame,
) -> tuple[pd.DataFrame, tuple[Absent, ...]]:
    cells = stack(
        cells_of(means),
        cells_of(skill),
        share_cells(shares(skill, run.best_trivial)),
    )
    if run.one_scene:
        cells = of_blocks(cells, stack(means, skill))
    itself = cells["metric"].str.startswith("skill.") & (cells["model"] == run.best_trivial)
    cells.loc[itself, ["lo", "hi"]] = float("nan")  # zero by definition, not by measurement
    cells.loc[itself, "interval"] = inference.NONE
    if run.one_scene:
        spread = cells["interval"] != inference.NONE
        cells.loc[spread, "interval"] += inference.ONE_SCENE
    cells = stack(cells, added)
    cells = stack(cells, _null_rows(cells, run.absent + absent, run))
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
    """Return a null row for every headline cell that has a reason and no value."""
    metrics = sorted(set(cells["metric"]))
    presets = dict(zip(cells["model"], cells["preset"], strict=True))
    headline = strata.headline(cells)
    there = set(zip(headline["model"], headline["metric"], headline["lead"], strict=True))
    rows: dict[tuple[str, str, str, int], None] = {}
    for item in _each_model(absent, sorted(set(cells["model"]))):
        for metric in metrics if item.metric is None else [item.metric]:
            for lead in range(1, run.horizon + 1) if item.lead is None else [item.lead]:
                if (item.model, metric, lead) not in there:
                    rows[item.model, presets.get(item.model, ""), metric, lead] = None
    frame = pd.DataFrame(list(rows), columns=["model", "preset", "metric", "lead"])
    frame = frame.astype({"lead": "int64"}).assign(**dict.fromkeys(("value", "lo", "hi"), math.nan))
    counts: dict[str, Any] = dict.fromkeys(("n_regions", "n_samples", "n_missing"), 0)
    return frame.assign(band="all", stratum=strata.HEADLINE, interval=inference.NONE, **counts)
