"""Words of tables and reports for forecasts."""

from __future__ import annotations

from rsbench.tasks.words import Words

WORDS = Words(
    answers="forecasts",
    curves=True,
    column="lead {lead}",
    choice="Lead",
    by=" by lead",
    shared="starts that every entry and lead shares",
    sets={"all": "same starts", "same-target": "same targets"},
    origins="Starts or targets",
    wide="One metric, every lead",
    deep="One lead, every metric",
    facts=(
        ("Context", "k = {context}", "frames every model sees"),
        ("Starts", "{starts}", "{all_starts}"),
        ("Horizon", "{horizon} × {step}", "leads × step"),
    ),
    date_characters=4,
    picture="start {year}",
    stand="curves",
    pairs=(
        "A pair is a region with one start or target. It is dropped where any lead of any entry is "
        "undefined, so that no lead and no entry is scored on easier ground."
    ),
)
