"""Set metrics and absent metrics in a run: table, report, JSON and log say the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import toys
from typer.testing import CliRunner
from weight_fixtures import nowhere

import rsbench as rb
from rsbench.cli.main import app
from rsbench.evaluation.gate import check
from rsbench.evaluation.report import write_report
from rsbench.evaluation.run import RunRequest, RunResult, run_model
from rsbench.evaluation.scores import HALVES, Scores
from rsbench.evaluation.table import to_latex

REGIONS = 20


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResult, list[str]]:
    root = tmp_path_factory.mktemp("sets")
    with pytest.MonkeyPatch.context() as patch:
        nowhere(patch, root / "cache")
        toys.write_store(
            root / "toy", regions=REGIONS, size=32, years=4, simulated=False, simulation=None
        )
        said: list[str] = []
        request = RunRequest(
            model="persistence", data=root / "toy", horizon=2, out=root / "run", suite="pixel",
            metrics="fd.texture@1,mmd.rbf@1,lpips.vgg@1,fid.inception64@1",
        )  # fmt: skip
        return run_model(request, note=said.append), said


def rows(table: pd.DataFrame, metric: str, model: str) -> pd.DataFrame:
    return table[(table["metric"] == metric) & (table["model"] == model)].sort_values("lead")


def test_set_rows_stand_in_the_table_with_n_and_an_interval(
    run: tuple[RunResult, list[str]],
) -> None:
    scores = run[0].scores
    table = scores.table()
    test = [r for r in toys.splits(REGIONS) if r == "test"]
    found = rows(table, "fd.texture@1", "persistence")
    assert found["lead"].tolist() == [1, 2]
    # two starts have both leads in four years, one window a region
    assert found["n_samples"].tolist() == [2 * len(test)] * 2
    assert set(found["interval"]) == {"jackknife-t95"}
    assert (found["lo"] < found["value"]).all()
    halves = rows(table, "fd.texture@1", HALVES)
    assert halves["n_samples"].tolist() == [len(test)] * 2
    assert set(halves["interval"]) == {"none"}
    assert not scores.units["metric"].isin(("fd.texture@1", "mmd.rbf@1")).any()


def test_set_values_are_those_of_the_images(run: tuple[RunResult, list[str]]) -> None:
    """Recomputed from the store, image by image."""
    scores = run[0].scores
    store = rb.open_store(run[0].out.parent / "toy")
    p, t, valid = [], [], []
    for region in store.split("test"):
        values = store.to_physical("s2", store.read(region, "s2"))
        seen = store.read(region, "s2", array="valid")
        for start in (0, 1):
            # persistence repeats the last frame; where it was invalid, what the model fills in
            p.append(values[start])
            t.append(values[start + 2])
            valid.append(seen[start + 2][None] & seen[start][None])
    stacked = [torch.from_numpy(np.stack(x)) for x in (p, t, valid)]
    found = rb.metrics.compute_sets(
        ["fd.texture@1"], stacked[0], stacked[1], stacked[2], data_range=1.0
    )["fd.texture@1"]
    row = rows(scores.table(), "fd.texture@1", "persistence").iloc[1]
    assert found.n == row["n_samples"]
    # Pixels invalid in the context differ by how they are filled: 2 % of them.
    assert row["value"] == pytest.approx(found.value, rel=0.15)


def test_what_is_unavailable_says_so_everywhere(run: tuple[RunResult, list[str]]) -> None:
    result, said = run
    for metric in ("lpips.vgg@1", "fid.inception64@1"):
        lines = [line for line in said if line.startswith(f"{metric} is unavailable: the weights")]
        assert len(lines) == 1
        found = rows(result.scores.table(), metric, "persistence")
        assert len(found) == 2
        assert found["value"].isna().all()
        written = json.loads((result.out / "run.json").read_text(encoding="utf-8"))
        reasons = [a["reason"] for a in written["absent"] if a["metric"] == metric]
        assert len(reasons) == 1
        assert "are not here" in reasons[0]
        assert reasons[0] in (result.out / "table.md").read_text(encoding="utf-8")
        assert reasons[0].split(":")[0] in (result.out / "report.html").read_text(encoding="utf-8")


def test_a_run_with_sets_is_saved_read_reported_and_checked(
    run: tuple[RunResult, list[str]], tmp_path: Path
) -> None:
    result, _ = run
    again = Scores.load(result.out)
    pd.testing.assert_frame_equal(again.table(), result.scores.table())
    assert check(result.out, result.out).exit_code == 0
    page = (result.out / "report.html").read_text(encoding="utf-8")
    assert "compares sets of n = " in page
    write_report([result.out, result.out], tmp_path / "two.html")
    kept = again.sets[again.sets["metric"] == "fd.texture@1"].iloc[0]
    says = f"n = {kept['n']} images, d = {kept['d']} features, halves: two halves of the truth"
    printed = CliRunner().invoke(app, ["table", str(result.out)]).output
    for text in (printed, (result.out / "table.md").read_text(encoding="utf-8")):
        assert f"### fd.texture@1 (lower is better; {says}" in text
        assert "fid.inception64@1: the weights inception are not here" in text
    assert f"% fd.texture@1; {says}" in to_latex(again.table(), scores=[again])


def test_sets_of_another_n_do_not_compare(run: tuple[RunResult, list[str]], tmp_path: Path) -> None:
    result, _ = run
    fewer = result.scores.sets.assign(n=result.scores.sets["n"] - 1)
    Scores(result.scores.units, result.scores.run, fewer).save(tmp_path)
    outcome = check(tmp_path, result.out)
    assert outcome.exit_code == 3
    assert any("its value depends on n" in line for line in outcome.lines)


def test_sets_do_not_add_up(run: tuple[RunResult, list[str]]) -> None:
    scores = run[0].scores
    both = scores + Scores(scores.units.iloc[:0], scores.run)
    found = rows(both.table(), "fd.texture@1", "persistence")
    assert found["value"].isna().all()
    assert any("does not add up" in a.reason for a in both.absences())


def test_values_do_not_depend_on_the_batches(run: tuple[RunResult, list[str]]) -> None:
    from rsbench.evaluation.loop import score
    from rsbench.evaluation.reference_models import reference_entries
    from rsbench.tasks.config import EvaluationOptions
    from rsbench.tasks.settings import cases, evaluation_config

    store = rb.open_store(run[0].out.parent / "toy")
    config = evaluation_config(
        store, "year7", EvaluationOptions(horizon=2, suite="fd.texture@1,mmd.rbf@1")
    )
    assert config.metrics[0] == "mse@1"
    frames = []
    for size in (1, 5):
        tally = score(
            reference_entries(config).entries[:1], cases(config, batch_size=size), config.metrics,
            bands=config.bands, value_range=(0.0, 1.0),
        )  # fmt: skip
        assert tally.sets is not None
        frames.append(tally.sets.frame()[0])
    pd.testing.assert_frame_equal(*frames, rtol=1e-9)
