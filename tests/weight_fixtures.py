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
