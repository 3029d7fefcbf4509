"""The regions: positions against pyproj, dots by skill, names where there is no place."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from scores_fixtures import make_run, make_units, save_run

from rsbench.catalog import load_regions
from rsbench.catalog import places as catalogue
from rsbench.core.grid import Grid
from rsbench.evaluation.positions import _centre, unplaced, utm_to_degrees
from rsbench.evaluation.report import write_report
from rsbench.evaluation.report.board import Board, boards
from rsbench.evaluation.report.leaderboard import rows_of
from rsbench.evaluation.report.places import centre, where
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
    assert found["metric"] == "skill.mse@1"
    values = [float(r["cells"][0].replace("−", "-")) for r in found["regions"]]
    assert values == sorted(values)
    positive = sum(value > 0 for value in values)
    assert found["map"].count('class="dot better"') == positive
    assert found["map"].count('class="dot worse"') == 9 - positive
    assert found["map"].count('role="button"') == 9
    assert found["groups"] == ["cropland", "forest"]
    assert ", forest, MSE skill" in found["map"]


def test_no_map_of_places_that_are_not_there(tmp_path: Path) -> None:
    for options in ({"simulated": True}, {"real": False}, {"dataset": "mine"}):
        made = board(tmp_path / str(options), **options)
        found = where(made, rows_of(made))
        assert found is not None
        assert found["map"] == ""
        assert len(found["regions"]) == 9
    text = write_report(list(made.folders), tmp_path / "r.html").read_text()
    assert text.count('<button type="button" data-region=') == 9
    assert "These regions have no known place." in text


def test_an_imported_store_has_the_places_that_its_run_states(tmp_path: Path) -> None:
    made = board(tmp_path, dataset="mine")
    names = [r["name"] for r in where(made, [])["regions"]]  # type: ignore[index]
    stated = {name: [10 + 0.05 * i, 50.0] for i, name in enumerate(names)}
    run = replace(made.run, extra={"places": stated})
    placed = where(replace(made, runs=(run,)), [])
    assert placed is not None
    assert placed["map"].count("<circle") == 9
    assert "50°N" in placed["map"]
    dots = [float(x) for x in re.findall(r'cx="([\d.]+)"', placed["map"])]
    assert max(dots) - min(dots) > 300  # the map shows their own extent


def test_centres_of_grids() -> None:
    utm = Grid("EPSG:32631", (10.0, 0.0, 5e5 - 320, 0.0, -10.0, 320.0), 64, 64)
    assert _centre(utm) == pytest.approx((3.0, 0.0), abs=1e-9)
    degrees = Grid("EPSG:4326", (0.01, 0.0, 10.0, 0.0, -0.01, 50.0), 100, 100)
    assert _centre(degrees) == pytest.approx((10.5, 49.5))
    assert unplaced({"fine": {"unplaced": True}})
    assert not unplaced({"fine": {"files": {}}})


def test_the_page_holds_the_map(tmp_path: Path) -> None:
    made = board(tmp_path)
    text = write_report(list(made.folders), tmp_path / "r.html").read_text()
    assert 'class="map"' in text
    assert "Regions, least skill first" in text
