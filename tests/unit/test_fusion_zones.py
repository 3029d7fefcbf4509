"""Change and zones in fusion: counted from the first reference, and from coarse images alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fusion_toys import BANDS, days, write_triplets

from rsbench.core.dates import day_number
from rsbench.evaluation.entries import whole_entry
from rsbench.evaluation.loop import _before, score
from rsbench.evaluation.run import evaluate
from rsbench.models.registry import create_model
from rsbench.tasks.base import Case
from rsbench.tasks.config import EvaluationOptions
from rsbench.tasks.fusion.zones import zones_of
from rsbench.tasks.settings import cases, evaluation_config


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "home"))


def case(path: Path) -> Case:
    store = write_triplets(path, times=days(3), size=(32, 32))
    return next(cases(evaluation_config(store, "fusion2", EvaluationOptions(device="cpu"))))


def test_change_is_counted_from_the_first_reference(tmp_path: Path) -> None:
    made = case(tmp_path / "s")
    fine = made.given.frames["fine"]
    before, valid = _before(made)
    assert torch.equal(before, fine.values[:, 0, 0])
    assert torch.equal(valid, fine.valid[:, 0, 0])
    assert not torch.equal(before, fine.values[:, 0, 1])
    assert day_number(made.starts[0]) == int(fine.times[0, 0])


def moved(made: Case) -> Case:
    """Even coarse images, of which one block of 4 × 4 measurements grows brighter."""
    coarse = made.given.frames["coarse"]
    values = torch.full_like(coarse.values, 0.2)
    values[:, :, 1, :, 8:24, 8:24] += 0.1
    valid = torch.ones_like(coarse.valid)
    valid[:, :, 1, :, :4, :4] = False
    frames = {**made.given.frames, "coarse": replace(coarse, values=values, valid=valid)}
    return replace(made, given=replace(made.given, frames=frames))


def test_zones_are_where_the_coarse_images_changed(tmp_path: Path) -> None:
    made = moved(case(tmp_path / "s"))
    zones = zones_of(made.given, made.want)
    block = torch.zeros(1, 32, 32, dtype=torch.bool)
    block[:, 8:24, 8:24] = True
    unknown = torch.zeros_like(block)
    unknown[:, :4, :4] = True
    assert torch.equal(zones["dynamic"], block)
    assert torch.equal(zones["stable"], ~block & ~unknown)


def test_a_zone_is_scored_alone_and_leaves_the_rest_as_it_was(tmp_path: Path) -> None:
    """An answer that is wrong in the block only; whole images score as without zones."""
    made = moved(case(tmp_path / "s"))
    made = replace(made, zones=zones_of(made.given, made.want))
    truth, valid = made.truth[0, 0], made.valid[0, 0]
    wrong = truth.clone()
    wrong[:, 8:24, 8:24] += 0.05
    row = whole_entry("wrong", "model", lambda *_: wrong)
    found = score([row], [made], ["rmse@1", "ssim@1"], bands=BANDS, value_range=(0.0, 1.0)).frame(
        {}
    )
    units = found[found["band"] == "all"].set_index(["metric", "zone"])["value_sum"]
    assert units["rmse@1", "dynamic"] == pytest.approx(0.05, rel=1e-4)
    assert units["rmse@1", "stable"] == 0
    share = valid[..., 8:24, 8:24].sum() / valid.sum()
    assert units["rmse@1", ""] == pytest.approx(0.05 * float(share) ** 0.5, rel=1e-4)
    assert ("ssim@1", "dynamic") not in units.index  # its windows would look outside
    plain = score(
        [row], [replace(made, zones={})], ["rmse@1", "ssim@1"], bands=BANDS, value_range=(0.0, 1.0)
    ).frame({})
    assert "zone" not in plain.columns
    whole = found[found["zone"] == ""]
    assert np.array_equal(whole["value_sum"], plain["value_sum"], equal_nan=True)


def test_the_table_has_the_zones_that_there_are_per_band(tmp_path: Path) -> None:
    store = write_triplets(tmp_path / "s", splits=("val", "test"), times=days(3), size=(32, 32))
    table = evaluate(create_model("copy_f0"), store, "fusion2").table()
    rows = table[(table["model"] == "copy_f0") & (table["metric"] == "rmse@1")]
    # The toy's coarse images are noise, of which no part changes more than the rest.
    assert {s for s in rows["stratum"] if s.startswith("zone=")} == {"zone=stable"}
    assert set(rows[rows["stratum"] == "zone=stable"]["band"]) == {"all", *BANDS}
    skill = table[(table["metric"] == "skill.mse@1") & (table["stratum"] == "zone=stable")]
    assert skill["value"].notna().any()
    changed = table[table["metric"] == "rmse.changed@1"]
    assert set(changed["stratum"]) == {"all"}  # conditioned on the truth already
