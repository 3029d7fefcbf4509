"""Identity and provenance of a run: the content of ``run.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

from rsbench.catalog import load_protocol
from rsbench.catalog import names as catalogue_names
from rsbench.core.errors import InputError, other_schema
from rsbench.core.typed import typed
from rsbench.evaluation.endpoint import PrimaryEndpoint, endpoint_of
from rsbench.evaluation.run_files import SCHEMA
from rsbench.store.plausible import percent
from rsbench.tasks.labels import TrainingLabels
from rsbench.tasks.registry import task
from rsbench.tasks.words import Words

IDENTITY = (
    "schema", "dataset_digest", "task", "split", "protocol", "context", "step", "sensor",
)  # fmt: skip
"""Fields of a run that are equal in runs that can be compared."""
IMPLAUSIBLE = "implausible_truth"
"""Entry of run.json: how many images the truth has, and which have implausible numbers."""
LABELS = "labels"
"""Entry of run.json: which labels models were fitted and trained with."""
CLASS_PIXELS = "class_pixels"
"""Entry of run.json: split → class → number of labelled pixels."""
REUSED = "reused"
"""Entry of run.json: whose scores come from the cache, and its folder in ``RSBENCH_CACHE``."""
PHASES = "phases"
"""Entry of run.json: phase → seconds of wall-clock time, until the file was written."""
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
    def labelled(self) -> str:
        """Say which training labels were used; empty for all labels of all classes."""
        told = self.extra.get(LABELS)
        return str(TrainingLabels.from_json(told)) if told else ""

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


def run_again(value: Mapping[str, Any]) -> str:
    """Return the command that made a run, as its ``run.json`` of any schema states it."""
    stated = value.get("command")
    return stated if isinstance(stated, str) and stated else "rsbench run --model NAME --data STORE"


def merged(a: RunInfo, b: RunInfo) -> RunInfo:
    """Return the run of both parts, of equal identity."""
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
