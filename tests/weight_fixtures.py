"""Weight files made on the spot: the right names and shapes, random numbers, a digest of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import rsbench.metrics.weights as room
from rsbench.core.digest import sha256_file


def put(
    monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, state: Mapping[str, torch.Tensor]
) -> Path:
    """Write a state under a published file's name and list its digest instead of theirs."""
    entry = room.weights(name)
    path = folder / entry.files[0][0]
    torch.save(dict(state), path)
    listed = replace(entry, files=((path.name, sha256_file(path)),), packaged=())
    table = tuple(listed if item.name == name else item for item in room.TABLE)
    monkeypatch.setattr(room, "TABLE", table)
    monkeypatch.setenv("RSBENCH_WEIGHTS", str(folder))
    return path


def nowhere(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Look for weights in an empty folder only."""
    for name in ("RSBENCH_WEIGHTS", "RSBENCH_CACHE", "TORCH_HOME"):
        monkeypatch.setenv(name, str(folder))


ALEX = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
"""Convolutions of AlexNet's features: place → outputs, inputs, side."""


def random_alex(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Write random weights for LPIPS on AlexNet."""
    g = torch.Generator().manual_seed(5)
    features, heads = {}, {}
    for stage, (place, (out, into, side)) in enumerate(ALEX.items()):
        weight = torch.randn(out, into, side, side, generator=g) / (into * side * side) ** 0.5
        features[f"features.{place}.weight"] = weight
        features[f"features.{place}.bias"] = torch.zeros(out)
        heads[f"lin{stage}.model.1.weight"] = torch.rand(1, out, 1, 1, generator=g)
    put(monkeypatch, folder, "alexnet", features)
    put(monkeypatch, folder, "lpips-alex", heads)


def random_inception(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Write random weights of the layers of Inception up to the tap of 64 features."""
    g = torch.Generator().manual_seed(6)
    state = {}
    layers = {"Conv2d_1a_3x3": (32, 3, 3), "Conv2d_2a_3x3": (32, 32, 3),
              "Conv2d_2b_3x3": (64, 32, 3), "Mixed_7c.branch_pool": (192, 2048, 1)}  # fmt: skip
    for name, (out, into, side) in layers.items():
        weight = torch.randn(out, into, side, side, generator=g) / (into * side * side) ** 0.5
        state[f"{name}.conv.weight"] = weight
        state |= {f"{name}.bn.{part}": torch.ones(out) for part in ("weight", "running_var")}
        state |= {f"{name}.bn.{part}": torch.zeros(out) for part in ("bias", "running_mean")}
    put(monkeypatch, folder, "inception", state)
