"""Conditions: the same places under each, told apart in units and strata, and seen by the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fusion_toys import days, write_triplets
from pydantic import ValidationError

from rsbench.catalog import Protocol, load_protocol
from rsbench.core.errors import InputError
from rsbench.evaluation.run import evaluate
from rsbench.evaluation.scores import Scores
from rsbench.models.registry import create_model
from rsbench.tasks.batches import batches
from rsbench.tasks.fusion.clouds import hidden
from rsbench.tasks.fusion.samples import triplets
from tests.task_readers import reader_of

NAMES = ("plain", "cloudy", "far")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "home"))


def strained(**changes: object) -> Protocol:
    """Two conditions of one triplet, and one whose references lie farther apart."""
    value = load_protocol("fusion2").model_dump(mode="json")
    conditions = [
        {"name": "plain", "dates": [1, 2, 3]},
        {"name": "cloudy", "dates": [1, 2, 3], "cloud": 0.3},
        {"name": "far", "dates": [0, 2, 4]},
    ]
    return Protocol.model_validate({**value, "conditions": conditions, **changes})


def test_every_test_region_is_under_every_condition(tmp_path: Path) -> None:
    store = write_triplets(
        tmp_path / "s", splits=("train", "val", "test", "test"), times=days(5), size=(32, 32)
    )
    found = triplets(store, strained(), "test")
    by_region = {r: [s for s in found if s.region == r] for r in store.split("test")}
    assert [[s.condition for s in own] for own in by_region.values()] == [list(NAMES)] * 2
    at = days(5)
    for own in by_region.values():
        assert {s.target for s in own} == {at[2]}
        assert [s.references for s in own] == [(at[1], at[3]), (at[1], at[3]), (at[0], at[4])]
        assert len({s.key for s in own}) == 3
    consecutive = triplets(store, strained(), "train")
    assert [s.target for s in consecutive] == list(at[1:4])
    assert {s.condition for s in consecutive} == {""}


def test_only_the_coarse_target_is_hidden(tmp_path: Path) -> None:
    store = write_triplets(tmp_path / "s", splits=("test",), times=days(5), size=(64, 64))
    plain, cloudy, _ = batches(reader_of(store, strained()), triplets(store, strained(), "test"), 1)
    shown, hid = plain.given["coarse"], cloudy.given["coarse"]
    changed = (shown.valid != hid.valid)[:, 0]
    span = shown.footprint
    cells = (64 // span) ** 2
    assert changed[:, 1].sum() == round(0.3 * cells) * span**2
    assert not changed[:, [0, 2]].any()
    target = hid.values[:, 0, 1]
    assert (target[~hid.valid[:, 0, 1].expand_as(target)] == 0).all()
    for one, other in ((plain.given["fine"], cloudy.given["fine"]), (plain.truth, cloudy.truth)):
        assert torch.equal(one.values, other.values)
        assert torch.equal(one.valid, other.valid)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_clouds_hide_their_share_in_nested_patches(share: float) -> None:
    cloud = hidden("sim-01", share, (30, 40))
    assert cloud.sum() == round(share * 1200)
    assert not (cloud & ~hidden("sim-01", 0.5, (30, 40))).any()
    if share:
        beside = (cloud[:, 1:] & cloud[:, :-1]).mean() / cloud.mean()
        assert beside > share + 0.2  # of lone pixels it would be the share itself
        assert not np.array_equal(cloud, hidden("sim-02", share, (30, 40)))


def test_conditions_are_strata_of_the_same_regions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of F0 sees no coarse image: equal under cloud, another where references lie apart."""
    store = write_triplets(
        tmp_path / "s", splits=("val", *["test"] * 2), times=days(5), size=(32, 32)
    )
    monkeypatch.setattr("rsbench.tasks.settings.load_protocol", lambda _: strained())
    scores = evaluate(create_model("copy_f0"), store, "fusion2", suite="pixel")
    assert sorted(scores.units["condition"].unique()) == sorted(NAMES)
    table = scores.table()
    table = table[(table["metric"] == "rmse@1") & (table["band"] == "all")].set_index(
        ["model", "stratum"]
    )
    names = [f"condition={name}" for name in NAMES]
    assert set(table.loc["copy_f0"].index) >= {"all", *names}
    copied = table.loc["copy_f0", "value"]
    assert copied["condition=plain"] == copied["condition=cloudy"] != copied["condition=far"]
    assert copied["all"] == pytest.approx(copied[names].mean())
    assert (table.loc["copy_f0", "n_regions"][["all", *names]] == 2).all()
    coarse = table.loc["copy_c1", "value"]
    assert coarse["condition=plain"] != coarse["condition=cloudy"]
    scores.save(tmp_path / "kept")
    again = Scores.load(tmp_path / "kept").table()
    assert again["value"].equals(scores.table()["value"])


def test_conditions_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    short = write_triplets(tmp_path / "s", splits=("test",), times=days(3), size=(32, 32))
    with pytest.raises(InputError, match="they name 5 dates, and both sensors show 3"):
        triplets(short, strained(), "test")
    with pytest.raises(InputError, match="its conditions are triplets with 2"):
        triplets(short, strained(), "test", references=1)
    with pytest.raises(ValidationError, match="do not ascend"):
        strained(conditions=[{"name": "a", "dates": [2, 1, 3]}])
    with pytest.raises(ValidationError, match="needs 3 dates"):
        strained(conditions=[{"name": "a", "dates": [1, 2]}])
    with pytest.raises(ValidationError, match="stands twice"):
        strained(conditions=[{"name": "a", "dates": [0, 1, 2]}] * 2)
    with pytest.raises(ValidationError, match="scheme space"):
        strained(scheme="time")
