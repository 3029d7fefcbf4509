"""What tables and reports call the parts of a forecast."""

from __future__ import annotations

from rsbench.tasks.words import Scored, Words

WORDS = Words(
    answers="forecasts",
    curves=True,
    column="lead {lead}",
    choice="Lead",
    by=" by lead",
    shared="starts that every row and lead shares",
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
        "A pair is a region with one start or target. It is dropped where any lead of any row is "
        "undefined, so that no lead and no row is scored on easier ground."
    ),
)


def methods(run: Scored) -> str:
    """Return half a sentence: what models saw and what they predicted."""
    frames = "frame" if run.context == 1 else "frames"
    leads = "lead 1" if run.horizon == 1 else f"leads 1 to {run.horizon}"
    said = f"k = {run.context} context {frames} were given and {leads} of {run.step} predicted"
    starts = f"{run.starts[0]} to {run.starts[-1]}" if len(run.starts) > 1 else "".join(run.starts)
    return said + (f", from starts {starts}" if starts else "")
