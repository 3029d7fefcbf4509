from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import toys
import triplet_toys

from rsbench.evaluation.entries import ModelEntry
from rsbench.evaluation.pictures import Viewer
from rsbench.evaluation.report.pictures import strips
from rsbench.store.read import Store
from rsbench.tasks.config import EvaluationOptions
from rsbench.tasks.settings import cases, evaluation_config


def kept(folder: Path, store: Store, protocol: str) -> dict[str, object]:
    """Keep the truth of the first case as pictures, and return the index entry."""
    config = evaluation_config(store, protocol, EvaluationOptions(suite="mse@1"))
    viewer = Viewer(folder / "viewer", config.meta, config.bands, keep="viewer",
                    sensors=store.meta.sensors, regions=1)  # fmt: skip
    entry = ModelEntry("copy_c1", "default", "trivial", lambda case: iter(()))
    case = next(iter(cases(config)))
    for lead in range(case.truth.shape[1]):
        viewer.add(entry, case, lead + 1, case.truth[:, lead])
    viewer.close()
    text = json.loads((folder / "viewer" / "index.json").read_text())
    found: dict[str, object] = text["entries"][0]
    return found


def test_fusion_shows_the_coarse_images_and_both_references(tmp_path: Path) -> None:
    store = triplet_toys.write_store(tmp_path / "toy.zarr", regions=4, size=32)
    entry = kept(tmp_path, store, "fusion2")
    inputs = entry["inputs"]
    assert isinstance(inputs, list)
    fine = [item["date"] for item in inputs if item["sensor"] == "fine"]
    coarse = [item["date"] for item in inputs if item["sensor"] == "coarse"]
    assert len(fine) == 2
    assert set(coarse) >= {*fine, *entry["targets"]}  # type: ignore[misc]
    picture = np.load(tmp_path / "viewer" / inputs[0]["picture"])
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    (strip,) = strips([(tmp_path, {})], simulated=False, shown=["copy_c1"])
    assert [item[:2] for item in strip.inputs] == [(i["sensor"], i["date"]) for i in inputs]
    assert strip.weight > sum(len(link) for *_, link in strip.inputs) > 0


def test_a_series_is_shown_by_its_last_context_frame(tmp_path: Path) -> None:
    entry = kept(tmp_path, toys.write_store(tmp_path / "toy.zarr", regions=4), "year3")
    assert entry["inputs"] == []
    assert entry["context"]
