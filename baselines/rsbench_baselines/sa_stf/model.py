"""SA-STF as a model: two reference dates, training on random times, seeded sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from rsbench import Stage, Want
from rsbench_baselines._fusion_model import FusionModel
from rsbench_baselines._options import TRAINING, accepts, require_choices, sized, trained
from rsbench_baselines.ddpm.diffusion import Sampling, drawer
from rsbench_baselines.fusion_images import Scene, mirrored
from rsbench_baselines.rddm.schedule import ResidualSchedule, schedule
from rsbench_baselines.released import Layout
from rsbench_baselines.sa_stf.loss import EQUATIONS, OFFICIAL, FusionLoss, LossPlan
from rsbench_baselines.sa_stf.network import SASTF, References
from rsbench_baselines.sa_stf.released import layout
from rsbench_baselines.sa_stf.sampling import fuse
from rsbench_baselines.sa_stf.sizes import SIZES, Size
from rsbench_baselines.vgg import usual_folders

EPOCHS = 200
# As published: 200 epochs of about 79 batches of four (CIA), no clipping in effect.
PUBLISHED = Stage("fit", learning_rate=1e-4, steps=15_800, batch_size=4, clip=0.0)
CLIPPED = replace(PUBLISHED, clip=1.0)
STAGES = {
    "official": PUBLISHED,
    "paper": PUBLISHED,
    "fixed": CLIPPED,
    "tiny": Stage("fit", learning_rate=4e-3, steps=200, batch_size=2),
    "taylor": CLIPPED,
    "taylor_tfa": CLIPPED,
    "taylor_saf": CLIPPED,
    "tfa_saf": CLIPPED,
}
LOSSES = {**dict.fromkeys(STAGES, OFFICIAL), "paper": EQUATIONS}


class Trained(nn.Module):
    """The network, and the number of samples it was trained on, which sets a loss weight."""

    def __init__(self, network: SASTF) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.seen: Tensor


class SASTFModel(FusionModel[Trained, Size]):
    """SA-STF as a model of the benchmark.

    Args:
        network: with the number of samples it has seen.
        size: shape, schedule and sampler.
        stage: the one stage of training; it counts as ``EPOCHS`` epochs, whatever its steps.
        loss: the terms that are summed.
    """

    name = "sa_stf"
    references = 2
    turn = mirrored

    def __init__(self, network: Trained, size: Size, stage: Stage, loss: LossPlan) -> None:
        super().__init__(network, size, stage)
        self._plan = loss

    @cached_property
    def _schedule(self) -> ResidualSchedule:
        return schedule(self._size.schedule, self._size.steps)

    @cached_property
    def _loss(self) -> FusionLoss:
        return FusionLoss.from_folders(self._plan, usual_folders())

    def stages(self) -> Sequence[Stage]:
        """Return the one stage of training.

        Raises:
            WeightsUnavailable: if the preset trains on VGG's features and the file is absent;
                raised here so that training fails before its first step.
        """
        _ = self._loss
        return super().stages()

    def estimate(self, scene: Scene, want: Want) -> Tensor:
        """Draw each member separately; the condition is computed once for all members."""
        size = self._size
        return fuse(
            self._network.network, self._schedule, _references(scene), drawer(want, self.name),
            Sampling(size.sampling_steps, size.eta, want.members), start=size.start,
        )  # fmt: skip

    def released(self) -> tuple[nn.Module, Layout]:
        """Return the network that predicts, and the layout of its released state."""
        return self._network.network, layout(self._size)

    def losses(self, scene: Scene, clean: Tensor, valid: Tensor) -> Mapping[str, Tensor]:
        """Return the losses of the clean image, estimated at random times."""
        trained = self._network
        noisy, levels = self._noisy(clean, scene.c1)
        estimate, condition = trained.network(_references(scene), noisy, *levels)
        epoch = EPOCHS * int(trained.seen) / (self._stage.steps * self._stage.batch_size)
        if trained.training:
            trained.seen += len(clean)
        return self._loss(estimate.float(), clean, condition.alignment, epoch=epoch, valid=valid)

    def _noisy(
        self, clean: Tensor, coarse: Tensor
    ) -> tuple[Tensor | None, tuple[Tensor | None, Tensor | None]]:
        if not self._network.network.diffuses:
            return None, (None, None)
        times = torch.randint(self._schedule.steps, (len(clean),)).to(clean.device)
        noise = torch.randn(clean.shape).to(clean)
        return self._schedule.noised(clean, coarse, noise, times), self._schedule.levels(times)


def _references(scene: Scene) -> References:
    (c0, c2), (f0, f2) = scene.coarse, scene.fine
    return References(c1=scene.c1, c0=c0, f0=f0, c2=c2, f2=f2)


@accepts(
    *("bands", "base", "mult", "groups", "mode", "variant", "schedule", "start"),
    *("sampling_steps", "eta", "perceptual", *TRAINING),
    of=(STAGES, SIZES),
)
def build(preset: str, **options: Any) -> SASTFModel:
    """Build the model; an option that is not given is the preset's.

    Args:
        preset: a preset of the card.
        options: ``bands``, ``base``, ``mult``, ``groups``, ``mode``, ``variant``, ``schedule``,
            ``start``, ``sampling_steps``, ``eta`` and ``perceptual`` of :class:`Size`;
            ``learning_rate``, ``steps`` and ``batch_size`` of the training.

    Raises:
        InputError: if an option is none of its choices.
    """
    size = sized(SIZES[preset], options)
    require_choices(size)
    plan = replace(LOSSES[preset], perceptual=size.perceptual)
    stage = trained(STAGES[preset], options)
    return SASTFModel(Trained(SASTF(size)), size, stage, plan)
