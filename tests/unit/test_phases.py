"""Seconds by phase: phases within others are not counted twice."""

from __future__ import annotations

from contextlib import suppress

import pytest

from rsbench.core import phases as module
from rsbench.core.phases import Phases, phase_lines


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return now


def test_an_inner_phase_stops_the_outer_one(clock: list[float]) -> None:
    phases = Phases()
    clock[0] = 10.0
    with phases.time("read"):
        clock[0] = 11.0
        with phases.time("transfer"):
            clock[0] = 13.0
        clock[0] = 13.5
        assert phases.seconds() == {"read": 1.5, "transfer": 2.0}
    clock[0] = 20.0  # in no phase
    with suppress(ZeroDivisionError), phases.time("read"):
        clock[0] = 21.0
        raise ZeroDivisionError
    assert phases.seconds() == {"read": 2.5, "transfer": 2.0}


def test_only_making_an_item_counts(clock: list[float]) -> None:
    def make() -> object:
        for number in range(2):
            clock[0] += 1.0
            yield number

    phases, found = Phases(), []
    for item in phases.each("read", make()):
        clock[0] += 5.0
        found.append(item)
    assert found == [0, 1]
    assert phases.seconds() == {"read": 2.0}
    assert phase_lines({"write": 1.0, "read": 3.0}) == [
        "read               3.0 s  75.0%",
        "write              1.0 s  25.0%",
        "all phases         4.0 s 100.0%",
    ]
    assert phase_lines({}) == []
