"""Training on triplets: what is drawn, what is validated on, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import triplet_toys as ft

from rsbench.core.errors import InputError, RsbenchError, TrainingError
from rsbench.evaluation.run import RunRequest, run_model
from rsbench.models.api import Card, Stage
from rsbench.models.noise import Noise
from rsbench.models.registry import card, create_model
from rsbench.store.read import Store
from rsbench.tasks.fusion.samples import triplets
from rsbench.training.augment import augmented
from rsbench.training.data import Crops, TrainingData, Validation
from rsbench.training.plan import Plan
from rsbench.training.train import TrainRequest, train

SIDE, SIZE = 32, 64


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return ft.write_store(tmp_path_factory.mktemp("fusion") / "store", size=SIZE)


def plan(store: Store, **changes: Any) -> Plan:
    base = Plan(
        model="toy", preset="default", options={}, dataset_digest=store.digest, scheme="space",
        sensor="fine", bands=ft.BANDS, window=SIDE, grid=(SIDE, SIDE), shortest=2, context=2,
        longest=2, leads=(1,), stages=(Stage("fit", 1e-2, steps=5, batch_size=2),),
        budget="5steps", seed=0, devices=1, precision="32-true", batch_size=None, initial="",
        resampling="nearest",
    )  # fmt: skip
    return replace(base, **changes)


def pixels(store: Store, **changes: Any) -> TrainingData:
    return TrainingData.open(store, plan(store, **changes), ft.protocol())


def test_crops_lie_on_coarse_pixels_of_training_regions(store: Store) -> None:
    crops = Crops(pixels(store))
    found = [s for step in range(150) for s in crops.draw(0, step, 4)]
    assert {s.region for s in found} == set(store.split("train")) == set(crops.regions)
    places = {(s.window.y, s.window.x) for s in found}
    assert {y for y, _ in places} == set(range(0, 33, ft.RATIO)) == {x for _, x in places}
    times = store.region("toy-01").times["fine"]
    assert {s.target for s in found} == set(times[1:-1])
    assert all(len(s.references) == 2 for s in found)


def test_a_step_depends_on_its_number_alone(store: Store) -> None:
    one, two = Crops(pixels(store)), Crops(pixels(store))
    forward = [one.draw(0, step, 3) for step in range(5)]
    assert forward == [two.draw(0, step, 3) for step in reversed(range(5))][::-1]
    assert len(set(forward)) == 5
    assert Crops(pixels(store, seed=1)).draw(0, 0, 3) != forward[0]


def test_a_model_of_one_reference_sees_either(store: Store) -> None:
    crops = Crops(pixels(store, shortest=1, longest=1))
    found = [s for step in range(60) for s in crops.draw(0, step, 4)]
    before = [s for s in found if s.references[0] < s.target]
    assert 0.3 < len(before) / len(found) < 0.7
    given, want, _ = (p := crops.training_batch(found[:4], Noise(0))).given, p.want, p.truth
    assert given.frames["fine"].values.shape == (4, 1, 1, 3, SIDE, SIDE)
    assert given.frames["coarse"].values.shape == (4, 1, 2, 3, SIDE, SIDE)
    assert want.times.shape == (4, 1)
    both = Crops(pixels(store, shortest=1))
    counts = {len(s.references) for step in range(30) for s in both.draw(0, step, 1)}
    assert counts == {1, 2}


def test_the_truth_of_a_parcel_is_the_stored_fine_image(store: Store) -> None:
    crops = Crops(pixels(store))
    samples = crops.draw(0, 0, 3)
    training_batch = crops.training_batch(samples, Noise(0))
    for row, sample in enumerate(samples):
        rows, columns = sample.window.slices
        arrays = ft.arrays_of(store, sample.region)
        at = arrays.times.index(sample.target)
        valid = arrays.valid[at, rows, columns]
        mine = training_batch.truth.values[row, 0, 0].numpy()
        stored = arrays.values[at, :, rows, columns] * 1e-4
        np.testing.assert_allclose(mine[:, valid], stored[:, valid], rtol=1e-5)
        shown = training_batch.given.frames["fine"].times[row]
        assert training_batch.want.times[row, 0] not in shown


def test_augmentation_cuts_no_coarse_pixel(store: Store) -> None:
    crops = Crops(pixels(store))
    plain, changed = 0, 0
    for step in range(10):
        batch = crops.training_batch(crops.draw(0, step, 4), Noise(0))
        before = batch.given.frames["coarse"]
        after = augmented(batch, ("cutmix", "cutout", "flips"), step).given.frames["coarse"]
        for tensor in (after.values, after.valid):
            corners = tensor[..., :: ft.RATIO, :: ft.RATIO]
            blocks = corners.repeat_interleave(ft.RATIO, -2).repeat_interleave(ft.RATIO, -1)
            assert torch.equal(blocks, tensor), "one number in every coarse pixel"
        plain += int(before.valid.sum())
        changed += int(after.valid.sum())
    assert 0.7 * plain < changed < 0.95 * plain


def test_validation_takes_windows_of_validation_regions_only(store: Store) -> None:
    opened = pixels(store)
    check = Validation(opened, card("mean_refs"))
    everything = triplets(store, ft.protocol(), "val", windows=True)
    assert set(check.samples) == set(everything)
    assert {s.region for s in check.samples} == set(store.split("val"))


def test_the_validation_error_is_that_of_a_sum_by_hand(store: Store) -> None:
    opened = pixels(store)
    check = Validation(opened, card("copy_f0"))
    found = check.mse(create_model("copy_f0"), Noise(0), torch.device("cpu"))
    total, count = 0.0, 0
    for name in store.split("val"):
        arrays = ft.arrays_of(store, name)
        fine, valid = arrays.values * 1e-4, arrays.valid[:, None]
        coarse = ft.coarse_of(arrays).values.repeat(ft.RATIO, 2).repeat(ft.RATIO, 3) * 1e-4
        for at in (1, 2):
            # A hidden reference shows the other one, and both hidden the coarse image.
            behind = np.where(valid[at + 1], fine[at + 1], coarse[at - 1])
            first = np.where(valid[at - 1], fine[at - 1], behind)
            seen = np.broadcast_to(valid[at], first.shape)
            total += float(((first - fine[at]) ** 2)[seen].sum())
            count += int(seen.sum())
    assert found == pytest.approx(total / count, rel=1e-4)


def test_crops_under_cloud_are_drawn_again_elsewhere(tmp_path: Path) -> None:
    part = (slice(0, 12), slice(None))  # 48 of 64 fine rows
    store = ft.write_store(tmp_path / "cloudy", dates=3, clouds=dict.fromkeys(range(3), part))
    crops = Crops(pixels(store, window=16))
    found = [s for step in range(60) for s in crops.draw(0, step, 2)]
    assert {s.window.y for s in found} == {36, 40, 44, 48}
    whole = dict.fromkeys(range(4), (slice(None), slice(None)))
    dark = ft.write_store(tmp_path / "dark", dates=3, clouds=whole)
    says = r"of region toy-0\d: none of 64 crops had a valid pixel.* \d+\.\d% of the region"
    with pytest.raises(InputError, match=says):
        Crops(pixels(dark)).draw(0, 0, 1)
    assert Validation(pixels(dark), card("mean_refs")).samples == ()


def test_what_cannot_be_trained_on_is_one_clear_sentence(store: Store) -> None:
    for changes, says in (
        ({"sensor": "coarse"}, "it is the coarse one.*Ask for fine"),
        ({"window": 30}, "a coarse pixel spans 4 fine pixels"),
    ):
        with pytest.raises(InputError, match=says):
            Crops(pixels(store, **changes))
    with pytest.raises(InputError, match=r"64×64 px.*smaller window"):
        Crops(pixels(store, window=128))


def trained(store: Store, model: Any, entry: Card, **options: Any) -> Any:
    settings: dict[str, Any] = {
        "protocol": ft.protocol(), "sensor": "fine", "bands": ft.BANDS, "context": 2,
        "device": "cpu", "budget": "3steps",
    }  # fmt: skip
    return train(model, entry, store, TrainRequest(preset="tiny", **{**settings, **options}))


def test_a_forecast_protocol_is_refused_and_a_forecaster_too(store: Store) -> None:
    model = create_model("sa_stf", "tiny", bands=3)
    with pytest.raises(RsbenchError, match=r"task is fusion.*asks for forecast"):
        trained(store, model, card("sa_stf"), protocol="year7")
    with pytest.raises(RsbenchError, match=r"task is forecast.*asks for fusion"):
        trained(store, create_model("simvp", "tiny", bands=3), card("simvp"))


def test_watched_terms_are_taken_on_validation_samples(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = create_model("sa_stf", "tiny", bands=3)
    stages = tuple(replace(stage, watched=("total",)) for stage in model.stages())
    monkeypatch.setattr(model, "stages", lambda: stages)
    seen: list[set[str]] = []
    real = Crops.training_batch

    def kept(self: Crops, samples: Any, noise: Any, *rest: Any) -> Any:
        seen.append({sample.region for sample in samples})
        return real(self, samples, noise, *rest)

    monkeypatch.setattr(Crops, "training_batch", kept)
    result = trained(store, model, card("sa_stf"), out_dir=tmp_path / "watched")
    assert all(np.isfinite(p["validation_terms"]["total"]) for p in result.history)
    assert any(regions == set(store.split("val")) for regions in seen)
    assert all(
        regions <= set(store.split("val")) or regions <= set(store.split("train"))
        for regions in seen
    )


def test_run_trains_then_finds_the_checkpoint(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ft.protocol()
    for place in ("rsbench.tasks.settings", "rsbench.training.train"):
        monkeypatch.setattr(f"{place}.load_protocol", lambda name: small)
    said: list[str] = []
    request = RunRequest(
        model="sa_stf", preset="tiny", data=store.path, budget="3steps", device="cpu",
        out=tmp_path / "run", suite="mse@1",
    )  # fmt: skip
    result = run_model(request, note=said.append)
    assert any("trained first" in line for line in said)
    table = result.scores.table()
    assert {"sa_stf", "mean_refs", "copy_c1"} <= set(table["model"])
    assert table["value"].notna().all()
    inputs = table[table["model"] == "sa_stf"]["inputs"]
    assert set(inputs) == {"fine+coarse n_refs=2"}
    said.clear()
    again = run_model(replace(request, out=tmp_path / "again"), note=said.append)
    assert not any("trained first" in line for line in said)
    mine = [t[t["model"] == "sa_stf"]["value"].tolist() for t in (table, again.scores.table())]
    assert mine[0] == mine[1]


def test_a_preset_that_needs_weights_says_so_before_training(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    model = create_model("sa_stf", "tiny", bands=3, perceptual="vgg")
    with pytest.raises(TrainingError, match=r"vgg16_bn-6c64b313\.pth is not in"):
        trained(store, model, card("sa_stf").of("tiny"))
