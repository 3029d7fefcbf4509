"""The primary endpoint of a table: the metric and lead times that order its entries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rsbench.catalog import Protocol, load_protocol, names
from rsbench.evaluation import strata
from rsbench.evaluation.intervals import loss
from rsbench.metrics.queries import SELECTION, SKILL


@dataclass(frozen=True)
class PrimaryEndpoint:
    """What orders the entries of a table.

    Args:
        metric: id of a metric, or ``skill.ID``.
        leads: lead times over whose mean entries are ordered.
        stated: whether the protocol states it; otherwise it is the default.
        one_lead: whether the table has one lead time, which then needs no name.
    """

    metric: str
    leads: tuple[int, ...]
    stated: bool = True
    one_lead: bool = False

    @property
    def is_skill(self) -> bool:
        """Whether it is the skill of a metric: 1 is perfect, 0 equals the reference model."""
        return self.metric.startswith(SKILL)

    @property
    def name(self) -> str:
        """The metric for people, e.g. ``MSE skill`` or ``rmse@1``."""
        short = self.metric.removeprefix(SKILL).partition("@")[0].upper()
        return f"{short} skill" if self.is_skill else self.metric

    @property
    def label(self) -> str:
        """The name and the lead times, e.g. ``MSE skill at leads 1 and 3``."""
        if self.one_lead:
            return self.name
        *most, last = map(str, self.leads)
        text = f"{', '.join(most)} and {last}" if most else last
        return f"{self.name} at {'leads' if most else 'lead'} {text}"

    @property
    def title(self) -> str:
        """The label, and whether the protocol states it."""
        return f"{self.label} ({'stated by the protocol' if self.stated else 'the default'})"

    def within(self, horizon: int) -> PrimaryEndpoint:
        """Return the endpoint with the lead times of a table of this horizon."""
        leads = tuple(lead for lead in self.leads if lead <= horizon)
        return PrimaryEndpoint(self.metric, leads or (1,), self.stated, one_lead=horizon == 1)

    def losses(self, table: pd.DataFrame) -> dict[tuple[str, str], float]:
        """Return {(model, preset): mean loss over the lead times}; lower is better.

        Entries without a value at one of the lead times that the table has are left out.
        """
        rows = strata.headline(table, self.metric)
        rows = rows[rows["lead"].isin(self.leads) & rows["value"].notna()]
        there = rows["lead"].nunique()
        found: dict[tuple[str, str], list[float]] = {}
        for model, preset, value in rows[["model", "preset", "value"]].itertuples(
            index=False, name=None
        ):
            found.setdefault((str(model), str(preset)), []).append(loss(self.metric, float(value)))
        return {
            entry: math.fsum(values) / there
            for entry, values in found.items()
            if len(values) == there
        }


DEFAULT = PrimaryEndpoint(f"{SKILL}{SELECTION}", (1, 3), stated=False)


def stated_by(protocol: Protocol) -> dict[str, Any] | None:
    """Return the primary endpoint of a protocol as a run stores it, None where it states none."""
    return None if protocol.primary is None else protocol.primary.model_dump(mode="json")


def endpoint_of(primary: Mapping[str, Any] | None, protocol: str, horizon: int) -> PrimaryEndpoint:
    """Return the primary endpoint of a table.

    Args:
        primary: what the run stored of it.
        protocol: name of the protocol, for runs written before this was stored.
        horizon: largest lead time of the table.
    """
    stated = primary if primary is not None else _of_catalogue(protocol)
    if stated is None:
        return DEFAULT.within(horizon)
    prefix = SKILL if stated["score"] == "skill" else ""
    leads = tuple(int(lead) for lead in stated["leads"])
    return PrimaryEndpoint(prefix + str(stated["metric"]), leads).within(horizon)


def _of_catalogue(protocol: str) -> dict[str, Any] | None:
    name = protocol.partition("/")[0]  # what follows is how it was fitted to the store
    return stated_by(load_protocol(name)) if name in names("protocols") else None
