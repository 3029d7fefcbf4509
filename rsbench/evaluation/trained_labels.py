"""Whether weights were trained for the classes, and with the labels, that a protocol asks for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rsbench.core.errors import InputError
from rsbench.tasks.registry import task_of

if TYPE_CHECKING:
    from rsbench.models.checkpoint import Checkpoint
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


def require_labels(config: EvaluationConfig, path: Path, checkpoint: Checkpoint) -> None:
    """Refuse weights of other classes, or trained with other labels than the protocol allows.

    Raises:
        InputError: names both.
    """
    require_classes(config, f"the checkpoint {path}", checkpoint.bands)
    stated, found = config.protocol.label_share, checkpoint.labels
    if checkpoint.imported or stated == found:
        return
    texts = [
        "all labels" if one is None else f"labels of fraction {one['fraction']:g}, seed "
        f"{one['seed']}" for one in (stated, found)
    ]  # fmt: skip
    raise InputError(
        f"the checkpoint {path} under a protocol with {texts[0]}",
        f"it was trained with {texts[1]}",
        "Leave --checkpoint out, or state the fraction and seed of its training with "
        "--labelled-fraction and --label-seed",
    )
