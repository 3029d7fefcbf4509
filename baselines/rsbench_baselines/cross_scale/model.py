"""Cross-scale pretraining as a segmentation model: a pretrained encoder, and a fitted head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from typing import Any, cast

import torch
from torch import Tensor, nn

from rsbench import Frames, Given, InputError, Prediction, Stage, Want
from rsbench_baselines._options import TRAINING, accepts, picked, trained
from rsbench_baselines.cross_scale import card, heads, views
from rsbench_baselines.cross_scale.heads import ClosedForm
from rsbench_baselines.cross_scale.ijepa import IJepa
from rsbench_baselines.cross_scale.latentmim import LatentMim
from rsbench_baselines.cross_scale.options import SIZES, Pretraining, Sizes
from rsbench_baselines.standardise import Standardise, added, frames_of, image_of, sums_of

Batches = Iterable[tuple[Given, Want, Frames]]
BASES: Mapping[str, type[IJepa | LatentMim]] = {"ijepa": IJepa, "latentmim": LatentMim}
WATCHED = ("token.cosine", "rank.share")
STATISTICS = Stage(
    "statistics", 0.0, 1, 8, modules=("scale",), labelled=False, closed_form=True
)  # fmt: skip
SOLVED = Stage("probe", 0.0, 1, 8, modules=("head",), closed_form=True)


def _stages(rate: float, steps: int, batch: int, decay: float) -> tuple[Stage, ...]:
    pretrain = Stage(
        "pretrain", rate, steps, batch, weight_decay=decay, modules=("base",), labelled=False,
        watched=WATCHED,
    )  # fmt: skip
    return STATISTICS, pretrain


STAGES: Mapping[str, tuple[Stage, ...]] = {
    "tiny_ijepa": _stages(1e-3, 300, 16, 0.04),
    "tiny_latentmim": _stages(1e-3, 700, 16, 0.05),
    # 100 epochs of 119,659 pairs, and 300 with four batches of 128 in each step.
    "paper_ijepa": _stages(1e-3, 187_000, 64, 0.04),
    "paper_latentmim": _stages(3e-4, 70_000, 512, 0.05),
    "random": (STATISTICS,),
}
"""The stages without labels; peak rates as published, on the schedule of the harness."""
PROBE_STEPS = {"tiny": 300, "paper": 5000}
OWN: Mapping[str, Mapping[str, Any]] = {
    name: {
        "probe_steps": PROBE_STEPS[str(info.options["scale"])],
        **{option: getattr(stage, option) for option in TRAINING if not stage.closed_form},
    }
    for name, info in card.presets.items()
    for stage in STAGES[str(info.options["stages"])][-1:]
}
"""Options of training by preset; without pretraining there are no others."""


class Network(nn.Module):
    """Standardisation of both sensors, the pretrained networks, and the head.

    The first weights of the pretrained networks do not depend on the head.
    """

    def __init__(self, base: IJepa | LatentMim, head: nn.Module, sizes: Sizes) -> None:
        super().__init__()
        counts = {"mr": sizes.bands, "hr": sizes.hr_bands}
        self.scale = nn.ModuleDict({name: Standardise(bands) for name, bands in counts.items()})
        self.base = base
        self.head = head

    def encode(self, frames: Frames) -> list[Tensor]:
        """Return maps of tokens ``(B, D, h, w)`` of the last mid-resolution image."""
        return self.base.encode(self.scale["mr"](frames))


@dataclass(frozen=True)
class Training:
    """The stages of training, and whether the head is fitted on a frozen encoder."""

    stages: tuple[Stage, ...]
    freeze: bool = True


class CrossScale:
    """A pretrained encoder with a head, as a model of the benchmark."""

    name = "cross_scale"

    def __init__(self, network: Network, training: Training) -> None:
        self._network = network
        self._training = training

    @property
    def module(self) -> nn.Module:
        """Standardisation, pretrained networks and head."""
        return self._network

    @property
    def inputs(self) -> str | None:
        """What the training has in addition to the images that are given."""
        return "finer images in training" if self._network.base.options.needs_hr else None

    def stages(self) -> Sequence[Stage]:
        """Return statistics and pretraining without labels, then the head with labels."""
        return self._training.stages

    def predict(self, given: Given, want: Want) -> Prediction:
        """Return class probabilities."""
        logits = self._network.head(self._network.encode(frames_of(given)), want.size)
        return heads.answer(logits, want)

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        """Return the terms of pretraining, or the head's cross-entropy over labelled pixels."""
        if stage.name == "pretrain":
            return self._pretraining(given)
        with torch.set_grad_enabled(not self._training.freeze):
            maps = self._network.encode(frames_of(given))
        score = self._network.head(maps, want.size).float().log_softmax(dim=1)
        seen = truth.valid[:, 0, 0, 0]
        each = -(truth.values[:, 0, 0] * score).sum(dim=1)
        return {"total": torch.where(seen, each, 0).sum() / seen.sum().clamp(min=1)}

    def solve(self, stage: Stage, batches: Batches) -> None:
        """Set the statistics of both sensors, or the head's tensors."""
        if stage.name == "statistics":
            self._set_statistics(batches)
            return
        head = cast(ClosedForm, self._network.head)
        parts = (
            head.statistics(
                self._network.encode(frames_of(given)), truth.values[:, 0, 0], truth.valid[:, 0, 0]
            )
            for given, _, truth in batches
        )
        head.solve(reduce(head.merge, parts))

    def _pretraining(self, given: Given) -> Mapping[str, Tensor]:
        network, image = self._network, frames_of(given)
        finer = next(iter(given.taught.values()), None)
        draw = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        valid = views.valid_tokens(
            network.base.options, network.base.sizes, image_of(image)[1],
            None if finer is None else image_of(finer)[1],
        )  # fmt: skip
        fine = None if finer is None else network.scale["hr"](finer)
        terms = network.base.loss(network.scale["mr"](image), fine, draw, valid)
        watched = {
            "token.cosine": terms.pop("token_cosine"),
            "rank.share": terms.pop("effective_rank") / network.base.sizes.width,
        }
        return {**terms, **watched}

    def _set_statistics(self, batches: Batches) -> None:
        shown = [
            [sums_of(frames) for frames in (frames_of(given), *given.taught.values())]
            for given, _, _ in batches
        ]
        scales = (self._network.scale["mr"], self._network.scale["hr"])
        for scale, parts in zip(scales, zip(*shown, strict=True), strict=False):
            cast(Standardise, scale).set(added(parts))


OPTIONS = tuple(field.name for field in fields(Pretraining) if field.name != "base")


@accepts(
    *("bands", "classes", *OPTIONS, "head", "freeze", "probe_steps", *TRAINING),
    of=(OWN, Pretraining), head="lda", freeze=True,
)  # fmt: skip
def build(preset: str, **options: Any) -> CrossScale:
    """Build the model.

    Args:
        preset: a preset of the card.
        options: fields of :class:`Pretraining` but ``base``, in place of the preset's; ``head``:
            ``lda`` (default), ``knn``, ``linear``, ``linear.p2`` or ``upernet``; ``freeze``: if
            the encoder stays as it is while the head is trained, by default true;
            ``probe_steps``: optimiser steps of a head that is trained; ``learning_rate``, ``steps``
            and ``batch_size`` of pretraining; numbers of ``bands`` and ``classes``.

    Raises:
        InputError: for an unknown choice, or choices that contradict each other.
    """
    own = dict(card.presets[preset].options)
    plan, sizes = _configured(preset, own, options)
    _require_effect(preset, own, plan, options)
    first = [s if s.closed_form else trained(s, options) for s in STAGES[own["stages"]]]
    # Drawn before the head, so that heads share the first weights.
    base = BASES[plan.base](sizes, plan, steps=first[-1].steps)
    name, freeze = str(options.get("head", "lda")), bool(options.get("freeze", True))
    head = heads.head(
        name, width=sizes.width, classes=int(options.get("classes", 2)),
        pixels=sizes.crop // sizes.grid,
    )  # fmt: skip
    if isinstance(head, ClosedForm):
        _refuse_gradient(name, freeze, options)
    probe = SOLVED if isinstance(head, ClosedForm) else _probe(own["scale"], freeze, options)
    return CrossScale(Network(base, head, sizes), Training((*first, probe), freeze))


def _configured(
    preset: str, own: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[Pretraining, Sizes]:
    """Return what the pretraining does, and the sizes of its networks."""
    plan = picked(Pretraining, {**own, **options})
    sizes = SIZES[plan.base, own["scale"]]
    bands = int(options.get("bands", sizes.bands))
    if plan.needs_hr and not card.of(preset).taught:
        raise InputError(
            f"teach={plan.teach}, see={plan.see} with preset {preset}",
            "training with this preset has no finer images",
            f"Take preset {own['scale']}_{plan.base}_sa, and set these options",
        )
    whole = sizes.finer() if own.get("finer") else sizes
    return plan, replace(whole, bands=bands, hr_bands=bands)


def _require_effect(
    preset: str, own: Mapping[str, Any], plan: Pretraining, options: Mapping[str, Any]
) -> None:
    """Refuse options that would change nothing: the table would name them all the same."""
    idle: tuple[str, ...] = ()
    if own["stages"] == "random":
        idle, found = (*OPTIONS, *TRAINING), "its encoder is not pretrained"
    elif plan.affinity == "none":
        idle, found = ("weight", "tokens", "pos", "ratio"), "its loss has no affinity"
    if wrong := [name for name in idle if name in options]:
        raise InputError(
            f"{', '.join(f'{name}={options[name]}' for name in wrong)} with preset {preset}",
            f"{found}, so that nothing would change",
            f"Leave {', '.join(wrong)} out, or take another preset, e.g. "
            f"{own['scale']}_{plan.base}_sa",
        )


def _refuse_gradient(name: str, freeze: bool, options: Mapping[str, Any]) -> None:
    """Refuse options of a training by gradient, for a head in closed form."""
    for stated, option, value, reason in (
        (not freeze, "freeze", "false", "gives the encoder no gradient"),
        ("probe_steps" in options, "probe_steps", options.get("probe_steps"), "has no steps"),
    ):
        if stated:
            raise InputError(
                f"{option}={value} with head={name}",
                f"a head in closed form {reason}",
                f"Take head=linear, linear.p2 or upernet, or leave {option} out",
            )


def _probe(scale: str, freeze: bool, options: Mapping[str, Any]) -> Stage:
    """Return the stage of a head that is trained by gradient, with the encoder if not frozen."""
    steps = int(options.get("probe_steps", PROBE_STEPS[scale]))
    if freeze:
        return Stage("probe", 1e-3, steps, 16, modules=("head",))
    return Stage("probe", 1e-4, steps, 16, weight_decay=0.05, modules=("base.encoder", "head"))
