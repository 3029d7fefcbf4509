"""Triplets of three good days: models run on them, kills and parts end equal."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from triplet_scenes import collect, landsat, modis, recipe

from rsbench.build.engine.builder import build, build_part, finalise_parts
from rsbench.build.plan.plan import make_plan
from rsbench.core.errors import InputError
from rsbench.store import plausible
from rsbench.store.read import open_store

JAN10, JAN26 = date(2020, 1, 10), date(2020, 1, 26)
FEB11, MAR14 = date(2020, 2, 11), date(2020, 3, 14)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three good days."""
    root = tmp_path_factory.mktemp("few")
    for day in (JAN10, JAN26, MAR14):
        landsat(root, day)
        modis(root, day)
    return collect(root)


def test_starfm_runs_on_a_gap_and_one_reference(few: Path, tmp_path: Path) -> None:
    from rsbench.catalog import load_protocol
    from rsbench.evaluation.run import RunRequest, run_model
    from rsbench.tasks.fusion.samples import triplets

    made = build(recipe(fusion={"gap": (16, 50)}), tmp_path / "out", provider=str(few))
    held = open_store(made.path)
    assert held.meta.step == "P16D/P50D"
    assert [s.target for s in triplets(held, load_protocol("fusion1"), "test")] == [JAN26, MAR14]
    request = RunRequest(
        model="starfm", data=made.path, out=tmp_path / "run", metrics="mse@1", keep="none"
    )
    result = run_model(request)
    rows = pd.read_parquet(result.out / "table.parquet")
    rows = rows[(rows["metric"] == "mse@1") & (rows["band"] == "all")]
    assert "starfm" in set(rows["model"])
    assert (rows["value"] > 0).all()


def test_parts_and_other_engines_end_equal(few: Path, tmp_path: Path) -> None:
    lock = make_plan(recipe(), provider=str(few))
    digest = build(recipe(), tmp_path / "a", lock=lock, engine="stackstac").digest
    build_part(recipe(), tmp_path / "b", (1, 1), lock=lock)
    assert finalise_parts(recipe(), tmp_path / "b").digest == digest
    assert build(recipe(), tmp_path / "b").digest == digest


@pytest.mark.parametrize("step", ["save", "write_region", "finalise"])
def test_a_build_that_is_killed_goes_on_to_the_same_digest(
    step: str, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rsbench.build.engine import region as room
    from rsbench.build.engine.journal import Journal

    class KilledError(BaseException):
        pass

    def killed(*given: Any, **named: Any) -> None:
        raise KilledError

    lock = make_plan(recipe(), provider=str(few))
    with monkeypatch.context() as patch:
        patch.setattr(Journal if step == "save" else room, step, killed)
        with pytest.raises(KilledError):
            build(recipe(), tmp_path / "a", lock=lock)
    assert not (tmp_path / "a" / "index.json").exists()
    after = build(recipe(), tmp_path / "a")
    assert open_store(after.path).validate() == []
    assert after.digest == few_digest(str(few))


@cache
def few_digest(folder: str) -> str:
    """The digest of an undisturbed build."""
    out = Path(tempfile.mkdtemp(prefix="rsbench-test-few-"))
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    return build(recipe(), out / "whole", provider=folder).digest


def test_a_year_with_too_many_days_keeps_those_further_apart(few: Path, tmp_path: Path) -> None:
    root = tmp_path / "stac"
    shutil.copytree(few, root)
    for day in (FEB11, date(2020, 2, 27)):
        landsat(root, day)
        modis(root, day)
    made = build(recipe(fusion={"dates": 3}), tmp_path / "out", provider=str(collect(root)))
    held = open_store(made.path)
    assert held.region("Fields").times["landsat"] == (JAN10, FEB11, MAR14)
    reason = "16 days after 2020-01-10, dates of this place lie 24 days apart"
    assert held.meta.recipe["refused"]["Fields"]["2020-01-26"] == reason


def test_a_day_whose_numbers_no_ground_has_is_refused(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(plausible.PLAUSIBLE, "reflectance", (-0.2, -0.1))
    with pytest.raises(InputError, match=r"landsat: 100\.0% of its numbers lie outside"):
        build(recipe(), tmp_path / "out", provider=str(few))
