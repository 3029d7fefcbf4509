"""Expected values with waivers, and tables as CSV."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from scores_fixtures import make_scores

from fuzz.damage import of_text
from fuzz.driver import Format, Subject
from rsbench.evaluation.gate.expected import read_expected, write_expected
from rsbench.evaluation.gate.side import of_table
from rsbench.evaluation.table import read_table, to_csv, to_markdown

BY_HAND = """
[[row]]
model = "simvp"
preset = "tiny"
inputs = "s2 k=1"
metric = "mse@1"
band = "nir"
lead = 1
value = 0.004
rel = 0.05

[[waiver]]
model = "simvp"
metric = "ssim@1"
lead = 2
reason = "sharper"
until = 2999-01-31
"""


def _expected(folder: Path) -> Subject:
    path = folder / "expected.toml"
    scores = make_scores(metrics=("mse@1",), bands=("all", "nir"), horizon=2)
    write_expected(scores, path, models=["simvp", "persistence"])
    path.write_text(path.read_text() + BY_HAND)
    return Subject([path], lambda: read_expected(path), of_text)


def _table(folder: Path) -> Subject:
    path = folder / "table.csv"
    table = make_scores(metrics=("mse@1",), bands=("all",), horizon=2, regions=3).table()
    path.write_text(to_csv(table.head(6)))
    return Subject([path], lambda: _shown(read_table(path), path), of_text)


def _shown(table: pd.DataFrame, path: Path) -> object:
    return of_table(table, str(path)), to_markdown(table)


FORMATS = (
    Format("expected values and waivers", _expected, 1500),
    Format("table as CSV", _table, 400),
)
