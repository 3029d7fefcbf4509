"""Clouds that a condition puts over coarse images: a pure function of place and share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rsbench.core.digest import sha256_json


def hidden(region: str, share: float, shape: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Return which coarse measurements of a region a cloud hides, ``(h, w)`` bool, in patches.

    The field is white noise summed over 3 × 3 neighbours, whole numbers throughout, so that no
    processor's last bits decide; the highest ``share`` of it is cloud. A larger share of the same
    region therefore hides all that a smaller one does.
    """
    size = (int(shape[0]), int(shape[1]))
    key = int(sha256_json(["coarse-cloud", region])[:32], 16)
    noise = np.random.Generator(np.random.Philox(key=key)).integers(-(1 << 20), 1 << 20, size=size)
    wide = np.pad(noise, 1, mode="edge")
    field = np.zeros(size, np.int64)
    for dy in range(3):
        for dx in range(3):
            field += wide[dy : dy + size[0], dx : dx + size[1]]
    order = np.argsort(-field.ravel(), kind="stable")
    cloud = np.zeros(size[0] * size[1], np.bool_)
    cloud[order[: round(share * cloud.size)]] = True
    return cloud.reshape(size)
