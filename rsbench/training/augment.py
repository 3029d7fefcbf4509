"""Augmentation of image-to-image training: flips, rotations, Mixup, CutMix and cutout.

Frames given, truth and their masks get the same change, also on grids of different pixel sizes;
cutout changes the frames given alone. H. Zhang et al., "mixup: Beyond empirical risk
minimization", ICLR 2018; S. Yun et al., "CutMix", ICCV 2019; T. DeVries and G. W. Taylor,
"Improved Regularization of Convolutional Neural Networks with Cutout", arXiv 1708.04552.
Only samples that a step takes at once are mixed; all are of the training split and one sensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from rsbench.core.errors import InputError
from rsbench.models.api import Frames
from rsbench.training.data import TrainingBatch
from rsbench.training.lattice import Box, Lattice

MIX_SHARE = 0.5
"""How often the samples of a step are mixed, where mixing is on."""
ALPHA = {"mixup": 0.4, "cutmix": 1.0}
"""λ ~ Beta(α, α)."""
CUT_SIDE = 0.5
"""Side of the box of cutout as a share of the window's: 16 of 32 px in the paper."""
Change = Callable[[Tensor, int], Tensor]
"""Takes a sample's tensor ``(…, H, W)`` and its row in the batch."""


def augmented(batch: TrainingBatch, names: tuple[str, ...], seed: int) -> TrainingBatch:
    """Return a batch with the named augmentations; the draw depends on the seed alone.

    Raises:
        InputError: if windows that are not square are to be rotated.
    """
    if not names:
        return batch
    rng = np.random.default_rng(seed)
    batch = _combined(batch, names, rng)
    if "cutout" in names:
        counts = Lattice.of(batch).counts
        batch = hidden(batch, [box(rng, 1 - CUT_SIDE**2, *most) for most in counts])
    return _moved(batch, names, rng) if {"flips", "rotations"} & {*names} else batch


def box(rng: np.random.Generator, share: float, height: int, width: int) -> Box:
    """Draw a box of about 1 − ``share`` of the area, clipped: rows and columns of cells."""
    side = math.sqrt(1 - share)
    h, w = side * height, side * width
    y, x = rng.uniform(0, height), rng.uniform(0, width)

    def cut(centre: float, size: float, most: int) -> slice:
        low = min(max(round(centre - size / 2), 0), most)
        return slice(low, min(max(round(centre + size / 2), low), most))

    return cut(y, h, int(height)), cut(x, w, int(width))


def _combined(
    batch: TrainingBatch, names: tuple[str, ...], rng: np.random.Generator
) -> TrainingBatch:
    mixers = [name for name in ("mixup", "cutmix") if name in names]
    if not mixers or rng.random() >= MIX_SHARE:
        return batch
    chosen = mixers[int(rng.integers(len(mixers)))]
    count = len(batch.want.samples)
    partners = torch.from_numpy(rng.permutation(count))
    shares = rng.beta(ALPHA[chosen], ALPHA[chosen], size=count)
    if chosen == "mixup":
        # The larger part is the sample's own, whose dates and place are kept.
        return mixed(batch, partners, np.maximum(shares, 1 - shares))
    counts = Lattice.of(batch).counts
    both = np.minimum(counts, counts[partners.numpy()])
    return pasted(
        batch, partners, [box(rng, s, *most) for s, most in zip(shares, both, strict=True)]
    )


def _moved(batch: TrainingBatch, names: tuple[str, ...], rng: np.random.Generator) -> TrainingBatch:
    height, width = batch.want.size
    turns = np.zeros(len(batch.want.samples), np.int64)
    if "rotations" in names:
        if height != width:
            raise InputError(
                f"rotations of windows of {height}×{width} px",
                "a quarter turn changes their shape",
                "Take flips, or a protocol of square windows",
            )
        turns = rng.integers(0, 4, len(turns))
    flips = np.zeros((len(turns), 2), np.bool_)
    if "flips" in names:
        flips = rng.integers(0, 2, flips.shape).astype(np.bool_)

    def move(tensor: Tensor, row: int) -> Tensor:
        axes = [axis for axis, on in zip((-2, -1), flips[row], strict=True) if on]
        return torch.rot90(tensor.flip(axes), int(turns[row]), (-2, -1))

    return _each(batch, lambda frames: _by_row(frames, move))


def mixed(batch: TrainingBatch, partners: Tensor, shares: np.ndarray) -> TrainingBatch:
    """Mixup: λ of each sample and 1 − λ of its partner, in inputs and targets; valid where both."""
    share = torch.from_numpy(shares.astype(np.float32))

    def mix(frames: Frames) -> Frames:
        own = share.to(frames.values).view(-1, *(1,) * (frames.values.ndim - 1))
        values = own * frames.values + (1 - own) * frames.values[partners]
        valid = frames.valid & frames.valid[partners]
        return replace(frames, values=torch.where(valid, values, 0), valid=valid)

    return _each(batch, mix)


def pasted(batch: TrainingBatch, partners: Tensor, boxes: list[Box]) -> TrainingBatch:
    """CutMix: a box of each sample's partner takes its place, in inputs, targets and masks.

    Args:
        boxes: rows and columns of whole cells of the :class:`Lattice`, one box per sample.
    """
    lattice = Lattice.of(batch)

    def paste(frames: Frames) -> Frames:
        values, valid = frames.values.clone(), frames.valid.clone()
        for row, cells in enumerate(boxes):
            place = lattice.slices(row, cells, frames)
            other = lattice.slices(int(partners[row]), cells, frames)
            values[place], valid[place] = frames.values[other], frames.valid[other]
        return replace(frames, values=values, valid=valid)

    return _each(batch, paste)


def hidden(batch: TrainingBatch, boxes: list[Box]) -> TrainingBatch:
    """Cutout: a box of each sample is invalid and 0 in the frames given, at all dates.

    What training alone sees keeps its masks. A sample of which a frame would lose its last valid
    pixel stays as it is.

    Args:
        boxes: rows and columns of whole cells of the :class:`Lattice`, one box per sample.
    """
    lattice, given = Lattice.of(batch), batch.given.frames
    masks = {name: frames.valid.clone() for name, frames in given.items()}
    empty = torch.zeros(len(boxes), dtype=torch.bool)
    for name, frames in given.items():
        for row, cells in enumerate(boxes):
            masks[name][lattice.slices(row, cells, frames)] = False
        lost = frames.valid.flatten(3).any(3) & ~masks[name].flatten(3).any(3)
        empty |= lost.flatten(1).any(1)

    def hide(frames: Frames, mask: Tensor) -> Frames:
        valid = torch.where(empty.view(-1, *(1,) * (mask.ndim - 1)), frames.valid, mask)
        return replace(frames, values=torch.where(valid, frames.values, 0), valid=valid)

    shown = {name: hide(frames, masks[name]) for name, frames in given.items()}
    return TrainingBatch(replace(batch.given, frames=shown), batch.want, batch.truth)


def _by_row(frames: Frames, change: Change) -> Frames:
    values = torch.stack([change(part, row) for row, part in enumerate(frames.values)])
    valid = torch.stack([change(part, row) for row, part in enumerate(frames.valid)])
    return replace(frames, values=values, valid=valid)


def _each(batch: TrainingBatch, change: Callable[[Frames], Frames]) -> TrainingBatch:
    return TrainingBatch(batch.given.each(change), batch.want, change(batch.truth))
