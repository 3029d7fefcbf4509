"""The map of regions: positions against pyproj, dots by skill, none for simulated data."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from scores_fixtures import make_run, make_units, save_run

from rsbench.catalog import load_regions
from rsbench.catalog import places as catalogue
from rsbench.evaluation.report import write_report
from rsbench.evaluation.report.board import Board, boards
from rsbench.evaluation.report.leaderboard import rows_of
from rsbench.evaluation.report.places import centre, utm_to_degrees, where
from rsbench.evaluation.scores import Scores

REGIONS = load_regions()


def test_centres_are_those_of_another_library() -> None:
    pytest.importorskip("pyproj")
    for region in REGIONS[::9]:
        found = centre(region)
        assert found == pytest.approx(catalogue.centre(region), abs=1e-8)
    assert utm_to_degrees(3857, 0.0, 0.0) is None
    # The middle of a zone on the equator, and the same place counted from the south.
    assert utm_to_degrees(32631, 5e5, 0.0) == pytest.approx((0.0, 3.0), abs=1e-12)
    assert utm_to_degrees(32731, 5e5, 1e7) == pytest.approx((0.0, 3.0), abs=1e-12)


def named(units: pd.DataFrame) -> pd.DataFrame:
    names = sorted(units["region"].unique())
    real = {name: REGIONS[i * 7].name for i, name in enumerate(names)}
    return units.assign(region=units["region"].map(real))


def board(
    tmp_path: Path, *, simulated: bool = False, real: bool = True, dataset: str = "s2-yearly"
) -> Board:
    units = make_units(metrics=("mse@1",), bands=("all",), regions=9, noise=0.5)
    made = Scores(named(units) if real else units, make_run(simulated=simulated, dataset=dataset))
    return boards([save_run(tmp_path / "run", made)])[0]


def test_a_dot_per_region_filled_where_there_is_skill(tmp_path: Path) -> None:
    made = board(tmp_path)
    found = where(made, rows_of(made))
    assert found is not None
    assert found["model"] == "simvp"
    values = [r["value"].replace("−", "-") for r in found["regions"]]
    assert values == sorted(values, key=float)
    positive = sum(float(v) > 0 for v in values)
    assert found["map"].count('class="dot better"') == positive
    assert found["map"].count('class="dot worse"') == 9 - positive
    assert 'data-tip="' in found["map"]


def test_no_map_of_places_that_are_not_there(tmp_path: Path) -> None:
    for options in ({"simulated": True}, {"real": False}, {"dataset": "mine"}):
        made = board(tmp_path / str(options), **options)
        assert where(made, rows_of(made)) is None


def test_the_page_holds_the_map(tmp_path: Path) -> None:
    made = board(tmp_path)
    text = write_report(list(made.folders), tmp_path / "r.html").read_text()
    assert 'class="map"' in text
    assert "Regions, least skill first" in text
