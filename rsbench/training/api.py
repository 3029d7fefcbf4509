"""Training from Python: a model of any origin, a store, and what is to be changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rsbench.catalog import Protocol
from rsbench.core.errors import InputError
from rsbench.core.progress import Advance, shown
from rsbench.models.api import Model
from rsbench.models.registry import identity
from rsbench.tasks.config import EvaluationOptions
from rsbench.tasks.settings import evaluation_config
from rsbench.training.callbacks import TrainingCallback, named
from rsbench.training.options import Options
from rsbench.training.train import TrainRequest, TrainResult
from rsbench.training.train import train as run_training

if TYPE_CHECKING:
    from rsbench.store.read import Store


def train(
    model: Model,
    store: Store,
    protocol: str | Path | Protocol | None = None,
    budget: str | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "32-true",
    *,
    context: str | int | None = None,
    devices: int = 1,
    batch_size: int | None = None,
    options: Options | None = None,
    out: str | Path | None = None,
    resume: bool = True,
    log: Sequence[str | TrainingCallback] = (),
    progress: Advance | bool = False,
) -> TrainResult:
    """Train a model on the training split of a store; return the checkpoint's folder and curve.

    The model ends with the best weights. They are chosen by the mean squared error on the
    validation split. An interrupted training goes on with the same call from the same first
    weights.

    Args:
        model: of :func:`rsbench.create_model`, or any object with ``predict``, ``module``,
            ``stages`` and ``loss`` that was given a card by ``rsbench.registry.adopt``.
        store: an open store with the splits train and val.
        protocol: name in the catalogue, path of a YAML file, or a protocol: window, stride,
            context and split scheme; the store's default where None.
        budget: ``2000steps`` or ``10min``; the steps of the model's stages where None.
        seed: of the crops and of what the loss draws; not of the weights that the model has.
        device: ``auto``, ``cpu``, ``cuda`` …
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        context: largest number of context frames, or ``all``; the protocol's where None.
        devices: number of devices that share a batch.
        batch_size: most samples at once on a device; gradients of a larger batch accumulate.
        options: augmentation, optimiser, early stopping and speed, see :class:`rsbench.Options`.
        out: the checkpoint's folder; one under the cache where None.
        resume: go on where an interrupted training stopped, and keep a finished one.
        log: names of callbacks, as ``tensorboard``, or callbacks.
        progress: True for a bar or lines on stderr, or a function of (label, done, total).

    Returns:
        The checkpoint's folder, and how the training went.

    Raises:
        TrainingError: if the store has no split to train or validate on, a loss is not finite,
            or memory runs out.
        InputError: if the model is not known, or does not fit the protocol.
    """
    own = identity(model)
    if not own.card.trainable:
        raise InputError(
            f"training {own.name}", "its card does not say trainable",
            "State trainable=True in the card; the table then names the weights",
        )  # fmt: skip
    asked = EvaluationOptions(context=context, horizon=1, seed=seed, device=device)
    config = evaluation_config(store, protocol or store.meta.default_protocol, asked)
    told = tuple(named([one])[0] if isinstance(one, str) else one for one in log)
    request = TrainRequest(
        preset=own.preset, protocol=config.protocol, sensor=config.sensor, bands=config.bands,
        context=config.context, budget=budget, seed=seed, device=str(config.device),
        devices=devices, precision=precision, batch_size=batch_size, options=options or Options(),
        out_dir=Path(out) if out is not None else None, resume=resume, callbacks=told,
    )  # fmt: skip
    with shown(progress) as advance:
        return run_training(model, own.card, store, request, progress=advance)
