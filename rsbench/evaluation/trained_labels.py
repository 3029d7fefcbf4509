"""Whether weights were trained for the bands or classes, and the labels, that are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsbench.core.errors import InputError
from rsbench.tasks.registry import task_of

if TYPE_CHECKING:
    from rsbench.models.checkpoint import Checkpoint, TrainedFor
    from rsbench.tasks.config import EvaluationConfig


def require_classes(config: EvaluationConfig, asked: str, trained: tuple[str, ...] | None) -> None:
    """Refuse a model that was trained for other classes than the store's.

    Args:
        config: store and protocol.
        asked: what is asked for, for the message.
        trained: classes of the training; None where they are not known.

    Raises:
        InputError: if they differ, in name or order.
    """
    if task_of(config).predicts_labels and trained not in (None, config.bands):
        raise InputError(
            f"{asked} for the classes {', '.join(config.bands)}",
            f"it was trained for the classes {', '.join(trained or ())}",
            "Train on this store, or build both stores with one label set",
        )


def require_trained(config: EvaluationConfig, asked: str, trained: TrainedFor | None) -> None:
    """Refuse a model that was trained for other bands or classes, or with other labels.

    Args:
        config: store and protocol.
        asked: what is asked for, for the message.
        trained: what it was trained for; None without training here.

    Raises:
        InputError: if they differ, in name or order.
    """
    if trained is None:
        return
    require_classes(config, asked, trained.bands)
    if task_of(config).reads_labels and not trained.imported:
        _require_share(config, asked, trained.labels)
    own = task_of(config)
    pairs = []
    if not own.predicts_labels and not trained.imported:
        pairs.append((config.bands, trained.bands))
    if trained.inputs:
        pairs.append((own.bands_given(config.store, config.sensor, config.bands), trained.inputs))
    for given, known in pairs:
        if known != given:
            raise InputError(
                f"{asked} on images with the bands {', '.join(given)}",
                f"it was trained on the bands {', '.join(known)}",
                "Train on this store, or build both stores with the same bands in the same order",
            )


def require_labels(config: EvaluationConfig, path: Path, checkpoint: Checkpoint) -> None:
    """Refuse weights of other classes, or trained with other labels than the protocol allows.

    Raises:
        InputError: names both.
    """
    require_classes(config, f"the checkpoint {path}", checkpoint.bands)
    if not checkpoint.imported:
        _require_share(config, f"the checkpoint {path}", checkpoint.labels)


def _require_share(config: EvaluationConfig, asked: str, found: Mapping[str, Any] | None) -> None:
    stated = config.protocol.label_share
    if stated == found:
        return
    texts = [
        "all labels" if one is None else f"labels of fraction {one['fraction']:g}, seed "
        f"{one['seed']}" for one in (stated, found)
    ]  # fmt: skip
    raise InputError(
        f"{asked} under a protocol with {texts[0]}",
        f"it was trained with {texts[1]}",
        "Train with the labels of the protocol (without --checkpoint, run does so), or state the "
        "fraction and seed of its training with --labelled-fraction and --label-seed",
    )
