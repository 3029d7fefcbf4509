"""DiffusionSat for super-resolution: sizes, and what the branch is shown of the coarse image."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

pytest.importorskip("diffusers")

from rsbench.core.errors import InputError
from rsbench.models.contract_data import Samples, Shape, make_samples
from rsbench.models.registry import card, create_model
from rsbench.tasks.superresolve.example import COARSE, EXAMPLE


def samples(**changed: Any) -> Samples:
    return make_samples(replace(Shape(2, 1, 1, 3, 32, made=EXAMPLE), **changed), masked=False)


def test_the_branch_of_ten_bands_at_half_size_has_the_published_count() -> None:
    with torch.device("meta"):
        network: Any = create_model("diffusionsat_sr", "paper")
    parts = {n: sum(p.numel() for p in m.parameters())
             for n, m in network.module.named_children()}  # fmt: skip
    assert parts["unet"] == 880_264_644
    assert parts["control"] == 378_583_168
    assert sum(parts.values()) == card("diffusionsat_sr").presets["paper"].parameters


def test_the_coarse_image_is_scaled_by_the_training_split_at_half_size() -> None:
    """Band means come to 0, two deviations to 1, and what is beyond is clipped."""
    model: Any = create_model("diffusionsat_sr", "tiny", bands=3, inputs=3)
    data = samples()
    scale, _ = model.stages()
    model.solve(scale, iter([(data.given, data.want, data.truth)]))
    coarse = data.given.frames[COARSE].values[:, 0, 0]
    mean, deviation = coarse.mean((0, 2, 3)), coarse.std((0, 2, 3), correction=0)
    given = replace(data.given, frames={COARSE: replace(
        data.given.frames[COARSE],
        values=(mean + 2 * deviation * torch.tensor([0.0, 0.5, 9.0]))[:, None, None].expand(
            2, 1, 1, 3, 8, 8),
    )})  # fmt: skip
    shown = model.shown(given, data.want).inputs
    assert shown.frames.shape == (2, 1, 4, 16, 16)
    for band, expected in enumerate((0.0, 0.5, 1.0)):
        torch.testing.assert_close(
            shown.frames[:, :, band], torch.full((2, 1, 16, 16), expected), rtol=0, atol=1e-5
        )
    # The coarse image is told its own pixel size, of 40 m; the wanted one has 10 m.
    assert (shown.dated[0, 0, 2].item(), shown.metadata[0, 2].item()) == (40_000.0, 10_000.0)


def test_requests_that_cannot_be_served() -> None:
    model: Any = create_model("diffusionsat_sr", "tiny", bands=3, inputs=5)
    data = samples()
    with pytest.raises(InputError, match="Build it with inputs=3"):
        model.shown(data.given, data.want)
    model = create_model("diffusionsat_sr", "tiny", bands=3)
    with pytest.raises(InputError, match="value range is not stated"):
        model.predict(data.given, replace(data.want, value_range=None))
