"""What a refusal tells to type is never refused in turn."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
import triplet_toys
from build_fixtures import write_raster
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from import_fixtures import importing

from rsbench.build.importers.api import ImportOptions, ImportRequest
from rsbench.build.importers.blocks import LEAST_SIDE, cut
from rsbench.build.importers.triplet_store import blocks_of
from rsbench.catalog import load_protocol
from rsbench.core.errors import InputError
from rsbench.evaluation.run import RunRequest, _require_fitting
from rsbench.metrics.registry import definition
from rsbench.models.registry import card
from rsbench.store.read import open_store
from rsbench.tasks.config import EvaluationOptions
from rsbench.tasks.settings import evaluation_config


def test_blocks_that_are_proposed_are_large_enough_for_the_metrics() -> None:
    suites = [load_protocol(name).suite for name in ("year1", "year7", "fusion1", "fusion2")]
    assert max(definition(m).min_side for suite in suites for m in suite) == LEAST_SIDE


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 400), st.integers(1, 400), st.none() | st.integers(8, 300))
def test_the_size_of_blocks_that_is_told_can_be_cut(
    height: int, width: int, size: int | None
) -> None:
    try:
        cut(height, width, size)
    except InputError as error:
        told = re.search(r"--region-size (\d+)", error.remedy)
        if told:
            assert cut(height, width, int(told[1]))
            assert int(told[1]) >= LEAST_SIDE
        else:
            assert min(height, width) < LEAST_SIDE or max(height, width) < 5 * LEAST_SIDE


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 2, 4, 7, 16]), st.integers(1, 200)
)
def test_the_size_of_blocks_of_triplets_that_is_told_can_be_cut(
    rows: int, columns: int, ratio: int, size: int
) -> None:
    height, width = rows * ratio, columns * ratio
    try:
        blocks_of((height, width), size, ratio)
    except InputError as error:
        told = re.search(r"--region-size (\d+)", error.remedy)
        blocks = blocks_of((height, width), int(told[1]) if told else None, ratio)
        assert len(blocks) > 1 or not told


# Contexts --------------------------------------------------------------------------------


@pytest.mark.parametrize("dates", [2, 3, 5])
def test_the_context_that_is_told_is_there(dates: int, tmp_path: Path) -> None:
    """Every model of fusion on stores of few dates: a context that is told can be run."""
    store = triplet_toys.write_store(tmp_path / "s", dates=dates, simulated=False, simulation=None)
    for model in ("estarfm", "starfm", "mean_refs", "sa_stf"):
        _follow(store, model, ("fusion1", "fusion2"))


@pytest.mark.parametrize("years", [2, 3, 5])
def test_the_context_of_forecasts_that_is_told_is_there(years: int, tmp_path: Path) -> None:
    store = toys.write_store(tmp_path / "s", years=years)
    for model in ("linear_trend", "simvp", "persistence", "damped_persistence"):
        _follow(store, model, ("year1", "year3"))


def _follow(store: Any, model: str, protocols: tuple[str, ...]) -> None:
    for protocol in protocols:
        context, tried = None, set[int | None]()
        while True:
            assert context not in tried, f"{model} under {protocol}: {context} is told again"
            tried.add(context)
            try:
                _start(store, model, protocol, context)
                break
            except InputError as error:
                told = re.search(r"--context (\d+)", error.remedy)
                if told is None:
                    break
                context = int(told[1])


def _start(store: Any, model: str, protocol: str, context: int | None) -> None:
    own = card(model)
    asked = EvaluationOptions(context=context, horizon=1)
    config = evaluation_config(store, protocol, asked)
    _require_fitting(RunRequest(model=model, out=Path("x")), own, own.default_preset, config)


# One scene -------------------------------------------------------------------------------


def test_one_scene_is_enough_to_train_and_test_a_fusion_model(tmp_path: Path) -> None:
    """The import of one scene tells the size of blocks, and a model is trained on them."""
    source = tmp_path / "scene"
    rng = np.random.default_rng(5)
    fields = rng.uniform(500, 4000, (2, 20, 10)).repeat(16, 1).repeat(16, 2)
    for at in range(3):
        fine = (fields * (1 + at / 20)).astype(np.uint16)
        low = fine.reshape(2, 40, 8, 20, 8).mean(axis=(2, 4)).astype(np.uint16)
        write_raster(source / "fine" / f"2020-0{at + 1}-05.tif", fine)
        write_raster(source / "coarse" / f"2020-0{at + 1}-05.tif", low, gsd=80.0)
    notes = _notes(source, tmp_path / "one")
    told = re.search(r"--region-size (\d+)", " ".join(notes))
    assert told is not None
    stated = {"unit": "reflectance", "scale": 1e-4, "coarse_scale": 1e-4}
    made = importing("geotiff-triplets")(
        source, tmp_path / "blocks", region_size=int(told[1]), **stated
    )
    store = open_store(made.path)
    assert {str(r["split"]) for r in store.listed.values()} == {"train", "val", "test"}
    _train_and_score(store, tmp_path)


def _notes(source: Path, out: Path) -> list[str]:
    from rsbench.build.importers.registry import import_dataset

    notes: list[str] = []
    options = ImportOptions(unit="reflectance", scale=1e-4, coarse_scale=1e-4)
    assert ImportRequest("geotiff-triplets", source, out, options).command()
    import_dataset("geotiff-triplets", source, out, options, note=notes.append)
    return notes


def _train_and_score(store: Any, root: Path) -> None:
    from rsbench.evaluation.run import run_model

    request = RunRequest(
        model="swinstfm", preset="tiny", data=store.path, budget="2steps", out=root / "run"
    )
    scores = run_model(request)
    assert scores is not None
    assert (root / "run" / "table.md").is_file()
