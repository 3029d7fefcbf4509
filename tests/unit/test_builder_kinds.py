"""Simulated triplets: dates of stress regions, ground that changes and changes back, strata."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from rsbench.build.engine.builder import build
from rsbench.build.kinds.triplets.recipe import TripletsRecipe
from rsbench.catalog import Recipe, load_protocol, load_recipe
from rsbench.evaluation.run import RunRequest, resolved
from rsbench.simulate.api import TripletSpec, simulated_regions
from rsbench.simulate.triplet_slots import APART, LATER, MIDDLES, STRESS, kinds_of, slots
from rsbench.store.read import Store, open_store
from rsbench.tasks.fusion.samples import triplets


def spec_of(name: str) -> TripletSpec:
    """The simulated Earth of a recipe of the catalogue."""
    chosen = load_recipe(name)
    assert isinstance(chosen, TripletsRecipe)
    assert chosen.simulated is not None
    return chosen.simulated


def recipe() -> Recipe:
    """The stress demo with one region of 5 × 5 blocks per split."""
    whole = load_recipe("demo-fusion-stress")
    assert whole.lattice is not None
    size = {"regions": 3, "train": 1, "val": 1, "test": 1, "size": 272}
    spec = spec_of("demo-fusion-stress").model_copy(update=size)
    lattice = whole.lattice.model_copy(update={"size": 80})
    return whole.model_copy(update={"name": "stress", "simulated": spec, "lattice": lattice})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        made = build(recipe(), tmp_path_factory.mktemp("kinds") / "s")
    found = open_store(made.path)
    assert found.validate() == []
    return found


def test_the_dates_are_where_the_protocol_looks_for_them(store: Store) -> None:
    """Gaps and years of the conditions, told by the dates that the store holds."""
    found = {s.condition: s for s in triplets(store, load_protocol("fusion2-stress"), "test")}
    for gap in (16, 48, 96):
        sample = found[f"gap-{gap}-cloud-00"]
        assert abs((sample.references[1] - sample.references[0]).days - gap) <= 10
        assert sample.references[0] < sample.target < sample.references[1]
    same = {s.target for name, s in found.items() if name.startswith("gap")}
    assert len(same) == 1
    for name in ("change-stays", "change-and-back"):
        first, last = found[name].references
        assert (first.year, found[name].target.year, last.year) == (2019, 2020, 2020)
    assert found["change-stays"].references[0] == found["gap-48-cloud-00"].references[0]


def test_slots_ascend_and_show_the_ground_they_should() -> None:
    for middle in MIDDLES:
        found = slots(STRESS, 2019, middle)
        spans = [(s.dated, s.first, s.last) for s in found]
        assert spans == sorted(spans)
        for (year, _, last), (after, first, _) in pairwise(spans):
            assert after > year or first >= last
        assert [s.ground for s in found] == [2019] * 7 + [2020, 2020, 2019]
        assert [s.dated for s in found] == [2019] * 7 + [2020] * 3
        days = [(s.first + s.last - 1) / 2 - middle for s in found]
        assert days == [float(day) for day, _ in (*APART, *LATER)]


def test_what_changed_has_changed_back(store: Store) -> None:
    """The last date looks more like its neighbours of the year before than the changed one does."""
    region = store.split("test")[0]
    valid = store.read(region, "landsat", array="valid")
    values = store.read(region, "landsat").astype(np.float64)

    def apart(a: int, b: int) -> float:
        both = valid[a] & valid[b]
        spread = np.abs(values[a] - values[b]).mean(axis=0)
        return float(np.percentile(spread[both], 95))

    assert apart(9, 5) < apart(8, 5)


def test_models_of_the_demos_take_their_tiny_preset(store: Store) -> None:
    """As the recipe says where no preset is typed, and a model without one its own."""
    said: list[str] = []
    for model, preset in (("sa_stf", "tiny"), ("starfm", "default")):
        found = resolved(RunRequest(model, data=store.path), said.append)
        assert found[2] == preset
    assert "preset tiny, the recipe's" in said[0]
    assert load_recipe("demo-fusion").default_preset == "tiny"


def test_only_test_regions_are_under_stress(store: Store) -> None:
    counts = {s: len(store.region(store.split(s)[0]).times["landsat"]) for s in ("train", "val")}
    assert counts == {"train": 3, "val": 3}
    assert len(store.region(store.split("test")[0]).times["landsat"]) == 10
    assert all(not s.condition for s in triplets(store, load_protocol("fusion2-stress"), "train"))


def test_the_plain_demo_has_two_kinds_and_shares_its_ground() -> None:
    plain, stress = spec_of("demo-fusion"), spec_of("demo-fusion-stress")
    assert (plain.dates, stress.dates) == ("plain", "stress")
    assert set(kinds_of(plain).values()) == {"land-cover-change", "no-land-cover-change"}
    regions = simulated_regions(plain)
    assert [(r.name, r.split, r.origin) for r in regions] == [
        (r.name, r.split, r.origin) for r in simulated_regions(stress)
    ]
    assert {kinds_of(stress)[r.name] for r in regions if r.split == "test"} == {STRESS}


def test_stress_regions_are_grouped_by_ground_and_others_by_change(store: Store) -> None:
    strata = {s: store.region(store.split(s)[0]).record.strata["stratum"] for s in ("val", "test")}
    assert strata == {"val": "no-land-cover-change", "test": "tropical-frontier"}


def test_both_sensors_see_one_ground(store: Store) -> None:
    """Bands in one order: the block means of the fine image are near the coarse image."""
    region = store.split("train")[0]
    fine = store.read(region, "landsat").astype(np.float64) * 2.75e-5 - 0.2
    coarse = store.read(region, "mod09a1").astype(np.float64) * 1e-4
    valid, seen = (store.read(region, s, array="valid") for s in ("landsat", "mod09a1"))
    blocks = (3, 6, 5, 16, 5, 16)
    means = fine.reshape(blocks).mean(axis=(3, 5))
    whole = valid.reshape(3, 5, 16, 5, 16).all(axis=(2, 4)) & seen
    apart = np.abs(means - coarse).transpose(0, 2, 3, 1)[whole]
    assert whole.sum() > 25
    assert (apart.mean(axis=0) < 0.02).all()


def test_the_simulated_earth_of_triplets_needs_two_years() -> None:
    with pytest.raises(ValueError, match="land-cover change needs two simulated years"):
        TripletSpec(seed=1, years=(2019, 2019))
