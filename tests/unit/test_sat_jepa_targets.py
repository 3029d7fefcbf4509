"""AlphaEarth rasters of an imported dataset reach the predictor's training, and rows say so."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from build_fixtures import write_raster
from import_fixtures import importing

pytest.importorskip("diffusers")

from rsbench.catalog import load_protocol
from rsbench.core.errors import InputError, UnknownName
from rsbench.evaluation.run import RunRequest, run_model, train_model
from rsbench.evaluation.scores import Scores
from rsbench.models.checkpoint import Checkpoint
from rsbench.models.registry import called, create_model, parse_option
from rsbench.store.read import Store, open_store
from rsbench.tasks.batches import batches
from rsbench.tasks.forecast.samples import index
from rsbench_baselines.sat_jepa_diff.targets import AlphaEarth
from tests.task_readers import reader_of, split_of

import_sat_jepa_diff = importing("sat-jepa-diff")
NAMES = ("Cairo_Egypt", "Istanbul_Turkey", "Mekong_Vietnam", "Sahara_Algeria")
YEARS = (2019, 2020, 2021)
SIDE, PATCH = 64, 32
BUDGET = "4steps"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))


def codes(name: str, year: int) -> np.ndarray[Any, Any]:
    """One number a pixel and channel, so that a wrong place or year would show."""
    rng = np.random.default_rng([NAMES.index(name), year, 1])
    return rng.normal(0, 0.1, (64, SIDE, SIDE)).astype(np.float32)


def published(root: Path, prefix: str = "embedding_") -> Path:
    for number, name in enumerate(NAMES):
        origin = (300_000 + 200_000.0 * number, 5_000_020)
        for year in YEARS:
            rng = np.random.default_rng([number, year])
            image = rng.integers(200, 4000, (3, SIDE, SIDE)).astype(np.uint16)
            tail = f"{name}_{year}_10km.tif"
            write_raster(root / name / f"s2_rgb_{tail}", image, origin=origin, nodata=0)
            write_raster(root / name / f"{prefix}{tail}", codes(name, year), origin=origin)
    return root


def imported(source: Path, out: Path, split: str = "space") -> Store:
    made = import_sat_jepa_diff(
        source, out, unit="reflectance", scale=1e-4, region_size=PATCH, split=split
    )
    return open_store(made.path)


@pytest.mark.parametrize(
    ("split", "prefix"), [("space", "embedding_"), ("published", "gee_embeddings_")]
)
def test_each_sample_gets_the_embeddings_of_its_ground_and_target_year(
    split: str, prefix: str, tmp_path: Path
) -> None:
    source = published(tmp_path / "in", prefix)
    store = imported(source, tmp_path / "out", split)
    rules = load_protocol("year1").model_copy(update={"window": PATCH, "stride": PATCH})
    samples = index(store, rules, "test")[-3:]
    _, want, _ = split_of(next(batches(reader_of(store, rules), samples, 3)))
    found = AlphaEarth(source).read(want, 8)
    assert found.shape == (3, 16, 64)
    for row, sample in enumerate(samples):
        place = next(name for name in NAMES if sample.region.startswith(name))
        entry = store.region(sample.region)
        year = entry.times["image"][sample.start].year + 1
        assert entry.times["image"][sample.targets[0]] == date(year, 7, 1)
        origin = 300_000 + 200_000.0 * NAMES.index(place)
        grid = entry.grids["image"].window(sample.window)
        x, y = (grid.transform[2] - origin) / 10, (5_000_020 - grid.transform[5]) / 10
        ground = codes(place, year)[:, int(y) : int(y) + PATCH, int(x) : int(x) + PATCH]
        by_hand = ground.reshape(64, 4, 8, 4, 8).mean(axis=(2, 4)).reshape(64, 16).T
        np.testing.assert_allclose(found[row].numpy(), by_hand, atol=1e-6)


def test_a_raster_off_the_grid_or_absent_is_one_sentence(tmp_path: Path) -> None:
    source = published(tmp_path / "in")
    store = imported(source, tmp_path / "out")
    rules = load_protocol("year1").model_copy(update={"window": PATCH, "stride": PATCH})
    sample = index(store, rules, "test")[0]
    _, want, _ = split_of(next(batches(reader_of(store, rules), [sample], 1)))
    year = store.region(sample.region).times["image"][sample.targets[0]].year
    file = source / sample.region / f"embedding_{sample.region}_{year}_10km.tif"
    values = codes(sample.region, year)
    write_raster(file, values, origin=(0.0, 0.0))
    with pytest.raises(InputError, match="64 bands on the grid of the region"):
        AlphaEarth(source).read(want, 8)
    file.unlink()
    with pytest.raises(InputError, match="leave the option embeddings out"):
        AlphaEarth(source).read(want, 8)


def test_training_goes_towards_them_and_the_row_says_so(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    source = published(tmp_path / "in")
    store = imported(source, tmp_path / "out")
    asked: dict[str, Any] = {
        "model": "sat_jepa_diff", "preset": "tiny", "data": store.path, "protocol": "year1",
        "budget": BUDGET, "suite": "mse@1", "keep": "none", "device": "cpu",
    }  # fmt: skip
    told = dict([parse_option(f"embeddings={source}"), parse_option("sampler_steps=2")])
    plain = train_model(RunRequest(**asked, options={"sampler_steps": 2}))
    towards = train_model(RunRequest(**asked, options=told))
    read = [(p / "weights.safetensors").read_bytes() for p in (plain, towards)]
    assert read[0] != read[1]
    curve = [p for p in Checkpoint.load(plain).history if p["stage"] == "jepa"]
    assert curve
    for point in curve:
        assert point["terms"]["variance.ratio"] >= 0
        assert -1 <= point["validation_terms"]["cosine.similarity"] <= 1
    made = run_model(RunRequest(**asked, options=told, out=tmp_path / "run"))
    table = Scores.load(made.out).table()
    rows = table[table["model"] == "sat_jepa_diff"]
    assert set(rows["inputs"]) == {"image k=1, towards alphaearth-annual, network revision 2"}
    assert set(rows["preset"]) == {"tiny embeddings=in sampler_steps=2"}
    assert set(table[table["model"] == "persistence"]["inputs"]) == {"image k=1"}


def test_options_of_the_command_line() -> None:
    read = dict(map(parse_option, ["a=1", "b=0.5", "c=true", "d=60,60", "e=sjd-fm"]))
    assert read == {"a": 1, "b": 0.5, "c": True, "d": (60, 60), "e": "sjd-fm"}
    for bad in ("sampler", "=3", "a b=1", "a="):
        with pytest.raises(InputError, match="NAME=VALUE"):
            parse_option(bad)
    model = create_model("sat_jepa_diff", "tiny", bands=3, sampler="sjd-fm", steps=(1, 2, 3, 4))
    assert called(model) == "tiny sampler=sjd-fm steps=1,2,3,4"
    with pytest.raises(UnknownName, match="sampler"):
        create_model("sat_jepa_diff", "tiny", samplr="sjd-fm")
