"""Recorded outputs of networks, and the rule that gives a network its weights without a file.

Every tensor of a network is drawn by NumPy's Mersenne twister, whose stream never changes, seeded
with the CRC-32 of the tensor's name: u is uniform in −1 … 1. A matrix or kernel is u·√(3/n) with
n inputs of one output; a vector is 1 + u/2 where it scales (``weight``, ``running_var``), u/2
where it shifts. No value is 0 or 1, so that no norm, activation or shortcut can move unnoticed.

The numbers under ``tests/parity/recorded`` come from the loops in NumPy beside each test, not from
the networks. ``RSBENCH_RECORD=1 python -m pytest tests/parity/test_X_forward.py`` writes them.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from fusion_loops import F64
from torch import Tensor, nn

FOLDER = Path(__file__).parent / "parity" / "recorded"
SCALES = ("weight", "running_var")


def drawn(name: str, *shape: int) -> F64:
    """Values in −1 … 1 that depend on the name and the shape alone."""
    twister = np.random.RandomState(zlib.crc32(name.encode()))
    found: F64 = 2 * twister.random_sample(shape) - 1
    return found


def weight(name: str, shape: tuple[int, ...]) -> F64:
    """One tensor of a network by the rule of this module."""
    u = drawn(name, *shape)
    if len(shape) > 1:
        inputs = math.prod(shape[1:]) if len(shape) in (2, 4) else shape[-1]
        return u * math.sqrt(3 / inputs)
    return 1 + u / 2 if name.endswith(SCALES) else u / 2


def by_rule(module: nn.Module) -> nn.Module:
    """Give every parameter and buffer its value by the rule, float64, for evaluation."""
    module = module.double().eval()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.from_numpy(weight(name, tuple(tensor.shape))))
    return module


def images(*shape: int, count: int = 3) -> list[Tensor]:
    """Input images in −1 … 1."""
    return [torch.from_numpy(drawn(f"image {i}", *shape)) for i in range(count)]


def compare(name: str, loops: Mapping[str, F64], network: Mapping[str, Tensor]) -> None:
    """Both the loops and the network must give the recorded numbers."""
    path = FOLDER / f"{name}.json"
    if os.environ.get("RSBENCH_RECORD"):
        path.parent.mkdir(exist_ok=True)
        rows = {
            part: [float(f"{v:.10g}") for v in values.ravel()] for part, values in loops.items()
        }
        path.write_text(json.dumps(rows, indent=None) + "\n")
    recorded = json.loads(path.read_text())
    assert recorded.keys() == loops.keys() == network.keys()
    for part, values in recorded.items():
        for made in (loops[part], network[part].detach().numpy()):
            np.testing.assert_allclose(made.ravel(), values, rtol=1e-7, atol=1e-8, err_msg=part)
