"""A part of every round: no traceback, no exit code 70, no hang, no other number unsaid."""

from __future__ import annotations

import pytest

from fuzz.driver import Format, run
from fuzz.formats import FORMATS

SHARE = 0.04


@pytest.mark.parametrize("chosen", FORMATS, ids=lambda chosen: chosen.name)
def test_damaged_inputs_are_refused_or_change_nothing(chosen: Format) -> None:
    result = run(chosen, inputs=max(8, round(SHARE * chosen.inputs)), seed=1)
    assert [(number, name, what) for number, name, _, what in result.faults] == []
    assert result.counts["refused"] > 0
