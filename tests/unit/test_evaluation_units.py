"""From answers to unit rows: sums that a loop gives, on matched sets, whatever the batches."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import toys

import rsbench as rb
from rsbench.catalog import load_protocol
from rsbench.core.errors import HorizonError, InputError, UnknownName
from rsbench.evaluation.loop import score
from rsbench.evaluation.reference_models import bound_entries, reference_entries
from rsbench.store.read import Store
from rsbench.tasks.config import EvaluationConfig, EvaluationOptions
from rsbench.tasks.forecast.samples import curve_of
from rsbench.tasks.forecast.task import TASK
from rsbench.tasks.settings import cases, evaluation_config

YEARS, SIDE = 5, 48


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield toys.write_store(
            tmp_path_factory.mktemp("toy") / "s", size=SIDE, years=YEARS, simulated=False,
            simulation=None, invalid=0.1,
        )  # fmt: skip


@pytest.fixture(scope="module")
def config(store: Store) -> EvaluationConfig:
    return evaluation_config(store, "year7", EvaluationOptions(horizon=2, suite="pixel"))


@pytest.mark.parametrize("times", [3, 5, 8])
@pytest.mark.parametrize("context", [1, 2])
@pytest.mark.parametrize("horizon", [1, 2, 3])
def test_matched_sets_hold_what_they_promise(times: int, context: int, horizon: int) -> None:
    """On ``starts`` every start has all leads; on ``targets`` every target is met by all leads."""
    pairs = [
        (start, lead)
        for start in range(context - 1, times)
        for lead in range(1, horizon + 1)
        if start + lead < times
    ]
    kind = {
        (start, lead): curve_of(start, lead, span=(context, times - 1), horizon=horizon)
        for start, lead in pairs
    }
    by_lead = [
        {start for (start, k), name in kind.items() if k == lead and name in ("starts", "both")}
        for lead in range(1, horizon + 1)
    ]
    assert all(found == by_lead[0] for found in by_lead)
    met = [
        {
            start + k
            for (start, k), name in kind.items()
            if k == lead and name in ("targets", "both")
        }
        for lead in range(1, horizon + 1)
    ]
    assert all(found == met[0] for found in met)
    if times >= context + horizon:
        assert by_lead[0]
    if times >= context + 2 * horizon - 1:
        assert met[0]


def test_units_are_what_a_loop_over_the_store_gives(store: Store, config: EvaluationConfig) -> None:
    scores = rb.evaluate(rb.create_model("persistence"), store, horizon=2, suite="pixel")
    units = scores.units
    mine = units[(units.model == "persistence") & (units.metric == "mae@1") & (units.band == "all")]
    assert len(mine) > 0
    for row in mine.itertuples():
        raw = store.to_physical("s2", store.read(row.region, "s2")).astype(np.float64)
        seen = store.read(row.region, "s2", array="valid")
        times = [t.isoformat() for t in store.region(row.region).times["s2"]]
        start, target = times.index(row.start), times.index(row.target)
        assert target - start == row.lead
        known = seen[start]
        filled = np.where(known, raw[start], raw[start][:, known].mean(axis=1)[:, None, None])
        error = np.abs(filled - raw[target])[:, seen[target]].mean()
        assert (row.n_images, row.n_missing, row.weight) == (1, 0, 1.0)
        assert row.value_sum == pytest.approx(error, rel=2e-6)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_change_nothing(config: EvaluationConfig, batch_size: int) -> None:
    rows = reference_entries(config, note=lambda _: None).entries

    def units(size: int) -> pd.DataFrame:
        tally = score(
            rows, cases(config, batch_size=size), config.metrics, bands=config.bands,
            value_range=config.meta.value_range,
        )  # fmt: skip
        frame = tally.frame({})
        key = [c for c in frame.columns if c not in ("value_sum", "weight")]
        return frame.sort_values(key).reset_index(drop=True)

    pd.testing.assert_frame_equal(units(batch_size), units(64), rtol=1e-12)


def test_the_floor_compares_halves_where_both_exist(store: Store, config: EvaluationConfig) -> None:
    row = next(r for r in bound_entries(config) if r.role == "floor")
    tally = score(
        [row], cases(config), ["mae@1"], bands=config.bands,
        value_range=config.meta.value_range,
    )  # fmt: skip
    for unit in tally.frame({}).query("band == 'all'").itertuples():
        at = [t.isoformat() for t in store.region(unit.region).times["s2"]].index(unit.target)
        odd, even = (store.read(unit.region, "s2", array=name)[at] for name in ("odd", "even"))
        both = (odd != 0).all(axis=0) & (even != 0).all(axis=0)
        error = np.abs(odd.astype(float) - even)[:, both].mean() * 1e-4
        assert unit.value_sum == pytest.approx(error, rel=2e-6)


def test_reference_models_that_cannot_be_say_why(config: EvaluationConfig) -> None:
    found = reference_entries(config, note=lambda _: None)
    assert {"persistence", "damped_persistence"} <= {row.model for row in found.entries}
    gone = {item.model: item.reason for item in found.absent}
    assert set(gone) == {"climatology", "linear_trend"}
    assert all(
        str(needs) in gone[name] for name, needs in (("climatology", 2), ("linear_trend", 3))
    )


def test_late_starts_come_with_the_leads_there_are(config: EvaluationConfig) -> None:
    groups = TASK.groups(config, "test")
    leads = {(g[0].start, len(g[0].targets)) for g in groups}
    assert leads == {(s, min(2, YEARS - 1 - s)) for s in range(YEARS - 1)}
    for group in groups:
        assert len({(s.start, len(s.targets)) for s in group}) == 1


def test_a_setting_is_refused_in_words(store: Store) -> None:
    with pytest.raises(UnknownName, match="test"):
        evaluation_config(store, "year7", EvaluationOptions(horizon=1, split="tset"))
    with pytest.raises(HorizonError):
        evaluation_config(store, "year7", EvaluationOptions(horizon=YEARS))
    with pytest.raises(InputError, match="is no number"):
        evaluation_config(store, "year7", EvaluationOptions(horizon=1, context="many"))
    with pytest.raises(InputError, match="no device"):
        evaluation_config(store, "year7", EvaluationOptions(horizon=1, device="abacus"))
    whole = EvaluationOptions(horizon=1, context="all")
    assert evaluation_config(store, "year7", whole).context == YEARS - 1
    small = evaluation_config(store, "year7", EvaluationOptions(horizon=1))
    assert small.protocol.name == f"year7/w{SIDE}"


def test_floor_skill_and_its_share_stand_in_every_table(store: Store) -> None:
    """Whatever was asked for: what a row is worth, and what the data's noise allows."""
    scores = rb.evaluate(rb.create_model("persistence"), store, horizon=1, suite="uiqi@1")
    table = scores.table().dropna(subset="value")
    found = set(table["metric"])
    assert {"uiqi@1", "mse@1", "skill.mse@1", "share.mse@1"} <= found
    skilled = table[(table["metric"] == "skill.mse@1") & (table["stratum"] == "all")]
    assert {"floor", scores.run.best_trivial} <= set(skilled["model"])
    assert "floor" in set(table.loc[table["metric"] == "uiqi@1", "model"])


def test_a_split_by_date_scores_the_last_dates_of_every_region(store: Store) -> None:
    """Of four target dates two are for training and two for the test; none is left for val."""
    rules = load_protocol("year7").model_copy(update={"scheme": "time", "name": "by-date"})
    scores = rb.evaluate(rb.create_model("persistence"), store, rules, horizon=2, suite="mse@1")
    units = scores.units[scores.units["model"] == "persistence"]
    assert set(units["region"]) == set(store.regions)
    times = [day.isoformat() for day in store.region(store.regions[0]).times["s2"]]
    assert set(units["target"]) == set(times[3:])
    assert "damped_persistence" in set(scores.units["model"])  # fitted on the first dates
    assert scores.table()["value"].notna().any()
