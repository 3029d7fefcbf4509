"""The words of a task in tables and reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


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
class Words:
    """Words of one task; the defaults are those of a task with one answer per sample.

    In ``facts`` and in the texts of pictures ``{context}``, ``{horizon}``, ``{step}``,
    ``{starts}`` (shortened), ``{all_starts}``, ``{start}``, ``{year}`` and ``{target}`` are filled
    in.

    Args:
        answers: what the predictions are called, as a plural.
        frames: what a context of k counts.
        curves: whether values are drawn over leads, and columns are named by lead.
        column: what a column of the table is called; ``{lead}`` is filled in.
        choice: label of the choice of a column.
        by: text after the metric's name in the head of a table of one metric.
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
    column: str = "target date"
    choice: str = "Target"
    by: str = ""
    shared: str = "target dates that every row shares"
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
        "A pair is a region with one target date. It is dropped where any row is undefined, so "
        "that no row is scored on easier ground."
    )

    def lead(self, number: int) -> str:
        """Return what a column of the table is called."""
        return self.column.format(lead=number)

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
