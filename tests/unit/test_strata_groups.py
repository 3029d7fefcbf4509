"""Strata of units and of pixels: from inputs and earlier catalogues, in the table and its files."""

from __future__ import annotations

import json
import weakref
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import toys
from scores_fixtures import make_run, make_units, pixel_parts

import rsbench as rb
from rsbench.core.grid import Grid, Window
from rsbench.evaluation import strata
from rsbench.evaluation.loop import ScoringHooks, score
from rsbench.evaluation.pixel_strata import (
    Layer,
    PixelLayers,
    hemisphere,
    pixel_layers,
    region_strata,
)
from rsbench.evaluation.reference_models import reference_entries
from rsbench.evaluation.scores import Scores
from rsbench.store.cache import Cache
from rsbench.store.read import Store
from rsbench.tasks.config import EvaluationOptions
from rsbench.tasks.forecast.task import TASK
from rsbench.tasks.settings import cases, evaluation_config

YEARS, SIDE = 4, 32


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield toys.write_store(
            tmp_path_factory.mktemp("toy") / "s", size=SIDE, years=YEARS, simulated=False,
            simulation=None, invalid=0.1,
        )  # fmt: skip


@pytest.fixture(scope="module")
def scores(store: Store) -> Scores:
    return rb.evaluate(rb.create_model("persistence"), store, horizon=2, suite="pixel")


def test_a_group_is_pooled_before_the_next_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    units = make_units(regions=2).assign(biome=lambda rows: rows["region"], input_valid=1.0)
    seen: list[weakref.ref[pd.DataFrame]] = []
    most, pool = [0], strata.region_means

    def watched(group: pd.DataFrame) -> pd.DataFrame:
        seen.append(weakref.ref(group))
        most[0] = max(most[0], sum(one() is not None for one in seen))
        return pool(group)

    monkeypatch.setattr(strata, "region_means", watched)
    strata.pooled(units, units.iloc[:0], 3)
    assert len(seen) >= 5
    assert most[0] <= 2


# ------------------------------------------------------------------------------------ pixels


def test_classes_of_pixels_add_up_to_every_unit(scores: Scores) -> None:
    key = ["model", "region", "start", "lead", "metric"]
    units = scores.units[scores.units["band"] == "all"].set_index(key)
    layers = scores.pixels["pixel_class"].str.partition("=")[0]
    assert set(layers) == {"pixel observations"}
    sums = scores.pixels.groupby(key)[["value_sum", "weight"]].sum()
    assert set(scores.pixels["metric"]) == {"mse@1", "mae@1"}
    assert set(sums.index) == set(units[units.index.get_level_values("metric").isin(
        ("mse@1", "mae@1"))].index)  # fmt: skip
    whole = units.loc[sums.index, ["value_sum", "weight"]]
    np.testing.assert_allclose(sums.to_numpy(), whole.to_numpy(), rtol=1e-6)


def test_a_class_is_what_a_loop_over_the_inputs_finds(store: Store, scores: Scores) -> None:
    """The toy's pixels stand on 0 or 2 … 11 observations; the class is of the frame given last."""
    rows = scores.pixels.query("model == 'floor' or model == 'persistence'")
    rows = rows[(rows["metric"] == "mae@1") & (rows["lead"] == 2)]
    rows = rows[(rows["model"] == "persistence") & rows["pixel_class"].str.endswith("=4 to 7")]
    assert len(rows) > 0
    for row in rows.itertuples():
        times = [t.isoformat() for t in store.region(row.region).times["s2"]]
        start, target = times.index(row.start), times.index(row.target)
        number = store.read(row.region, "s2", array="n_valid")[start]
        seen = store.read(row.region, "s2", array="valid")
        raw = store.to_physical("s2", store.read(row.region, "s2")).astype(np.float64)
        own = (number >= 4) & (number <= 7) & seen[target]
        error = np.abs(raw[start] - raw[target])[:, own]
        assert row.value_sum / row.weight == pytest.approx(error.mean(), rel=2e-6)
        assert row.weight == pytest.approx(own.sum() / seen[target].sum(), rel=1e-12)


def test_classes_cost_no_second_reading_of_the_pixels(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = evaluation_config(store, "year7", EvaluationOptions(horizon=2, suite="pixel"))
    rows = reference_entries(config).entries
    reads: list[tuple[object, ...]] = []
    patch, read = Cache.patch, Store.read

    def counted_patch(self: Cache, *args: object) -> object:
        reads.append(("pixels", *map(str, args)))
        return patch(self, *args)  # type: ignore[arg-type]

    def counted_read(self: Store, region: str, sensor: str, **options: object) -> object:
        reads.append((options["array"], region, str(options["times"])))
        return read(self, region, sensor, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Cache, "patch", counted_patch)
    monkeypatch.setattr(Store, "read", counted_read)
    found = {}
    for layers in (None, pixel_layers(store, "s2")):
        reads.clear()
        score(
            rows, cases(config), config.metrics, bands=config.bands,
            value_range=config.meta.value_range, hooks=ScoringHooks(layers),
        )  # fmt: skip
        found[layers is not None] = list(reads)
    assert [r for r in found[True] if r[0] == "pixels"] == found[False]
    beside = [r for r in found[True] if r[0] != "pixels"]
    starts = {(s.region, s.start) for group in TASK.groups(config, "test") for s in group}
    assert {r[0] for r in beside} == {"n_valid"}
    assert len(beside) == len(starts)  # one plane per region and start


def test_pixel_rows_stand_in_the_table_and_come_back_from_files(
    scores: Scores, tmp_path: Path
) -> None:
    table = scores.table()
    found = {s for s in table["stratum"] if s.startswith("pixel ")}
    assert found == {f"pixel observations={n}" for n in ("none", "1 to 3", "4 to 7", "8 to 15")}
    rows = table[table["stratum"].isin(found)]
    assert set(rows["metric"]) == {
        "mse@1", "mae@1", "skill.mse@1", "skill.mae@1", "share.mse@1",
    }  # fmt: skip
    scores.save(tmp_path)
    again = Scores.load(tmp_path)
    pd.testing.assert_frame_equal(again.pixels, scores.pixels)
    pd.testing.assert_frame_equal(again.table(), table)
    notes = json.loads((tmp_path / "run.json").read_text())["strata"]
    assert set(notes["absent"]) == {"pixel land cover", "season"}


def test_parts_of_a_run_add_their_classes(scores: Scores) -> None:
    names = sorted(set(scores.units["region"]))
    halves = [
        Scores(
            scores.units[scores.units["region"].isin(part)], scores.run,
            pixels=scores.pixels[scores.pixels["region"].isin(part)],
        )
        for part in (names[::2], names[1::2])
    ]  # fmt: skip
    pd.testing.assert_frame_equal(Scores.sum(halves).table(), scores.table(), rtol=1e-9)


def test_a_class_that_is_hardly_there_takes_no_part_and_one_class_is_no_stratum() -> None:
    units = make_units(regions=9)
    some = Scores(units, make_run(), pixels=pixel_parts(units, {"crops": 0.995, "water": 0.005}))
    table = some.table()
    crops = table[table["stratum"] == "pixel land cover=crops"]
    water = table[(table["stratum"] == "pixel land cover=water") & (table["metric"] == "mse@1")]
    whole = table[(table["stratum"] == "all") & (table["metric"] == "mse@1")]
    whole = whole[(whole["band"] == "all") & whole["value"].notna()]
    assert water["value"].isna().all()
    mse = crops[crops["metric"] == "mse@1"]
    np.testing.assert_allclose(mse["value"], whole["value"], rtol=1e-12)
    alone = Scores(units, make_run(), pixels=pixel_parts(units, {"crops": 1.0})).table()
    assert not alone["stratum"].str.startswith("pixel").any()


def test_layers_that_a_store_cannot_give_have_a_reason(store: Store, tmp_path: Path) -> None:
    assert pixel_layers(store, "s2").absent == {
        "pixel land cover": "the store holds no map of land cover"
    }
    bought = toys.write_store(
        tmp_path / "i", size=16, years=2, simulated=False, simulation=None,
        recipe={"name": "x", "importer": "geotiff-series"},
    )  # fmt: skip
    found = pixel_layers(bought, "s2")
    assert found.layers == ()
    assert "imported" in found.absent["pixel observations"]
    triplets = toys.write_store(
        tmp_path / "t", size=16, years=2, simulated=False, simulation=None, kind="triplets",
        step="irregular",
    )  # fmt: skip
    assert "single images" in pixel_layers(triplets, "s2").absent["pixel observations"]


def test_a_region_takes_the_cover_of_most_of_its_pixels_unless_the_catalogue_states_one(
    store: Store,
) -> None:
    def read(region: str, window: Window, start: date) -> np.ndarray:
        places = np.ones((window.height, window.width), dtype=np.int64)
        places[: window.height // 3] = 0
        return places

    layers = PixelLayers((Layer("land cover", ("water", "crops"), "drawn", read),), {})
    found, _ = region_strata(store, "s2", store.regions[:2], layers)
    assert {own["land_cover"] for own in found.values()} == {"crops"}


def test_labels_that_a_store_holds_are_read_for_the_start(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.zeros((YEARS, SIDE, SIDE), dtype=np.uint8)
    labels[:, :, 5:] = 7
    labels[1:, 20:] = 3  # a later map says otherwise
    arrays, read = Store.arrays, Store.read

    def with_labels(self: Store, region: str, sensor: str) -> tuple[str, ...]:
        return (*arrays(self, region, sensor), "labels")

    def reading(self: Store, region: str, sensor: str, **options: object) -> object:
        if options.get("array") == "labels":
            return labels
        return read(self, region, sensor, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "arrays", with_labels)
    monkeypatch.setattr(Store, "read", reading)
    named = {"rsbench:classes": {"7": "built-up", "9": "of no pixel"}}
    monkeypatch.setattr(Store, "attributes", lambda *_: named)
    layer = pixel_layers(store, "s2").layers[0]
    assert layer.classes == ("unlabelled", "class 3", "built-up")
    first = store.region(store.regions[0]).times["s2"][0]
    seen = layer.read(store.regions[0], Window(18, 3, 4, 4), first)
    assert seen.tolist() == [[0, 0, 2, 2]] * 4


def test_the_simulated_land_cover_is_older_than_every_forecast() -> None:
    """It is the same whatever the later years are, and it is what the kinds of ground promise."""
    from rsbench.catalog import SimulatedSpec
    from rsbench.simulate.api import COVERS, first_land_cover, simulated_regions

    options = {"seed": 3, "regions": 10, "train": 8, "val": 1, "test": 1, "size": 64,
               "scenes_per_year": 4, "sensors": ["s2"]}  # fmt: skip
    short, long = (
        SimulatedSpec.model_validate({**options, "years": [2017, last]}) for last in (2018, 2022)
    )
    share: dict[str, dict[str, float]] = {}
    for region in simulated_regions(short):
        if region.stratum not in ("forest", "delta-coast", "desert"):
            continue
        cover = first_land_cover(short, region.name, "s2")
        np.testing.assert_array_equal(cover, first_land_cover(long, region.name, "s2"))
        counts = np.bincount(cover.ravel(), minlength=len(COVERS)) / cover.size
        share[region.stratum] = dict(zip(COVERS, counts, strict=True))
    assert share["forest"]["forest"] > 0.4
    assert share["delta-coast"]["water"] > share["desert"]["water"] + 0.05
    assert share["desert"]["bare"] > 0.6


# -------------------------------------------------------------------------------------- units


@pytest.mark.parametrize(
    ("month", "north", "south"),
    [(12, "winter", "summer"), (1, "winter", "summer"), (2, "winter", "summer"),
     (3, "spring", "autumn"), (5, "spring", "autumn"), (6, "summer", "winter"),
     (8, "summer", "winter"), (9, "autumn", "spring"), (11, "autumn", "spring")],
)  # fmt: skip
def test_seasons_turn_round_south_of_the_equator(month: int, north: str, south: str) -> None:
    assert strata.season_of(month, "north") == north
    assert strata.season_of(month, "south") == south
    assert strata.season_of(month, "") == ""


@pytest.mark.parametrize(
    ("crs", "top", "side"),
    [("EPSG:32633", 5_100_000.0, "north"), ("EPSG:32733", 7_000_000.0, "south"),
     ("EPSG:32633", -50_000.0, "south"), ("EPSG:4326", -12.0, "south"),
     ("EPSG:4326", 45.0, "north"), ("EPSG:3577", -1_600_000.0, "")],
)  # fmt: skip
def test_the_grid_tells_the_hemisphere(crs: str, top: float, side: str) -> None:
    step = 1e-4 if crs.endswith("4326") else 10.0
    assert hemisphere(Grid(crs, (step, 0.0, 0.0, 0.0, -step, top), 64, 64)) == side


def test_years_have_no_season_and_single_dates_have(store: Store, tmp_path: Path) -> None:
    found, absent = region_strata(store, "s2", store.regions, pixel_layers(store, "s2"))
    assert absent == {"season": "a frame covers more than a season"}
    assert all("hemisphere" not in own for own in found.values())
    monthly = toys.write_store(
        tmp_path / "m", size=16, years=3, simulated=False, simulation=None, step="P1M"
    )
    found, absent = region_strata(monthly, "s2", monthly.regions, pixel_layers(monthly, "s2"))
    assert absent == {}
    assert {own["hemisphere"] for own in found.values()} == {"north"}


def test_units_are_grouped_by_season_land_cover_and_valid_fraction() -> None:
    units = make_units(regions=10, metrics=("mse@1",), bands=("all",))
    number = units["region"].str.slice(4).astype(int)
    units["hemisphere"] = np.where(number % 2, "north", "south")
    units["land_cover"] = np.where(number <= 4, "crops", "")
    units.loc[number == 5, "land_cover"] = "water"
    units["input_valid"] = units["n_images"] * np.where(number <= 3, 0.6, 0.99)
    table = Scores(units, make_run()).table()
    mse = table[(table["metric"] == "mse@1") & (table["model"] == "simvp") & (table["lead"] == 1)]
    regions = dict(zip(mse["stratum"], mse["n_regions"], strict=True))
    # All targets are in July.
    assert (regions["season=summer"], regions["season=winter"]) == (5, 5)
    assert (regions["land cover=crops"], regions["land cover=water"]) == (4, 1)
    assert (regions["valid fraction=0.5 to 0.8"], regions["valid fraction=0.95 to 1"]) == (3, 7)
    own = units[(units["model"] == "simvp") & (units["lead"] == 1) & (number <= 3)]
    own = own[own["curve"].isin(("starts", "both"))].groupby("region")[["value_sum", "weight"]]
    sums = own.sum()
    hand = (sums["value_sum"] / sums["weight"]).mean()
    stratum = mse["stratum"] == "valid fraction=0.5 to 0.8"
    assert float(mse.loc[stratum, "value"].iloc[0]) == pytest.approx(hand, rel=1e-12)


def test_the_valid_fraction_is_of_the_inputs(store: Store, scores: Scores) -> None:
    """One window a region here, so a unit is one image and its fraction that of one frame."""
    for row in scores.units.drop_duplicates(["region", "start"]).itertuples():
        times = store.region(row.region).times["s2"]
        seen = store.read(row.region, "s2", array="valid")[
            times.index(date.fromisoformat(row.start))
        ]
        assert row.input_valid / row.n_images == pytest.approx(seen.mean(), rel=1e-12)


@pytest.mark.parametrize(
    ("share", "name"),
    [(0.0, "below 0.5"), (0.5, "0.5 to 0.8"), (0.8, "0.8 to 0.95"), (0.95, "0.95 to 1"),
     (1.0, "0.95 to 1"), (0.95 - 1e-13, "0.95 to 1"), (float("nan"), "")],
)  # fmt: skip
def test_classes_of_the_valid_fraction(share: float, name: str) -> None:
    assert strata.valid_class(share) == name


def test_a_layer_reads_the_window_it_is_asked_for(store: Store) -> None:
    (layer,) = pixel_layers(store, "s2").layers
    region = store.regions[0]
    start = store.region(region).times["s2"][1]
    whole = layer.read(region, Window(0, 0, SIDE, SIDE), start)
    part = layer.read(region, Window(4, 9, 10, 12), start)
    np.testing.assert_array_equal(part, whole[4:14, 9:21])
