"""Predict to any horizon, lead by lead, the way a model's card says.

``native`` asks for all leads in one call, ``block:T`` for T at a time, ``step`` for one. Between
calls the predicted frames join the given ones, marked as predicted, each member on its own; or
the model keeps a state of its own. The steps that must not be forgotten are sealed in here: the
model gets copies, runs in evaluation mode without gradients, cannot move the global random
state, and its answer is checked.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rsbench.core.errors import HorizonError, InputError, PixelError, RsbenchError
from rsbench.models.api import Card, Frames, Given, Model, Prediction, Stateful, Trainable, Want
from rsbench.models.noise import Scoped
from rsbench.models.tiling import Stitcher, Tile, parts, predict_tiled

if TYPE_CHECKING:
    from torch import Tensor

AXES = ("batch B", "members M", "leads T", "bands C", "rows H", "columns W")
DAYS_PER_YEAR = 365


def roll(
    model: Model, card: Card, given: Given, want: Want, *, leads: int | None = None
) -> Iterator[tuple[int, Prediction]]:
    """Yield ``(lead, prediction)`` for leads 1, 2, …; each prediction has T = 1.

    Memory does not grow with the horizon for ``step`` and ``block``: of the frames, the last
    ``max_context`` are kept, or as many as were given where the card has no bound.

    Args:
        model: any model.
        card: its card, as it reads for its preset.
        given: the context; frames older than ``max_context`` are not shown.
        want: the template with the times of all leads.
        leads: how many to predict; all of ``want.times`` where None.
    """
    if given.taught:
        raise InputError(
            f"a prediction of {card.name}",
            f"it is given frames of {', '.join(given.taught)} that only training may have",
            "Leave Given.taught empty",
        )
    horizon = int(want.times.shape[1])
    count = horizon if leads is None else leads
    if not 1 <= count <= horizon:
        raise HorizonError(
            f"{count} leads of {card.name}",
            f"the template has {horizon}",
            f"Ask for 1 to {horizon}",
        )
    if want.context == "each":
        return _each(model, card, given, want)
    if want.context == "once":
        return iter([(1, _predict(model, card, given, want))])
    shown = _context(card, given, want)
    if card.rollout == "native":
        return _native(model, card, shown, _times(want, 0, count))
    if card.rollout == "step" and isinstance(model, Stateful):
        return _stateful(model, card, shown, want, count)
    return _blocks(model, card, shown, want, count)


def collect(
    model: Model, card: Card, given: Given, want: Want, *, leads: int | None = None
) -> Prediction:
    """Return all leads of :func:`roll` in one prediction ``(B, M, leads, C, H, W)``."""
    found = [p.values for _, p in roll(model, card, given, want, leads=leads)]
    return Prediction(torch.cat(found, dim=2))


def block_length(card: Card) -> int:
    """Return how many leads one call answers; 0 for ``native``."""
    if card.rollout == "native":
        return 0
    if card.rollout == "step":
        return 1
    kind, _, length = card.rollout.partition(":")
    if kind == "block" and length.isdigit() and int(length) > 0:
        return int(length)
    raise InputError(
        f"the rollout of {card.name}",
        f"the card says {card.rollout!r}",
        "It is native, step or block:T",
    )


def _context(card: Card, given: Given, want: Want) -> Given:
    """Check the context against the card and show what the model may see of it."""
    if want.sensor not in given.frames:
        raise InputError(
            f"a prediction of sensor {want.sensor!r}",
            f"given are {', '.join(given.frames) or 'no frames'}",
            "Give frames of that sensor",
        )
    block_length(card)
    have = len(given.frames[want.sensor].predicted)
    if have < card.min_context:
        raise HorizonError(
            f"{card.name} with a context of {have}",
            f"it needs at least {card.min_context}",
            f"Give --context {card.min_context} or more, or choose another preset",
        )
    return replace(given, frames={n: f.last(card.max_context) for n, f in given.frames.items()})


def _each(model: Model, card: Card, given: Given, want: Want) -> Iterator[tuple[int, Prediction]]:
    """Answer one target date; a model of fewer dates is asked for each, and then averaged."""
    if int(want.times.shape[1]) != 1:
        raise InputError(
            f"a prediction of {card.name}",
            f"{want.times.shape[1]} target dates are wanted at once",
            "Ask for one target date per sample",
        )
    have = len(given.frames[want.sensor].predicted)
    if have < card.min_context:
        raise HorizonError(
            f"{card.name} with {have} dates of {want.sensor}",
            f"it needs {card.min_context}",
            f"Give --context {card.min_context}, or a protocol of that context",
        )
    if card.max_context is None or have <= card.max_context:
        yield 1, _predict(model, card, given, want)
        return
    parts = [one_reference(given, want, k) for k in range(have)]
    answers = [_predict(model, card, part, want).values for part in parts]
    yield 1, Prediction(torch.stack(answers).mean(dim=0))


def one_reference(given: Given, want: Want, index: int) -> Given:
    """Return what is given with one reference date only, and the target date."""
    kept = given.frames[want.sensor].times[:, index : index + 1]
    frames = {
        name: _at_dates(item, kept if name == want.sensor else torch.cat([kept, want.times], 1))
        for name, item in given.frames.items()
    }
    return replace(given, frames=frames)


def _at_dates(frames: Frames, dates: Tensor) -> Frames:
    """Return the frames at some dates, ascending; every batch row holds each of them once."""
    chosen = (frames.times[:, :, None] == dates.to(frames.times.device)[:, None, :]).any(dim=2)
    count = dates.shape[1]
    place = chosen.nonzero()[:, 1].view(-1, count)
    if bool((place == place[:1]).all()):
        at = place[0]
        values, valid = frames.values[:, :, at], frames.valid[:, :, at]
    else:
        rows = torch.arange(len(place), device=place.device)[:, None]
        values = frames.values.transpose(1, 2)[rows, place].transpose(1, 2)
        valid = frames.valid.transpose(1, 2)[rows, place].transpose(1, 2)
    return replace(
        frames,
        values=values,
        valid=valid,
        times=frames.times.gather(1, place),
        predicted=(False,) * count,
    )


def _native(model: Model, card: Card, given: Given, want: Want) -> Iterator[tuple[int, Prediction]]:
    answer = _predict(model, card, given, want)
    for index in range(want.times.shape[1]):
        yield index + 1, Prediction(answer.values[:, :, index : index + 1])


def _blocks(
    model: Model, card: Card, given: Given, want: Want, count: int
) -> Iterator[tuple[int, Prediction]]:
    length = block_length(card)
    keep = card.max_context or len(given.frames[want.sensor].predicted)
    for start in range(0, count, length):
        part = _times(want, start, start + length, given)
        part = replace(part, noise=Scoped(want.noise, f"lead{start + 1}"))
        answer = _predict(model, card, given, part, first_lead=start + 1)
        for index in range(min(length, count - start)):
            yield start + index + 1, Prediction(answer.values[:, :, index : index + 1])
        if start + length < count:
            given = _append(given, part, answer, keep)


def _stateful(
    model: Stateful, card: Card, given: Given, want: Want, count: int
) -> Iterator[tuple[int, Prediction]]:
    """Roll a model with a state, one state per tile; halos see no neighbour after lead 1."""
    states: list[tuple[Tile, Want, Any]] = []
    for tile, part_given, part_want in parts(card, given, want):
        with _sealed(model, want), _named(card.name):
            states.append((tile, part_want, model.start(part_given.clone(), part_want)))
    for lead in range(1, count + 1):
        stitcher = Stitcher(want)
        for index, (tile, part_want, state) in enumerate(states):
            now = replace(
                _times(part_want, lead - 1, lead), noise=Scoped(want.noise, f"lead{lead}")
            )
            with _sealed(model, want):
                with _named(card.name):
                    answer, following = model.step(state, now)
                stitcher.put(tile, check_answer(answer, now, card.name, first_lead=lead))
            states[index] = (tile, part_want, following)
        yield lead, stitcher.result()


def _predict(
    model: Model, card: Card, given: Given, want: Want, *, first_lead: int = 1
) -> Prediction:
    def call(part: Given, template: Want) -> Prediction:
        with _sealed(model, template):
            with _named(card.name):
                answer = model.predict(part.clone(), template)
            return check_answer(answer, template, card.name, first_lead=first_lead)

    return predict_tiled(call, card, given, want)


def _times(want: Want, start: int, stop: int, given: Given | None = None) -> Want:
    """Return the template for leads ``start … stop``, going on in equal steps past its end."""
    times = want.times[:, start:stop]
    beyond = stop - start - times.shape[1]
    if beyond > 0:
        step = _step(want, given)
        ahead = torch.arange(1, beyond + 1, device=times.device)
        times = torch.cat([times, want.times[:, -1:] + step * ahead], dim=1)
    return replace(want, times=times)


def _step(want: Want, given: Given | None) -> Tensor:
    known = want.times
    if given is not None:
        known = torch.cat([given.frames[want.sensor].times.to(known.device), known], dim=1)
    if known.shape[1] > 1:
        return known[:, -1:] - known[:, -2:-1]
    return torch.full_like(known[:, -1:], DAYS_PER_YEAR)


def _append(given: Given, want: Want, answer: Prediction, keep: int) -> Given:
    """Return ``given`` with the answer as its latest frames; at most ``keep`` frames stay."""
    frames = given.frames[want.sensor]
    new = answer.values[:, :, -keep:]
    added = new.shape[2]
    old = frames.last(keep - added) if keep > added else None
    values, valid = _as_frames(frames, want, new)
    times = want.times[:, -added:].to(frames.times.device)
    predicted = (True,) * added
    if old is not None:
        M, bands = want.members, valid.shape[3]
        values = torch.cat([_members(old.values, M), values], dim=2)
        seen = _members(old.valid, M).expand(-1, -1, -1, bands, -1, -1)
        valid = torch.cat([seen, valid], dim=2)
        times = torch.cat([old.times, times], dim=1)
        predicted = (*old.predicted, *predicted)
    latest = replace(frames, values=values, valid=valid, times=times, predicted=predicted)
    return replace(given, frames={**given.frames, want.sensor: latest})


def _as_frames(frames: Frames, want: Want, new: Tensor) -> tuple[Tensor, Tensor]:
    """Place predicted bands among the frames' bands; bands not predicted are invalid."""
    if want.bands == frames.bands:
        shape = (*new.shape[:3], frames.valid.shape[3], *new.shape[4:])
        return new, torch.ones(shape, dtype=torch.bool, device=new.device)
    shape = (*new.shape[:3], len(frames.bands), *new.shape[4:])
    values = new.new_zeros(shape)
    valid = torch.zeros(shape, dtype=torch.bool, device=new.device)
    index = [frames.bands.index(band) for band in want.bands]
    values[:, :, :, index] = new
    valid[:, :, :, index] = True
    return values, valid


def _members(tensor: Tensor, members: int) -> Tensor:
    return tensor.expand(tensor.shape[0], members, *tensor.shape[2:])


def check_answer(answer: Any, want: Want, name: str, *, first_lead: int = 1) -> Prediction:
    """Return the answer as float32, or say which axis or value of it is wrong."""
    if not isinstance(answer, Prediction) or not isinstance(answer.values, torch.Tensor):
        raise InputError(
            f"a prediction of {name}",
            f"the model returned {type(answer).__name__}",
            "Return rsbench.Prediction(values)",
        )
    values = answer.values
    expected = (len(want.samples), want.members, want.times.shape[1], len(want.bands), *want.size)
    if tuple(values.shape) != expected:
        raise InputError(
            f"a prediction of {name}", _shape_fault(tuple(values.shape), expected),
            "Return (B, M, T, C, H, W) as want says",
        )  # fmt: skip
    if not values.is_floating_point():
        raise InputError(f"a prediction of {name}", f"dtype {values.dtype}", "Return float32")
    values = values.detach().to(dtype=torch.float32)
    if not bool(torch.isfinite(values).all()):
        raise _not_finite(values, want, name, first_lead)
    return Prediction(values)


def _shape_fault(found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    if len(found) != len(expected):
        return f"{len(found)} axes instead of the 6 axes {', '.join(AXES)}"
    wrong = [
        f"{axis} is {have} instead of {need}"
        for axis, have, need in zip(AXES, found, expected, strict=True)
        if have != need
    ]
    return ", ".join(wrong)


def _not_finite(values: Tensor, want: Want, name: str, first_lead: int) -> PixelError:
    b, m, t, c, y, x = (int(i) for i in (~torch.isfinite(values)).nonzero()[0])
    count = int((~torch.isfinite(values)).sum())
    return PixelError(
        f"a prediction of {name}",
        f"{count} values are not finite, the first in {want.samples[b].region}, member {m}, "
        f"lead {first_lead + t}, band {want.bands[c]}, row {y}, column {x}",
        "A model must predict a finite value everywhere, also where its input is invalid",
    )


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Turn a model's refusal of its input into one sentence that names the model."""
    try:
        yield
    except RsbenchError:
        raise
    except ValueError as error:
        raise InputError(
            f"a prediction of {name}", str(error), "See `rsbench models --json` for what it takes"
        ) from error


@contextmanager
def _sealed(model: Model, want: Want) -> Iterator[None]:
    """Run a model in evaluation mode, without gradients, with the random state kept apart."""
    with ExitStack() as stack:
        device = want.times.device
        stack.enter_context(torch.inference_mode())
        stack.enter_context(
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
        )
        # The legacy global state is kept for the sake of models that use it; the contract test
        # finds them, here they are only kept from disturbing others.
        legacy = np.random.get_state()  # noqa: NPY002
        stack.callback(np.random.set_state, legacy)
        stack.callback(random.setstate, random.getstate())
        stack.enter_context(_evaluating(model))
        yield


@contextmanager
def _evaluating(model: Model) -> Iterator[None]:
    if not isinstance(model, Trainable):
        yield
        return
    training = [m for m in model.module.modules() if m.training]
    model.module.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
