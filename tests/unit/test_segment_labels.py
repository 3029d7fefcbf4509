"""A share of the labels: which regions, who sees them, and how tables and reports say so."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import segment_toys as toys
from hypothesis import given, settings
from hypothesis import strategies as st
from support import shell

import rsbench as rb
from rsbench.catalog import Protocol, labelled_protocol, load_protocol
from rsbench.cli.commands import inspect_command
from rsbench.core.errors import InputError
from rsbench.evaluation import run as runs
from rsbench.evaluation.fit import fit, training_pairs
from rsbench.evaluation.own_entry import own_entry
from rsbench.evaluation.report import write_report
from rsbench.evaluation.table import to_markdown
from rsbench.evaluation.trained_labels import require_labels, require_trained
from rsbench.models.checkpoint import TrainedFor, mark_trained
from rsbench.models.registry import card, create_model
from rsbench.store.read import Store
from rsbench.tasks.config import EvaluationConfig
from rsbench.tasks.labels import labelled_regions
from rsbench.tasks.registry import require_protocol, task_of
from rsbench.tasks.settings import cases, evaluation_config, reading_of
from rsbench.training.train import TrainRequest, train

TRAIN = tuple(f"place-{n:02d}" for n in range(20) if n % 5 in (0, 3))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return toys.write_store(tmp_path_factory.mktemp("labels") / "store")


def config_of(store: Store, fraction: float | None = 0.5, seed: int = 0) -> EvaluationConfig:
    rules = labelled_protocol("segment", fraction, None if fraction is None else seed)
    return evaluation_config(store, rules)


def chosen(store: Store, fraction: float, seed: int) -> set[str]:
    return set(labelled_regions(store, labelled_protocol("segment", fraction, seed)))


@settings(max_examples=40, deadline=None)
@given(a=st.floats(0.001, 1), b=st.floats(0.001, 1), seed=st.integers(0, 1000))
def test_a_larger_share_contains_a_smaller_one(store: Store, a: float, b: float, seed: int) -> None:
    low, high = sorted((a, b))
    few, many = chosen(store, low, seed), chosen(store, high, seed)
    assert few
    assert few <= many <= set(TRAIN)
    assert few == chosen(store, low, seed)
    assert len(many) == max(1, int(high * len(TRAIN) + 0.5))


def test_a_scored_training_split_says_which_part_is_hidden(store: Store) -> None:
    config, own = config_of(store), task_of(config_of(store))
    assert list(own.left_out(config, "train")) == [
        "4 of 8 training regions are not scored: labels are hidden"
    ]
    assert not [*own.left_out(config, "test"), *own.left_out(config_of(store, None), "train")]


def test_another_seed_chooses_other_regions(store: Store) -> None:
    assert len({frozenset(chosen(store, 0.5, seed)) for seed in range(6)}) > 3


def test_only_labelled_regions_have_labels(store: Store) -> None:
    config = config_of(store)
    labelled = set(labelled_regions(store, config.protocol))
    assert len(labelled) == 4
    seen = {ref.region for _, want, _ in training_pairs(config) for ref in want.samples}
    assert seen == labelled
    everything = replace(config, protocol=load_protocol("segment"))
    own = task_of(config)
    reader = own.reader(reading_of(config))
    for sample in own.groups(own.settle(everything), "train")[0]:
        truth = reader.assemble([sample]).truth
        assert bool(truth.valid.any()) == (sample.region in labelled)
        assert reader.usable(sample) == (sample.region in labelled)
        assert bool(truth.values.any()) == (sample.region in labelled)
    pool = own.pool(reading_of(config), SimpleNamespace(), "train")  # type: ignore[arg-type]
    assert set(pool.regions) == labelled


@pytest.mark.parametrize("split", ["val", "test"])
def test_validation_and_test_are_as_with_all_labels(store: Store, split: str) -> None:
    few, every = (list(cases(c, split=split)) for c in (config_of(store), config_of(store, None)))
    assert [c.samples for c in few] == [c.samples for c in every]
    assert all(bool((a.valid == b.valid).all()) for a, b in zip(few, every, strict=True))


def test_reference_models_are_fitted_on_the_labelled_regions(store: Store) -> None:
    config = config_of(store)
    model = create_model("majority", classes=3)
    fit(model, config)
    counts = np.zeros(3)
    for _, _, truth in training_pairs(config):
        counts += truth.values.sum(dim=(0, 1, 2, 4, 5)).numpy()
    case = next(iter(cases(config)))
    found = model.predict(case.given, case.want).values[0, 0, 0, :, 0, 0].numpy()
    np.testing.assert_allclose(found, counts / counts.sum(), atol=1e-6)
    other = create_model("majority", classes=3)
    assert fit(other, config_of(store, None)) != fit(model, config)


def test_the_share_is_part_of_the_identity() -> None:
    plain = load_protocol("segment")
    assert labelled_protocol("segment", None) == labelled_protocol("segment", 1.0, 3) == plain
    names = {labelled_protocol(plain, f, s).name for f in (0.1, 0.2) for s in (0, 1)}
    assert len(names) == 4
    assert all(name.startswith("segment+") for name in names)
    assert labelled_protocol(labelled_protocol(plain, 0.1, 0), None, 1).name in names
    again = labelled_protocol(labelled_protocol(plain, 0.3, 1), 0.1, 0)
    assert again.name in names
    stated = {"name": "segment", "description": plain.description, **plain.content}
    read = Protocol.model_validate({**stated, "labels": {"fraction": 0.1}})
    assert load_protocol(read).name == again.name


@pytest.mark.parametrize(("fraction", "seed"), [(0.0, 0), (1.5, 0), (0.5, -1), (None, 4)])
def test_shares_that_cannot_be(fraction: float | None, seed: int) -> None:
    with pytest.raises(InputError, match="a fraction is above 0 and at most 1"):
        labelled_protocol("segment", fraction, seed)


def test_fewer_labelled_windows_than_classes_are_refused(store: Store) -> None:
    with pytest.raises(InputError, match="labels of 2 of 8 training regions hold 2 windows") as e:
        config_of(store, 0.2)
    assert "--labelled-fraction 0.375 or more" in e.value.remedy
    assert len(labelled_regions(store, config_of(store, 0.375).protocol)) == 3


def test_a_training_with_too_few_labels_is_refused(store: Store) -> None:
    rules = labelled_protocol("segment", 0.2)
    asked = TrainRequest(
        preset="tiny_random", protocol=rules, sensor=toys.MR, context=1, device="cpu",
        bands=tuple(toys.CODES.values()),
    )  # fmt: skip
    model = create_model("cross_scale", "tiny_random", bands=4, classes=3)
    with pytest.raises(InputError, match="fewer than the 3 classes"):
        train(model, card("cross_scale").of("tiny_random"), store, asked)


def test_tasks_without_labels_refuse_a_share() -> None:
    for name in ("year3", "fusion1"):
        with pytest.raises(InputError, match="whose truth is no labels"):
            require_protocol(labelled_protocol(name, 0.5))


def test_run_and_table_say_which_labels(tmp_path: Path) -> None:
    named = {**{str(code): name for code, name in toys.CODES.items()}, "9": "snow"}
    found = toys.write_store(tmp_path / "store", regions=15, **{"rsbench:classes": named})
    scores = rb.evaluate(
        create_model("window_lda", classes=4), found, labelled_protocol("segment", 0.7, 5)
    )
    told = scores.run.extra["labels"]
    assert (told["stated"], told["of"]) == ({"fraction": 0.7, "seed": 5}, 6)
    assert len(told["regions"]) == told["windows"] == 4
    assert told["pixels"]["snow"] == 0 < told["pixels"]["water"]
    said = "labels of 4 of 6 training regions (fraction 0.7, seed 5); no labelled training pixel"
    assert said + " is of the class snow" == scores.run.labelled
    assert said in to_markdown(scores.table(), scores=[scores])
    assert "fraction=0.7 label seed=5" in scores.table()["inputs"].iloc[0]


def test_all_labels_need_no_statement(store: Store) -> None:
    assert list(task_of(config_of(store)).notes(config_of(store, None))) == []


def test_inspect_and_report_state_the_classes_of_every_split(store: Store, tmp_path: Path) -> None:
    said: list[str] = []
    inspect_command(store.path, as_json=False, say=said.append)
    parts = [line.strip() for line in said if "of the labelled pixels of" in line]
    assert [line.split(":")[0].split()[-1] for line in parts] == ["train", "val", "test"]
    inspect_command(store.path, as_json=True, say=said.append)
    splits = json.loads(said[-1])["labels"][toys.MR]["splits"]
    scores = rb.evaluate(create_model("pixel_lda", classes=3), store, "segment")
    pixels = scores.run.extra["class_pixels"]
    for split, shares in splits.items():
        assert sum(shares.values()) == pytest.approx(1)
        total = sum(pixels[split].values())  # the last row of an image is masked
        assert {n: k / total for n, k in pixels[split].items()} == pytest.approx(shares, abs=0.02)
    scores.save(tmp_path / "run")
    write_report([tmp_path / "run"], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.index(">train</th>") < page.index(">val</th>") < page.index(">test</th>")
    assert "rsbench run --keep-predictions all</code> also writes" in page


def checkpoint(**changes: Any) -> Any:
    stated = {"labels": None, "bands": ("water", "trees", "crops"), "imported": None}
    return SimpleNamespace(**{**stated, **changes})


def test_weights_of_other_labels_or_classes_are_refused(store: Store) -> None:
    few, every = config_of(store), config_of(store, None)
    own = {"fraction": 0.5, "seed": 0}
    path = Path("kept")
    require_labels(every, path, checkpoint())
    require_labels(few, path, checkpoint(labels=own))
    for config, labels, found in (
        (few, None, "it was trained with all labels"),
        (every, own, "labels of fraction 0.5, seed 0"),
        (few, {**own, "seed": 1}, "labels of fraction 0.5, seed 1"),
    ):
        with pytest.raises(InputError, match=found):
            require_labels(config, path, checkpoint(labels=labels))
    with pytest.raises(InputError, match="trained for the classes water, snow"):
        require_labels(every, path, checkpoint(bands=("water", "snow")))


def test_a_model_trained_for_other_classes_is_not_scored(store: Store) -> None:
    model = create_model("pixel_lda", classes=3)
    mark_trained(model, TrainedFor(("water", "trees", "snow")))
    with pytest.raises(InputError, match="trained for the classes water, trees, snow"):
        own_entry(config_of(store, None), model)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"labels": {"fraction": 0.5, "seed": 0}}, "with labels of fraction 0.5, seed 0"),
        ({"inputs": ("B04", "B03", "B02", "B08")}, "trained on the bands B04, B03, B02, B08"),
    ],
)
def test_a_model_of_other_labels_or_bands_is_not_scored(
    store: Store, changes: dict[str, Any], found: str
) -> None:
    """Also one that was trained in the same process, without a checkpoint being named."""
    model, classes = create_model("pixel_lda", classes=3), ("water", "trees", "crops")
    mark_trained(model, TrainedFor(classes, toys.BANDS))
    assert own_entry(config_of(store, None), model).name == "pixel_lda"
    with pytest.raises(InputError, match="under a protocol with labels of fraction"):
        own_entry(config_of(store), model)
    mark_trained(model, TrainedFor(classes, **{"inputs": toys.BANDS, **changes}))
    with pytest.raises(InputError, match=found):
        own_entry(config_of(store, None), model)
    mark_trained(model, TrainedFor(classes, imported=True))
    assert own_entry(config_of(store), model).name == "pixel_lda"


def test_a_forecaster_of_other_bands_is_not_scored() -> None:
    config: Any = SimpleNamespace(protocol=load_protocol("year7"), bands=("B02", "B04"))
    require_trained(config, "scoring it", None)
    for bands, imported in ((("B02", "B04"), False), (("blue", "red"), True)):
        require_trained(config, "scoring it", TrainedFor(bands, imported=imported))
    with pytest.raises(InputError, match="trained on the bands B04, B02"):
        require_trained(config, "scoring it", TrainedFor(("B04", "B02")))


def test_a_share_on_the_command_line(store: Store, tmp_path: Path) -> None:
    def rsbench(*args: str) -> subprocess.CompletedProcess[str]:
        asked = ("--data", str(store.path), "--out", str(tmp_path / "run"))
        return shell.rsbench(tmp_path, "run", "--model", "pixel_lda", *asked, *args, timeout=240)

    done = rsbench("--labelled-fraction", "0.5", "--label-seed", "2")
    assert done.returncode == 0, done.stderr
    assert "labels of 4 of 8 training regions (fraction 0.5, seed 2)" in done.stderr
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    assert told["labels"]["stated"] == {"fraction": 0.5, "seed": 2}
    assert told["protocol"].startswith("segment+")
    assert "abels of 4 of 8 training regions" in (tmp_path / "run" / "report.html").read_text()
    refused = rsbench("--labelled-fraction", "0.1")
    assert refused.returncode == 2, refused.stderr
    assert "fewer than the 3 classes" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_weights_are_found_again_under_the_share_they_were_trained_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    small = toys.write_store(tmp_path / "store", regions=15)
    said: list[str] = []

    def run(out: str, **options: Any) -> runs.RunResult:
        request = runs.RunRequest(
            model="cross_scale", preset="tiny_random", data=small.path, device="cpu", keep="none",
            suite="miou@1", out=tmp_path / out, **options,
        )  # fmt: skip
        said.clear()
        return runs.run_model(request, note=said.append)

    few = run("few", labelled_fraction=0.7)
    assert any("is trained first" in line for line in said)
    (kept,) = (tmp_path / "cache" / "checkpoints").glob(
        "cross_scale-tiny_random-*/*/checkpoint.json"
    )
    note = json.loads(kept.read_text())
    assert note["labels"] == {"fraction": 0.7, "seed": 0}
    run("again", labelled_fraction=0.7)
    assert not any("is trained first" in line for line in said)
    with pytest.raises(InputError, match=r"trained with labels of fraction 0\.7"):
        run("wrong", checkpoint=kept.parent)
    every = run("every")
    assert any("is trained first" in line for line in said)
    assert every.scores.run.weights["cross_scale"] != few.scores.run.weights["cross_scale"]
