"""A small segmentation model with stages of its own kinds, trained on pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import segment_toys as toys
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rsbench.catalog import Protocol, load_protocol
from rsbench.models.api import Card, Frames, Given, Prediction, PresetInfo, Stage, Want
from rsbench.models.registry import extra
from rsbench.store.read import Store
from rsbench.training.train import TrainRequest, TrainResult, fresh_model, train

STAGES = (
    Stage("statistics", 0.0, 1, 4, modules=("scale",), labelled=False, closed_form=True),
    Stage("pretrain", 1e-2, 6, 4, modules=("scale", "net"), labelled=False),
    Stage("probe", 1e-2, 4, 4, modules=("head",)),
)
SOLVED = (*STAGES[:2], Stage("probe", 0.0, 1, 4, modules=("head",), closed_form=True))


class Network(nn.Module):
    def __init__(self, bands: int, classes: int) -> None:
        super().__init__()
        self.scale = nn.BatchNorm2d(bands, affine=False)
        self.net = nn.Conv2d(bands, 4, 1)
        self.head = nn.Conv2d(4, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.head(self.net(self.scale(x))).softmax(1))


class PairModel:
    """Pretrains on the area mean of the finer image, and keeps what ``loss`` was given."""

    def __init__(self, network: Network, stages: Sequence[Stage]) -> None:
        self.network = network
        self._stages = stages
        self.seen: list[tuple[str, Given, Frames]] = []

    @property
    def module(self) -> nn.Module:
        return self.network

    def stages(self) -> Sequence[Stage]:
        return self._stages

    def predict(self, given: Given, want: Want) -> Prediction:
        (frames,) = given.frames.values()
        shown = torch.where(frames.valid, frames.values, 0)[:, 0, 0]
        values = self.network(shown)[:, None, None]
        return Prediction(values.expand(-1, want.members, -1, -1, -1, -1))

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        self.seen.append((stage.name, given, truth))
        (frames,) = given.frames.values()
        x = self.network.net(self.network.scale(frames.values[:, 0, 0]))
        if stage.name == "pretrain":
            (finer,) = given.taught.values()
            mean = F.adaptive_avg_pool2d(finer.values[:, 0, 0], x.shape[-2:])
            return {"total": (x - mean / finer.value_range[1]).square().mean()}
        error = (self.network.head(x).softmax(1) - truth.values[:, 0, 0]).square()
        return {"total": error[truth.valid[:, 0, 0].expand_as(error)].mean()}

    def solve(self, stage: Stage, batches: Iterable[tuple[Given, Want, Frames]]) -> None:
        for given, _, truth in batches:
            self.seen.append((stage.name, given, truth))
            if stage.name == "statistics":
                (frames,) = given.frames.values()
                self.network.scale.running_mean += frames.values.mean((0, 1, 2, 4, 5))  # type: ignore[operator]
            else:
                self.network.head.weight.data[:, 0, 0, 0] += truth.valid.float().mean()


def build(preset: str, *, bands: int = 4, classes: int = 3, spread: float = 1.0) -> PairModel:
    network = Network(bands, classes)
    with torch.no_grad():
        network.head.weight.mul_(spread)
    return PairModel(network, SOLVED if preset == "solved" else STAGES)


_COUNT = 4 * 4 + 4 + 4 * 3 + 3
CARD = Card(
    name="pair-toy", task="segment", title="toy", build="pair_toys:build", citation="none",
    presets={"default": PresetInfo(_COUNT, _COUNT), "solved": PresetInfo(_COUNT, _COUNT)},
    licence="CC0-1.0", trainable=True, taught=True, shared=("spread", "classes"),
)  # fmt: skip


@contextmanager
def toy_card(**changes: Any) -> Iterator[Card]:
    """Put the toy among the installed models for a while."""
    with extra(replace(CARD, **changes)) as card:
        yield card


def model(preset: str = "default", **options: Any) -> PairModel:
    made = fresh_model(CARD.name, preset, seed=0, bands=4, classes=3, **options)
    assert isinstance(made, PairModel)
    return made


def run(
    made: PairModel, data: Store, preset: str = "default", *, card: Card = CARD, **options: Any
) -> TrainResult:
    """Train the toy on crops of 16 pixels."""
    changes = {"window": 16, "stride": 16, "labels": options.pop("labels", None)}
    rules = Protocol.model_validate({**load_protocol("segment").model_dump(), **changes})
    request = TrainRequest(
        preset=preset, protocol=rules, sensor=toys.MR, bands=("water", "trees", "crops"),
        context=1, device="cpu", **options,
    )  # fmt: skip
    return train(made, card.of(preset), data, request)


def weights(result: TrainResult) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(Path(result.checkpoint) / "weights.safetensors")
