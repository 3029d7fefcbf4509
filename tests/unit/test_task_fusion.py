"""The fusion task: what a model sees of a store, what is refused, and truth out of reach."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fusion_toys import BANDS, COARSE, FINE, days, metas, write_triplets

from rsbench.catalog import load_protocol
from rsbench.core.date_triplets import Triplet
from rsbench.core.errors import InputError, PixelError
from rsbench.core.grid import Window
from rsbench.models.api import Frames
from rsbench.store.read import Store
from rsbench.tasks.base import Batch
from rsbench.tasks.batches import batches
from rsbench.tasks.frames import enlarge
from rsbench.tasks.fusion.samples import footprint, require_fitting, sensor_pair, triplets
from rsbench.tasks.fusion.task import TASK
from rsbench.tasks.settings import evaluation_config
from tests.task_readers import reader_of, split_of

PROTOCOL = load_protocol("fusion2")


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSBENCH_CACHE", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_triplets(tmp_path_factory.mktemp("t") / "s", splits=("test", "test", "train"))


def batch_of(store: Store) -> Batch[Triplet]:
    samples = triplets(store, PROTOCOL, "test")
    return next(batches(reader_of(store, PROTOCOL), samples, 8))


def test_given_want_and_truth_are_the_stores_pixels(store: Store) -> None:
    """24×32 pixels are whole blocks of 4, and of no power of two that a network would ask for."""
    given, want, truth = split_of(batch_of(store), members=2)
    first, target, last = days(3)
    stored = store.read("place-1", FINE) * 1e-4
    seen = store.read("place-1", FINE, array="valid")
    fine = given.frames[FINE]
    assert fine.values.shape == (2, 1, 2, 2, 24, 32)
    for k, t in ((0, 0), (1, 2)):
        np.testing.assert_allclose(fine.values[0, 0, k], np.where(seen[t], stored[t], 0), atol=1e-7)
        assert torch.equal(fine.valid[0, 0, k, 0], torch.from_numpy(np.array(seen[t])))
    low = given.frames[COARSE]
    assert (low.footprint, fine.footprint) == (4, 1)
    raw = store.read("place-1", COARSE) * 1e-4
    np.testing.assert_allclose(
        low.values[0, 0], np.kron(raw, np.ones((1, 1, 4, 4))).astype(np.float32), atol=1e-7
    )
    np.testing.assert_allclose(truth.values[0, 0, 0], np.where(seen[1], stored[1], 0), atol=1e-7)
    epoch = np.datetime64("1970-01-01")
    assert [int(t) for t in low.times[0]] == [
        int((np.datetime64(day) - epoch).astype(int)) for day in (first, target, last)
    ]
    assert torch.equal(want.times, low.times[:, 1:2])
    assert torch.equal(fine.times, low.times[:, ::2])
    assert (want.sensor, want.bands, want.members) == (FINE, BANDS, 2)
    assert want.samples[0].key == f"place-1:{first}+{last}:{target}"


def test_truth_shares_no_memory_with_what_is_given(store: Store) -> None:
    given, want, truth = split_of(batch_of(store))
    before = {name: f.clone() for name, f in given.frames.items()}
    times = want.times.clone()
    for tensor in (truth.values, truth.valid, truth.times):
        tensor.zero_()
    for name, frames in given.frames.items():
        assert torch.equal(frames.values, before[name].values)
        assert torch.equal(frames.valid, before[name].valid)
        assert torch.equal(frames.times, before[name].times)
    assert torch.equal(want.times, times)
    held = {t.untyped_storage().data_ptr() for t in _tensors(truth)}
    for frames in given.frames.values():
        assert not held & {t.untyped_storage().data_ptr() for t in _tensors(frames)}
    assert want.times.untyped_storage().data_ptr() not in held


def _tensors(frames: Frames) -> tuple[torch.Tensor, ...]:
    return frames.values, frames.valid, frames.times


def test_float_pixels_are_copied_out_of_the_cache(tmp_path: Path) -> None:
    """Stored as they are used, nothing converts them: a view of the cache would be truth's too."""
    made = write_triplets(tmp_path / "s", stored="float32")
    first, again = (batch_of(made) for _ in range(2))
    assert torch.equal(first.truth.values, again.truth.values)
    first.truth.values.fill_(7.0)
    first.given[FINE].values.fill_(7.0)
    assert float(again.truth.values.max()) < 1
    assert float(batch_of(made).given[FINE].values.max()) < 1


def test_a_band_alone_and_coarse_images_on_the_fine_grid(tmp_path: Path) -> None:
    one = write_triplets(tmp_path / "one", bands=("lst",), size=(20, 28))
    given, want, truth = split_of(batch_of(one))
    assert given.frames[FINE].values.shape == (1, 1, 2, 1, 20, 28)
    assert (want.bands, truth.values.shape) == (("lst",), (1, 1, 1, 1, 20, 28))
    odd = write_triplets(tmp_path / "odd", size=(23, 31), on_fine_grid=True, ratio=4)
    assert split_of(batch_of(odd))[2].values.shape[-2:] == (23, 31)
    fine = write_triplets(tmp_path / "fine", on_fine_grid=True, ratio=4)
    pair = sensor_pair(fine)
    assert footprint(fine, pair, "place-1") == 4
    shown = split_of(batch_of(fine))[0].frames[COARSE]
    nested = write_triplets(tmp_path / "nested", ratio=4)
    same = split_of(batch_of(nested))[0].frames[COARSE]
    assert shown.footprint == same.footprint == 4
    assert torch.equal(shown.values, same.values)


def test_bilinear_lends_no_number_of_an_invalid_pixel() -> None:
    values = torch.tensor([[1.0, 9.0, 3.0]])[None, None]
    valid = torch.tensor([[True, False, True]])[None, None]
    found, mask = enlarge(values.expand(1, 1, 1, 3), valid, 2, "bilinear")
    assert mask[0, 0, 0].tolist() == [True, True, False, False, True, True]
    assert found[0, 0, 0].tolist() == [1.0, 1.0, 0.0, 0.0, 3.0, 3.0]
    plain, _ = enlarge(values, torch.ones_like(valid), 2, "bilinear")
    assert plain[0, 0, 0].tolist() == pytest.approx([1, 3, 7, 7.5, 4.5, 3])
    with pytest.raises(InputError, match="nearest or bilinear"):
        enlarge(values, valid, 2, "cubic")


def test_an_all_cloud_coarse_image_is_refused(tmp_path: Path) -> None:
    cloudy = write_triplets(tmp_path / "s", coarse_invalid=(1,))
    with pytest.raises(PixelError, match=r"place-1, target 2020-01-17: no pixel of the coarse "):
        split_of(batch_of(cloudy))


@pytest.mark.parametrize("part", ["fine", "coarse", "truth"])
def test_a_nan_called_valid_is_named(store: Store, part: str) -> None:
    batch = batch_of(store)
    frames = (batch.truth if part == "truth" else batch.given[part]).clone()
    frames.values[0, 0, 0, 1] = torch.where(frames.valid[0, 0, 0, 0], torch.nan, 0.0)
    given = {**batch.given, part: frames}
    changed = {"truth": frames} if part == "truth" else {"given": given}
    with pytest.raises(PixelError, match=rf"place-1, {part}, frame 1, band nir: \d+ NaN"):
        split_of(replace(batch, **changed))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"bands": ("nir", "red")}, "are in another order: red, nir and nir, red"),
        ({"bands": ("red", "swir")}, "the bands differ"),
        ({"unit": "kelvin"}, "the one is reflectance, the other kelvin"),
        ({"gsd": 40.0}, "their pixels measure 30 and 40 m"),
    ],
)
def test_sensors_that_do_not_fit(changes: dict[str, Any], says: str) -> None:
    known = metas(changes=changes)
    with pytest.raises(InputError, match=says):
        require_fitting(known[FINE], known[COARSE])


def test_a_store_that_cannot_be_fused(tmp_path: Path) -> None:
    import toys

    series = toys.write_store(tmp_path / "series", regions=1, size=32, years=3)
    with pytest.raises(InputError, match=r"the store holds 1 sensor .s2.*demo-fusion"):
        sensor_pair(series)
    apart = write_triplets(tmp_path / "apart", shift=13.0)
    with pytest.raises(InputError, match=r"place-1: their pixel edges lie up to 0\.433 fine pix"):
        triplets(apart, PROTOCOL, "test")
    with pytest.raises(InputError, match="1 or 2 reference dates, a horizon of 1"):
        TASK.require_protocol(load_protocol("year3"))
    with pytest.raises(InputError, match="whose task is forecast"):
        evaluation_config(apart, "year3")
    with pytest.raises(InputError, match="whose task is fusion"):
        evaluation_config(series, "fusion2")


def test_a_window_must_lie_on_whole_coarse_pixels(store: Store) -> None:
    first, target, last = days(3)
    bad = Triplet("place-1", Window(2, 0, 8, 8), (first, last), target)
    with pytest.raises(InputError, match="a coarse pixel spans 4 fine pixels"):
        list(batches(reader_of(store, PROTOCOL), [bad], 1))
    odd = PROTOCOL.model_copy(update={"window": 18, "stride": 8})
    with pytest.raises(InputError, match=r"the window of protocol fusion2, 18 px.*multiple of 4"):
        triplets(store, odd, "train", windows=True)


def test_a_date_that_one_sensor_lacks_is_told(store: Store) -> None:
    first, target, _ = days(3)
    bad = Triplet("place-1", Window(0, 0, 8, 8), (first,), target.replace(year=2021))
    with pytest.raises(InputError, match="there is none of 2021-01-17"):
        list(batches(reader_of(store, PROTOCOL), [bad], 1))
