"""Frames that only training has, stages without labels, and pretraining that models share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pair_toys as pt
import pytest
import segment_toys as toys
import torch

from rsbench.core.errors import InputError, TrainingError
from rsbench.models import contract_subject
from rsbench.models.api import Frames, Given, Prediction, Stage, Want
from rsbench.models.contract import run_contract
from rsbench.models.contract_data import Shape, make_samples
from rsbench.models.rollout import collect
from rsbench.store.read import Store
from rsbench.tasks.segment.finer import FinerImages, paired_bands
from rsbench.tasks.settings import evaluation_config, reading_of
from rsbench.training.stages import closed_form


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return toys.write_store(tmp_path_factory.mktemp("pairs") / "store", regions=10)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    with pt.toy_card():
        yield


def test_the_loss_has_the_finer_image_of_exactly_the_ground_of_the_crop(store: Store) -> None:
    model = pt.model()
    pt.run(model, store)
    seen = [item for item in model.seen if item[0] == "pretrain"]
    assert len(seen) == 6
    for _, given, _ in seen:
        assert list(given.frames) == [toys.MR]
        finer = given.taught[toys.HR]
        assert finer.values.shape == (4, 1, 1, 4, 64, 64)
        assert finer.bands == toys.BANDS
        for row, ref in enumerate(given.samples):
            y, x = toys.RATIO * ref.window.y, toys.RATIO * ref.window.x
            whole = store.read(ref.region, toys.HR)[0]
            crop = whole[:, y : y + 64, x : x + 64].astype(np.float32)
            assert np.array_equal(finer.values[row, 0, 0].numpy(), crop)


def test_validation_and_evaluation_have_no_finer_image(store: Store) -> None:
    shown: list[Given] = []
    model = pt.model()
    plain = model.predict

    def predict(given: Given, want: Want) -> Prediction:
        shown.append(given)
        return plain(given, want)

    model.predict = predict  # type: ignore[method-assign]
    pt.run(model, store)
    assert shown
    assert not any(given.taught for given in shown)
    assert {name for given in shown for name in given.frames} == {toys.MR}


def test_a_model_whose_card_does_not_say_taught_is_given_no_finer_image(store: Store) -> None:
    model = pt.model()
    with pytest.raises(ValueError, match="not enough values"):  # the toy's own error
        pt.run(model, store, card=replace(pt.CARD, taught=False))
    assert not any(given.taught for _, given, _ in model.seen)


def test_a_task_without_frames_of_training_is_said(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FinerImages, "taught", lambda self, samples: {})
    with pytest.raises(TrainingError, match="task segment has no frames for training alone"):
        pt.run(pt.model(), store)


def test_a_prediction_with_frames_of_training_is_refused() -> None:
    made = make_samples(Shape.of(pt.CARD), seed=0)
    taught = replace(made.given, taught=made.given.frames)
    with pytest.raises(InputError, match=r"only training may have\. Leave Given\.taught empty"):
        collect(pt.model(), pt.CARD, taught, made.want)
    copy = taught.clone().to("cpu")
    (frames,), (kept,) = copy.taught.values(), taught.taught.values()
    assert torch.equal(frames.values, kept.values)
    assert frames.values.data_ptr() != kept.values.data_ptr()


def test_a_store_without_finer_images_is_refused(tmp_path: Path) -> None:
    one = toys.write_store(tmp_path / "store", regions=5, finer=False)
    with pytest.raises(InputError, match="its finer sensors are none") as error:
        pt.run(pt.model(), one)
    assert error.value.exit_code == 2


def test_a_stage_without_labels_has_no_valid_truth_and_all_regions(tmp_path: Path) -> None:
    """A region without a single label is pretrained on, and no probe is fitted on it."""
    plain = toys.region

    def some(number: int, **changes: object) -> dict[str, object]:
        made = plain(number)
        if number in (0, 3):
            made[toys.MR] = replace(made[toys.MR], labels=np.zeros_like(made[toys.MR].labels))
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toys, "region", some)
        store = toys.write_store(tmp_path / "store", regions=10)
    model = pt.model()
    pt.run(model, store)
    regions: dict[str, set[str]] = {}
    for stage, given, truth in model.seen:
        regions.setdefault(stage, set()).update(ref.region for ref in given.samples)
        if stage == "probe":
            assert truth.valid.any()
        else:
            assert not truth.valid.any()
            assert not truth.values.any()
    bare = {"place-00", "place-03"}
    assert regions["pretrain"] == regions["statistics"] == {*store.split("train")}
    assert regions["probe"] == {*store.split("train")} - bare


def test_a_stage_in_closed_form_is_given_every_window_once(store: Store) -> None:
    model = pt.model("solved")
    result = pt.run(model, store, "solved")
    for name in ("statistics", "probe"):
        found = [
            (ref.region, ref.window.y, ref.window.x)
            for stage, given, _ in model.seen if stage == name for ref in given.samples
        ]  # fmt: skip
        wanted = [(r, y, x) for r in store.split("train") for y in (0, 16) for x in (0, 16)]
        assert sorted(found) == sorted(wanted)
    assert result.steps == 1 + 6 + 1
    assert result.best_val > 0
    assert [point["stage"] for point in result.history][-1] == "probe"
    with pytest.raises(TrainingError, match="it has no method solve"):
        closed_form(object(), pt.STAGES[0])  # type: ignore[arg-type]


def test_a_second_head_takes_no_step_of_pretraining(store: Store) -> None:
    first = pt.run(pt.model(), store)
    assert first.steps_now == 11
    second = pt.model(spread=0.5)
    result = pt.run(second, store)
    assert {stage for stage, _, _ in second.seen} == {"probe"}
    assert (result.steps, result.steps_now) == (11, 4)
    one, two = pt.weights(first), pt.weights(result)
    assert all(torch.equal(one[n], two[n]) for n in one if not n.startswith("head."))
    assert not torch.equal(one["head.weight"], two["head.weight"])
    alone = pt.run(pt.model(spread=0.5), store, resume=False)
    assert alone.steps_now == 11
    assert all(torch.equal(two[n], tensor) for n, tensor in pt.weights(alone).items())


@pytest.mark.parametrize("damaged", ["pretraining.json", "weights.safetensors"])
def test_a_damaged_shared_pretraining_is_made_again(store: Store, damaged: str) -> None:
    from rsbench.core.paths import cache_dir

    pt.run(pt.model(), store)
    (path,) = cache_dir("checkpoints").glob(f"pretraining-*/{damaged}")
    path.write_bytes(path.read_bytes()[:-3] + b"xyz")
    assert pt.run(pt.model(spread=0.5), store).steps_now == 11


def test_other_pretraining_is_not_shared(store: Store) -> None:
    pt.run(pt.model(), store)
    assert pt.run(pt.model(), store, seed=1).steps_now == 11
    assert pt.run(pt.model("solved"), store, "solved").steps_now == 8
    with pt.toy_card(shared=()) as card:
        assert pt.run(pt.model(spread=0.5), store, card=card).steps_now == 11


def test_stages_as_before_have_the_digest_of_before() -> None:
    """Fields of stages that are not used leave no trace in plans and checkpoints."""
    assert set(pt.STAGES[2].stated()) == {
        "name", "learning_rate", "steps", "batch_size", "weight_decay", "clip", "modules", "leads",
        "watched",
    }  # fmt: skip
    assert pt.STAGES[0].stated()["closed_form"] is True
    assert pt.STAGES[1].stated()["labelled"] is False


def test_bands_are_paired_by_their_common_names(store: Store) -> None:
    names = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir"}
    swapped = {"B02": "red", "B03": "green", "B04": "blue", "B08": "nir"}

    def stated(finer: dict[str, str]) -> list[dict[str, object]]:
        return [
            {"name": name, "bands": [{"name": b, "common_name": c} for b, c in bands.items()]}
            for name, bands in ((toys.MR, names), (toys.HR, finer))
        ]

    class Stated:
        path, sensor = store.path, store.sensor

        def __init__(self, finer: dict[str, str]) -> None:
            self.meta = replace(store.meta, recipe={"sensors": stated(finer)})

    found = paired_bands(Stated(swapped), toys.MR, toys.HR)  # type: ignore[arg-type]
    assert found == ("B04", "B03", "B02", "B08")
    assert paired_bands(store, toys.MR, toys.HR) == toys.BANDS  # no common names are stated
    with pytest.raises(InputError, match="naip has no band blue; it has red, green, swir, nir"):
        paired_bands(Stated({**swapped, "B04": "swir"}), toys.MR, toys.HR)  # type: ignore[arg-type]
    names |= {"B03": "blue"}  # as where two bands of a sensor are called near infrared
    with pytest.raises(InputError, match="several bands of one of them are blue"):
        paired_bands(Stated(swapped), toys.MR, toys.HR)  # type: ignore[arg-type]


def test_images_that_are_no_pairs_are_refused(store: Store) -> None:
    """The second finer image would be taken beside the second coarse one, whatever their dates."""

    class Longer:
        def __init__(self) -> None:
            self.meta, self.path, self.regions = store.meta, store.path, store.regions
            self.sensor = store.sensor

        def region(self, name: str) -> Any:
            entry = store.region(name)
            days = entry.times[toys.HR]
            return replace(entry, times={**entry.times, toys.HR: (*days, *days)})

    reading = replace(reading_of(evaluation_config(store, "segment")), store=Longer())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="has 2 and 1 of them, which are no pairs"):
        FinerImages.open(reading, toys.MR)


class Reader(pt.PairModel):
    """Reads the frames of training where it is given them."""

    def predict(self, given: Given, want: Want) -> Prediction:
        values = super().predict(given, want).values
        return Prediction(values * (0.5 if given.taught else 1.0))


class Keeper(pt.PairModel):
    """Keeps in its prediction what an earlier loss was given."""

    kept = 0.0

    def loss(
        self, stage: Stage, given: Given, want: Want, truth: Frames
    ) -> dict[str, torch.Tensor]:
        self.kept = float(given.taught["contract-fine"].values[0, 0, 0, 0, 0, 0])
        return dict(super().loss(stage, given, want, truth))

    def predict(self, given: Given, want: Want) -> Prediction:
        return Prediction(super().predict(given, want).values + self.kept)


class Deaf(pt.PairModel):
    """Has a loss that no frame of training reaches."""

    def loss(
        self, stage: Stage, given: Given, want: Want, truth: Frames
    ) -> dict[str, torch.Tensor]:
        return {"total": self.network.net.weight.square().sum() + self.network.head.weight.sum()}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (pt.PairModel, "no bit changes; they reach the loss of pretrain"),
        (Reader, "giving predict the frames of training changes the prediction"),
        (Keeper, "other frames of training in an earlier loss changes the prediction"),
        (Deaf, "no loss depends on them"),
    ],
)
def test_the_contract_of_frames_of_training(
    kind: type[pt.PairModel], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pt, "PairModel", kind)
    monkeypatch.setattr(contract_subject, "WARM_STEPS", (2, 4))
    (result,) = run_contract("pair-toy", checks=["taught_changes_nothing"])
    assert said in result.detail
    assert result.passed == (kind.__name__ == "PairModel")


def test_label_shares_take_one_pretraining_and_all_of_its_regions(store: Store) -> None:
    """A fraction of labels reaches the probe alone."""
    whole = pt.run(pt.model(), store)
    few = pt.model()
    result = pt.run(few, store, labels={"fraction": 0.25, "seed": 1})
    assert (result.steps, result.steps_now) == (11, 4)
    regions = {ref.region for name, given, _ in few.seen for ref in given.samples}
    assert len(regions) == 1 < len(store.split("train"))
    alone = pt.model()
    pt.run(alone, store, labels={"fraction": 0.25, "seed": 1}, resume=False)
    seen: dict[str, set[str]] = {}
    for name, given, _ in alone.seen:
        seen.setdefault(name, set()).update(ref.region for ref in given.samples)
    assert seen["pretrain"] == seen["statistics"] == {*store.split("train")}
    assert seen["probe"] == regions
    one, two = pt.weights(whole), pt.weights(result)
    assert all(torch.equal(one[n], two[n]) for n in one if not n.startswith("head."))
