"""The words of a task in tables and reports."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

UNITS = {"Y": "year", "M": "month", "W": "week", "D": "day"}
"""Names of the units of ISO 8601 durations."""


class Scored(Protocol):
    """Properties of a run that the words of a report use."""

    @property
    def context(self) -> int:
        """Context frames, or reference dates."""

    @property
    def horizon(self) -> int:
        """Largest lead."""

    @property
    def step(self) -> str:
        """ISO 8601 duration between leads."""

    @property
    def starts(self) -> tuple[str, ...]:
        """ISO dates of the starts scored."""


@dataclass(frozen=True)
class Pace:
    """Time between leads: ``count`` units; ``first`` is the start year where there is only one."""

    count: int
    unit: str
    first: int | None = None

    def lead(self, number: int) -> str:
        """Return the name of a lead time: ``year +3 (2020)``."""
        ahead = self.count * number
        year = "" if self.first is None else f" ({self.first + ahead})"
        return f"{self.unit} +{ahead}{year}"


@dataclass(frozen=True)
class Words:
    """Words of one task; the defaults are those of a task with one answer per sample.

    In ``facts`` and in the texts of pictures ``{context}``, ``{horizon}``, ``{step}``,
    ``{starts}`` (shortened), ``{all_starts}``, ``{start}``, ``{year}`` and ``{target}`` are filled
    in.

    Args:
        answers: what the predictions are called, as a plural.
        frames: what a context of k counts.
        curves: whether values are drawn over leads, and columns are named by lead.
        pace: time between leads of a run, by which they are named; see :meth:`stepped`.
        column: what a column of the table is called; ``{lead}`` is filled in.
        choice: label of the choice of a column.
        by: text after the metric's name in the head of a table of one metric.
        value: what a value of the table is.
        shared: samples that every number is computed on.
        sets: names of the matched sets.
        origins: what the matched sets list.
        wide, deep: the two layouts of the leaderboard.
        facts: (label, value, longer text) of the header.
        date_characters: characters of an ISO date under pictures: 4 for the year.
        picture: what distinguishes the pictures of a region.
        start, given: heads of the start's date and of the frame given.
        given_picture: text in place of the picture of the frame given.
        stand: what is computed on the matched sets.
        pairs: what is dropped from the matched sets, and why.
    """

    answers: str = "predictions"
    frames: str = "context frames"
    curves: bool = False
    pace: Pace | None = None
    column: str = "target date"
    choice: str = "Target"
    by: str = ""
    value: str = "mean over regions of the region mean"
    shared: str = "target dates that every entry shares"
    sets: Mapping[str, str] = field(default_factory=lambda: {"all": "same target dates"})
    origins: str = "Starts"
    wide: str = "One metric"
    deep: str = "Every metric"
    facts: tuple[tuple[str, str, str], ...] = (
        ("Context", "k = {context}", "frames every model sees"),
        ("Starts", "{starts}", "{all_starts}"),
    )
    date_characters: int = 10
    picture: str = "target {target}"
    start: str = "start"
    given: str = "context"
    given_picture: str = "last context frame"
    stand: str = "numbers"
    pairs: str = (
        "A pair is a region with one target date. It is dropped where any entry is undefined, so "
        "that no entry is scored on easier ground."
    )

    def lead(self, number: int, *, dated: bool = True) -> str:
        """Return what a column of the table is called; its date is left out if not ``dated``."""
        if self.pace is None:
            return self.column.format(lead=number)
        return (self.pace if dated else replace(self.pace, first=None)).lead(number)

    def stepped(self, step: str, starts: Sequence[str]) -> Words:
        """Return these words with leads named by their time: ``year +3 (2020)``.

        The date is named where all samples start in one year; other steps keep their column.

        Args:
            step: ISO 8601 duration between leads.
            starts: ISO dates of the starts scored.
        """
        found = re.fullmatch(r"P(\d+)([YMWD])", step)
        if not (self.curves and found):
            return self
        years = {int(start[:4]) for start in starts}
        first = years.pop() if len(years) == 1 and found[2] == "Y" else None
        return replace(self, pace=Pace(int(found[1]), UNITS[found[2]], first))

    def date(self, iso: str) -> str:
        """Return a date as pictures carry it."""
        return iso[: self.date_characters]

    def told(self, start: str, target: str) -> str:
        """Return what distinguishes a picture from the region's others, from two ISO dates."""
        return self.picture.format(start=start, year=start[:4], target=target)

    def described(self, run: Scored) -> list[tuple[str, str, str]]:
        """Return (label, value, longer text) of the header of a run."""
        years = list(dict.fromkeys(start[:4] for start in run.starts))
        starts = f"{years[0]}–{years[-1]} ({len(years)})" if len(years) > 2 else ", ".join(years)
        filled = {
            "context": run.context, "horizon": run.horizon, "step": run.step,
            "starts": starts or "–", "all_starts": ", ".join(run.starts),
        }  # fmt: skip
        return [
            (label, value.format(**filled), longer.format(**filled))
            for label, value, longer in self.facts
        ]
