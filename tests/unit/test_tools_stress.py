"""Paired tables: differences on the same regions, paired intervals, scoring of entries."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from fusion_toys import write_triplets
from support.tool import load_tool

from rsbench.tasks.fusion.task import TASK

CONDITIONS = ("plain", "cloudy")


@pytest.fixture(scope="module")
def stress() -> ModuleType:
    return load_tool("stress")


def units(model: str, plain: list[float], cloudy: list[float]) -> pd.DataFrame:
    """One image per region and condition."""
    rows = [
        {
            "model": model, "preset": "", "role": "model", "region": f"r{i}", "start": "2020-01-01",
            "lead": 1, "target": "2020-01-17", "curve": "starts", "metric": "rmse@1",
            "band": "all", "condition": condition, "value_sum": value, "weight": 1.0,
            "n_images": 1, "n_missing": 0,
        }
        for condition, values in zip(CONDITIONS, (plain, cloudy), strict=True)
        for i, value in enumerate(values)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_small_difference_shows_where_regions_differ_much(stress: ModuleType) -> None:
    """Regions from 1 to 8, all worse by a tenth under cloud: sure, because it is paired."""
    plain = [float(i) for i in range(1, 9)]
    cloudy = [v + 0.1 + 0.01 * (-1) ** i for i, v in enumerate(plain)]
    found = stress.table(stress.collect({("a", 0): units("a", plain, cloudy)}), CONDITIONS)
    line = found[found["condition"] == "cloudy"].iloc[0]
    assert line["value"] == pytest.approx(4.6)
    assert line["difference"] == pytest.approx(0.1)
    assert 0.08 < line["lo"] < 0.1 < line["hi"] < 0.12
    assert int(line["n_regions"]) == 8
    text = stress.markdown(found, CONDITIONS, "# t")
    assert "| a | 1 | 4.5" in text
    assert "**+0.10" in text


def test_seeds_widen_the_interval(stress: ModuleType) -> None:
    """Three seeds that disagree in sign: the mean difference is not sure."""
    plain = [1.0] * 8
    parts = {
        ("a", seed): units("a", plain, [1.0 + step + 0.001 * i for i in range(8)])
        for seed, step in enumerate((-0.2, 0.1, 0.2))
    }
    line = stress.table(stress.collect(parts), CONDITIONS).iloc[1]
    assert line["difference"] == pytest.approx(0.1 / 3 + 0.0035)
    assert line["lo"] < 0 < line["hi"]
    assert int(line["seeds"]) == 3


def test_an_entry_is_scored_once_per_region_and_kept(
    stress: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    store = write_triplets(tmp_path / "toy", splits=("test",) * 2, size=(32, 32))
    asked = (0, store, store, store.split("test"), tmp_path / "runs")
    own, trivial = stress.scored("starfm", *asked), stress.scored("trivial", *asked)
    assert set(own["model"]) == {"starfm"}
    assert set(trivial["model"]) == set(TASK.reference_models)
    assert set(own["region"]) == set(trivial["region"]) == {"place-1", "place-2"}
    monkeypatch.delattr(stress, "score")
    assert stress.scored("starfm", *asked).equals(own)
