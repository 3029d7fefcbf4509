"""Progress where stderr is no terminal: a line from time to time."""

from __future__ import annotations

import pytest

from rsbench.core import progress


def test_lines_are_printed_at_intervals(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 10.0, 31.0, 45.0, 62.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.progress() as advance:
        for done in (1, 2, 3, 4):
            advance("training", done, 400)
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        "training: 2 of 400, about 2.3 h left", "training: 4 of 400, about 1.9 h left",
    ]  # fmt: skip
    assert told.out == ""
