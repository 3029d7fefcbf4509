"""What runs and trainings keep: scores, checkpoints, training states, predictions."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import torch
import toys
import train_toys
from scores_fixtures import make_scores

from fuzz.damage import of_bytes, of_json
from fuzz.driver import Format, Subject
from rsbench.core.errors import InputError
from rsbench.core.grid import Window
from rsbench.evaluation.scores import Scores
from rsbench.models.api import Frames, Given, Prediction, SampleRef, Want
from rsbench.models.checkpoint import load_into
from rsbench.models.noise import Noise
from rsbench.models.prediction_cache import PredictionCache, PredictionKey
from rsbench.training.state import Position, StateFolder


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))


def _damage(data: bytes, draw: Random) -> bytes:
    return of_json(data, draw) if data[:1] == b"{" else of_bytes(data, draw)


def _scores(folder: Path) -> Subject:
    run = folder / "run"
    make_scores(metrics=("mse@1",), bands=("all",), horizon=2, regions=3).save(run)

    def read() -> object:
        scores = Scores.load(run)
        return scores.table(), scores.region_means(), scores.run.bands, scores.run.value_range

    return Subject(_files(run), read, _damage, sealed=True)


def _checkpoint(folder: Path) -> Subject:
    data = train_toys.store(folder / "data", size=32, years=4)
    with train_toys.toy_card():
        made = train_toys.run(train_toys.model(), data, budget="1steps").checkpoint

    def read() -> object:
        with train_toys.toy_card():
            model = train_toys.model()
            note = load_into(model, made, data, split="test")
        weights = {name: value.numpy() for name, value in model.module.state_dict().items()}
        return weights, note.weights_digest

    return Subject(_files(made), read, _damage, sealed=True)


def _state(folder: Path) -> Subject:
    state = StateFolder(folder / "state", "plan")
    draw = torch.Generator().manual_seed(0)
    tensors = {f"module/{name}": torch.randn(3, 4, generator=draw) for name in "ab"}
    best = {"metric": "mse@1", "value": 0.5, "step": 2}
    state.save(Position(step=3, best=best, loss=(0.25, 2)), tensors, tensors)

    def read() -> object:
        loaded, best = state.load(), state.best()
        assert loaded is not None
        plain = [{n: t.numpy() for n, t in part.items()} for part in (loaded[1], best or {})]
        return loaded[0], plain

    return Subject(_files(folder / "state"), read, _damage, sealed=True)


class _Constant:
    def predict(self, given: Given, want: Want) -> Prediction:
        shape = (1, want.members, want.times.shape[1], len(want.bands), *want.size)
        return Prediction(torch.rand(shape, generator=torch.Generator().manual_seed(0)))


def _predictions(folder: Path) -> Subject:
    grid, sample = toys.grid(size=16), SampleRef("toy-01", "a", Window(0, 0, 16, 16))
    days = torch.tensor([[18000]])
    values = torch.zeros(1, 1, 1, 4, 16, 16)
    valid = torch.ones(1, 1, 1, 1, 16, 16, dtype=torch.bool)
    frames = Frames(values, valid, days, toys.BANDS, "reflectance", (False,), (0.0, 1.0))
    given = Given({"s2": frames}, {"s2": (grid,)}, (sample,))
    want = Want("s2", toys.BANDS, days + 365, (grid,), (sample,), 1, Noise(0))
    key = PredictionKey("d", "year7", "test", "toy", "default", 0, "32-true", 1, 1, 1)
    kept = PredictionCache(folder / "kept", key, keep="all")
    for _ in kept.roll(_Constant(), train_toys.CARD, given, want):
        pass

    def read() -> object:
        found = kept.read(sample, want)
        if found is None:
            raise InputError("reading a prediction", "it is damaged", "It is predicted again")
        return np.array(found)

    return Subject(
        [p for p in _files(kept.folder) if p.suffix == ".npy"], read, of_bytes, sealed=True
    )


FORMATS = (
    Format("scores and run.json", _scores, 200),
    Format("checkpoint", _checkpoint, 60),
    Format("training state", _state, 400),
    Format("kept predictions", _predictions, 300),
)
