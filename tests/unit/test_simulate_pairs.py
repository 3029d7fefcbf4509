"""Simulated pairs: what the ground promises, and the digest and scores of a store of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rsbench.build.engine.builder import build
from rsbench.build.kinds.pairs.recipe import pairs_recipe
from rsbench.catalog import load_recipe
from rsbench.catalog.loaders import load_labels
from rsbench.simulate.pair_scenes import (
    BANDS,
    DISPLAY,
    NOISE,
    PHOTO,
    RATIO,
    RIM,
    Cover,
    PairScene,
    PairSpec,
    block_mean,
    fine_grid,
    pair_scene,
)
from rsbench.store.export.card import write_card
from rsbench.store.read import Store, open_store

SPLITS = {"train": 24, "val": 4, "test": 8}
WHOLE = "9da4fd7a84839a75ffd7fab146395ddbbe0507a1831dab81d0c38ef27f7db1a6"
SMALL = "74cfa75b4f926a59d8694dc2c9bcf37638facef78786527c7a4d68057115f86e"


def spec() -> PairSpec:
    chosen = pairs_recipe(load_recipe("demo-pairs")).simulated
    assert chosen is not None
    return chosen


@pytest.fixture(scope="module", params=["sim-01", "sim-30"])
def made(request: pytest.FixtureRequest) -> PairScene:
    return pair_scene(spec(), request.param)


def at(scene: PairScene, cover: Cover, *, fine: bool) -> np.ndarray:
    mask = scene.labels == cover
    return mask.repeat(RATIO, 0).repeat(RATIO, 1) if fine else mask


def photo(scene: PairScene) -> np.ndarray:
    """The photograph in the order of BANDS, as reflectance."""
    return scene.photo()[[PHOTO.index(name) for name in BANDS]] / DISPLAY


def test_the_satellite_image_is_the_area_mean_of_the_photograph_plus_the_stated_noise(
    made: PairScene,
) -> None:
    gap = block_mean(photo(made)) - made.frame().values / 1e4
    assert abs(gap.mean()) < 1e-3
    assert gap.std() == pytest.approx(NOISE, rel=0.03)
    assert photo(made).min() > 0
    assert photo(made).max() < 255 / DISPLAY  # nothing is clipped


def test_the_hidden_class_sums_to_zero_in_every_satellite_pixel(made: PairScene) -> None:
    assert not block_mean(made.pattern).any()
    hidden = at(made, Cover.HIDDEN, fine=True)
    assert (made.pattern[:, hidden] != 0).all()
    assert not made.pattern[:, ~hidden].any()


def test_every_class_serves_its_purpose(made: PairScene) -> None:
    low, high = block_mean(made.ground), made.ground
    nir = list(BANDS).index("nir")

    def rough(cover: Cover, values: np.ndarray, *, fine: bool) -> float:
        shown = values[nir][at(made, cover, fine=fine)]
        return float(shown.std() / shown.mean())

    for cover in (Cover.FAINT, Cover.HIDDEN):
        mean = low[nir][at(made, cover, fine=False)].mean()
        assert mean == pytest.approx(low[nir][at(made, Cover.GRASS, fine=False)].mean(), rel=0.08)
        assert rough(cover, high, fine=True) > 1.8 * rough(Cover.GRASS, high, fine=True)
    shades = [rough(cover, low, fine=False) for cover in (Cover.GRASS, Cover.FAINT)]
    assert shades[1] - shades[0] < 0.06


def test_the_codes_are_those_of_the_label_set(made: PairScene) -> None:
    assert sorted(load_labels("sim-cover").classes) == sorted(Cover)
    assert set(np.unique(made.labels)) <= set(Cover)


def test_grids_nest_and_reach_beyond_the_region(made: PairScene) -> None:
    fine, coarse = fine_grid(made.region), made.region.grid()
    assert made.ground.shape == (len(BANDS), fine.height, fine.width)
    assert made.labels.shape == (coarse.height, coarse.width)
    assert coarse.height == spec().size + 2 * RIM
    assert fine.transform[0] * RATIO == coarse.transform[0]


def test_one_day_and_one_scene_of_each_sensor() -> None:
    values = spec().model_dump()
    with pytest.raises(ValueError, match="give one year twice"):
        PairSpec.model_validate({**values, "years": (2020, 2021)})
    with pytest.raises(ValueError, match="scenes_per_year"):
        PairSpec.model_validate({**values, "scenes_per_year": 6})


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two training regions and one test region."""
    root = tmp_path_factory.mktemp("pairs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSBENCH_CACHE", str(root / "cache"))
        few = spec().model_copy(update={"regions": 3, "train": 1, "val": 1, "test": 1, "size": 64})
        chosen = load_recipe("demo-pairs").model_copy(update={"simulated": few})
        return build(chosen, root / "pairs.zarr").path


def test_a_store_holds_the_simulated_pixels_and_their_labels(small: Path) -> None:
    store = open_store(small)
    few = PairSpec.model_validate(dict(store.meta.simulation or {}))
    assert store.simulated
    assert (store.meta.default_preset, store.meta.default_protocol) == ("tiny", "segment")
    for name in store.regions:
        scene, rim = pair_scene(few, name), slice(RIM, -RIM)
        edge = slice(RIM * RATIO, -RIM * RATIO)
        np.testing.assert_array_equal(store.read(name, "naip")[0], scene.photo()[:, edge, edge])
        np.testing.assert_array_equal(store.read(name, "s2")[0], scene.frame().values[:, rim, rim])
        labels = store.read(name, "s2", array="labels")[0]
        np.testing.assert_array_equal(labels, scene.labels[rim, rim])
        assert store.read(name, "s2", array="valid").all()
    assert store.digest == SMALL


def test_the_data_card_says_simulated_and_names_the_labels(small: Path) -> None:
    text = write_card(small).read_text()
    assert "**Simulated**" in text
    assert "sim-cover" in text
    assert "hidden checkerboard" in text


@pytest.mark.slow
def test_the_whole_store_and_how_its_classes_divide_the_reference_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows see the faint class, pixels do not; nothing tells the hidden class from grass."""
    torch = pytest.importorskip("torch")
    from rsbench import metrics
    from rsbench_baselines.segment_reference.model import pixel_lda, window_lda

    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    store = open_store(build("demo-pairs", tmp_path / "pairs.zarr").path)
    assert store.digest == WHOLE
    assert Counter(entry["split"] for entry in store.listed.values()) == SPLITS
    data: dict[str, list[Any]] = {"train": [], "val": [], "test": []}
    for name, entry in store.listed.items():
        data[entry["split"]].append(example(store, name))
    miou, hidden = {}, {}
    for model in (pixel_lda, window_lda):
        fitted = model("default", classes=len(Cover))
        fitted.fit(data["train"])
        told = torch.cat([fitted.predict(given, want).values for given, want, _ in data["test"]])
        truth = torch.cat([frames.values for _, _, frames in data["test"]])[:, 0, 0]
        share = told[:, 0, 0]
        miou[model] = metrics.compute_pooled(["miou@1"], share, truth)["miou@1"].value
        hidden[model] = balanced(share, truth, Cover.GRASS, Cover.HIDDEN)
    assert miou[window_lda] >= 0.54
    assert miou[pixel_lda] <= 0.50
    assert 0.45 <= hidden[window_lda] <= 0.55


def example(store: Store, name: str) -> tuple[Any, Any, Any]:
    """One region as a sample of segmentation: its satellite image, and its classes."""
    import torch

    from rsbench import Frames, Given

    values = torch.from_numpy(store.read_physical(name, "s2")[0][0])
    codes = torch.from_numpy(store.read(name, "s2", array="labels")[0].astype(np.int64)) - 1
    share = torch.nn.functional.one_hot(codes, len(Cover)).permute(2, 0, 1)
    times, everywhere = torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, 1, 1, 1, *codes.shape)

    def frames(shown: Any) -> Frames:
        stacked, unit = shown.float()[None, None, None], "reflectance"
        return Frames(stacked, everywhere.bool(), times, (), unit, (False,), (0.0, 1.0))

    want = SimpleNamespace(times=times, members=1)
    return Given({"s2": frames(values)}, {}, ()), want, frames(share)


def balanced(share: Any, truth: Any, one: Cover, other: Cover) -> float:
    """Return the balanced accuracy of two classes on their pixels, by the more probable of both."""
    says = share[:, other - 1] > share[:, one - 1]
    rates = [says[truth[:, k - 1] > 0].float().mean() for k in (one, other)]
    return float((1 - rates[0] + rates[1]) / 2)
