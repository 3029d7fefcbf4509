"""Recorded outputs of networks, and the rule that gives a network its weights without a file.

Every tensor of a network is drawn by NumPy's Mersenne twister, whose stream never changes, seeded
with the CRC-32 of the tensor's name: u is uniform in −1 … 1. A matrix or kernel is u·√(3/n) with
n inputs of one output; a vector is 1 + u/2 where it scales (``weight``, ``running_var``), u/2
where it shifts. No value is 0 or 1, so that no norm, activation or shortcut can move unnoticed.

The numbers under ``tests/parity/recorded`` come from the second implementation in NumPy beside each
test, not from the networks. ``RSBENCH_RECORD=1 python -m pytest tests/parity/test_X.py`` writes
them. `check_all_noticed` shows that each norm, activation and shortcut matters for them.
"""

from __future__ import annotations

import json
import math
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from fusion_loops import F64
from torch import Tensor, nn

FOLDER = Path(__file__).parent / "parity" / "recorded"
SCALES = ("weight", "running_var", "gain")
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d)
ACTIVATIONS = {
    **dict.fromkeys(("silu", "gelu", "relu", "leaky_relu"), F),
    **dict.fromkeys(("sigmoid", "tanh"), torch),
}
"""Functions by name, with the module that networks call them from."""
Parts = Mapping[str, Tensor]
"""Outputs of a network by name."""
Alteration = tuple[str, str, AbstractContextManager[None]]
"""Kind and name of what is left out, while the context lasts."""


def drawn(name: str, *shape: int) -> F64:
    """Values in −1 … 1 that depend on the name and the shape alone."""
    twister = np.random.RandomState(zlib.crc32(name.encode()))
    found: F64 = 2 * twister.random_sample(shape) - 1
    return found


def weight(name: str, shape: tuple[int, ...]) -> F64:
    """One tensor of a network by the rule of this module."""
    u = drawn(name, *shape)
    if name.endswith(".g"):  # the gain of a norm, with axes of length 1
        return 1 + u / 2
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


def compare(name: str, loops: Mapping[str, F64], network: Parts, close: float = 1e-7) -> None:
    """Both the loops and the network must give the recorded numbers.

    ``close`` is the relative tolerance; the absolute one is a tenth of it.
    """
    path = FOLDER / f"{name}.json"
    if os.environ.get("RSBENCH_RECORD"):
        path.parent.mkdir(exist_ok=True)
        rows = {
            part: [float(f"{v:.10g}") for v in values.ravel()] for part, values in loops.items()
        }
        path.write_text(json.dumps(rows, indent=None) + "\n")
    recorded = _recorded(name)
    assert recorded.keys() == loops.keys() == network.keys()
    for part, values in recorded.items():
        for made in (loops[part], network[part].detach().numpy()):
            np.testing.assert_allclose(
                made.ravel(), values, rtol=close, atol=close / 10, err_msg=part
            )


def check_all_noticed(
    name: str, network: nn.Module, run: Callable[[], Parts], *,
    shortcuts: tuple[type[nn.Module], ...] = (), norms: tuple[type[nn.Module], ...] = NORMS,
    activations: tuple[str, ...] = tuple(ACTIVATIONS), left: str = "", close: float = 1e-7,
) -> None:  # fmt: skip
    """Leave out each norm, activation and shortcut of a network alone: recorded numbers must move.

    Args:
        name: of the recorded numbers, which ``run`` gives.
        shortcuts: classes whose result has their input added; where they have a module ``skip``,
            its result is the shortcut.
        norms: classes of norms.
        activations: names of functions.
        left: pattern of names of modules that are left as they are, because they change no output
            or are tried elsewhere.
        close: as in `compare`.
    """
    recorded = _recorded(name)
    assert _equal(recorded, run(), close)
    tried = {"norm": 0, "activation": 0, "shortcut": 0}
    alterations = (
        *_of_modules(network, norms, shortcuts, left), *_of_activations(run, activations)
    )  # fmt: skip
    for kind, what, altered in alterations:
        with altered, torch.no_grad():
            assert not _equal(recorded, run(), close), f"without the {kind} {what}"
        tried[kind] += 1
    expected = {"norm": norms, "shortcut": shortcuts}
    assert all(tried[kind] for kind, classes in expected.items() if classes), tried
    assert sum(tried.values())


def _of_modules(
    network: nn.Module,
    norms: tuple[type[nn.Module], ...],
    shortcuts: tuple[type[nn.Module], ...],
    left: str,
) -> Iterator[Alteration]:
    for name, module in network.named_modules():
        if left and re.match(left, name):
            continue
        if isinstance(module, norms):
            yield "norm", name, _hooked(module, lambda given, _: given)
        if isinstance(module, shortcuts):
            skip = getattr(module, "skip", None)
            if isinstance(skip, nn.Module):
                yield "shortcut", name, _hooked(skip, lambda _, out: torch.zeros_like(out))
            else:
                yield "shortcut", name, _hooked(module, lambda given, out: out - given)


def _of_activations(run: Callable[[], Parts], names: tuple[str, ...]) -> Iterator[Alteration]:
    for function in names:
        owner = ACTIVATIONS[function]
        for call in range(_calls(owner, function, run)):
            yield "activation", f"{function} {call}", _skipped(owner, function, call)


@contextmanager
def _hooked(module: nn.Module, change: Callable[[Tensor, Tensor], Tensor]) -> Iterator[None]:
    handle = module.register_forward_hook(lambda _, given, out: change(given[0], out))
    try:
        yield
    finally:
        handle.remove()


def _calls(owner: object, function: str, run: Callable[[], Parts]) -> int:
    with patch.object(owner, function, wraps=getattr(owner, function)) as counted, torch.no_grad():
        run()
    return counted.call_count


@contextmanager
def _skipped(owner: object, function: str, call: int) -> Iterator[None]:
    """Make one call of an activation, counted from 0, return what it was given."""
    plain, seen = getattr(owner, function), iter(range(1_000_000))

    def stand_in(x: Tensor, *args: object, **named: object) -> Tensor:
        out: Tensor = x if next(seen) == call else plain(x, *args, **named)
        return out

    with patch.object(owner, function, stand_in):
        yield


def _recorded(name: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = json.loads((FOLDER / f"{name}.json").read_text())
    return found


def _equal(recorded: Mapping[str, list[float]], made: Parts, close: float) -> bool:
    return all(
        np.allclose(made[part].detach().numpy().ravel(), values, rtol=close, atol=close / 10)
        for part, values in recorded.items()
    )
