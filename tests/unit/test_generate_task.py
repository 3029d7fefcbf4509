"""Generation: conditions, the entries that every table has, and images made elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import segment_toys as toys
import torch

import rsbench as rb
from rsbench.catalog import labelled_protocol, load_protocol
from rsbench.core.errors import InputError
from rsbench.evaluation.scores import Scores
from rsbench.evaluation.submission_files import NOTE
from rsbench.evaluation.submissions import ScoreOptions, export_task, score_answers
from rsbench.models.api import Card, Given, Prediction, PresetInfo, Want
from rsbench.models.registry import adopt, create_model, extra
from rsbench.store.read import Store
from rsbench.tasks.config import EvaluationOptions
from rsbench.tasks.generate.texts import caption
from rsbench.tasks.settings import cases, evaluation_config

CARD = Card(
    "painter", "generate", "-", {"default": PresetInfo(0, 0)}, "none:none", "none", "none",
)  # fmt: skip
SUITE = "fd.texture@1,precision.k3@1,recall.k3@1,memorised@1,layout.miou@1,mse@1"


class Painter:
    """Paints the colours of the classes, with noise."""

    def predict(self, given: Given, want: Want) -> Prediction:
        shares = given.frames["labels"].values[:, 0, 0]
        colours = torch.tensor(list(toys.COLOURS.values()), dtype=torch.float32) * 1e-4
        image = torch.einsum("bkhw,kc->bchw", shares, colours)[:, None, None]
        noise = want.noise.normal("painter", want, channels=len(want.bands))[:, :, None]
        return Prediction(image + 0.015 * noise)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return toys.write_store(tmp_path_factory.mktemp("generate") / "store")


@pytest.fixture(scope="module")
def scores(store: Store) -> Scores:
    model = Painter()
    with extra(CARD):
        adopt(model, CARD)
        return rb.evaluate(model, store, "generate", suite=SUITE)


def value(scores: Scores, model: str, metric: str) -> float:
    table = scores.table()
    own = table[(table["model"] == model) & (table["metric"] == metric)]
    own = own[(own["band"] == "all") & (own["stratum"] == "all")]
    return float(own["value"].iloc[0])


def test_a_case_gives_labels_and_texts_and_asks_for_the_image(store: Store) -> None:
    config = evaluation_config(store, "generate")
    case = next(iter(cases(config)))
    assert list(case.given.frames) == ["labels"]
    labels = case.given.frames["labels"]
    assert labels.bands == ("water", "trees", "crops")
    assert case.want.bands == toys.BANDS
    assert case.want.context == "once"
    image = store.read_physical(case.samples[0].region, toys.MR)[0]
    assert torch.equal(case.truth[0], torch.from_numpy(image))
    assert not labels.valid[:, 0, 0, 0, :2].any()  # without a label
    assert bool((labels.values[:, 0, 0].sum(1) == labels.valid[:, 0, 0, 0]).all())
    assert all(text.startswith("a satellite image of ") for text in case.given.texts)
    assert case.given.texts[0].endswith(", 10 m per pixel")


def test_texts_name_classes_by_share() -> None:
    assert caption(("a", "b", "c"), np.array([4, 95, 1]), 2.5) == (
        "a satellite image of b, 2.5 m per pixel"
    )
    assert caption(("a", "b"), np.array([50, 50]), 10) == (
        "a satellite image of a, b, 10 m per pixel"
    )
    assert caption(("a", "b"), np.array([0, 0]), 10) == "a satellite image, 10 m per pixel"


def test_the_control_gets_the_conditions_of_another_region(store: Store) -> None:
    config = evaluation_config(store, "generate")
    found = list(cases(config, batch_size=3))
    by_text = {}
    for case in found:
        for ref, text in zip(case.samples, case.given.texts, strict=True):
            by_text.setdefault((case.given.frames["labels"].values[0].sum().item(), text), ref)
    for case in found:
        assert case.permuted is not None
        same = case.permuted.frames["labels"].values == case.given.frames["labels"].values
        assert not same.flatten(1).all(1).any()
        assert case.permuted.samples == case.given.samples
    other = next(iter(cases(config, batch_size=8))).permuted
    assert other is not None
    assert found[0].permuted is not None
    assert torch.equal(found[0].permuted.frames["labels"].values, other.frames["labels"].values[:3])


def test_what_conditions_contribute_is_in_the_table(scores: Scores) -> None:
    roles = dict(zip(scores.units["model"], scores.units["role"], strict=True))
    assert roles == {
        "painter": "model", "painter · shuffled": "control", "class_mean": "trivial",
        "train_image": "trivial", "real": "oracle",
    }  # fmt: skip
    assert value(scores, "real", "layout.miou@1") > 0.95
    assert value(scores, "painter", "layout.miou@1") > 0.9
    assert value(scores, "painter · shuffled", "layout.miou@1") < 0.5


def test_copies_of_training_images_are_visible(scores: Scores) -> None:
    assert value(scores, "train_image", "memorised@1") == 1.0
    assert value(scores, "real", "memorised@1") <= 1 / 8
    assert value(scores, "painter", "memorised@1") < 0.5
    assert value(scores, "real", "fd.texture@1") == pytest.approx(0, abs=1e-9)
    assert value(scores, "train_image", "precision.k3@1") > 0.5  # a copy passes this


def test_the_mean_of_a_class_is_that_of_its_pixels(store: Store) -> None:
    model = create_model("class_mean", classes=3)
    config = evaluation_config(store, "generate")
    from rsbench.evaluation.fit import training_pairs

    model.fit(training_pairs(config))
    sums, counts = np.zeros((3, 4)), np.zeros(3)
    for region in store.split("train"):
        values, valid = store.read_physical(region, toys.MR)
        codes = store.read(region, toys.MR, array="labels")[0]
        for k, code in enumerate(toys.CODES):
            where = (codes == code) & valid[0]
            counts[k] += where.sum()
            sums[k] += values[0][:, where].astype(np.float64).sum(1)
    np.testing.assert_allclose(model.means[:3].numpy(), sums / counts[:, None], rtol=1e-6)
    case = next(iter(cases(config)))
    drawn = model.predict(case.given, replace(case.want, members=2)).values
    assert drawn.shape == (8, 2, 1, 4, 32, 32)
    k = case.given.frames["labels"].values[0, 0, 0, :, 9, 9].argmax()
    assert torch.allclose(drawn[0, 1, 0, :, 9, 9], model.means[k].float())


def test_a_share_of_the_labels_hides_training_regions(store: Store) -> None:
    rules = labelled_protocol("generate", 0.5, 0)
    config = evaluation_config(store, rules)
    assert len({s.region for s in cases_of(config, "train")}) == 4
    assert len({s.region for s in cases_of(config, "test")}) == 8


def cases_of(config: object, split: str) -> list[object]:
    return [s for case in cases(config, split=split) for s in case.samples]  # type: ignore[arg-type]


def test_other_tasks_have_no_metrics_of_conditions(store: Store) -> None:
    options = EvaluationOptions(metrics="memorised@1")
    found = evaluation_config(store, "segment", options)
    assert found.left_out["memorised@1"].startswith("needs conditions that the task segment")


def test_one_training_region_has_no_copies_and_no_probe(tmp_path: Path) -> None:
    store = toys.write_store(tmp_path / "store", regions=3)
    config = evaluation_config(store, "generate")
    assert "needs 2 training regions, the store has 1" in config.left_out["memorised@1"]
    assert "layout.miou@1" in config.left_out


def test_one_class_is_refused(tmp_path: Path) -> None:
    one = {"rsbench:classes": {"1": "water"}, "rsbench:ignore": [2, 5]}
    store = toys.write_store(tmp_path / "store", regions=3, **one)
    with pytest.raises(InputError, match="have the classes water"):
        evaluation_config(store, "generate")


def test_conditions_go_out_and_images_come_in(store: Store, tmp_path: Path) -> None:
    rules = load_protocol("generate")
    task = export_task(store, tmp_path / "task", protocol=rules)
    stated = json.loads((task / "task.json").read_text())
    assert stated["inputs"]["labels"]["bands"] == ["water", "trees", "crops"]
    assert stated["bands"] == list(toys.BANDS)
    assert "codes" not in stated
    colours = np.array(list(toys.COLOURS.values()), np.float32) * 1e-4
    folder = task / "predictions"
    for item in stated["images"]:
        assert item["text"].startswith("a satellite image of ")
        assert item["targets"]
        frame = item["frames"]["labels"]
        shares = np.load(task / "context" / frame["folder"] / f"{frame['dates'][0]}.npy")
        image = np.einsum("khw,kc->chw", shares, colours).astype(np.float32)
        (folder / item["region"]).mkdir()
        np.save(folder / item["region"] / f"{item['name']}.npy", image[None])
    assert not list((task / "context").rglob("*s2*"))
    note = json.loads((folder / NOTE).read_text())
    (folder / NOTE).write_text(json.dumps(note | {"model": "real"}))
    with pytest.raises(InputError, match="real is an entry of every table"):
        score_answers(folder, store, tmp_path / "run")
    (folder / NOTE).write_text(json.dumps(note | {"model": "elsewhere"}))
    options = ScoreOptions(suite="layout.miou@1,memorised@1")
    scores = score_answers(folder, store, tmp_path / "run", options).scores
    assert value(scores, "elsewhere", "layout.miou@1") > 0.9
    assert (tmp_path / "run" / "report.html").is_file()
