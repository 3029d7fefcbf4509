"""The contract that any model must pass, run with one command on any installed model.

``rsbench contract MODEL --preset PRESET``, or ``python -m rsbench.models.contract MODEL``, or
from a package's own tests::

    @pytest.mark.parametrize("check", rsbench.models.contract.CHECKS)
    def test_contract(check):
        result = rsbench.models.contract.run_check("my_model", "tiny", check)
        assert result.passed, str(result)
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from rsbench.core.errors import RsbenchError, unknown
from rsbench.models.api import Card, Fitted, Given, Model, Stage, Trainable, Want
from rsbench.models.contract_data import Samples, Shape, first_leads, make_samples, rows
from rsbench.models.contract_train import mean_loss, seeded, train_briefly
from rsbench.models.registry import card as find_card
from rsbench.models.registry import create_model
from rsbench.models.rollout import block_length, collect

if TYPE_CHECKING:
    from torch import Tensor

OVERFIT_SHARE = 0.05
OVERFIT_SAMPLES = 8
WARM_STEPS = (60, 400)  # a quarter of a stage's own, within these
MATTERS = 1e-6  # share of the value range that a perturbed tensor must move a prediction by


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one check; a skipped check counts as passed and says why."""

    name: str
    passed: bool
    detail: str
    skipped: bool = False

    def __str__(self) -> str:
        word = "skip" if self.skipped else "pass" if self.passed else "FAIL"
        return f"{word}  {self.name}: {self.detail}"


class Failed(AssertionError):
    """A check found the contract broken; the text says how."""


class Skipped(Exception):
    """The check does not apply; the text says why."""


class Subject:
    """One model and preset under test, with samples it can take."""

    def __init__(self, name: str, preset: str | None) -> None:
        entry = find_card(name)
        self.preset = preset or entry.default_preset
        self.card: Card = entry.of(self.preset)
        self.shape = Shape.of(self.card)
        self.leads = max(1, block_length(self.card))
        self.samples = make_samples(self.shape, members=2)

    def fresh(self) -> Model:
        """Build the model with seeded weights, neither trained nor fitted."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return create_model(
                self.card.name, self.preset, bands=self.shape.bands, context=self.shape.context
            )

    @cached_property
    def ready(self) -> Model:
        """A model after fitting or a few training steps, so that no zero hides a fault."""
        model = self.fresh()
        if isinstance(model, Fitted):
            data = make_samples(replace(self.shape, samples=4), seed=1)
            model.fit([(data.given, data.want, data.truth)])
        if isinstance(model, Trainable):
            with seeded(0):
                for stage in model.stages():
                    steps = min(max(WARM_STEPS[0], stage.steps // 4), WARM_STEPS[1])
                    train_briefly(model, self.training(stage, seed=1), stage, steps=steps)
            model.module.eval()
        return model

    def trainable(self) -> Trainable:
        """Return the ready model as a trainable one, or skip."""
        if not isinstance(self.ready, Trainable):
            raise Skipped("the model is not trained by gradient")
        return self.ready

    def predict(self, samples: Samples | None = None) -> Tensor:
        """Roll the ready model over samples: ``(B, M, L, C, H, W)``."""
        item = samples or self.samples
        return collect(self.ready, self.card, item.given, item.want).values

    def training(self, stage: Stage, seed: int, samples: int = OVERFIT_SAMPLES) -> Samples:
        """Return fully valid samples for a stage, with the leads it asks for."""
        leads = max(stage.leads, self.leads)
        return make_samples(
            replace(self.shape, samples=samples, leads=leads), seed=seed, masked=False
        )


def answers(subject: Subject) -> str:
    """The answer of one call has the wanted shape, dtype float32, and is finite."""
    given, want, _ = first_leads(_extended(subject), subject.leads)
    values = _call(subject.ready, given.clone(), want)
    expected = (len(want.samples), want.members, subject.leads, len(want.bands), *want.size)
    if tuple(values.shape) != expected:
        raise Failed(f"the answer is {tuple(values.shape)}, wanted is {expected}")
    if values.dtype != torch.float32:
        raise Failed(f"the answer is {values.dtype}, wanted is float32")
    rolled = subject.predict()
    return f"one call {expected}, rolled to {rolled.shape[2]} leads, all finite"


def truth_changes_nothing(subject: Subject) -> str:
    """Another truth in the same memory, and in an earlier loss, changes no bit."""
    given, want, truth = first_leads(_extended(subject), subject.leads)
    before = _call(subject.ready, given, want)
    kept = truth.values.clone()
    truth.values.copy_(1.0 - kept)
    after = _call(subject.ready, given, want)
    truth.values.copy_(kept)
    _same_bits(before, after, "changing the truth beside the context")
    if isinstance(subject.ready, Trainable):
        kept_by_loss = [_after_loss(subject, flip=flip) for flip in (False, True)]
        _same_bits(
            kept_by_loss[0], kept_by_loss[1], "the truth of an earlier loss, without any step,"
        )
    return "no bit changes"


def global_seed_changes_nothing(subject: Subject) -> str:
    """Global random state (torch, numpy, random) changes no bit."""
    found = []
    for seed in (0, 1):
        with seeded(seed):
            found.append(subject.predict())
    _same_bits(found[0], found[1], "another global seed")
    return "no bit changes"


def calls_leave_no_trace(subject: Subject) -> str:
    """Calling again, after other samples, gives the same bits; the context is not written to."""
    before = subject.predict()
    subject.predict(make_samples(subject.shape, seed=7, members=1))
    _same_bits(before, subject.predict(), "a call on other samples in between")
    given, want, _ = first_leads(_extended(subject), subject.leads)
    copy = given.clone()
    _call(subject.ready, given, want)
    for name, frames in given.frames.items():
        same = torch.equal(frames.values, copy.frames[name].values)
        if not (same and torch.equal(frames.valid, copy.frames[name].valid)):
            raise Failed(f"predict writes into the given frames of {name}")
    return "no bit changes, nothing is written to"


def neighbours_change_nothing(subject: Subject) -> str:
    """Other batch neighbours, order and size change at most the card's tolerance."""
    whole = subject.predict()
    other = make_samples(subject.shape, seed=9, members=2)
    worst = 0.0
    for index in ([0], [2, 0], [0, 1]):
        part = subject.predict(rows(subject.samples, index))
        for row, source in enumerate(index):
            worst = max(worst, float((part[row] - whole[source]).abs().max()))
    mixed = subject.predict(_join(rows(subject.samples, [1]), rows(other, [0, 1])))
    worst = max(worst, float((mixed[0] - whole[1]).abs().max())) / _range(subject)
    if worst > subject.card.sampler_tolerance:
        raise Failed(f"{worst:.1e} of the range, the card allows {subject.card.sampler_tolerance}")
    return f"at most {worst:.1e} of the range"


def masks_are_respected(subject: Subject) -> str:
    """What lies under invalid pixels changes no bit."""
    before = subject.predict()
    frames = {}
    for name, item in subject.samples.given.frames.items():
        junk = torch.rand(item.values.shape, generator=torch.Generator().manual_seed(3)) * 50
        frames[name] = replace(item, values=torch.where(item.valid, item.values, junk))
    given = Given(frames, subject.samples.given.grids, subject.samples.given.samples)
    after = subject.predict(replace(subject.samples, given=given))
    _same_bits(before, after, "other content under invalid pixels")
    nothing = {n: replace(f, valid=torch.zeros_like(f.valid)) for n, f in frames.items()}
    subject.predict(replace(subject.samples, given=replace(given, frames=nothing)))
    return "no bit changes; a context without any valid pixel gives a finite answer"


def card_counts(subject: Subject) -> str:
    """The card's parameter counts are those of the model built without options."""
    info = subject.card.presets[subject.preset]
    # Meta tensors have a shape and no memory, whatever the size.
    with torch.device("meta"):
        model = create_model(subject.card.name, subject.preset)
    found = (0, 0)
    if isinstance(model, Trainable):
        sizes = [(p.numel(), p.requires_grad) for p in model.module.parameters()]
        found = (sum(n for n, _ in sizes), sum(n for n, free in sizes if free))
    if found != (info.parameters, info.trainable):
        raise Failed(
            f"the model has {found[0]} parameters, {found[1]} trainable; the card says "
            f"{info.parameters} and {info.trainable}"
        )
    if info.frozen != info.parameters - info.trainable:
        raise Failed(f"frozen is {info.frozen}, not parameters − trainable")
    return f"{found[0]} parameters, {found[1]} trainable"


def every_tensor_matters(subject: Subject) -> str:
    """Perturbing any parameter tensor changes the prediction, unless the card names it idle."""
    model = subject.trainable()
    idle = subject.card.presets[subject.preset].idle
    given, want, _ = first_leads(_extended(subject), subject.leads)
    base = _call(model, given, want)
    moved: dict[str, float] = {}
    generator = torch.Generator().manual_seed(5)
    for name, tensor in model.module.named_parameters():
        kept = tensor.detach().clone()
        size = float(kept.square().mean().sqrt()) + 0.1
        step = torch.randn(kept.shape, generator=generator)
        # A bias inside a softmax may need a larger step to exceed rounding.
        for factor in (1.0, 8.0):
            with torch.no_grad():
                tensor.copy_(kept + (factor * size * step).to(tensor.device))
            effect = float((_call(model, given, want) - base).abs().max()) / _range(subject)
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
        raise Failed(f"the card calls them idle, but they matter: {', '.join(alive)}")
    least = min((m for name, m in moved.items() if name not in named), default=math.inf)
    return f"of {len(moved)} tensors the least moves a prediction by {least:.1e} of the range"


def overfits_eight_samples(subject: Subject) -> str:
    """Training brings each stage's loss on eight samples under 5 % of the untrained model's."""
    model = subject.fresh()
    if not isinstance(model, Trainable):
        raise Skipped("the model is not trained by gradient")
    lines = []
    untrained = {s.name: mean_loss(model, subject.training(s, seed=1), s) for s in model.stages()}
    for stage in model.stages():
        start = untrained[stage.name]
        with seeded(0):
            end, steps = train_briefly(
                model,
                subject.training(stage, seed=1),
                stage,
                steps=stage.steps,
                stop=OVERFIT_SHARE * start,
            )
        lines.append(f"{stage.name}: {start:.2e} → {end:.2e} ({end / start:.1%}) in {steps} steps")
        if not end < OVERFIT_SHARE * start:
            raise Failed("; ".join(lines))
    return "; ".join(lines)


def state_goes_round(subject: Subject) -> str:
    """The state survives safetensors (or JSON) and loads strictly into a fresh model."""
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
        told = "a model without state, built anew"
    after = collect(fresh, subject.card, subject.samples.given, subject.samples.want).values
    _same_bits(before, after, "the round trip")
    return f"{told}, no bit changes"


_ALL: tuple[Callable[[Subject], str], ...] = (
    answers,
    truth_changes_nothing,
    global_seed_changes_nothing,
    calls_leave_no_trace,
    neighbours_change_nothing,
    masks_are_respected,
    card_counts,
    every_tensor_matters,
    overfits_eight_samples,
    state_goes_round,
)
CHECKS: tuple[str, ...] = tuple(check.__name__ for check in _ALL)


def run_contract(
    name: str, preset: str | None = None, *, checks: Sequence[str] | None = None
) -> list[CheckResult]:
    """Run the checks, all of them by default, on one preset of an installed model."""
    for asked in checks or ():
        if asked not in CHECKS:
            raise unknown("check of the contract", asked, CHECKS)
    subject = Subject(name, preset)
    return [_run(c, subject) for c in _ALL if checks is None or c.__name__ in checks]


def run_check(name: str, preset: str | None, check: str) -> CheckResult:
    """Run one check."""
    return run_contract(name, preset, checks=[check])[0]


def _run(check: Callable[[Subject], str], subject: Subject) -> CheckResult:
    try:
        return CheckResult(check.__name__, True, check(subject))
    except Skipped as reason:
        return CheckResult(check.__name__, True, str(reason), skipped=True)
    except Failed as fault:
        return CheckResult(check.__name__, False, str(fault))
    except RsbenchError as error:
        return CheckResult(check.__name__, False, str(error))
    except Exception as error:  # noqa: BLE001 - a stranger's model may raise anything
        return CheckResult(check.__name__, False, f"it raises {type(error).__name__}: {error}")


def _extended(subject: Subject) -> Samples:
    """Return samples with at least as many leads as one call answers."""
    leads = max(subject.leads, subject.shape.leads)
    return make_samples(replace(subject.shape, leads=leads), members=2)


def _call(model: Model, given: Given, want: Want) -> Tensor:
    with torch.inference_mode():
        return model.predict(given, want).values.clone()


def _after_loss(subject: Subject, *, flip: bool) -> Tensor:
    """Predict with a copy of the weights after one loss without a step."""
    fresh = subject.fresh()
    ready = subject.ready
    if not (isinstance(fresh, Trainable) and isinstance(ready, Trainable)):
        raise AssertionError("only called for trainable models")
    fresh.module.load_state_dict(ready.module.state_dict())
    stage = fresh.stages()[0]
    given, want, truth = first_leads(
        data := subject.training(stage, seed=4, samples=2), data.want.times.shape[1]
    )
    if flip:
        truth = replace(truth, values=1.0 - truth.values)
    fresh.module.train()
    with seeded(2):
        fresh.loss(stage, given, want, truth)
    fresh.module.eval()
    return collect(fresh, subject.card, subject.samples.given, subject.samples.want).values


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
    return Samples(Given(frames, dict.fromkeys(frames, grids), refs), want, a.truth)


def _range(subject: Subject) -> float:
    low, high = subject.samples.truth.value_range
    return high - low


def _same_bits(before: Tensor, after: Tensor, cause: str) -> None:
    if not torch.equal(before, after):
        moved = float((before - after).abs().max())
        raise Failed(f"{cause} changes the prediction by up to {moved:.1e}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the contract from the shell: 0 where every check passes, 1 where one fails."""
    parser = argparse.ArgumentParser(prog="python -m rsbench.models.contract", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--preset")
    arguments = parser.parse_args(argv)
    try:
        results = run_contract(arguments.model, arguments.preset)
    except RsbenchError as error:
        sys.stderr.write(f"rsbench: {error}\n")
        return error.exit_code
    for result in results:
        sys.stdout.write(f"{result}\n")
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
