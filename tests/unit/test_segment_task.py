"""Segmentation: stores with labels, cases, the table, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import segment_toys as toys
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

import rsbench as rb
from rsbench.catalog import load_protocol
from rsbench.core.errors import InputError
from rsbench.evaluation import strata
from rsbench.evaluation.report import write_report
from rsbench.evaluation.report.board import boards
from rsbench.evaluation.scores import Scores
from rsbench.metrics import compute_pooled
from rsbench.models.registry import create_model
from rsbench.store.read import Store
from rsbench.tasks.settings import cases, evaluation_config

HARD = {1: (600, 500, 300, 2200), 2: (500, 600, 400, 2500), 5: (600, 700, 500, 2300)}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toys, "COLOURS", HARD)
        return toys.write_store(tmp_path_factory.mktemp("segment") / "store")


@pytest.fixture(scope="module")
def scores(store: Store) -> Scores:
    return rb.evaluate(create_model("window_lda", classes=3), store, "segment")


def test_a_case_has_one_image_and_one_hot_labels(store: Store) -> None:
    config = evaluation_config(store, "segment")
    case = next(iter(cases(config)))
    assert list(case.given.frames) == [toys.MR]  # the photograph is not given
    assert case.given.frames[toys.MR].bands == toys.BANDS
    assert config.bands == case.want.bands == ("water", "trees", "crops")
    assert case.truth.shape == (8, 1, 3, 32, 32)
    seen = case.valid[:, 0, 0]
    assert bool((case.truth[:, 0].sum(1) == seen).all())
    assert not seen[:, :2].any()  # without a label
    assert not seen[:, -1].any()  # the image is masked
    assert seen[:, 2:-1].all()


def test_the_table_is_pooled_over_the_split(store: Store, scores: Scores) -> None:
    config = evaluation_config(store, "segment")
    model = create_model("window_lda", classes=3)
    model.fit(_pairs(config))
    answers, truths, masks = [], [], []
    for case in cases(config):
        answers.append(model.predict(case.given, case.want).values[:, 0, 0])
        truths.append(case.truth[:, 0])
        masks.append(case.valid[:, 0])
    parts = [torch.cat(items) for items in (answers, truths, masks)]
    found = compute_pooled(["miou@1", "oa@1", "iou@1"], *parts)
    table = scores.table().set_index(["model", "metric", "band"])
    for metric in ("miou@1", "oa@1"):
        row = table.loc[("window_lda", metric, "all")]
        assert row["value"] == pytest.approx(found[metric].value, abs=1e-12)
        assert row["n_regions"] == row["n_samples"] == 8
    assert found["iou@1"].per_class is not None
    trees = table.loc[("window_lda", "iou@1", "trees"), "value"]
    assert trees == pytest.approx(found["iou@1"].per_class[1], abs=1e-12)
    order = [float(table.loc[(m, "miou@1", "all"), "value"])
             for m in ("window_lda", "pixel_lda", "majority")]  # fmt: skip
    assert order == sorted(order, reverse=True)


def _pairs(config: object) -> Iterator[object]:
    from rsbench.evaluation.fit import training_pairs

    return training_pairs(config)  # type: ignore[arg-type]


def test_the_interval_is_a_jackknife_over_regions(scores: Scores) -> None:
    own = scores.counts
    own = own[(own["model"] == "pixel_lda") & own["statistic"].str.endswith("confusion")]
    tables = {}
    for region, part in own.groupby("region"):
        table = np.zeros(9)
        np.add.at(table, part["place"].to_numpy(int), part["count"].to_numpy(float))
        tables[region] = table.reshape(3, 3)

    def miou(names: list[str]) -> float:
        whole = sum(tables[name] for name in names)
        inside = np.diag(whole)
        return float((inside / (whole.sum(0) + whole.sum(1) - inside)).mean())

    names = sorted(tables)
    value, n = miou(names), len(names)
    leaves = [miou([k for k in names if k != gone]) for gone in names]
    error = math.sqrt((n - 1) / n * sum((x - np.mean(leaves)) ** 2 for x in leaves))
    table = scores.table().set_index(["model", "metric", "band"])
    row = table.loc[("pixel_lda", "miou@1", "all")]
    assert row["value"] == pytest.approx(value, abs=1e-12)
    assert 0 <= row["lo"] < value < row["hi"] <= 1
    means = scores.region_means()
    own = means[(means["model"] == "pixel_lda") & (means["metric"] == "miou@1")]
    pseudo = strata.headline(own.rename(columns={"stratum": "stratum"}))["value"]
    assert pseudo.mean() == pytest.approx(value, abs=1e-12)
    assert pseudo.std(ddof=1) / math.sqrt(n) == pytest.approx(error, rel=1e-9)


def test_counts_are_saved_read_and_merged(scores: Scores, tmp_path: Path) -> None:
    scores.save(tmp_path / "run")
    again = Scores.load(tmp_path / "run")
    assert again.table().equals(scores.table())
    (board,) = boards([tmp_path / "run", tmp_path / "run"])
    assert len(board.scores.counts) == len(scores.counts)
    write_report([tmp_path / "run"], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for part in ("Confusion", "iou@1 per class", 'data-metric="miou@1"', "trees"):
        assert part in page
    assert "Spectrum" not in page  # pictures of classes have none


def test_no_stratum_is_made_of_the_truth(scores: Scores) -> None:
    assert not scores.table()["stratum"].str.contains("land cover").any()
    assert "the labels of the store are the truth" in str(scores.run.extra["strata"]["absent"])


def test_scikit_learn_has_the_same_discriminant(store: Store) -> None:
    config = evaluation_config(store, "segment")
    model = create_model("pixel_lda", classes=3)
    model.fit(_pairs(config))
    xs, ys = [], []
    for case in cases(config, split="train"):
        seen = case.valid[:, 0, 0]
        xs.append(case.given.frames[toys.MR].values[:, 0, 0].permute(0, 2, 3, 1)[seen])
        ys.append(case.truth[:, 0].argmax(1)[seen])
    other = LinearDiscriminantAnalysis(solver="lsqr").fit(torch.cat(xs), torch.cat(ys))
    case = next(iter(cases(config)))
    values = model.predict(case.given, case.want).values[0, 0, 0, :, 5, 5:20].T
    image = case.given.frames[toys.MR].values[0, 0, 0, :, 5, 5:20].T
    assert values.numpy() == pytest.approx(other.predict_proba(image.numpy()), abs=1e-4)


def test_classes_may_be_ignored_and_merged(tmp_path: Path) -> None:
    changes = {"rsbench:ignore": [5], "rsbench:merge": {"wet or wooded": [1]}}
    found = toys.write_store(tmp_path / "store", regions=5, **changes)
    config = evaluation_config(found, "segment")
    assert config.bands == ("wet or wooded", "trees")
    case = next(iter(cases(config)))
    assert 0 < case.valid.float().mean() < 0.8  # pixels of crops are not scored


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rsbench:classes": {"1": "water", "2": "trees"}}, "codes 5"),
        ({"rsbench:ignore": [1, 2]}, "have the classes crops"),
    ],
)
def test_labels_that_cannot_be_scored(
    tmp_path: Path, changes: dict[str, object], named: str
) -> None:
    found = toys.write_store(tmp_path / "store", regions=5, **changes)
    with pytest.raises(InputError, match=named):
        next(iter(cases(evaluation_config(found, "segment"))))


def test_regions_with_other_classes_are_refused(tmp_path: Path) -> None:
    toys.write_store(tmp_path / "a", regions=5)
    found = toys.write_store(tmp_path / "store", regions=5, **{"rsbench:ignore": [1]})
    source = tmp_path / "a" / "place-01" / toys.MR / "labels" / "zarr.json"
    (found.path / "place-01" / toys.MR / "labels" / "zarr.json").write_bytes(source.read_bytes())
    with pytest.raises(InputError, match="place-00 and place-01 have different classes"):
        evaluation_config(found, "segment")


def test_a_store_without_labels_and_a_protocol_with_leads(store: Store, tmp_path: Path) -> None:
    import toys as plain

    bare = plain.write_store(tmp_path / "bare")
    with pytest.raises(InputError, match="the store has no labels"):
        evaluation_config(bare, "segment")
    rules = load_protocol("segment").model_copy(update={"horizon": 3})
    with pytest.raises(InputError, match="its horizon is not of this task"):
        evaluation_config(store, rules)
