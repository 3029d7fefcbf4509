"""Share of regions with skill, and what is said of many comparisons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scores_fixtures import MODELS, make_scores, save_run

from rsbench.evaluation.report import write_report
from rsbench.evaluation.report.board import boards
from rsbench.evaluation.report.comparisons import endpoints
from rsbench.evaluation.strata import headline


def test_the_share_of_regions_with_skill_by_hand() -> None:
    scores = make_scores(regions=12, noise=0.4)
    means = scores.region_means()
    table = scores.table()
    for lead in (1, 3):
        here = (means["lead"] == lead) & (means["band"] == "all") & (means["stratum"] == "all")
        skill = means[here & (means["metric"] == "skill.mse@1") & (means["model"] == "persistence")]
        positive = sum(value > 0 for value in skill["value"])
        row = table[
            (table["metric"] == "share.mse@1") & (table["model"] == "persistence")
            & (table["lead"] == lead) & (table["band"] == "all") & (table["stratum"] == "all")
        ].iloc[0]  # fmt: skip
        assert 0 < positive < 12  # else the case says nothing
        assert row["value"] == pytest.approx(positive / 12)
        wilson = stats.binomtest(positive, 12).proportion_ci(method="wilson")
        assert (row["lo"], row["hi"]) == pytest.approx((wilson.low, wilson.high))
        assert (row["interval"], row["n_regions"]) == ("wilson95", 12)
    assert "damped_persistence" not in set(table.loc[table["metric"] == "share.mse@1", "model"])


def test_few_regions_have_a_share_without_an_interval() -> None:
    table = make_scores(regions=5).table()
    rows = table[table["metric"] == "share.mse@1"]
    assert len(rows) > 0
    assert set(rows["interval"]) == {"none"}
    assert rows["lo"].isna().all()


def test_the_endpoint_is_corrected_over_models_and_leads(tmp_path: Path) -> None:
    models = {**MODELS, "alike": ("model", "tiny", 0.9), "worse": ("model", "tiny", 1.3)}
    (board,) = boards([save_run(tmp_path / "run", make_scores(models=models, noise=0.1))])
    found = {(one.model, one.lead): one for one in endpoints(board)}
    assert set(found) == {(m, n) for m in ("simvp", "alike", "worse") for n in (1, 3)}
    table = headline(board.scores.table(), "skill.mse@1").set_index(["model", "lead"])
    for place, one in found.items():
        row = table.loc[place]  # the p value and the interval agree, both corrected for skewness
        assert (one.p < 0.05) == (row["lo"] > 0 or row["hi"] < 0)
    raw = np.array([one.p for one in found.values()])
    adjusted = np.array([one.adjusted for one in found.values()])
    order = np.argsort(raw)
    factors = np.arange(len(raw), 0, -1)
    expected = np.minimum(np.maximum.accumulate(raw[order] * factors), 1.0)
    np.testing.assert_allclose(adjusted[order], expected)
    assert found["simvp", 1].kept
    assert found["simvp", 1].better
    assert not found["worse", 1].better
    assert "below 0" in found["worse", 1].described("year +1")


def test_the_page_says_how_many_cells_chance_would_mark(tmp_path: Path) -> None:
    text = write_report([save_run(tmp_path / "a")], tmp_path / "a.html").read_text()
    said = " ".join(text.split())
    assert "If all entries were equal, up to" in said
    assert "after Holm's correction for 2 comparisons" in said
    few = write_report([save_run(tmp_path / "b", make_scores(regions=5))], tmp_path / "b.html")
    assert "Holm" not in few.read_text()
