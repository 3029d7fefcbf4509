"""The checks of the model contract.

Each returns a text with its measurements, or raises ``Failed`` or ``Skipped``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from rsbench.core.errors import InputError
from rsbench.models.api import Fitted, Frames, Given, Stage, Trainable
from rsbench.models.contract_data import Samples, first_leads, make_samples, rows
from rsbench.models.contract_subject import Failed, Skipped, Subject, call
from rsbench.models.contract_train import seeded
from rsbench.models.registry import create_model
from rsbench.models.rollout import collect

if TYPE_CHECKING:
    from torch import Tensor

MATTERS = 1e-6
"""Smallest effect of a perturbed tensor on the prediction, as a share of the value range."""


def answers(subject: Subject) -> str:
    """The prediction of one call has the wanted shape and dtype float32, and is finite."""
    given, want, _ = first_leads(subject.extended(), subject.leads)
    values = call(subject.ready, given.clone(), want)
    expected = (len(want.samples), want.members, subject.leads, len(want.bands), *want.size)
    if tuple(values.shape) != expected:
        raise Failed(f"the prediction is {tuple(values.shape)}, wanted is {expected}")
    if values.dtype != torch.float32:
        raise Failed(f"the prediction is {values.dtype}, wanted is float32")
    rolled = subject.predict()
    return f"one call {expected}, rolled to {rolled.shape[2]} leads, all finite"


def truth_changes_nothing(subject: Subject) -> str:
    """Other truth in the same memory, or in an earlier call of ``loss``, changes no bit."""
    given, want, truth = first_leads(subject.extended(), subject.leads)
    before = call(subject.ready, given, want)
    kept = truth.values.clone()
    truth.values.copy_(1.0 - kept)
    after = call(subject.ready, given, want)
    truth.values.copy_(kept)
    _same_bits(before, after, "changing the truth beside the context")
    if isinstance(subject.ready, Trainable) and _by_gradient(subject.ready):
        kept_by_loss = [_after_loss(subject, change)[0] for change in (_as_made, _other_truth)]
        _same_bits(
            kept_by_loss[0], kept_by_loss[1], "the truth of an earlier loss, without any step,"
        )
    return "no bit changes"


def taught_changes_nothing(subject: Subject) -> str:
    """Frames that only training has reach ``loss``, and no bit of a prediction."""
    if not subject.card.taught:
        raise Skipped("its card does not say taught")
    stages = _by_gradient(subject.trainable())
    made = subject.training(stages[0], seed=1)
    given, want, _ = first_leads(made, subject.leads)
    if not given.taught:
        raise Failed(f"the samples of task {subject.card.task} have no frames of training alone")
    try:
        collect(subject.ready, subject.card, given, want)
    except InputError:
        pass
    else:
        raise Failed("a prediction with frames that only training has was not refused")
    plain = call(subject.ready, replace(given, taught={}), want)
    _same_bits(plain, call(subject.ready, given, want), "giving predict the frames of training")
    found = {
        stage.name: [_after_loss(subject, change, stage) for change in (_as_made, _other_taught)]
        for stage in stages
    }
    for before, after in found.values():
        _same_bits(before[0], after[0], "other frames of training in an earlier loss")
    reached = [name for name, (before, after) in found.items() if before[1] != after[1]]
    if not reached:
        raise Failed("no loss depends on them: say taught=False in the card")
    return f"no bit changes; they reach the loss of {', '.join(reached)}"


def global_seed_changes_nothing(subject: Subject) -> str:
    """The global random state of torch, numpy and random changes no bit."""
    found = []
    for seed in (0, 1):
        with seeded(seed):
            found.append(subject.predict())
    _same_bits(found[0], found[1], "another global seed")
    return "no bit changes"


def calls_leave_no_trace(subject: Subject) -> str:
    """A repeated call gives the same bits, and the inputs are not modified."""
    before = subject.predict()
    subject.predict(make_samples(subject.shape, seed=7, members=1))
    _same_bits(before, subject.predict(), "a call on other samples in between")
    given, want, _ = first_leads(subject.extended(), subject.leads)
    copy = given.clone()
    call(subject.ready, given, want)
    for name, frames in given.frames.items():
        same = torch.equal(frames.values, copy.frames[name].values)
        if not (same and torch.equal(frames.valid, copy.frames[name].valid)):
            raise Failed(f"predict writes into the given frames of {name}")
    return "no bit changes, the inputs are not modified"


def neighbours_change_nothing(subject: Subject) -> str:
    """Other samples, order or size of the batch change values by at most the card's tolerance."""
    whole = subject.predict()
    other = make_samples(subject.shape, seed=9, members=2)
    worst = 0.0
    for index in ([0], [2, 0], [0, 1]):
        part = subject.predict(rows(subject.samples, index))
        for row, source in enumerate(index):
            worst = max(worst, float((part[row] - whole[source]).abs().max()))
    mixed = subject.predict(_join(rows(subject.samples, [1]), rows(other, [0, 1])))
    worst = max(worst, float((mixed[0] - whole[1]).abs().max())) / subject.data_range
    if worst > subject.card.sampler_tolerance:
        raise Failed(f"{worst:.1e} of the range, the card allows {subject.card.sampler_tolerance}")
    return f"at most {worst:.1e} of the range"


def masks_are_respected(subject: Subject) -> str:
    """Values of invalid pixels change no bit."""
    before = subject.predict()
    frames = {}
    for name, item in subject.samples.given.frames.items():
        junk = torch.rand(item.values.shape, generator=torch.Generator().manual_seed(3)) * 50
        frames[name] = replace(item, values=torch.where(item.valid, item.values, junk))
    given = replace(subject.samples.given, frames=frames)
    after = subject.predict(replace(subject.samples, given=given))
    _same_bits(before, after, "other content under invalid pixels")
    nothing = {n: replace(f, valid=torch.zeros_like(f.valid)) for n, f in frames.items()}
    subject.predict(replace(subject.samples, given=replace(given, frames=nothing)))
    return "no bit changes; a context without valid pixels gives finite values"


def card_counts(subject: Subject) -> str:
    """The parameter counts of the card equal those of the model built without options."""
    info = subject.card.presets[subject.preset]
    # Meta tensors have a shape and use no memory.
    with torch.device("meta"):
        model = create_model(subject.card.name, subject.preset, **subject.classes)
    found = (0, 0)
    module = getattr(model, "module", None)
    if isinstance(module, torch.nn.Module):
        sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
        found = (sum(n for n, _ in sizes), sum(n for n, free in sizes if free))
    if info.parameters is None:
        return f"{found[0]} parameters, {found[1]} trainable; the card states none"
    if found != (info.parameters, info.trainable):
        raise Failed(
            f"the model has {found[0]} parameters, {found[1]} trainable; the card says "
            f"{info.parameters} and {info.trainable}"
        )
    if info.frozen != found[0] - found[1]:
        raise Failed(f"frozen is {info.frozen}, not parameters − trainable")
    return f"{found[0]} parameters, {found[1]} trainable"


def every_tensor_matters(subject: Subject) -> str:
    """Perturbing any parameter tensor changes the prediction, unless the card lists it as idle."""
    model = subject.trainable()
    idle = subject.card.presets[subject.preset].idle
    whole = subject.extended()
    one = rows(replace(whole, want=replace(whole.want, members=1)), [0])
    first, every = (
        (given, want, call(model, given, want))
        for given, want, _ in (first_leads(part, subject.leads) for part in (one, whole))
    )
    moved: dict[str, float] = {}
    generator = torch.Generator().manual_seed(5)
    for name, tensor in model.module.named_parameters():
        kept = tensor.detach().clone()
        size = float(kept.square().mean().sqrt()) + 0.1
        step = torch.randn(kept.shape, generator=generator)
        # All samples are predicted where the first one does not change.
        # What moves all scores of a softmax nearly alike needs a larger step to exceed rounding.
        tries = [(every, 1.0)] if name.startswith(tuple(idle)) else [(first, 1.0), (every, 1.0)]
        for (given, want, base), factor in [*tries, (every, 8.0), (every, 64.0)]:
            with torch.no_grad():
                tensor.copy_(kept + (factor * size * step).to(tensor.device))
            effect = float((call(model, given, want) - base).abs().max()) / subject.data_range
            if effect > MATTERS or name.startswith(tuple(idle)):
                break
        moved[name] = effect
        with torch.no_grad():
            tensor.copy_(kept)
    named = {name for name in moved if any(name.startswith(head) for head in idle)}
    dead = [f"{name} ({m:.1e})" for name, m in moved.items() if m <= MATTERS and name not in named]
    if dead:
        raise Failed(f"no effect on the prediction: {', '.join(dead)}")
    alive = [name for name in named if moved[name] > MATTERS]
    if alive:
        raise Failed(f"the card lists them as idle, but they matter: {', '.join(alive)}")
    least = min((m for name, m in moved.items() if name not in named), default=math.inf)
    return f"of {len(moved)} tensors the least moves a prediction by {least:.1e} of the range"


def overfits_eight_samples(subject: Subject) -> str:
    """Training on eight samples reduces the loss of each stage to less than a share of its start.

    The share is the card's, by default 5 %.

    Stages in closed form are solved. Of a stage without labels no such end is known, so it is
    trained for its steps.
    """
    subject.trainable()
    if not subject.fits:
        raise Skipped("no stage is trained by gradient on the truth")
    found = "; ".join(map(str, subject.fits))
    if not all(fit.end < subject.card.overfit_share * fit.start for fit in subject.fits):
        raise Failed(found)
    return found


def state_goes_round(subject: Subject) -> str:
    """Predictions are bit-identical after saving the weights and loading them into a new model."""
    before = subject.predict()
    fresh = subject.fresh()
    if isinstance(subject.ready, Trainable) and isinstance(fresh, Trainable):
        from safetensors.torch import load, save

        state = {k: v.contiguous() for k, v in subject.ready.module.state_dict().items()}
        fresh.module.load_state_dict(load(save(state)), strict=True)
        told = f"{len(state)} tensors"
    elif isinstance(subject.ready, Fitted) and isinstance(fresh, Fitted):
        data = make_samples(replace(subject.shape, samples=4), seed=1)
        fitted = dict(subject.ready.fit([(data.given, data.want, data.truth)]))
        fresh.restore(json.loads(json.dumps(fitted)))
        told = f"{len(fitted)} numbers"
    else:
        told = "a model without state, built again"
    after = collect(fresh, subject.card, subject.samples.given, subject.samples.want).values
    _same_bits(before, after, "the round trip")
    return f"{told}, no bit changes"


def _by_gradient(model: Trainable) -> list[Stage]:
    return [stage for stage in model.stages() if not stage.closed_form]


def _as_made(given: Given, truth: Frames) -> tuple[Given, Frames]:
    return given, truth


def _other_truth(given: Given, truth: Frames) -> tuple[Given, Frames]:
    return given, replace(truth, values=1.0 - truth.values)


def _other_taught(given: Given, truth: Frames) -> tuple[Given, Frames]:
    other = {n: replace(f, values=f.values.flip((-1, -2))) for n, f in given.taught.items()}
    return replace(given, taught=other), truth


def _after_loss(
    subject: Subject,
    change: Callable[[Given, Frames], tuple[Given, Frames]],
    stage: Stage | None = None,
) -> tuple[Tensor, float]:
    """Call ``loss`` once without a step; return a prediction made afterwards, and the loss.

    Both come from a copy of the trained weights.

    Args:
        change: of what ``loss`` is given.
        stage: the first one by gradient where None.
    """
    fresh = subject.fresh()
    ready = subject.ready
    if not (isinstance(fresh, Trainable) and isinstance(ready, Trainable)):
        raise AssertionError("only called for trainable models")
    fresh.module.load_state_dict(ready.module.state_dict())
    stage = stage or _by_gradient(fresh)[0]
    given, want, truth = first_leads(
        data := subject.training(stage, seed=4, samples=2), data.want.times.shape[1]
    )
    given, truth = change(given, truth)
    fresh.module.train()
    with seeded(2):
        total = float(fresh.loss(stage, given, want, truth)["total"].detach())
    fresh.module.eval()
    after = collect(fresh, subject.card, subject.samples.given, subject.samples.want).values
    return after, total


def _join(a: Samples, b: Samples) -> Samples:
    """Return the batch rows of two sets of samples as one."""
    refs = (*a.want.samples, *b.want.samples)
    grids = (*a.want.grids, *b.want.grids)
    frames = {}
    for name, item in a.given.frames.items():
        other = b.given.frames[name]
        frames[name] = replace(
            item,
            values=torch.cat([item.values, other.values]),
            valid=torch.cat([item.valid, other.valid]),
            times=torch.cat([item.times, other.times]),
        )
    times = torch.cat([a.want.times, b.want.times])
    want = replace(a.want, times=times, grids=grids, samples=refs)
    own = {name: (*a.given.grids[name], *b.given.grids[name]) for name in frames}
    texts = (*a.given.texts, *b.given.texts)
    return Samples(Given(frames, own, refs, texts=texts), want, a.truth)


def _same_bits(before: Tensor, after: Tensor, cause: str) -> None:
    if not torch.equal(before, after):
        moved = float((before - after).abs().max())
        raise Failed(f"{cause} changes the prediction by up to {moved:.1e}")


ALL: tuple[Callable[[Subject], str], ...] = (
    answers,
    truth_changes_nothing,
    taught_changes_nothing,
    global_seed_changes_nothing,
    calls_leave_no_trace,
    neighbours_change_nothing,
    masks_are_respected,
    card_counts,
    every_tensor_matters,
    overfits_eight_samples,
    state_goes_round,
)
