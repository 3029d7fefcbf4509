"""Files of schema 1 open; those of another schema name the command that makes them again.

Schema 1 is the only one released so far: ``run_v1``, ``scores_v1`` and ``store_schema1`` were
written under it once and are never written again.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from build_fixtures import random_folder, recipe
from typer.testing import CliRunner

from rsbench import open_store
from rsbench.cli.main import app
from rsbench.core.errors import SchemaError
from rsbench.evaluation.gate import check
from rsbench.evaluation.gate.expected import read_expected
from rsbench.evaluation.report import render
from rsbench.evaluation.report.board import boards
from rsbench.evaluation.scores import Scores
from rsbench.evaluation.table import read_table

HERE = Path(__file__).parent
RUN = HERE / "run_v1"
STORE = HERE / "store_schema1"


def test_a_run_with_sets_and_classes_of_pixels_gives_its_old_table() -> None:
    scores = Scores.load(RUN)
    assert (len(scores.units), len(scores.sets), len(scores.pixels)) == (120, 4, 240)
    old = read_table(RUN / "table.parquet")
    new, ends = scores.table(), ["lo", "hi", "interval"]
    pd.testing.assert_frame_equal(new.drop(columns=ends), old.drop(columns=ends), rtol=1e-9)
    # A newer version may choose another interval, but never another one under the old name.
    same = (new["interval"] == old["interval"]).to_numpy()
    assert {"jackknife-t95", "wilson95", "none"} <= set(new.loc[same, "interval"])
    pd.testing.assert_frame_equal(new[same], old[same], rtol=1e-9)
    assert set(new.loc[~same, "interval"]) == {"bounded-skew-t95"}
    assert set(old.loc[~same, "interval"]) == {"skew-t95", "paired-t95"}
    groups = {"pixel land cover=water", "season=winter", "valid fraction=0.8 to 0.95",
              "land cover=crops"}  # fmt: skip
    assert groups <= set(old["stratum"])
    assert check(RUN, RUN / "table.parquet").exit_code == 0
    assert "Pixels by land cover" in render(boards([RUN]))


def test_a_number_of_a_class_by_hand() -> None:
    """Mean over regions of Σ value ÷ Σ weight, straight from the parquet file."""
    parts = pq.read_table(RUN / "pixels.parquet").to_pandas()
    own = parts[
        (parts["model"] == "simvp") & (parts["lead"] == 1)
        & (parts["pixel_class"] == "pixel land cover=water")
        & parts["curve"].isin(["starts", "both"])
    ]  # fmt: skip
    means = [sum(g["value_sum"]) / sum(g["weight"]) for _, g in own.groupby("region")]
    table = read_table(RUN / "table.parquet")
    found = table[
        (table["model"] == "simvp") & (table["metric"] == "mse@1") & (table["lead"] == 1)
        & (table["stratum"] == "pixel land cover=water")
    ]  # fmt: skip
    assert len(means) == 8
    assert float(found["value"].iloc[0]) == pytest.approx(sum(means) / 8, rel=1e-12)


def test_an_old_csv_is_the_old_table() -> None:
    csv = read_table(RUN / "table.csv")
    table = read_table(RUN / "table.parquet")
    table = table[(table["stratum"] == "all") & (table["lead"] == 1)].reset_index(drop=True)
    columns = ["model", "preset", "metric", "band", "lead", "value", "lo", "hi", "n_regions"]
    pd.testing.assert_frame_equal(csv[columns], table[columns], rtol=1e-9)


# --------------------------------------------------------------------------- another schema


def with_schema(path: Path, schema: object) -> None:
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "schema": schema}))


def typed(error: SchemaError) -> str:
    """The command that the refusal says to type."""
    found = re.fullmatch(r"Type: (.+)", error.remedy)
    assert found is not None, error.remedy
    return found[1]


@pytest.mark.parametrize("schema", [0, None, "0.9"])
def test_an_older_run_names_the_command_that_made_it_and_another_folder(
    tmp_path: Path, schema: object
) -> None:
    old = shutil.copytree(RUN, tmp_path / "old run")
    with_schema(old / "run.json", schema)
    with pytest.raises(SchemaError, match=rf"schema {schema!r}") as caught:
        Scores.load(old)
    words = shlex.split(typed(caught.value))
    assert words[:4] == ["rsbench", "run", "--model", "simvp"]
    assert words[-2:] == ["--out", f"{old}-again"]  # the old folder is left alone
    for reading in (read_table, lambda place: boards([place])):
        with pytest.raises(SchemaError, match="simvp"):
            reading(old)


def test_a_newer_file_asks_for_a_newer_rsbench(tmp_path: Path) -> None:
    run = shutil.copytree(RUN, tmp_path / "run")
    with_schema(run / "run.json", 2)
    store = shutil.copytree(STORE, tmp_path / "store")
    with_schema(store / "index.json", 2)
    for door, place in ((Scores.load, run), (open_store, store)):
        with pytest.raises(SchemaError, match="schema 2") as caught:
            door(place)  # type: ignore[operator]
        assert typed(caught.value) == "pip install --upgrade rsbench"


def test_an_older_table_and_older_expectations_name_a_command(tmp_path: Path) -> None:
    csv = tmp_path / "t.csv"
    read_table(RUN / "table.csv").assign(schema=0).to_csv(csv, index=False)
    with pytest.raises(SchemaError) as caught:
        read_table(csv)
    assert typed(caught.value).startswith("rsbench table RUN --csv")
    shutil.copytree(RUN, tmp_path / "run")
    old = tmp_path / "expected.toml"
    text = (HERE / "scores_v1" / "expected.toml").read_text()
    old.write_text(text.replace("schema = 1", "schema = 0", 1))
    with pytest.raises(SchemaError) as caught:
        read_expected(old)
    line = typed(caught.value).replace("RUN", str(tmp_path / "run"))
    done = CliRunner().invoke(app, shlex.split(line)[1:])
    assert done.exit_code == 0, done.output
    assert check(tmp_path / "run", old).exit_code == 0


@pytest.mark.parametrize(
    ("recipe", "command"),
    [
        ({"name": "demo-fusion"}, "build-dataset --recipe demo-fusion"),
        (
            {"name": "x", "importer": "geotiff-series", "unit": "kelvin", "scale": 0.01},
            "import-dataset geotiff-series SOURCE --unit kelvin --scale 0.01",
        ),
        (
            {
                "name": "x",
                "importer": "geotiff-series",
                "unit": "display",
                "value_range": [0, 4095],
            },
            "import-dataset geotiff-series SOURCE --unit display --value-range 0 4095",
        ),
    ],
)
def test_an_older_store_names_its_recipe_or_how_it_was_imported(
    tmp_path: Path, recipe: dict[str, object], command: str
) -> None:
    old = shutil.copytree(STORE, tmp_path / "old.zarr")
    index = json.loads((old / "index.json").read_text())
    (old / "index.json").write_text(json.dumps({**index, "schema": 0, "recipe": recipe}))
    with pytest.raises(SchemaError, match="schema 0") as caught:
        open_store(old)
    assert typed(caught.value) == f"rsbench {command} --out {tmp_path / 'old-again.zarr'}"


def test_the_command_for_an_older_store_makes_the_same_pixels_from_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    catalogue = random_folder(tmp_path / "stac")
    text = json.dumps(recipe().model_dump(mode="json", exclude_none=True))
    (tmp_path / "handmade.yaml").write_text(text)
    build = ["build-dataset", "--recipe", "handmade.yaml", "--provider", str(catalogue), "--yes"]
    done = CliRunner().invoke(app, [*build, "--out", "old.zarr"])
    assert done.exit_code == 0, done.output
    digest = open_store(tmp_path / "old.zarr").digest
    with_schema(tmp_path / "old.zarr" / "index.json", 0)
    with pytest.raises(SchemaError, match="schema 0") as caught:
        open_store(tmp_path / "old.zarr")
    again = shlex.split(typed(caught.value))
    assert again[:4] == ["rsbench", "build-dataset", "--recipe", "handmade.yaml"]
    done = CliRunner().invoke(app, again[1:])
    assert done.exit_code == 0, done.output
    assert open_store(tmp_path / "old-again.zarr").digest == digest


def test_the_golden_files_are_small() -> None:
    size = sum(p.stat().st_size for p in RUN.rglob("*") if p.is_file())
    assert size < 100_000
