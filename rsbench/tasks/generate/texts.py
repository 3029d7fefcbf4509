"""Descriptions of images by a template from the classes of their map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

LEAST_SHARE = 0.05
"""Classes of a smaller share of the labelled pixels are not named."""


def caption(names: Sequence[str], pixels: npt.NDArray[np.int64], gsd: float) -> str:
    """Return the text of an image: its classes by descending share, and the size of a pixel.

    Args:
        names: of the K classes.
        pixels: ``(K,)`` numbers of pixels of each class.
        gsd: size of a pixel in metres.
    """
    order = sorted(range(len(names)), key=lambda k: (-int(pixels[k]), k))
    shown = [names[k] for k in order if pixels[k] > LEAST_SHARE * pixels.sum()]
    what = f" of {', '.join(shown)}" if shown else ""
    return f"a satellite image{what}, {gsd:g} m per pixel"
