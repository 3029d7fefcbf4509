"""Papers' tables as data, and beside a run: what may be compared and what may not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from scores_fixtures import MODELS, make_scores, save_run
from typer.testing import CliRunner

from rsbench.catalog import load_published, published_names
from rsbench.catalog.published import PublishedTable
from rsbench.cli.main import app
from rsbench.core.errors import UnknownName
from rsbench.evaluation.report import write_report
from rsbench.evaluation.report.board import Board, boards
from rsbench.evaluation.report.published import beside, verdicts
from rsbench.evaluation.scores import Scores
from rsbench.metrics.registry import info

TABLES = {name: load_published(name) for name in published_names()}


def board(tmp_path: Path, metric: str = "psnr@1", **run: object) -> Board:
    """A board whose PSNR has another id."""
    made = make_scores({"protocol": "year3"} | run, metrics=("mse@1", "psnr@1"))
    units = made.units.assign(metric=made.units["metric"].replace({"psnr@1": metric}))
    return boards([save_run(tmp_path / "run", Scores(units, made.run))])[0]


def of(column: str, table: PublishedTable, found: Board) -> tuple[str, str]:
    (verdict,) = (v for v in verdicts(table, found) if v.column.name == column)
    return verdict.standing, verdict.reason


@pytest.mark.parametrize("name", TABLES)
def test_every_id_of_a_published_table_is_a_metric_of_ours(name: str) -> None:
    table = TABLES[name]
    assert table.name == name
    assert table.source
    for column in table.columns:
        for metric in (column.metric, column.nearest):
            if metric is not None:
                assert info(metric).direction == column.better, (name, column.name)
        assert column.metric is None or column.nearest is None
    for row in table.rows:
        for metric in row.metrics.values():
            assert metric is None or info(metric).published


def test_a_copy_of_last_year_was_scored_by_another_script() -> None:
    table = TABLES["sat-jepa-diff"]
    fid = table.columns[-1]
    by_row = {row.name: table.metric(row, fid) for row in table.rows}
    assert by_row["Default (copy of last year)"] == "fid.inception2048-wrap@1"
    assert by_row["Sat-JEPA-Diff"] == "fid.inception64-raw@1"
    assert by_row["PredRNN"] is None  # no public script
    values = {row.name: dict(zip([c.name for c in table.columns], row.values, strict=True))
              for row in table.rows}  # fmt: skip
    assert values["Sat-JEPA-Diff"]["GSSIM"] == 0.8984
    assert values["MCVD"]["FID"] == 0.1956
    # Their own numbers say that the rows stand on different images.
    assert not table.one_test_set


def test_a_malformed_table_is_refused_with_its_line() -> None:
    good = TABLES["sa-stf-cia"].model_dump(mode="json")
    row = good["rows"][0]
    for change, message in (
        ({"rows": [{**row, "values": [1.0]}]}, "has 1 values, not 3"),
        ({"rows": [{**row, "metrics": {"FID": None}}]}, "a column that is not there"),
        ({"columns": [good["columns"][0]] * 3}, "a column is listed twice"),
        ({"why_not": ""}, "why_not must say"),
    ):
        with pytest.raises(ValueError, match=message):
            PublishedTable.model_validate(yaml.safe_load(yaml.safe_dump(good | change)))


def test_columns_compare_by_definition_first_and_images_second(tmp_path: Path) -> None:
    table = TABLES["sat-jepa-diff"]
    other = board(tmp_path / "a")
    standing, reason = of("PSNR", table, other)
    assert standing == "no"
    assert "psnr.clip@1" in reason
    assert "--metrics published.sat-jepa-diff" in reason
    same = board(tmp_path / "b", "psnr.clip@1")
    assert of("PSNR", table, same) == ("read", "the images of this run are simulated")
    real = board(tmp_path / "c", "psnr.clip@1", simulated=False)
    standing, reason = of("PSNR", table, real)
    assert standing == "read"
    assert reason.startswith("its images are those of Global")
    built = table.model_copy(update={"recipe": "demo"})
    assert of("PSNR", built, real)[1] == "its own rows use different images"
    whole = built.model_copy(update={"one_test_set": True})
    assert of("PSNR", whole, real) == ("compare", "")
    assert of("PSNR", whole.model_copy(update={"lead": 9}), real)[0] == "no"
    assert of("PSNR", whole.model_copy(update={"lead": None}), real)[0] == "no"
    assert of("PSNR", whole.model_copy(update={"task": "fusion"}), real)[0] == "no"


def test_a_column_without_a_public_definition_never_compares(tmp_path: Path) -> None:
    found = board(tmp_path, "ergas.r16@1", protocol="fusion1", simulated=False)
    table = TABLES["sa-stf-lgc"].model_copy(update={"recipe": "demo", "one_test_set": True})
    standing, reason = of("ERGAS", table, found)
    assert (standing, reason.rpartition(" ")[2]) == ("no", "ergas.r16@1")


def test_our_numbers_stand_only_where_the_definition_is_the_same(tmp_path: Path) -> None:
    (shown,) = beside(board(tmp_path, "psnr.clip@1"), [TABLES["sat-jepa-diff"]])
    ours = {row["name"]: row["cells"] for row in shown["rows"] if row["ours"]}
    assert set(ours) == set(MODELS)
    place = [c.name for c in TABLES["sat-jepa-diff"].columns].index("PSNR")
    for cells in ours.values():
        assert [cell["value"] != "–" for cell in cells] == [i == place for i in range(7)]
    theirs = next(row for row in shown["rows"] if row["name"] == "Default (copy of last year)")
    assert [cell["other"] for cell in theirs["cells"]] == [False] * 5 + [True, True]


def test_the_page_sets_them_side_by_side(tmp_path: Path) -> None:
    folder = save_run(tmp_path / "run", make_scores(regions=8))
    out = tmp_path / "r.html"
    done = CliRunner().invoke(
        app, ["report", str(folder), "--out", str(out), "--published", "sat-jepa-diff",
              "--published", "sa-stf-lgc"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    text = re.sub(r"\s+", " ", out.read_text())
    for part in ("Published tables", "The entries of this table use different test sets.", "33.81",
                 "arXiv 2603.13943", "its task is fusion", "not comparable"):  # fmt: skip
        assert part in text, part
    plain = write_report([folder], tmp_path / "plain.html").read_text()
    assert "published" not in re.sub(r"<style>.*?</style>", "", plain, flags=re.S)
    with pytest.raises(UnknownName, match="sat-jepa-diff"):
        write_report([folder], tmp_path / "x.html", published=["sat-jepa-dif"])
    assert not (tmp_path / "x.html").exists()
