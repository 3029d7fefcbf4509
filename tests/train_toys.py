"""A small trainable model with everything that makes resuming hard: dropout, norms, randomness."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import toys
from support.kept_stores import kept
from torch import Tensor, nn

from rsbench.catalog import Protocol, load_protocol
from rsbench.models.api import Card, Frames, Given, Prediction, PresetInfo, Stage, Want
from rsbench.models.registry import extra
from rsbench.store.read import Store
from rsbench.training.train import TrainRequest, TrainResult, fresh_model, train

SIDE = 32
STAGE = Stage("fit", learning_rate=1e-2, steps=40, batch_size=4, weight_decay=1e-2)


class Network(nn.Module):
    """Two convolutions, a norm with running statistics, dropout, and an unused integer buffer."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(bands, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2)
        )
        self.head = nn.Conv2d(8, bands, 3, padding=1)
        self.register_buffer("mark", torch.tensor(7))

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.as_tensor(self.head(self.body(x)))


class ToyModel:
    """Predicts one lead from the last frame; the loss draws from the global generators."""

    def __init__(self, bands: int, stages: Sequence[Stage], fault: str = "") -> None:
        self.network = Network(bands)
        self._stages = stages
        self.fault = fault
        self.calls = 0
        self.seen: list[tuple[int, tuple[str, ...]]] = []

    @property
    def module(self) -> nn.Module:
        return self.network

    def stages(self) -> Sequence[Stage]:
        return self._stages

    def predict(self, given: Given, want: Want) -> Prediction:
        self.network.eval()
        frames = given.frames[want.sensor]
        return Prediction(self.network(frames.values[:, 0, -1])[:, None, None])

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        frames = given.frames[want.sensor]
        self.calls += 1
        self.seen.append((len(frames.predicted), tuple(s.region for s in want.samples)))
        x = frames.values[:, 0, -1]
        noise = want.noise.normal("loss", want, channels=x.shape[1])[:, 0]
        x = x + 0.01 * torch.randn(()) * torch.rand_like(x) + 1e-3 * noise
        error = (self.network(x) - truth.values[:, 0, 0])[truth.valid[:, 0, 0].expand_as(x)]
        total = error.square().mean()
        if self.fault == "nan" and self.calls == 5:
            total = total * float("nan")
        if self.fault == "memory" and len(want.samples) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if self.fault == "bug":
            raise RuntimeError("a bug of the model")
        return {"total": total} if self.fault != "unnamed" else {"mse": total}


def build(
    preset: str, *, bands: int = 4, stages: Sequence[Stage] = (STAGE,), fault: str = ""
) -> ToyModel:
    if preset == "two":
        stages = (
            Stage("pretrain", 1e-2, steps=10, batch_size=4, modules=("body",)),
            Stage("fit", 1e-2, steps=30, batch_size=4, modules=("head",)),
        )
    return ToyModel(bands, stages, fault)


_COUNT = (4 * 8 * 9 + 8) + 16 + (8 * 4 * 9 + 4)
_PRESET = PresetInfo(_COUNT, _COUNT)
CARD = Card(
    name="toy",
    task="forecast",
    title="toy",
    presets={"default": _PRESET, "two": _PRESET},
    build="train_toys:build",
    citation="none",
    licence="CC0-1.0",
    rollout="step",
    max_context=3,
    trainable=True,
)


@contextmanager
def toy_card() -> Iterator[Card]:
    """Put the toy among the installed models for a while."""
    with extra(CARD) as card:
        yield card


def protocol(window: int = SIDE, **changes: Any) -> Protocol:
    """Year7 on small windows."""
    update = {"window": window, "stride": window, **changes}
    return load_protocol("year7").model_copy(update=update)


_kept_store = kept(toys.write_store)


def store(path: Path, **options: Any) -> Store:
    """Three regions to train on, one to validate on, two to test on."""
    return _kept_store(path, **{"size": 2 * SIDE, "floor": False, **options})


def model(preset: str = "default", *, seed: int = 0, **options: Any) -> ToyModel:
    made = fresh_model("toy", preset, seed=seed, **options)
    assert isinstance(made, ToyModel)
    return made


def run(
    made: ToyModel, data: Store, *, preset: str = "default", progress: Any = None, **options: Any
) -> TrainResult:
    """Train a toy with small defaults."""
    settings: dict[str, Any] = {
        "protocol": protocol(), "sensor": "s2", "bands": toys.BANDS, "context": 1,
        "seed": 0, "device": "cpu", "budget": "20steps",
    }  # fmt: skip
    request = TrainRequest(preset=preset, **{**settings, **options})
    return train(made, CARD, data, request, progress=progress)


def after(step: int, action: Callable[[], None]) -> Callable[[str, int, int], None]:
    """Return a progress callback that acts once when training reaches a step."""
    done: list[int] = []

    def advance(label: str, number: int, total: int) -> None:
        if label.startswith("training") and number >= step and not done:
            done.append(number)
            action()

    return advance


def digest(result: TrainResult) -> str:
    """Hash the weights file itself."""
    return hashlib.sha256((result.checkpoint / "weights.safetensors").read_bytes()).hexdigest()


def curve(result: TrainResult) -> list[dict[str, Any]]:
    """Return the learning curve without the clock."""
    return [{k: v for k, v in p.items() if k != "seconds"} for p in result.history]


def child(data: Path, folder: Path, *, preset: str = "default", budget: str = "40steps") -> str:
    """Return a program that trains the toy; each step it tells the number on stdout."""
    return f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import time
from pathlib import Path
import train_toys
from rsbench.core.errors import RsbenchError
from rsbench.store.read import open_store

def advance(label, done, total):
    if label.startswith("training"):
        print(done, flush=True)
        time.sleep(0.02)

with train_toys.toy_card():
    try:
        train_toys.run(
            train_toys.model({preset!r}), open_store({str(data)!r}), preset={preset!r},
            budget={budget!r}, out_dir=Path({str(folder)!r}), progress=advance,
        )
    except RsbenchError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
"""
