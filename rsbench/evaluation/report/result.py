"""The result of a board in one sentence, and its entries in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rsbench.evaluation import strata
from rsbench.evaluation.report import comparisons
from rsbench.evaluation.report.board import Board
from rsbench.evaluation.report.charts import minus
from rsbench.evaluation.report.leaderboard import cell_text, span_text
from rsbench.evaluation.report.versus import compare_cells
from rsbench.evaluation.table import number
from rsbench.models.registry import cards

BOUNDS = {
    "oracle": "conditional mean of the simulation: no forecast has a smaller mean squared error",
    "floor": "what the noise of the data itself costs: not a forecast",
    "control": "made of a model's weights to check what they contribute; not ranked",
    "trivial": "reference model",
}
"""Role → what an entry of it is, where no installed package describes it."""


@dataclass(frozen=True)
class _At:
    """The endpoint at one lead time; ``better``: a, b or nothing, None where it was not tested."""

    lead: int
    value: str
    better: str | None
    regions: int


def sentence(board: Board, models: Sequence[Mapping[str, Any]]) -> str:
    """Return what the primary endpoint says of the best model against the best reference model.

    Empty where no model or no reference model has a value of it. A difference counts where its p
    value is below 0.05 after Holm's correction.
    """
    endpoint = board.run.endpoint
    losses = endpoint.losses(board.scores.table())
    ranked = [m for m in models if (m["model"], m["preset"]) in losses]
    ranked.sort(key=lambda m: losses[m["model"], m["preset"]])
    best = next((m for m in ranked if m["role"] == "model"), None)
    others = [m for m in ranked if m["role"] == "trivial"]
    rival = next((m for m in others if m["reference"] and endpoint.is_skill), None)
    found = _of_skill(board, best) if best and rival else ()
    if not endpoint.is_skill:
        rival = next(iter(others), None)
        found = _of_values(board, best, rival) if best and rival else ()
    if best is None or rival is None or not found:
        return ""
    what = "the reference of skill" if endpoint.is_skill else "the best reference model"
    name = f"{best['model']} {best['preset']}".rstrip()
    values = ", ".join(
        at.value + (f" at {board.run.words.lead(at.lead)}" if board.run.words.curves else "")
        for at in found
    )
    return (
        f"{name} {_verdict(board, found)} {rival['model']}, {what}: {endpoint.name} {values}; "
        f"{found[0].regions} regions."
    )


def _of_skill(board: Board, best: Mapping[str, Any]) -> tuple[_At, ...]:
    """Return the skill of a model, as the table has it, with the corrected test of 0."""
    own = (best["model"], best["preset"])
    tests = {e.lead: e for e in comparisons.endpoints(board) if (e.model, e.preset) == own}
    rows = strata.headline(board.scores.table(), board.run.endpoint.metric)
    rows = rows[(rows["model"] == own[0]) & (rows["preset"] == own[1]) & rows["value"].notna()]
    found = []
    for row in rows[rows["lead"].isin(board.run.endpoint.leads)].to_dict("records"):
        test = tests.get(int(row["lead"]))
        better = None if test is None else ("a" if test.better else "b") if test.kept else ""
        text = cell_text(row)
        span = f" (95 % interval {text['span']})" if text["span"] else ""
        found.append(_At(int(row["lead"]), text["value"] + span, better, int(row["n_regions"])))
    return tuple(found)


def _of_values(board: Board, best: Mapping[str, Any], rival: Mapping[str, Any]) -> tuple[_At, ...]:
    """Return the values of both, and the interval of their difference."""
    sides = [{0: (m["model"], m["preset"])} for m in (best, rival)]
    cells = [(board.run.endpoint.metric, lead) for lead in board.run.endpoint.leads]
    found = []
    for row in compare_cells(board, (sides[0], sides[1]), cells):
        value = f"{minus(number(row.a))} against {minus(number(row.b))}"
        if row.lo is not None and row.hi is not None:
            value += f" (95 % interval of the difference {span_text(row.lo, row.hi)})"
        better = None if row.p is None else row.better
        found.append(_At(row.lead, value, better, row.n_regions))
    return tuple(found)


def _verdict(board: Board, found: Sequence[_At]) -> str:
    """Return how the model compares, over the leads of the endpoint."""
    if all(at.better is None for at in found):
        return "was scored on too few regions to be tested against"
    for side, word in (("a", "better"), ("b", "worse")):
        leads = [at.lead for at in found if at.better == side]
        if len(leads) == len(found):
            return f"is {word} than"
        if leads:
            named = " and ".join(board.run.words.lead(lead) for lead in leads)
            return f"is {word}, only at {named}, than"
    return "is not shown to differ from"


def explained(models: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return (entry, what it is) of the entries that are no models, in the order of the table."""
    known = cards()
    found: dict[str, str] = {}
    for row in models:
        if row["role"] != "model":
            card = known.get(row["model"])
            text = card.title if card is not None else BOUNDS.get(row["role"], "")
            found.setdefault(row["model"], text)
    return [(name, text) for name, text in found.items() if text]
