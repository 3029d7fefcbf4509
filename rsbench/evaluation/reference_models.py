"""The entries that always stand in a table: the task's reference models and bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rsbench.evaluation.entries import ModelEntry, Placement, bound_entry, model_entry
from rsbench.evaluation.fit import fit
from rsbench.evaluation.loop import score
from rsbench.evaluation.scores import Absent
from rsbench.evaluation.strata import whole
from rsbench.metrics.queries import SELECTION
from rsbench.models.registry import card, create_model
from rsbench.tasks.config import EvaluationConfig, Note, quiet
from rsbench.tasks.registry import task_of
from rsbench.tasks.settings import cases


@dataclass(frozen=True)
class Rows:
    """The rows of a table, and why others are absent."""

    rows: tuple[ModelEntry, ...]
    absent: tuple[Absent, ...]
    citations: Mapping[str, str]
    weights: Mapping[str, str | None]
    inputs: Mapping[str, str] = field(default_factory=dict)


def trivial_rows(config: EvaluationConfig, *, note: Note = quiet) -> Rows:
    """Return the reference models that the context allows; the others are absent with a reason."""
    own = task_of(config)
    rows, absent, citations = [], [], {}
    weights: dict[str, str | None] = {}
    for name in own.reference_models:
        entry = card(name)
        citations[name] = entry.citation
        if config.context < entry.min_context:
            needs = f"needs {entry.min_context} {own.words.frames}"
            absent.append(Absent(name, f"{needs}, the table has {config.context}"))
            continue
        model = create_model(name, bands=len(config.bands), context=config.context)
        if entry.fitted:
            if "train" not in own.splits(config):
                absent.append(Absent(name, "the store has no training split to fit on"))
                continue
            note(f"fitting {name} on the training split")
            weights[name] = fit(model, config)
        placed = Placement(config.device)
        rows.append(model_entry(name, entry.default_preset, "trivial", model, entry, placed))
    shown = dict.fromkeys(own.reference_models, own.shown(config))
    return Rows(tuple(rows), tuple(absent), citations, weights, shown)


def control_rows(config: EvaluationConfig) -> tuple[ModelEntry, ...]:
    """Return the rows that bound what can be reached, where the task and the store have them."""
    return tuple(bound_entry(bound) for bound in task_of(config).bounds(config))


def best_trivial(config: EvaluationConfig, rows: Sequence[ModelEntry]) -> str | None:
    """Return the trivial row with the least mean squared error on validation; None without one."""
    if "val" not in task_of(config).splits(config) or not rows:
        return None
    tally = score(
        rows, cases(config, split="val"), [SELECTION], bands=config.bands,
        value_range=config.meta.value_range,
    )  # fmt: skip
    units = whole(tally.frame({}))
    units = units[(units["band"] == "all") & units["curve"].isin(("starts", "both"))]
    sums = units.groupby("model")[["value_sum", "weight"]].sum()
    means = (sums["value_sum"] / sums["weight"]).dropna()
    return None if means.empty else str(means.idxmin())
