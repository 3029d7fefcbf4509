"""Once-silent ways for a table to be wrong."""

from __future__ import annotations

import numpy as np
import pytest
from scores_fixtures import make_run, make_scores, make_units

from rsbench.core.errors import InputError
from rsbench.evaluation import strata
from rsbench.evaluation.scores import Scores


def test_nan_in_a_unit_names_region_lead_and_band() -> None:
    units = make_units(regions=2, metrics=("mse@1",))
    where = (units["region"] == "sim-02") & (units["lead"] == 2) & (units["band"] == "nir")
    units.loc[where, "value_sum"] = np.nan
    with pytest.raises(InputError, match=r"mse@1 .* region sim-02, lead 2, band nir"):
        Scores(units, make_run())


def test_survivorship_would_flatter_later_leads() -> None:
    """Hard starts lost at lead 3 must leave leads 1 and 2 too."""
    units = make_units(metrics=("mse@1",), bands=("all",), regions=8, noise=0.0)
    hard = units["start"] == "2019-07-01"
    units.loc[hard, "value_sum"] *= 50
    lost = hard & (units["lead"] == 3)
    units.loc[lost, ["value_sum", "weight", "n_missing"]] = [0.0, 0.0, 4]
    table = Scores(units, make_run()).table()
    rows = table.query("stratum == 'all' and metric == 'mse@1' and model == 'persistence'")
    growth = (rows["value"] / rows["value"].iloc[0]).to_numpy()
    np.testing.assert_allclose(growth, [1, 2**0.5, 3**0.5], rtol=1e-9)
    assert (rows["n_missing"] == 8 * 4).all()


def test_a_duplicated_unit_adds_and_is_not_averaged_away() -> None:
    units = make_units(regions=1, metrics=("mse@1",), bands=("all",))
    twice = Scores(units, make_run()) + Scores(units, make_run())
    assert twice.units["weight"].sum() == 2 * units["weight"].sum()
    assert len(twice.units) == len(units)


def test_regions_count_once_whatever_their_number_of_images() -> None:
    units = make_units(regions=8, metrics=("mse@1",), bands=("all",))
    heavy = units["region"] == "sim-01"
    more = units.copy()
    for name in ("value_sum", "weight", "n_images"):
        more.loc[heavy, name] = more.loc[heavy, name] * 100
    a, b = Scores(units, make_run()).table(), Scores(more, make_run()).table()
    np.testing.assert_allclose(a["value"].dropna(), b["value"].dropna(), rtol=1e-9)


def test_drops_are_counted_and_origins_named() -> None:
    scores = make_scores(regions=8, metrics=("mse@1",), bands=("all",))
    (found,) = strata.matchings(scores.units, 3, "all")
    assert (found.kept, found.dropped) == (40, 0)
    assert found.origins == tuple(f"{y}-07-01" for y in range(2017, 2022))
