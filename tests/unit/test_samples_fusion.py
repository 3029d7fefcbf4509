"""Samples of fusion: which dates serve as references, and which as targets."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from fusion_toys import days, write_triplets

from rsbench.build.importers.published_fusion import PUBLISHED
from rsbench.catalog import Protocol, load_protocol
from rsbench.core.date_triplets import DateLeak, Triplet, date_leaks, split_by_date
from rsbench.core.errors import InputError
from rsbench.core.grid import Window
from rsbench.evaluation.run import RunRequest, run_model
from rsbench.evaluation.strata import whole
from rsbench.store.read import Store
from rsbench.tasks.batches import batches
from rsbench.tasks.config import EvaluationOptions
from rsbench.tasks.fusion.samples import SensorPair, sensor_pair, splits_of, triplets
from rsbench.tasks.fusion.settings import leak_notes
from rsbench.tasks.settings import evaluation_config
from tests.task_readers import reader_of

TWO, ONE = load_protocol("fusion2"), load_protocol("fusion1")
A, B, C = days(3)


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSBENCH_CACHE", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.mark.parametrize(
    ("references", "target", "says"),
    [
        ((A, B), B, "it is among the references"),
        ((C, A), B, "Give each once, ascending"),
        ((A, A), B, "Give each once, ascending"),
        ((), B, "the references are none"),
    ],
)
def test_dates_that_make_no_triplet(references: tuple[date, ...], target: date, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Triplet("place", Window(0, 0, 8, 8), references, target)


def test_samples_are_consecutive_dates_of_both_sensors(tmp_path: Path) -> None:
    """The coarse sensor lacks the third of six fine dates and has one more."""
    fine = days(6)
    coarse = (*fine[:2], *fine[3:], date(2021, 1, 1))
    store = write_triplets(tmp_path / "s", times=fine, coarse_times=coarse)
    both = [d for i, d in enumerate(fine) if i != 2]
    two = triplets(store, TWO, "test")
    assert [(s.references, s.target) for s in two] == [
        ((before, after), at) for before, at, after in zip(both, both[1:], both[2:], strict=False)
    ]
    one = triplets(store, ONE, "test")
    assert [(s.references, s.target) for s in one] == [((a,), b) for a, b in pairwise(both)]
    assert two[0].dates == tuple(both[:3])
    assert {s.window for s in two} == {Window(0, 0, 24, 32)}
    assert one == triplets(store, TWO, "test", references=1)


def test_too_few_common_dates(tmp_path: Path) -> None:
    two = write_triplets(tmp_path / "two", times=days(2))
    with pytest.raises(InputError, match=r"3 dates of both fine and coarse.*Give --context 1"):
        triplets(two, TWO, "test")
    assert len(triplets(two, ONE, "test")) == 1
    apart = write_triplets(tmp_path / "apart", coarse_times=days(3, "2021-01-01"))
    with pytest.raises(InputError, match=r"place-1 has none\. Add dates of both sensors"):
        triplets(apart, ONE, "test")
    with pytest.raises(InputError, match="fusion from 3 reference dates: models take 1 or 2"):
        evaluation_config(two, "fusion1", EvaluationOptions(context=3))
    with pytest.raises(InputError, match="fusion answers one target date"):
        evaluation_config(two, "fusion1", EvaluationOptions(horizon=2))


def test_windows_cover_the_region_on_whole_coarse_pixels(tmp_path: Path) -> None:
    store = write_triplets(tmp_path / "s", size=(64, 96), splits=("train",))
    small = TWO.model_copy(update={"window": 32, "stride": 32})
    windows = [s.window for s in triplets(store, small, "train", windows=True)]
    assert windows == [Window(y, x, 32, 32) for y in (0, 32) for x in (0, 32, 64)]


def test_every_sample_is_seen_once_in_order(tmp_path: Path) -> None:
    store = write_triplets(tmp_path / "s", size=(32, 32), splits=("test",) * 3, times=days(4))
    samples = triplets(store, TWO, "test")
    pair = SensorPair("fine", "coarse")
    assert sensor_pair(store) == pair

    made = batches(reader_of(store, TWO), samples, 4)
    assert [s.key for batch in made for s in batch.samples] == [s.key for s in samples]


def test_tiles_of_one_date_are_the_whole_image_cut(tmp_path: Path) -> None:
    store: Store = write_triplets(tmp_path / "s", size=(64, 96), splits=("train",))
    small = TWO.model_copy(update={"window": 32, "stride": 32})
    whole = next(batches(reader_of(store, TWO), triplets(store, TWO, "train"), 1))
    cut = triplets(store, small, "train", windows=True)
    for batch in batches(reader_of(store, small), cut, 4):
        for row, sample in enumerate(batch.samples):
            y, x = sample.window.slices
            for name in ("fine", "coarse"):
                part = whole.given[name].values[0, ..., y, x]
                assert torch.equal(batch.given[name].values[row], part)
            assert torch.equal(batch.truth.values[row], whole.truth.values[0, ..., y, x])


# Splits by target date -------------------------------------------------------------------

TIME = load_protocol("fusion2-time")


def test_ten_targets_split_by_hand(tmp_path: Path) -> None:
    """Targets 1 … 10 of 12 dates: 4 train, 2 val, 4 test; the last before a border is left out."""
    when = days(12)
    store = write_triplets(tmp_path / "s", times=when, splits=("test",))
    assert splits_of(store, TIME, 2) == ("test", "train", "val")
    found = {
        split: [when.index(s.target) for s in triplets(store, TIME, split)]
        for split in ("train", "val", "test")
    }
    assert found == {"train": [1, 2, 3], "val": [5], "test": [7, 8, 9, 10]}
    one = {
        split: [when.index(s.target) for s in triplets(store, TIME, split, references=1)]
        for split in ("train", "val", "test")
    }
    assert one == {"train": [1, 2, 3, 4, 5], "val": [6, 7], "test": [8, 9, 10, 11]}


@pytest.mark.parametrize("references", [1, 2])
@pytest.mark.parametrize("count", range(3, 20))
def test_no_split_sees_the_truth_of_a_later_one(count: int, references: int) -> None:
    when = days(count)
    area = Window(0, 0, 8, 8)
    every = [
        Triplet("place", area, (a, *rest[: references - 1]), b)
        for a, b, *rest in (when[i : i + 3] for i in range(count - references))
    ]
    parts = split_by_date(every)
    assert set(parts["test"]) <= set(every)
    assert parts["test"]
    for early, late in (("train", "val"), ("train", "test"), ("val", "test")):
        assert date_leaks(parts[early], parts[late]) == ()
        if parts[early] and parts[late]:
            last = max(s.target for s in parts[early])
            assert last < min(s.target for s in parts[late])


def test_leaks_are_named_with_their_role() -> None:
    area, beside = Window(0, 0, 8, 8), Window(8, 0, 8, 8)
    test = [Triplet("p", area, (A, C), B)]
    assert date_leaks([Triplet("p", area, (A,), C)], test) == ()  # a reference in common
    assert date_leaks([Triplet("q", area, (A, C), B)], test) == ()  # another place
    assert date_leaks([Triplet("p", beside, (A, C), B)], test) == ()  # other ground of it
    train = [Triplet("p", Window(4, 4, 8, 8), (B,), C), Triplet("p", area, (A, C), B)]
    assert date_leaks(train, test) == (
        DateLeak("p", B, "reference"), DateLeak("p", B, "target"),
    )  # fmt: skip


def test_too_few_dates_for_a_split_are_told(tmp_path: Path) -> None:
    store = write_triplets(tmp_path / "s", times=days(4), splits=("train",))
    assert [s.target for s in triplets(store, TIME, "test")] == [days(4)[2]]
    with pytest.raises(InputError, match="of the 2 target dates of region place-1 none is left"):
        triplets(store, TIME, "train")
    assert splits_of(store, TIME, 2) == ("test",)


# Published lists -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    """One small region with all the dates of each set."""
    root = tmp_path_factory.mktemp("published")
    return {
        name: write_triplets(root / name, times=known.dates, size=(16, 16))
        for name, known in PUBLISHED.items()
    }


@pytest.mark.parametrize(
    ("name", "data", "counts"),
    [
        ("stfdiff-cia", "cia", (9, 4)),
        ("stfdiff-lgc", "lgc", (6, 1)),
        ("stfdiff-hh-ahb", "ahb", (21, 4)),
        ("swinstfm-lgc", "lgc", (165, 1)),
        ("survey-cia", "cia", (10, 5)),
        ("survey-lgc", "lgc", (8, 4)),
        ("survey-ahb", "ahb", (19, 6)),
    ],
)
def test_published_lists_and_what_they_leak(
    name: str, data: str, counts: tuple[int, int], published: dict[str, Store]
) -> None:
    protocol = load_protocol(name)
    store = published[data]
    train, test = (triplets(store, protocol, split) for split in ("train", "test"))
    assert (len(train), len(test)) == counts
    assert splits_of(store, protocol, protocol.context) == ("test", "train")
    leaks = date_leaks(train, test)
    if name != "stfdiff-hh-ahb":
        assert leaks == ()
    else:
        days = ["2015-03-17", "2016-08-26", "2018-02-05", "2018-10-03"]
        assert sorted({leak.target.isoformat() for leak in leaks}) == days
        assert {leak.role for leak in leaks} == {"reference"}
    config = evaluation_config(store, name)
    notes = list(leak_notes(config))
    assert len(notes) == bool(leaks)
    assert all("2018-10-03" in note and "seen in training as reference" in note for note in notes)


def test_a_list_needs_all_of_its_dates(tmp_path: Path) -> None:
    store = write_triplets(tmp_path / "s", times=PUBLISHED["cia"].dates[:9], size=(16, 16))
    with pytest.raises(InputError, match=r"place-1 lacks 2002-02-22, 2002-03-10.*fusion2-time"):
        evaluation_config(store, "stfdiff-cia")
    with pytest.raises(InputError, match="it lists triplets with 2"):
        evaluation_config(store, "stfdiff-cia", EvaluationOptions(context=1))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dates": {"test": [["2001-01-01", "2001-01-02"]]}}, "are not 3 ascending dates"),
        ({"dates": {"test": [["2001-01-03", "2001-01-02", "2001-01-04"]]}}, "not 3 ascending"),
        ({"scheme": "space"}, "with the scheme time"),
    ],
)
def test_lists_that_are_none(changes: dict[str, object], says: str) -> None:
    good = load_protocol("stfdiff-cia").model_dump(mode="json")
    with pytest.raises(ValueError, match=says):
        Protocol.model_validate({**good, **changes})


def test_two_targets_after_one_first_reference_are_both_scored(
    published: dict[str, Store], tmp_path: Path
) -> None:
    """2002-02-22 stands before two targets of the test; pictures show one of them."""
    request = RunRequest(
        "add_change", data=published["cia"].path, protocol="stfdiff-cia", out=tmp_path / "run",
        metrics="mse@1", suite="mse@1",
    )  # fmt: skip
    units = whole(run_model(request).scores.units)
    rows = units[(units["model"] == "add_change") & (units["band"] == "all")]
    assert sorted(rows["target"]) == ["2001-11-09", "2002-03-10", "2002-03-17", "2002-04-18"]
    assert (rows["weight"] == 1).all()
    assert (tmp_path / "run" / "report.html").is_file()
