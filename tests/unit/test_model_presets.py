"""Every preset of every shipped model has a training setup of its own name, as published."""

from __future__ import annotations

import importlib

import pytest
import torch

from rsbench.models import registry
from rsbench.models.api import Trainable
from rsbench.models.registry import create_model

CARDS = {name: c for name, c in registry.cards().items() if c.trainable}
# Learning rate and batch size of the authors' configuration files:
# OpenSTL, configs/{kth,kitticaltech}/PredRNN{,v2}.py and configs/kitticaltech/simvp/SimVP_gSTA.py;
# mcvd-pytorch, configs/{cityscapes,cityscapes_big,cityscapes_big_spade,kth64_big}.yml.
PUBLISHED = {
    ("predrnn", "kth"): (1e-3, 16),
    ("predrnn", "kth_v2"): (1e-3, 16),
    ("predrnn", "kitti"): (1e-2, 16),
    ("predrnn", "kitti_v2"): (1e-3, 16),
    ("simvp", "mmnist"): (1e-3, 16),
    ("simvp", "incepu"): (1e-3, 16),
    ("simvp", "kitti"): (5e-3, 16),
    ("mcvd", "cityscapes"): (1e-4, 32),
    ("mcvd", "cityscapes_big"): (1e-4, 64),
    ("mcvd", "cityscapes_big_spade"): (1e-4, 32),
    ("mcvd", "kth"): (2e-4, 64),
}


def module_of(name: str) -> object:
    return importlib.import_module(CARDS[name].build.partition(":")[0])


@pytest.mark.parametrize("name", [n for n in CARDS if n not in ("vae_roundtrip", "random_adapter")])
def test_the_training_setup_is_found_by_the_whole_name(name: str) -> None:
    stages = vars(module_of(name))["STAGES"]
    if {"stages"} & set().union(*(p.options for p in CARDS[name].presets.values())):
        # Presets of these models state the name of their setup as an option.
        assert {p.options["stages"] for p in CARDS[name].presets.values()} == set(stages)
    else:
        assert set(stages) == set(CARDS[name].presets)


@pytest.mark.parametrize(("name", "preset"), PUBLISHED)
def test_rates_and_batches_are_the_published_ones(name: str, preset: str) -> None:
    with torch.device("meta"):
        model = create_model(name, preset)
    assert isinstance(model, Trainable)
    (stage,) = model.stages()
    assert (stage.learning_rate, stage.batch_size) == PUBLISHED[name, preset]


@pytest.mark.parametrize(
    ("name", "preset"), [("rddm", "tiny"), ("mcvd", "tiny"), ("simvp", "fixed")]
)
def test_options_of_training_replace_the_presets(name: str, preset: str) -> None:
    with torch.device("meta"):
        model = create_model(name, preset, learning_rate=0.125, steps=3, batch_size=5)
    assert isinstance(model, Trainable)
    (stage,) = model.stages()
    assert (stage.learning_rate, stage.steps, stage.batch_size) == (0.125, 3, 5)
