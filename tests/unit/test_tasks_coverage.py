"""Samples that are given next to nothing are not scored, and the table says how many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
import triplet_toys

from rsbench.catalog import Protocol, load_protocol
from rsbench.core.errors import InputError
from rsbench.core.grid import Window
from rsbench.evaluation.run import evaluate
from rsbench.evaluation.table import to_markdown
from rsbench.models.registry import create_model
from rsbench.store.read import Store, open_store
from rsbench.store.write import finalise, write_region
from rsbench.tasks.coverage import valid_shares


def series(path: Path, empty: dict[int, tuple[int, ...]], **changes: Any) -> Store:
    """Four regions of four years; ``empty``: region → years without a valid pixel."""
    meta = toys.sensor_meta()
    for at, split in enumerate(("train", "val", "test", "test")):
        arrays = toys.arrays(at, size=32, years=4, floor=False)
        arrays.valid[list(empty.get(at, ()))] = False
        write_region(path, toys.record(at, split=split, years=4), {"s2": arrays}, {"s2": meta})
    finalise(path, toys.store_meta({"s2": meta}, simulated=False, simulation=None, **changes))
    return open_store(path)


def rules(name: str = "year1", **changes: Any) -> Protocol:
    update = {"window": 16, "stride": 16, "suite": ("mse@1",), "primary": None, **changes}
    return load_protocol(name).model_copy(update=update)


def test_shares_are_those_of_the_masks(tmp_path: Path) -> None:
    store = series(tmp_path / "s", {2: (1,)})
    name, half = store.split("test")[0], Window(0, 0, 16, 32)
    valid = store.read(name, "s2", array="valid")
    found = valid_shares(store, "s2", [(name, half), (name, half)])
    assert list(found) == [(name, half)]
    assert found[name, half].tolist() == valid[:, :16].mean(axis=(1, 2)).tolist()
    assert found[name, half][1] == 0


def test_forecasts_from_an_empty_context_are_left_out(tmp_path: Path) -> None:
    """Region 3 has no valid pixel in its second year: 4 windows of 24 start from it."""
    store = series(tmp_path / "s", {2: (1,)})
    found = evaluate(create_model("persistence"), store, protocol=rules())
    gone = [a for a in found.absences() if "left out" in a.reason]
    assert [a.reason for a in gone] == ["4 of 24 samples left out: context without a valid pixel"]
    assert gone[0].reason in to_markdown(found.table(), scores=[found])
    empty = found.units.query(f"region == '{store.split('test')[0]}' and start == '2018-07-01'")
    assert empty.empty
    assert len(found.units)


def test_a_protocol_states_how_much_context_is_enough(tmp_path: Path) -> None:
    store = series(tmp_path / "s", {2: (1,)})
    half = evaluate(create_model("persistence"), store, protocol=rules(context=2, least_valid=0.6))
    said = [a.reason for a in half.absences() if "left out" in a.reason]
    assert said == ["8 of 16 samples left out: context below 60 % valid"]
    with pytest.raises(InputError, match=r"all 24 samples .* context below 100 % valid.*--con"):
        evaluate(create_model("persistence"), store, protocol=rules(least_valid=1.0))


def test_a_validation_split_without_context_leaves_the_first_reference_of_skill(
    tmp_path: Path,
) -> None:
    store = series(tmp_path / "s", {1: (0, 1, 2, 3)})
    found = evaluate(create_model("persistence"), store, protocol=rules())
    assert found.run.best_trivial == "persistence"
    assert not [a for a in found.absences() if "left out" in a.reason]


def triplets(path: Path, share: float) -> Store:
    """Six regions of five dates; of each the second fine image is valid in its upper rows."""
    for at, split in enumerate(toys.splits(6)):
        fine = toys.arrays(at, size=32, years=5, meta=triplet_toys.FINE, floor=False, gsd=30.0)
        coarse = triplet_toys.coarse_of(fine)
        fine.valid[1, round(share * 32) :] = False
        pair = {"fine": fine, "coarse": coarse}
        metas = {"fine": triplet_toys.FINE, "coarse": triplet_toys.COARSE}
        write_region(path, toys.record(at, split=split, years=5), pair, metas)
    finalise(path, toys.store_meta(metas, kind="triplets", simulated=False, simulation=None))
    return open_store(path)


def test_triplets_with_an_empty_fine_reference_are_left_out(tmp_path: Path) -> None:
    """The empty date is the first reference of one triplet, and the target of another."""
    store = triplets(tmp_path / "s", 0.0)
    found = evaluate(create_model("copy_f0"), store, protocol=rules("fusion2"))
    tests = len(store.split("test"))
    said = [a.reason for a in found.absences() if "left out" in a.reason]
    assert said == [
        f"{tests} of {3 * tests} triplets left out: fine reference without a valid pixel"
    ]
    assert set(found.units["start"]) == {"2017-07-01", "2019-07-01"}


def test_a_protocol_states_how_much_of_a_reference_is_enough(tmp_path: Path) -> None:
    store = triplets(tmp_path / "s", 0.5)
    whole = evaluate(create_model("copy_f0"), store, protocol=rules("fusion2"))
    assert not [a for a in whole.absences() if "left out" in a.reason]
    strict = evaluate(create_model("copy_f0"), store, protocol=rules("fusion2", least_valid=0.9))
    assert any("fine reference below 90 % valid" in a.reason for a in strict.absences())
    with pytest.raises(InputError, match=r"all \d+ triplets have a fine reference below 100 % val"):
        evaluate(create_model("copy_f0"), store, protocol=rules("fusion2", least_valid=1.0))


def test_training_draws_no_triplet_with_an_empty_reference(tmp_path: Path) -> None:
    from rsbench.tasks.base import Reading
    from rsbench.tasks.registry import task

    class Drawing:
        model, window, shortest, context, leads = "toy", 16, 1, 2, (1,)

    store = triplets(tmp_path / "s", 0.0)
    reading = Reading(store, rules("fusion2"), "fine", store.sensor("fine").bands)
    pool = task("fusion").pool(reading, Drawing(), "train")  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    drawn = [pool.draw(rng, pool.regions[0], 2, 1) for _ in range(20)]
    assert {d.references[0].year for d in drawn} == {2017, 2019}


def test_a_frame_given_that_is_empty_in_the_crop_is_not_usable(tmp_path: Path) -> None:
    from rsbench.tasks.base import Reading
    from rsbench.tasks.forecast.samples import Sample
    from rsbench.tasks.registry import task

    store = series(tmp_path / "s", {2: (1,)})
    reader = task("forecast").reader(Reading(store, rules(), "s2", store.sensor("s2").bands))
    window = Window(0, 0, 16, 16)
    at = [Sample(store.split("test")[0], window, (k,), (3,)) for k in (0, 1)]
    assert [reader.usable(sample) for sample in at] == [True, False]
