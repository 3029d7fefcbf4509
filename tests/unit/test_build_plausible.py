"""Implausible numbers of built data: refused, or said in provenance, card, terminal and table."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
import toys
from build_fixtures import BANDS, recipe, write_scene
from hypothesis import given, settings
from hypothesis import strategies as st

import rsbench as rb
from rsbench.build.engine.builder import build
from rsbench.cli.build_output import Output, end
from rsbench.core.errors import UnitFailed
from rsbench.evaluation import table
from rsbench.evaluation.run import RunResult
from rsbench.store.export.card import card
from rsbench.store.export.coverage import coverage
from rsbench.store.layout import CARD, SensorArrays
from rsbench.store.plausible import MOST_OUTSIDE, PlausibleRange, Seen, implausible, outside_of
from rsbench.store.read import open_store
from rsbench.store.tree import provenance
from rsbench.store.write import finalise, write_region

FILL = 50_000


def seen_by_hand(
    known: PlausibleRange, pixels: np.ndarray, valid: np.ndarray
) -> tuple[int, int, dict[float, int]]:
    """The same counts one number at a time, in the unit."""
    values = [float(v) for plane in pixels for v in plane[valid]]
    outside = [v for v in values if not known.low <= known.value(v) <= known.high]
    return len(values), len(outside), {v: outside.count(v) for v in outside}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["uint16", "int16", "float32"]),
    st.sampled_from([0, -9999, -28672, 65535, 32767]),
    st.floats(0, 1), st.integers(0, 2**20), st.sampled_from([(1e-4, 0.0), (2.75e-5, -0.2)]),
)  # fmt: skip
def test_random_fills_are_counted(
    dtype: str, fill: int, share: float, seed: int, scaling: tuple[float, float]
) -> None:
    meta = toys.sensor_meta(dtype=dtype, scale=scaling[0], offset=scaling[1])
    known, rng = PlausibleRange.of(meta), np.random.default_rng(seed)
    pixels = rng.integers(0, 12_000, (2, 6, 5)).astype(dtype)
    if dtype == "float32" or np.iinfo(dtype).min <= fill <= np.iinfo(dtype).max:
        pixels[rng.random(pixels.shape) < share] = fill
    valid = rng.random((6, 5)) < 0.8
    whole = known.seen(pixels, valid)
    count, outside, extremes = seen_by_hand(known, pixels, valid)
    assert (whole.count, whole.outside) == (count, outside)
    assert dict(whole.extremes) == {v: extremes[v] for v, _ in whole.extremes}
    assert whole.extremes[:1] == () or whole.extremes[0][1] == max(extremes.values())
    parts = known.seen(pixels[:, :4], valid[:4]) + known.seen(pixels[:, 4:], valid[4:])
    assert (parts.count, parts.outside) == (count, outside)
    assert bool(implausible(meta, pixels, valid)) == (outside > MOST_OUTSIDE * count)
    if outside:
        assert Seen.from_json(whole.to_json()).to_json() == whole.to_json()


def made(filled: float, *, index: int = 0, years: int = 2) -> SensorArrays:
    """Toy arrays whose first date has a share of numbers that no ground has."""
    arrays = toys.arrays(index, size=32, years=years, invalid=0.0)
    arrays.values[0].reshape(-1)[: round(filled * arrays.values[0].size)] = FILL
    return arrays


def write_toy(path: Path, filled: float, split: str = "test") -> None:
    meta = toys.sensor_meta()
    sensors = {meta.name: made(filled)}
    write_region(path, toys.record(split=split, years=2), sensors, {meta.name: meta})
    finalise(path, toys.store_meta({meta.name: meta}, simulated=False, simulation=None))


def test_a_region_records_only_dates_with_implausible_numbers(tmp_path: Path) -> None:
    write_toy(tmp_path / "s", 0.004)
    store = open_store(tmp_path / "s")
    assert provenance(store.tree, "toy-01") == {
        "outside": {"s2": {"2017-07-01": {
            "count": 4096, "outside": 16, "extreme": float(FILL), "times": 16
        }}}
    }  # fmt: skip
    said = card(store, coverage(store), "s")
    assert "- toy-01 2017-07-01 s2: 0.39% of its numbers lie outside -0.2 … 2 reflec" in said
    store.validate()
    write_toy(tmp_path / "clean", 0.0)
    clean = open_store(tmp_path / "clean")
    assert provenance(clean.tree, "toy-01") == {}
    assert "plausible" not in card(clean, coverage(clean), "clean")
    assert outside_of({"s2": made(0.0)}, {"s2": toys.sensor_meta()}) == {}


@pytest.mark.parametrize("filled", [0.0, 0.004])
def test_a_table_says_what_the_truth_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filled: float
) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    meta = toys.sensor_meta()
    for index, split in enumerate(("train", "val", "test", "test")):
        arrays = toys.arrays(index, size=32, years=3, invalid=0.0)
        # The first date is never a truth, the second is.
        arrays.values[:2].reshape(2, -1)[:, : round(filled * arrays.values[0].size)] = FILL
        record = toys.record(index, split=split, years=3)
        write_region(tmp_path / "s", record, {meta.name: arrays}, {meta.name: meta})
    finalise(tmp_path / "s", toys.store_meta({meta.name: meta}, simulated=False, simulation=None))
    scores = rb.evaluate(
        rb.create_model("persistence"), open_store(tmp_path / "s"), horizon=1, suite="mse@1"
    )
    text = table.to_markdown(scores.table(), scores=[scores])
    assert ("plausible" in text) == bool(filled)
    if filled:
        said = "0.39% of the numbers in 2 of 4 images; most in toy-03 2018-07-01: 0.39% of its"
        assert said in scores.run.implausible
        assert scores.run.implausible in text
        assert RunResult(tmp_path, scores).summary().endswith(f"\n{scores.run.implausible}")


def scenes(root: Path, share: float) -> Path:
    """Scenes of two years; in 2022 a share of the pixels of a region holds the fill."""
    draw = np.random.default_rng(0)
    for year in (2021, 2022):
        for number in range(3):
            bands = {b: draw.integers(500, 6000, (96, 96)).astype(np.uint16) for b in BANDS}
            if year == 2022:
                for values in bands.values():
                    block = values[:48, :48]
                    count = round(share * block.size)
                    block[np.unravel_index(np.arange(count), block.shape)] = FILL
            scl = np.full((48, 48), 4, np.uint8)
            when = date(year, number + 3, 10).isoformat() + "T10:00:00Z"
            write_scene(root, f"S2_{year}_{number}", when, bands, scl)
    return root


def test_a_built_year_that_is_mostly_fill_fails_with_the_reason(tmp_path: Path) -> None:
    folder = scenes(tmp_path / "stac", 0.17)
    with pytest.raises(UnitFailed, match=r"1 of 4 region-years failed, first west 2022.*17\.0%"):
        build(recipe(), tmp_path / "out", provider=str(folder))
    result = build(recipe(), tmp_path / "out", provider=str(folder), allow_incomplete=True)
    assert [(unit.region, unit.year) for unit in result.failed] == [("west", 2022)]
    store = open_store(tmp_path / "out")
    assert not store.read("west", "s2", array="valid")[1].any()
    said = (tmp_path / "out" / CARD).read_text(encoding="utf-8")
    assert "- missing: west 2022-07-01" in said
    assert "most often 50000 (5; 784 times)" in said


def test_a_few_implausible_numbers_are_said_on_the_terminal_and_in_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    result = build(recipe(), tmp_path / "out", provider=str(scenes(tmp_path / "stac", 0.005)))
    assert result.complete
    lines: list[str] = []
    end(result, Output(say=lines.append, note=lines.append))
    says = "west 2022-07-01 s2: 0.52% of its numbers lie outside -0.2 … 2 reflectance"
    assert any(line.startswith(f"hardly plausible: {says}") for line in lines)
    assert f"- {says}" in (tmp_path / "out" / CARD).read_text(encoding="utf-8")
