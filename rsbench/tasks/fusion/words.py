"""Words of tables and reports for fusion."""

from __future__ import annotations

from rsbench.tasks.words import Words

WORDS = Words(
    answers="fusions",
    frames="reference dates",
    origins="First reference dates",
    facts=(
        (
            "References",
            "{context} per target",
            "dates whose fine and coarse images are given, beside the target's coarse one",
        ),
        ("First references", "{starts}", "{all_starts}"),
    ),
    start="first reference",
    given="reference",
    given_picture="first reference",
)
