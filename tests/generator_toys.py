"""Small generators, and the snapshot that tests load weights from."""

from __future__ import annotations

from typing import Any

import torch

from rsbench.models.registry import create_model
from rsbench_baselines._snapshot import Snapshot

SOURCE = Snapshot("loading a test", "nobody/nothing")


def tiny(name: str, **options: Any) -> Any:
    """Return a generator of the preset tiny with the weights of seed 0."""
    torch.manual_seed(0)
    return create_model(name, "tiny", bands=3, **options)
