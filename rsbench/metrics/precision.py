"""How float32 numbers are multiplied: one switch for all kernels, given back as it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch

Products = Literal["ieee", "tf32"]

_lock = threading.Lock()
_held: dict[object, Products] = {}
_before: list[str] = []


@contextmanager
def products(how: Products) -> Iterator[None]:
    """Multiply float32 in full, or let a GPU round its factors to ten bits of mantissa.

    PyTorch rounds in convolutions unless told otherwise, and in matrix products if a program has
    called `torch.set_float32_matmul_precision`. Its older switch ``cudnn.allow_tf32`` cannot be
    read once the newer ones differ between convolutions and recurrent networks; it is not used.
    The switches are the process's. Of threads that ask at a time the last one is heard; what stood
    before comes back when the last of them is done.

    Args:
        how: ``ieee`` or ``tf32``; a CPU multiplies in full either way.
    """
    asked = object()
    with _lock:
        if not _held:
            _before[:] = [switch.fp32_precision for switch in _switches()]
        _held[asked] = how
        _set(_wanted(how))
    try:
        yield
    finally:
        with _lock:
            del _held[asked]
            left = list(_held.values())
            _set(_wanted(left[-1]) if left else _before)


def _switches() -> list[Any]:
    return [
        torch.backends.cuda.matmul,
        torch.backends.cudnn.conv,  # type: ignore[attr-defined]
        torch.backends.cudnn.rnn,
        torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]
        torch.backends.mkldnn.conv,  # type: ignore[attr-defined]
    ]


def _wanted(how: Products) -> Sequence[str]:
    return (how, how, how, "ieee", "ieee")


def _set(precisions: Sequence[str]) -> None:
    for switch, precision in zip(_switches(), precisions, strict=True):
        switch.fp32_precision = precision
