"""The entries that always stand in a table: the task's reference models and bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rsbench.core.phases import Phases
from rsbench.evaluation.costs import Made, made
from rsbench.evaluation.entries import (
    ModelEntry,
    Placement,
    bound_entry,
    known_entry,
    model_entry,
)
from rsbench.evaluation.fit import fit
from rsbench.evaluation.loop import score
from rsbench.evaluation.run_info import Absent
from rsbench.evaluation.strata import whole
from rsbench.metrics.queries import SELECTION
from rsbench.models.registry import card, create_model
from rsbench.tasks.config import EvaluationConfig, Note, quiet
from rsbench.tasks.registry import task_of
from rsbench.tasks.settings import cases


@dataclass(frozen=True)
class ReferenceEntries:
    """The reference models of a table, why others are absent, and the classes of the models."""

    entries: tuple[ModelEntry, ...]
    absent: tuple[Absent, ...]
    citations: Mapping[str, str]
    weights: Mapping[str, str | None]
    inputs: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[type, ...] = ()
    made: Mapping[str, Made] = field(default_factory=dict)


def reference_entries(
    config: EvaluationConfig, *, note: Note = quiet, phases: Phases | None = None
) -> ReferenceEntries:
    """Return the reference models that the context allows; the others are absent with a reason."""
    own, timed = task_of(config), phases or Phases()
    entries, absent, citations, kinds = [], [], {}, []
    weights: dict[str, str | None] = {}
    costs: dict[str, Made] = {}
    for name in own.reference_models:
        known = card(name)
        citations[name] = known.citation
        if config.context < known.min_context:
            needs = f"needs {known.min_context} {own.words.frames}"
            absent.append(Absent(name, f"{needs}, the table has {config.context}"))
            continue
        if (why := own.unsuited(config, name)) is not None:
            absent.append(Absent(name, why))
            continue
        model = create_model(name, **own.model_options(config))
        if known.fitted:
            if "train" not in own.splits(config):
                absent.append(Absent(name, "the store has no training split to fit on"))
                continue
            note(f"fitting {name} on the training split")
            with timed.time("fit"):
                weights[name] = fit(model, config)
        placed = Placement(config.device, phases=timed)
        costs[name] = made(model)
        kinds.append(type(model))
        entries.append(model_entry(name, known.default_preset, "trivial", model, known, placed))
    shown = dict.fromkeys(own.reference_models, own.shown(config))
    return ReferenceEntries(
        tuple(entries), tuple(absent), citations, weights, shown, tuple(kinds), costs
    )


def bound_entries(config: EvaluationConfig) -> tuple[ModelEntry, ...]:
    """Return oracle, noise floor and entries known without a model, as far as a task has them."""
    own = task_of(config)
    return (*map(known_entry, own.known(config)), *map(bound_entry, own.bounds(config)))


@dataclass(frozen=True)
class Selection:
    """How the reference of skill was selected.

    Args:
        model: its name; None if there is no reference model.
        samples: validation samples that were scored for it.
        regions: regions of these samples.
        chosen: whether it is the best on them; False: the first reference model of the task.
    """

    model: str | None
    samples: int = 0
    regions: int = 0
    chosen: bool = False


LEAST_SAMPLES = 4
"""Fewer validation samples choose no reference of skill.

Of two reference models whose errors differ by one standard deviation of the difference, n samples
choose the worse one with probability Φ(−√n): 16 % for one sample, 8 % for two, 4 % for three. Four
is the least n for which it is below 2.5 %.
"""


def select_reference(config: EvaluationConfig, entries: Sequence[ModelEntry]) -> Selection:
    """Return the reference model with the least mean squared error on validation.

    With fewer than ``LEAST_SAMPLES`` validation samples it is the first entry, in the order of the
    task's ``reference_models``.
    """
    if not entries:
        return Selection(None)
    default = Selection(entries[0].model)
    if "val" not in task_of(config).splits(config):
        return default
    tally = score(
        entries, cases(config, split="val"), [SELECTION], bands=config.bands,
        value_range=config.meta.value_range,
    )  # fmt: skip
    units = whole(tally.frame({}))
    units = units[(units["band"] == "all") & units["curve"].isin(("starts", "both"))]
    sums = units.groupby("model")[["value_sum", "weight"]].sum()
    means = (sums["value_sum"] / sums["weight"]).dropna()
    known = units[(units["weight"] > 0) & units["model"].isin(means.index)]
    samples = known.groupby(["model", "lead"])["weight"].sum().min() if len(known) else 0
    found = replace(default, samples=int(samples), regions=known["region"].nunique())
    if found.samples < LEAST_SAMPLES:
        return found
    return replace(found, model=str(means.idxmin()), chosen=True)
