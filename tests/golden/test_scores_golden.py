"""Files of schema 1, written once and kept: they must open for ever, or be refused by name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import pytest

from rsbench.evaluation.gate import check
from rsbench.evaluation.report import write_report
from rsbench.evaluation.scores import COLUMNS, Scores
from rsbench.evaluation.table import read_table

OLD = Path(__file__).parent / "scores_v1"


def test_old_run_gives_its_old_table() -> None:
    scores = Scores.load(OLD / "run")
    assert scores.run.schema == 1
    assert len(scores.units) == 1152
    old = read_table(OLD / "run" / "table.parquet")
    assert list(old.columns) == COLUMNS
    new = scores.table()
    # Rows that a newer version adds stand beside the old ones.
    assert set(new["metric"]) - set(old["metric"]) == {"share.mse@1"}
    years = set(new["stratum"]) - set(old["stratum"])
    assert years == {f"year={year}" for year in range(2018, 2025)}
    kept = new["metric"].isin(set(old["metric"])) & ~new["stratum"].isin(years)
    new = new[kept].reset_index(drop=True)
    ends = ["lo", "hi", "interval"]
    pd.testing.assert_frame_equal(new.drop(columns=ends), old.drop(columns=ends), rtol=1e-9)
    # A newer version may choose another interval, but never another one under the old name.
    same = (new["interval"] == old["interval"]).to_numpy()
    assert same.any()
    pd.testing.assert_frame_equal(new[same], old[same], rtol=1e-9)
    assert set(new.loc[~same, "interval"]) == {"bounded-skew-t95"}


def test_a_number_of_the_old_run() -> None:
    """Recomputed from the units in plain Python."""
    units = Scores.load(OLD / "run").units
    rows = units[(units["model"] == "simvp") & (units["metric"] == "mse@1") & (units["lead"] == 1)]
    means = []
    for region in sorted(set(rows["region"])):
        own = rows[(rows["region"] == region) & rows["curve"].isin(["starts", "both"])]
        means.append(sum(own["value_sum"]) / sum(own["weight"]))
    table = Scores.load(OLD / "run").table()
    found = table[
        (table["model"] == "simvp") & (table["metric"] == "mse@1") & (table["lead"] == 1)
        & (table["stratum"] == "all")
    ]  # fmt: skip
    assert float(found["value"].iloc[0]) == pytest.approx(sum(means) / len(means), rel=1e-12)
    assert len(means) == 8


@pytest.mark.parametrize("result", ["run", "run/table.parquet"])
@pytest.mark.parametrize("against", ["run", "run/table.parquet", "expected.toml"])
def test_old_files_check_against_each_other(result: str, against: str) -> None:
    assert check(OLD / result, OLD / against).exit_code == 0


def test_reading_and_reporting_leave_old_files_alone(tmp_path: Path) -> None:
    def digests() -> dict[str, str]:
        files = sorted(path for path in OLD.rglob("*") if path.is_file())
        return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    before = digests()
    write_report([OLD / "run"], tmp_path / "r.html")
    assert digests() == before
