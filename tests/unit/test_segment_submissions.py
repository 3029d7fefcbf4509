"""Segmentation by a model elsewhere: images go out, class probabilities come in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import segment_toys as toys

from rsbench.core.errors import InputError
from rsbench.evaluation.entries import Answer, ModelEntry
from rsbench.evaluation.equal_answers import equal_notes, require_distinct
from rsbench.evaluation.fit import fit
from rsbench.evaluation.own_entry import OwnEntry
from rsbench.evaluation.run_info import RunInfo
from rsbench.evaluation.score_table import score_table
from rsbench.evaluation.submission_files import NOTE
from rsbench.evaluation.submissions import ScoreOptions, export_task, score_answers
from rsbench.evaluation.table import to_markdown
from rsbench.models.registry import create_model
from rsbench.store.read import Store
from rsbench.tasks.base import Case
from rsbench.tasks.config import EvaluationConfig, EvaluationOptions
from rsbench.tasks.settings import evaluation_config

Probabilities = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return toys.write_store(tmp_path_factory.mktemp("segment") / "store", regions=5)


@pytest.fixture(scope="module")
def task(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_task(store, tmp_path_factory.mktemp("task") / "task", form="geotiff")


def answer(task: Path, change: Callable[[Probabilities], None] = lambda values: None) -> Path:
    """Write the nearest class colour as probabilities, and return their folder."""
    rasterio = pytest.importorskip("rasterio")
    stated = json.loads((task / "task.json").read_text())
    folder = task / "predictions"
    note = json.loads((folder / NOTE).read_text()) | {"model": "mine", "format": "npy"}
    (folder / NOTE).write_text(json.dumps(note))
    colours = np.array(list(toys.COLOURS.values()), np.float32) * 1e-4
    for item in stated["class maps"]:
        source = item["frames"]["s2"]
        with rasterio.open(task / "context" / source["folder"] / f"{source['dates'][0]}.tif") as f:
            assert f.descriptions == toys.BANDS
            image = f.read()
        far = ((image[None] - colours[:, :, None, None]) ** 2).sum(1)
        values = np.eye(len(toys.CODES), dtype=np.float32)[far.argmin(0)].transpose(2, 0, 1)
        values = np.ascontiguousarray(values)
        change(values)
        (folder / item["region"]).mkdir(exist_ok=True)
        np.save(folder / item["region"] / f"{item['name']}.npy", values[None])
    return folder


def test_the_task_states_images_and_classes(task: Path) -> None:
    stated = json.loads((task / "task.json").read_text())
    assert stated["bands"] == list(toys.CODES.values())
    assert stated["inputs"] == {
        "s2": {"bands": list(toys.BANDS), "unit": "reflectance", "value_range": [0.0, 1.0]}
    }
    assert {item["region"] for item in stated["class maps"]} == {"place-02", "place-04"}
    assert not list(task.rglob("*labels*"))


def test_class_probabilities_are_scored(store: Store, task: Path, tmp_path: Path) -> None:
    options = ScoreOptions(suite="miou@1", keep="all")
    scores = score_answers(answer(task), store, tmp_path / "run", options).scores
    table = scores.table()
    found = table[(table["metric"] == "miou@1") & (table["band"] == "all")].set_index("model")
    assert found.loc["mine", "value"] > 0.99
    assert set(found.index) == {
        "mine", "majority", "pixel_lda", "window_lda", "random_encoder",
    }  # fmt: skip
    assert equal_notes([scores.run]) == []
    require_maps(store, task, tmp_path / "run" / "maps")


def require_maps(store: Store, task: Path, maps: Path) -> None:
    """Require that the kept maps are the answers, on the grid of the region."""
    import rasterio

    kept = sorted(maps.glob("mine/*/*.probabilities.tif"))
    assert [path.parent.name for path in kept] == ["place-02", "place-04"]
    for path in kept:
        day = path.name[:10]
        given = np.load(task / "predictions" / path.parent.name / f"{day}.npy")[0]
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(file.read(), given)
            assert file.descriptions == tuple(toys.CODES.values())
            grid = store.region(path.parent.name).grids["s2"]
            assert tuple(file.transform)[:6] == grid.transform
        with rasterio.open(path.with_name(path.name.replace(".probabilities", ""))) as file:
            np.testing.assert_array_equal(file.read(1), given.argmax(0))
            assert file.tags(1)["CLASS_1"] == "trees"


def copied(store: Store, change: float = 0.0) -> tuple[EvaluationConfig, OwnEntry]:
    config = evaluation_config(store, "segment", EvaluationOptions(suite="miou@1", device="cpu"))
    model = create_model("majority", classes=3)
    fit(model, config)

    def same(case: Case) -> Answer:
        values = model.predict(case.given, case.want).values[:, 0, 0]
        values[:1, :, 0, 0] += change
        yield 1, values

    return config, OwnEntry("copycat", ModelEntry("copycat", "", "model", same), None, "")


def test_an_entry_with_the_predictions_of_another_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="predictions equal those of majority bit for bit") as e:
        score_table(*copied(store))
    assert e.value.exit_code == 2
    assert score_table(*copied(store, 1e-6)).run.extra["answers"]


def test_equal_predictions_in_several_runs_are_named(store: Store) -> None:
    scores = score_table(*copied(store, 1e-6))
    answers = {**scores.run.extra["answers"], "other": scores.run.extra["answers"]["copycat"]}
    other = replace(scores.run, extra={**scores.run.extra, "answers": answers})
    note = "equal predictions, bit for bit: copycat, other"
    assert equal_notes([scores.run, other]) == [note]
    assert note in to_markdown(scores.table(), scores=[scores, replace(scores, run=other)])


def test_presets_and_seeds_with_equal_predictions_are_named(store: Store) -> None:
    run = score_table(*copied(store, 1e-6)).run

    def of(seed: int, weights: str, **answers: str) -> RunInfo:
        named = {name.replace("_", "/"): digest for name, digest in answers.items()}
        extra = {**run.extra, "answers": named}
        return replace(run, extra=extra, seed=seed, weights={"vit": weights, "lda": "w"})

    again = of(0, "a", vit_sa="x", lda="y")
    assert equal_notes([again, again, of(1, "b", vit_sa="z", lda="y")]) == []
    assert equal_notes([again, of(0, "b", vit_mr="x")]) == [
        "equal predictions, bit for bit: vit/mr, vit/sa"
    ]
    assert equal_notes([again, of(1, "b", vit_sa="x")]) == [
        "equal predictions, bit for bit: vit/sa (seed 0), vit/sa (seed 1)"
    ]


@pytest.mark.parametrize("name", ["mine", "majority"])
def test_only_another_model_is_equal(name: str) -> None:
    own = {"mine": "mine/tiny"}.get(name, name)
    digests = {own: "a", f"{name} · member 0": "a", "another": "b", "pixel_lda": "c"}
    require_distinct(name, digests)
    with pytest.raises(InputError, match="pixel_lda"):
        require_distinct(name, {**digests, "pixel_lda": digests[own]})


def negative(values: Probabilities) -> None:
    values[:2, 3, 4] = (-0.25, 1.25)
    values[2, 3, 4] = 0


def too_much(values: Probabilities) -> None:
    values[:, 5, 6] = 0.5


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (negative, r"a probability is negative in 1 pixels, the first at row 3, column 4"),
        (too_much, r"do not sum to 1 in 1 pixels, the first at row 5, column 6 \(0.5, 0.5, 0.5\)"),
    ],
)
def test_what_is_no_probability_is_refused(
    store: Store, task: Path, tmp_path: Path, change: Callable[[Probabilities], None], found: str
) -> None:
    with pytest.raises(InputError, match=found):
        score_answers(answer(task, change), store, tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()
