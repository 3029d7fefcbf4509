"""Augmentation in a training on pairs: image, finer image and labels stay of one ground."""

from __future__ import annotations

from pathlib import Path

import pair_toys as pt
import pytest
import segment_toys as toys
import torch
from torch import Tensor

from rsbench.models.api import Frames
from rsbench.training.options import Options

COLOURS = torch.tensor(list(toys.COLOURS.values())).div(16).clip(0, 254).int().float()


def classes(finer: Tensor) -> Tensor:
    """Return ``(B, H, W)``: which class has the colour of each block of finer pixels."""
    corners = finer[..., :: toys.RATIO, :: toys.RATIO]
    blocks = corners.repeat_interleave(toys.RATIO, -2).repeat_interleave(toys.RATIO, -1)
    assert torch.equal(blocks, finer), "no block is cut"
    distance = (corners[:, None] - COLOURS[:, :, None, None]).abs().sum(2)
    assert float(distance.min(1).values.max()) == 0
    return distance.argmin(1)


def test_finer_images_and_labels_get_the_changes_of_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    store = toys.write_store(tmp_path / "store", regions=10)
    with pt.toy_card():
        augment, model = ("flips", "rotations", "cutmix", "cutout"), pt.model()
        pt.run(model, store, options=Options(augment=augment))
    seen: list[tuple[Tensor, Frames, Frames]] = [
        (given.taught[toys.HR].values[:, 0, 0], given.frames[toys.MR], truth)
        for stage, given, truth in model.seen
        if stage == "probe"
    ]
    assert len(seen) == 4
    for finer, shown, truth in seen:
        valid = truth.valid[:, 0, 0, 0]
        assert torch.equal(classes(finer)[valid], truth.values[:, 0, 0].argmax(1)[valid])
        hidden = ~shown.valid[:, 0, 0, 0]
        assert bool((hidden & valid).any()), "cutout hides pixels whose labels are kept"
