"""Class indices as bit planes, and bit planes back to the nearest legal class.

T. Chen, R. Zhang, G. Hinton, "Analog bits", ICLR 2023, as A. Toker et al., "SatSynth", CVPR 2024,
use them for label maps: plain binary code, the most significant bit first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rsbench import InputError


def bits_of(classes: int) -> int:
    """Return ⌈log₂ K⌉, the number of bit planes of K classes.

    Raises:
        InputError: for fewer than two classes.
    """
    if classes < 2:
        raise InputError(
            f"bit planes of {classes} class" + ("" if classes == 1 else "es"),
            "a map of one class holds nothing to draw",
            "Take a label set with two classes or more",
        )
    return (classes - 1).bit_length()


def codes(classes: int) -> Tensor:
    """Return ``(K, bits)`` float32: the code of every class, −1 and 1."""
    places = torch.arange(bits_of(classes) - 1, -1, -1)
    return 2.0 * ((torch.arange(classes)[:, None] >> places) & 1).float() - 1


def encode(indices: Tensor, classes: int) -> Tensor:
    """Return ``(N, bits, H, W)`` bit planes in ±1 of class indices ``(N, H, W)``."""
    return codes(classes).to(indices.device)[indices].movedim(-1, 1)


def decode(planes: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return the nearest legal class of every pixel, and where thresholds give no class.

    Args:
        planes: ``(N, bits, H, W)``, about ±1.

    Returns:
        ``(N, H, W)`` class indices by squared distance of the unthresholded values to the codes,
        the first of equal ones; ``(N, H, W)`` bool, where the thresholded bits are an illegal code.
    """
    known = codes(classes).to(planes)
    far = (planes[:, None] - known[None, :, :, None, None]).square().sum(2)
    weights = 2 ** torch.arange(planes.shape[1] - 1, -1, -1, device=planes.device)
    read = ((planes > 0).long() * weights[:, None, None]).sum(1)
    return far.argmin(1), read >= classes
