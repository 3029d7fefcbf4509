"""The program that replaces parts of a trained latent diffusion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("diffusers")

from tests.support.tool import load_tool
from tests.train_toys import SIDE, store

TOOL: Any = load_tool("latent_parts")


def test_skills_are_relative_to_persistence_and_others_are_of_another_region(
    tmp_path: Path,
) -> None:
    seen: list[bool] = []

    def elsewhere(images: Any) -> torch.Tensor:
        seen.append(torch.equal(images.other, images.now))
        return (images.now + images.then) / 2

    rows = {"perfect": lambda i: i.then, "half": elsewhere}
    found = TOOL.skills(rows, store(tmp_path / "store"), "test", side=SIDE)
    assert found["persistence"] == 0
    assert found["perfect"] == pytest.approx(1)
    assert found["half"] == pytest.approx(0.75, abs=1e-4)
    assert seen
    assert not any(seen)
