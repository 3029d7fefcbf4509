from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scores_fixtures import MODELS, make_run, make_scores, make_units, save_run

from rsbench.core.errors import Incomparable, InputError, SchemaError
from rsbench.evaluation import table
from rsbench.evaluation.scores import Scores


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0012345, "0.001234"), (27.1034, "27.10"), (0.0, "0"), (None, "–"), (float("nan"), "–"),
     (-0.5, "-0.5000"), (1.2e-9, "1.200e-09"), (123456.0, "123456")],
)  # fmt: skip
def test_numbers(value: float | None, text: str) -> None:
    assert table.number(value) == text


def test_round_trips_through_files(tmp_path: Path) -> None:
    tidy = make_scores(regions=8).table()
    table.to_parquet(tidy, tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(table.read_table(tmp_path / "t.parquet"), tidy)
    (tmp_path / "t.csv").write_text(table.to_csv(tidy))
    again = table.read_table(tmp_path / "t.csv")
    pd.testing.assert_frame_equal(again, tidy, check_dtype=False, rtol=1e-12)


def test_csv_leaves_absent_values_empty() -> None:
    tidy = make_scores(regions=2).table()
    text = pd.read_csv(io.StringIO(table.to_csv(tidy)), dtype=str, keep_default_na=False)
    rows = text[text["model"] == "linear_trend"]
    assert len(rows)
    assert set(rows["value"]) == {""}


def test_markdown_says_what_must_be_said(tmp_path: Path) -> None:
    folder = save_run(tmp_path / "run")
    text = (folder / "table.md").read_text()
    assert "demo (simulated)" in text
    assert "no result about real imagery" in text
    assert "linear_trend: needs k ≥ 3" in text
    few = table.to_markdown(make_scores(regions=3).table())
    assert "no intervals: fewer than 8 regions" in few
    assert "[" not in few.split("###", 1)[1]


def test_best_is_marked_only_where_the_interval_supports_it() -> None:
    assert ("simvp", "tiny", "mse@1", "all", 1, "all") in table.supported_best(make_scores())
    assert not table.supported_best(make_scores(regions=7))
    equal = {**MODELS, "simvp": ("model", "tiny", 0.9)}
    marked = table.supported_best(make_scores(models=equal, noise=0.3))
    assert not [cell for cell in marked if cell[2] == "mse@1" and cell[-1] == "all"]
    assert not [cell for cell in marked if cell[0] in ("oracle", "floor")]


def test_latex_escapes_and_has_one_block_per_metric() -> None:
    tidy = make_scores(regions=8, metrics=("mse@1", "psnr@1")).table()
    text = table.to_latex(tidy)
    assert text.count(r"\begin{tabular}") == tidy["metric"].nunique()
    assert r"damped\_persistence" in text
    assert "–" not in text


def test_tables_of_two_runs_share_their_common_rows(tmp_path: Path) -> None:
    a = save_run(tmp_path / "a")
    other = {k: v for k, v in MODELS.items() if k != "simvp"} | {"unet": ("model", "tiny", 0.8)}
    units = make_units()
    second = make_units(models={"unet": ("model", "tiny", 0.8)})
    both = pd.concat([units[units["model"] != "simvp"], second])
    b = save_run(tmp_path / "b", Scores(both, make_run()))
    merged = table.load_tables([a, b])
    headline = merged[(merged["metric"] == "mse@1") & (merged["lead"] == 1)]
    headline = headline[(headline["stratum"] == "all") & (headline["band"] == "all")]
    assert sorted(headline["model"]) == sorted([*other, "simvp", "linear_trend"])


def test_tables_of_two_datasets_are_incomparable(tmp_path: Path) -> None:
    a = save_run(tmp_path / "a")
    b = save_run(tmp_path / "b", make_scores({"dataset_digest": "99" * 32}))
    with pytest.raises(Incomparable, match="dataset_digest"):
        table.load_tables([a, b])


def test_bad_tables_are_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        table.read_table(tmp_path / "none.parquet")
    pd.DataFrame({"model": ["x"]}).to_parquet(tmp_path / "keys.parquet")
    with pytest.raises(InputError, match="lacks the columns schema"):
        table.read_table(tmp_path / "keys.parquet")
    tidy = make_scores(regions=2).table()
    table.to_parquet(tidy, tmp_path / "t.parquet")
    data = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(data[:-100])
    with pytest.raises(InputError, match="cut short"):
        table.read_table(tmp_path / "cut.parquet")
    (tmp_path / "no.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError):
        table.read_table(tmp_path / "no.csv")
    newer = pa.Table.from_pandas(tidy).replace_schema_metadata({b"rsbench.schema": b"7"})
    pq.write_table(newer, tmp_path / "newer.parquet")
    with pytest.raises(SchemaError, match="schema 7"):
        table.read_table(tmp_path / "newer.parquet")
    table.to_parquet(tidy.assign(schema=3), tmp_path / "three.parquet")
    with pytest.raises(SchemaError, match="schema 3"):
        table.read_table(tmp_path / "three.parquet")
