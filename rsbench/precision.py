"""How float32 numbers are multiplied: one switch for all kernels, given back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

Products = Literal["ieee", "tf32"]


@contextmanager
def products(how: Products) -> Iterator[None]:
    """Multiply float32 in full, or let a GPU round its factors to ten bits of mantissa.

    PyTorch rounds in convolutions unless told otherwise, and in matrix products if a program has
    called `torch.set_float32_matmul_precision`. Its older switch ``cudnn.allow_tf32`` cannot be
    read once the newer ones differ between convolutions and recurrent networks; it is not used.
    The switches are the process's: two threads must not ask for different products at a time.

    Args:
        how: ``ieee`` or ``tf32``; a CPU multiplies in full either way.
    """
    switches: list[Any] = [
        torch.backends.cuda.matmul,
        torch.backends.cudnn.conv,  # type: ignore[attr-defined]
        torch.backends.cudnn.rnn,
        torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]
        torch.backends.mkldnn.conv,  # type: ignore[attr-defined]
    ]
    before = [switch.fp32_precision for switch in switches]
    wanted = [how, how, how, "ieee", "ieee"]
    try:
        for switch, precision in zip(switches, wanted, strict=True):
            switch.fp32_precision = precision
        yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision
