"""RDDM behind the door: all images as condition, training on random times, seeded sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from rsbench import Frames, Given, Prediction, Stage, Want
from rsbench_baselines.fusion_images import Scene, check, chosen, drawer
from rsbench_baselines.rddm.network import RDDM, Outputs
from rsbench_baselines.rddm.sampling import fuse, loss
from rsbench_baselines.rddm.schedule import ResidualSchedule, native
from rsbench_baselines.rddm.sizes import OBJECTIVES, SIZES, Size

REFERENCES = 2
STAGES = {
    "paper": Stage("fit", learning_rate=8e-5, steps=15_800, batch_size=4),
    "tiny": Stage("fit", learning_rate=4e-3, steps=200, batch_size=4),
}


@dataclass(frozen=True)
class Setup:
    """Shape, schedule and sampler, and the one stage of training."""

    size: Size
    stage: Stage

    @cached_property
    def schedule(self) -> ResidualSchedule:
        """The forward process."""
        return native(self.size.steps, self.size.sum_scale)


class RDDMModel:
    """RDDM as a model of the benchmark."""

    def __init__(self, network: RDDM, setup: Setup) -> None:
        self._network = network
        self._setup = setup

    @property
    def module(self) -> nn.Module:
        """Both networks."""
        return self._network

    def stages(self) -> Sequence[Stage]:
        """One stage: the absolute errors of what the networks estimate."""
        return (self._setup.stage,)

    def predict(self, given: Given, want: Want) -> Prediction:
        """Draw each member on its own."""
        self._network.eval()
        size, scene = self._setup.size, self._scene(given, want)
        drawn = fuse(
            self._network, size.objective, self._setup.schedule,
            _condition(scene).repeat_interleave(want.members, dim=0),
            scene.c1.repeat_interleave(want.members, dim=0), drawer(want, "rddm"),
            steps=size.sampling_steps, eta=size.eta,
        )  # fmt: skip
        return scene.answer(drawn, want)

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        """Return the losses at random times."""
        scene, plan = self._scene(given, want), self._setup.schedule
        clean, valid = scene.target(truth, want)
        times = torch.randint(plan.steps, (len(clean),)).to(clean.device)
        noise = torch.randn(clean.shape).to(clean)
        noisy = plan.noised(clean, scene.c1, noise, times)
        said = self._network(noisy, _condition(scene), *plan.levels(times))
        outputs = Outputs(*(None if t is None else t.float() for t in (said.residual, said.noise)))
        return loss(self._setup.size.objective, outputs, clean, scene.c1, noise, valid)

    def _scene(self, given: Given, want: Want) -> Scene:
        check("rddm", self._setup.size.bands, want)
        return Scene.of(given, want, references=REFERENCES)


def _condition(scene: Scene) -> Tensor:
    """Return C1, F0, C0, F2, C2 as channels."""
    pairs = zip(scene.fine, scene.coarse, strict=True)
    return torch.cat([scene.c1, *(image for pair in pairs for image in pair)], dim=1)


def build(
    preset: str,
    *,
    bands: int | None = None,
    base: int | None = None,
    mult: Sequence[int] | None = None,
    groups: int | None = None,
    objective: str | None = None,
    sum_scale: float | None = None,
    sampling_steps: int | None = None,
    eta: float | None = None,
    learning_rate: float | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
) -> RDDMModel:
    """Build the model; what is not given is the preset's.

    Args:
        preset: a preset of the card.
        bands: number of bands.
        base, mult, groups, objective, sum_scale, sampling_steps, eta: of :class:`Size`.
        learning_rate, steps, batch_size: of the training.
    """
    asked = {name: value for name, value in locals().items() if name != "preset"}
    size, stage = chosen(SIZES[preset], STAGES[preset], asked)
    if size.objective not in OBJECTIVES:
        raise ValueError(f"objective is {size.objective!r}: it is {' or '.join(OBJECTIVES)}")
    return RDDMModel(RDDM(size), Setup(size, stage))
