"""Terms of the report by task: forecasts have leads and starts, fusion has target dates."""

from __future__ import annotations

from dataclasses import dataclass

from rsbench.evaluation.scores import RunInfo


@dataclass(frozen=True)
class Words:
    """Words of one task.

    Args:
        fusion: whether a sample has one target date, so that there is no curve over leads.
        by: suffix of the caption of a table of one metric.
        shared: the samples on which all values are computed.
        sets: names of the matched sets.
        origins: what the matched sets list.
        wide, deep: the two layouts of the leaderboard.
    """

    fusion: bool
    by: str
    shared: str
    sets: dict[str, str]
    origins: str
    wide: str
    deep: str

    def lead(self, number: int) -> str:
        """Return the heading of a column of the table."""
        return "target date" if self.fusion else f"lead {number}"

    def date(self, iso: str) -> str:
        """Return a date as pictures show it: the day in fusion, the year in forecasts."""
        return iso if self.fusion else iso[:4]


FORECAST = Words(
    fusion=False,
    by=" by lead",
    shared="starts that all rows and leads share",
    sets={"all": "same starts", "same-target": "same targets"},
    origins="Starts or targets",
    wide="One metric, every lead",
    deep="One lead, every metric",
)
FUSION = Words(
    fusion=True,
    by="",
    shared="target dates that all rows share",
    sets={"all": "same target dates"},
    origins="First reference dates",
    wide="One metric",
    deep="Every metric",
)


def words_of(run: RunInfo) -> Words:
    """Return the words of a run's task."""
    return FUSION if run.fusion else FORECAST
