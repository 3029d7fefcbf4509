"""Irregular dates become a regular series, or the import says what to type."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from build_fixtures import write_raster
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from import_fixtures import typed

from rsbench.build.importers.api import ImportOptions
from rsbench.build.importers.registry import import_dataset
from rsbench.build.importers.regular import Regular, parse_step, regular
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid
from rsbench.store.layout import SensorArrays
from rsbench.store.read import Store, open_store

DAYS = ("2020-01-01", "2020-01-17", "2020-01-20", "2020-02-18", "2020-03-05", "2020-03-21")
STATED: dict[str, Any] = {"unit": "reflectance", "scale": 1e-4, "region_size": 16, "nodata": 0}


def folder(root: Path) -> Path:
    for at, day in enumerate(DAYS):
        values = np.full((1, 16, 80), 1000 + 100 * at, np.uint16)
        values[:, : 2 * at] = 0
        write_raster(root / f"{day}.tif", values)
    return root


def imported(source: Path, out: Path, **options: Any) -> tuple[Store, list[str]]:
    notes: list[str] = []
    stated = ImportOptions(**{**STATED, **options})
    made = import_dataset("geotiff-series", source, out, stated, note=notes.append)
    return open_store(made.path), notes


def test_an_irregular_series_says_what_to_type_and_the_command_works(tmp_path: Path) -> None:
    source, out = folder(tmp_path / "a"), tmp_path / "out"
    store, notes = imported(source, out)
    assert store.meta.step == "irregular"
    told = [note for note in notes if "irregular" in note]
    assert told == [told[0]]
    assert "3 days follow 2020-01-17, elsewhere it is about 16" in told[0]
    command = told[0].replace(f"--out {out}", f"--out {tmp_path / 'even'}")
    typed(InputError("", "", command))
    even = open_store(tmp_path / "even")
    assert even.meta.step == "P16D"
    assert even.meta.recipe["composite"] == "nearest"


def test_each_image_goes_to_the_nearest_step_and_gaps_are_invalid(tmp_path: Path) -> None:
    store, notes = imported(folder(tmp_path / "a"), tmp_path / "out", step="16d")
    name = store.regions[0]
    assert [str(day) for day in store.region(name).times["image"]] == [
        "2020-01-01", "2020-01-17", "2020-02-02", "2020-02-18", "2020-03-05", "2020-03-21",
    ]  # fmt: skip
    valid = store.read(name, "image", array="valid")
    assert valid.any(axis=(1, 2)).tolist() == [True, True, False, True, True, True]
    values = store.read(name, "image")[:, 0]
    assert values[1, :2].tolist() == np.zeros((2, 16)).tolist()  # neither of its images shows them
    assert set(values[1, 2:].ravel().tolist()) == {1100}
    assert "1 of 6 steps have no image and are wholly invalid" in notes
    made = store.meta.recipe["composed"]
    assert made["2020-01-17"] == ["2020-01-17", "2020-01-20"]
    assert made["2020-02-02"] == []


def test_the_median_is_of_the_images_that_show_a_pixel(tmp_path: Path) -> None:
    store, _ = imported(folder(tmp_path / "a"), tmp_path / "out", step="2m", composite="median")
    name = store.regions[0]
    assert [str(day) for day in store.region(name).times["image"]] == ["2020-01-01", "2020-03-01"]
    values, count = store.read(name, "image")[0, 0], store.read(name, "image", array="n_valid")[0]
    assert count[0, 0] == 1
    assert count[-1, 0] == 3
    # 1000; 1000 and 1100; 1000, 1100 and 1200
    assert [int(values[row, 0]) for row in (0, 2, 4)] == [1000, 1050, 1100]


def test_a_series_made_regular_can_be_forecast(tmp_path: Path) -> None:
    from rsbench.catalog import load_protocol
    from rsbench.evaluation.run import evaluate
    from rsbench.models.registry import create_model

    rules = load_protocol("year1").model_copy(
        update={"window": 16, "stride": 16, "suite": ("mse@1",), "primary": None}
    )
    source = folder(tmp_path / "a")
    rough, _ = imported(source, tmp_path / "rough")
    with pytest.raises(InputError, match=r"3 days follow 2020-01-17.*--step 16d"):
        evaluate(create_model("persistence"), rough, protocol=rules)
    store, _ = imported(source, tmp_path / "out", step="16d")
    found = evaluate(create_model("persistence"), store, protocol=rules)
    assert any("samples left out: context without a valid" in a.reason for a in found.absences())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"step": "fortnight"}, "--step fortnight: it is no step"),
        ({"composite": "median"}, r"no step is stated\. State it, e\.g\. --step 16d"),
        ({"step": "16d", "composite": "mean"}, "composite 'mean'"),
    ],
)
def test_steps_and_composites_that_are_none(options: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        imported(folder(tmp_path / "a"), tmp_path / "out", **options)


def test_too_many_steps_are_refused() -> None:
    days = (date(1900, 1, 1), date(1950, 1, 1))
    with pytest.raises(InputError, match="more than 5000 such steps"):
        regular(days, "1d", None)


@pytest.mark.parametrize(("text", "iso"), [("16d", "P16D"), ("1M", "P1M"), ("P2Y", "P2Y")])
def test_steps_are_read(text: str, iso: str) -> None:
    assert parse_step(text).iso == iso
    assert parse_step("1m").after(date(2020, 1, 31), 1) == date(2020, 2, 29)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.integers(0, 400), min_size=2, max_size=8, unique=True),
    st.integers(5, 60),
    st.sampled_from(["nearest", "median"]),
    st.integers(0, 2**31),
)
def test_steps_are_even_and_every_image_is_used_once(
    offsets: list[int], every: int, how: str, seed: int
) -> None:
    """Against a pixel by pixel reference."""
    times = tuple(date(2020, 1, 1) + timedelta(n) for n in sorted(offsets))
    plan = regular(times, f"{every}d", how)
    assert isinstance(plan, Regular)
    assert {(b - a).days for a, b in zip(plan.times, plan.times[1:], strict=False)} <= {every}
    assert sorted(m for s in plan.slots for m in s.members) == list(range(len(times)))
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 1000, (len(times), 1, 2, 2)).astype(np.uint16)
    valid = rng.random((len(times), 2, 2)) < 0.6
    grid = Grid("EPSG:32633", (10, 0, 0, 0, -10, 0), 2, 2)
    made = plan.applied(SensorArrays(values, valid, valid.astype(np.uint16), times, grid), 0)
    for at, slot in enumerate(plan.slots):
        shown = [values[m, 0, 0, 0] for m in slot.members if valid[m, 0, 0]]
        assert made.valid[at, 0, 0] == bool(shown)
        if shown:
            wanted = shown[0] if how == "nearest" else round(float(np.median(shown)))
            assert made.values[at, 0, 0, 0] == wanted
        else:
            assert made.values[at, 0, 0, 0] == 0
