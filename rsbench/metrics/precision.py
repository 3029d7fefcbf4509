"""Precision of float32 products: set for all kernels in a block, then restored."""

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
    """Multiply float32 in full precision, or allow TF32 (10-bit mantissa) on a GPU.

    PyTorch uses TF32 in convolutions by default, and in matrix products after
    `torch.set_float32_matmul_precision`. The older setting ``cudnn.allow_tf32`` cannot be read
    when the newer settings of convolutions and recurrent networks differ; it is not used.
    The settings are global to the process: with several threads inside the block the latest
    request applies, and the previous settings return when the last thread leaves it.

    Args:
        how: ``ieee`` or ``tf32``; a CPU multiplies in full precision with both.
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
