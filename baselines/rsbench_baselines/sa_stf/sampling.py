"""Drawing images with SA-STF: the condition once, then few steps or all."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rsbench_baselines.ddpm.diffusion import Draw, Sampling
from rsbench_baselines.rddm.schedule import ResidualSchedule, Start
from rsbench_baselines.sa_stf.network import SASTF, Condition, References

Estimate = Callable[[Tensor, int], Tensor]
"""Takes noisy images ``(N, C, H, W)`` and a time; returns the clean images in them."""


def estimator(network: SASTF, schedule: ResidualSchedule, condition: Condition) -> Estimate:
    """Return the network as an estimate of the clean image under a fixed condition."""

    def estimate(noisy: Tensor, time: int) -> Tensor:
        times = torch.full((noisy.shape[0],), time, device=noisy.device)
        return network.denoise(noisy, *schedule.levels(times), condition)

    return estimate


def sample(
    estimate: Estimate,
    schedule: ResidualSchedule,
    coarse: Tensor,
    draw: Draw,
    *,
    steps: int,
    start: Start,
    eta: float = 0.0,
) -> Tensor:
    """Draw clean images in ``steps`` calls of the estimate.

    Noise is drawn under the names ``start`` and ``step/<time>``, so that what is drawn depends
    on no other draw. At η = 0 only the start is random.

    Args:
        estimate: of the clean image.
        schedule: as in training.
        coarse: C1 ``(N, C, H, W)``.
        draw: standard normal noise by name.
        steps: calls of the estimate; T visits every time.
        start: see `ResidualSchedule.first`.
        eta: 1 with all steps is the ancestral sampler.
    """
    times = schedule.times(steps)
    x = schedule.first(coarse, draw("start"), start)
    for time, before in zip(times, [*times[1:], -1], strict=True):
        fresh = draw(f"step/{time}") if schedule.sigma(time, before, eta) > 0 else None
        x = schedule.step(x, estimate(x, time), coarse, time, before, fresh=fresh, eta=eta)
    return x


@torch.no_grad()
def fuse(
    network: SASTF,
    schedule: ResidualSchedule,
    given: References,
    draw: Draw,
    sampling: Sampling,
    *,
    start: Start,
) -> Tensor:
    """Return fine images ``(N·members, C, H, W)`` of the target date in [−1, 1], not clipped.

    Args:
        network: in the state it shall be used in.
        schedule, start: see `sample`.
        given: condition images ``(N, C, H, W)``.
        draw: standard normal noise ``(N·members, C, H, W)`` by name.
        sampling: number of steps and of members, which share one condition; the authors compute
            the condition in every step.
    """
    members = sampling.members
    coarse = given.c1.repeat_interleave(members, dim=0)
    condition = network.condition(given).repeat(members)
    if not network.diffuses:
        return network.direct(condition)
    estimate = estimator(network, schedule, condition)

    def anew(noisy: Tensor, time: int) -> Tensor:
        again = network.condition(given).repeat(members)
        return estimator(network, schedule, again)(noisy, time)

    return sample(
        estimate if sampling.cached else anew, schedule, coarse, draw,
        steps=sampling.steps, start=start, eta=sampling.eta,
    )  # fmt: skip
