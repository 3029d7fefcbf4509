"""Which regions of the training split have labels that models are fitted and trained with."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from rsbench.core.errors import InputError
from rsbench.tasks.labels import TrainingLabels, labelled_regions, training_regions

if TYPE_CHECKING:
    from rsbench.catalog import Protocol
    from rsbench.store.read import Store
    from rsbench.tasks.pairs import Image
    from rsbench.tasks.segment.reader import LabelReader


def training_labels(
    store: Store, protocol: Protocol, reader: LabelReader, samples: Iterable[Image]
) -> TrainingLabels:
    """Return what is labelled of the training split.

    Args:
        samples: the windows of the labelled training regions.

    Raises:
        InputError: for a stated share with fewer labelled windows than classes.
    """
    names = reader.classes.names
    counts = np.array([reader.class_pixels(sample) for sample in samples]).reshape(-1, len(names))
    regions, of = labelled_regions(store, protocol), len(training_regions(store))
    windows = int((counts.sum(axis=1) > 0).sum())
    found = TrainingLabels(
        protocol.label_share, regions, of, windows,
        dict(zip(names, counts.sum(axis=0).tolist(), strict=True)),
    )  # fmt: skip
    if protocol.labels is not None and windows < len(names):
        least = math.ceil(len(names) / max(1, windows) * len(regions))
        remedy = "Take a protocol with a smaller window, or a store with more training regions"
        if windows and least <= of:
            fraction = math.ceil(1000 * least / of) / 1000
            remedy = f"Give --labelled-fraction {fraction:g} or more, or a smaller window"
        raise InputError(
            f"protocol {protocol.name}",
            f"its {found.share} hold {windows} windows with a labelled pixel, fewer than the "
            f"{len(names)} classes",
            remedy,
        )
    return found
