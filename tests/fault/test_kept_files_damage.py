"""Kept predictions, training states, checkpoints and answers: damage is found, never scored."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import train_toys as tt
from support.damage import spoiled

from rsbench.core.errors import InputError
from rsbench.models.api import Card, Given, Prediction, PresetInfo, Want
from rsbench.models.checkpoint import NOTE, Checkpoint, load_into
from rsbench.models.contract_data import SENSOR, Shape, make_samples
from rsbench.models.prediction_cache import MADE, PredictionCache, PredictionKey
from rsbench.store.export.release import Release
from rsbench.store.read import Store
from rsbench.training.state import STATE, Position, StateFolder
from rsbench.training.train import Interrupted

CARD = Card("m", "forecast", "m", {"default": PresetInfo(0, 0)}, "m:b", "-", "-", rollout="step")
KEY = PredictionKey("d" * 64, "year7", "test", "m", "default", 0, "32-true", 1, 2, 2)


class Last:
    def predict(self, given: Given, want: Want) -> Prediction:
        return Prediction(given.frames[SENSOR].values[:, :, -1:].expand(-1, 1, -1, -1, -1, -1))


# Predictions -----------------------------------------------------------------------------


def test_no_damage_of_a_kept_prediction_changes_a_number(tmp_path: Path) -> None:
    data = make_samples(Shape(samples=2, context=2, leads=2, bands=2, side=8), members=1)

    def answer() -> torch.Tensor:
        cache = PredictionCache(tmp_path, KEY, keep="all")
        rolled = cache.roll(Last(), CARD, data.given, data.want)
        return torch.cat([p.values for _, p in rolled], dim=2)

    wanted = answer()
    cache, draw = PredictionCache(tmp_path, KEY, keep="all"), random.Random(0)
    first, second = (cache.path(sample, data.want) for sample in data.want.samples)
    content = first.read_bytes()
    for _ in range(100):
        first.write_bytes(spoiled(content, draw))
        assert cache.read(data.want.samples[0], data.want) is None
        assert torch.equal(answer(), wanted)
        assert first.read_bytes() == content
    first.write_bytes(second.read_bytes())  # whole, but of another sample
    assert torch.equal(answer(), wanted)


@pytest.mark.parametrize("text", ["", "{", '{"device": "cpu"}', '{"device": "cuda", "sha256": 1}'])
def test_a_damaged_note_of_the_device_is_named(text: str, tmp_path: Path) -> None:
    cache = PredictionCache(tmp_path, KEY, keep="all")
    cache.folder.mkdir()
    (cache.folder / MADE).write_text(text)
    with pytest.raises(InputError, match=rf"Remove {cache.folder}; its predictions are made again"):
        _ = cache.made_on


# States ----------------------------------------------------------------------------------


def state(folder: Path) -> StateFolder:
    """A state with weights and best weights, after two saves."""
    states = StateFolder(folder, "plan")
    best = {"metric": "mse@1", "value": 0.5, "step": 1}
    tensors = {"model/a": torch.arange(20.0), "optimizer/a/step": torch.tensor(3)}
    states.save(Position(step=1, best=best), tensors, {"a": torch.arange(20.0)})
    states.save(Position(step=2, best=best, loss=(0.25, 3)), tensors, None)
    return states


def held(states: StateFolder) -> str:
    """All that a state holds, or the sentence that refuses it."""
    try:
        found, best = states.load(), states.best()
    except InputError as error:
        return str(error)
    assert found is not None
    assert best is not None
    return repr((found[0], sorted(found[1].items()), best))


def test_no_damage_of_a_state_goes_on(tmp_path: Path) -> None:
    states = state(tmp_path)
    whole, draw = held(states), random.Random(0)
    for path in sorted(tmp_path.iterdir()):
        content = path.read_bytes()
        for _ in range(60):
            path.write_bytes(spoiled(content, draw))
            said = held(states)
            assert said == whole or said.endswith("Remove that folder and train again, or give "
                                                  "another --checkpoint")  # fmt: skip
            assert said != whole or path.name == STATE  # of JSON, white space may differ
        path.write_bytes(content)


def test_damage_between_two_saves_is_not_given_a_new_digest(tmp_path: Path) -> None:
    states = state(tmp_path)
    (kept,) = tmp_path.glob("best-*")
    kept.write_bytes(kept.read_bytes()[:-1] + b"\x01")
    best = {"metric": "mse@1", "value": 0.5, "step": 1}
    states.save(Position(step=3, best=best), {"model/a": torch.arange(20.0)}, None)
    with pytest.raises(InputError, match="it is damaged"):
        states.best()


def test_a_state_of_an_earlier_version_is_refused_by_name(tmp_path: Path) -> None:
    value = {"schema": 1, "plan": "plan", "position": {}, "tensors": "x", "best": None}
    (tmp_path / STATE).write_text(json.dumps(value))
    with pytest.raises(InputError, match=r"earlier version.*Remove that folder and train again"):
        StateFolder(tmp_path, "plan").load()


# Checkpoints -----------------------------------------------------------------------------


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Store, Path]]:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    with tt.toy_card():
        store = tt.store(tmp_path / "store")
        yield store, tt.run(tt.model(), store, budget="2steps").checkpoint


def test_no_damage_of_a_checkpoint_is_loaded(trained: tuple[Store, Path]) -> None:
    store, folder = trained
    wanted, draw, refused = loaded(store, folder), random.Random(0), 0
    assert isinstance(wanted, dict)
    for name in ("weights.safetensors", NOTE):
        content = (folder / name).read_bytes()
        for _ in range(60):
            (folder / name).write_bytes(spoiled(content, draw))
            found = loaded(store, folder)
            refused += isinstance(found, str)
            if isinstance(found, dict):
                assert all(torch.equal(found[n], t) for n, t in wanted.items())
        (folder / name).write_bytes(content)
    assert refused > 110


def test_a_changed_description_is_refused_and_an_old_one_read(trained: tuple[Store, Path]) -> None:
    store, folder = trained
    value = json.loads((folder / NOTE).read_text())
    for change in ({"regions": []}, {"steps": 7}, {"sha256": None}, {"selection": {}}):
        (folder / NOTE).write_text(json.dumps({**value, **change}))
        assert "it is damaged" in loaded(store, folder)
    old = {**value, "schema": 1}
    del old["sha256"]
    (folder / NOTE).write_text(json.dumps(old))  # as earlier versions wrote it
    assert Checkpoint.load(folder).steps == 2
    (folder / NOTE).write_text(json.dumps({**old, "stages": 3}))
    assert "it is damaged (stages: " in loaded(store, folder)


def loaded(store: Store, folder: Path) -> dict[str, torch.Tensor] | str:
    """The weights of a checkpoint, or the sentence that refuses it."""
    model = tt.model()
    try:
        load_into(model, folder, store, split=None)
    except InputError as error:
        said = str(error)
        assert "\n" not in said
        return said
    return {name: tensor.clone() for name, tensor in model.module.state_dict().items()}


def test_a_training_does_not_go_on_from_a_damaged_state(trained: tuple[Store, Path]) -> None:
    store, _ = trained
    folder = store.path.parent / "b"
    stop = tt.after(9, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted):
        tt.run(tt.model(), store, out_dir=folder, progress=stop)
    value = json.loads((folder / STATE).read_text())
    value["position"]["loss"][0] += 0.5
    (folder / STATE).write_text(json.dumps(value))
    with pytest.raises(InputError, match=r"state\.json: it is damaged. Remove that folder"):
        tt.run(tt.model(), store, out_dir=folder)


# Other notes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"files": 3}, {"files": [{}]}, {"name": None}, {"digest": []}, {"version": "x"},
        {"files": [{"name": "a", "role": "part", "bytes": "many", "sha256": "0" * 64}]},
        {"files": [{"name": "a", "role": "part", "bytes": float("inf"), "sha256": "0" * 64}]},
    ],
)  # fmt: skip
def test_a_release_of_wrong_types_is_one_sentence(change: dict[str, object]) -> None:
    file = {"name": "a.tar", "role": "part", "bytes": 1, "sha256": "0" * 64}
    value = {"schema": 1, "name": "a", "version": "0" * 12, "digest": "0" * 64, "files": [file]}
    assert Release.from_json(value, "here").bytes == 1
    for wrong in ({**value, **change}, [], 3, None, {**value, "schema": None}):
        with pytest.raises(InputError, match="the release here: ") as caught:
            Release.from_json(wrong, "here")
        assert "\n" not in str(caught.value)
