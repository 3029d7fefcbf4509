from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scores_fixtures import make_run, make_scores, make_units

from rsbench.core.errors import Incomparable, InputError, SchemaError
from rsbench.evaluation.run_info import Absent, RunInfo
from rsbench.evaluation.scores import COLUMNS, Scores

DESIGNED = (
    "schema dataset dataset_digest split protocol model preset inputs weights seed precision "
    "metric band lead step stratum value lo hi interval n_regions n_samples n_missing"
)


def row(table: pd.DataFrame, **where: object) -> pd.Series:
    found = table
    for name, value in where.items():
        found = found[found[name] == value]
    assert len(found) == 1, f"{len(found)} rows"
    return found.iloc[0]


def test_table_has_exactly_the_designed_columns() -> None:
    assert DESIGNED.split() == COLUMNS
    assert list(make_scores(regions=2).table().columns) == COLUMNS


def test_value_is_the_mean_over_regions_of_region_means_by_hand() -> None:
    base = make_units(
        models={"m": ("model", "p", 1.0)}, metrics=("mae@1",), bands=("all",), regions=2,
        years=3, horizon=1, noise=0.0,
    )  # fmt: skip
    run = make_run(horizon=1)
    base["value_sum"] = [1.0, 9.0, 5.0, 0.0]  # regions 1, 1, 2, 2
    base["weight"] = [1.0, 3.0, 2.0, 0.0]
    base["n_images"], base["n_missing"] = [1, 3, 2, 2], [0, 0, 0, 2]
    found = row(Scores(base, run).table(), model="m", metric="mae@1", stratum="all")
    assert found["value"] == pytest.approx((10 / 4 + 5 / 2) / 2)
    base["value_sum"] = [1.0, 9.0, 8.0, 0.0]
    found = row(Scores(base, run).table(), model="m", metric="mae@1", stratum="all")
    assert found["value"] == pytest.approx((10 / 4 + 8 / 2) / 2)
    assert (found["n_regions"], found["n_samples"], found["n_missing"]) == (2, 6, 2)
    assert found["interval"] == "none"
    assert np.isnan(found["lo"])


def test_skill_is_pooled_within_a_region_then_averaged() -> None:
    units = make_units(
        models={"m": ("model", "p", 1.0), "ref": ("trivial", "p", 1.0)},
        metrics=("mse@1", "ssim@1"), bands=("all",), regions=2, years=2, horizon=1,
    )  # fmt: skip
    values = {("m", "mse@1"): (1.0, 3.0), ("ref", "mse@1"): (2.0, 4.0),
              ("m", "ssim@1"): (0.9, 0.5), ("ref", "ssim@1"): (0.8, 0.6)}  # fmt: skip
    for (model, metric), pair in values.items():
        for region, value in zip(("sim-01", "sim-02"), pair, strict=True):
            where = (
                (units["model"] == model)
                & (units["metric"] == metric)
                & (units["region"] == region)
            )
            units.loc[where, "value_sum"] = value * units.loc[where, "weight"]
    table = Scores(units, make_run(horizon=1, best_trivial="ref")).table()
    mse = row(table, model="m", metric="skill.mse@1", stratum="all")
    ssim = row(table, model="m", metric="skill.ssim@1", stratum="all")
    assert mse["value"] == pytest.approx(((2 - 1) / 2 + (4 - 3) / 4) / 2)
    assert ssim["value"] == pytest.approx((0.1 / 0.2 + (0.5 - 0.6) / 0.4) / 2)
    itself = row(table, model="ref", metric="skill.mse@1", stratum="all")
    assert (itself["value"], itself["interval"]) == (0.0, "none")


def test_matched_starts_drop_what_any_model_or_lead_lacks() -> None:
    units = make_units(metrics=("mse@1",), bands=("all",), regions=8)
    lost = (
        (units["model"] == "simvp")
        & (units["region"] == "sim-03")
        & (units["start"] == "2018-07-01")
        & (units["lead"] == 3)
    )
    assert lost.sum() == 1
    units.loc[lost, ["value_sum", "weight", "n_missing"]] = [0.0, 0.0, 4]
    table = Scores(units, make_run()).table()
    cell = row(table, model="persistence", metric="mse@1", lead=1, stratum="all")
    # 8 regions × 5 matched starts × 4 images, one pair dropped for every model and lead
    assert (cell["n_samples"], cell["n_missing"]) == (156, 4)
    floor = row(table, model="floor", metric="mse@1", lead=1, stratum="all")
    assert floor["n_samples"] == 156


def test_easy_units_do_not_leak_into_later_leads() -> None:
    """A start that only lead 1 can reach is no part of any headline row."""
    units = make_units(metrics=("mse@1",), bands=("all",), regions=8)
    late = units["curve"].isin(["none", "targets"]) & (units["start"] > "2021-07-01")
    spoiled = units.assign(value_sum=units["value_sum"].where(~late, 1e6))
    where = {"metric": "mse@1", "model": "simvp", "lead": 1, "stratum": "all"}
    a, b = (row(Scores(u, make_run()).table(), **where)["value"] for u in (units, spoiled))
    assert a == b


def test_same_target_rows_share_their_target_dates() -> None:
    scores = make_scores(metrics=("mse@1",), bands=("all",), regions=8)
    cells = scores.table().query("stratum == 'same-target' and model == 'simvp'")
    cells = cells[cells["metric"] == "mse@1"]
    assert list(cells["lead"]) == [1, 2, 3]
    assert cells["n_samples"].nunique() == 1
    assert cells["n_samples"].iloc[0] == 8 * 5 * 4  # targets 2020…2024


def test_groups_need_two_members() -> None:
    units = make_units(metrics=("mse@1",), bands=("all",), regions=9)
    table = Scores(units.assign(biome="forest"), make_run()).table()
    assert {name for name in table["stratum"] if not name.startswith("year=")} == {
        "all", "same-target", "stratum=irrigated", "stratum=savanna", "stratum=desert",
    }  # fmt: skip


def test_target_years_regroup_the_sums_of_the_matched_starts() -> None:
    units = make_units(metrics=("mse@1",), regions=9)
    table = Scores(units, make_run()).table()
    years = {name for name in table["stratum"] if name.startswith("year=")}
    # Starts 2017 to 2021 with three leads each.
    assert years == {f"year={year}" for year in range(2018, 2025)}
    assert set(table.loc[table["stratum"].isin(years), "band"]) == {"all"}
    cell = row(table, model="simvp", metric="mse@1", lead=2, stratum="year=2020", band="all")
    own = units[(units["model"] == "simvp") & (units["lead"] == 2) & (units["band"] == "all")]
    own = own[own["target"] == "2020-07-01"]
    assert len(own) == 9
    assert cell["value"] == pytest.approx((own["value_sum"] / own["weight"]).mean())
    late = table[(table["stratum"] == "year=2024") & table["value"].notna()]
    assert set(late["lead"]) == {3}


def test_one_start_has_no_years_beside_its_leads() -> None:
    table = make_scores(years=4, horizon=3, regions=8).table()
    assert not any(name.startswith("year=") for name in table["stratum"])


def test_a_shorter_horizon_does_not_empty_the_others() -> None:
    units = make_units(metrics=("mse@1",), bands=("all",), regions=8)
    short = units[(units["model"] != "simvp") | (units["lead"] < 3)]
    table = Scores(short, make_run()).table()
    assert row(table, model="persistence", metric="mse@1", lead=3, stratum="all")["n_regions"] == 8
    assert row(table, model="simvp", metric="mse@1", lead=2, stratum="all")["n_regions"] == 8


def test_absent_is_null_with_a_reason_never_zero() -> None:
    scores = make_scores(regions=8)
    cell = row(scores.table(), model="linear_trend", metric="mse@1", lead=1, stratum="all")
    assert np.isnan(cell["value"])
    assert (cell["n_regions"], cell["interval"]) == (0, "none")
    assert "needs k ≥ 3" in scores.absences()[0].reason


def test_skill_without_a_reference_is_absent_with_the_reason() -> None:
    scores = make_scores({"best_trivial": None}, regions=8)
    table = scores.table()
    cell = row(table, model="simvp", metric="skill.mse@1", lead=1, stratum="all", band="all")
    assert np.isnan(cell["value"])
    reasons = [a.reason for a in scores.absences() if a.metric == "skill.mse@1"]
    assert "there is no reference model" in reasons


def test_skill_against_a_perfect_reference_is_absent() -> None:
    units = make_units(metrics=("mse@1",), bands=("all",), regions=8)
    units.loc[units["model"] == "damped_persistence", "value_sum"] = 0.0
    scores = Scores(units, make_run())
    cell = row(scores.table(), model="simvp", metric="skill.mse@1", lead=1, stratum="all")
    assert np.isnan(cell["value"])
    assert any("already perfect" in a.reason for a in scores.absences())


def test_dataset_column_says_simulated_and_incomplete() -> None:
    table = make_scores({"complete": False}, regions=2).table()
    assert set(table["dataset"]) == {"demo (simulated, incomplete)"}
    assert set(make_scores({"simulated": False}, regions=2).table()["dataset"]) == {"demo"}


def test_save_and_load_return_the_same(tmp_path: Path) -> None:
    scores = make_scores(regions=8)
    scores.save(tmp_path / "run")
    again = Scores.load(tmp_path / "run")
    pd.testing.assert_frame_equal(again.units, scores.units)
    pd.testing.assert_frame_equal(again.table(), scores.table())
    assert again.run.dataset_digest == scores.run.dataset_digest
    assert again.run.bands == scores.run.bands
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["run.json", "scores.parquet"]
    again.save(tmp_path / "again")
    assert Scores.load(tmp_path / "again").run == again.run


def test_fields_of_a_newer_writer_are_carried_along() -> None:
    value = json.loads(json.dumps({**make_run().to_json(), "novel": [1, 2]}))
    run = RunInfo.from_json(value)
    assert run.extra == {"novel": [1, 2]}
    assert run.to_json()["novel"] == [1, 2]


def test_another_schema_is_refused(tmp_path: Path) -> None:
    make_scores(regions=2).save(tmp_path)
    run = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**run, "schema": 99}))
    with pytest.raises(SchemaError, match="schema 99"):
        Scores.load(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("nothing", "no such folder"),
        ("empty", "it is empty"),
        ("no-scores", "no scores.parquet"),
        ("cut", "cut short"),
        ("json", "damaged"),
        ("field", "lacks a field"),
    ],
)
def test_damaged_runs_are_one_clear_error(tmp_path: Path, spoil: str, message: str) -> None:
    folder = tmp_path / "run"
    if spoil != "nothing":
        folder.mkdir()
    if spoil not in ("nothing", "empty"):
        make_scores(regions=2).save(folder)
    if spoil == "no-scores":
        (folder / "scores.parquet").unlink()
    if spoil == "cut":
        data = (folder / "scores.parquet").read_bytes()
        (folder / "scores.parquet").write_bytes(data[: len(data) // 2])
    if spoil == "json":
        (folder / "run.json").write_text((folder / "run.json").read_text()[:40])
    if spoil == "field":
        run = json.loads((folder / "run.json").read_text())
        del run["split"]
        (folder / "run.json").write_text(json.dumps(run))
    with pytest.raises(InputError, match=message) as caught:
        Scores.load(folder)
    assert "\n" not in str(caught.value)


def test_other_identity_does_not_add() -> None:
    a = make_scores(regions=2)
    with pytest.raises(Incomparable, match="dataset_digest"):
        a + replace(a, run=replace(a.run, dataset_digest="ff" * 32))
    with pytest.raises(Incomparable, match="weights of simvp"):
        a + replace(a, run=replace(a.run, weights={"simvp": "00"}))


def test_units_without_a_column_are_refused() -> None:
    with pytest.raises(InputError, match="lack the columns weight"):
        Scores(make_units(regions=1).drop(columns="weight"), make_run())


def test_bad_role_and_lead_are_refused() -> None:
    units = make_units(regions=1)
    with pytest.raises(InputError, match="role 'winner'"):
        Scores(units.assign(role="winner"), make_run())
    with pytest.raises(InputError, match="lead below 1"):
        Scores(units.assign(lead=0), make_run())


def test_absences_are_kept_once(tmp_path: Path) -> None:
    run = make_run(absent=(Absent("a", "why"), Absent("a", "why")))
    Scores(make_units(regions=2), run).save(tmp_path)
    assert [a.model for a in Scores.load(tmp_path).run.absent] == ["a"]


def test_a_star_names_every_model() -> None:
    run = make_run(absent=(Absent("*", "needs 4 bands", "sam@1"),))
    table = Scores(make_units(regions=2), run).table()
    rows = table[table["metric"] == "sam@1"]
    assert set(rows["model"]) == {"simvp", "persistence", "damped_persistence", "oracle", "floor"}
    assert rows["value"].isna().all()
