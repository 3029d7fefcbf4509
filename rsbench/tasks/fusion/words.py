"""What tables and reports call the parts of a fusion."""

from __future__ import annotations

from rsbench.tasks.words import Scored, Words

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


def methods(run: Scored) -> str:
    """Return half a sentence: what models saw and what they predicted."""
    dates = "date" if run.context == 1 else "dates"
    return (
        f"the fine and coarse images of {run.context} reference {dates} and the coarse image "
        "of the target date were given and the fine image of the target date predicted"
    )
