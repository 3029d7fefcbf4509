"""Synthetic stores: what they hold and state, what training takes of them, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import segment_toys as toys
import torch

from rsbench.catalog import labelled_protocol, load_protocol
from rsbench.core.errors import InputError, StoreError
from rsbench.evaluation.run import RunRequest, run_model
from rsbench.evaluation.synthesize import stored, synthesize
from rsbench.models.checkpoint import NOTE, Checkpoint, Footprint
from rsbench.models.checkpoint_files import write_json
from rsbench.models.noise import Noise
from rsbench.store.lineage import Lineage
from rsbench.store.read import Store, open_store
from rsbench.tasks.settings import evaluation_config
from rsbench.training.also import JoinedCrops, joined, require_lineage
from rsbench.training.data import TrainingBatch
from rsbench.training.options import Options

WORDS = {
    "long_name": "toy cover", "comment": "-", "licence": "-", "attribution": "-", "citation": "-",
    "rsbench:years": [2020],
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("real") / "store"
    return toys.write_store(root, regions=10, finer=False, kind="series", **WORDS)


def request(store: Store, model: str = "copy", **changes: object) -> RunRequest:
    whole = {"protocol": "generate", "data": store.path, "device": "cpu", **changes}
    return RunRequest(model=model, **whole)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def copies(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("copies") / "store"
    return open_store(synthesize(request(store), 2, out))


@pytest.fixture(scope="module")
def drawn(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("drawn") / "store"
    asked = request(store, "satsynth", budget="2steps", options={"sampling_steps": 2})
    return open_store(synthesize(asked, 1, out))


def test_copies_are_mirrored_with_their_labels_and_masks(store: Store, copies: Store) -> None:
    assert copies.regions[:2] == ("place-00-synthetic-1", "place-00-synthetic-2")
    assert set(copies.split("train")) == set(copies.regions)
    assert len(copies.regions) == 2 * len(store.split("train"))
    for number, axis in ((1, -1), (2, -2)):
        name = f"place-00-synthetic-{number}"
        for array in ("values", "valid", "labels"):
            real = store.read("place-00", toys.MR, array=array)
            if array == "labels":  # those of masked pixels are never read
                real = np.where(store.read("place-00", toys.MR, array="valid"), real, 0)
            assert np.array_equal(copies.read(name, toys.MR, array=array), np.flip(real, axis))
    assert "**Synthetic**: drawn by copy" in (copies.path / "README.md").read_text()


def test_a_store_states_its_generator(store: Store, drawn: Store) -> None:
    lineage = Lineage.of(drawn)
    assert lineage is not None
    assert (lineage.model, lineage.preset, lineage.per_image) == ("satsynth", "tiny", 1)
    assert lineage.source == store.digest
    assert lineage.weights
    assert lineage.labels is None
    assert 0 < lineage.illegal < 1
    codes = np.unique(drawn.read("place-00-synthetic-1", toys.MR, array="labels"))
    assert set(codes.tolist()) <= set(toys.CODES)
    assert Lineage.of(store) is None


def test_a_lineage_that_was_altered_is_refused(copies: Store, tmp_path: Path) -> None:
    import shutil

    root = tmp_path / "altered"
    shutil.copytree(copies.path, root)
    index = json.loads((root / "index.json").read_text())
    index["recipe"]["synthetic"]["labels"] = {"fraction": 0.1, "seed": 0}
    (root / "index.json").write_text(json.dumps(index))
    with pytest.raises(StoreError, match="was altered"):
        Lineage.of(open_store(root))


def test_synthetic_images_are_no_test_data(copies: Store) -> None:
    for protocol in ("segment", "generate"):
        with pytest.raises(InputError, match="its images are synthetic: copy drew them"):
            evaluation_config(copies, protocol)


def test_what_training_may_use_beside_a_store(store: Store, copies: Store, tmp_path: Path) -> None:
    rules = load_protocol("segment")
    assert require_lineage(copies, store, rules, toys.MR).model == "copy"
    with pytest.raises(InputError, match="is no synthetic store"):
        require_lineage(store, store, rules, toys.MR)
    other = toys.write_store(tmp_path / "other", regions=5, finer=False, kind="series", **WORDS)
    with pytest.raises(InputError, match="may be validation or test regions"):
        require_lineage(copies, other, rules, toys.MR)


def test_a_generator_that_saw_more_labels_than_the_probe_is_refused(
    store: Store, copies: Store, tmp_path: Path
) -> None:
    few = labelled_protocol("segment", 0.75, 0)
    with pytest.raises(InputError, match="saw labels of regions that are hidden here: place") as e:
        require_lineage(copies, store, few, toys.MR)
    assert "--labelled-fraction 0.75 --label-seed 0" in e.value.remedy
    most = request(store, labelled_fraction=0.75, label_seed=0)
    own = open_store(synthesize(most, 1, tmp_path / "half"))
    assert len(own.regions) == 3
    require_lineage(own, store, few, toys.MR)
    with pytest.raises(InputError, match="saw labels of regions"):
        require_lineage(own, store, labelled_protocol("segment", 0.75, 2), toys.MR)


def test_a_generator_that_saw_test_regions_is_refused(
    store: Store, drawn: Store, tmp_path: Path
) -> None:
    from rsbench.core.paths import cache_dir

    (note,) = cache_dir("checkpoints").glob(f"satsynth*/*/{NOTE}")
    kept = Checkpoint.load(note.parent)
    place = store.region("place-02")
    assert place.record.split == "test"
    leaked = Footprint.of("place-02", place.grids[toys.MR])
    write_json(note, replace(kept, regions=(*kept.regions, leaked)).to_json())
    try:
        asked = request(store, "satsynth", budget="2steps", options={"sampling_steps": 2})
        with pytest.raises(InputError, match="its weights were trained on place-02"):
            synthesize(asked, 1, tmp_path / "out")
    finally:
        write_json(note, kept.to_json())
    assert not (tmp_path / "out").exists()


def test_a_model_without_labels_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"it draws no labels. Take satsynth, or copy"):
        synthesize(request(store, "class_mean"), 1, tmp_path / "out")


class Fake:
    """Crops that are numbers; the batch holds them as images."""

    def __init__(self, base: int, regions: int) -> None:
        self.base = base
        self.regions = tuple(f"{base}-{n}" for n in range(regions))
        self.seed = 5

    def draw(self, stage: int, step: int, count: int) -> list[int]:
        return [self.base + n for n in range(count)]

    def solved(self, stage: int, noise: Noise, most: int) -> Iterator[int]:
        yield self.base


def test_crops_of_both_stores_are_as_frequent_as_their_regions() -> None:
    both = JoinedCrops(Fake(0, 10), Fake(1000, 30))  # type: ignore[arg-type]
    steps = [both.draw(0, step, 8) for step in range(200)]
    share = np.mean([one.synthetic for step in steps for one in step])
    assert share == pytest.approx(0.75, abs=0.03)
    assert both.draw(0, 3, 8) == steps[3]
    assert both.regions == tuple(f"0-{n}" for n in range(10))
    alone = JoinedCrops(Fake(0, 10), Fake(1000, 30), 1.0)  # type: ignore[arg-type]
    assert all(one.synthetic for one in alone.draw(0, 0, 8))
    assert list(alone.solved(0, Noise(0), 8)) == [1000]
    assert list(both.solved(0, Noise(0), 8)) == [0, 1000]


def test_a_share_needs_a_store() -> None:
    with pytest.raises(InputError, match="no such store is given"):
        Options(also_share=0.5)
    with pytest.raises(InputError, match="no share above 0 up to 1"):
        Options(also="abc", also_share=1.5)
    assert Options().chosen() == {}


def test_batches_of_both_stores_are_joined(store: Store) -> None:
    from rsbench.tasks.base import Reading
    from rsbench.tasks.registry import task
    from rsbench.tasks.split import Question, split

    config = evaluation_config(store, "generate")
    own = task("generate")
    reader = own.reader(Reading(store, config.protocol, config.sensor, config.bands))
    (samples,) = own.groups(config, "test")
    parts = [
        TrainingBatch(*split(reader.assemble(samples[i : i + 1]), Question(Noise(0))))
        for i in range(3)
    ]
    whole = joined(parts)
    assert len(whole.want.samples) == len(whole.given.texts) == len(whole.want.times) == 3
    assert torch.equal(whole.truth.values[2:], parts[2].truth.values)
    assert whole.given.texts[1:2] == parts[1].given.texts


def test_numbers_of_valid_pixels_are_never_nodata() -> None:
    meta = toys.meta(toys.MR, "reflectance", "uint16", 10.0)
    values = np.array([0.0, 0.00004, 0.5, 9.0, np.nan]).reshape(1, 1, 1, 5).repeat(4, 1)
    assert stored(values, meta)[0, 0, 0].tolist() == [1, 1, 5000, 65535, 0]


def test_a_run_with_synthetic_data_says_so(store: Store, copies: Store, tmp_path: Path) -> None:
    whole = request(
        store, "cross_scale", preset="tiny_random", protocol="segment", suite="miou@1",
        keep="none",
    )  # fmt: skip
    plain = run_model(replace(whole, out=tmp_path / "plain"))
    both = run_model(replace(whole, also=copies.path, out=tmp_path / "both"))
    assert both.scores.run.inputs["cross_scale"].endswith(
        f"trained with synthetic {copies.digest[:12]}"
    )
    assert "synthetic" not in plain.scores.run.inputs["cross_scale"]
    weights = [one.scores.run.weights["cross_scale"] for one in (plain, both)]
    assert weights[0] != weights[1]
    again = run_model(replace(whole, out=tmp_path / "again"))
    assert again.scores.run.weights["cross_scale"] == weights[0]
