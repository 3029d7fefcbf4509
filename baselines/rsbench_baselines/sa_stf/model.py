"""SA-STF behind the door: scaling, training on random times, sampling from seeded noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from rsbench import Frames, Given, Prediction, Stage, Want
from rsbench_baselines.fusion_images import Scene, check, chosen, drawer, mirrored
from rsbench_baselines.rddm.schedule import ResidualSchedule, schedule
from rsbench_baselines.sa_stf.loss import EQUATIONS, OFFICIAL, FusionLoss, LossPlan
from rsbench_baselines.sa_stf.network import SASTF, References
from rsbench_baselines.sa_stf.sampling import fuse
from rsbench_baselines.sa_stf.sizes import SIZES, Size, require_choices
from rsbench_baselines.vgg import usual_folders

REFERENCES = 2
EPOCHS = 200
# As published: 200 epochs of about 79 batches of four (CIA), no clipping in effect.
PUBLISHED = Stage("fit", learning_rate=1e-4, steps=15_800, batch_size=4, clip=0.0)
STAGES = {
    "official": PUBLISHED,
    "paper": PUBLISHED,
    "tiny": Stage("fit", learning_rate=4e-3, steps=200, batch_size=2),
}
FIXED = replace(PUBLISHED, clip=1.0)
PLANS = {"official": OFFICIAL, "paper": EQUATIONS}


class Trained(nn.Module):
    """The network, and how many samples it was trained on: a loss weight rises with that."""

    def __init__(self, network: SASTF) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.seen: Tensor


@dataclass(frozen=True)
class Setup:
    """How the network is trained and sampled.

    Args:
        size: shape, schedule and sampler.
        stage: the one stage of training; ``EPOCHS`` epochs long, whatever its number of steps.
        loss: what is summed.
    """

    size: Size
    stage: Stage
    loss: LossPlan

    @cached_property
    def schedule(self) -> ResidualSchedule:
        """The forward process."""
        return schedule(self.size.schedule, self.size.steps)

    def epoch(self, samples: int) -> float:
        """Return the epoch that a number of samples has come to."""
        return EPOCHS * samples / (self.stage.steps * self.stage.batch_size)


class SASTFModel:
    """SA-STF as a model of the benchmark."""

    def __init__(self, network: SASTF, setup: Setup) -> None:
        self._trained = Trained(network)
        self._setup = setup

    @property
    def module(self) -> nn.Module:
        """The network beside the number of samples it has seen."""
        return self._trained

    @cached_property
    def _loss(self) -> FusionLoss:
        return FusionLoss.from_folders(self._setup.loss, usual_folders())

    def stages(self) -> Sequence[Stage]:
        """One stage.

        Raises:
            WeightsUnavailable: if the preset trains on VGG's features and the file is not here.
        """
        # Looked up now: an hour into training would be late to hear of it.
        _ = self._loss
        return (self._setup.stage,)

    def predict(self, given: Given, want: Want) -> Prediction:
        """Draw each member on its own; the condition is computed once for all."""
        network, setup = self._trained.network, self._setup
        network.eval()
        scene = self._scene(given, want)
        size = setup.size
        drawn = fuse(
            network, setup.schedule, _references(scene), drawer(want, "sa_stf"),
            steps=size.sampling_steps, start=size.start, eta=size.eta, members=want.members,
        )  # fmt: skip
        return scene.answer(drawn, want)

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        """Return the losses of the clean image that the network tells at random times."""
        trained, setup = self._trained, self._setup
        scene = self._scene(given, want)
        clean, valid = scene.target(truth, want)
        if trained.training:
            scene, clean, valid = scene.turned(clean, valid, mirrored)
        noisy, levels = self._noisy(clean, scene.c1)
        estimate, condition = trained.network(_references(scene), noisy, *levels)
        epoch = setup.epoch(int(trained.seen))
        if trained.training:
            trained.seen += len(clean)
        return self._loss(estimate.float(), clean, condition.alignment, epoch=epoch, valid=valid)

    def _noisy(
        self, clean: Tensor, coarse: Tensor
    ) -> tuple[Tensor | None, tuple[Tensor | None, Tensor | None]]:
        if not self._trained.network.diffuses:
            return None, (None, None)
        plan = self._setup.schedule
        times = torch.randint(plan.steps, (len(clean),)).to(clean.device)
        noise = torch.randn(clean.shape).to(clean)
        return plan.noised(clean, coarse, noise, times), plan.levels(times)

    def _scene(self, given: Given, want: Want) -> Scene:
        check("sa_stf", self._setup.size.bands, want)
        return Scene.of(given, want, references=REFERENCES)


def _references(scene: Scene) -> References:
    (c0, c2), (f0, f2) = scene.coarse, scene.fine
    return References(c1=scene.c1, c0=c0, f0=f0, c2=c2, f2=f2)


def build(
    preset: str,
    *,
    bands: int | None = None,
    base: int | None = None,
    mult: Sequence[int] | None = None,
    groups: int | None = None,
    mode: str | None = None,
    variant: str | None = None,
    schedule: str | None = None,
    start: str | None = None,
    sampling_steps: int | None = None,
    eta: float | None = None,
    perceptual: str | None = None,
    learning_rate: float | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
) -> SASTFModel:
    """Build the model; what is not given is the preset's.

    Args:
        preset: a preset of the card.
        bands: number of bands.
        base, mult, groups, mode, variant, schedule, start, sampling_steps, eta, perceptual: of
            :class:`Size`.
        learning_rate, steps, batch_size: of the training.
    """
    asked = {name: value for name, value in locals().items() if name != "preset"}
    size, stage = chosen(SIZES[preset], STAGES.get(preset, FIXED), asked)
    require_choices(size)
    loss = replace(PLANS.get(preset, OFFICIAL), perceptual=size.perceptual)
    return SASTFModel(SASTF(size), Setup(size, stage, loss))
