"""Dates of triplets with an empty image, unmasked clouds or a shift are left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from build_fixtures import write_raster
from import_fixtures import typed

from rsbench.build.engine.builder import BuildResult
from rsbench.build.importers.api import ImportOptions
from rsbench.build.importers.registry import import_dataset
from rsbench.core.errors import PixelError
from rsbench.store.read import open_store
from rsbench.store.tree import provenance

DATES = tuple(f"2020-0{month}-05" for month in range(1, 6))
STATED: dict[str, Any] = {"unit": "reflectance", "scale": 1e-4, "coarse_scale": 1e-4, "nodata": 0}
RATIO, SIZE = 8, 96
Plane = npt.NDArray[np.float64]


def ground(day: int) -> Plane:
    """Fields of 16 px whose brightness changes by date: ``(2, 96, 96)``."""
    rng = np.random.default_rng(5)
    fields = rng.uniform(500, 4000, (2, SIZE // 16, SIZE // 16)).repeat(16, 1).repeat(16, 2)
    return fields * (1 + 0.05 * day)


def scenes(root: Path, changes: dict[int, Any] | None = None, ratio: int = RATIO) -> Path:
    """Five dates of two bands; ``changes``: date → what is done to its fine image."""
    for at, day in enumerate(DATES):
        fine = ground(at)
        blocks = fine.reshape(2, SIZE // RATIO, RATIO, SIZE // RATIO, RATIO).mean(axis=(2, 4))
        low = blocks if ratio > 1 else blocks.repeat(RATIO, 1).repeat(RATIO, 2)
        shown = (changes or {}).get(at, lambda image: image)(fine.copy())
        write_raster(root / "fine" / f"x_{day}.tif", shown.astype(np.uint16))
        write_raster(root / "coarse" / f"x_{day}.tif", low.astype(np.uint16), gsd=10.0 * ratio)
    return root


def empty(image: Plane) -> Plane:
    return np.zeros_like(image)


def partial(image: Plane) -> Plane:
    image[:, :, : SIZE // 2] = 0
    return image


def clouded(image: Plane) -> Plane:
    rng = np.random.default_rng(9)
    cloud = (rng.random((6, 6)) < 0.4).repeat(16, 0).repeat(16, 1)
    return np.where(cloud, 8000.0, image)


def moved(image: Plane) -> Plane:
    return np.roll(image, 11, axis=2)


def imported(source: Path, out: Path, **options: Any) -> tuple[BuildResult, list[str]]:
    notes: list[str] = []
    done = import_dataset(
        "geotiff-triplets", source, out, ImportOptions(**{**STATED, **options}), note=notes.append
    )
    return done, notes


@pytest.mark.parametrize(
    ("damage", "why", "keeps"),
    [
        (empty, "0.0% of the fine pixels are valid, 90% are asked", {}),
        (partial, "50.0% of the fine pixels are valid, 90% are asked", {"clear": 0.5}),
        (clouded, "fewer than 2 bands correlate by 0.5 (b1 ", {"correlation": -1.0, "shift": 1.5}),
        (
            moved,
            "the images lie 1.38 coarse pixels apart, more than 1",
            {"shift": 1.5, "correlation": -1.0},
        ),
    ],
    ids=["empty", "partial", "clouded", "moved"],
)
def test_a_date_is_left_out_with_its_reason(
    damage: Any, why: str, keeps: dict[str, float], tmp_path: Path
) -> None:
    source = scenes(tmp_path / "a", {2: damage})
    made, notes = imported(source, tmp_path / "out")
    store = open_store(made.path)
    entry = store.region(store.regions[0])
    left = tuple(day for day in DATES if day != DATES[2])
    assert [tuple(map(str, entry.times[s])) for s in ("fine", "coarse")] == [left, left]
    reasons = store.meta.recipe["refused"]["a"]
    assert list(reasons) == [DATES[2]]
    assert reasons[DATES[2]].startswith(why)
    assert any(note.startswith(f"{DATES[2]} is left out: {why}") for note in notes)
    card = (made.path / "README.md").read_text()
    assert f"- refused: a {DATES[2]}: {why}" in card
    assert f"| {store.regions[0]} | {DATES[1]} | 100.0% | 100.0% | 1.00 | 0.00 |" in card
    if keeps:  # stated otherwise, and the store says so
        kept = open_store(imported(source, tmp_path / "kept", **keeps)[0].path)
        assert tuple(map(str, kept.region(kept.regions[0]).times["fine"])) == DATES
        assert kept.meta.recipe["limits"] == keeps


def test_sets_that_agree_are_stored_as_before(tmp_path: Path) -> None:
    made, notes = imported(scenes(tmp_path / "a"), tmp_path / "out")
    store = open_store(made.path)
    assert not [note for note in notes if "left out" in note or "coarse" in note]
    assert not {"refused", "limits"} & set(store.meta.recipe)
    days = provenance(store.tree, store.regions[0])["days"]
    assert [day["shift"] for day in days] == [[0.0, 0.0]] * 5


def test_coarse_images_on_the_fine_grid_are_compared_in_true_pixels(tmp_path: Path) -> None:
    source = scenes(tmp_path / "a", {1: clouded}, ratio=1)
    made, _ = imported(source, tmp_path / "out", coarse_gsd=10.0 * RATIO)
    assert list(open_store(made.path).meta.recipe["refused"]["a"]) == [DATES[1]]


def test_a_shift_that_all_dates_share_is_said_and_refuses_none(tmp_path: Path) -> None:
    source = scenes(tmp_path / "a", dict.fromkeys(range(5), moved))
    made, notes = imported(source, tmp_path / "out")
    store = open_store(made.path)
    assert tuple(map(str, store.region(store.regions[0]).times["fine"])) == DATES
    assert ["lie 1.4 coarse pixels from the fine ones" in note for note in notes] == [True]
    with pytest.raises(PixelError, match=r"of 5 dates 0 are left.*1\.38 coarse pixels apart"):
        imported(source, tmp_path / "no", shift=1.0)


def test_where_most_dates_do_not_agree_the_import_says_so(tmp_path: Path) -> None:
    source = scenes(tmp_path / "a", dict.fromkeys((0, 2, 4), clouded))
    made, notes = imported(source, tmp_path / "out")
    assert "refused" not in open_store(made.path).meta.recipe
    assert ["on 2 of 5 dates fine and coarse images correlate" in note for note in notes] == [True]
    stated, _ = imported(source, tmp_path / "strict", correlation=0.7)
    assert len(open_store(stated.path).meta.recipe["refused"]["a"]) == 3


def test_too_few_dates_are_told_with_a_command_that_works(tmp_path: Path) -> None:
    source = scenes(tmp_path / "a", dict.fromkeys(range(4), partial))
    with pytest.raises(PixelError, match=r"of 5 dates 1 are left; 2020-01-05: 50\.0%") as refused:
        imported(source, tmp_path / "out")
    typed(refused.value)
    store = open_store(tmp_path / "out")
    assert len(store.region(store.regions[0]).times["fine"]) == 5
