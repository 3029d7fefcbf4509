"""What the page calls things: a forecast has leads and starts, a fusion references and targets."""

from __future__ import annotations

from dataclasses import dataclass

from rsbench.evaluation.scores import RunInfo


@dataclass(frozen=True)
class Words:
    """Words of one task.

    Args:
        fusion: whether there is one target date per sample, so no curve over leads.
        by: what a table of one metric goes by, after the metric's name.
        shared: on which samples every number stands.
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
        """Return what a column of the table is called."""
        return "target date" if self.fusion else f"lead {number}"

    def date(self, iso: str) -> str:
        """Return a date as pictures carry it: seasons matter in fusion, years in forecasts."""
        return iso if self.fusion else iso[:4]


FORECAST = Words(
    fusion=False,
    by=" by lead",
    shared="starts that every row and lead shares",
    sets={"all": "same starts", "same-target": "same targets"},
    origins="Starts or targets",
    wide="One metric, every lead",
    deep="One lead, every metric",
)
FUSION = Words(
    fusion=True,
    by="",
    shared="target dates that every row shares",
    sets={"all": "same target dates"},
    origins="First reference dates",
    wide="One metric",
    deep="Every metric",
)


def words_of(run: RunInfo) -> Words:
    """Return the words of a run's task."""
    return FUSION if run.fusion else FORECAST
